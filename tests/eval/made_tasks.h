#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "motet/eval/task.h"
#include "motet/files/atomic.h"
#include "motet/text/tokenizer.h"
#include "temporary.h"

namespace motet {

inline const Tokenizer& gpt2() {
  static const auto tokenizer = Tokenizer::load(std::filesystem::path(MOTET_TEST_DATA) / "gpt2");
  return tokenizer;
}

/// Items of a task, with GPT-2's tokenizer.
inline MadeTask made(const std::string& text,
                     const TaskSettings& settings = {.length = 600, .items = 3}) {
  return make_task(text, settings, gpt2());
}

/// Tasks that are made from files.
class WithFiles : public testing::Test {
 protected:
  /// A file of these lines, in a folder of its own where its name has one.
  std::string write(const std::string& name, const std::vector<nlohmann::json>& lines) const {
    std::string text;
    for (const auto& line : lines) {
      text += line.dump() + "\n";
    }
    const auto path = directory_ / name;
    std::filesystem::create_directories(path.parent_path());
    write_file(path, text);
    return path.string();
  }
  TemporaryDirectory directory_;
};

}  // namespace motet
