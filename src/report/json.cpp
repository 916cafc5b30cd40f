#include "motet/report/json.h"

#include <algorithm>

#include "motet/error.h"
#include "report/row_json.h"
#include "report/run_json.h"
#include "report/shapes.h"

namespace motet {
namespace {

using nlohmann::ordered_json;
using report::Given;

template <class Named>
std::vector<std::string> names_of(const std::vector<Named>& all) {
  std::vector<std::string> names;
  for (const auto& one : all) {
    names.push_back(one.name());
  }
  return names;
}

ordered_json json_of(const CompareOptions& options) {
  return {{"length", options.length},
          {"scored", options.scored},
          {"segments", options.segments},
          {"skip", options.skip},
          {"pieces", options.pieces},
          {"prefix", options.prefix},
          {"select", options.select},
          {"readings", options.readings},
          {"positions", name_of(options.positions)},
          {"bos", options.bos},
          {"oracles", names_of(options.oracles)},
          {"ensembles", names_of(options.ensembles)},
          {"ablation", report::json_of(options.ablation)},
          {"diagnose", options.diagnose},
          {"recall", options.recall},
          {"near_keys", options.gaps},
          {"rows", options.rows}};
}

CompareOptions options_of(const Given& json) {
  CompareOptions options;
  options.length = json.at("length");
  options.scored = json.at("scored");
  options.segments = json.at("segments");
  options.skip = json.at("skip");
  options.pieces = json.at("pieces").get<std::vector<int64_t>>();
  options.prefix = json.at("prefix").get<std::vector<int64_t>>();
  options.select = json.at("select");
  options.readings = json.at("readings").get<std::vector<std::string>>();
  options.positions = positions_named(json.at("positions").get<std::string>());
  options.bos = json.at("bos").get<std::vector<int64_t>>();
  for (const auto& oracle : json.at("oracles").elements()) {
    options.oracles.push_back(oracle_named(oracle.get<std::string>()));
  }
  options.ablation = report::ablation_of(json.at("ablation"));
  options.diagnose = json.at("diagnose");
  if (json.contains("ensembles")) {  // versions before 0.3 had none of these
    for (const auto& ensemble : json.at("ensembles").elements()) {
      options.ensembles.push_back(ensemble_named(ensemble.get<std::string>()));
    }
    options.recall = json.at("recall");
    options.gaps = json.at("near_keys").get<std::vector<double>>();
  }
  options.rows = json.at("rows").get<std::vector<int64_t>>();
  return options;
}

CompareRun run_of(const Given& json) {
  CompareRun run{report::provenance_of(json), options_of(json.at("configuration")), {}, {}};
  for (const auto& left_out : json.at("left_out").elements()) {
    run.left_out.push_back({left_out.at("mode"), left_out.at("pieces"), left_out.at("reason")});
  }
  report::read(json.at("segment_rows"), run.segment_rows);
  report::check_shapes(run.segment_rows, "segment_rows");
  try {
    over_segments(run.segment_rows);  // segments of a mode have lists of the same lengths
  } catch (const Error& error) {
    fail("segment_rows: ", error.what());
  }
  for (const auto& row : run.segment_rows) {
    require(row.pieces >= 1 && row.tokens >= 1, "segment_rows: a row has ", row.pieces,
            " pieces and ", row.tokens, " tokens");
    for (const auto& bin : row.entropy_text) {
      require(bin.tokens >= 1 && bin.first >= 0, "segment_rows.entropy_text: a bin of ", bin.tokens,
              " tokens from ", bin.first, " on");
    }
    for (const auto& attention : row.attention) {
      const auto bins = attention.layers[0].size();
      require(bins == attention.edges.size() &&
                  std::is_sorted(attention.edges.begin(), attention.edges.end()),
              "segment_rows.attention: ", attention.edges.size(), " edges of ", bins, " bins");
    }
  }
  return run;
}

}  // namespace

ordered_json json_of(const CompareRun& run) {
  auto json = report::document_of(CompareRun::kProgram, CompareRun::kSchema, run.provenance,
                                  {{}, json_of(run.options)}, run.complete());
  json["left_out"] = ordered_json::array();
  for (const auto& left_out : run.left_out) {
    json["left_out"].push_back(
        {{"mode", left_out.mode}, {"pieces", left_out.pieces}, {"reason", left_out.reason}});
  }
  json["rows"] = report::json_of(over_segments(run.segment_rows));
  json["segment_rows"] = report::json_of(run.segment_rows);
  return json;
}

void save_run(const CompareRun& run, const std::filesystem::path& path) {
  report::save(json_of(run), path);
}

CompareRun load_run(const std::filesystem::path& path) {
  return report::load<CompareRun>(path, run_of);
}

}  // namespace motet
