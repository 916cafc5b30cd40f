#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "motet/eval/fields.h"
#include "motet/eval/intervals.h"

namespace motet {

/// The figures of one mode on one item of a task; `run.json` has the same names. Entropies in nats.
struct ItemRow {
  std::string task;             ///< as TaskRecord::task
  std::string group;            ///< as TaskRecord::group, or the task
  std::string id;               ///< as TaskRecord::id
  std::string layout;           ///< of the prompt: pce, helmet, or that of a file
  std::string prompt_hash;      ///< as TaskRecord::prompt_hash
  std::string rule;             ///< of the score, as name_of(AnswerRule); `, line` where parsed
  std::optional<double> depth;  ///< as TaskRecord::depth
  std::string mode;             ///< as Mode::name
  std::string reading;          ///< with its options, as Reading::name
  int64_t pieces = 1;           ///< the degree P that was asked for; 0: a unit a piece
  int64_t pieces_filled = 1;    ///< fewer, where the item has fewer units
  int64_t prefix_tokens = 0;    ///< of the shared prefix
  int64_t selected = 0;         ///< K; 0 where every piece is read
  int64_t units = 0;            ///< that were read
  int64_t units_dropped = 0;    ///< from the far end, by TasksOptions::truncate
  int64_t tokens = 0;           ///< of context and query

  std::optional<std::vector<std::string>> answers;  ///< as TaskRecord::answers

  std::optional<std::string> output;       ///< without special tokens; nothing where none was made
  std::optional<std::string> parsed;       ///< as parsed_answer
  std::vector<int64_t> output_ids;         ///< special tokens included
  std::optional<double> score;             ///< 0 to 1, as score_answer
  std::vector<double> answer_nlls;         ///< of the tokens of the gold answer, nats
  double answer_nll = 0;                   ///< their sum
  int64_t answer_tokens = 0;               ///< their number
  bool answer_greedy = false;              ///< whether each of them is the most likely one
  std::optional<double> candidate_best;    ///< 1 where gold is the most likely candidate, else 0
  std::optional<double> candidate_margin;  ///< its log likelihood less that of the best other, nats
  std::optional<int64_t> candidate_rank;   ///< of gold, from 1

  double entropy_query = 0;           ///< mean over layers, heads and rows of the query's call
  std::optional<double> entropy_pce;  ///< unweighted mean over calls: the query's, and one a token
  std::optional<double> entropy_tok;  ///< mean over layers, heads and rows of the same calls
  double mass_prefix = 0;             ///< probability of the prefix, mean over the query's call
  double mass_own = 0;                ///< of the query's own keys
  std::optional<double> mass_null;    ///< of the null set, where the reading has one
  double mass_top_piece = 0;          ///< of the piece with the most
  // Where the item names the units that hold the answer, and there are several pieces.
  std::optional<double> mass_gold;     ///< of the pieces with them, mean over the query's call
  std::optional<double> best_is_gold;  ///< share of rows whose piece with the most is one of them
  std::optional<double> kept_is_gold;  ///< share of rows that keep one of them; 1 without selection
  std::optional<double> gold_chance;   ///< share of pieces that are such
  /// Share of the rows that predict the gold answer whose piece with the most holds it,
  /// [layers][heads].
  std::optional<std::vector<std::vector<double>>> gold_heads;

  double cost_ratio = 1;      ///< as Layout::cost_ratio
  double encode_seconds = 0;  ///< of prefix and pieces
  double read_seconds = 0;  ///< of query, answers and output: its share of what modes read together

