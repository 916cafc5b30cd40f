#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "motet/error.h"
#include "motet/eval/provenance.h"
#include "motet/files/atomic.h"
#include "motet/model/ablation.h"
#include "report/given.h"

/// What the `run.json` of every task has in common.
namespace motet::report {

/// What stands in a document besides its rows.
struct DocumentHead {
  nlohmann::ordered_json sources;        ///< of the task's own, by name, beside model and data
  nlohmann::ordered_json configuration;  ///< the task's options
};

/// The document of a run, but for its rows: schema, program, how it came about, options.
nlohmann::ordered_json document_of(const std::string& program, int64_t schema,
                                   const Provenance& provenance, const DocumentHead& head,
                                   bool complete);
/// The provenance that a document tells.
Provenance provenance_of(const Given& document);

nlohmann::ordered_json json_of(const Source& source);
Source source_of(const Given& json);

/// A `run.json` of this program and schema. Throws Error for anything else.
nlohmann::ordered_json read_document(const std::filesystem::path& path, const std::string& program,
                                     int64_t schema);

/// Reads a run, whose `parse` takes the document. Throws Error naming the file.
template <class Run, class Parse>
Run load(const std::filesystem::path& path, const Parse& parse) {
  const auto document = read_document(path, Run::kProgram, Run::kSchema);
  try {
    return parse(Given(document));
  } catch (const Error& error) {
    fail(path.string(), ": is damaged: ", error.what(), "; make the run again");
  }
}

/// Writes a document, whole or not at all. Throws Error.
inline void save(const nlohmann::ordered_json& document, const std::filesystem::path& path) {
  write_file(path, document.dump(1) + "\n");
}

/// Null where no head is ablated.
nlohmann::ordered_json json_of(const Ablation& ablation);
/// The reverse of json_of.
Ablation ablation_of(const Given& json);

}  // namespace motet::report
