#include "program.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/cuda.h>
#include <torch/utils.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <nlohmann/json.hpp>
#include <set>

#include "motet/attention/kernel.h"
#include "motet/eval/extension.h"
#include "motet/eval/memory.h"
#include "motet/files/mapped.h"
#include "motet/model/hub.h"
#include "motet/model/products.h"
#include "motet/version.h"

namespace program {
namespace {

volatile std::sig_atomic_t stopped = 0;

void stop(int signal) {
  stopped = 1;
  std::signal(signal, SIG_DFL);  // a second one ends the program at once
}

double now() {
  using Clock = std::chrono::steady_clock;
  return std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
}

/// Words of a command line: the program's name, then every option with its values.
std::vector<std::vector<std::string>> options_of(const std::vector<std::string>& command) {
  std::vector<std::vector<std::string>> options(1);
  for (const auto& word : command) {
    if (word.starts_with("--") && word.size() > 2) {
      options.emplace_back();
    }
    options.back().push_back(word);
  }
  return options;
}

std::string name_of(const std::vector<std::string>& option) {
  return option.empty() ? "" : option[0].substr(0, option[0].find('='));
}

/// The command with the options of the run that its `--config` names, where it has none of its own.
/// Where results go is never repeated.
std::vector<std::string> with_config(const CLI::App& app, std::vector<std::string> command) {
  std::string path;
  std::set<std::string> given{"--config", "--out", "--overwrite", "--resume", "--quiet"};
  for (const auto& option : options_of(command)) {
    given.insert(name_of(option));
    if (name_of(option) == "--config") {
      path = option[0] != "--config" ? option[0].substr(sizeof("--config=") - 1)
             : option.size() > 1     ? option[1]
                                     : "";
    }
  }
  if (path.empty()) {
    return command;
  }
  const auto json = nlohmann::json::parse(motet::read_file(path), nullptr, false);
  motet::require(json.is_object() && json.contains("command") && json["command"].is_array() &&
                     !json["command"].empty() &&
                     std::all_of(json["command"].begin(), json["command"].end(),
                                 [](const auto& word) { return word.is_string(); }),
                 path, ": is no run.json; it has no 'command'");
  const auto recorded = json["command"].get<std::vector<std::string>>();
  motet::require(recorded[0] == command[0], path, ": is a run of ", recorded[0], ", not of ",
                 command[0]);
  const auto replaced = [&](const std::string& name) {  // by itself, or by what excludes it
    if (given.count(name) != 0) {
      return true;
    }
    const auto* option = app.get_option_no_throw(name);
    const auto excludes = option != nullptr ? option->get_excludes() : std::set<CLI::Option*>();
    return std::any_of(excludes.begin(), excludes.end(), [&](const CLI::Option* other) {
      return std::any_of(given.begin(), given.end(),
                         [&](const std::string& one) { return other->check_name(one); });
    });
  };
  for (const auto& option : options_of(recorded)) {
    if (option != options_of(recorded).front() && !replaced(name_of(option))) {
      command.insert(command.end(), option.begin(), option.end());
    }
  }
  return command;
}

/// Writes an error behind the program's name; returns the exit code.
int tell(const CLI::App& app, const std::string& message, int code) {
  fmt::print(stderr, "{}: {}\n{}", app.get_name(), printable(message),
             code == 2 ? "Run it with --help for its options.\n" : "");
  return code;
}

/// Whether standard output took all that was written to it; tells where it did not.
bool wrote_all(const CLI::App& app) {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) {
    return true;
  }
  tell(app, fmt::format("standard output cannot be written: {}", std::strerror(errno)), 1);
  return false;
}

/// The values of an option in a command, apart by commas.
std::vector<std::string> values_of(const std::vector<std::string>& command,
                                   const std::string& wanted) {
  std::vector<std::string> values;
  const auto add = [&](const std::string& list) {
    for (std::size_t first = 0; first <= list.size();) {
      const auto last = std::min(list.find(',', first), list.size());
      values.push_back(list.substr(first, last - first));
      first = last + 1;
    }
  };
  for (const auto& option : options_of(command)) {
    if (name_of(option) == wanted) {
      if (option[0] != wanted) {
        add(option[0].substr(wanted.size() + 1));
      }
      std::for_each(option.begin() + 1, option.end(), add);
    }
  }
  return values;
}

}  // namespace

