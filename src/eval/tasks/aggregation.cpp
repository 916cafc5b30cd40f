// vt, cwe and fwe: what has to be put together from all over a context. After RULER (Hsieh et al.
// 2024, arXiv 2404.06654), in sentences of our own.

#include <algorithm>
#include <cmath>

#include "eval/tasks/shipped.h"

namespace motet {
namespace {

std::string joined(const std::vector<std::string>& words, const std::string& by) {
  std::string text;
  for (const auto& word : words) {
    text += (text.empty() ? "" : by) + word;
  }
  return text;
}

/// Where an instruction stands: before the context, or behind it.
void ask(TaskRecord& record, const TaskSettings& settings, const std::string& instruction,
         const std::string& example, const std::string& question) {
  if (settings.layout == "helmet") {
    record.lead = example + instruction + "\n\n";
    record.query = "\n" + question;
  } else {
    record.query = "\n" + instruction + "\n" + question;
  }
}

/// Makes items, each as large as the length allows.
template <class Make>
MadeTask make_items(const TaskText& text, const TaskSettings& settings, const Tokenizer& tokenizer,
                    int64_t step, const Make& make) {
  MadeTask made{{}, settings.layout, {}, {}};
  for (int64_t item = 0; item < settings.items; ++item) {
    const auto size =
        largest_that_fits(settings.length, step, "the task " + text.label(),
                          [&](int64_t lines) { return tokens_of(make(item, lines), tokenizer); });
    made.records.push_back(make(item, size));
  }
  return made;
}

TaskRecord record_of(const TaskText& text, int64_t item) {
  TaskRecord record;
  record.task = text.label();
  record.group = "aggregation";
  record.id = std::to_string(item);
  record.rule = AnswerRule::kFound;
  record.stop = {"\n"};
  return record;
}

std::string variable(ItemRandom& random) {
  std::string name;
  for (int i = 0; i < 5; ++i) {
    name += static_cast<char>('A' + random.below(26));
  }
  return name;
}

/// Chains of variables among `lines` lines of noise. The first chain is asked for.
TaskRecord vt_record(const TaskText& text, const TaskSettings& settings, int64_t item,
                     int64_t lines, int64_t chains, int64_t hops, bool with_example) {
  ItemRandom random(settings.seed, text.label(), item);
  auto record = record_of(text, item);
  std::string value;
  std::set<std::string> names;
  struct Statement {
    double place;
    int64_t chain;
    std::string text;
  };
  std::vector<Statement> statements;
  for (int64_t chain = 0; chain < chains; ++chain) {
    const auto number = random.digits(5);
    std::string before;
    std::vector<double> at;
    for (int64_t hop = 0; hop <= hops; ++hop) {
      at.push_back(random.uniform());
    }
    std::sort(at.begin(), at.end());  // a variable stands before those that take its value
    for (int64_t hop = 0; hop <= hops; ++hop) {
      auto name = variable(random);
      while (!names.insert(name).second) {
        name = variable(random);
      }
      statements.push_back({at[hop] * static_cast<double>(lines), chain,
                            "VAR " + name + " = " + (hop == 0 ? number : "VAR " + before)});
      before = name;
      if (chain == 0) {
        record.answers.push_back(name);
        value = number;
      }
    }
  }
  std::stable_sort(statements.begin(), statements.end(),
                   [](const auto& a, const auto& b) { return a.place < b.place; });
  std::size_t next = 0;
  for (int64_t i = 0; i <= lines; ++i) {
    for (; next < statements.size() && std::llround(statements[next].place) <= i; ++next) {
      if (statements[next].chain == 0) {
        record.gold_units.push_back(static_cast<int64_t>(record.units.size()));
      }
      record.units.push_back(statements[next].text + "\n");
    }
    if (i < lines) {
      record.units.push_back(noise_line(random) + "\n");
    }
  }
  record.gold = joined(record.answers, " ");
  record.tokens = 30;
  const auto question =
      "Which variables have the value " + value + "? There are " + std::to_string(hops + 1) + ":";
  std::string example;
  if (with_example) {
    const auto one = vt_record(text, settings, -1 - item, 5, chains, hops, false);
    example = one.lead + joined(one.units, "") + one.query + " " + one.gold + "\n\n";
  }
  ask(record, settings,
      std::string("Variables get values in the text ") +
          (settings.layout == "helmet" ? "below" : "above") +
          ", some of them from other variables.",
      example, question);
  return record;
}

MadeTask make_vt(const TaskText& text, const TaskSettings& settings, const Tokenizer& tokenizer) {
  const auto chains = text.number("chains", 1), hops = text.number("hops", 4);
  text.no_more();
  return make_items(text, settings, tokenizer, 5, [&](int64_t item, int64_t lines) {
    return vt_record(text, settings, item, lines, chains, hops, settings.layout == "helmet");
  });
}

/// A numbered list of words; ten of them come more often than the others.
TaskRecord cwe_record(const TaskText& text, const TaskSettings& settings, int64_t item,
                      int64_t entries, int64_t often, int64_t seldom) {
  ItemRandom random(settings.seed, text.label(), item);
  constexpr int64_t kCommon = 10;
  const auto others = std::max<int64_t>(1, (entries - kCommon * often) / seldom);
  const auto words = draw_words(random, kCommon + others);
  std::vector<std::string> list;
  for (int64_t i = 0; i < static_cast<int64_t>(words.size()); ++i) {
    list.insert(list.end(), i < kCommon ? often : seldom, words[i]);
  }
  random.shuffle(list);
  auto record = record_of(text, item);
  for (std::size_t i = 0; i < list.size(); ++i) {
    record.units.push_back(std::to_string(i + 1) + ". " + list[i] + "\n");
  }
  record.answers.assign(words.begin(), words.begin() + kCommon);
  record.gold = joined(record.answers, " ");
  record.tokens = 120;
  const auto helmet = settings.layout == "helmet";
  ask(record, settings,
      std::string("Some words of the numbered list ") + (helmet ? "below" : "above") +
          " stand in it more often than others.",
      "", "The 10 words that stand in it most often:");
  return record;
}

MadeTask make_cwe(const TaskText& text, const TaskSettings& settings, const Tokenizer& tokenizer) {
  // RULER's numbers; shorter lists have lower counts.
  const bool is_long = settings.length >= 4096;
  const auto often = text.number("often", is_long ? 30 : settings.length >= 1024 ? 10 : 4);
  const auto seldom = text.number("seldom", is_long ? 3 : 1);
  text.no_more();
  if (often <= seldom) {
    text.fail("often is not above seldom");
  }
  return make_items(text, settings, tokenizer, 10, [&](int64_t item, int64_t entries) {
    return cwe_record(text, settings, item, entries + 10 * often, often, seldom);
  });
}

/// Coded words, whose counts follow zeta(alpha). The most frequent one is shown as dots.
TaskRecord fwe_record(const TaskText& text, const TaskSettings& settings, int64_t item,
                      int64_t lines) {
  ItemRandom random(settings.seed, text.label(), item);
  constexpr int64_t kWords = 50, kLine = 12;
  std::vector<std::string> words;
  std::set<std::string> drawn;
  while (static_cast<int64_t>(words.size()) < kWords) {
    std::string word;
    for (int i = 0; i < 6; ++i) {
      word += static_cast<char>('a' + random.below(26));
    }
    if (drawn.insert(word).second) {
      words.push_back(word);
    }
  }
  words[0] = "......";
  // Counts in place of draws, so that ranks 2 to 4 are what they should be.
  const auto total = lines * kLine;
  double sum = 0;
  for (int64_t rank = 1; rank <= kWords; ++rank) {
    sum += 1 / static_cast<double>(rank * rank);
  }
  std::vector<std::string> all;
  for (int64_t rank = kWords; rank >= 1; --rank) {
    const auto count =
        rank == 1
            ? total - static_cast<int64_t>(all.size())
            : std::llround(static_cast<double>(total) / (sum * static_cast<double>(rank * rank)));
    all.insert(all.end(), std::max<int64_t>(0, count), words[rank - 1]);
  }
  random.shuffle(all);
  auto record = record_of(text, item);
  for (std::size_t i = 0; i < all.size(); i += kLine) {
    const std::vector<std::string> line(
        all.begin() + i, all.begin() + std::min(all.size(), i + static_cast<std::size_t>(kLine)));
    record.units.push_back(joined(line, " ") + "\n");
  }
  record.answers.assign(words.begin() + 1, words.begin() + 4);
  record.gold = joined(record.answers, " ");
  record.tokens = 50;
  const auto helmet = settings.layout == "helmet";
  ask(record, settings,
      std::string("Some words of the coded text ") + (helmet ? "below" : "above") +
          " come more often than others. Dots are no words.",
      "", "The 3 words that come most often:");
  return record;
}

MadeTask make_fwe(const TaskText& text, const TaskSettings& settings, const Tokenizer& tokenizer) {
  text.no_more();
  return make_items(text, settings, tokenizer, 5, [&](int64_t item, int64_t lines) {
    return fwe_record(text, settings, item, lines);
  });
}

}  // namespace

TaskKind vt_task() { return {"vt", "vt[:chains=N][:hops=N]", make_vt}; }
TaskKind cwe_task() { return {"cwe", "cwe[:often=N][:seldom=N]", make_cwe}; }
TaskKind fwe_task() { return {"fwe", "fwe", make_fwe}; }

}  // namespace motet
