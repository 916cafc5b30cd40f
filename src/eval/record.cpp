#include "motet/eval/record.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "motet/error.h"
#include "motet/files/json.h"
#include "motet/files/sha256.h"
#include "motet/names.h"

namespace motet {
namespace {

using nlohmann::json;

constexpr Names<AnswerRule, 5> kRules({{AnswerRule::kExact, "exact"},
                                       {AnswerRule::kSubstring, "substring"},
                                       {AnswerRule::kFound, "found"},
                                       {AnswerRule::kAny, "any"},
                                       {AnswerRule::kF1, "f1"}});

/// A line of a file of records.
class Line {
 public:
  Line(const json& line, std::string where) : line_(line), where_(std::move(where)) {
    require(line.is_object(), where_, ": a record is a JSON object");
  }

  /// A field, unless it is absent or null.
  const json* find(const char* name) const {
    const auto found = line_.find(name);
    return found == line_.end() || found->is_null() ? nullptr : &*found;
  }
  const json& at(const char* name) const {
    const auto* found = find(name);
    require(found != nullptr, where_, ": has no '", name, "'");
    return *found;
  }
  template <class... Parts>
  [[noreturn]] void refuse(const char* name, const json& value, const Parts&... parts) const {
    fail(where_, ": '", name, "' is ",
         value.dump(-1, ' ', false, json::error_handler_t::replace).substr(0, 80), "; ", parts...);
  }

  std::string text(const char* name, const json& value) const {
    if (!value.is_string()) {
      refuse(name, value, "a text is wanted");
    }
    return value;
  }
  std::string text(const char* name) const { return text(name, at(name)); }
  std::string text_or(const char* name, std::string otherwise) const {
    const auto* value = find(name);
    return value == nullptr ? std::move(otherwise) : text(name, *value);
  }
  std::vector<std::string> texts(const char* name, const json& value) const {
    if (!value.is_array()) {
      refuse(name, value, "a list of texts is wanted");
    }
    std::vector<std::string> all;
    for (const auto& one : value) {
      all.push_back(text(name, one));
    }
    return all;
  }
  std::vector<std::string> texts_or_none(const char* name) const {
    const auto* value = find(name);
    return value == nullptr ? std::vector<std::string>() : texts(name, *value);
  }
  int64_t whole(const char* name, const json& value) const {
    if (!value.is_number_integer()) {
      refuse(name, value, "a whole number is wanted");
    }
    return value;
  }
  const std::string& where() const { return where_; }

