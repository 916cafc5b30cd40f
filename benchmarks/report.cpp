#include "report.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <cstdio>
#include <utility>

#include "measure.h"
#include "motet/error.h"
#include "motet/files/atomic.h"

namespace bench {

using nlohmann::json;

bool Figure::met() const {
  const auto measured = median(values);
  return !goal || (higher ? measured >= *goal : measured <= *goal);
}

Figure time_ratio(std::string name, std::optional<double> goal, const std::vector<double>& ours,
                  const std::vector<double>& rival) {
  return {.name = std::move(name),
          .unit = "of the rival's time",
          .goal = goal,
          .values = quotients(ours, rival),
          .ours = ours,
          .rival = rival};
}

Report::Report(std::filesystem::path out, bool quick) : out_(std::move(out)) {
  document_ = {
      {"machine", machine()}, {"quick", quick}, {"rows", json::array()}, {"growth", json::array()}};
  fmt::print("{:<62} {:>8} {:>8} {:>17}  {:>5}\n", "", "goal", "measured", "low to high", "met");
  save();
}

void Report::add_empty(const Figure& figure, const std::string& why, bool skipped) {
  fmt::print("{:<62} {:>8} left out: {}\n", figure.name,
             figure.goal ? fmt::format("{:.3g}", *figure.goal) : "", why);
  json row{{"name", figure.name},
           {"goal", figure.goal ? json(*figure.goal) : json()},
           {"measured", nullptr},
           {"met", skipped || !figure.goal ? json() : json(false)},
           {"note", why}};
  if (figure.higher) {
    row["better"] = "higher";
  }
  document_["rows"].push_back(std::move(row));
  save();
}

void Report::add_growth(json point) {
  document_["growth"].push_back(std::move(point));
  save();
}

void Report::add(const Figure& figure) {
  const auto spread = spread_of(figure.values);
  json row{{"name", figure.name},
           {"goal", nullptr},
           {"measured", spread.median},
           {"low", spread.low},
           {"high", spread.high},
           {"met", nullptr},
           {"unit", figure.unit},
           {"ours_seconds", median(figure.ours)},
           {"rival_seconds", median(figure.rival)},
           {"pairs", figure.values.size()}};
  if (figure.goal) {
    row["goal"] = *figure.goal;
    row["met"] = figure.met();
  }
  if (figure.higher) {
    row["better"] = "higher";
  }
  if (!figure.note.empty()) {
    row["note"] = figure.note;
  }
  fmt::print("{:<62} {:>8} {:>8.3f} {:>8.3f} {:>8.3f}  {:>5}\n", figure.name,
             figure.goal ? fmt::format("{:.3g}", *figure.goal) : "", spread.median, spread.low,
             spread.high,
             !figure.goal   ? ""
             : figure.met() ? "yes"
                            : "no");
  std::fflush(stdout);
  document_["rows"].push_back(std::move(row));
  save();
}

void Report::save() const {
  if (!out_.empty()) {
    motet::write_file(out_, document_.dump(2) + "\n");
  }
}

int run_suite(CLI::App& app, int argc, char** argv, SuiteOptions& options,
              const std::string& what_quick_is, const std::function<void()>& body) {
  app.add_flag("--quick", options.quick, what_quick_is);
  app.add_option("--threads", options.threads, "as many as there are cores, unless given")
      ->check(CLI::Range(1, 4096));
  app.add_option("--out", options.out, "JSON file; nothing is written without it");
  CLI11_PARSE(app, argc, argv);
  try {
    if (options.threads > 0) {
      at::set_num_threads(options.threads);
    }
    at::manual_seed(0);
    body();
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}: {}\n", app.get_name(), error.what());
    return 1;
  }
}

std::vector<double> ask_self(const std::string& arguments, std::size_t count) {
  const auto program = std::filesystem::read_symlink("/proc/self/exe").string();
  auto* child = ::popen(fmt::format("exec '{}' {}", program, arguments).c_str(), "r");
  motet::require(child != nullptr, program, ": cannot be run again");
  std::vector<double> figures;
  for (double figure = 0; std::fscanf(child, "%lf", &figure) == 1;) {
    figures.push_back(figure);
  }
  motet::require(::pclose(child) == 0 && figures.size() == count, program, ": the measurement '",
                 arguments, "' failed, see above");
  return figures;
}

}  // namespace bench
