#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "motet/error.h"
#include "motet/files/lock.h"
#include "motet/model/ablation.h"
#include "motet/model/weights.h"
#include "motet/text/documents.h"
#include "motet/text/tokenizer.h"

/// What every program shares: options, exit codes, progress, interruption.
namespace program {

/// The command line is wrong: exit code 2.
class UsageError : public motet::Error {
 public:
  using motet::Error::Error;
};

/// The user stopped the run. What was saved stays.
class Interrupted : public motet::Error {
 public:
  using motet::Error::Error;
};

struct Options {
  std::filesystem::path model;   ///< the directory, also where a hub id was given
  std::filesystem::path config;  ///< run.json of the run that is repeated, if any
  std::string dtype = "float32";
  std::string device = "cpu";
  int threads = 0;  ///< 0: as many as LibTorch takes
  int64_t seed = 0;
  std::filesystem::path out;
  bool overwrite = false;
  bool resume = false;
  bool quiet = false;
  std::vector<std::string> command;         ///< that was run: with what `--config` brought
  std::vector<std::string> ignore_tensors;  ///< patterns of names
  std::vector<std::string> libraries;  ///< of `--load`; they are loaded before anything is parsed
  /// Called when they are: what they registered belongs into the help of options.
  std::function<void()> describe;
  /// Flags of the library's options that are not called --FIELD, by the field.
  std::map<std::string, std::string, std::less<>> flags;

  motet::LoadOptions load() const;
};

/// Heads that are switched off.
struct AblationOptions {
  std::string heads;  ///< LAYER.HEAD,..., or a file of them
  std::string by = "zero";

  motet::Ablation ablation() const;  ///< of no heads, where none are named
};

/// Adds the options of programs that run a model.
void add_options(CLI::App& app, Options& options);
/// Adds --ignore-tensors.
void add_ignore_option(CLI::App& app, Options& options);
/// Adds those that every program takes.
void add_basic_options(CLI::App& app, Options& options);
/// Adds --config, for programs that leave a run.json.
void add_config_option(CLI::App& app, Options& options);
/// Adds --ablate and --ablate-by.
void add_ablation_options(CLI::App& app, AblationOptions& options);

/// Parses the command line and runs `body`, after threads and seed are set. Returns the exit code:
/// 0, 1 (the run failed) or 2 (the command line is wrong). Errors go to stderr, behind the
/// program's name.
int run(CLI::App& app, int argc, char** argv, Options& options, const std::function<void()>& body);

/// What the library says of an option, with the program's flags in place of its fields.
std::string flagged(const Options& options, const motet::FieldError& error);

/// Runs `check`; what the library finds wrong there is an error of the command line.
void check_options(const Options& options, const std::function<void()>& check);

/// Makes the directory that a program writes to where it is not there, and keeps every other
/// program out of it for as long as the lock lives. Throws Error; a file system without locks is
/// noted.
std::unique_ptr<motet::DirectoryLock> claim_directory(const Options& options,
                                                      const std::filesystem::path& directory);
/// That of --out.
inline std::unique_ptr<motet::DirectoryLock> claim_directory(const Options& options) {
  return claim_directory(options, options.out);
}

/// From now on Ctrl-C and SIGTERM are noted once, so that work can end where it is kept; before,
/// and the second time, they end the program at once.
void heed_signals();
/// Whether one of them has come since.
bool interrupted();

/// A text for a terminal: control characters but line ends and tabs as \xNN, so that names of files
/// and models move no cursor.
std::string printable(std::string_view text);
/// What goes to standard output: as it is, or printable where that is a terminal.
std::string for_output(const std::string& text);

/// What the tokenizer would put first, or, where it puts nothing, what config.json calls BOS.
/// Throws Error where neither says.
std::vector<int64_t> bos_of(const std::filesystem::path& model, const motet::Config& config,
                            const motet::Tokenizer& tokenizer);

/// The tokenizer of the model's directory. Throws Error where its ids are more than the model's.
motet::Tokenizer tokenizer_of(const Options& options, const motet::Config& config);

/// Notes what the tokenizer would put first, where that is left out.
void note_usual_prefix(const Options& options, const motet::Tokenizer& tokenizer, bool bos);

/// Words in lines of at most so many characters, for the help of an option.
std::string wrapped(const std::string& text, std::size_t width = 80);

/// A line on stderr, unless --quiet was given.
void note(const Options& options, const std::string& text);

/// The tokens of a text, none added; bytes that have none are noted. Throws Error that names the
/// document.
std::vector<int64_t> tokens_of(const Options& options, const motet::Tokenizer& tokenizer,
                               const motet::Document& document);

/// Replaces \n, \t and \\ by what they stand for. Throws UsageError for another escape.
std::string unescaped(const std::string& text);

/// A line on stderr that tells how far the work is, rewritten in place on a terminal, once a minute
/// elsewhere.
class Progress {
 public:
  Progress(std::string what, double total, bool quiet);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// `details` stand between how far it is and the time left.
  void add(double work, const std::string& details = {});

 private:
  std::string what_;
  double total_, done_ = 0, start_, last_;
  bool quiet_, terminal_, shown_ = false;
};

/// "1 min 20 s"
std::string duration(double seconds);

}  // namespace program
