#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "motet/context/layout.h"
#include "motet/eval/mode.h"
#include "motet/eval/record.h"
#include "motet/eval/task_row.h"
#include "motet/model/ablation.h"
#include "motet/model/decoder.h"
#include "motet/text/tokenizer.h"

namespace motet {

/// Items of tasks, every way of reading their units: what PCE's tables compare (arXiv 2412.16545,
/// section 3); see docs/tasks.md.
struct TasksOptions {
  static constexpr int64_t kUnits = 0;  ///< the degree that has a unit in each piece

  std::vector<int64_t> pieces{1, 4, 16};  ///< degrees; `full` is read whether 1 is there or not
  std::vector<int64_t> prefix;            ///< tokens of the shared prefix
  std::vector<int64_t> bos;               ///< tokens before it and in every mode, `full` included
  /// K of `select` readings that name none; they choose for heads and rows together, as PCE does in
  /// tasks.
  int64_t select = 2;
  /// Beside `all`, each of them without and with the prefix; as reading_named takes them.
  std::vector<std::string> readings{"select"};
  Positions positions = Positions::kSpread;  ///< of the pieces' tokens
  bool full_length = false;  ///< outputs have as many tokens as the record says, as in PCE
  std::vector<int64_t> end;  ///< tokens that end an output otherwise
  /// Whole units are left out from the far end where an item is longer than the model's positions,
  /// in every mode alike; otherwise modes that cannot hold it are left out.
  bool truncate = false;
  Ablation ablation;  ///< of every mode

  /// Throws FieldError naming the first option that cannot be.
  void validate() const;
};

/// A mode that an item cannot be read in, and why.
struct ItemLeftOut {
  std::string task;    ///< of the item
  std::string id;      ///< of the item
  std::string mode;    ///< its name
  int64_t pieces = 1;  ///< the degree P
  std::string reason;  ///< with the numbers
};

/// The modes of a run.
struct TasksPlan {
  std::vector<Mode> modes;        ///< in the order in which they run, `full` first
  std::vector<LeftOut> left_out;  ///< of the modes that were asked for
};

/// What will be run of every item. Throws Error for options that cannot be.
TasksPlan plan_tasks(const TasksOptions& options);

/// A record in tokens, and what is done with it.
struct TaskItem {
  TaskRecord record;                        ///< with the units that are read
  std::vector<std::vector<int64_t>> units;  ///< each by itself: no token goes over an edge
  std::vector<int64_t> lead;                ///< before everything
  std::vector<int64_t> prefix;              ///< of modes that have one
  std::vector<int64_t> query;               ///< what comes after the context
  std::vector<int64_t> gold;                ///< the gold answer, behind a space as a rule
  /// In the same way; where one's tokens begin another's, each with a token behind it that ends it:
  /// the first of the record's `stop`, or of a line break. Without it the shorter one could not
  /// lose.
  std::vector<std::vector<int64_t>> candidates;
  int64_t dropped = 0;                ///< units, by TasksOptions::truncate
  bool gold_dropped = false;          ///< whether one of them holds the answer
  std::vector<Mode> modes;            ///< of the plan's, those that it is read in
  std::vector<ItemLeftOut> left_out;  ///< the others
  double flops = 0;  ///< of all modes: products of weights, scores and values, without candidates

  /// Tokens of context and query.
  int64_t tokens() const;
  /// The most tokens that are read behind the query: of an output, the gold answer or a candidate.
  int64_t longest() const;
};

/// Tokenises a record and decides which modes it is read in. Throws Error where a part of it has no
/// tokens.
TaskItem item_of(const TaskRecord& record, const Tokenizer& tokenizer, const Config& config,
                 const TasksOptions& options, const TasksPlan& plan);

/// Told of every step of work, in FLOPs of those that TaskItem::flops counts. What it throws ends
/// the run.
using TasksProgress = std::function<void(double flops)>;

/// Reads an item in all of its modes. Outputs are made where `generate` is true; without them
/// likelihoods remain. Where there is one, an item's context is encoded once for all modes that
/// share it.
std::vector<ItemRow> run_item(const Decoder& model, const Tokenizer& tokenizer,
                              const TaskItem& item, const TasksOptions& options, bool generate,
                              const std::string& layout, const TasksProgress& progress = {});

}  // namespace motet