  template <class Visit>
  static void fields(Visit&& visit) {  ///< see fields.h
    visit(figure::key("task", &ItemRow::task));
    visit(figure::same("group", &ItemRow::group));
    visit(figure::same("id", &ItemRow::id));
    visit(figure::same("layout", &ItemRow::layout));
    visit(figure::same("prompt_hash", &ItemRow::prompt_hash));
    visit(figure::same("rule", &ItemRow::rule));
    visit(figure::same("depth", &ItemRow::depth));
    visit(figure::key("mode", &ItemRow::mode));
    visit(figure::key("reading", &ItemRow::reading));
    visit(figure::key("pieces", &ItemRow::pieces));
    visit(figure::same("pieces_filled", &ItemRow::pieces_filled));
    visit(figure::same("prefix_tokens", &ItemRow::prefix_tokens));
    visit(figure::same("selected", &ItemRow::selected));
    visit(figure::same("units", &ItemRow::units));
    visit(figure::same("units_dropped", &ItemRow::units_dropped));
    visit(figure::same("tokens", &ItemRow::tokens));
    visit(figure::later(figure::same("answers", &ItemRow::answers)));
    visit(figure::same("output", &ItemRow::output));
    visit(figure::same("parsed", &ItemRow::parsed));
    visit(figure::same("output_ids", &ItemRow::output_ids));
    visit(figure::same("score", &ItemRow::score));
    visit(figure::same("answer_nlls", &ItemRow::answer_nlls));
    visit(figure::same("answer_nll", &ItemRow::answer_nll));
    visit(figure::same("answer_tokens", &ItemRow::answer_tokens));
    visit(figure::same("answer_greedy", &ItemRow::answer_greedy));
    visit(figure::same("candidate_best", &ItemRow::candidate_best));
    visit(figure::same("candidate_margin", &ItemRow::candidate_margin));
    visit(figure::same("candidate_rank", &ItemRow::candidate_rank));
    visit(figure::same("entropy_query", &ItemRow::entropy_query));
    visit(figure::same("entropy_pce", &ItemRow::entropy_pce));
    visit(figure::same("entropy_tok", &ItemRow::entropy_tok));
    visit(figure::same("mass_prefix", &ItemRow::mass_prefix));
    visit(figure::same("mass_own", &ItemRow::mass_own));
    visit(figure::later(figure::same("mass_null", &ItemRow::mass_null)));
    visit(figure::same("mass_top_piece", &ItemRow::mass_top_piece));
    visit(figure::same("mass_gold", &ItemRow::mass_gold));
    visit(figure::same("best_is_gold", &ItemRow::best_is_gold));
    visit(figure::same("kept_is_gold", &ItemRow::kept_is_gold));
    visit(figure::same("gold_chance", &ItemRow::gold_chance));
    visit(figure::same("gold_heads", &ItemRow::gold_heads));
    visit(figure::same("cost_ratio", &ItemRow::cost_ratio));
    visit(figure::same("encode_seconds", &ItemRow::encode_seconds));
    visit(figure::same("read_seconds", &ItemRow::read_seconds));
  }
};

/// The figures of one mode on the items of a task.
struct TaskRow {
  std::string task;                   ///< as ItemRow
  std::string group;                  ///< as ItemRow
  std::string layout;                 ///< as ItemRow
  std::string rule;                   ///< as ItemRow
  std::string prompts_hash;           ///< SHA-256 of the items' prompt hashes
  std::string mode;                   ///< as ItemRow
  std::string reading;                ///< as ItemRow
  int64_t pieces = 1;                 ///< as ItemRow
  double pieces_filled = 1;           ///< mean over items
  int64_t prefix_tokens = 0;          ///< of the first item
  int64_t selected = 0;               ///< as ItemRow
  int64_t items = 0;                  ///< how many
  int64_t outputs = 0;                ///< of them, with an output
  int64_t chosen = 0;                 ///< of them, with candidates
  Measured score;                     ///< mean over outputs
  Measured nll;                       ///< of gold answers, nats a token
  double perplexity = 0;              ///< exp(nll)
  double answer_nll = 0;              ///< sum over items, nats
  int64_t answer_tokens = 0;          ///< sum over items
  Measured candidate_accuracy;        ///< share of items whose gold candidate is the most likely
  Measured candidate_margin;          ///< mean, nats
  Measured entropy_query;             ///< mean over items, as the others below
  Measured entropy_pce;               ///< as ItemRow
  Measured entropy_tok;               ///< as ItemRow
  Measured mass_prefix;               ///< as ItemRow
  Measured mass_own;                  ///< as ItemRow
  Measured mass_null;                 ///< as ItemRow
  Measured mass_top_piece;            ///< as ItemRow
  Measured mass_gold;                 ///< as ItemRow
  Measured best_is_gold;              ///< as ItemRow
  Measured kept_is_gold;              ///< as ItemRow
  std::optional<double> gold_chance;  ///< mean over items
  std::optional<std::vector<std::vector<double>>> gold_heads;  ///< mean over items
  double cost_ratio = 1;                                       ///< mean over items
  double encode_seconds = 0;                                   ///< sum over items
  double read_seconds = 0;                                     ///< sum over items

