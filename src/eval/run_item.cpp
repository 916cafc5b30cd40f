#include <ATen/ATen.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "eval/clock.h"
#include "eval/compare_cost.h"
#include "eval/read_modes.h"
#include "eval/task_layout.h"
#include "motet/eval/tasks.h"
#include "motet/model/encode.h"
#include "motet/probe/probe.h"

namespace motet {
namespace {

/// Tells of each layer of a context.
class EncodeProgress : public Probe {
 public:
  EncodeProgress(const TasksProgress& report, double layer) : report_(report), layer_(layer) {}
  ProbeNeeds needs() const override { return {}; }
  void observe(const Observation&) override {
    if (report_) {
      report_(layer_);
    }
  }

 private:
  const TasksProgress& report_;
  double layer_;
};

ItemRow row_of(const TaskItem& item, const Mode& mode, const std::string& layout) {
  const auto& record = item.record;
  ItemRow row;
  row.task = record.task;
  row.group = record.group.empty() ? record.task : record.group;
  row.id = record.id;
  row.layout = layout;
  row.prompt_hash = record.prompt_hash();
  row.rule = std::string(name_of(record.rule)) + (record.parse_line ? ", line" : "");
  row.depth = record.depth;
  row.mode = mode.name;
  row.reading = mode.reading->name();
  row.pieces = mode.pieces;
  row.pieces_filled = filled_pieces(item, mode.pieces);
  row.prefix_tokens = mode.prefix ? static_cast<int64_t>(item.prefix.size()) : 0;
  row.selected = mode.selected;
  row.units = static_cast<int64_t>(item.units.size());
  row.units_dropped = item.dropped;
  row.tokens = item.tokens();
  row.answers = record.answers;
  return row;
}

}  // namespace

std::vector<ItemRow> run_item(const Decoder& model, const Tokenizer& tokenizer,
                              const TaskItem& item, const TasksOptions& options, bool generate,
                              const std::string& layout, const TasksProgress& progress) {
  const at::NoGradGuard no_grad;
  const auto& modes = item.modes;
  std::vector<ItemRow> rows(modes.size());
  std::vector<bool> done(modes.size());
  for (std::size_t i = 0; i < modes.size(); ++i) {
    if (done[i]) {
      continue;
    }
    const auto shape = layout_of(item, options, modes[i]);
    auto tokens = before_units(item, options, modes[i].prefix);
    for (const auto& unit : item.units) {
      tokens.insert(tokens.end(), unit.begin(), unit.end());
    }
    const auto reach =
        shape.query_position + static_cast<int64_t>(item.query.size()) + item.longest();
    EncodeProgress step(progress, cost_of(item, model.config(), options, modes[i]).encode_layer);
    const auto start = Clock::now();
    const auto context = encode(model, tokens, shape, {&step}, {.reach = reach});
    const auto encode_seconds = seconds_since(start);
    std::vector<std::pair<const Mode*, ItemRow*>> together;
    for (std::size_t j = i; j < modes.size(); ++j) {  // those that share it
      if (done[j] || !compare::share_context(modes[i], modes[j])) {
        continue;
      }
      done[j] = true;
      auto& row = rows[j] = row_of(item, modes[j], layout);
      row.cost_ratio = shape.cost_ratio();
      row.encode_seconds = encode_seconds;
      together.emplace_back(&modes[j], &row);
    }
    read_modes(model, tokenizer, item, options, context, together, generate, progress);
  }
  return rows;
}

}  // namespace motet