namespace {

/// Throws UsageError for a whole number that no option can hold: CLI11 would take the nearest that
/// one can.
void check_numbers(const CLI::App& app, const std::vector<std::string>& command) {
  for (const auto* option : app.get_options()) {
    const bool whole = option->get_type_name().find("INT") != std::string::npos;
    for (const auto& name : whole ? option->get_lnames() : std::vector<std::string>()) {
      for (const auto& value : values_of(command, "--" + name)) {
        int64_t number = 0;
        const auto read = std::from_chars(value.data(), value.data() + value.size(), number);
        if (read.ec == std::errc::result_out_of_range) {
          throw UsageError(fmt::format("--{} {}: it is beyond {}", name, value,
                                       std::numeric_limits<int64_t>::max()));
        }
      }
    }
  }
}

}  // namespace

motet::Ablation AblationOptions::ablation() const {
  motet::Ablation ablation;
  if (heads.empty()) {
    return ablation;
  }
  ablation.kind = motet::ablate_named(by);
  if (std::filesystem::is_regular_file(heads)) {
    ablation.heads = motet::heads_named(motet::read_file(heads), heads);
  } else {
    try {
      ablation.heads = motet::heads_named(heads, "--ablate");
    } catch (const motet::Error& error) {
      throw UsageError(fmt::format("{}, and no file has this name", error.what()));
    }
  }
  return ablation;
}

motet::LoadOptions Options::load() const {
  return {.dtype = dtype == "bfloat16" ? torch::kBFloat16 : torch::kFloat32,
          .device = torch::Device(device),
          .ignore_tensors = ignore_tensors};
}

void add_ignore_option(CLI::App& app, Options& options) {
  app.add_option("--ignore-tensors", options.ignore_tensors,
                 "tensors of the model's files that are no parameters and are left out, such as\n"
                 "v_head.*: names, in which * stands for anything")
      ->delimiter(',');
}

void add_basic_options(CLI::App& app, Options& options) {
  app.set_version_flag(
      "--version", fmt::format("{} {} ({})", app.get_name(), motet::version(), motet::revision()));
  app.add_flag("--quiet", options.quiet, "no progress and no notes on stderr");
}

void add_options(CLI::App& app, Options& options) {
  app.add_option("--model", options.model,
                 "directory of a model in Hugging Face format, or its id in the local hub cache")
      ->envname("MOTET_MODEL")
      ->required();
  app.add_option("--dtype", options.dtype, "of weights and activations")
      ->check(CLI::IsMember({"float32", "bfloat16"}))
      ->capture_default_str();
  app.add_option("--device", options.device)
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
  app.add_option("--threads", options.threads, "as many as there are cores, unless given")
      ->check(CLI::Range(1, 4096));
  app.add_option("--seed", options.seed)->capture_default_str();
  app.add_option("--load", options.libraries,
                 "shared libraries with readings, tasks or model families of your own")
      ->delimiter(',');
  add_ignore_option(app, options);
  app.add_option("--out", options.out, "directory for run.json; nothing is written without it");
  auto* overwrite =
      app.add_flag("--overwrite", options.overwrite, "replace the run that --out holds");
  app.add_flag("--resume", options.resume, "go on with the run that --out holds, if any")
      ->excludes(overwrite);
  add_basic_options(app, options);
}

void add_config_option(CLI::App& app, Options& options) {
  app.add_option("--config", options.config,
                 "run.json of a run to repeat; options beside it replace its own");
}

void add_ablation_options(CLI::App& app, AblationOptions& options) {
  auto* heads = app.add_option("--ablate", options.heads,
                               "heads that are switched off while the query is read:\n"
                               "LAYER.HEAD,... (both count from 0), or a file of them");
  app.add_option("--ablate-by", options.by,
                 "what takes their place: zero, the mean over the query's rows so far, or what\n"
                 "the head reads from own keys only")
      ->check(CLI::IsMember({"zero", "mean", "own"}))
      ->capture_default_str()
      ->needs(heads);
}

