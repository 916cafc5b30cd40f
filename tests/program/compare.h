#pragma once

#include <string>
#include <vector>

#include "program/program.h"

namespace motet {

/// motet-compare.
class Compare : public ProgramTest {
 protected:
  Compare() : ProgramTest(MOTET_COMPARE, 64, 40000) {}
  std::vector<std::string> given() const override { return {"--text", text_}; }

  const std::vector<std::string> small_{"--length", "48",       "--scored", "12",    "--segments",
                                        "2",        "--pieces", "1,2,4",    "--out", out_};
  std::vector<std::string> small(const std::vector<std::string>& more) const {
    auto words = small_;
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
};

}  // namespace motet
