#include "motet/report/tasks.h"
#include "report/row_json.h"
#include "report/run_json.h"
#include "report/shapes.h"

namespace motet {
namespace {

using nlohmann::ordered_json;
using report::Given;

/// What makes figures, but for how many items there are.
ordered_json configuration_of(const TasksRun& run) {
  const auto& options = run.options;
  return {{"tasks", run.tasks},
          {"layout", run.layout},
          {"chat", report::json_of(run.chat)},
          {"length", run.length},
          {"pieces", options.pieces},
          {"prefix", options.prefix},
          {"bos", options.bos},
          {"select", options.select},
          {"readings", options.readings},
          {"positions", name_of(options.positions)},
          {"full_length", options.full_length},
          {"end", options.end},
          {"truncate", options.truncate},
          {"ablation", report::json_of(options.ablation)}};
}

TasksOptions options_of(const Given& json) {
  TasksOptions options;
  options.pieces = json.at("pieces").get<std::vector<int64_t>>();
  options.prefix = json.at("prefix").get<std::vector<int64_t>>();
  options.bos = json.at("bos").get<std::vector<int64_t>>();
  options.select = json.at("select");
  options.readings = json.at("readings").get<std::vector<std::string>>();
  options.positions = positions_named(json.at("positions").get<std::string>());
  options.full_length = json.at("full_length");
  options.end = json.at("end").get<std::vector<int64_t>>();
  options.truncate = json.at("truncate");
  options.ablation = report::ablation_of(json.at("ablation"));
  return options;
}

TasksRun tasks_run_of(const Given& json) {
  const auto configuration = json.at("configuration");
  TasksRun run;
  run.provenance = report::provenance_of(json);
  run.tasks = configuration.at("tasks").get<std::vector<std::string>>();
  run.layout = configuration.at("layout").get<std::string>();
  report::read(configuration.at("chat"), run.chat);
  run.length = configuration.at("length");
  run.options = options_of(configuration);
  run.items = json.at("items");
  report::read(json.at("outputs"), run.outputs);
  run.items_there = json.at("items_there");
  for (const auto& one : json.at("left_out").elements()) {
    run.left_out.push_back({one.at("mode"), one.at("pieces"), one.at("reason")});
  }
  for (const auto& one : json.at("items_left_out").elements()) {
    run.items_left_out.push_back(
        {one.at("task"), one.at("id"), one.at("mode"), one.at("pieces"), one.at("reason")});
  }
  report::read(json.at("item_rows"), run.item_rows);
  report::check_shapes(run.item_rows, "item_rows");
  for (const auto& row : run.item_rows) {
    require(row.pieces >= 0 && row.pieces_filled >= 1 && row.answer_tokens >= 1,
            "item_rows: a row has ", row.pieces, " pieces, ", row.pieces_filled, " filled, and ",
            row.answer_tokens, " tokens in its answer");
    require(static_cast<int64_t>(row.answer_nlls.size()) == row.answer_tokens,
            "item_rows: a row has ", row.answer_tokens,
            " tokens in its answer, and likelihoods of ", row.answer_nlls.size());
  }
  return run;
}

}  // namespace

ordered_json json_of(const TasksRun& run, TasksPart part) {
  auto json = report::document_of(TasksRun::kProgram, TasksRun::kSchema, run.provenance,
                                  {{}, configuration_of(run)}, run.complete());
  json["items"] = run.items;
  json["outputs"] = report::json_of(run.outputs);
  json["items_there"] = run.items_there;
  json["left_out"] = ordered_json::array();
  for (const auto& one : run.left_out) {
    json["left_out"].push_back(
        {{"mode", one.mode}, {"pieces", one.pieces}, {"reason", one.reason}});
  }
  json["items_left_out"] = ordered_json::array();
  for (const auto& one : run.items_left_out) {
    json["items_left_out"].push_back({{"task", one.task},
                                      {"id", one.id},
                                      {"mode", one.mode},
                                      {"pieces", one.pieces},
                                      {"reason", one.reason}});
  }
  if (part == TasksPart::kAll) {
    json["rows"] = report::json_of(over_items(run.item_rows));
    json["correlations"] = ordered_json::array();
    for (const auto& one : entropy_correlations(run.item_rows)) {
      const auto put = [](const Interval& x) {
        return ordered_json::array(
            {report::json_of(x.value), report::json_of(x.low), report::json_of(x.high)});
      };
      json["correlations"].push_back({{"task", one.task},
                                      {"modes", one.modes},
                                      {"items", one.items},
                                      {"entropy_nll", put(one.nll)},
                                      {"entropy_score", put(one.score)}});
    }
  }
  json["item_rows"] = report::json_of(run.item_rows);
  return json;
}

void save_run(const TasksRun& run, const std::filesystem::path& path, TasksPart part) {
  report::save(json_of(run, part), path);
}

TasksRun load_tasks_run(const std::filesystem::path& path) {
  return report::load<TasksRun>(path, tasks_run_of);
}

}  // namespace motet
