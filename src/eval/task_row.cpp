#include "motet/eval/task_row.h"

#include <cmath>
#include <utility>

#include "eval/task_table.h"
#include "motet/error.h"
#include "motet/eval/mode.h"
#include "motet/eval/tasks.h"
#include "motet/files/sha256.h"
#include "motet/reading/select.h"

namespace motet {
namespace {

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
    row.chosen += item->candidate_best ? 1 : 0;
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
  row.mass_null = over(&ItemRow::mass_null);
  row.mass_top_piece = over(&ItemRow::mass_top_piece);
  row.mass_gold = over(&ItemRow::mass_gold);
  row.best_is_gold = over(&ItemRow::best_is_gold);
  row.kept_is_gold = over(&ItemRow::kept_is_gold);
  return row;
}

template <class Row>
std::string label(const Row& row) {
  if (row.selected == 0) {
    return mode_label(row.mode, row.reading, 0, row.prefix_tokens > 0);
  }
  const Select usual({.pieces = TasksOptions().select, .heads = true, .rows = true});
  return row.reading == usual.name() ? row.mode
                                     : row.reading + (row.prefix_tokens > 0 ? " + prefix" : "");
}

}  // namespace

std::string label_of(const TaskRow& row) { return label(row); }
std::string label_of(const ItemRow& row) { return label(row); }

std::vector<TaskRow> over_items(const std::vector<ItemRow>& item_rows) {
  std::vector<TaskRow> rows;
  for (const auto& task : task_tables(item_rows)) {
    const Resamples draws(task.items);
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
