#include "motet/text/tokenizer.h"

#include <gtest/gtest.h>

#include <cctype>
#include <cstdint>
#include <filesystem>
#include <future>
#include <nlohmann/json.hpp>
#include <ostream>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "motet/files/atomic.h"
#include "motet/files/mapped.h"
#include "temporary.h"

namespace motet {
namespace {

using nlohmann::json;
using Ids = std::vector<int64_t>;

const std::filesystem::path kData = MOTET_TEST_DATA;

json read_json(const std::filesystem::path& path) { return json::parse(read_file(path)); }

const Tokenizer& gpt2() {
  static const auto tokenizer = Tokenizer::load(kData / "gpt2");
  return tokenizer;
}

/// A tokenizer.json with few tokens: a word "abc" is [6], "bc" is [5]; é is the bytes Ã and ©.
json small_json() {
  return json::parse(R"({
    "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
    "pre_tokenizer":
      {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
    "post_processor": null,
    "decoder":
      {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
    "model": {
      "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
      "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
      "vocab": {"a": 0, "b": 1, "c": 2, "Ġ": 3, "ab": 4, "bc": 5, "abc": 6, "Ġa": 7, "1": 8, "2": 9,
                "12": 10, "Ã": 11, "©": 12, "e": 13, "Ì": 14, "ģ": 15, "cab": 16},
      "merges": ["b c", "a b", "a bc", "Ġ a", "1 2"]}})");
}

/// `small_json` with the value at each JSON pointer replaced.
using Changes = std::vector<std::pair<std::string, json>>;
json changed(const Changes& changes) {
  auto made = small_json();
  for (const auto& [pointer, value] : changes) {
    made[json::json_pointer(pointer)] = value;
  }
  return made;
}

Tokenizer load(const json& tokenizer_json) {
  const TemporaryDirectory folder;
  write_file(folder / "tokenizer.json", tokenizer_json.dump());
  return Tokenizer::load(folder.path());
}

// ---- GPT-2's own files

class PublishedVectors : public testing::TestWithParam<const char*> {};

TEST_P(PublishedVectors, AreEncodedAndDecoded) {
  int64_t cases = 0;
  const auto vectors = read_json(kData / "gpt2" / "test_vectors.json");
  for (const auto& entry : vectors["cases"]) {
    if (entry["source"] != GetParam()) {
      continue;
    }
    ++cases;
    const auto text = entry["text"].get<std::string>();
    const auto ids = entry["ids"].get<Ids>();
    SCOPED_TRACE(entry["text"].dump());
    // Special tokens are read as plain text unless the case says otherwise.
    const auto encoding =
        gpt2().encode(text, {.added_tokens = entry.value("allow_special", false)});
    EXPECT_EQ(encoding.ids, ids);
    EXPECT_EQ(encoding.left_out_bytes, 0);
    EXPECT_EQ(gpt2().decode(ids), text);
    if (text.find("<|endoftext|>") == std::string::npos) {
      EXPECT_EQ(gpt2().encode(text).ids, ids);
    }
  }
  EXPECT_GT(cases, 0);
}

INSTANTIATE_TEST_SUITE_P(Source, PublishedVectors,
                         testing::Values("llama.cpp", "gpt-tokenizer", "GPT-3-Encoder", "tiktoken",
                                         "edge"),
                         [](const auto& source) {
                           std::string name;
                           for (const char c : std::string(source.param)) {
                             name += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
                           }
                           return name;
                         });

TEST(Gpt2, EncodesABookAsPublished) {
  const auto text = read_file(kData / "valid_books.txt");
  const auto ids = gpt2().encode(text).ids;
  for (const auto& entry : read_json(kData / "gpt2" / "file_tokens.json")) {
    if (entry["file"] != "text/valid_books.txt") {
      continue;
    }
    std::uint64_t hash = 14695981039346656037u;  // FNV-1a over the ids as little-endian uint16
    for (const auto id : ids) {
      for (const int64_t byte : {id & 255, id >> 8}) {
        hash = (hash ^ static_cast<std::uint64_t>(byte)) * 1099511628211u;
      }
    }
    std::ostringstream digits;
    digits << std::hex << hash;
    EXPECT_EQ(ids.size(), entry["tokens"].get<std::size_t>());
    EXPECT_EQ(digits.str(), entry["fnv1a64_u16le"].get<std::string>());
    EXPECT_TRUE(gpt2().decode(ids) == text);
    return;
  }
  FAIL() << "file_tokens.json has no valid_books.txt";
}

TEST(Gpt2, KnowsItsTokens) {
  EXPECT_EQ(gpt2().size(), 50257);
  EXPECT_EQ(gpt2().id("<|endoftext|>"), 50256);
  EXPECT_EQ(gpt2().id("Ġthe"), 262);
  EXPECT_EQ(gpt2().id(" the"), std::nullopt);
  EXPECT_EQ(gpt2().usual_prefix(), Ids{});
}

TEST(Gpt2, ItsEndIsSpecial) {
  const Ids ids{262, 50256, 262};
  EXPECT_EQ(gpt2().decode(ids), " the<|endoftext|> the");
  EXPECT_EQ(gpt2().decode(ids, {.special_tokens = false}), " the the");
}

TEST(Gpt2, DecodesPartsOfACharacter) {
  const auto ids = gpt2().encode("\U0001F999").ids;
  ASSERT_GT(ids.size(), 1u);
  EXPECT_EQ(gpt2().decode(std::span(ids).first(1)) + gpt2().decode(std::span(ids).subspan(1)),
            "\U0001F999");
}

TEST(Gpt2, DecodesAnUnknownIdToNothing) {
  EXPECT_EQ(gpt2().decode(Ids{262, 50257, -1, 262}), " the the");
  EXPECT_EQ(gpt2().token(50257), "");
  EXPECT_EQ(gpt2().token(262), " the");
}

TEST(Gpt2, IsSharedByThreads) {
  const auto text = read_file(kData / "valid_books.txt").substr(0, 100000);
  const auto copy = gpt2();
  const auto encode = [&] { return copy.encode(text).ids; };
  auto one = std::async(std::launch::async, encode);
  auto two = std::async(std::launch::async, encode);
  const auto expected = encode();
  EXPECT_EQ(one.get(), expected);
  EXPECT_EQ(two.get(), expected);
}

// ---- Long words

struct Run {
  const char* name;
  std::string text;
  std::size_t tokens;  // of Hugging Face
};

void PrintTo(const Run& run, std::ostream* out) { *out << run.name; }

class LongRun : public testing::TestWithParam<Run> {};

// Merging is not quadratic in a word's length, nor is a search bounded by the stack of the JIT:
// a version of either kind does not end, or throws.
TEST_P(LongRun, IsEncoded) {
  const auto ids = gpt2().encode(GetParam().text).ids;
  EXPECT_EQ(ids.size(), GetParam().tokens);
  EXPECT_TRUE(gpt2().decode(ids) == GetParam().text);
}

INSTANTIATE_TEST_SUITE_P(Of, LongRun,
                         testing::Values(Run{"Letters", std::string(1000000, 'a'), 250000},
                                         Run{"Spaces", std::string(1000000, ' ') + "x", 1000000},
                                         Run{"Lines", std::string(1000000, '\n'), 500000}),
                         [](const auto& run) { return run.param.name; });

TEST(Pattern, MayNeedMoreThanTheStackOfTheJit) {
  const auto tokenizer =
      load(changed({{"/pre_tokenizer", json::parse(R"({"type": "Sequence", "pretokenizers": [
                       {"type": "Split", "pattern": {"Regex": "(?:a|b)+"}, "behavior": "Isolated",
                        "invert": false},
                       {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                        "use_regex": false}]})")}}));
  std::string text;
  for (int i = 0; i < 100000; ++i) {
    text += "ab";
  }
  EXPECT_EQ(tokenizer.encode(text).ids, Ids(100000, 4));
}

// ---- UTF-8

struct Invalid {
  const char* name;
  std::string text;
  int64_t offset;
};

void PrintTo(const Invalid& invalid, std::ostream* out) { *out << invalid.name; }

class InvalidUtf8 : public testing::TestWithParam<Invalid> {};

TEST_P(InvalidUtf8, IsAnErrorWithTheOffset) {
  const auto& [name, text, offset] = GetParam();
  EXPECT_EQ(message([&] { gpt2().encode(text); }),
            "motet::Tokenizer::encode: byte " + std::to_string(offset) + " of " +
                std::to_string(text.size()) + " is not UTF-8");
}

INSTANTIATE_TEST_SUITE_P(
    Of, InvalidUtf8,
    testing::Values(Invalid{"Continuation", "abc\x80", 3}, Invalid{"Latin1", "caf\xE9 au lait", 3},
                    Invalid{"CutShort", "0123456789\xE2\x82", 10},
                    Invalid{"Overlong", "\xC0\x80", 0},
                    Invalid{"OverlongOfThree", "é\xE0\x9F\xBF", 2},
                    Invalid{"Surrogate", "a\xED\xA0\x80", 1},
                    Invalid{"OverlongOfFour", "\xF0\x8F\xBF\xBF", 0},
                    Invalid{"PastTheLast", "\xF4\x90\x80\x80", 0},
                    Invalid{"LeadPastTheLast", "\xF5\x80\x80\x80", 0}, Invalid{"NoLead", "\xFF", 0},
                    Invalid{"BadThird", "\xE2\x82(", 0}, Invalid{"BadFourth", "\xF0\x9F\xA6(", 0}),
    [](const auto& invalid) { return invalid.param.name; });

TEST(Utf8, EndsWhereTheViewEnds) {
  const std::string_view euro = "abc\xE2\x82\xAC";
  EXPECT_EQ(message([&] { gpt2().encode(euro.substr(0, 5)); }),
            "motet::Tokenizer::encode: byte 3 of 5 is not UTF-8");
}

TEST(Utf8, BoundariesAreValid) {
  const std::string text =
      "\x7F\xC2\x80\xDF\xBF\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xEF\xBF\xBF"
      "\xF0\x90\x80\x80\xF4\x8F\xBF\xBF";
  EXPECT_EQ(gpt2().decode(gpt2().encode(text).ids), text);
}

// ---- What tokenizer.json can ask for

struct Case {
  const char* name;
  Changes changes;
  std::string text;
  Ids ids;
  int64_t left_out_bytes = 0;
};

void PrintTo(const Case& setup, std::ostream* out) { *out << setup.name; }

json split_of(const json& pattern, const std::string& behavior) {
  return {{"type", "Split"}, {"pattern", pattern}, {"behavior", behavior}, {"invert", false}};
}

json byte_level(bool add_prefix_space, bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", add_prefix_space},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}

json sequence(const json& first, const json& second) {
  return {{"type", "Sequence"}, {"pretokenizers", {first, second}}};
}

json added(const std::string& content, int64_t id, const json& options = json::object()) {
  json token = {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
                {"rstrip", false}, {"normalized", false}, {"special", false}};
  token.update(options);
  return token;
}

const json kNfc = {{"type", "NFC"}};

class TokenizerJson : public testing::TestWithParam<Case> {};

TEST_P(TokenizerJson, IsFollowed) {
  const auto encoding = load(changed(GetParam().changes)).encode(GetParam().text);
  EXPECT_EQ(encoding.ids, GetParam().ids);
  EXPECT_EQ(encoding.left_out_bytes, GetParam().left_out_bytes);
}

INSTANTIATE_TEST_SUITE_P(
    Model, TokenizerJson,
    testing::Values(
        Case{"MergesByRankThenPosition", {}, "abcab abcb", {6, 4, 3, 6, 1}},
        Case{"MergesAsPairs", {{"/model/merges", json::parse(R"([["a", "b"]])")}}, "abc", {4, 2}},
        Case{
            "VersionLineAmongMerges", {{"/model/merges", {"#version: 0.2", "a b"}}}, "abc", {4, 2}},
        Case{"MergeGivenAgainHasItsLastRank",
             {{"/model/merges", {"b c", "a b", "b c"}}},
             "abc",
             {4, 2}},
        Case{"NoType", {{"/model/type", nullptr}}, "abc", {6}},
        Case{"DropoutOfZero", {{"/model/dropout", 0.0}}, "abc", {6}},
        Case{"EmptyAffixes",
             {{"/model/continuing_subword_prefix", ""}, {"/model/end_of_word_suffix", ""}},
             "abc",
             {6}},
        Case{"MergesInto", {}, "cab", {2, 4}},
        Case{"IgnoresMerges", {{"/model/ignore_merges", true}}, "cab", {16}},
        Case{"IgnoresMergesOfWholeWordsOnly", {{"/model/ignore_merges", true}}, "cabb", {2, 4, 1}},
        Case{"LeavesOutBytes", {}, "xaxxbé xc xc", {4, 11, 12, 3, 2, 3, 2}, 5},
        Case{"UnknownToken", {{"/model/unk_token", "e"}}, "xaxxb", {13, 0, 13, 13, 1}},
        Case{"FusedUnknownToken",
             {{"/model/unk_token", "e"}, {"/model/fuse_unk", true}},
             "xaxxb xxe",
             {13, 0, 13, 1, 3, 13, 13}}),
    [](const auto& setup) { return setup.param.name; });

INSTANTIATE_TEST_SUITE_P(
    PreTokenizer, TokenizerJson,
    testing::Values(
        Case{"ByteLevel", {}, "abc12 abc a", {6, 10, 3, 6, 7}},
        Case{"WithoutRegex",
             {{"/pre_tokenizer", byte_level(false, false)},
              {"/model/vocab/cĠ", 17},
              {"/model/merges", json::array({"c Ġ"})}},
             "c a",
             {17, 0}},
        Case{"RegexIsTheDefault",
             {{"/pre_tokenizer/use_regex", nullptr},
              {"/model/vocab/cĠ", 17},
              {"/model/merges", json::array({"c Ġ"})}},
             "c a",
             {2, 3, 0}},
        Case{"PrefixSpace", {{"/pre_tokenizer", byte_level(true, true)}}, "a a", {7, 7}},
        Case{"PrefixSpaceOfEachPiece",
             {{"/pre_tokenizer", sequence({{"type", "Digits"}, {"individual_digits", true}},
                                          byte_level(true, true))}},
             "a12 a",
             {7, 3, 8, 3, 9, 7}},
        Case{"IndividualDigits",
             {{"/pre_tokenizer", sequence({{"type", "Digits"}, {"individual_digits", true}},
                                          byte_level(false, true))}},
             "a 12",
             {0, 3, 8, 9}},
        Case{"Digits",
             {{"/pre_tokenizer", sequence({{"type", "Digits"}, {"individual_digits", false}},
                                          byte_level(false, true))}},
             "a 12",
             {0, 3, 10}},
        // The second stage sees no text behind "a ": a space at the end of a piece is followed by
        // none.
        Case{"StagesSeeOnlyTheirPiece",
             {{"/pre_tokenizer", sequence(split_of({{"Regex", "1"}}, "Isolated"),
                                          sequence(split_of({{"Regex", "\\s+(?!\\S)"}}, "Isolated"),
                                                   byte_level(false, false)))}},
             "a 1 a",
             {0, 3, 8, 7}},
        Case{"SplitAtAString",
             {{"/pre_tokenizer",
               sequence(split_of({{"String", "b"}}, "Isolated"), byte_level(false, false))}},
             "abc",
             {0, 1, 2}},
        Case{"AStringIsNoPattern",
             {{"/pre_tokenizer",
               sequence(split_of({{"String", "."}}, "Isolated"), byte_level(false, false))}},
             "abc",
             {6}},
        Case{"SplitRemoved",
             {{"/pre_tokenizer",
               sequence(split_of({{"Regex", " +"}}, "Removed"), byte_level(false, false))}},
             "a  bc b",
             {0, 5, 1}},
        Case{"EmptyMatchesSplit",
             {{"/pre_tokenizer",
               sequence(split_of({{"Regex", "x*"}}, "Isolated"), byte_level(false, false))}},
             "abc",
             {0, 1, 2}},
        // U+180E is a space for PCRE2's \s only.
        Case{"SpaceIsWhiteSpace",
             {{"/pre_tokenizer",
               sequence(split_of({{"Regex", "\\s|[\\s]"}}, "Removed"), byte_level(false, false))}},
             "a\u180Eb\u2003c\u0085a",
             {4, 2, 0},
             3},
        Case{"LinesHaveBothEnds",
             {{"/pre_tokenizer",
               sequence(split_of({{"Regex", "^a|c$|\\n"}}, "Removed"), byte_level(false, false))}},
             "ab\nac\nbc",
             {1, 1}}),
    [](const auto& setup) { return setup.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Normalizer, TokenizerJson,
    testing::Values(
        Case{"None", {}, "e\u0301", {13, 14, 15}},
        Case{"Nfc", {{"/normalizer", kNfc}}, "e\u0301", {11, 12}},
        Case{"SequenceOfNfc",
             {{"/normalizer", {{"type", "Sequence"}, {"normalizers", json::array({kNfc})}}}},
             "e\u0301",
             {11, 12}},
        // U+0316 has a lower combining class than U+0301, so it goes first.
        Case{"MarksInOrder", {{"/normalizer", kNfc}}, "b\u0301\u0316", {1, 14, 14, 15}, 1}),
    [](const auto& setup) { return setup.param.name; });

INSTANTIATE_TEST_SUITE_P(
    AddedToken, TokenizerJson,
    testing::Values(
        Case{"IsRecognised",
             {{"/added_tokens", json::array({added("<x>", 17)})}},
             "a<x>b<x>",
             {0, 17, 1, 17}},
        Case{"OfTheVocabulary",
             {{"/added_tokens", json::array({added("cab", 16)})}},
             "bcabb",
             {1, 16, 1}},
        Case{"IsTheLongest",
             {{"/added_tokens", {added("<x>", 17), added("<x>a", 18)}}},
             "<x>ab<x>b",
             {18, 1, 17, 1}},
        Case{"IsTheLeftmost",
             {{"/added_tokens", {added("aa", 17), added("abcc", 18)}}},
             "aabcc",
             {17, 5, 2}},
        Case{"TakesSpaceBefore",
             {{"/added_tokens", json::array({added("<x>", 17, {{"lstrip", true}})})}},
             "a \u2003\n<x> a",
             {0, 17, 7}},
        Case{"TakesSpaceBehind",
             {{"/added_tokens", json::array({added("<x>", 17, {{"rstrip", true}})})}},
             "a <x> \u2003\na",
             {0, 3, 17, 0}},
        Case{"TakesSpaceThatIsLeft",
             {{"/added_tokens",
               {added("<x>", 17, {{"rstrip", true}}), added("<y>", 18, {{"lstrip", true}})}}},
             "<x>  <y>",
             {17, 18}},
        Case{"AsASingleWord",
             {{"/model/merges", json::array()},
              {"/added_tokens", json::array({added("ab", 4, {{"single_word", true}})})}},
             "ab ab.ab",
             {4, 3, 4, 4},
             1},
        Case{"NotInsideAWord",
             {{"/model/merges", json::array()},
              {"/added_tokens", json::array({added("ab", 4, {{"single_word", true}})})}},
             "abc ab1 éab",
             {0, 1, 2, 3, 0, 1, 8, 3, 11, 12, 0, 1}},
        Case{"IsRawBeforeTheNormalizer",
             {{"/normalizer", kNfc}, {"/added_tokens", json::array({added("e\u0301", 17)})}},
             "\u00E9e\u0301",
             {11, 12, 17}},
        Case{"IsNormalised",
             {{"/normalizer", kNfc},
              {"/added_tokens", json::array({added("e\u0301", 17, {{"normalized", true}})})}},
             "\u00E9e\u0301",
             {17, 17}},
        Case{"RawGoesFirst",
             {{"/added_tokens", {added("aab", 17, {{"normalized", true}}), added("b", 1)}}},
             "aab",
             {0, 0, 1}},
        Case{"GivenAgainHasItsLastOptions",
             {{"/added_tokens", {added("<x>", 17, {{"lstrip", true}}), added("<x>", 17)}}},
             "a <x>",
             {0, 3, 17}},
        Case{"WithoutContentIsNone",
             {{"/added_tokens", {added("", 99), added("<x>", 17)}}},
             "a<x>",
             {0, 17}}),
    [](const auto& setup) { return setup.param.name; });

TEST(AddedTokens, CanBeReadAsText) {
  const auto tokenizer = load(changed({{"/added_tokens", {added("abc", 6), added("cc", 17)}}}));
  EXPECT_EQ(tokenizer.encode("bcc", {.added_tokens = false}).ids, (Ids{5, 2}));
  EXPECT_EQ(tokenizer.encode("bcc").ids, (Ids{1, 17}));
}

TEST(AddedTokens, CountAndDecodeAsHuggingFaceDoes) {
  const auto tokenizer =
      load(changed({{"/added_tokens", {added("éĠ", 17), added("<｜end▁of｜>", 18)}}}));
  EXPECT_EQ(tokenizer.size(), 19);
  EXPECT_EQ(tokenizer.id("éĠ"), 17);
  EXPECT_EQ(tokenizer.decode(Ids{0, 18, 0}), "a<｜end▁of｜>a");
  EXPECT_EQ(tokenizer.decode(Ids{0, 17, 0}), "a\xE9 a");  // stand-ins of bytes, to its decoder
}

TEST(Vocabulary, MayHaveHoles) { EXPECT_EQ(load(changed({{"/model/vocab/cab", 40}})).size(), 41); }

TEST(PostProcessor, NamesTheUsualPrefix) {
  const json ids = {
      {"<s>", {{"id", "<s>"}, {"ids", json::array({17})}, {"tokens", json::array({"<s>"})}}},
      {"two", {{"id", "two"}, {"ids", {1, 2}}, {"tokens", {"b", "c"}}}}};
  const auto special = [](const char* id) -> json {
    return {{"SpecialToken", {{"id", id}, {"type_id", 0}}}};
  };
  const json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const auto wrap = [&](const json& single) -> json {
    return {{"type", "TemplateProcessing"}, {"single", single}, {"special_tokens", ids}};
  };
  const auto byte_level_processor = byte_level(true, true);
  EXPECT_EQ(load(changed({{"/post_processor", byte_level_processor}})).usual_prefix(), Ids{});
  EXPECT_EQ(load(changed({{"/post_processor", wrap({special("<s>"), text, special("two")})}}))
                .usual_prefix(),
            Ids{17});
  const json both = {
      {"type", "Sequence"},
      {"processors",
       {byte_level_processor, wrap({special("<s>"), text}), wrap({special("two"), text})}}};
  const auto tokenizer = load(changed({{"/post_processor", both}}));
  EXPECT_EQ(tokenizer.usual_prefix(), (Ids{1, 2, 17}));
  EXPECT_EQ(tokenizer.encode("a").ids, Ids{0});
}

// ---- Errors

struct Wrong {
  const char* name;
  Changes changes;
  std::string message;  // behind the file's path
};

void PrintTo(const Wrong& wrong, std::ostream* out) { *out << wrong.name; }

class WrongTokenizerJson : public testing::TestWithParam<Wrong> {};

TEST_P(WrongTokenizerJson, IsAnErrorThatNamesTheField) {
  const TemporaryDirectory folder;
  write_file(folder / "tokenizer.json", changed(GetParam().changes).dump());
  auto error = message([&] { Tokenizer::load(folder.path()); });
  const auto file = (folder.path() / "tokenizer.json").string();
  const bool of_directory = !error.starts_with(file);  // what several files say together
  EXPECT_EQ(error, (of_directory ? folder.path().string() : file) + ": " + GetParam().message);
}

json split_regex(const std::string& pattern) {
  return sequence(split_of({{"Regex", pattern}}, "Isolated"), byte_level(false, false));
}

INSTANTIATE_TEST_SUITE_P(
    Component, WrongTokenizerJson,
    testing::Values(
        Wrong{"Version", {{"/version", "2.0"}}, R"(version: must be "1.0", not "2.0")"},
        Wrong{"NoModel", {{"/model", nullptr}}, R"("model" is missing)"},
        Wrong{"ModelNoObject", {{"/model", 3}}, "model: must be an object"},
        Wrong{"ModelType",
              {{"/model/type", "WordPiece"}},
              R"(model: type "WordPiece" is not supported; supported: BPE)"},
        Wrong{"Dropout", {{"/model/dropout", 0.5}}, "model.dropout: must be null or 0, not 0.5"},
        Wrong{"ContinuingSubwordPrefix",
              {{"/model/continuing_subword_prefix", "##"}},
              R"(model.continuing_subword_prefix: must be null or empty, not "##")"},
        Wrong{"EndOfWordSuffix",
              {{"/model/end_of_word_suffix", "</w>"}},
              R"(model.end_of_word_suffix: must be null or empty, not "</w>")"},
        Wrong{
            "FallbackOfAByteWithoutStandIn",
            {{"/model/byte_fallback", true}, {"/model/vocab/<0x78>", 17}},
            R"(model.byte_fallback: true with ByteLevel, in a vocabulary that lacks the stand-in "x" of a byte, is not supported)"},
        Wrong{"FuseUnkNoFlag", {{"/model/fuse_unk", 1}}, "model.fuse_unk: must be true or false"},
        Wrong{
            "Normalizer",
            {{"/normalizer",
              {{"type", "Sequence"}, {"normalizers", {kNfc, {{"type", "Lowercase"}}}}}}},
            R"(normalizer.normalizers[1]: type "Lowercase" is not supported; supported: Sequence, NFC, Replace, Prepend, Strip)"},
        Wrong{
            "PreTokenizer",
            {{"/pre_tokenizer", {{"type", "BertPreTokenizer"}}}},
            R"(pre_tokenizer: type "BertPreTokenizer" is not supported; supported: Sequence, Split, Digits, ByteLevel, Metaspace, Whitespace, WhitespaceSplit, Punctuation)"},
        Wrong{
            "PrependScheme",
            {{"/pre_tokenizer",
              {{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "last"}}}},
            R"(pre_tokenizer.prepend_scheme: "last" is not supported; supported: always, first, never)"},
        Wrong{"StripOfTwoCharacters",
              {{"/decoder", {{"type", "Strip"}, {"content", "ab"}, {"start", 1}, {"stop", 0}}}},
              R"(decoder.content: must be one character, not "ab")"},
        Wrong{"PreTokenizerWithoutType",
              {{"/pre_tokenizer/type", nullptr}},
              R"(pre_tokenizer: "type" is missing)"},
        Wrong{
            "SplitBehavior",
            {{"/pre_tokenizer",
              sequence(split_of({{"Regex", "a"}}, "MergedWithAll"), byte_level(false, true))}},
            R"(pre_tokenizer.pretokenizers[0].behavior: "MergedWithAll" is not supported; supported: Isolated, Removed, MergedWithPrevious, MergedWithNext, Contiguous)"},
        Wrong{"SplitWithoutPattern",
              {{"/pre_tokenizer", split_of(json::object(), "Isolated")}},
              R"(pre_tokenizer.pattern: must have "String" or "Regex")"},
        Wrong{
            "Decoder",
            {{"/decoder", {{"type", "WordPiece"}}}},
            R"(decoder: type "WordPiece" is not supported; supported: Sequence, ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace)"},
        Wrong{
            "PostProcessor",
            {{"/post_processor", {{"type", "Padding"}}}},
            R"(post_processor: type "Padding" is not supported; supported: Sequence, ByteLevel, TemplateProcessing, RobertaProcessing, BertProcessing)"},
        Wrong{
            "DecoderOfParts",
            {{"/decoder",
              {{"type", "Sequence"},
               {"decoders",
                {{{"type", "ByteFallback"}},
                 {{"type", "Replace"}, {"pattern", {{"Regex", "."}}}, {"content", ""}}}}}}},
            R"(decoder.decoders[1].pattern: a regular expression behind ByteLevel or ByteFallback, where tokens may be parts of characters, is not supported)"},
        Wrong{"TemplateWithoutItsToken",
              {{"/post_processor",
                {{"type", "TemplateProcessing"},
                 {"single", json::array({{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}}})},
                 {"special_tokens", json::object()}}}},
              R"(post_processor.special_tokens: "<s>" is missing)"},
        Wrong{"AddedTokensNoArray", {{"/added_tokens", 1}}, "added_tokens: must be an array"},
        Wrong{"AddedTokenWithoutId",
              {{"/added_tokens", json::array({added("<x>", 17, {{"id", nullptr}})})}},
              R"(added_tokens[0]: "id" is missing)"},
        Wrong{"AddedTokenContentNoString",
              {{"/added_tokens", json::array({added("<x>", 17, {{"content", 1}})})}},
              "added_tokens[0].content: must be a string"},
        Wrong{"AddedTokenWithAnotherId",
              {{"/added_tokens", {added("<x>", 17), added("<y>", 19)}}},
              R"(added_tokens[1]: "<y>" has id 19, but Hugging Face gives it 18)"},
        Wrong{"AddedTokensOfOneNormalForm",
              {{"/normalizer", kNfc},
               {"/added_tokens",
                {added("\u00E9", 17, {{"normalized", true}}),
                 added("e\u0301", 18, {{"normalized", true}})}}},
              "added_tokens: \"\u00E9\" and \"e\u0301\" are both \"\u00E9\" when normalised"}),
    [](const auto& wrong) { return wrong.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Tokens, WrongTokenizerJson,
    testing::Values(
        Wrong{"NoVocabulary", {{"/model/vocab", nullptr}}, R"(model: "vocab" is missing)"},
        Wrong{"VocabularyNoObject",
              {{"/model/vocab", json::array({"a"})}},
              "model.vocab: must be an object"},
        Wrong{"IdNegative",
              {{"/model/vocab/ab", -1}},
              "model.vocab.ab: must be an integer from 0 to 2147483647"},
        Wrong{"IdTooLarge",
              {{"/model/vocab/ab", 2147483648}},
              "model.vocab.ab: must be an integer from 0 to 2147483647"},
        Wrong{"IdTwice",
              {{"/model/vocab/ab", 0}},
              R"(model.vocab: "a" and "ab" have the same id, 0)"},
        Wrong{"NoMerges", {{"/model/merges", nullptr}}, R"(model: "merges" is missing)"},
        Wrong{"MergesNoArray", {{"/model/merges", "a b"}}, "model.merges: must be an array"},
        Wrong{"MergeOfThree",
              {{"/model/merges", {"a b", "a b c"}}},
              R"(model.merges[1]: must be two tokens, as "a b" or ["a", "b"], not "a b c")"},
        Wrong{"MergeOfOne",
              {{"/model/merges", json::array({"ab"})}},
              R"(model.merges[0]: must be two tokens, as "a b" or ["a", "b"], not "ab")"},
        Wrong{"MergeNoStrings",
              {{"/model/merges", json::parse("[[1, 2]]")}},
              R"(model.merges[0]: must be two tokens, as "a b" or ["a", "b"], not [1,2])"},
        Wrong{"MergeOfAnUnknownToken",
              {{"/model/merges", json::array({"a q"})}},
              R"(model.merges[0]: token "q" is not in the vocabulary)"},
        Wrong{"MergeIntoAnUnknownToken",
              {{"/model/merges", json::array({"a c"})}},
              R"(model.merges[0]: token "ac" is not in the vocabulary)"}),
    [](const auto& wrong) { return wrong.param.name; });

/// A regular expression whose meaning differs between Oniguruma and PCRE2, or may.
Wrong refused(const char* name, const std::string& pattern, const std::string& part) {
  return {name,
          {{"/pre_tokenizer", split_regex(pattern)}},
          "pre_tokenizer.pretokenizers[0].pattern.Regex: regular expression: \"" + part +
              "\" is not supported"};
}

INSTANTIATE_TEST_SUITE_P(
    Regex, WrongTokenizerJson,
    testing::Values(refused("Word", R"(a\w+)", R"(\w)"),                // other sets of letters
                    refused("HexDigit", R"([\h])", R"(\h)"),            // PCRE2: horizontal space
                    refused("Boundary", R"(\ba)", R"(\b)"),             // as \w
                    refused("BackReference", R"((a)\1)", R"(\1)"),      //
                    refused("ClassInClass", "[a[bc]]", "["),            // PCRE2: the character
                    refused("Intersection", R"([\p{L}&&[^a]])", "&&"),  // PCRE2: two characters
                    refused("EmptyClass", "[]a]", "]"),                 // PCRE2: the character
                    refused("OptionToTheEnd", "a(?i)b|c", "(?i"),       // another extent
                    refused("CategoryWithoutCase", R"(((?i:b\p{Lu})))", R"(\p)"),  //
                    refused("PossessiveCount", "a{1,2}+", "{1,2}+"),  // Oniguruma: repeated
                    refused("LazyCount", "a{2}?", "{2}?"),            // Oniguruma: optional
                    refused("OpenCount", "a{,2}", "{,2}"),            // PCRE2: characters
                    refused("OpenBrace", "a{b", "{"),                 //
                    refused("ShortProperty", R"(\pL{2})", R"(\p)"),   //
                    Wrong{"LigatureWithoutCase",  // PCRE2 does not find the sharp s
                          {{"/pre_tokenizer", split_regex("(?i:s|mess)")}},
                          "pre_tokenizer.pretokenizers[0].pattern.Regex: regular expression: "
                          "\"ss\" without case is not supported: it also means a ligature"},
                    Wrong{"Malformed",
                          {{"/pre_tokenizer", split_regex("(a")}},
                          "pre_tokenizer.pretokenizers[0].pattern.Regex: regular expression "
                          "\"(a\": at byte 2: missing closing parenthesis"},
                    Wrong{"OpenClass",
                          {{"/pre_tokenizer", split_regex("[a")}},
                          "pre_tokenizer.pretokenizers[0].pattern.Regex: regular expression: a "
                          "\"[\" has no \"]\""}),
    [](const auto& wrong) { return wrong.param.name; });

// ---- Characters, as SentencePiece exports them: more in tokenizer_fuzz.py

/// Tokens of characters: "▁a" is 4, the byte of a line end 7, é is nowhere.
json characters_json() {
  auto made = small_json();
  made["pre_tokenizer"] = {
      {"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "first"}, {"split", false}};
  made["decoder"] = json::parse(R"({"type": "Sequence", "decoders": [
    {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
    {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})");
  made["model"] = json::parse(R"({"type": "BPE", "unk_token": "<unk>", "fuse_unk": true,
    "byte_fallback": true, "vocab": {"<unk>": 0, "a": 1, "b": 2, "▁": 3, "▁a": 4, "ab": 5,
    "▁ab": 6, "<0x0A>": 7}, "merges": ["a b", "▁ ab", "▁ a"]})");
  return made;
}

TEST(Characters, AreEncodedAndDecoded) {
  const auto tokenizer = load(characters_json());
  EXPECT_EQ(tokenizer.encode("ab a\nb").ids, (Ids{6, 4, 7, 2}));
  EXPECT_EQ(tokenizer.decode(Ids{6, 4, 7, 2}), "ab a\nb");
  EXPECT_EQ(tokenizer.token(6), " ab");  // as it stands behind others
  EXPECT_EQ(tokenizer.encode("ééa").ids, (Ids{3, 0, 1}));
}

TEST(Characters, ThatOnlyAnUnknownTokenStandsForNeedOne) {
  auto made = characters_json();
  made["model"]["unk_token"] = "[UNK]";
  const auto tokenizer = load(made);
  EXPECT_EQ(tokenizer.encode("ab").ids, Ids{6});
  EXPECT_EQ(message([&] { tokenizer.encode("é"); }),
            "motet::Tokenizer::encode: \"é\" has no token, and the vocabulary lacks the token that "
            "would stand for it, unk_token \"[UNK]\"");
  made["model"]["unk_token"] = nullptr;
  EXPECT_EQ(load(made).encode("éa").left_out_bytes, 2);
}

// ---- What only the files beside tokenizer.json say

TEST(Directory, AddsTokensThatTheConfigurationLists) {
  const TemporaryDirectory folder;
  write_file(folder / "tokenizer.json", small_json().dump());
  const auto ids = [&] { return Tokenizer::load(folder.path()).encode("a<x>cab").ids; };
  EXPECT_EQ(ids(), (Ids{0, 2, 4}));
  write_file(folder / "added_tokens.json", R"({"<x>": 17})");
  EXPECT_EQ(ids(), (Ids{0, 17, 2, 4}));
  write_file(folder / "special_tokens_map.json", R"({"eos_token": "cab", "pad_token": "[PAD]"})");
  EXPECT_EQ(ids(), (Ids{0, 17, 16}));
  // Where it lists tokens, added_tokens.json is not asked.
  write_file(folder / "tokenizer_config.json",
             R"({"added_tokens_decoder": {"17": {"content": "<y>", "special": true}}})");
  EXPECT_EQ(Tokenizer::load(folder.path()).encode("a<y>").ids, (Ids{0, 17}));
  EXPECT_EQ(Tokenizer::load(folder.path()).id("[PAD]"), std::nullopt);
  write_file(folder / "tokenizer_config.json",
             R"({"added_tokens_decoder": {"19": {"content": "<y>"}}})");
  EXPECT_EQ(message([&] { Tokenizer::load(folder.path()); }),
            (folder.path() / "tokenizer_config.json").string() +
                R"(: added_tokens_decoder.19: "<y>" has id 19, but Hugging Face gives it 17)");
}

TEST(Directory, AddedTokensJsonKnowsIdsAlone) {
  const TemporaryDirectory folder;
  const auto known = added("<x>", 17, {{"rstrip", true}, {"special", true}});
  write_file(folder / "tokenizer.json", changed({{"/added_tokens", json::array({known})}}).dump());
  write_file(folder / "added_tokens.json", R"({"<x>": 17, "<y>": 18, "<z>": 19})");
  write_file(folder / "tokenizer_config.json", R"({"eos_token": "<y>"})");
  const auto tokenizer = Tokenizer::load(folder.path());
  EXPECT_EQ(tokenizer.encode("a<x> a<y> a").ids, (Ids{0, 17, 0, 18, 7}));
  EXPECT_EQ(tokenizer.decode(Ids{0, 17, 18, 19, 0}, {.special_tokens = false}), "a<z>a");
}

/// As transformers 5.24: classes that make their own pre-tokenizer follow their configuration.
TEST(Directory, SaysWhetherASpaceGoesFirst) {
  const TemporaryDirectory folder;
  const auto ids = [&](const std::string& name, bool wanted, const json& pre_tokenizer,
                       const std::string& text = "a a") {
    write_file(folder / "tokenizer.json", changed({{"/pre_tokenizer", pre_tokenizer}}).dump());
    const json config{{"tokenizer_class", name}, {"add_prefix_space", wanted}};
    write_file(folder / "tokenizer_config.json", config.dump());
    return Tokenizer::load(folder.path()).encode(text).ids;
  };
  for (const auto* name : {"GPT2Tokenizer", "GPT2TokenizerFast", "GPTNeoXTokenizerFast",
                           "Qwen2Tokenizer", "Qwen2TokenizerFast"}) {
    EXPECT_EQ(ids(name, true, byte_level(false, true)), (Ids{7, 7})) << name;
    EXPECT_EQ(ids(name, false, byte_level(true, true)), (Ids{0, 7})) << name;
  }
  EXPECT_EQ(ids("PreTrainedTokenizerFast", true, byte_level(false, true)), (Ids{0, 7}));
  EXPECT_EQ(ids("PreTrainedTokenizerFast", false, byte_level(true, true)), (Ids{7, 7}));
  // Qwen2's goes before each piece.
  const auto pieces = sequence(split_of({{"Regex", "1"}}, "Isolated"), byte_level(false, false));
  EXPECT_EQ(ids("Qwen2Tokenizer", true, pieces, "a1"), (Ids{7, 3, 8}));
  EXPECT_EQ(ids("GPT2Tokenizer", true, pieces, "a1"), (Ids{7, 8}));
}

TEST(Directory, ThatSplitsSpecialTokensIsRefused) {
  const TemporaryDirectory folder;
  write_file(folder / "tokenizer.json", small_json().dump());
  const auto error = [&](const char* config) {
    write_file(folder / "tokenizer_config.json", config);
    return message([&] { Tokenizer::load(folder.path()); });
  };
  EXPECT_EQ(error(R"({"split_special_tokens": false})"), "no error");
  EXPECT_EQ(error(R"({"split_special_tokens": true})"),
            (folder.path() / "tokenizer_config.json").string() +
                ": split_special_tokens: true is not supported: special tokens in a text are "
                "recognised here; take the field out where that is meant");
}

TEST(Directory, SaysWhetherBosGoesFirst) {
  const TemporaryDirectory folder;
  write_file(folder / "tokenizer.json", small_json().dump());
  const auto prefix = [&](const char* config) {
    write_file(folder / "tokenizer_config.json", config);
    return Tokenizer::load(folder.path()).usual_prefix();
  };
  EXPECT_EQ(prefix(R"({"bos_token": "cab"})"), Ids{});
  EXPECT_EQ(prefix(R"({"bos_token": {"content": "cab"}, "add_bos_token": true})"), Ids{16});
  EXPECT_EQ(prefix(R"({"add_bos_token": true})"), Ids{});
}

TEST(Directory, OfTwoFilesIsCutAsItsClassDoes) {
  const TemporaryDirectory folder;
  write_file(folder / "vocab.json", R"({"1": 0, "2": 1, "12": 2, "<|im_end|>": 3})");
  write_file(folder / "merges.txt", "1 2\n");
  const auto ids = [&] { return Tokenizer::load(folder.path()).encode("12").ids; };
  EXPECT_EQ(ids(), Ids{2});  // GPT-2's
  write_file(folder / "config.json", R"({"model_type": "qwen3"})");
  EXPECT_EQ(ids(), (Ids{0, 1}));
  write_file(folder / "tokenizer_config.json", R"({"tokenizer_class": "GPT2TokenizerFast"})");
  EXPECT_EQ(ids(), Ids{2});
  write_file(folder / "tokenizer_config.json", R"({"tokenizer_class": "LlamaTokenizer"})");
  EXPECT_EQ(message(ids).find(": has vocab.json and merges.txt, but no tokenizer.json; how "
                              "LlamaTokenizer cuts a text is not "),
            folder.path().string().size());
  std::filesystem::remove(folder / "vocab.json");
  write_file(folder / "tokenizer.model", "");
  EXPECT_EQ(message(ids), folder.path().string() +
                              ": has tokenizer.model, but no tokenizer.json; Hugging Face "
                              "transformers writes one: python -c \"from transformers import "
                              "AutoTokenizer; AutoTokenizer.from_pretrained('" +
                              folder.path().string() + "').save_pretrained('" +
                              folder.path().string() + "')\"");
}

TEST(Directory, HoldsObjectsWhereItHoldsJson) {
  const TemporaryDirectory folder;
  write_file(folder / "tokenizer.json", small_json().dump());
  write_file(folder / "tokenizer_config.json", "[1]");
  EXPECT_EQ(message([&] { Tokenizer::load(folder.path()); }),
            (folder.path() / "tokenizer_config.json").string() + ": is not a JSON object");
}

TEST(Files, MustBeThere) {
  const TemporaryDirectory folder;
  const auto path = folder.path().string();
  const auto load_error = [&] { return message([&] { Tokenizer::load(path); }); };
  EXPECT_EQ(message([&] { Tokenizer::load(path + "/none"); }), path + "/none: is not a directory");
  const auto neither = path + ": has no tokenizer.json, nor both vocab.json and merges.txt";
  EXPECT_EQ(load_error(), neither);
  write_file(folder / "vocab.json", "{}");
  EXPECT_EQ(load_error(), neither);
  write_file(folder / "merges.txt", "");
  EXPECT_EQ(load_error(), "no error");
}

TEST(Files, MustBeJson) {
  const TemporaryDirectory folder;
  write_file(folder / "merges.txt", "");
  write_file(folder / "vocab.json", R"({"a": 0,})");
  EXPECT_EQ(message([&] { Tokenizer::load(folder.path()); }),
            (folder.path() / "vocab.json").string() + ": not JSON at byte 9: unexpected '}'");
  write_file(folder / "tokenizer.json", "");
  EXPECT_EQ(message([&] { Tokenizer::load(folder.path()); }),
            (folder.path() / "tokenizer.json").string() +
                ": not JSON at byte 1: unexpected end of input");
}

TEST(Files, TokenizerJsonGoesFirst) {
  const TemporaryDirectory folder;
  write_file(folder / "vocab.json", R"({"a": 5})");
  write_file(folder / "merges.txt", "");
  EXPECT_EQ(Tokenizer::load(folder.path()).encode("a").ids, Ids{5});
  write_file(folder / "tokenizer.json", small_json().dump());
  EXPECT_EQ(Tokenizer::load(folder.path()).encode("a").ids, Ids{0});
}

TEST(Files, Gpt2FilesMayHaveNoMarkAndOtherLineEnds) {
  const TemporaryDirectory folder;
  write_file(folder / "vocab.json", R"({"a": 0, "b": 1, "ab": 2, "abb": 3})");
  write_file(folder / "merges.txt", "#version: 0.2\r\na b\r\nab b");
  const auto tokenizer = Tokenizer::load(folder.path());
  EXPECT_EQ(tokenizer.encode("abba<|endoftext|>").ids, (Ids{3, 0}));
  EXPECT_EQ(tokenizer.encode("abba<|endoftext|>").left_out_bytes, 13);
}

struct Merges {
  const char* name;
  std::string text;
  std::string message;  // behind the file's path
};

void PrintTo(const Merges& merges, std::ostream* out) { *out << merges.name; }

class WrongMerges : public testing::TestWithParam<Merges> {};

TEST_P(WrongMerges, AreAnErrorThatNamesTheLine) {
  const TemporaryDirectory folder;
  write_file(folder / "vocab.json", R"({"a": 0, "b": 1, "ab": 2})");
  write_file(folder / "merges.txt", GetParam().text);
  EXPECT_EQ(message([&] { Tokenizer::load(folder.path()); }),
            (folder.path() / "merges.txt").string() + ": " + GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    With, WrongMerges,
    testing::Values(
        Merges{"OneToken", "#version: 0.2\na b\nab\n",
               R"(line 3: must be two tokens with a space between, not "ab")"},
        Merges{"ThreeTokens", "a b a\n",
               R"(line 1: must be two tokens with a space between, not "a b a")"},
        Merges{"AnEmptyLine", "a b\n\n",
               R"(line 2: must be two tokens with a space between, not "")"},
        Merges{"AnUnknownToken", "c a\n", R"(line 1: token "c" is not in the vocabulary)"},
        Merges{"AnUnknownResult", "b a\n", R"(line 1: token "ba" is not in the vocabulary)"}),
    [](const auto& merges) { return merges.param.name; });

}  // namespace
}  // namespace motet
