#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "motet/eval/task.h"

namespace motet {

// What ruler, helmet and kvpress share: lines that others made, of the kinds of task that RULER
// has.

/// A kind of RULER's tasks (Hsieh et al. 2024, arXiv 2404.06654).
struct RulerKind {
  std::string_view name;  ///< its tasks begin with it: niah_single_1, qa_2
  const char* group;      ///< of its tasks
  int64_t tokens;         ///< of an output
  AnswerRule rule;        ///< of an output
};

/// All kinds, niah first.
const std::vector<RulerKind>& ruler_kinds();

/// The kind of a task that is called as RULER's are (`niah_single_1`), or HELMET's
/// (`ruler_niah_s_1`); null where it is called otherwise.
const RulerKind* ruler_kind_of(std::string_view task);

/// The bytes of a context, or of a prompt, that say what to do, and show an example where it has
/// one: what is no context yet.
std::size_t lead_bytes(const RulerKind& kind, const std::string& context);

/// A context in units, of which nothing is lost: lines of niah and vt (or sentences, of a text in
/// one or two lines), entries of cwe's list, words of fwe with the dots behind them, documents of
/// qa.
std::vector<std::string> units_of(const RulerKind& kind, const std::string& context);

/// Lines, or sentences where there are no more than two lines.
std::vector<std::string> lines_or_sentences(const std::string& context);

/// Units that hold one of the answers.
std::vector<int64_t> units_with(const std::vector<std::string>& units,
                                const std::vector<std::string>& answers);

/// A field that is a text. Throws Error, which begins with `where`, for another and for none.
std::string text_of(const nlohmann::json& line, const char* name, const std::string& where);

/// A field that is a text or a number, or a list of them. Throws Error as text_of does.
std::vector<std::string> texts_of(const nlohmann::json& line, const char* name,
                                  const std::string& where);

/// What a file calls the fields of a record.
struct FieldNames {
  const char* units;              ///< `context`
  const char* query;              ///< `question`
  const char* answers;            ///< `outputs`
  const char* tokens = "tokens";  ///< `max_new_tokens`
};

/// Puts a record behind the others, with the first answer as the gold one and the units that hold
/// answers. Throws Error, which begins with `where` and names the file's own fields, for one that
/// cannot be.
void add_record(MadeTask& made, TaskRecord record, const std::string& where,
                const FieldNames& names);

}  // namespace motet
