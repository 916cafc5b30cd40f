#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "eval/compare_cost.h"
#include "eval/modes.h"
#include "eval/task_layout.h"
#include "motet/error.h"
#include "motet/eval/tasks.h"

namespace motet {
namespace {

std::vector<ReadingMode> modes_of(const TasksOptions& options) {
  return reading_modes(options.readings,
                       "select:" + std::to_string(options.select) + ":heads+rows");
}

std::vector<int64_t> tokens_of(const Tokenizer& tokenizer, const std::string& text,
                               const std::string& what) {
  const auto encoding = tokenizer.encode(text);
  require(encoding.left_out_bytes == 0, what, ": ", encoding.left_out_bytes,
          " bytes have no token in the model's vocabulary");
  return encoding.ids;
}

/// The largest position that a mode needs, and one.
int64_t positions_of(const TaskItem& item, const TasksOptions& options, const Mode& mode) {
  return layout_of(item, options, mode).query_position + static_cast<int64_t>(item.query.size()) +
         item.longest();
}

/// Leaves out units from the far end until `full` fits, where a token is a position.
void truncate(TaskItem& item, const Config& config, const TasksOptions& options) {
  auto over = positions_of(item, options, {"full"}) - config.positions;
  const auto last = static_cast<int64_t>(item.units.size()) - 1;  // one stays
  for (; over > 0 && item.dropped < last; ++item.dropped) {
    over -= static_cast<int64_t>(item.units[item.dropped].size());
  }
  item.units.erase(item.units.begin(), item.units.begin() + item.dropped);
  item.record.units.erase(item.record.units.begin(), item.record.units.begin() + item.dropped);
  auto& gold = item.record.gold_units;
  for (auto& unit : gold) {
    unit -= item.dropped;
  }
  item.gold_dropped = std::erase_if(gold, [](int64_t unit) { return unit < 0; }) > 0;
  if (item.dropped > 0) {
    item.record.depth.reset();  // it was that of the whole item
  }
}

/// Whether one of some texts begins another, in tokens.
bool one_begins_another(const std::vector<std::vector<int64_t>>& texts) {
  for (const auto& one : texts) {
    for (const auto& other : texts) {
      if (other.size() > one.size() && std::equal(one.begin(), one.end(), other.begin())) {
        return true;
      }
    }
  }
  return false;
}

}  // namespace

void TasksOptions::validate() const {
  check_degrees(pieces, 0);
  require(select >= 1, Field("select"), " ", select, ": at least 1 piece must be kept");
  modes_of(*this);
}

TasksPlan plan_tasks(const TasksOptions& options) {
  options.validate();
  TasksPlan plan;
  const auto all = std::make_shared<All>();
  const auto readings = modes_of(options);
  plan.modes.push_back({"full", 1, false, 0, all});
  for (const auto degree : options.pieces) {
    if (degree == 1) {
      for (const auto& reading : readings) {
        if (reading.without_pieces) {  // it leaves keys out of a single piece, too
          plan.modes.push_back({reading.without_prefix, 1, false, 0, reading.reading});
        }
      }
      continue;
    }
    const auto add = [&](Mode mode) {
      if (degree != TasksOptions::kUnits && mode.selected >= degree) {
        plan.left_out.push_back({mode.name, degree,
                                 "K = " + std::to_string(mode.selected) + " keeps all of " +
                                     std::to_string(degree) + " pieces"});
      } else {
        plan.modes.push_back(std::move(mode));
      }
    };
    add({"parallel", degree, false, 0, all});
    for (const auto& reading : readings) {
      add({reading.without_prefix, degree, false, reading.selected, reading.reading});
    }
    add({"sink", degree, true, 0, all});
    for (const auto& reading : readings) {
      add({reading.with_prefix, degree, true, reading.selected, reading.reading});
    }
  }
  return plan;
}

std::vector<int64_t> before_units(const TaskItem& item, const TasksOptions& options, bool prefix) {
  auto tokens = options.bos;
  tokens.insert(tokens.end(), item.lead.begin(), item.lead.end());
  if (prefix) {
    tokens.insert(tokens.end(), item.prefix.begin(), item.prefix.end());
  }
  return tokens;
}

int64_t filled_pieces(const TaskItem& item, int64_t degree) {
  const auto units = static_cast<int64_t>(item.units.size());
  return degree == TasksOptions::kUnits ? units : std::min(degree, units);
}

Layout layout_of(const TaskItem& item, const TasksOptions& options, const Mode& mode) {
  std::vector<int64_t> lengths;
  for (const auto& unit : item.units) {
    lengths.push_back(static_cast<int64_t>(unit.size()));
  }
  return make_layout(static_cast<int64_t>(before_units(item, options, mode.prefix).size()),
                     split_units(lengths, filled_pieces(item, mode.pieces)), options.positions);
}

ItemCost cost_of(const TaskItem& item, const Config& config, const TasksOptions& options,
                 const Mode& mode) {
  const auto layers = static_cast<double>(config.layers);
  const auto rows = static_cast<int64_t>(item.query.size()) + item.record.tokens;
  const auto cost =
      compare::cost_of(config, layout_of(item, options, mode), rows, compare::passes_of(mode));
  return {cost.encode_layer, layers * cost.read_layer};
}

int64_t TaskItem::tokens() const {
  auto sum = static_cast<int64_t>(lead.size() + query.size());
  for (const auto& unit : units) {
    sum += static_cast<int64_t>(unit.size());
  }
  return sum;
}

int64_t TaskItem::longest() const {
  auto most = std::max(record.tokens, static_cast<int64_t>(gold.size()));
  for (const auto& candidate : candidates) {
    most = std::max(most, static_cast<int64_t>(candidate.size()));
  }
  return most;
}

TaskItem item_of(const TaskRecord& record, const Tokenizer& tokenizer, const Config& config,
                 const TasksOptions& options, const TasksPlan& plan) {
  const auto where = "the item " + record.id + " of the task " + record.task;
  const auto ids = [&](const std::string& text, const std::string& what) {
    auto tokens = tokens_of(tokenizer, text, where + ": " + what);
    require(!tokens.empty(), where, ": ", what, " has no tokens");
    return tokens;
  };
  TaskItem item;
  item.record = record;
  for (std::size_t i = 0; i < record.units.size(); ++i) {
    item.units.push_back(ids(record.units[i], "unit " + std::to_string(i)));
  }
  item.lead = tokens_of(tokenizer, record.lead, where + ": its lead");
  item.prefix =
      record.prefix ? tokens_of(tokenizer, *record.prefix, where + ": its prefix") : options.prefix;
  item.query = ids(record.query, "its query");
  const std::string space = record.space ? " " : "";
  item.gold = ids(space + record.gold, "its gold answer");
  for (const auto& candidate : record.candidates) {
    item.candidates.push_back(ids(space + candidate, "the candidate '" + candidate + "'"));
  }
  if (one_begins_another(item.candidates)) {
    // As it stands behind a word: by itself a line break is two tokens to SentencePiece.
    const auto end = record.stop.empty() ? "\n" : record.stop[0];
    const auto word = ids("x", "a word"), ended = ids("x" + end, "a word and what ends it");
    require(ended.size() > word.size() && std::equal(word.begin(), word.end(), ended.begin()),
            where, ": one candidate begins another, and '", end,
            "' has no token of its own behind them; another first 'stop' would end them");
    for (auto& candidate : item.candidates) {
      candidate.push_back(ended[word.size()]);
    }
  }
  if (options.truncate) {
    truncate(item, config, options);
  }
  const auto& gold = item.record.gold_units;
  if (!item.record.depth && !gold.empty() && item.units.size() > 1) {
    item.record.depth = static_cast<double>(gold[0]) / static_cast<double>(item.units.size() - 1);
  }
  for (const auto& mode : plan.modes) {
    mode.reading->check(config.layers, config.heads);
    const auto leave_out = [&](const auto&... reason) {
      std::ostringstream text;
      (text << ... << reason);
      item.left_out.push_back({record.task, record.id, mode.name, mode.pieces, text.str()});
    };
    const auto filled = filled_pieces(item, mode.pieces);
    if (mode.prefix && item.prefix.empty()) {
      leave_out("the prefix is empty");
      continue;
    }
    if (mode.selected > filled) {
      leave_out("K = ", mode.selected, " is more than its ", filled,
                filled == 1 ? " piece" : " pieces");
      continue;
    }
    if (const auto needed = positions_of(item, options, mode); needed > config.positions) {
      leave_out("it needs ", needed, " positions, the model has ", config.positions);
      continue;
    }
    const auto cost = cost_of(item, config, options, mode);
    item.flops += cost.read;
    if (std::none_of(item.modes.begin(), item.modes.end(),
                     [&](const Mode& earlier) { return compare::share_context(earlier, mode); })) {
      item.flops += static_cast<double>(config.layers) * cost.encode_layer;
    }
    item.modes.push_back(mode);
  }
  return item;
}

}  // namespace motet
