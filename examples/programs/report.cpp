// motet-report: pictures and tables of one run, or of several.

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "motet/report/heads.h"
#include "motet/report/json.h"
#include "motet/report/table.h"
#include "motet/report/tasks.h"
#include "program.h"
#include "report_files.h"

namespace {

using program::UsageError;

struct Options : program::Options {
  std::vector<std::filesystem::path> runs;
  std::string format = "html";
  bool paper = false;
};

void add_options(CLI::App& app, Options& options) {
  app.add_option("run", options.runs, "run.json, or the folder that holds it")->required();
  app.add_option("--format", options.format,
                 "html: a page and its pictures, in --out; the others: a table on stdout")
      ->check(CLI::IsMember({"html", "markdown", "latex", "csv"}))
      ->capture_default_str();
  app.add_flag("--paper", options.paper,
               "of motet-eval: the paper's three tables (perplexity, score, entropy) on stdout");
  app.add_option("--out", options.out, "folder of the page; the run's own, unless given")
      ->type_name("DIR");
  program::add_basic_options(app, options);
}

/// Runs as a table in the format that is asked for.
template <typename Runs>
std::string table_of(const Runs& runs, const std::string& format) {
  return format == "markdown" ? motet::markdown_of(runs)
         : format == "latex"  ? motet::latex_of(runs)
                              : motet::csv_of(runs);
}

/// Every run of some files.
template <typename Load>
auto loaded(const std::vector<std::filesystem::path>& paths, const Load& load) {
  std::vector<decltype(load(paths[0]))> runs;
  std::transform(paths.begin(), paths.end(), std::back_inserter(runs), load);
  return runs;
}

/// Runs of a program whose page shows one of them.
template <typename Run>
void show_each(const std::vector<Run>& runs, const Options& options,
               const std::filesystem::path& out) {
  if (options.format != "html") {
    fmt::print("{}", table_of(runs, options.format));
    return;
  }
  if (runs.size() > 1) {
    throw UsageError(fmt::format(
        "a page shows one run of {}; give one, or --format markdown, latex or csv", Run::kProgram));
  }
  fmt::print(
      "{}\n",
      program::write_report(motet::pictures_of(runs[0]), motet::html_of(runs[0]), out).string());
}

void report(const Options& options) {
  std::vector<std::filesystem::path> paths;
  std::vector<std::string> programs;
  for (const auto& path : options.runs) {
    paths.push_back(std::filesystem::is_directory(path) ? path / "run.json" : path);
    programs.push_back(motet::program_of(paths.back()));
    if (programs.back() != programs[0]) {
      throw UsageError(fmt::format("{} is a run of {}, {} one of {}; they have no common figures",
                                   paths[0].string(), programs[0], paths.back().string(),
                                   programs.back()));
    }
  }
  const bool html = options.format == "html";
  if (html && !options.paper && options.out.empty() && paths.size() > 1) {
    throw UsageError("several runs on one page need a folder of their own: --out DIR");
  }
  const auto out = options.out.empty() ? paths[0].parent_path() : options.out;
  const auto lock = html && !options.paper ? program::claim_directory(options, out) : nullptr;
  if (programs[0] == "motet-heads" && !options.paper) {
    return show_each(loaded(paths, motet::load_heads_run), options, out);
  }
  if (programs[0] == "motet-eval") {
    const auto runs = loaded(paths, motet::load_tasks_run);
    if (!options.paper) {
      return show_each(runs, options, out);
    }
    for (std::size_t i = 0; i < runs.size(); ++i) {
      if (runs.size() > 1) {
        fmt::print("{}{}: {}\n\n", options.format == "latex" ? "% " : "", paths[i].string(),
                   runs[i].provenance.model.name);
      }
      fmt::print("{}", motet::paper_tables_of(runs[i], html ? "text" : options.format));
    }
    return;
  }
  if (options.paper) {
    throw UsageError("--paper: the three tables are those of motet-eval's runs");
  }
  const auto runs = loaded(paths, motet::load_run);
  fmt::print("{}", html ? program::write_report(runs, out).string() + "\n"
                        : table_of(runs, options.format));
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Pictures and tables of one run of motet-compare, motet-eval or motet-heads, or of\n"
      "several.",
      "motet-report");
  Options options;
  add_options(app, options);
  return program::run(app, argc, argv, options, [&] { report(options); });
}
