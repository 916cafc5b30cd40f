#include <ATen/ATen.h>

#include "attention/nested.h"
#include "motet/report/heads.h"
#include "report/row_json.h"
#include "report/run_json.h"
#include "report/shapes.h"

namespace motet {
namespace {

using nlohmann::ordered_json;
using report::Given;

/// The pattern of the method `pattern`, [layers][heads] of 0 and 1; null without.
ordered_json json_of(const std::optional<torch::Tensor>& pattern) {
  return pattern ? ordered_json(nested<int64_t>(*pattern)) : ordered_json();
}

std::optional<torch::Tensor> pattern_of(const Given& json) {
  if (json.is_null()) {
    return {};
  }
  std::vector<torch::Tensor> layers;
  for (const auto& layer : json.elements()) {
    layers.push_back(torch::tensor(layer.get<std::vector<int64_t>>(), torch::kInt64));
  }
  return torch::stack(layers).to(torch::kBool);
}

ordered_json json_of(const HeadsOptions& options) {
  return {{"length", options.length},
          {"scored", options.scored},
          {"segments", options.segments},
          {"skip", options.skip},
          {"tau", options.tau},
          {"methods", options.methods},
          {"covariance", options.covariance == Covariance::kFull ? "full" : "diagonal"},
          {"window", {options.window.first, options.window.last}},
          {"pieces", options.pieces},
          {"pattern", json_of(options.pattern)},
          {"ablation", report::json_of(options.ablation)}};
}

HeadsOptions heads_options_of(const Given& json) {
  HeadsOptions options;
  options.length = json.at("length");
  options.scored = json.at("scored");
  options.segments = json.at("segments");
  options.skip = json.at("skip");
  options.tau = json.at("tau").get<std::vector<double>>();
  options.methods = json.at("methods").get<std::vector<std::string>>();
  options.covariance = json.at("covariance").get<std::string>() == "full" ? Covariance::kFull
                                                                          : Covariance::kDiagonal;
  options.window = {json.at("window").at(std::size_t{0}), json.at("window").at(1)};
  options.pieces = json.at("pieces");
  options.pattern = pattern_of(json.at("pattern"));
  options.ablation = report::ablation_of(json.at("ablation"));
  return options;
}

HeadsRun heads_run_of(const Given& json) {
  HeadsRun run{report::provenance_of(json),
               heads_options_of(json.at("configuration")),
               report::source_of(json.at("calibration")),
               {},
               {}};
  run.options.seed = run.provenance.seed;
  report::read(json.at("segment_full"), run.segment_full);
  report::read(json.at("segment_rows"), run.segment_rows);
  report::check_shapes(run.segment_rows, "segment_rows");
  report::check_shapes(run.segment_full, "segment_full");
  for (const auto& full : run.segment_full) {
    const auto bins = static_cast<int64_t>(full.margins.size());
    require(bins == HeadsFull::kBins, "segment_full.margins: ", bins, " bins, not ",
            HeadsFull::kBins);
  }
  return run;
}

}  // namespace

ordered_json json_of(const HeadsRun& run) {
  auto json = report::document_of(
      HeadsRun::kProgram, HeadsRun::kSchema, run.provenance,
      {{{"calibration", report::json_of(run.calibration)}}, json_of(run.options)}, run.complete());
  json["rows"] = report::json_of(over_segments(run.segment_rows));
  json["full"] =
      run.segment_full.empty() ? ordered_json() : report::json_of(over_segments(run.segment_full));
  json["segment_rows"] = report::json_of(run.segment_rows);
  json["segment_full"] = report::json_of(run.segment_full);
  return json;
}

void save_run(const HeadsRun& run, const std::filesystem::path& path) {
  report::save(json_of(run), path);
}

HeadsRun load_heads_run(const std::filesystem::path& path) {
  return report::load<HeadsRun>(path, heads_run_of);
}

}  // namespace motet
