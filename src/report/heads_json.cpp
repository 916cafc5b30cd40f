#include <nlohmann/json.hpp>

#include "motet/error.h"
#include "motet/files/atomic.h"
#include "motet/report/heads.h"
#include "report/fields.h"
#include "report/run_json.h"

namespace motet {
namespace {

using nlohmann::ordered_json;

constexpr const char* kProgram = "motet-heads";

/// Calls `visit(name, field)` for every field: the one list of them, for writing and reading.
template <class Row, class Visit>
void for_each_row_field(Row& row, Visit visit) {
  visit("method", row.method);
  visit("tau", row.tau);
  visit("segments", row.segments);
  visit("tokens", row.tokens);
  visit("local_share", row.local_share);
  visit("nll", row.nll);
  visit("nll_stderr", row.nll_stderr);
  visit("delta_nll", row.delta_nll);
  visit("delta_stderr", row.delta_stderr);
  visit("entropy_tok", row.entropy_tok);
  visit("false_local", row.false_local);
  visit("false_long", row.false_long);
  visit("log_mass_error", row.log_mass_error);
  visit("read_share", row.read_share);
  visit("long_share", row.long_share);
  visit("oracle_long", row.oracle_long);
  visit("switching", row.switching);
  visit("false_local_heads", row.false_local_heads);
  visit("false_long_heads", row.false_long_heads);
}

template <class Full, class Visit>
void for_each_full_field(Full& full, Visit visit) {
  visit("segments", full.segments);
  visit("tokens", full.tokens);
  visit("nll", full.nll);
  visit("nll_stderr", full.nll_stderr);
  visit("entropy_tok", full.entropy_tok);
  visit("entropy_heads", full.entropy_heads);
  visit("pieces", full.pieces);
  visit("parallel_nll", full.parallel_nll);
  visit("parallel_entropy", full.parallel_entropy);
  visit("error", full.error);
  visit("absolute_error", full.absolute_error);
  visit("distance", full.distance);
  visit("histogram", full.histogram);
  visit("margins", full.margins);
}

const auto kWrite = [](ordered_json& json) {
  return [&](const char* name, const auto& field) { json[name] = report::value_of(field); };
};
const auto kRead = [](const ordered_json& json) {
  return [&](const char* name, auto& field) { report::read_value(json.at(name), field); };
};

ordered_json with_segment(const std::optional<int64_t>& segment) {
  ordered_json json = ordered_json::object();
  if (segment) {
    json["segment"] = *segment;
  }
  return json;
}

ordered_json row_json(const HeadsRow& row) {
  auto json = with_segment(row.segment);
  for_each_row_field(row, kWrite(json));
  return json;
}

ordered_json full_json(const HeadsFull& full) {
  auto json = with_segment(full.segment);
  for_each_full_field(full, kWrite(json));
  return json;
}

/// The pattern of the method `pattern`, [layers][heads] of 0 and 1; null without.
ordered_json pattern_json(const std::optional<torch::Tensor>& pattern) {
  if (!pattern) {
    return {};
  }
  auto layers = ordered_json::array();
  for (const auto& layer : pattern->to(torch::kInt64).unbind(0)) {
    const auto row = layer.contiguous();
    layers.push_back(
        std::vector<int64_t>(row.data_ptr<int64_t>(), row.data_ptr<int64_t>() + row.numel()));
  }
  return layers;
}

std::optional<torch::Tensor> pattern_of(const ordered_json& json) {
  if (json.is_null()) {
    return {};
  }
  std::vector<torch::Tensor> layers;
  for (const auto& layer : json) {
    layers.push_back(torch::tensor(layer.get<std::vector<int64_t>>(), torch::kInt64));
  }
  return torch::stack(layers).to(torch::kBool);
}

HeadsRun run_of(const ordered_json& json) {
  HeadsRun run;
  run.command = json.at("command").get<std::vector<std::string>>();
  run.version = json.at("version");
  run.revision = json.at("revision");
  run.model = {json.at("model").at("name"), json.at("model").at("hash")};
  run.data = {json.at("data").at("name"), json.at("data").at("hash")};
  run.data_tokens = json.at("data").at("tokens");
  run.calibration = {json.at("calibration").at("name"), json.at("calibration").at("hash")};
  const auto& options = json.at("configuration");
  run.options.length = options.at("length");
  run.options.scored = options.at("scored");
  run.options.segments = options.at("segments");
  run.options.skip = options.at("skip");
  run.options.tau = options.at("tau").get<std::vector<double>>();
  run.options.methods = options.at("methods").get<std::vector<std::string>>();
  run.options.covariance =
      options.at("covariance") == "full" ? Covariance::kFull : Covariance::kDiagonal;
  run.options.window = {options.at("window").at(0), options.at("window").at(1)};
  run.options.pieces = options.at("pieces");
  run.options.pattern = pattern_of(options.at("pattern"));
  run.options.ablation = report::ablation_of(options.at("ablation"));
  run.options.seed = json.at("seed");
  run.dtype = json.at("dtype");
  run.threads = json.at("threads");
  run.device = json.at("device");
  run.kernel = json.at("kernel");
  for (const auto& full : json.at("segment_full")) {
    auto& read = run.segment_full.emplace_back();
    read.segment = full.at("segment").get<int64_t>();
    for_each_full_field(read, kRead(full));
  }
  for (const auto& row : json.at("segment_rows")) {
    auto& read = run.segment_rows.emplace_back();
    read.segment = row.at("segment").get<int64_t>();
    for_each_row_field(read, kRead(row));
  }
  return run;
}

}  // namespace

ordered_json json_of(const HeadsRun& run) {
  const auto& options = run.options;
  ordered_json json{
      {"schema", HeadsRun::kSchema},
      {"program", kProgram},
      {"command", run.command},
      {"version", run.version},
      {"revision", run.revision},
      {"model", {{"name", run.model.name}, {"hash", run.model.hash}}},
      {"data", {{"name", run.data.name}, {"hash", run.data.hash}, {"tokens", run.data_tokens}}},
      {"calibration", {{"name", run.calibration.name}, {"hash", run.calibration.hash}}},
      {"configuration",
       {{"length", options.length},
        {"scored", options.scored},
        {"segments", options.segments},
        {"skip", options.skip},
        {"tau", options.tau},
        {"methods", options.methods},
        {"covariance", options.covariance == Covariance::kFull ? "full" : "diagonal"},
        {"window", {options.window.first, options.window.last}},
        {"pieces", options.pieces},
        {"pattern", pattern_json(options.pattern)},
        {"ablation", report::json_of(options.ablation)}}},
      {"seed", options.seed},
      {"dtype", run.dtype},
      {"threads", run.threads},
      {"device", run.device},
      {"kernel", run.kernel},
      {"complete", run.complete()},
      {"rows", ordered_json::array()},
      {"full", nullptr},
      {"segment_rows", ordered_json::array()},
      {"segment_full", ordered_json::array()},
  };
  for (const auto& row : over_segments(run.segment_rows)) {
    json["rows"].push_back(row_json(row));
  }
  if (!run.segment_full.empty()) {
    json["full"] = full_json(over_segments(run.segment_full));
  }
  for (const auto& row : run.segment_rows) {
    json["segment_rows"].push_back(row_json(row));
  }
  for (const auto& full : run.segment_full) {
    json["segment_full"].push_back(full_json(full));
  }
  return json;
}

void save_run(const HeadsRun& run, const std::filesystem::path& path) {
  write_file(path, json_of(run).dump(1) + "\n");
}

HeadsRun load_heads_run(const std::filesystem::path& path) {
  const auto json = report::read_run(path, kProgram, HeadsRun::kSchema);
  try {
    return run_of(json);
  } catch (const ordered_json::exception& error) {
    fail(path.string(), ": is damaged: ", error.what());
  }
}

}  // namespace motet
