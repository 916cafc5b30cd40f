#include "motet/report/json.h"

#include <nlohmann/json.hpp>

#include "motet/error.h"
#include "motet/files/atomic.h"
#include "report/fields.h"
#include "report/run_json.h"

namespace motet {
namespace {

using nlohmann::ordered_json;

using report::read_value;
using report::value_of;

ordered_json value_of(const std::vector<TextBin>& bins) {
  auto list = ordered_json::array();
  for (const auto& bin : bins) {
    list.push_back(ordered_json::array({bin.first, bin.tokens, bin.entropy}));
  }
  return list;
}

template <class Place, class Visit>
void for_each_place_field(Place& place, Visit visit) {
  visit("first", place.first);
  visit("tokens", place.tokens);
  visit("key_norm", place.key_norm);
  visit("value_norm", place.value_norm);
  visit("cosine", place.cosine);
  visit("abs_score", place.abs_score);
}

template <class Figures, class Visit>
void for_each_diagnosis_field(Figures& diagnosis, Visit visit) {
  visit("query_norm", diagnosis.query_norm);
  visit("key_norm", diagnosis.key_norm);
  visit("value_norm", diagnosis.value_norm);
  visit("cosine", diagnosis.cosine);
  visit("abs_score", diagnosis.abs_score);
}

ordered_json value_of(const std::optional<Diagnosis>& diagnosis) {
  if (!diagnosis) {
    return {};
  }
  ordered_json json;
  for_each_diagnosis_field(*diagnosis,
                           [&](const char* name, const auto& field) { json[name] = field; });
  json["places"] = ordered_json::array();
  for (const auto& place : diagnosis->places) {
    auto& last = json["places"].emplace_back();
    for_each_place_field(place, [&](const char* name, const auto& field) { last[name] = field; });
  }
  return json;
}

void read_value(const ordered_json& json, std::optional<Diagnosis>& diagnosis) {
  if (json.is_null()) {
    return;
  }
  diagnosis.emplace();
  for_each_diagnosis_field(*diagnosis, [&](const char* name, auto& field) {
    field = json.at(name).get<std::vector<std::vector<double>>>();
  });
  for (const auto& place : json.at("places")) {
    for_each_place_field(diagnosis->places.emplace_back(),
                         [&](const char* name, auto& field) { place.at(name).get_to(field); });
  }
}

ordered_json value_of(const std::vector<RowAttention>& rows) {
  auto list = ordered_json::array();
  for (const auto& row : rows) {
    list.push_back({{"row", row.row}, {"edges", row.edges}, {"layers", row.layers}});
  }
  return list;
}

void read_value(const ordered_json& json, std::vector<RowAttention>& rows) {
  for (const auto& row : json) {
    rows.push_back({row.at("row"), row.at("edges").get<std::vector<int64_t>>(),
                    row.at("layers").get<std::vector<std::vector<double>>>()});
  }
}

void read_value(const ordered_json& json, std::vector<TextBin>& bins) {
  for (const auto& bin : json) {
    bins.push_back({bin.at(0), bin.at(1), bin.at(2)});
  }
}

/// Calls `visit(name, field)` for every field of a row: the one list of them, for writing and
/// reading.
template <class Row, class Visit>
void for_each_field(Row& row, Visit visit) {
  visit("mode", row.mode);
  visit("reading", row.reading);
  visit("pieces", row.pieces);
  visit("prefix_tokens", row.prefix_tokens);
  visit("selected", row.selected);
  visit("positions", row.positions);
  visit("segments", row.segments);
  visit("tokens", row.tokens);
  visit("nll", row.nll);
  visit("nll_stderr", row.nll_stderr);
  visit("perplexity", row.perplexity);
  visit("delta_nll", row.delta_nll);
  visit("delta_stderr", row.delta_stderr);
  visit("kl", row.kl);
  visit("same_top1", row.same_top1);
  visit("entropy_pce", row.entropy_pce);
  visit("entropy_tok", row.entropy_tok);
  visit("entropy_between", row.entropy_between);
  visit("entropy_within", row.entropy_within);
  visit("mass_prefix", row.mass_prefix);
  visit("mass_own", row.mass_own);
  visit("mass_top_piece", row.mass_top_piece);
  visit("entropy_heads", row.entropy_heads);
  visit("entropy_text", row.entropy_text);
  visit("diagnosis", row.diagnosis);
  visit("attention", row.attention);
  visit("cost_ratio", row.cost_ratio);
  visit("encode_seconds", row.encode_seconds);
  visit("read_seconds", row.read_seconds);
  visit("peak_bytes", row.peak_bytes);
}

constexpr const char* kTask = "compare";
constexpr const char* kProgram = "motet-compare";

ordered_json row_json(const CompareRow& row) {
  ordered_json json{{"task", kTask}};
  if (row.segment) {
    json["segment"] = *row.segment;
  }
  for_each_field(row, [&](const char* name, const auto& field) { json[name] = value_of(field); });
  return json;
}

CompareRow row_of(const ordered_json& json) {
  CompareRow row;
  row.segment = json.at("segment").get<int64_t>();
  for_each_field(row, [&](const char* name, auto& field) { read_value(json.at(name), field); });
  return row;
}

std::vector<std::string> names_of(const std::vector<OracleOptions>& oracles) {
  std::vector<std::string> names;
  for (const auto& oracle : oracles) {
    names.push_back(oracle.name());
  }
  return names;
}

ordered_json document(const Run& run) {
  const auto& options = run.options;
  ordered_json json{
      {"schema", Run::kSchema},
      {"program", kProgram},
      {"command", run.command},
      {"version", run.version},
      {"revision", run.revision},
      {"model", {{"name", run.model.name}, {"hash", run.model.hash}}},
      {"data", {{"name", run.data.name}, {"hash", run.data.hash}, {"tokens", run.data_tokens}}},
      {"configuration",
       {{"length", options.length},
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
        {"ablation", report::json_of(options.ablation)},
        {"diagnose", options.diagnose},
        {"rows", options.rows}}},
      {"seed", run.seed},
      {"dtype", run.dtype},
      {"threads", run.threads},
      {"device", run.device},
      {"kernel", run.kernel},
      {"complete", run.complete()},
      {"left_out", ordered_json::array()},
      {"rows", ordered_json::array()},
      {"segment_rows", ordered_json::array()},
  };
  for (const auto& left_out : run.left_out) {
    json["left_out"].push_back(
        {{"mode", left_out.mode}, {"pieces", left_out.pieces}, {"reason", left_out.reason}});
  }
  for (const auto& row : over_segments(run.segment_rows)) {
    json["rows"].push_back(row_json(row));
  }
  for (const auto& row : run.segment_rows) {
    json["segment_rows"].push_back(row_json(row));
  }
  return json;
}

Run run_of(const ordered_json& json) {
  Run run;
  run.command = json.at("command");
  run.version = json.at("version");
  run.revision = json.at("revision");
  run.model = {json.at("model").at("name"), json.at("model").at("hash")};
  run.data = {json.at("data").at("name"), json.at("data").at("hash")};
  run.data_tokens = json.at("data").at("tokens");
  const auto& options = json.at("configuration");
  run.options.length = options.at("length");
  run.options.scored = options.at("scored");
  run.options.segments = options.at("segments");
  run.options.skip = options.at("skip");
  run.options.pieces = options.at("pieces").get<std::vector<int64_t>>();
  run.options.prefix = options.at("prefix").get<std::vector<int64_t>>();
  run.options.select = options.at("select");
  run.options.readings = options.at("readings").get<std::vector<std::string>>();
  run.options.positions = positions_named(options.at("positions").get<std::string>());
  run.options.bos = options.at("bos").get<std::vector<int64_t>>();
  for (const auto& oracle : options.at("oracles")) {
    run.options.oracles.push_back(oracle_named(oracle.get<std::string>()));
  }
  run.options.ablation = report::ablation_of(options.at("ablation"));
  run.options.diagnose = options.at("diagnose");
  run.options.rows = options.at("rows").get<std::vector<int64_t>>();
  run.seed = json.at("seed");
  run.dtype = json.at("dtype");
  run.threads = json.at("threads");
  run.device = json.at("device");
  run.kernel = json.at("kernel");
  for (const auto& left_out : json.at("left_out")) {
    run.left_out.push_back({left_out.at("mode"), left_out.at("pieces"), left_out.at("reason")});
  }
  for (const auto& row : json.at("segment_rows")) {
    run.segment_rows.push_back(row_of(row));
  }
  return run;
}

}  // namespace

ordered_json json_of(const Run& run) { return document(run); }

void save_run(const Run& run, const std::filesystem::path& path) {
  write_file(path, document(run).dump(1) + "\n");
}

Run load_run(const std::filesystem::path& path) {
  const auto json = report::read_run(path, kProgram, Run::kSchema);
  try {
    return run_of(json);
  } catch (const ordered_json::exception& error) {
    fail(path.string(), ": is damaged: ", error.what());
  }
}

}  // namespace motet
