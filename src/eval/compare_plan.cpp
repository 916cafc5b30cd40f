#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "eval/compare_cost.h"
#include "eval/modes.h"
#include "eval/segment_options.h"
#include "motet/error.h"
#include "motet/eval/compare.h"

namespace motet {
namespace {

using namespace compare;

std::vector<ReadingMode> modes_of(const CompareOptions& options) {
  return reading_modes(options.readings, "select:" + std::to_string(options.select));
}

/// Throws FieldError where two of these have the same name.
template <class Named>
void check_once(const char* field, const std::vector<Named>& all) {
  for (const auto& one : all) {
    const auto same = [&](const Named& other) { return other.name() == one.name(); };
    require(std::count_if(all.begin(), all.end(), same) == 1, Field(field), ": ", one.name(),
            " is given twice");
  }
}

}  // namespace

void CompareOptions::validate() const {
  check_segment_options(*this);
  require(length >= scored + 2, Field("length"), " ", length, " ", Field("scored"), " ", scored,
          ": a segment needs a context; ", Field("length"), " must be at least ", scored + 2);
  require(select >= 1, Field("select"), " ", select, ": at least 1 piece must be kept");
  modes_of(*this);
  for (const auto row : rows) {
    require(row >= 0 && row < scored, Field("rows"), " ", row, ": the query's rows are 0 to ",
            scored - 1);
    require(std::count(rows.begin(), rows.end(), row) == 1, Field("rows"), ": ", row,
            " is given twice");
  }
  for (const auto gap : gaps) {
    require(std::isfinite(gap) && gap >= 0, Field("gaps"), " ", gap,
            ": a number of nats is wanted, 0 or more");
  }
  check_once("oracles", oracles);
  check_once("ensembles", ensembles);
  check_degrees(pieces, 1);
  for (const auto degree : pieces) {
    require(degree <= context(), Field("pieces"), " ", degree, ": the context has ", context(),
            " tokens; choose fewer pieces or a longer ", Field("length"));
    const auto size = (context() + degree - 1) / degree;
    const auto filled = (context() + size - 1) / size;
    require(filled == degree, Field("pieces"), " ", degree, ": the context of ", context(),
            " tokens in pieces of ", size, " fills only ", filled,
            "; choose fewer pieces or a longer ", Field("length"));
  }
}

ComparePlan plan_compare(const Config& config, const CompareOptions& options) {
  options.validate();
  ComparePlan plan;
  const auto all = std::make_shared<All>();
  const auto readings = modes_of(options);
  for (const auto& one : readings) {
    one.reading->check(config.layers, config.heads);
  }
  const auto add = [&](Mode mode) {
    const auto leave_out = [&](const std::string& reason) {
      plan.left_out.push_back({mode.name, mode.pieces, reason});
    };
    if (mode.prefix && options.prefix.empty()) {
      if (mode.name == "sink") {  // once for a degree
        leave_out("the prefix is empty; so are left out all modes behind one");
      }
      return;
    }
    if (mode.selected >= mode.pieces && mode.selected > 0) {
      return leave_out("K = " + std::to_string(mode.selected) + " keeps all of " +
                       std::to_string(mode.pieces) + " pieces");
    }
    // An oracle takes from a run of one piece, which must have been.
    const auto needed =
        std::max(layout_of(options, mode).query_position + options.scored,
                 mode.oracle ? layout_of(options, 1, mode.prefix).query_position : int64_t{0});
    if (config.learned_positions() && needed > config.positions) {
      return leave_out("it needs " + std::to_string(needed) + " positions, the model has " +
                       std::to_string(config.positions));
    }
    plan.modes.push_back(std::move(mode));
  };
  for (const auto degree : options.pieces) {
    if (degree == 1) {
      add({"full", 1, false, 0, all});
      for (const auto& reading : readings) {
        if (reading.without_pieces) {  // it leaves keys out of a single piece, too
          add({reading.without_prefix, 1, false, 0, reading.reading});
        }
      }
      continue;
    }
    add({"parallel", degree, false, 0, all});
    add({"sink", degree, true, 0, all});
    for (const auto& reading : readings) {
      add({reading.without_prefix, degree, false, reading.selected, reading.reading});
      add({reading.with_prefix, degree, true, reading.selected, reading.reading});
    }
    for (const auto& oracle : options.oracles) {
      oracle.validate(config);
      add({"oracle", degree, false, 0, all, oracle});
      add({"oracle", degree, true, 0, all, oracle});
    }
    for (const auto& ensemble : options.ensembles) {
      add({"ensemble", degree, false, 0, all, {}, ensemble});
      add({"ensemble", degree, true, 0, all, {}, ensemble});
    }
  }
  std::string reasons;
  for (const auto& left_out : plan.left_out) {
    reasons += "\n  " + left_out.mode + ", P = " + std::to_string(left_out.pieces) + ": " +
               left_out.reason;
  }
  require(!plan.modes.empty(), "no mode is left to run:", reasons);
  // `full` first: the others are compared with it.
  std::stable_partition(plan.modes.begin(), plan.modes.end(),
                        [](const Mode& mode) { return mode.name == "full"; });
  const auto layers = static_cast<double>(config.layers);
  for (auto mode = plan.modes.begin(); mode != plan.modes.end(); ++mode) {
    const auto cost = cost_of(config, layout_of(options, *mode), options.scored, passes_of(*mode));
    plan.segment_flops += layers * cost.read_layer + cost.head;
    const bool first_oracle =
        mode->oracle && std::none_of(plan.modes.begin(), mode, [&](const Mode& earlier) {
          return earlier.prefix == mode->prefix && (earlier.oracle || earlier.pieces == 1);
        });
    if (first_oracle) {
      plan.segment_flops +=
          layers *
          cost_of(config, layout_of(options, 1, mode->prefix), options.scored).encode_layer;
    }
    if (std::none_of(plan.modes.begin(), mode,
                     [&](const Mode& earlier) { return share_context(earlier, *mode); })) {
      plan.segment_flops += layers * cost.encode_layer;
    }
  }
  return plan;
}

}  // namespace motet
