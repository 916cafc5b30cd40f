#include "motet/eval/task_row.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "motet/error.h"
#include "motet/eval/mode.h"
#include "motet/files/sha256.h"
#include "motet/reading/select.h"

namespace motet {
namespace {

/// Rows of a task's items, one for each mode; null where an item was not read in that mode.
struct ModeRows {
  const ItemRow* first;
  std::vector<const ItemRow*> items;
};

/// A task: its items, in the order of their first appearance, and its modes.
struct TaskTable {
  std::map<std::string, std::size_t> places;
  std::vector<ModeRows> modes;
};

bool same_mode(const ItemRow& a, const ItemRow& b) {
  return a.mode == b.mode && a.reading == b.reading && a.pieces == b.pieces &&
         (a.prefix_tokens > 0) == (b.prefix_tokens > 0);
}

/// A figure of every item of a mode. `value` gives an optional one.
template <class Value>
ItemFigure figure_of(const ModeRows& mode, const Value& value) {
  ItemFigure figure;
  for (const auto* row : mode.items) {
    figure.add(row != nullptr ? std::optional<double>(value(*row)) : std::nullopt);
  }
  return figure;
}

ItemFigure nll_of(const ModeRows& mode) {
  ItemFigure figure;
  for (const auto* row : mode.items) {
    figure.add(row != nullptr ? row->answer_nll : 0,
               row != nullptr ? static_cast<double>(row->answer_tokens) : 0);
  }
  return figure;
}

/// What a mode is compared with; null where it was not run.
struct Others {
  const ModeRows* full = nullptr;
  const ModeRows* parallel = nullptr;
};

template <class Figure>
Measured measured(const Resamples& draws, const ModeRows& mode, const Others& others,
                  const Figure& figure) {
  const auto own = figure(mode);
  Measured all;
  const auto put = [](const Interval& interval, auto&... to) {
    std::tie(to...) = std::tuple(interval.value, interval.low, interval.high);
  };
  put(draws.over(own), all.value, all.low, all.high);
  if (others.full != nullptr && others.full != &mode) {
    put(draws.difference(own, figure(*others.full)), all.minus_full, all.minus_full_low,
        all.minus_full_high);
  }
  if (others.parallel != nullptr && others.parallel != &mode) {
    put(draws.difference(own, figure(*others.parallel)), all.minus_parallel, all.minus_parallel_low,
        all.minus_parallel_high);
  }
  return all;
}

/// Adds a table to a sum of them.
void add_table(std::optional<std::vector<std::vector<double>>>& sum,
               const std::vector<std::vector<double>>& table) {
  if (!sum) {
    sum = table;
    return;
  }
  require(sum->size() == table.size() && sum->at(0).size() == table[0].size(),
          "motet::over_items: gold_heads of ", sum->size(), " and of ", table.size(),
          " layers cannot be joined");
  for (std::size_t i = 0; i < table.size(); ++i) {
    for (std::size_t j = 0; j < table[i].size(); ++j) {
      (*sum)[i][j] += table[i][j];
    }
  }
}

TaskRow row_of(const Resamples& draws, const ModeRows& mode, const Others& others) {
  TaskRow row;
  const auto& first = *mode.first;
  row.task = first.task;
  row.group = first.group;
  row.layout = first.layout;
  row.rule = first.rule;
  row.mode = first.mode;
  row.reading = first.reading;
  row.pieces = first.pieces;
  row.prefix_tokens = first.prefix_tokens;
  row.selected = first.selected;
  std::string hashes;
  row.pieces_filled = row.cost_ratio = 0;
  double gold = 0;
  for (const auto* item : mode.items) {
    if (item == nullptr) {
      continue;
    }
    ++row.items;
    row.outputs += item->output ? 1 : 0;
    hashes += item->prompt_hash;
    row.pieces_filled += static_cast<double>(item->pieces_filled);
    row.answer_nll += item->answer_nll;
    row.answer_tokens += item->answer_tokens;
    row.cost_ratio += item->cost_ratio;
    row.encode_seconds += item->encode_seconds;
    row.read_seconds += item->read_seconds;
    if (item->gold_heads) {
      row.gold_chance = row.gold_chance.value_or(0) + item->gold_chance.value_or(0);
      add_table(row.gold_heads, *item->gold_heads);
      ++gold;
    }
  }
  row.prompts_hash = sha256(hashes);
  row.pieces_filled /= static_cast<double>(row.items);
  row.cost_ratio /= static_cast<double>(row.items);
  if (row.gold_heads) {
    *row.gold_chance /= gold;
    for (auto& layer : *row.gold_heads) {
      for (auto& head : layer) {
        head /= gold;
      }
    }
  }
  const auto over = [&](auto ItemRow::*value) {
    return measured(draws, mode, others, [value](const ModeRows& rows) {
      return figure_of(rows, [value](const ItemRow& item) { return item.*value; });
    });
  };
  row.score = over(&ItemRow::score);
  row.nll = measured(draws, mode, others, nll_of);
  row.perplexity = std::exp(row.nll.value.value_or(0));
  row.candidate_accuracy = over(&ItemRow::candidate_best);
  row.candidate_margin = over(&ItemRow::candidate_margin);
  row.entropy_query = over(&ItemRow::entropy_query);
  row.entropy_pce = over(&ItemRow::entropy_pce);
  row.entropy_tok = over(&ItemRow::entropy_tok);
  row.mass_prefix = over(&ItemRow::mass_prefix);
  row.mass_own = over(&ItemRow::mass_own);
  row.mass_top_piece = over(&ItemRow::mass_top_piece);
  row.mass_gold = over(&ItemRow::mass_gold);
  row.best_is_gold = over(&ItemRow::best_is_gold);
  row.kept_is_gold = over(&ItemRow::kept_is_gold);
  return row;
}

}  // namespace

std::string label_of(const TaskRow& row) {
  const auto usual = SelectOptions{.pieces = row.selected, .heads = true, .rows = true};
  const bool named = row.selected > 0 && row.reading == Select(usual).name();
  return named ? row.mode : mode_label(row.mode, row.reading, row.selected, row.prefix_tokens > 0);
}

std::vector<TaskRow> over_items(const std::vector<ItemRow>& item_rows) {
  std::vector<std::pair<std::string, TaskTable>> tasks;
  for (const auto& row : item_rows) {
    auto task = std::find_if(tasks.begin(), tasks.end(),
                             [&](const auto& known) { return known.first == row.task; });
    if (task == tasks.end()) {
      task = tasks.insert(tasks.end(), {row.task, {}});
    }
    auto& [places, modes] = task->second;
    const auto place = places.emplace(row.id, places.size()).first->second;
    auto mode = std::find_if(modes.begin(), modes.end(),
                             [&](const ModeRows& known) { return same_mode(*known.first, row); });
    if (mode == modes.end()) {
      mode = modes.insert(modes.end(), {&row, {}});
    }
    mode->items.resize(std::max(mode->items.size(), place + 1), nullptr);
    mode->items[place] = &row;
  }
  std::vector<TaskRow> rows;
  for (auto& [name, task] : tasks) {
    const auto items = task.places.size();
    for (auto& mode : task.modes) {
      mode.items.resize(items, nullptr);
    }
    const Resamples draws(static_cast<int64_t>(items));
    for (const auto& mode : task.modes) {
      Others others;
      for (const auto& other : task.modes) {
        if (other.first->mode == "full") {
          others.full = &other;
        }
        if (other.first->mode == "parallel" && other.first->pieces == mode.first->pieces) {
          others.parallel = &other;
        }
      }
      rows.push_back(row_of(draws, mode, others));
    }
  }
  return rows;
}

}  // namespace motet
