// What motet-compare says of what it cannot do.

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "program/compare.h"

namespace motet {
namespace {

using nlohmann::json;

class CompareErrors : public Compare {};

TEST_F(CompareErrors, SayWhatCannotBeReadOrWritten) {
  const std::vector<std::string> small{"--length", "32", "--segments", "1",
                                       "--pieces", "1",  "--quiet"};
  const auto run = [&](std::vector<std::string> more) {
    more.insert(more.begin(), small.begin(), small.end());
    return Process(directory_.path(), command(more)).wait();
  };
  const auto plain = run({});
  ASSERT_EQ(plain.code, 0) << plain.err;
  // A byte order mark is no text.
  const auto book = read_file(text_);
  write_file(text_, "\xEF\xBB\xBF" + book);
  auto with_note = small;
  with_note.pop_back();
  const auto marked = Process(directory_.path(), command(with_note)).wait();
  EXPECT_EQ(marked.out, plain.out);
  EXPECT_EQ(marked.err.find("note: the byte order mark before " + text_ + " is left out\n"), 0u);
  // Half a surrogate pair is no character.
  const auto lines = directory_ / "lone.jsonl";
  write_file(lines, R"({"text": "before \ud83d after"})");
  const auto lone =
      Process(directory_.path(), {MOTET_COMPARE, "--model", model_, "--text", lines, "--quiet"})
          .wait();
  EXPECT_EQ(lone.code, 1);
  EXPECT_EQ(lone.err, "motet-compare: " + std::string(lines) +
                          ":1: not JSON at byte 24: half of a surrogate pair; \\ud800 to \\udfff "
                          "stand for a character two by two, the first below \\udc00\n");
  // Numbers that no option can hold, and more pieces than tokens.
  EXPECT_EQ(run({"--skip", "99999999999999999999"}).err,
            "motet-compare: --skip 99999999999999999999: it is beyond 9223372036854775807\nRun it "
            "with --help for its options.\n");
  EXPECT_EQ(Process(directory_.path(), command({"--length", "32", "--segments", "1", "--pieces",
                                                "9223372036854775807", "--quiet"}))
                .wait()
                .err,
            "motet-compare: --pieces 9223372036854775807: the context has 23 tokens; choose fewer "
            "pieces or a longer --length\nRun it with --help for its options.\n");
  // A standard output that takes nothing, and names that would move a terminal's cursor.
  std::string shell = "exec";
  for (const auto& word : command(small)) shell += " '" + word + "'";
  const auto full = Process(directory_.path(), {"/bin/sh", "-c", shell + " > /dev/full"}).wait();
  EXPECT_EQ(full.code, 1);
  EXPECT_EQ(full.err,
            "motet-compare: standard output cannot be written: No space left on device\n");
  const auto red = Process(directory_.path(),
                           {MOTET_COMPARE, "--model", "\x1b[31mred", "--text", text_, "--quiet"})
                       .wait();
  EXPECT_NE(red.err.find("\\x1b[31mred: there is no such directory"), std::string::npos) << red.err;
}

TEST_F(CompareErrors, OfTheCommandLine) {
  expect_error({"--lenght", "48"}, 2, "The following arguments were not expected: 48 --lenght");
  expect_error({"--length", "many"}, 2, "Could not convert: --length = many");
  expect_error({"--dtype", "int8"}, 2, "--dtype: int8 not in {float32,bfloat16}");
  expect_error({"--positions", "middle"}, 2,
               "--positions: middle not in {spread,left,right,sequential}");
  expect_error(small({"--prefix", "a\\d"}), 2,
               "'a\\d': after a backslash n, t or another backslash is wanted");
  expect_error(small({"--select", "4"}), 2,
               "--select 4: no degree of --pieces is above it (the largest is 4), so selective and "
               "both could not "
               "run");
  expect_error({"--length", "48", "--scored", "12", "--pieces", "20"}, 2,
               "--pieces 20: the context of 35 tokens in pieces of 2 fills only 18; choose fewer "
               "pieces or a longer "
               "--length");
  expect_error({"--length", "4611686018427387904", "--scored", "12"}, 2,
               "--length 4611686018427387904: at most 1099511627776 tokens");
  expect_error(small({"--resume", "--overwrite"}), 2, "--overwrite excludes --resume");
  expect_error(small({"--readings", "select:3", "--select", "2"}), 2,
               "--select 2: --readings select:3 has a K of its own; leave one out");
}

TEST_F(CompareErrors, OfTheText) {
  write_file(text_, "");
  expect_error(small_, 1, text_ + ": is empty");
  write_file(text_, "good\xff bad");
  expect_error(small_, 1, text_ + ": motet::Tokenizer::encode: byte 4 of 9 is not UTF-8");
  write_file(
      text_,
      "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
      "sixteen "
      "seventeen eighteen nineteen twenty one two three four five six seven eight nine ten\n");
  expect_error(small_, 1,
               text_ +
                   ": 31 tokens are too few for 2 segments (--skip 0 --segments 2) of --length 48; "
                   "the largest "
                   "--length that would do is 15");
  expect_error(small({"--skip", "9"}), 1,
               text_ +
                   ": 31 tokens are too few for 11 segments (--skip 9 --segments 2) of --length "
                   "48; choose fewer "
                   "segments or a longer text");
  expect_error(small({"--skip", "9223372036854775807"}), 1,
               text_ +
                   ": 31 tokens are too few for so many segments (--skip 9223372036854775807 "
                   "--segments 2) of --length 48; choose fewer segments or a longer text");
  std::filesystem::remove(text_);
  expect_error(small_, 1, text_ + ": cannot be opened: No such file or directory");
}

TEST_F(CompareErrors, OfTheModel) {
  auto config = json::parse(read_file(model_ + "/config.json"));
  config["vocab_size"] = 50000;
  write_file(model_ + "/config.json", config.dump());
  expect_error(
      small_, 1,
      model_ +
          ": its tokenizer has ids up to 50256, but config.json gives the model a vocabulary "
          "of 50000; they are not of the same model");
  std::filesystem::remove(model_ + "/model.safetensors");
  config["vocab_size"] = 50257;
  write_file(model_ + "/config.json", config.dump());
  const auto outcome = run(small({"--quiet"}));
  EXPECT_EQ(outcome.err, "motet-compare: " + model_ +
                             ": has no model.safetensors and no model.safetensors.index.json; "
                             "the download is not complete\n");
  EXPECT_EQ(outcome.code, 1);
  EXPECT_FALSE(std::filesystem::exists(out_));
}

TEST_F(CompareErrors, OfTheOutput) {
  write_file(directory_ / "taken", "x");
  const auto taken = (directory_ / "taken").string();
  auto words = std::vector<std::string>{"--length", "48",       "--scored", "12",    "--segments",
                                        "1",        "--pieces", "1,2",      "--out", taken};
  expect_error(words, 1, taken + ": cannot be made: Not a directory");
  words.back() = "/proc/motet";
  expect_error(words, 1, "/proc/motet: cannot be made: No such file or directory");
}

}  // namespace
}  // namespace motet
