// motet-eval: the papers' tasks, every way of reading them, and which cure helps. Zhang et al.
// 2025, arXiv 2412.16545, section 3.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "chat.h"
#include "eval_options.h"
#include "items.h"
#include "motet/eval/task.h"
#include "motet/eval/tasks_run.h"
#include "motet/files/mapped.h"
#include "motet/files/sha256.h"
#include "motet/report/tasks.h"
#include "motet/text/tokenizer.h"
#include "program.h"
#include "report_files.h"
#include "run_files.h"

namespace {

using program::EvalOptions;
using program::note;

/// Every item of every task, the first of each task before the second of any, so that a run that
/// ends early has some of all.
struct Items {
  std::vector<motet::TaskItem> items;
  std::vector<std::string> layouts;  // of each item's prompt
  std::vector<bool> outputs;         // whether it has one
  std::string files_hash;
};

Items make_items(const EvalOptions& options, const motet::TasksOptions& tasks,
                 const motet::TasksPlan& plan, const motet::Config& config,
                 const motet::Tokenizer& tokenizer, const std::optional<program::Chat>& chat) {
  const motet::TaskSettings settings{.length = options.length,
                                     .items = options.items.value_or(50),
                                     .seed = options.seed,
                                     .layout = options.layout};
  struct Made {
    int64_t place;  // in its task
    motet::TaskItem item;
    std::string layout;
  };
  std::vector<Made> made;
  std::set<std::pair<std::string, std::string>> seen;
  std::map<std::string, std::string> owners;  // of tasks: the entry that makes them
  std::string hashes;
  for (const auto& text : options.tasks) {
    auto task = motet::make_task(text, settings, tokenizer);
    motet::require_distinct_tasks(text, task, owners);
    if (chat) {
      task.layout += ", chat";
    }
    for (const auto& line : task.notes) {
      note(options, "note: " + line);
    }
    hashes += text.substr(0, text.find(':')) + "\n";
    for (const auto& file : task.files) {
      hashes += motet::sha256(motet::read_file(file)) + "\n";
    }
    std::map<std::string, int64_t> places;
    for (auto& record : task.records) {
      if (chat) {
        record = program::in_chat(std::move(record), *chat);
      }
      motet::require(seen.emplace(record.task, record.id).second, "--tasks: the item ", record.id,
                     " of the task ", record.task, " is there twice");
      made.push_back({places[record.task]++, motet::item_of(record, tokenizer, config, tasks, plan),
                      task.layout});
    }
    for (const auto& [name, count] : places) {
      if (options.items && count < *options.items) {
        note(options,
             fmt::format("note: the task {} has {} items, not {}", name, count, *options.items));
      }
    }
  }
  std::stable_sort(made.begin(), made.end(),
                   [](const Made& a, const Made& b) { return a.place < b.place; });
  Items all;
  all.files_hash = motet::sha256(hashes);
  for (auto& one : made) {
    all.items.push_back(std::move(one.item));
    all.layouts.push_back(one.layout);
    all.outputs.push_back(!options.outputs || one.place < *options.outputs);
  }
  return all;
}

/// Takes the run that --out holds already, where that is to go on with these items.
void go_on(const EvalOptions& options, const Items& items, motet::TasksRun& run) {
  if (!program::goes_on(options, motet::json_of(run), {"outputs"})) {
    return;
  }
  const auto path = options.out / "run.json";
  auto earlier = motet::load_tasks_run(path);
  motet::require(earlier.items <= run.items, path.string(), ": has ", earlier.items,
                 " items of each task, this command ", run.items, "; --items may only grow");
  std::map<std::pair<std::string, std::string>, std::string> hashes;
  for (const auto& row : earlier.item_rows) {
    hashes[{row.task, row.id}] = row.prompt_hash;
  }
  for (const auto& item : items.items) {
    const auto& record = item.record;
    const auto found = hashes.find({record.task, record.id});
    motet::require(found == hashes.end() || found->second == record.prompt_hash(), path.string(),
                   ": its item ", record.id, " of the task ", record.task,
                   " has another prompt than this command's; choose another --out");
  }
  for (const auto* item : earlier.drop_incomplete(items.items)) {
    note(options,
         fmt::format("note: {} does not have one row of each of {} modes of the item {} "
                     "of the task {}: it is read again",
                     path.string(), item->modes.size(), item->record.id, item->record.task));
  }
  run.item_rows = std::move(earlier.item_rows);
  run.items_left_out = std::move(earlier.items_left_out);
}

/// Items of tasks that are made which have more tokens than were asked for.
void tell_long(const EvalOptions& options, const Items& items) {
  std::map<std::string, int64_t> longest;
  for (std::size_t i = 0; i < items.items.size(); ++i) {
    const auto& item = items.items[i];
    if (items.layouts[i].starts_with("pce") || items.layouts[i].starts_with("helmet")) {
      auto& most = longest[item.record.task];
      most = std::max(most, item.tokens() + item.record.tokens);
    }
  }
  for (const auto& [task, most] : longest) {
    if (most > options.length) {
      note(options, fmt::format("note: items of {} have up to {} tokens with their output, more "
                                "than --length {}: the task's own options say how many",
                                task, most, options.length));
    }
  }
}

/// The first item of each task, part by part.
void show_prompts(const Items& items, const std::string& prefix) {
  std::set<std::string> shown;
  for (std::size_t i = 0; i < items.items.size(); ++i) {
    const auto& item = items.items[i];
    const auto& record = item.record;
    if (!shown.insert(record.task).second) {
      continue;
    }
    const auto part = [](const std::string& name, const std::string& text) {
      fmt::print("{}",
                 program::for_output(fmt::format("[{}]\n{}{}", name, text,
                                                 text.empty() || text.back() == '\n' ? "" : "\n")));
    };
    fmt::print("{}", program::for_output(fmt::format(
                         "{}, item {}, {} tokens, prompt {}: score {}, answers {}\n", record.task,
                         record.id, item.tokens(), items.layouts[i], motet::name_of(record.rule),
                         fmt::join(record.answers, " | "))));
    part("before everything, in every mode", record.lead.empty() ? "(nothing)" : record.lead);
    part("prefix, of sink and both", record.prefix.value_or(prefix));
    for (std::size_t unit = 0; unit < record.units.size(); ++unit) {
      part(fmt::format("unit {}", unit), record.units[unit]);
    }
    part("query", record.query);
    part("gold answer, whose likelihood is measured", (record.space ? " " : "") + record.gold);
    fmt::print("\n");
  }
}

/// What was left out, each reason's first items and their number.
void tell_left_out(const EvalOptions& options, const motet::TasksPlan& plan, const Items& items) {
  for (const auto& one : plan.left_out) {
    note(options, fmt::format("left out: {}, P = {}: {}", one.mode, one.pieces, one.reason));
  }
  constexpr std::size_t kLines = 8;
  std::size_t lines = 0, count = 0, dropped = 0;
  for (const auto& item : items.items) {
    count += item.left_out.empty() ? 0 : 1;
    dropped += item.dropped > 0 ? 1 : 0;
    if (item.dropped > 0 && dropped <= kLines) {
      note(options, fmt::format("{} {}: {} units are left out from the far end{}", item.record.task,
                                item.record.id, item.dropped,
                                item.gold_dropped ? ", one with the answer among them" : ""));
    }
    for (const auto& one : item.left_out) {
      if (++lines <= kLines) {
        note(options, fmt::format("left out: {} {}, {}, P = {}: {}", one.task, one.id, one.mode,
                                  one.pieces, one.reason));
      }
    }
  }
  if (lines > kLines || dropped > kLines) {
    note(options, fmt::format("left out in all: {} items in some mode (each in run.json); units "
                              "of {} items",
                              count, dropped));
  }
}

/// The files of others that were asked for.
void write_also(const EvalOptions& options, const Items& items, const motet::TasksRun& run) {
  std::vector<motet::TaskRecord> records;
  for (const auto& item : items.items) {
    records.push_back(item.record);
    if (!records.back().prefix) {
      records.back().prefix = program::unescaped(options.prefix);
    }
  }
  if (!options.also.empty() && options.outputs == 0) {
    note(options, "note: --also writes items with an output, and --outputs 0 makes none");
  }
  for (const auto& name : options.also) {
    const auto directory = options.out / name;
    const auto count = name == "ruler" ? motet::save_for_ruler(run, records, directory)
                                       : motet::save_for_helmet(run, records, directory);
    fmt::print("{}: {} files in {}\n", name == "ruler" ? "RULER" : "HELMET", count,
               directory.string());
  }
}

void eval(const EvalOptions& options) {
  program::check(options);
  const auto config = motet::load_config(options.model);
  const auto tokenizer = program::tokenizer_of(options, config);
  const auto chat = options.chat
                        ? std::optional(program::chat_of(options, tokenizer, options.system))
                        : std::nullopt;
  const auto tasks = program::tasks_options(options, config, tokenizer);
  const auto plan = motet::plan_tasks(tasks);
  const auto items = make_items(options, tasks, plan, config, tokenizer, chat);
  tell_long(options, items);
  if (options.show_prompt) {
    show_prompts(items, program::unescaped(options.prefix));
    return;
  }
  program::note_usual_prefix(options, tokenizer, options.bos);
  tell_left_out(options, plan, items);
  const auto none = std::all_of(items.items.begin(), items.items.end(),
                                [](const motet::TaskItem& item) { return item.modes.empty(); });
  motet::require(!none,
                 "no item can be read in any mode; the first: ", items.items[0].left_out[0].reason,
                 options.truncate.empty() ? "; --truncate units would leave out whole units" : "");
  const auto model = motet::load_model(options.model, options.load());

  motet::TasksRun run;
  run.provenance = program::provenance_here(options);
  std::erase_if(run.provenance.command, [](const std::string& word) {
    return word == "--resume" || word == "--overwrite";
  });
  run.provenance.model = program::model_source(options, config);
  run.provenance.readings = program::reading_files(options, plan.modes, run.provenance.model);
  run.provenance.data = {fmt::format("{}", fmt::join(options.tasks, ",")), items.files_hash};
  run.tasks = options.tasks;
  run.layout = options.layout;
  if (chat) {
    run.chat = chat->before;
  }
  run.length = options.length;
  run.options = tasks;
  run.items = options.items.value_or(50);
  run.outputs = options.outputs;
  run.items_there = static_cast<int64_t>(items.items.size());
  run.left_out = plan.left_out;
  program::tell_changes(options, motet::json_of(run));
  std::unique_ptr<motet::DirectoryLock> lock;
  const auto save = [&](motet::TasksPart part) {
    if (!options.out.empty()) {
      motet::save_run(run, options.out / "run.json", part);
    }
  };
  if (!options.out.empty()) {
    lock = program::claim_directory(options);
    go_on(options, items, run);
    if (!run.complete()) {
      save(motet::TasksPart::kItems);
    }
  }

  const auto done = run.done();
  const auto is_done = [&](const motet::TaskItem& item) {
    return done.contains({item.record.task, item.record.id});
  };
  const auto open = std::count_if(items.items.begin(), items.items.end(),
                                  [&](const motet::TaskItem& item) { return !is_done(item); });
  const auto flops = std::accumulate(items.items.begin(), items.items.end(), 0.0,
                                     [&](double sum, const motet::TaskItem& item) {
                                       return sum + (is_done(item) ? 0 : item.flops);
                                     });
  note(options, fmt::format("{} of {} items to do, up to {} modes each: {:.2f} TFLOP", open,
                            items.items.size(), plan.modes.size(), flops / 1e12));
  const program::Items work{
      .verb = "reading",
      .first = 0,
      .count = static_cast<int64_t>(items.items.size()),
      .open =
          [&](int64_t i) {
            return is_done(items.items[i]) ? 0 : std::max(1.0, items.items[i].flops);
          },
      .run =
          [&](int64_t i, const motet::TasksProgress& step) {
            const auto& item = items.items[i];
            const auto rows = motet::run_item(*model, tokenizer, item, tasks, items.outputs[i],
                                              items.layouts[i], step);
            run.item_rows.insert(run.item_rows.end(), rows.begin(), rows.end());
            run.items_left_out.insert(run.items_left_out.end(), item.left_out.begin(),
                                      item.left_out.end());
            save(run.complete() ? motet::TasksPart::kAll : motet::TasksPart::kItems);
          },
      .kept = [&] { return fmt::format("{} of {} items", run.done().size(), items.items.size()); }};
  try {
    program::run_items(options, work);
  } catch (const program::Interrupted&) {
    save(motet::TasksPart::kAll);
    throw;
  }
  fmt::print("{}",
             program::for_output(fmt::format("{}, positions {}\n\n{}", run.provenance.model.name,
                                             options.positions, motet::table_of(run))));
  if (!options.out.empty()) {
    fmt::print("Results: {}\n", (options.out / "run.json").string());
    write_also(options, items, run);
    fmt::print(
        "Page: {}\n",
        program::write_report(motet::pictures_of(run), motet::html_of(run), options.out).string());
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Tasks over long contexts, every way of reading them: scores, likelihoods of the answers "
      "and\n"
      "attention entropy, with intervals.",
      "motet-eval");
  EvalOptions options;
  options.seed = 42;
  program::add_eval_options(app, options);
  return program::run(app, argc, argv, options, [&] { eval(options); });
}