 private:
  const json& line_;
  std::string where_;
};

constexpr std::array kFields{"task",       "group",      "id",     "lead",  "prefix", "units",
                             "query",      "answers",    "tokens", "score", "parse",  "gold",
                             "gold_units", "candidates", "stop",   "depth", "space"};

}  // namespace

AnswerRule answer_rule_named(std::string_view name) { return kRules.named("score", name); }

std::string_view name_of(AnswerRule rule) { return kRules.of(rule); }

void TaskRecord::validate() const {
  require(!task.empty(), "'task' is empty; figures are joined by it");
  require(!units.empty(), "'units' is empty; a context has at least one");
  for (std::size_t i = 0; i < units.size(); ++i) {
    require(!units[i].empty(), "unit ", i, " of ", units.size(), " is empty");
  }
  require(!query.empty(), "'query' is empty; what comes after the context is wanted");
  require(!answers.empty(), "'answers' is empty; at least one reference is wanted");
  require(std::find(answers.begin(), answers.end(), "") == answers.end(),
          "'answers' has an empty reference");
  require(!gold.empty(), "'gold' is empty; its likelihood is measured");
  require(tokens >= 1, "'tokens' is ", tokens, "; an output has at least 1");
  for (const auto unit : gold_units) {
    require(unit >= 0 && unit < static_cast<int64_t>(units.size()), "'gold_units' has ", unit,
            "; there are units 0 to ", units.size() - 1);
  }
  require(candidates.empty() ||
              std::find(candidates.begin(), candidates.end(), gold) != candidates.end(),
          "'candidates' has no '", gold, "', which is the gold answer");
  const std::set<std::string> distinct(candidates.begin(), candidates.end());
  require(distinct.size() == candidates.size() && !distinct.contains(""),
          "'candidates' has a text twice, or an empty one");
  require(candidates.size() != 1, "'candidates' is a single one; there is nothing to choose from");
  require(std::find(stop.begin(), stop.end(), "") == stop.end(), "'stop' has an empty text");
  require(!depth || (*depth >= 0 && *depth <= 1), "'depth' is ", depth.value_or(0),
          "; from 0 to 1 is wanted");
}

std::string TaskRecord::prompt_hash() const {
  json parts = json::array({lead, units, query});
  return sha256(parts.dump(-1, ' ', false, json::error_handler_t::strict));
}

TaskRecord record_of(const json& json, const std::string& where) {
  const Line line(json, where);
  TaskRecord record;
  record.task = line.text("task");
  record.group = line.text_or("group", "");
  const auto& id = line.at("id");
  if (!id.is_string() && !id.is_number_integer()) {
    line.refuse("id", id, "a text or a whole number is wanted");
  }
  record.id = id.is_string() ? id.get<std::string>() : id.dump();
  record.lead = line.text_or("lead", "");
  if (const auto* prefix = line.find("prefix")) {
    record.prefix = line.text("prefix", *prefix);
  }
  record.units = line.texts("units", line.at("units"));
  record.query = line.text("query");
  record.answers = line.texts("answers", line.at("answers"));
  if (const auto* tokens = line.find("tokens")) {
    record.tokens = line.whole("tokens", *tokens);
  }
  const auto& score = line.at("score");
  const auto rule = line.text("score", score);
  const auto known = kRules.find(rule);
  if (!known) {
    line.refuse("score", score, "one of " + kRules.list() + " is wanted");
  }
  record.rule = *known;
  if (const auto* parse = line.find("parse")) {
    if (*parse != "line") {
      line.refuse("parse", *parse, "\"line\" is known; without it the whole output is the answer");
    }
    record.parse_line = true;
  }
  record.gold = line.text_or("gold", record.answers.empty() ? "" : record.answers[0]);
  if (const auto* space = line.find("space")) {
    if (!space->is_boolean()) {
      line.refuse("space", *space, "true or false is wanted");
    }
    record.space = *space;
  }
  if (const auto* units = line.find("gold_units")) {
    if (!units->is_array()) {
      line.refuse("gold_units", *units, "a list of units is wanted, counted from 0");
    }
    for (const auto& unit : *units) {
      record.gold_units.push_back(line.whole("gold_units", unit));
    }
  }
  record.candidates = line.texts_or_none("candidates");
  record.stop = line.texts_or_none("stop");
  if (const auto* depth = line.find("depth")) {
    if (!depth->is_number()) {
      line.refuse("depth", *depth, "a number from 0 to 1 is wanted");
    }
    record.depth = *depth;
  }
  try {
    record.validate();
  } catch (const Error& error) {
    fail(where, ": ", error.what());
  }
  return record;
}

TaskRecords read_records(const std::filesystem::path& path) {
  TaskRecords all;
  std::set<std::string> others;
  std::set<std::pair<std::string, std::string>> seen;
  for_each_json_line(path, [&](const json& line, const std::string& where) {
    all.records.push_back(record_of(line, where));
    const auto& record = all.records.back();
    require(seen.emplace(record.task, record.id).second, where, ": 'id' ", record.id,
            " of the task ", record.task, " is there twice");
    for (const auto& [name, unused] : line.items()) {
      if (std::find(kFields.begin(), kFields.end(), name) == kFields.end()) {
        others.insert(name);
      }
    }
  });
  all.other_fields.assign(others.begin(), others.end());
  return all;
}

}  // namespace motet
