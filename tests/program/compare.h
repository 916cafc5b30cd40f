#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "program/program.h"
#include "temporary.h"

namespace motet {

/// motet-compare on a small model and a text, in a directory of its own.
class Compare : public testing::Test {
 protected:
  Compare() {
    std::filesystem::create_directory(model_);
    write_published_gpt2(model_, 64);
    const auto book = read_file(std::filesystem::path(MOTET_TEST_DATA) / "valid_books.txt");
    write_file(text_, book.substr(0, 40000));
  }

  std::vector<std::string> command(const std::vector<std::string>& arguments) const {
    std::vector<std::string> words{MOTET_COMPARE, "--model",   model_, "--text",
                                   text_,         "--threads", "1"};
    words.insert(words.end(), arguments.begin(), arguments.end());
    return words;
  }
  Outcome run(const std::vector<std::string>& arguments) const {
    return Process(directory_.path(), command(arguments)).wait();
  }
  /// What stderr says of a failure, without the program's name.
  void expect_error(const std::vector<std::string>& arguments, int code,
                    const std::string& error) const {
    const auto outcome = run(arguments);
    EXPECT_EQ(outcome.code, code);
    EXPECT_EQ(outcome.err, "motet-compare: " + error +
                               (code == 2 ? "\nRun it with --help for its options.\n" : "\n"));
    EXPECT_EQ(outcome.out, "");
  }

  TemporaryDirectory directory_;
  std::string model_ = directory_ / "model", text_ = directory_ / "text.txt",
              out_ = directory_ / "out";
  const std::vector<std::string> small_{"--length", "48",       "--scored", "12",    "--segments",
                                        "2",        "--pieces", "1,2,4",    "--out", out_};
  std::vector<std::string> small(const std::vector<std::string>& more) const {
    auto words = small_;
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
};

}  // namespace motet
