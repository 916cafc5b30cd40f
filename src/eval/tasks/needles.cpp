// niah and kv: values that are hidden in a context, and a question for one of them. After RULER
// (Hsieh et al. 2024, arXiv 2404.06654) and "Lost in the Middle" (Liu et al. 2023, arXiv
// 2307.03172), in sentences of our own.

#include <algorithm>
#include <cmath>

#include "eval/tasks/shipped.h"
#include "motet/files/mapped.h"
#include "text/unicode.h"

namespace motet {
namespace {

constexpr int64_t kOthers = 8;  // values that no needle has, for candidates

std::string list_of(const std::vector<std::string>& words) {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i) {
    text += (i == 0 ? "" : i + 1 < words.size() ? ", " : " and ") + words[i];
  }
  return text;
}

/// Names of keys or values, each once.
std::vector<std::string> draw_names(ItemRandom& random, const std::string& kind, int64_t count) {
  if (kind == "words") {
    return draw_pairs(random, count);
  }
  std::vector<std::string> names;
  std::set<std::string> drawn;
  while (static_cast<int64_t>(names.size()) < count) {
    const auto name = kind == "numbers" ? random.digits(7) : random.uuid();
    if (drawn.insert(name).second) {
      names.push_back(name);
    }
  }
  return names;
}

/// The gold answer and up to `count - 1` others, in an order of the item's.
std::vector<std::string> draw_candidates(ItemRandom& random, const std::string& gold,
                                         std::vector<std::string> others, int64_t count) {
  if (count < 2) {
    return {};
  }
  random.shuffle(others);
  others.resize(std::min(others.size(), static_cast<std::size_t>(count - 1)));
  others.push_back(gold);
  random.shuffle(others);
  return others;
}

struct Needles {
  int64_t keys, values, queries, candidates;
  std::string hay, key_kind, value_kind;
  std::optional<double> depth;
  std::vector<std::string> sentences;  // of a text, where that is the hay
};

/// "magic number of amber-oak", or several of them.
std::string secret(const Needles& needles, bool several) {
  const std::string kind = needles.value_kind == "numbers" ? "number"
                           : needles.value_kind == "words" ? "word"
                                                           : "uuid";
  return "secret " + kind + (several ? "s" : "");
}

std::string needle(const Needles& needles, const std::string& key, const std::string& value) {
  return std::string(needles.values > 1 ? "A " : "The ") + secret(needles, false) + " of " + key +
         " is " + value + ".";
}

/// An item whose hay has so many lines or sentences.
TaskRecord niah_record(const Needles& needles, const TaskText& text, const TaskSettings& settings,
                       int64_t item, int64_t size) {
  ItemRandom random(settings.seed, text.label(), item);
  const bool of_needles = needles.hay == "needles";
  const auto own = std::max(needles.keys, needles.queries);
  // What is asked is drawn first: it stays the same, whatever the length.
  const auto keys = draw_names(random, needles.key_kind, own + (of_needles ? size : 0));
  const auto values = draw_names(random, needles.value_kind,
                                 own * needles.values + (of_needles ? size : 0) + kOthers);
  TaskRecord record;
  record.task = text.label();
  record.group = "recall";
  record.id = std::to_string(item);
  std::vector<std::string> hay;
  const auto start =
      needles.sentences.empty() ? 0 : random.below(static_cast<int64_t>(needles.sentences.size()));
  for (int64_t i = 0; i < size; ++i) {
    hay.push_back(of_needles ? needle(needles, keys[own + i], values[own * needles.values + i])
                  : needles.hay == "noise"
                      ? noise_line(random)
                      : needles.sentences[(start + i) % needles.sentences.size()]);
  }
  // Needles lie at places of the hay; the first one where `depth` says.
  struct Hidden {
    double place;
    int64_t key, value;
  };
  std::vector<Hidden> hidden;
  for (int64_t key = 0; key < own; ++key) {
    for (int64_t value = 0; value < needles.values; ++value) {
      const auto drawn = random.uniform();
      const bool first = key == 0 && value == 0;
      hidden.push_back({(first ? needles.depth.value_or(drawn) : drawn) * static_cast<double>(size),
                        key, value});
    }
  }
  std::stable_sort(hidden.begin(), hidden.end(),
                   [](const Hidden& a, const Hidden& b) { return a.place < b.place; });
  const bool is_text = !needles.sentences.empty();
  std::size_t next = 0;
  for (int64_t i = 0; i <= size; ++i) {
    for (; next < hidden.size() && std::llround(hidden[next].place) <= i; ++next) {
      const auto& one = hidden[next];
      if (one.key < needles.queries) {
        record.gold_units.push_back(static_cast<int64_t>(record.units.size()));
      }
      const auto sentence =
          needle(needles, keys[one.key], values[one.key * needles.values + one.value]);
      record.units.push_back(is_text ? " " + sentence : sentence + "\n");
    }
    if (i < size) {
      record.units.push_back(is_text ? hay[i] : hay[i] + "\n");
    }
  }
  record.depth = static_cast<double>(record.gold_units[0]) /
                 static_cast<double>(std::max<std::size_t>(1, record.units.size() - 1));
  for (int64_t i = 0; i < needles.queries * needles.values; ++i) {
    record.answers.push_back(values[i]);
  }
  const auto asked =
      list_of(std::vector<std::string>(keys.begin(), keys.begin() + needles.queries));
  const bool several = needles.queries * needles.values > 1;
  const auto what = secret(needles, several) + " of " + asked;
  const std::string is = several ? "are" : "is";
  if (settings.layout == "helmet") {
    record.lead = several ? "Some " + secret(needles, true) +
                                " are hidden in the text below. "
                                "Remember them: you will be asked for them.\n"
                          : "A " + secret(needles, false) +
                                " is hidden in the text below. Remember it: you will be asked for "
                                "it.\n";
    record.query = "\nWhat " + is + " the " + what + " in the text above? The " + what + " " + is;
  } else {
    record.query = "\n\n" +
                   (several ? "Some " + secret(needles, true) + " are"
                            : "A " + secret(needles, false) + " is") +
                   " hidden in the text above. The " + what + " in that text " + is;
  }
  record.tokens = needles.value_kind == "uuids" ? 64 : several ? 64 : 16;
  record.rule = AnswerRule::kFound;
  record.stop = {"\n"};
  record.gold = record.answers[0];
  std::vector<std::string> others(values.begin() + needles.queries * needles.values, values.end());
  record.candidates = draw_candidates(random, record.gold, std::move(others), needles.candidates);
  return record;
}

/// How many needles a hay can have, of which words are drawn.
int64_t most_hay(const Needles& needles) {
  auto most = int64_t{1} << 40;
  if (needles.hay == "needles") {
    const auto own = std::max(needles.keys, needles.queries);
    most = needles.key_kind == "words" ? std::min(most, kPairs - own) : most;
    most = needles.value_kind == "words" ? std::min(most, kPairs - own * needles.values - kOthers)
                                         : most;
  }
  return most;
}

MadeTask make_niah(const TaskText& text, const TaskSettings& settings, const Tokenizer& tokenizer) {
  Needles needles;
  needles.keys = text.number("keys", 1);
  needles.values = text.number("values", 1);
  needles.queries = text.number("queries", 1);
  needles.candidates = text.number("candidates", 4, 0);
  needles.hay = text.word("hay", "noise");
  needles.key_kind = text.one_of("key", {"words", "numbers", "uuids"});
  needles.value_kind = text.one_of("value", {"numbers", "words", "uuids"});
  const auto depth = text.number("depth", -1, 0);
  text.no_more();
  if (depth > 100) {
    text.fail("depth is '" + std::to_string(depth) + "'; from 0 to 100 is wanted");
  }
  if (depth >= 0) {
    needles.depth = static_cast<double>(depth) / 100;
  }
  MadeTask made{{}, settings.layout, {}, {}};
  if (needles.hay != "noise" && needles.hay != "needles") {
    made.files.emplace_back(needles.hay);
    auto hay = read_file(needles.hay);
    const auto invalid = text::first_invalid_byte(hay);
    require(invalid == std::string::npos, needles.hay, ": byte ", invalid, " of ", hay.size(),
            " is not UTF-8; a text is wanted");
    hay.resize(hay.size() - text::trailing_space(hay));
    needles.sentences = sentences_of(hay);
    if (needles.sentences.empty()) {
      text.fail(needles.hay + " has no sentence");
    }
  }
  const int64_t step = needles.sentences.empty() ? 5 : 1, most = most_hay(needles);
  for (int64_t item = 0; item < settings.items; ++item) {
    const auto size = largest_that_fits(
        settings.length, step, "the task " + text.label(),
        [&](int64_t lines) {
          return tokens_of(niah_record(needles, text, settings, item, lines), tokenizer);
        },
        most);
    made.records.push_back(niah_record(needles, text, settings, item, size));
    if (size > most - step && made.notes.empty()) {
      made.notes.push_back("the task " + text.label() + ": there are words for a hay of " +
                           std::to_string(size) + " needles, which is shorter than " +
                           std::to_string(settings.length) +
                           " tokens; numbers and uuids have more");
    }
  }
  return made;
}

/// An item with so many pairs.
TaskRecord kv_record(const TaskText& text, const TaskSettings& settings, int64_t item,
                     int64_t pairs, int64_t candidates) {
  ItemRandom random(settings.seed, text.label(), item);
  const auto place = random.uniform();
  const auto gold = static_cast<int64_t>(place * static_cast<double>(pairs));
  TaskRecord record;
  record.task = text.label();
  record.group = "recall";
  record.id = std::to_string(item);
  std::vector<std::string> values;
  std::string key;
  const auto pair = [](const std::string& a, const std::string& b) {
    return "Key: " + a + "\nValue that goes with it:" + (b.empty() ? "" : " " + b);
  };
  std::string demonstrations;
  int64_t shown = 0;
  for (int64_t i = 0; i < pairs; ++i) {
    const auto name = random.uuid();
    values.push_back(random.uuid());
    record.units.push_back("    \"" + name + "\": \"" + values.back() + "\",\n");
    key = i == gold ? name : key;
    if (i != gold && shown < 2 && settings.layout == "helmet") {
      ++shown;
      demonstrations += pair(name, values.back()) + "\n\n";
    }
  }
  record.answers = {values[gold]};
  record.gold = values[gold];
  record.gold_units = {gold};
  record.depth = static_cast<double>(gold) / static_cast<double>(std::max<int64_t>(1, pairs - 1));
  const std::string task = "Give the value that goes with a key of the JSON object";
  if (settings.layout == "helmet") {
    record.lead = task + " below.\n\n{\n";
    record.query = "}\n\n" + demonstrations + pair(key, "");
  } else {
    record.query = "}\n\n" + task + " above.\n\n" + pair(key, "");
  }
  record.tokens = 32;
  record.rule = AnswerRule::kSubstring;
  record.parse_line = true;
  record.stop = {"\n"};
  values.erase(values.begin() + gold);
  record.candidates = draw_candidates(random, record.gold, std::move(values), candidates);
  return record;
}

MadeTask make_kv(const TaskText& text, const TaskSettings& settings, const Tokenizer& tokenizer) {
  const auto pairs = text.number("pairs", 0, 2);
  const auto candidates = text.number("candidates", 4, 0);
  text.no_more();
  MadeTask made{{}, settings.layout, {}, {}};
  for (int64_t item = 0; item < settings.items; ++item) {
    const auto size =
        pairs > 0
            ? pairs
            : largest_that_fits(settings.length, 2, "the task " + text.label(), [&](int64_t count) {
                return tokens_of(kv_record(text, settings, item, count, candidates), tokenizer);
              });
    made.records.push_back(kv_record(text, settings, item, size, candidates));
  }
  return made;
}

}  // namespace

TaskKind niah_task() {
  return {"niah",
          "niah[:hay=noise|needles|FILE][:keys=N][:values=N][:queries=N][:key=words|numbers|uuids]"
          "[:value=numbers|words|uuids][:depth=PERCENT][:candidates=N]",
          make_niah};
}

TaskKind kv_task() { return {"kv", "kv[:pairs=N][:candidates=N]", make_kv}; }

}  // namespace motet
