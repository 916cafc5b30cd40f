// Files that other projects' scorers read.

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "motet/error.h"
#include "motet/eval/task.h"
#include "motet/files/atomic.h"
#include "motet/report/tasks.h"

namespace motet {
namespace {

using nlohmann::ordered_json;
namespace fs = std::filesystem;

/// An item with an output in one mode.
struct Answered {
  const TaskRecord* record;
  const ItemRow* row;
};

/// Those of a mode of a task, in the order of the run.
using Group = std::pair<std::pair<std::string, std::string>, std::vector<Answered>>;

/// Letters, digits and single underscores: RULER takes `NAME-5.jsonl` for a part of NAME.jsonl.
/// `others` stay as they are, too.
std::string file_name(const std::string& text, std::string_view others = "") {
  std::string name;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (plain || others.find(c) != std::string_view::npos) {
      name += c;
    } else if (!name.empty() && name.back() != '_') {
      name += '_';
    }
  }
  return name.substr(0, name.find_last_not_of('_') + 1);
}

/// `both_P4`, `sharpen_b_4_prefix_P16`, `parallel_units`.
std::string mode_name(const ItemRow& row) {
  const bool named = row.mode == "full" || row.mode == "parallel" || row.mode == "sink" ||
                     row.mode == "selective" || row.mode == "both";
  const auto name = named ? row.mode : row.reading + (row.prefix_tokens > 0 ? " prefix" : "");
  return file_name(name) + (row.mode == "full" ? ""
                            : row.pieces == 0  ? "_units"
                                               : "_P" + std::to_string(row.pieces));
}

std::vector<Group> groups_of(const TasksRun& run, const std::vector<TaskRecord>& records) {
  std::map<std::pair<std::string, std::string>, const TaskRecord*> by_name;
  for (const auto& record : records) {
    by_name[{record.task, record.id}] = &record;
  }
  std::vector<Group> groups;
  for (const auto& row : run.item_rows) {
    if (!row.output) {
      continue;
    }
    const auto found = by_name.find({row.task, row.id});
    require(found != by_name.end() && found->second->prompt_hash() == row.prompt_hash, "the item ",
            row.id, " of the task ", row.task, " has no record of its prompt");
    const std::pair key{mode_name(row), row.task};
    auto group = std::find_if(groups.begin(), groups.end(),
                              [&](const Group& one) { return one.first == key; });
    if (group == groups.end()) {
      groups.push_back({key, {}});
      group = groups.end() - 1;
    }
    group->second.push_back({found->second, &row});
  }
  return groups;
}

void write(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  write_file(path, text);
}

std::string dump(const ordered_json& json, int indent) {
  return json.dump(indent, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

/// With the prefix where the mode has one.
std::string prompt_of(const TaskRecord& record, const ItemRow& row) {
  auto text = record.lead + (row.prefix_tokens > 0 ? record.prefix.value_or("") : "");
  for (const auto& unit : record.units) {
    text += unit;
  }
  return text + record.query;
}

/// What HELMET calls the rule, or its nearest of ours.
const char* metric_of(AnswerRule rule) {
  switch (rule) {
    case AnswerRule::kExact:
      return "exact_match";
    case AnswerRule::kSubstring:
      return "substring_exact_match";
    case AnswerRule::kFound:
      return "ruler_recall";
    case AnswerRule::kAny:
      return "any_reference";
    case AnswerRule::kF1:
      return "f1";
  }
  return "";
}

/// RULER's tasks, as its scorer and HELMET's call them.
constexpr std::array<std::pair<const char*, const char*>, 13> kRulerTasks{
    {{"niah_single_1", "ruler_niah_s_1"},
     {"niah_single_2", "ruler_niah_s_2"},
     {"niah_single_3", "ruler_niah_s_3"},
     {"niah_multikey_1", "ruler_niah_mk_1"},
     {"niah_multikey_2", "ruler_niah_mk_2"},
     {"niah_multikey_3", "ruler_niah_mk_3"},
     {"niah_multivalue", "ruler_niah_mv"},
     {"niah_multiquery", "ruler_niah_mq"},
     {"vt", "ruler_vt"},
     {"cwe", "ruler_cwe"},
     {"fwe", "ruler_fwe"},
     {"qa_1", "ruler_qa_1"},
     {"qa_2", "ruler_qa_2"}}};

/// A task of a run, and how files for others call it.
struct NamedTask {
  std::optional<TaskText> entry;  // of the run's tasks; nothing: it is called by its records
  std::string name;               // RULER's, where it has one
  bool given() const { return entry && entry->task() == entry->short_name(); }  // by `name`
};

NamedTask named(const TasksRun& run, const std::string& task) {
  NamedTask one{std::nullopt, task};
  for (const auto& text : run.tasks) {
    const TaskText entry(text, "");
    if (entry.task() == task) {
      const auto& kind = entry.name();
      const bool of_others = kind == "ruler" || kind == "helmet" || kind == "kvpress";
      one = {entry, of_others ? entry.short_name() : task};
      break;
    }
  }
  for (const auto& [ruler, helmet] : kRulerTasks) {
    one.name = one.name == helmet ? ruler : one.name;
  }
  return one;
}

/// The tasks of groups; where two would have one name, each keeps what results call it.
std::map<std::string, NamedTask> named_tasks(const TasksRun& run,
                                             const std::vector<Group>& groups) {
  std::map<std::string, NamedTask> tasks;
  std::map<std::string, int64_t> counts;
  for (const auto& [key, unused] : groups) {
    const auto [task, is_new] = tasks.emplace(key.second, named(run, key.second));
    counts[file_name(task->second.name)] += is_new ? 1 : 0;
  }
  for (auto& [task, one] : tasks) {
    if (counts[file_name(one.name)] > 1) {
      one.name = task;
    }
  }
  return tasks;
}

/// What collect_results.py looks for in a file's name: HELMET's own for the tasks that it has.
std::string helmet_name(const NamedTask& task) {
  if (task.entry && !task.given()) {
    const auto kind = task.entry->name();
    if (kind == "niah" || kind == "vt" || kind == "cwe" || kind == "fwe") {
      return "ruler_" + file_name(task.name);
    }
    const auto file = task.entry->has_file() ? task.entry->file() : fs::path();
    const auto folder = file.parent_path().filename();
    if (kind == "kv" || folder == "json_kv") {
      return "json_kv";
    }
    if (folder == "kilt") {
      const auto stem = file.stem().string();
      return "kilt_" + stem.substr(0, stem.find_first_of("-_"));
    }
  }
  const auto name = task.name.substr(task.name.find(':') + 1);
  for (const auto& [ruler, helmet] : kRulerTasks) {
    if (name == ruler) {
      return helmet;
    }
  }
  return file_name(name);
}

/// What collect_results.py calls a task's file.
std::string test_name(const NamedTask& task) {
  return task.entry && task.entry->has_file() ? file_name(task.entry->file().stem().string(), "-.")
                                              : file_name(task.name);
}

}  // namespace

int64_t save_for_ruler(const TasksRun& run, const std::vector<TaskRecord>& records,
                       const fs::path& directory) {
  const auto groups = groups_of(run, records);
  const auto tasks = named_tasks(run, groups);
  for (const auto& [key, answered] : groups) {
    std::string lines;
    int64_t index = 0;
    for (const auto& [record, row] : answered) {
      lines += dump({{"index", index++},
                     {"pred", *row->output},
                     {"input", prompt_of(*record, *row)},
                     {"outputs", record->answers},
                     {"others", {{"id", record->id}}},
                     {"truncated", row->units_dropped > 0 ? row->units_dropped : -1},
                     {"length", row->tokens}},
                    -1);
    }
    write(directory / key.first / (file_name(tasks.at(key.second).name) + ".jsonl"), lines);
  }
  return static_cast<int64_t>(groups.size());
}

int64_t save_for_helmet(const TasksRun& run, const std::vector<TaskRecord>& records,
                        const fs::path& directory) {
  const auto groups = groups_of(run, records);
  const auto tasks = named_tasks(run, groups);
  std::set<std::array<std::string, 3>> files;
  for (const auto& [key, answered] : groups) {
    const auto& mode = key.first;
    const auto& task = tasks.at(key.second);
    auto data = ordered_json::array();
    ordered_json metrics = ordered_json::object();
    int64_t most = 0;
    for (const auto& [record, row] : answered) {
      const auto* metric = metric_of(record->rule);
      const auto score = row->score.value_or(0);
      data.push_back({{"id", record->id},
                      {"question", record->query},
                      {"answer", record->answers},
                      {"output", *row->output},
                      {"parsed_output", row->parsed.value_or("")},
                      {"input_len", row->tokens},
                      {"output_len", row->output_ids.size()},
                      {metric, score}});
      metrics[metric].push_back(score);
      metrics["input_len"].push_back(row->tokens);
      metrics["output_len"].push_back(row->output_ids.size());
      most = std::max(most, record->tokens);
    }
    ordered_json averages = ordered_json::object();
    for (const auto& [name, values] : metrics.items()) {
      double sum = 0;
      for (const auto& value : values) {
        sum += value.get<double>();
      }
      const auto percent = name.ends_with("_len") ? 1.0 : 100.0;
      averages[name] = percent * sum / static_cast<double>(values.size());
    }
    const auto& first = *answered[0].record;
    const bool is_kv = first.group == "recall" && first.rule == AnswerRule::kSubstring;
    const bool is_qa = task.entry && task.entry->name() == "qa";
    const bool shown = answered[0].row->layout.starts_with("helmet") && (is_kv || is_qa);
    const auto shots = shown ? 2 : 0;
    const auto dataset = helmet_name(task);
    const auto own_file = test_name(task);  // which two tasks may have
    const auto test =
        files.insert({mode, dataset, own_file}).second ? own_file : file_name(key.second);
    const ordered_json args{{"tag", "motet_" + mode},
                            {"datasets", dataset},
                            {"test_files", test},
                            {"model_name_or_path", run.provenance.model.name},
                            {"input_max_length", run.length},
                            {"max_test_samples", answered.size()},
                            {"shots", shots},
                            {"do_sample", false},
                            {"generation_max_length", most},
                            {"generation_min_length", 0},
                            {"temperature", 0.0},
                            {"top_p", 1.0},
                            {"use_chat_template", run.chat.has_value()},
                            {"seed", run.provenance.seed},
                            {"layout", answered[0].row->layout}};
    const auto name = dataset + "_motet_" + mode + "_" + test + "_in" + std::to_string(run.length) +
                      "_size" + std::to_string(answered.size()) + "_shots" + std::to_string(shots) +
                      "_sampFalsemax" + std::to_string(most) + "min0t0.0p1.0_chat" +
                      (run.chat ? "True" : "False") + "_" + std::to_string(run.provenance.seed) +
                      ".json";
    write(
        directory / mode / name,
        dump({{"args", args}, {"data", data}, {"metrics", metrics}, {"averaged_metrics", averages}},
             4));
    write(directory / mode / (name + ".score"), dump(averages, 4));
  }
  return static_cast<int64_t>(2 * groups.size());
}

}  // namespace motet