  template <class Visit>
  static void fields(Visit&& visit) {  ///< see fields.h
    visit(figure::key("task", &TaskRow::task));
    visit(figure::same("group", &TaskRow::group));
    visit(figure::same("layout", &TaskRow::layout));
    visit(figure::same("rule", &TaskRow::rule));
    visit(figure::same("prompts_hash", &TaskRow::prompts_hash));
    visit(figure::key("mode", &TaskRow::mode));
    visit(figure::key("reading", &TaskRow::reading));
    visit(figure::key("pieces", &TaskRow::pieces));
    visit(figure::same("pieces_filled", &TaskRow::pieces_filled));
    visit(figure::same("prefix_tokens", &TaskRow::prefix_tokens));
    visit(figure::same("selected", &TaskRow::selected));
    visit(figure::same("items", &TaskRow::items));
    visit(figure::same("outputs", &TaskRow::outputs));
    visit(figure::same("chosen", &TaskRow::chosen));
    visit(figure::same("score", &TaskRow::score));
    visit(figure::same("nll", &TaskRow::nll));
    visit(figure::same("perplexity", &TaskRow::perplexity));
    visit(figure::same("answer_nll", &TaskRow::answer_nll));
    visit(figure::same("answer_tokens", &TaskRow::answer_tokens));
    visit(figure::same("candidate_accuracy", &TaskRow::candidate_accuracy));
    visit(figure::same("candidate_margin", &TaskRow::candidate_margin));
    visit(figure::same("entropy_query", &TaskRow::entropy_query));
    visit(figure::same("entropy_pce", &TaskRow::entropy_pce));
    visit(figure::same("entropy_tok", &TaskRow::entropy_tok));
    visit(figure::same("mass_prefix", &TaskRow::mass_prefix));
    visit(figure::same("mass_own", &TaskRow::mass_own));
    visit(figure::same("mass_null", &TaskRow::mass_null));
    visit(figure::same("mass_top_piece", &TaskRow::mass_top_piece));
    visit(figure::same("mass_gold", &TaskRow::mass_gold));
    visit(figure::same("best_is_gold", &TaskRow::best_is_gold));
    visit(figure::same("kept_is_gold", &TaskRow::kept_is_gold));
    visit(figure::same("gold_chance", &TaskRow::gold_chance));
    visit(figure::same("gold_heads", &TaskRow::gold_heads));
    visit(figure::same("cost_ratio", &TaskRow::cost_ratio));
    visit(figure::same("encode_seconds", &TaskRow::encode_seconds));
    visit(figure::same("read_seconds", &TaskRow::read_seconds));
  }
};

/// How a table or a picture names the row's mode: as label_of(CompareRow), where a selection of two
/// pieces by heads and rows together, which is usual in tasks, is `selective` or `both`; another
/// one has its reading's name.
std::string label_of(const TaskRow& row);
/// The same, of an item's row.
std::string label_of(const ItemRow& row);

/// The rows of single items joined to one for each task and mode, in the order of their first
/// appearance, each figure with its interval.
std::vector<TaskRow> over_items(const std::vector<ItemRow>& item_rows);

/// Whether modes with less attention entropy do better, as the paper has it: Spearman's rank
/// correlation over the modes of a task, on the items that all of them have.
struct TaskCorrelation {
  std::string task;   ///< as ItemRow
  int64_t modes = 0;  ///< at least 3
  int64_t items = 0;  ///< that all modes have
  Interval nll;       ///< of entropy_query and nll: 1 where the entropies order the losses
  Interval score;     ///< of entropy_pce and score, of items that all have an output
};

/// Those of tasks with at least three modes.
std::vector<TaskCorrelation> entropy_correlations(const std::vector<ItemRow>& item_rows);

/// A cell of the paper's three tables: figures of one mode of selection and prefix at one degree,
/// the unweighted mean over the tasks of a group.
struct GroupCell {
  std::string group;        ///< as ItemRow
  int64_t pieces = 1;       ///< the degree P
  int64_t selected = 0;     ///< K; 0 where every piece is read
  bool prefix = false;      ///< whether there is one
  int64_t tasks = 0;        ///< of the group
  Interval log_perplexity;  ///< of the gold answers, nats a token
  Interval score;           ///< 0 to 1
  Interval entropy;         ///< as the paper's code takes it, where there are outputs
};

/// All of them, by group, degree, selection and prefix: of full, parallel, sink, selective, both.
std::vector<GroupCell> group_cells(const std::vector<ItemRow>& item_rows);

}  // namespace motet