int run(CLI::App& app, int argc, char** argv, Options& options, const std::function<void()>& body) {
  // LibTorch's large tensors in huge pages: fewer faults. It reads this at its first allocation.
  ::setenv("THP_MEM_ALLOC_ENABLE", "1", /*overwrite=*/0);
  motet::reuse_freed_memory();
  options.command.assign(argv, argv + argc);
  options.command[0] = app.get_name();
  try {
    if (app.get_option_no_throw("--config") != nullptr) {
      options.command = with_config(app, std::move(options.command));
    }
    for (const auto& path : values_of(options.command, "--load")) {
      try {
        motet::load_extension(path);
      } catch (const motet::Error& error) {
        motet::fail("--load ", error.what());
      }
    }
    if (options.describe) {
      options.describe();
    }
    check_numbers(app, options.command);
    std::vector<std::string> words(options.command.rbegin(), options.command.rend() - 1);
    app.parse(std::move(words));  // CLI11 takes them from the back
    if (options.out.empty() && (options.resume || options.overwrite)) {
      throw UsageError("--resume and --overwrite need --out DIR");
    }
  } catch (const UsageError& error) {
    return tell(app, error.what(), 2);
  } catch (const motet::Error& error) {
    return tell(app, error.what(), 1);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) {
      const auto code = app.exit(error);  // --help, --version
      return wrote_all(app) ? code : 1;
    }
    return tell(app, error.what(), 2);
  }
  try {
    if (!options.model.empty()) {
      options.model = motet::model_directory(options.model.string());
    }
    motet::kernel_name();  // a MOTET_KERNEL that cannot be is an error at once
    motet::products_name();
    motet::require(options.device != "cuda" || torch::cuda::is_available(),
                   "--device cuda: this LibTorch finds no CUDA device; leave --device out");
    if (options.threads > 0) {
      at::set_num_threads(options.threads);
    }
    torch::manual_seed(options.seed);
    body();
    return wrote_all(app) ? 0 : 1;
  } catch (const UsageError& error) {
    return tell(app, error.what(), 2);
  } catch (const motet::FieldError& error) {
    return tell(app, flagged(options, error), 1);
  } catch (const std::bad_alloc&) {
    return tell(app, "memory ran out; a shorter text, fewer threads or --dtype bfloat16 take less",
                1);
  } catch (const std::exception& error) {
    return tell(app, error.what(), 1);
  }
}

std::string flagged(const Options& options, const motet::FieldError& error) {
  return error.named([&](std::string_view field) {
    const auto flag = options.flags.find(field);
    if (flag != options.flags.end()) {
      return flag->second;
    }
    auto name = fmt::format("--{}", field);
    std::replace(name.begin(), name.end(), '_', '-');
    return name;
  });
}

void check_options(const Options& options, const std::function<void()>& check) {
  try {
    check();
  } catch (const motet::FieldError& error) {
    throw UsageError(flagged(options, error));
  } catch (const motet::Error& error) {
    throw UsageError(error.what());
  }
}

std::unique_ptr<motet::DirectoryLock> claim_directory(const Options& options,
                                                      const std::filesystem::path& directory) {
  const auto where = directory.empty() ? std::filesystem::path(".") : directory;
  std::error_code error;
  std::filesystem::create_directories(where, error);
  motet::require(std::filesystem::is_directory(where), where.string(),
                 ": cannot be made: ", error.message());
  auto lock = std::make_unique<motet::DirectoryLock>(where);
  if (!lock->held()) {
    note(options, fmt::format("note: the file system of {} knows no locks; see to it that no other "
                              "program writes there",
                              where.string()));
  }
  return lock;
}

void heed_signals() {
  struct sigaction action {};
  action.sa_handler = stop;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

bool interrupted() { return stopped != 0; }

std::string printable(std::string_view text) {
  std::string shown;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool second = byte == 0xC2 && i + 1 < text.size() &&
                        static_cast<unsigned char>(text[i + 1]) < 0xA0;  // U+0080 to U+009F
    if (second) {
      shown += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[++i]));
    } else if ((byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7F) {
      shown += fmt::format("\\x{:02x}", byte);
    } else {
      shown += text[i];
    }
  }
  return shown;
}

std::string for_output(const std::string& text) {
  return ::isatty(STDOUT_FILENO) == 1 ? printable(text) : text;
}

