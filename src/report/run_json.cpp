#include "report/run_json.h"

#include <nlohmann/json.hpp>

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

ordered_json read_run(const std::filesystem::path& path, const std::string& program,
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

Ablation ablation_of(const ordered_json& json) {
  Ablation ablation;
  if (!json.is_null()) {
    ablation.kind = ablate_named(json.at("by").get<std::string>());
    for (const auto& head : json.at("heads")) {
      ablation.heads.push_back({head.at(0), head.at(1)});
    }
  }
  return ablation;
}

}  // namespace report
}  // namespace motet
