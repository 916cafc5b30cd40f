#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace motet {

/// How an answer is scored; see score_answer.
enum class AnswerRule {
  kExact,      ///< it is one of the references: PCE's in-context learning
  kSubstring,  ///< it holds one of them: HELMET's retrieval
  kFound,      ///< the share of references in it: RULER's niah, vt, cwe and fwe
  kAny,        ///< whether any of them is in it: RULER's qa
  kF1,         ///< the words that it shares with the closest: SQuAD
};

/// `exact`, `substring`, `found`, `any` or `f1`. Throws Error for another name.
AnswerRule answer_rule_named(std::string_view name);
/// The reverse of answer_rule_named.
std::string_view name_of(AnswerRule rule);

/// A question of a task, with its context: what motet-eval runs, and a line of its files.
struct TaskRecord {
  std::string task;                   ///< what its figures are joined by
  std::string group;                  ///< of tasks, in the paper's tables; empty: the task's own
  std::string id;                     ///< of the item in the task
  std::string lead;                   ///< before everything, in every mode, `full` included
  std::optional<std::string> prefix;  ///< in place of the run's, in modes that have one
  std::vector<std::string> units;     ///< of the context, in order; none is cut
  std::string query;                  ///< what comes after the context
  std::vector<std::string> answers;   ///< references
  int64_t tokens = 32;                ///< of an output, at most
  AnswerRule rule = AnswerRule::kSubstring;  ///< `score` in files
  bool parse_line = false;  ///< `"parse": "line"`: the output's first line is the answer
  /// Whose likelihood is measured; the first of `answers`, unless given.
  std::string gold;
  bool space = true;                    ///< gold and candidates are tokenised behind a space
  std::vector<int64_t> gold_units;      ///< units that hold the answer, from 0; none: not known
  std::vector<std::string> candidates;  ///< that the likelihood chooses from, `gold` among them
  std::vector<std::string> stop;        ///< texts that end an output, and are no part of it
  /// Of the gold unit, 0 (first) to 1 (last); by `gold_units`, unless given.
  std::optional<double> depth;

  /// Throws Error naming the first field that cannot be.
  void validate() const;
  /// SHA-256 of lead, units and query: of the prompt, but for what a mode puts before it.
  std::string prompt_hash() const;
};

/// Records of a JSONL file, and fields of it that no record has, each once.
struct TaskRecords {
  std::vector<TaskRecord> records;        ///< in the order of lines
  std::vector<std::string> other_fields;  ///< not read
};

/// A record of a JSON object, see docs/tasks.md. Throws Error, which begins with `where`.
TaskRecord record_of(const nlohmann::json& json, const std::string& where);

/// Reads a file of records, a JSON object a line. Throws Error naming file, line and field.
TaskRecords read_records(const std::filesystem::path& path);

/// What an output says, by the record's `parse`: its first line without white space at both ends,
/// or the whole of it.
std::string parsed_answer(const TaskRecord& record, const std::string& output);

/// The score of an output, 0 to 1, by the record's rule; where `parse` is `line`, `exact`, `any`,
/// `found` and `f1` look at that line, and `substring` at it and at the whole output, the better
/// one. `exact`, `substring` and `f1` compare what normalized_answer leaves; `found` and `any` do
/// not distinguish case, and control characters are removed first.
double score_answer(const TaskRecord& record, const std::string& output);

/// SQuAD's normalisation (Rajpurkar et al. 2016, arXiv 1606.05250): lower case, no ASCII
/// punctuation, no articles, single spaces.
std::string normalized_answer(std::string_view text);

}  // namespace motet
