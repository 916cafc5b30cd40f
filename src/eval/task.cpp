#include "motet/eval/task.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "eval/tasks/shipped.h"
#include "motet/files/sha256.h"

namespace motet {
namespace {

int64_t registrations = 0;

std::vector<TaskKind>& kinds() {
  static std::vector<TaskKind> known{record_task(), icl_task(),    kv_task(),     niah_task(),
                                     vt_task(),     cwe_task(),    fwe_task(),    qa_task(),
                                     ruler_task(),  helmet_task(), kvpress_task()};
  return known;
}

/// What a file is called: as its folder where its own name begins with `validation`.
std::string called(const std::filesystem::path& file) {
  const auto stem = file.stem().string();
  const auto folder = file.lexically_normal().parent_path().filename().string();
  return !stem.starts_with("validation") || folder.empty() || folder == ".." ? stem : folder;
}

/// Gives records the name that results call them by.
void rename(std::vector<TaskRecord>& records, const TaskText& text, bool named) {
  std::set<std::string> tasks;
  for (const auto& record : records) {
    tasks.insert(record.task);
  }
  for (auto& record : records) {
    if (named ? tasks.size() == 1 : record.task == text.label()) {
      record.task = text.task();
    } else if (named) {
      record.task = text.task() + ":" + record.task;
    }
  }
}

/// Says of how many records a reference normalises to nothing: every output holds that.
void note_empty_references(MadeTask& made) {
  std::string first;
  int64_t count = 0;
  for (const auto& record : made.records) {
    if (record.rule != AnswerRule::kSubstring) {
      continue;
    }
    for (const auto& answer : record.answers) {
      if (normalized_answer(answer).empty()) {
        first = ++count == 1 ? record.task + " " + record.id + ", '" + answer + "'" : first;
        break;
      }
    }
  }
  if (count > 0) {
    made.notes.push_back(
        std::to_string(count) +
        " items have a reference of nothing but articles and punctuation (the first: " + first +
        "), which every output holds by the rule substring");
  }
}

/// Figures of a task are joined, so they have to be of one kind.
void require_uniform(const std::string& text, const std::vector<TaskRecord>& records) {
  std::map<std::string, const TaskRecord*> first;
  for (const auto& record : records) {
    const auto& one = *first.emplace(record.task, &record).first->second;
    const auto check = [&](const char* what, std::string_view a, std::string_view b) {
      require(a == b, "the task '", text, "': the items ", one.id, " and ", record.id, " of ",
              record.task, " have two ", what, ", '", a, "' and '", b,
              "'; figures of a task are joined, so a task for each is wanted");
    };
    check("rules", name_of(one.rule), name_of(record.rule));
    check("groups", one.group, record.group);
  }
}

}  // namespace

TaskText::TaskText(std::string_view text, std::string usage)
    : text_(text), usage_(std::move(usage)) {
  std::vector<std::string> parts;
  for (std::size_t first = 0; first <= text.size();) {
    const auto last = std::min(text.find(':', first), text.size());
    parts.emplace_back(text.substr(first, last - first));
    first = last + 1;
  }
  name_ = label_ = task_ = parts[0];
  for (std::size_t i = 1; i < parts.size(); ++i) {
    const auto equals = parts[i].find('=');
    const auto option = parts[i].substr(0, equals == std::string::npos ? 0 : equals + 1);
    const std::filesystem::path value = parts[i].substr(option.size());
    if (option != "name=") {
      label_ += ':' + option + value.stem().string();
      task_ += ':' + option + (option.empty() ? called(value) : value.stem().string());
    }
    if (option.empty()) {
      words_.push_back(parts[i]);
    } else if (!options_.emplace(parts[i].substr(0, equals), value.string()).second) {
      fail("'" + parts[i].substr(0, equals) + "' is given twice");
    }
  }
  short_name_ = has_file() ? called(words_[0]) : "";
  if (const auto* name = find("name")) {
    if (name->empty()) {
      fail("name is empty; what results call the task is wanted");
    }
    task_ = short_name_ = *name;
  }
}

std::filesystem::path TaskText::file() const {
  file_asked_ = true;
  if (words_.size() != 1 || words_[0].empty()) {
    fail(words_.size() > 1 ? "'" + words_[1] + "' is one word too many" : "a file is wanted");
  }
  return words_[0];
}

const std::string* TaskText::find(const std::string& option) const {
  asked_.insert(option);
  const auto found = options_.find(option);
  return found == options_.end() ? nullptr : &found->second;
}

int64_t TaskText::number(const std::string& option, int64_t otherwise, int64_t least) const {
  const auto* text = find(option);
  if (text == nullptr) {
    return otherwise;
  }
  int64_t value = 0;
  const auto* end = text->data() + text->size();
  const auto [last, error] = std::from_chars(text->data(), end, value);
  if (error != std::errc() || last != end || value < least) {
    fail(option + " is '" + *text + "'; a whole number of at least " + std::to_string(least) +
         " is wanted");
  }
  return value;
}

std::string TaskText::word(const std::string& option, const std::string& otherwise) const {
  const auto* text = find(option);
  return text == nullptr ? otherwise : *text;
}

std::string TaskText::one_of(const std::string& option, const std::vector<std::string>& words,
                             const std::optional<std::string>& otherwise) const {
  const auto* given = find(option);
  if (given == nullptr) {
    return otherwise.value_or(words[0]);
  }
  const auto& value = *given;
  if (std::find(words.begin(), words.end(), value) == words.end()) {
    std::string all;
    for (const auto& word : words) {
      all += (all.empty() ? "" : ", ") + word;
    }
    fail(option + " is '" + value + "'; one of " + all + " is wanted");
  }
  return value;
}

void TaskText::no_more() const {
  if (!words_.empty() && !file_asked_) {
    fail("'" + words_[0] + "' is no option; they are written option=value");
  }
  for (const auto& [option, unused] : options_) {
    if (!asked_.contains(option)) {
      fail("it has no option '" + option + "'");
    }
  }
}

void TaskText::fail(const std::string& why) const {
  motet::fail("the task '", text_, "': ", why, "; it is written ", usage_);
}

ItemRandom::ItemRandom(int64_t seed, const std::string& task, int64_t item) {
  const auto digest =
      sha256(std::to_string(seed) + '\n' + task + '\n' + std::to_string(item)).substr(0, 16);
  random_.seed(std::stoull(digest, nullptr, 16));
}

int64_t ItemRandom::below(int64_t limit) {
  require(limit >= 1 && limit <= (int64_t{1} << 31), "motet::ItemRandom: below ", limit);
  // The top 32 bits, scaled: the same numbers on every system.
  return static_cast<int64_t>(((random_() >> 32) * static_cast<uint64_t>(limit)) >> 32);
}

double ItemRandom::uniform() { return static_cast<double>(random_() >> 11) * 0x1p-53; }

std::string ItemRandom::digits(int64_t count) {
  std::string text(1, static_cast<char>('1' + below(9)));
  while (static_cast<int64_t>(text.size()) < count) {
    text += static_cast<char>('0' + below(10));
  }
  return text;
}

std::string ItemRandom::uuid() {
  std::string text = "xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx";
  for (auto& c : text) {
    c = c == 'x' ? "0123456789abcdef"[below(16)] : c == 'y' ? "89ab"[below(4)] : c;
  }
  return text;
}

int64_t tasks_registered() { return registrations; }

bool register_task(TaskKind kind) {
  require(!kind.name.empty() && kind.name.find(':') == std::string::npos,
          "motet::register_task: the name '", kind.name, "'; a name without a colon is wanted");
  require(kind.make != nullptr, "motet::register_task: ", kind.name, " has no `make`");
  const auto same = std::find_if(kinds().begin(), kinds().end(),
                                 [&](const TaskKind& known) { return known.name == kind.name; });
  if (same != kinds().end()) {
    *same = std::move(kind);
  } else {
    kinds().push_back(std::move(kind));
  }
  ++registrations;
  return true;
}

const std::vector<TaskKind>& task_kinds() { return kinds(); }

std::string task_usages() {
  std::string text;
  for (const auto& kind : kinds()) {
    const bool first = &kind == &kinds().front(), last = &kind == &kinds().back();
    text += (first ? "" : last ? " and " : ", ") + kind.usage;
  }
  return text + "; [:name=NAME] behind any of them is what results call it";
}

MadeTask make_task(const std::string& text, const TaskSettings& settings,
                   const Tokenizer& tokenizer) {
  const auto name = text.substr(0, text.find(':'));
  const auto kind = std::find_if(kinds().begin(), kinds().end(),
                                 [&](const TaskKind& known) { return known.name == name; });
  require(kind != kinds().end(), "the task '", text, "': no such name; there are ", task_usages());
  const TaskText parsed(text, kind->usage + "[:name=NAME]");
  auto made = kind->make(parsed, settings, tokenizer);
  require(!made.records.empty(), "the task '", text, "' has no item");
  std::map<std::string, int64_t> counts;  // of each task of a file
  made.left_out += static_cast<int64_t>(std::erase_if(made.records, [&](const TaskRecord& record) {
    return ++counts[record.task] > settings.items;
  }));
  for (auto& record : made.records) {
    if (record.gold.empty() && !record.answers.empty()) {
      record.gold = record.answers[0];
    }
  }
  rename(made.records, parsed, !parsed.word("name", "").empty());
  require_uniform(text, made.records);
  note_empty_references(made);
  if (made.left_out > 0 && !made.files.empty()) {
    const auto all = made.left_out + static_cast<int64_t>(made.records.size());
    made.notes.push_back(made.files[0].string() + ": " + std::to_string(made.left_out) + " of " +
                         std::to_string(all) + " items are left out; `items` says how many of a " +
                         "task are read, " + std::to_string(settings.items));
  }
  return made;
}

void require_distinct_tasks(const std::string& text, const MadeTask& made,
                            std::map<std::string, std::string>& owners) {
  std::set<std::string> tasks;
  for (const auto& record : made.records) {
    tasks.insert(record.task);
  }
  for (const auto& task : tasks) {
    const auto [owner, is_new] = owners.emplace(task, text);
    require(is_new, "the tasks '", owner->second, "' and '", text, "' would both be '", task,
            "' in the results, and joined; ",
            text.find(":name=") == std::string::npos ? text + ":name=NAME" : "another name=",
            " gives the second a name of its own");
  }
}

int64_t largest_that_fits(int64_t length, int64_t step, const std::string& where,
                          const std::function<int64_t(int64_t size)>& tokens_of, int64_t most) {
  const auto least = tokens_of(step);
  require(least <= length, where, ": its smallest prompt has ", least,
          " tokens with its output, more than ", Field("length"), " ", length);
  int64_t fits = 1, over = 2;  // steps
  while (over <= most / step && tokens_of(over * step) <= length) {
    fits = over;
    over *= 2;
  }
  over = std::min(over, std::max(fits, most / step) + 1);
  while (over - fits > 1) {
    const auto middle = (fits + over) / 2;
    (tokens_of(middle * step) <= length ? fits : over) = middle;
  }
  return fits * step;
}

int64_t tokens_of(const TaskRecord& record, const Tokenizer& tokenizer) {
  const auto count = [&](const std::string& text) {
    return static_cast<int64_t>(tokenizer.encode(text).ids.size());
  };
  auto sum = count(record.lead) + count(record.query) + record.tokens;
  for (const auto& unit : record.units) {
    sum += count(unit);
  }
  return sum;
}

}  // namespace motet
