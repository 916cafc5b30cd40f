#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "program/program.h"
#include "temporary.h"

/// Readings from libraries that programs load (--load).
namespace motet {
namespace {

using nlohmann::json;

class Load : public ProgramTest {
 protected:
  Load() : ProgramTest(MOTET_COMPARE, 64, 4000) {}
  std::vector<std::string> given() const override {
    return {"--text", text_,        "--quiet", "--length", "48", "--scored",
            "12",     "--segments", "1",       "--pieces", "2"};
  }
};

TEST_F(Load, ReadingsOfALibraryRunByName) {
  const auto outcome =
      run({"--load", MOTET_OWN_READING, "--readings", "near:0,near:1,select:1", "--out", out_});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  std::vector<std::string> modes;
  double parallel = 0, all = 1;
  const auto document = json::parse(read_file(out_ + "/run.json"));
  for (const auto& row : document["rows"]) {
    modes.push_back(row["mode"]);
    if (row["mode"] == "parallel") parallel = row["nll"];
    if (row["reading"] == "near(0.000000)" && row["prefix_tokens"] == 0) all = row["nll"];
  }
  EXPECT_EQ(modes, (std::vector<std::string>{"parallel", "sink", "near", "near", "near", "near",
                                             "selective", "both"}));
  EXPECT_NEAR(all, parallel, 1e-6);  // a share of 0 keeps all
  const auto again = run({"--config", out_ + "/run.json", "--out", directory_ / "again"});
  EXPECT_EQ(again.code, 0) << again.err;  // it loads what that run loaded
}

TEST_F(Load, TheirUsageIsInTheHelp) {
  const auto usage_in = [&](const std::vector<std::string>& more) {
    const auto outcome = run(more);
    EXPECT_EQ(outcome.code, 0);
    return outcome.out.find("near[:SHARE]") != std::string::npos;
  };
  EXPECT_TRUE(usage_in({std::string("--load=") + MOTET_OWN_READING, "--help"}));
  EXPECT_FALSE(usage_in({"--help"}));
}

TEST_F(Load, ErrorsNameTheLibrary) {
  const auto missing = run({"--load", directory_ / "none.so"});
  EXPECT_EQ(missing.code, 1);
  EXPECT_EQ(missing.err.find("motet-compare: --load " + (directory_ / "none.so").string() +
                             ": cannot be loaded: "),
            0u)
      << missing.err;
  const auto empty = run({"--load", MOTET_EMPTY_EXTENSION});
  EXPECT_EQ(empty.code, 1);
  EXPECT_EQ(empty.err, std::string("motet-compare: --load ") + MOTET_EMPTY_EXTENSION +
                           ": registers no reading, family or task here; it has to call "
                           "motet::register_reading, motet::register_family or "
                           "motet::register_task while it loads, and to link the same shared "
                           "libmotet\n");
}

}  // namespace
}  // namespace motet
