// motet-report: pictures and tables of one run, or of several side by side.

#include <fmt/format.h>

#include "motet/files.h"
#include "motet/report/json.h"
#include "motet/report/table.h"
#include "program.h"
#include "report_files.h"

namespace {

struct Options : program::Options {
  std::vector<std::filesystem::path> runs;
  std::string format = "html";
};

void add_options(CLI::App& app, Options& options) {
  app.add_option("run", options.runs, "run.json, or the folder that holds it")->required();
  app.add_option("--format", options.format,
                 "html: a page and its pictures, in --out; the others: a table on stdout")
      ->check(CLI::IsMember({"html", "markdown", "latex", "csv"}))
      ->capture_default_str();
  app.add_option("--out", options.out, "folder of the page; the run's own, unless given")
      ->type_name("DIR");
  program::add_basic_options(app, options);
}

void report(const Options& options) {
  std::vector<motet::Run> runs;
  for (const auto& path : options.runs) {
    runs.push_back(motet::load_run(std::filesystem::is_directory(path) ? path / "run.json" : path));
  }
  if (options.format == "html") {
    if (options.out.empty() && runs.size() > 1) {
      throw program::UsageError("several runs on one page need a folder of their own: --out DIR");
    }
    const auto& first = options.runs[0];
    const auto own = std::filesystem::is_directory(first) ? first : first.parent_path();
    const auto page = program::write_report(runs, options.out.empty() ? own : options.out);
    fmt::print("{}\n", page.string());
    return;
  }
  const auto table = options.format == "markdown" ? motet::markdown_of(runs)
                     : options.format == "latex"  ? motet::latex_of(runs)
                                                  : motet::csv_of(runs);
  fmt::print("{}", table);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Pictures and tables of one run of motet-compare, or of several side by side.",
               "motet-report");
  Options options;
  add_options(app, options);
  return program::run(app, argc, argv, options, [&] { report(options); });
}
