// motet-heads: which heads need keys that are far away, and what leaving those out costs.
// Donhauser et al. 2025, arXiv 2502.09647.

#include "motet/eval/heads.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "alice.h"
#include "items.h"
#include "motet/files/mapped.h"
#include "motet/files/safetensors.h"
#include "motet/files/sha256.h"
#include "motet/report/heads.h"
#include "motet/text/tokenizer.h"
#include "program.h"
#include "report_files.h"
#include "run_files.h"
#include "texts.h"

namespace {

using program::note;
using program::UsageError;

struct Options : program::Options {
  program::TextOptions text;
  std::filesystem::path calibrate, pattern;
  program::SegmentOptions segments;
  int64_t pieces = 8, window_first = 16, window_last = 128;
  std::vector<double> tau, share, loss;
  std::vector<std::string> methods{"adaptive", "oracle", "static", "random"};
  std::string covariance = "full";
  double gate = 0.5;
  program::AblationOptions ablation;
  bool save_stats = false;
};

void add_options(CLI::App& app, Options& options) {
  program::add_text_options(app, options.text);
  program::add_segment_options(app, options.segments);
  app.add_option("--tau", options.tau,
                 "shares of a row's mass that its window must have; 0.6,0.8,0.9,0.95,0.99, unless\n"
                 "tau is chosen by --share or --loss")
      ->delimiter(',');
  app.add_option("--share", options.share,
                 "tau with which this share of decisions on the calibration text is local")
      ->delimiter(',');
  app.add_option("--loss", options.loss,
                 "the smallest tau that costs so many nats a token, or fewer, on that text")
      ->delimiter(',');
  app.add_option("--method", options.methods,
                 "adaptive, oracle (the true mass), static (the same heads for every row,\n"
                 "calibrated), random (heads), pattern (a file's)")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--covariance", options.covariance, "of keys, in the estimate")
      ->check(CLI::IsMember({"full", "diagonal"}))
      ->capture_default_str();
  app.add_option("--calibrate", options.calibrate,
                 "text, or static.json of an earlier run; examples/data/alice.txt unless given");
  auto* pattern =
      app.add_option("--pattern", options.pattern,
                     "which heads are long: JSON, or a table of gates as DuoAttention has it");
  app.add_option("--gate", options.gate, "heads with a gate of so much or more are long")
      ->capture_default_str()
      ->needs(pattern);
  app.add_option("--window-first", options.window_first, "first keys that every row reads")
      ->capture_default_str();
  app.add_option("--window-last", options.window_last, "last keys that every row reads")
      ->capture_default_str();
  app.add_option("--pieces", options.pieces,
                 "of the parallel reading whose entropies stand beside those in full")
      ->capture_default_str();
  app.add_flag("--save-stats", options.save_stats,
               "every figure of every row, in stats/ beside run.json");
  program::add_ablation_options(app, options.ablation);
  program::add_config_option(app, options);
  program::add_options(app, options);
}

/// What heads and thresholds are chosen on.
struct CalibrationText {
  motet::Source source;
  std::vector<int64_t> tokens;
  int64_t query = 0;  // of them, at their end
};

CalibrationText calibration_text(const Options& options, const motet::HeadsOptions& heads,
                                 const motet::Tokenizer& tokenizer) {
  CalibrationText found;
  const auto own = options.calibrate.empty();
  const auto text = own ? std::string(program::kAlice) : motet::read_file(options.calibrate);
  found.source = {own ? "examples/data/alice.txt" : options.calibrate.filename().string(),
                  motet::sha256(text)};
  found.tokens = program::tokens_of(options, tokenizer, {found.source.name, text});
  const auto length =
      std::min<int64_t>(heads.length - 1, static_cast<int64_t>(found.tokens.size()));
  found.tokens.resize(length);
  found.query = std::max<int64_t>(1, heads.scored * length / heads.length);
  return found;
}

bool has(const motet::HeadsOptions& heads, const std::string& method) {
  return std::find(heads.methods.begin(), heads.methods.end(), method) != heads.methods.end();
}

/// What static heads are made from; also writes the thresholds that --share and --loss ask for into
/// `heads`.
std::optional<motet::HeadCalibration> calibrate(const Options& options, const motet::Decoder& model,
                                                const motet::Tokenizer& tokenizer,
                                                motet::HeadsOptions& heads) {
  const bool wanted = has(heads, "static");
  const bool chosen = !options.share.empty() || !options.loss.empty();
  if (!wanted && !chosen && !options.calibrate.empty()) {
    throw UsageError("--calibrate " + options.calibrate.string() +
                     ": nothing is calibrated without the method static, --share or --loss");
  }
  if (options.calibrate.extension() == ".json") {
    if (chosen) {
      throw UsageError("--calibrate " + options.calibrate.string() +
                       ": --share and --loss need a text");
    }
    auto calibration = motet::load_calibration(options.calibrate);
    calibration.check(model.config(), heads.window);
    return calibration;
  }
  if (!wanted && !chosen) {
    return {};
  }
  const auto text = calibration_text(options, heads, tokenizer);
  note(options, fmt::format("calibrating on {}, {} tokens{}", text.source.name, text.tokens.size(),
                            options.calibrate.empty() ? " (--calibrate FILE takes another)" : ""));
  const auto margins = motet::read_margins(model, text.tokens, text.query, heads.window,
                                           heads.covariance, heads.ablation);
  const auto add = [&](double tau, const char* option, double value) {
    note(options, fmt::format("{} {}: tau = {:.6g}", option, value, tau));
    if (std::find(heads.tau.begin(), heads.tau.end(), tau) == heads.tau.end()) {
      heads.tau.push_back(tau);
    }
  };
  for (const auto share : options.share) {
    add(motet::tau_for_share(margins.estimated, share), "--share", share);
  }
  for (const auto loss : options.loss) {
    add(motet::tau_for_loss(model, text.tokens, text.query, loss, heads.window, heads.covariance,
                            heads.ablation),
        "--loss", loss);
  }
  auto calibration = motet::calibrate(margins, heads.window, heads.tau);
  calibration.text = text.source.name;
  calibration.hash = text.source.hash;
  calibration.tokens = static_cast<int64_t>(text.tokens.size());
  return calibration;
}

motet::HeadsOptions heads_options(const Options& options, const motet::Config& config) {
  motet::HeadsOptions heads;
  options.segments.fill(heads, config);
  const bool chosen = !options.share.empty() || !options.loss.empty();
  heads.tau = options.tau.empty() && !chosen ? heads.tau : options.tau;
  heads.methods = options.methods;
  // The share of local decisions of static and random is adaptive's.
  std::stable_partition(heads.methods.begin(), heads.methods.end(),
                        [](const std::string& method) { return method == "adaptive"; });
  heads.covariance =
      options.covariance == "full" ? motet::Covariance::kFull : motet::Covariance::kDiagonal;
  heads.window = {options.window_first, options.window_last};
  heads.pieces = options.pieces;
  heads.seed = options.seed;
  heads.ablation = options.ablation.ablation();
  if (!options.pattern.empty()) {
    if (!has(heads, "pattern")) {
      throw UsageError("--pattern " + options.pattern.string() +
                       ": --method names no pattern, which would read it");
    }
    heads.pattern = motet::load_pattern(options.pattern, config, options.gate);
  }
  program::check_options(options, [&] {
    auto checked = heads;
    if (checked.tau.empty()) {
      checked.tau = {0.5};  // is chosen later
    }
    checked.validate();
    for (const auto share : options.share) {
      motet::require(share >= 0 && share <= 1, "--share ", share, ": it is within [0, 1]");
    }
    for (const auto loss : options.loss) {
      motet::require(loss >= 0, "--loss ", loss, ": it is 0 or more nats a token");
    }
    motet::require(!config.learned_positions() || heads.length <= config.positions, "--length ",
                   heads.length, ": the model has ", config.positions, " positions");
  });
  return heads;
}

/// Takes what the run that --out holds has already, where that is to go on.
void go_on(const Options& options, motet::HeadsRun& run) {
  if (!program::goes_on(options, motet::json_of(run), {"calibration"})) {
    return;
  }
  auto earlier = motet::load_heads_run(options.out / "run.json");
  motet::require(options.save_stats == std::filesystem::exists(options.out / "stats") ||
                     earlier.segment_rows.empty(),
                 options.out.string(), ": the run that is to go on was begun with",
                 options.save_stats ? "out" : "", " --save-stats; ",
                 options.save_stats ? "leave it out" : "give it, too");
  run.segment_full = std::move(earlier.segment_full);
  run.segment_rows = std::move(earlier.segment_rows);
}

const motet::HeadsRow* find_row(const motet::HeadsRun& run, int64_t segment,
                                const std::string& method, double tau) {
  for (const auto& row : run.segment_rows) {
    if (row.segment == segment && row.method == method && row.tau == tau) {
      return &row;
    }
  }
  return nullptr;
}

/// How many methods and tau of a segment are still to be run.
std::size_t open_rows(const motet::HeadsRun& run, int64_t segment) {
  std::size_t open = 0;
  for (const auto tau : run.options.tau) {
    for (const auto& method : run.options.methods) {
      open += find_row(run, segment, method, tau) == nullptr ? 1 : 0;
    }
  }
  return open;
}

void save(const Options& options, const motet::HeadsRun& run) {
  if (!options.out.empty()) {
    motet::save_run(run, options.out / "run.json");
  }
}

void run_segment(const Options& options, const motet::Decoder& model,
                 const std::vector<int64_t>& tokens, int64_t segment,
                 const motet::HeadCalibration* calibration, const motet::HeadsProgress& step,
                 motet::HeadsRun& run) {
  motet::HeadsSegment reader(model, tokens, run.options, segment, step);
  const bool known = std::any_of(run.segment_full.begin(), run.segment_full.end(),
                                 [&](const auto& full) { return full.segment == segment; });
  if (!known) {
    run.segment_full.push_back(reader.full());
  }
  for (const auto tau : run.options.tau) {
    for (const auto& method : run.options.methods) {
      if (find_row(run, segment, method, tau) != nullptr) {
        continue;
      }
      const auto* adaptive = find_row(run, segment, "adaptive", tau);
      motet::HeadsStatistics statistics;
      run.segment_rows.push_back(reader.row(
          method, tau, adaptive != nullptr ? std::optional(adaptive->local_share) : std::nullopt,
          calibration, options.save_stats ? &statistics : nullptr));
      if (options.save_stats) {
        motet::save_safetensors(
            options.out / "stats" / fmt::format("{}-{}-{}.safetensors", segment, method, tau),
            statistics);
      }
      save(options, run);
    }
  }
}

void heads(const Options& options) {
  const auto config = motet::load_config(options.model);
  const auto tokenizer = motet::Tokenizer::load(options.model);
  if (options.save_stats && options.out.empty()) {
    throw UsageError("--save-stats needs --out DIR");
  }
  motet::HeadsRun run{
      program::provenance_here(options), heads_options(options, config), {}, {}, {}};
  const auto& wanted = run.options;
  const auto text = program::read_text(options, options.text, tokenizer);
  text.check(wanted.skip, wanted.segments, wanted.length, wanted.scored + 2);
  const auto model = motet::load_model(options.model, options.load());
  const auto calibration = calibrate(options, *model, tokenizer, run.options);

  run.provenance.model = program::model_source(options, config);
  run.provenance.data = text.source();
  run.provenance.data_tokens = text.tokens();
  if (calibration) {
    run.calibration = {calibration->text, calibration->hash};
  }
  program::tell_changes(options, motet::json_of(run));
  std::unique_ptr<motet::DirectoryLock> lock;
  if (!options.out.empty()) {
    lock = program::claim_directory(options);
    go_on(options, run);
    if (options.save_stats) {
      std::filesystem::create_directories(options.out / "stats");
    }
    if (calibration) {
      motet::save_calibration(*calibration, options.out / "static.json");
    }
    save(options, run);
  }

  std::size_t rows = 0;
  for (auto segment = wanted.skip; segment < wanted.skip + wanted.segments; ++segment) {
    rows += open_rows(run, segment);
  }
  note(options,
       fmt::format("{} of {} tokens, {} readings of {} tokens to do",
                   program::segments_text(wanted.segments), wanted.length, rows, wanted.scored));
  program::run_items(options,
                     {.verb = "reading",
                      .first = wanted.skip,
                      .count = wanted.segments,
                      .open =
                          [&](int64_t segment) {
                            const auto open = open_rows(run, segment);
                            return open > 0 ? motet::segment_work(config, wanted, open) : 0;
                          },
                      .run =
                          [&](int64_t segment, const motet::HeadsProgress& step) {
                            run_segment(options, *model, text.segment(segment, wanted.length),
                                        segment, calibration ? &*calibration : nullptr, step, run);
                          },
                      .kept = [&] { return fmt::format("{} readings", run.segment_rows.size()); }});
  save(options, run);
  fmt::print("{}", program::for_output(fmt::format(
                       "{}, {}, {} of {} tokens, {} scored, covariance {}{}\n\n{}",
                       run.provenance.model.name, run.provenance.data.name,
                       program::segments_text(wanted.segments), wanted.length, wanted.scored,
                       options.covariance,
                       calibration ? ", static heads calibrated on " + calibration->text : "",
                       motet::table_of(run))));
  if (!options.out.empty()) {
    fmt::print("Results: {}\n", (options.out / "run.json").string());
    fmt::print(
        "Page: {}\n",
        program::write_report(motet::pictures_of(run), motet::html_of(run), options.out).string());
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Which attention heads need keys that are far away, row by row, and what leaving those\n"
      "keys out costs: adaptive heads against an oracle, static and random ones.",
      "motet-heads");
  Options options;
  add_options(app, options);
  options.flags = {{"methods", "--method"}, {"pattern", "--pattern FILE"}};
  return program::run(app, argc, argv, options, [&] { heads(options); });
}
