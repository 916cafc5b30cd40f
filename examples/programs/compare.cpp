// motet-compare: one text, every mode, one table. Zhang et al. 2025, arXiv 2412.16545, section 3.

#include "motet/eval/compare.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "items.h"
#include "motet/context/layout.h"
#include "motet/eval/compare_run.h"
#include "motet/files/safetensors.h"
#include "motet/reading/registry.h"
#include "motet/report/json.h"
#include "motet/report/table.h"
#include "motet/text/documents.h"
#include "motet/text/tokenizer.h"
#include "program.h"
#include "readings.h"
#include "report_files.h"
#include "run_files.h"
#include "texts.h"

namespace {

using program::note;
using program::UsageError;

struct Options : program::Options {
  program::TextOptions text;
  program::SegmentOptions segments;
  std::optional<int64_t> select;
  std::vector<int64_t> pieces{1, 2, 4, 8};
  std::vector<std::string> readings{"select"};
  std::vector<int64_t> keep_keys;
  std::string prefix =
      "Given the following partial context, predict the words that come next:\\n\\n";
  std::string positions = "spread";
  std::vector<std::string> oracles, ensembles;
  program::AblationOptions ablation;
  std::vector<int64_t> rows;
  bool bos = false, diagnose = false, recall = false, save_stats = false;
  std::vector<double> near_keys;
};

void add_options(CLI::App& app, Options& options) {
  program::add_text_options(app, options.text);
  program::add_segment_options(app, options.segments);
  app.add_option("--pieces", options.pieces, "degrees P")->delimiter(',')->capture_default_str();
  app.add_option("--prefix", options.prefix, "shared prefix of sink and both; knows \\n")
      ->capture_default_str();
  app.add_flag("--bos", options.bos,
               "put the tokenizer's first token before everything, in every mode");
  app.add_option("--select", options.select,
                 "pieces K that a row of selective and both keeps, which it asks for; 2");
  auto* readings =
      app.add_option("--readings", options.readings)->delimiter(',')->capture_default_str();
  options.describe = [readings] {
    readings->description(program::wrapped(
        "readings beside `all`, each without and with the prefix, of " + motet::reading_usages() +
        "; those that leave keys of a single piece unread run at P = 1, too"));
  };
  app.add_option("--keep-keys", options.keep_keys,
                 "and readings topk:K, in which each row keeps its K largest keys: of every\n"
                 "degree, 1 included")
      ->delimiter(',');
  app.add_option("--positions", options.positions, "of the pieces' tokens")
      ->check(CLI::IsMember({"spread", "left", "right", "sequential"}))
      ->capture_default_str();
  app.add_option("--oracle", options.oracles,
                 "keys, values or both from a run of one piece, as mode `oracle`; in some layers:\n"
                 "both:0+4-9, or in all but those: both:not:5. Several are several modes")
      ->delimiter(',');
  app.add_option("--ensembles", options.ensembles,
                 "each piece read by a query of its own and their predictions mixed, as mode\n"
                 "`ensemble`: nbce[:BETA] or mean")
      ->delimiter(',');
  program::add_ablation_options(app, options.ablation);
  app.add_flag("--diagnose", options.diagnose,
               "norms of queries, keys and values, cosines and scores, by head and by place in\n"
               "the piece: in run.json and on the page");
  app.add_flag("--recall", options.recall,
               "how the pieces that rows keep agree with an exact choice of as many");
  app.add_option("--near-keys", options.near_keys,
                 "gaps in nats: how many keys are as near as that to a row's best one: 1,2,4")
      ->delimiter(',');
  app.add_option("--rows", options.rows,
                 "query rows (from 0) whose attention itself goes into run.json and on the page")
      ->delimiter(',');
  app.add_flag("--save-stats", options.save_stats,
               "every statistic of every row, in stats.safetensors beside run.json");
  program::add_config_option(app, options);
  program::add_options(app, options);
}

motet::CompareOptions compare_options(const Options& options, const motet::Config& config,
                                      const motet::Tokenizer& tokenizer) {
  motet::CompareOptions compare;
  options.segments.fill(compare, config);
  compare.pieces = options.pieces;
  compare.prefix = tokenizer.encode(program::unescaped(options.prefix)).ids;
  compare.select = options.select.value_or(compare.select);
  compare.readings = program::readings_of(options.readings, options.select);
  for (const auto keys : options.keep_keys) {
    if (keys < 1) {
      throw UsageError(fmt::format("--keep-keys {}: a row keeps at least 1", keys));
    }
    compare.readings.push_back(fmt::format("topk:{}", keys));
  }
  compare.positions = motet::positions_named(options.positions);
  if (options.bos) {
    compare.bos = program::bos_of(options.model, config, tokenizer);
  }
  compare.ablation = options.ablation.ablation();
  compare.diagnose = options.diagnose;
  compare.recall = options.recall;
  compare.gaps = options.near_keys;
  compare.rows = options.rows;
  program::check_options(options, [&] {
    for (const auto& oracle : options.oracles) {
      compare.oracles.push_back(motet::oracle_named(oracle));
    }
    for (const auto& ensemble : options.ensembles) {
      compare.ensembles.push_back(motet::ensemble_named(ensemble));
    }
    compare.validate();
  });
  const auto most = *std::max_element(compare.pieces.begin(), compare.pieces.end());
  if (options.select && *options.select >= most) {
    throw UsageError(
        fmt::format("--select {}: no degree of --pieces is above it (the largest is {}), so "
                    "selective and both could not run",
                    *options.select, most));
  }
  return compare;
}

std::filesystem::path stats_path(const Options& options) {
  return options.out / "stats.safetensors";
}

/// Takes the run that --out holds already, where that is to go on.
void go_on(const Options& options, motet::CompareRun& run) {
  if (!program::goes_on(options, motet::json_of(run))) {
    return;
  }
  motet::require(options.save_stats || !std::filesystem::exists(stats_path(options)),
                 options.out.string(),
                 ": the run that is to go on was begun with --save-stats; give it, too");
  run.segment_rows = motet::load_run(options.out / "run.json").segment_rows;
}

/// Statistics of the segments that a run has already.
motet::CompareStatistics earlier_stats(const Options& options, const motet::CompareRun& run) {
  motet::CompareStatistics statistics;
  if (!options.save_stats || run.segment_rows.empty()) {
    return statistics;
  }
  motet::require(
      std::filesystem::exists(stats_path(options)), options.out.string(),
      ": the run that is to go on was begun without --save-stats; leave it out, or begin "
      "anew with --overwrite");
  const auto file = motet::SafeTensors::open(stats_path(options));
  for (const auto& name : file.names()) {
    statistics[name] = file.tensor(name);
  }
  return statistics;
}

void save(const Options& options, const motet::CompareRun& run,
          const motet::CompareStatistics& statistics) {
  if (options.out.empty()) {
    return;
  }
  if (options.save_stats && !statistics.empty()) {  // before the run that says they are there
    motet::save_safetensors(stats_path(options), statistics);
  }
  motet::save_run(run, options.out / "run.json");
}

void compare(const Options& options) {
  const auto config = motet::load_config(options.model);
  const auto tokenizer = program::tokenizer_of(options, config);
  if (options.save_stats && options.out.empty()) {
    throw UsageError("--save-stats needs --out DIR");
  }
  const auto compare = compare_options(options, config, tokenizer);
  const auto plan = motet::plan_compare(config, compare);
  const auto text = program::read_text(options, options.text, tokenizer);
  text.check(compare.skip, compare.segments, compare.length, compare.scored + 2);
  program::note_usual_prefix(options, tokenizer, options.bos);
  const auto model = motet::load_model(options.model, options.load());

  motet::CompareRun run{program::provenance_here(options), compare, plan.left_out, {}};
  run.provenance.model = program::model_source(options, config);
  run.provenance.readings = program::reading_files(options, plan.modes, run.provenance.model);
  run.provenance.data = text.source();
  run.provenance.data_tokens = text.tokens();
  program::tell_changes(options, motet::json_of(run));
  motet::CompareStatistics statistics;
  std::unique_ptr<motet::DirectoryLock> lock;
  if (!options.out.empty()) {
    lock = program::claim_directory(options);
    go_on(options, run);
    statistics = earlier_stats(options, run);
    save(options, run, statistics);
  }

  for (const auto& left_out : plan.left_out) {
    note(options,
         fmt::format("left out: {}, P = {}: {}", left_out.mode, left_out.pieces, left_out.reason));
  }
  const auto done = run.segments_done();
  const auto open = compare.segments - static_cast<int64_t>(done.size());
  note(options, fmt::format("{} of {} segments of {} tokens to do, {} modes each: {:.2f} TFLOP",
                            open, compare.segments, compare.length, plan.modes.size(),
                            static_cast<double>(open) * plan.segment_flops / 1e12));
  program::run_items(
      options,
      {.verb = "comparing",
       .first = compare.skip,
       .count = compare.segments,
       .open =
           [&](int64_t segment) {
             const bool is_done = std::find(done.begin(), done.end(), segment) != done.end();
             return is_done ? 0 : plan.segment_flops;
           },
       .run =
           [&](int64_t segment, const motet::CompareProgress& step) {
             const auto rows = motet::compare_segment(*model, text.segment(segment, compare.length),
                                                      compare, plan, segment, step,
                                                      options.save_stats ? &statistics : nullptr);
             run.segment_rows.insert(run.segment_rows.end(), rows.begin(), rows.end());
             save(options, run, statistics);
           },
       .kept =
           [&] {
             return fmt::format("{} of {} segments", run.segments_done().size(), compare.segments);
           }});
  fmt::print(
      "{}", program::for_output(fmt::format(
                "{}, {}, {} of {} tokens, {} scored, positions {}\n\n{}", run.provenance.model.name,
                run.provenance.data.name, program::segments_text(compare.segments), compare.length,
                compare.scored, options.positions, motet::table_of(run))));
  if (::isatty(STDOUT_FILENO) == 1) {
    fmt::print("\n{}\n", motet::heat_map_of(run));
  }
  if (!options.out.empty()) {
    fmt::print("Results: {}\n", (options.out / "run.json").string());
    fmt::print("Page: {}\n", program::write_report({run}, options.out).string());
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "One text, every way of reading it, one table: perplexity and attention entropy of\n"
      "full attention and of parallel context encoding.",
      "motet-compare");
  Options options;
  add_options(app, options);
  options.flags = {{"oracles", "--oracle"}, {"gaps", "--near-keys"}};
  return program::run(app, argc, argv, options, [&] { compare(options); });
}