motet::Tokenizer tokenizer_of(const Options& options, const motet::Config& config) {
  const auto tokenizer = motet::Tokenizer::load(options.model);
  motet::require(tokenizer.size() <= config.vocabulary, options.model.string(),
                 ": its tokenizer has ids up to ", tokenizer.size() - 1,
                 ", but config.json gives the model a vocabulary of ", config.vocabulary,
                 "; they are not of the same model");
  return tokenizer;
}

void note_usual_prefix(const Options& options, const motet::Tokenizer& tokenizer, bool bos) {
  if (!tokenizer.usual_prefix().empty() && !bos) {
    note(options,
         fmt::format("note: this tokenizer usually puts {} first; as in the paper, it is left out",
                     tokenizer.decode(tokenizer.usual_prefix())));
  }
}

std::vector<int64_t> bos_of(const std::filesystem::path& model, const motet::Config& config,
                            const motet::Tokenizer& tokenizer) {
  if (!tokenizer.usual_prefix().empty()) {
    return tokenizer.usual_prefix();
  }
  const auto id = config.source.value("bos_token_id", nlohmann::json());
  motet::require(id.is_number_integer(), "--bos: neither the tokenizer nor config.json of ",
                 model.string(), " has a first token; leave --bos out");
  return {id.get<int64_t>()};
}

std::string wrapped(const std::string& text, std::size_t width) {
  std::string lines;
  std::size_t column = 0;
  for (std::size_t first = 0; first < text.size();) {
    const auto last = std::min(text.find(' ', first), text.size());
    const auto size = last - first;
    if (column > 0 && column + 1 + size > width) {
      lines += '\n';
      column = 0;
    }
    lines += (column > 0 ? " " : "") + text.substr(first, size);
    column += size + (column > 0 ? 1 : 0);
    first = last + 1;
  }
  return lines;
}

void note(const Options& options, const std::string& text) {
  if (!options.quiet) {
    fmt::print(stderr, "{}\n", printable(text));
  }
}

std::vector<int64_t> tokens_of(const Options& options, const motet::Tokenizer& tokenizer,
                               const motet::Document& document) {
  motet::require(!document.text.empty(), document.name, ": is empty");
  if (document.had_mark) {
    note(options, fmt::format("note: the byte order mark before {} is left out", document.name));
  }
  try {
    auto encoding = tokenizer.encode(document.text);
    if (encoding.left_out_bytes > 0) {
      note(options,
           fmt::format("note: {} bytes of {} have no token in this vocabulary and are left out",
                       encoding.left_out_bytes, document.name));
    }
    return std::move(encoding.ids);
  } catch (const motet::Error& error) {
    motet::fail(document.name, ": ", error.what());
  }
}

std::string unescaped(const std::string& text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      plain += text[i];
      continue;
    }
    const char next = ++i < text.size() ? text[i] : ' ';
    if (next != 'n' && next != 't' && next != '\\') {
      throw UsageError("'" + text + "': after a backslash n, t or another backslash is wanted");
    }
    plain += next == 'n' ? '\n' : next == 't' ? '\t' : '\\';
  }
  return plain;
}

Progress::Progress(std::string what, double total, bool quiet)
    : what_(std::move(what)),
      total_(total),
      start_(now()),
      last_(start_),
      quiet_(quiet),
      terminal_(::isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
  if (shown_ && terminal_) {
    fmt::print(stderr, "\r\033[K");
  }
}

void Progress::add(double work, const std::string& details) {
  done_ += work;
  const auto time = now();
  if (quiet_ || time - last_ < (terminal_ ? 0.2 : 60.0)) {
    return;
  }
  last_ = time;
  shown_ = true;
  const auto left = (time - start_) * (total_ / done_ - 1);
  const auto line =
      fmt::format("{}: {:.0f} %, {}{}{} left", what_, std::floor(100 * done_ / total_), details,
                  details.empty() ? "" : ", ", duration(left));
  fmt::print(stderr, fmt::runtime(terminal_ ? "\r{}\033[K" : "{}\n"), line);
  std::fflush(stderr);
}

std::string duration(double seconds) {
  const auto whole = static_cast<int64_t>(std::ceil(seconds));
  if (whole < 60) {
    return fmt::format("{} s", whole);
  }
  if (whole < 3600) {
    return fmt::format("{} min {} s", whole / 60, whole % 60);
  }
  return fmt::format("{} h {} min", whole / 3600, whole % 3600 / 60);
}

}  // namespace program
