#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

/// The table of paired figures, which programs of the suite print and write.
namespace bench {

/// A figure of the table, from paired measurements.
struct Figure {
  std::string name;
  std::string unit = {};
  std::optional<double> goal = {};            ///< nothing: for comparison only
  bool higher = false;                        ///< better where higher
  std::vector<double> values = {};            ///< one for each pair
  std::vector<double> ours = {}, rival = {};  ///< seconds
  std::string note = {};

  /// Whether the median is as good as the goal; true without one.
  bool met() const;
};

/// Ours in units of the rival's time.
Figure time_ratio(std::string name, std::optional<double> goal, const std::vector<double>& ours,
                  const std::vector<double>& rival);

/// The rows that are there so far: printed as they come, and in the file after each of them.
class Report {
 public:
  /// An empty `out` writes nothing. Made before what may fail, so that the file is there.
  Report(std::filesystem::path out, bool quick);

  void add(const Figure& figure);
  /// A figure that could not be measured; its values are empty.
  void leave_out(const Figure& figure, const std::string& why) { add_empty(figure, why, false); }
  /// A figure that a quick run leaves to a full one.
  void skip(const Figure& figure) { add_empty(figure, "not part of --quick", true); }
  void add_growth(nlohmann::json point);

 private:
  void add_empty(const Figure& figure, const std::string& why, bool skipped);
  void save() const;

  std::filesystem::path out_;
  nlohmann::json document_;
};

/// What every program that prints a table is told.
struct SuiteOptions {
  bool quick = false;
  int threads = 0;  ///< 0: as many as LibTorch takes
  std::filesystem::path out;
};

/// Adds --quick, --threads and --out to the program's own options, parses the command line and runs
/// `body`. Returns the exit code; errors go to stderr, behind the program's name.
int run_suite(CLI::App& app, int argc, char** argv, SuiteOptions& options,
              const std::string& what_quick_is, const std::function<void()>& body);

/// Runs this program again, in a process of its own, and returns the `count` numbers that it
/// prints. Throws motet::Error where it fails.
std::vector<double> ask_self(const std::string& arguments, std::size_t count);

}  // namespace bench
