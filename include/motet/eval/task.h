#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "motet/error.h"
#include "motet/eval/record.h"
#include "motet/text/tokenizer.h"

namespace motet {

/// A task as command lines have it, `niah:keys=4:hay=needles`: a name, words without `=` (a file,
/// as a rule) and options. Every error names the whole text and the task's usage. The option
/// `name`, which every task has, says what results call it.
class TaskText {
 public:
  /// `text` with its name; `usage` is what messages say of the task.
  TaskText(std::string_view text, std::string usage);

  const std::string& text() const { return text_; }  ///< the whole of it
  /// The same with names of files in place of paths, without extensions, and without `name`: what
  /// random numbers are drawn by. Records that are called so are renamed to `task`.
  const std::string& label() const { return label_; }
  /// What results call the task: `name`, or the label, in which a file whose name begins with
  /// `validation` has its folder's name, as RULER and HELMET lay their files out.
  const std::string& task() const { return task_; }
  /// `name`, or what `task` calls the file: `vt` of `ruler:data/vt/validation.jsonl:tokens=9`.
  /// Empty where there is neither.
  const std::string& short_name() const { return short_name_; }
  const std::string& name() const { return name_; }  ///< before the first colon
  /// The only word without `=`. Throws Error where there is none or another.
  std::filesystem::path file() const;
  /// Whether there is a single word, as `file` wants it.
  bool has_file() const { return words_.size() == 1 && !words_[0].empty(); }
  /// An option, or `otherwise` where it is left out. Throws Error for what is no whole number.
  int64_t number(const std::string& option, int64_t otherwise, int64_t least = 1) const;
  /// An option as it was written, or `otherwise`.
  std::string word(const std::string& option, const std::string& otherwise) const;
  /// The same, one of some; where it is left out `otherwise`, or the first of them. Throws Error
  /// for another.
  std::string one_of(const std::string& option, const std::vector<std::string>& words,
                     const std::optional<std::string>& otherwise = {}) const;
  /// Throws Error for options that were not asked for so far, and for words where `file` was not.
  void no_more() const;
  /// Throws Error: the text, why it cannot be, and the usage.
  [[noreturn]] void fail(const std::string& why) const;

 private:
  const std::string* find(const std::string& option) const;

  std::string text_, name_, label_, task_, short_name_, usage_;
  std::vector<std::string> words_;
  std::map<std::string, std::string> options_;
  mutable std::set<std::string> asked_;
  mutable bool file_asked_ = false;
};

/// Random numbers of one item: the same for the same seed, task and item on every machine, however
/// many items there are.
class ItemRandom {
 public:
  /// Those of an item; -1 is what all items of the task share.
  ItemRandom(int64_t seed, const std::string& task, int64_t item);
  int64_t below(int64_t limit);       ///< 0 to limit - 1
  double uniform();                   ///< 0 to 1
  std::string digits(int64_t count);  ///< that do not begin with 0
  std::string uuid();                 ///< of version 4

  /// Fisher-Yates.
  template <class T>
  void shuffle(std::vector<T>& values) {
    for (auto i = static_cast<int64_t>(values.size()); i > 1; --i) {
      std::swap(values[i - 1], values[below(i)]);
    }
  }

 private:
  std::mt19937_64 random_;
};

/// What items are made for.
struct TaskSettings {
  int64_t length = 2048;       ///< of prompt and output together, tokens
  int64_t items = 50;          ///< how many; fewer where a file has fewer
  int64_t seed = 42;           ///< of what is drawn
  std::string layout = "pce";  ///< of the prompt: pce or helmet
};

/// What a maker of items gives.
struct MadeTask {
  std::vector<TaskRecord> records;           ///< with one `task`, or several
  std::string layout;                        ///< of their prompts
  std::vector<std::filesystem::path> files;  ///< that they were made from
  std::vector<std::string> notes;            ///< of what a user may not expect
  int64_t left_out = 0;                      ///< items of the files, beyond those that are wanted
};

/// Makes items; lengths are counted by the tokenizer. Throws Error.
using MakeTask = std::function<MadeTask(const TaskText&, const TaskSettings&, const Tokenizer&)>;

/// A kind of task, to be had by name: `--tasks` of motet-eval takes it, and `--help` names it.
struct TaskKind {
  std::string name;   ///< before the first colon: `niah`
  std::string usage;  ///< with its options: `niah[:keys=K]`
  MakeTask make;      ///< of its items
};

/// Makes a kind of task known under its name; one that is there is replaced. Not to be called while
/// tasks are looked up. Returns true, so that a namespace may register with a constant. Throws
/// Error for a name that is empty or has a colon.
bool register_task(TaskKind kind);

/// All kinds, those that come with the library first.
const std::vector<TaskKind>& task_kinds();

/// The usages of all kinds, for messages.
std::string task_usages();

/// Items of a task by its text, of each task in it at most as many as the settings say; a note says
/// how many of a file are left out. `name` renames them: to NAME, or to `NAME:TASK` each where they
/// are of several tasks. A record without `gold` gets the first of its answers. Throws Error for a
/// text that names no task, with the usages of all, and for a task of two rules or groups.
MadeTask make_task(const std::string& text, const TaskSettings& settings,
                   const Tokenizer& tokenizer);

/// Notes in `owners` whose tasks an entry of a run makes: `text`, by the name of each. Throws Error
/// where another entry has made one of them, which names both and says how to go on.
void require_distinct_tasks(const std::string& text, const MadeTask& made,
                            std::map<std::string, std::string>& owners);

/// The largest `size` for which `tokens_of` is at most `length`, a multiple of `step`: at least one
/// step, and otherwise at most `most`. Throws Error, which begins with `where`, where a single step
/// is too long already.
int64_t largest_that_fits(int64_t length, int64_t step, const std::string& where,
                          const std::function<int64_t(int64_t size)>& tokens_of,
                          int64_t most = int64_t{1} << 40);

/// Tokens of a record's prompt, each unit by itself, and of its output.
int64_t tokens_of(const TaskRecord& record, const Tokenizer& tokenizer);

}  // namespace motet
