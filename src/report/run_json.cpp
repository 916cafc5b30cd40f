#include "report/run_json.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "motet/error.h"
#include "motet/files/mapped.h"
#include "motet/report/json.h"

namespace motet {

using nlohmann::ordered_json;

namespace {

ordered_json any_run(const std::filesystem::path& path) {
  auto json = ordered_json::parse(read_file(path), nullptr, /*allow_exceptions=*/false);
  require(json.is_object() && json.contains("schema") && json.contains("program") &&
              json["program"].is_string(),
          path.string(), ": is not a run of motet");
  return json;
}

}  // namespace

std::string program_of(const std::filesystem::path& path) {
  return any_run(path)["program"].get<std::string>();
}

namespace report {

ordered_json json_of(const Source& source) {
  return {{"name", source.name}, {"hash", source.hash}};
}

Source source_of(const Given& json) { return {json.at("name"), json.at("hash")}; }

ordered_json document_of(const std::string& program, int64_t schema, const Provenance& provenance,
                         const DocumentHead& head, bool complete) {
  ordered_json document{{"schema", schema},
                        {"program", program},
                        {"command", provenance.command},
                        {"version", provenance.version},
                        {"revision", provenance.revision},
                        {"model", json_of(provenance.model)},
                        {"data", json_of(provenance.data)}};
  document["data"]["tokens"] = provenance.data_tokens;
  for (const auto& [name, source] : head.sources.items()) {
    document[name] = source;
  }
  document["configuration"] = head.configuration;
  for (const auto& reading : provenance.readings) {  // only where there are some
    document["configuration"]["reading_files"].push_back(json_of(reading));
  }
  document["seed"] = provenance.seed;
  document["dtype"] = provenance.dtype;
  document["threads"] = provenance.threads;
  document["device"] = provenance.device;
  document["kernel"] = provenance.kernel;
  document["products"] = provenance.products;
  document["complete"] = complete;
  return document;
}

Provenance provenance_of(const Given& document) {
  std::vector<Source> readings;
  const auto configuration = document.at("configuration");
  if (configuration.contains("reading_files")) {
    for (const auto& reading : configuration.at("reading_files").elements()) {
      readings.push_back(source_of(reading));
    }
  }
  return {.command = document.at("command").get<std::vector<std::string>>(),
          .version = document.at("version"),
          .revision = document.at("revision"),
          .model = source_of(document.at("model")),
          .data = source_of(document.at("data")),
          .data_tokens = document.at("data").at("tokens"),
          .readings = std::move(readings),
          .seed = document.at("seed"),
          .dtype = document.at("dtype"),
          .device = document.at("device"),
          .kernel = document.at("kernel"),
          .products = document.at("products"),
          .threads = document.at("threads")};
}

ordered_json read_document(const std::filesystem::path& path, const std::string& program,
                           int64_t schema) {
  auto json = any_run(path);
  require(json["program"] == program, path.string(), ": is a run of ",
          json["program"].get<std::string>(), ", not of ", program);
  require(json["schema"] == schema, path.string(), ": is of schema ", json["schema"].dump(),
          ", this version reads ", schema);
  return json;
}

ordered_json json_of(const Ablation& ablation) {
  if (ablation.heads.empty()) {
    return {};
  }
  auto heads = ordered_json::array();
  for (const auto& head : ablation.heads) {
    heads.push_back(ordered_json::array({head.layer, head.head}));
  }
  return {{"by", name_of(ablation.kind)}, {"heads", heads}};
}

Ablation ablation_of(const Given& json) {
  Ablation ablation;
  if (!json.is_null()) {
    ablation.kind = ablate_named(json.at("by").get<std::string>());
    for (const auto& head : json.at("heads").elements()) {
      ablation.heads.push_back({head.at(std::size_t{0}), head.at(1)});
    }
  }
  return ablation;
}

}  // namespace report
}  // namespace motet
