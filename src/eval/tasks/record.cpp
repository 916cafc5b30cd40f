// record: items as motet itself writes them, a JSON object a line.

#include "eval/tasks/shipped.h"

namespace motet {
namespace {

MadeTask make_record(const TaskText& text, const TaskSettings&, const Tokenizer&) {
  const auto file = text.file();
  text.no_more();
  auto read = read_records(file);
  MadeTask made{std::move(read.records), "record", {file}, {}};
  if (!read.other_fields.empty()) {
    std::string fields;
    for (const auto& field : read.other_fields) {
      fields += (fields.empty() ? "" : ", ") + field;
    }
    made.notes.push_back(file.string() + ": fields that no record has are not read: " + fields);
  }
  return made;
}

}  // namespace

TaskKind record_task() { return {"record", "record:FILE", make_record}; }

}  // namespace motet
