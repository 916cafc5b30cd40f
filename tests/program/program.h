#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <torch/types.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "motet/files/atomic.h"
#include "motet/files/mapped.h"
#include "motet/files/safetensors.h"
#include "motet/files/sha256.h"
#include "temporary.h"

/// Programs run as a user runs them.
namespace motet {

struct Outcome {
  int code;
  std::string out, err;
};

/// A started program; its output goes to files in `directory`.
class Process {
 public:
  Process(const std::filesystem::path& directory, std::vector<std::string> command)
      : out_(directory / "stdout"), err_(directory / "stderr") {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    const auto open = [&](int descriptor, const char* path) {
      posix_spawn_file_actions_addopen(&actions, descriptor, path, O_WRONLY | O_CREAT | O_TRUNC,
                                       0644);
    };
    open(STDOUT_FILENO, out_.c_str());
    open(STDERR_FILENO, err_.c_str());
    std::vector<char*> arguments;
    for (auto& word : command) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    posix_spawn(&id_, arguments[0], &actions, nullptr, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
  }

  pid_t id() const { return id_; }
  Outcome wait() const {
    int status = 0;
    ::waitpid(id_, &status, 0);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), read_file(out_),
            read_file(err_)};
  }

 private:
  std::filesystem::path out_, err_;
  pid_t id_ = -1;
};

/// Sends a signal to a program that saves run.json in `directory`, which exists, as soon as it has
/// done so a number of times; made before the program is started.
class WatchedSaves {
 public:
  explicit WatchedSaves(const std::string& directory) : watch_(::inotify_init1(IN_CLOEXEC)) {
    ::inotify_add_watch(watch_, directory.c_str(), IN_MOVED_TO);
  }
  ~WatchedSaves() { ::close(watch_); }
  WatchedSaves(const WatchedSaves&) = delete;
  WatchedSaves& operator=(const WatchedSaves&) = delete;

  Outcome stop(const Process& process, int saves, int signal) const {
    const int ended = static_cast<int>(::syscall(SYS_pidfd_open, process.id(), 0));
    for (int saved = 0; saved < saves;) {
      pollfd ready[]{{watch_, POLLIN, 0}, {ended, POLLIN, 0}};
      ::poll(ready, 2, -1);
      if (ready[0].revents == 0) break;  // the program ended by itself
      alignas(inotify_event) char events[4096];
      const auto size = ::read(watch_, events, sizeof events);
      for (ssize_t at = 0; at < size; ++saved) {
        at += sizeof(inotify_event) + reinterpret_cast<const inotify_event*>(events + at)->len;
      }
    }
    ::kill(process.id(), signal);
    auto outcome = process.wait();
    ::close(ended);
    return outcome;
  }

 private:
  int watch_;
};

/// A tiny GPT-2 in the layout in which openai-community/gpt2 is published: names without
/// `transformer.`, mask buffers, Conv1D weights, no lm_head, vocab.json and merges.txt with the
/// real vocabulary.
inline void write_published_gpt2(const std::filesystem::path& directory, int64_t positions,
                                 int64_t vocabulary = 50257) {
  torch::manual_seed(1);
  const int64_t width = 8;
  const auto random = [](torch::IntArrayRef shape) { return torch::randn(shape) * 0.5; };
  std::map<std::string, torch::Tensor> tensors{{"wte.weight", random({vocabulary, width})},
                                               {"wpe.weight", random({positions, width})},
                                               {"ln_f.weight", torch::ones({width})},
                                               {"ln_f.bias", random({width})}};
  for (const auto* layer : {"h.0.", "h.1."}) {
    const auto add = [&](const std::string& name, const torch::Tensor& tensor) {
      tensors[layer + name] = tensor;
    };
    for (const auto* norm : {"ln_1", "ln_2"}) {
      add(std::string(norm) + ".weight", torch::ones({width}));
      add(std::string(norm) + ".bias", random({width}));
    }
    add("attn.bias", torch::ones({1, 1, positions, positions}).tril());
    add("attn.c_attn.weight", random({width, 3 * width}));
    add("attn.c_attn.bias", random({3 * width}));
    add("attn.c_proj.weight", random({width, width}));
    add("attn.c_proj.bias", random({width}));
    add("mlp.c_fc.weight", random({width, 4 * width}));
    add("mlp.c_fc.bias", random({4 * width}));
    add("mlp.c_proj.weight", random({4 * width, width}));
    add("mlp.c_proj.bias", random({width}));
  }
  save_safetensors(directory / "model.safetensors", tensors);
  const nlohmann::json config{{"model_type", "gpt2"},
                              {"architectures", {"GPT2LMHeadModel"}},
                              {"activation_function", "gelu_new"},
                              {"n_ctx", positions},
                              {"n_positions", positions},
                              {"n_embd", width},
                              {"n_layer", 2},
                              {"n_head", 2},
                              {"layer_norm_epsilon", 1e-5},
                              {"bos_token_id", 50256},
                              {"vocab_size", vocabulary}};
  write_file(directory / "config.json", config.dump());
  for (const auto* name : {"vocab.json", "merges.txt"}) {
    std::filesystem::copy_file(std::filesystem::path(MOTET_TEST_DATA) / "gpt2" / name,
                               directory / name);
  }
}

/// A program, as a user runs it, on a small model and a text in a directory of its own.
class ProgramTest : public testing::Test {
 protected:
  /// The model has so many positions, the text so many characters.
  ProgramTest(std::string program, int64_t positions, std::size_t characters)
      : program_(std::move(program)) {
    std::filesystem::create_directory(model_);
    write_published_gpt2(model_, positions);
    const auto book = read_file(std::filesystem::path(MOTET_TEST_DATA) / "valid_books.txt");
    write_file(text_, book.substr(0, characters));
  }

  /// What stands in every command.
  virtual std::vector<std::string> given() const { return {}; }
  std::vector<std::string> command(const std::vector<std::string>& more) const {
    std::vector<std::string> words{program_, "--model", model_, "--threads", "1"};
    const auto always = given();
    words.insert(words.end(), always.begin(), always.end());
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  Outcome run(const std::vector<std::string>& more) const {
    return Process(directory_.path(), command(more)).wait();
  }
  /// What stderr says of a failure, without the program's name.
  void expect_error(const std::vector<std::string>& more, int code,
                    const std::string& error) const {
    const auto outcome = run(more);
    EXPECT_EQ(outcome.code, code);
    EXPECT_EQ(outcome.err, std::filesystem::path(program_).filename().string() + ": " + error +
                               (code == 2 ? "\nRun it with --help for its options.\n" : "\n"));
    EXPECT_EQ(outcome.out, "");
  }

  TemporaryDirectory directory_;
  std::string model_ = directory_ / "model", text_ = directory_ / "text.txt",
              out_ = directory_ / "out";

 private:
  std::string program_;
};

}  // namespace motet
