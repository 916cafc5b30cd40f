#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "motet/eval/task.h"

namespace motet {

// The tasks that come with the library.
TaskKind record_task();
TaskKind icl_task();
TaskKind kv_task();
TaskKind niah_task();
TaskKind vt_task();
TaskKind cwe_task();
TaskKind fwe_task();
TaskKind qa_task();
TaskKind ruler_task();
TaskKind helmet_task();
TaskKind kvpress_task();

/// How often register_task was called.
int64_t tasks_registered();

/// `count` words of our own list, each once, in an order of the item's; pairs of an adjective and a
/// noun where there are more wanted than it has.
std::vector<std::string> draw_words(ItemRandom& random, int64_t count);
/// The same, pairs only: `quiet-harbor`. Throws Error where more than kPairs are wanted.
std::vector<std::string> draw_pairs(ItemRandom& random, int64_t count);
inline constexpr int64_t kPairs = 15360;

/// Lines of noise that say nothing, such as stand around needles.
std::string noise_line(ItemRandom& random);

/// Each text of a book or an essay up to its full stops, with what precedes each; white space at
/// the end is a part of the last. Nothing is lost, unless there is nothing but white space.
std::vector<std::string> sentences_of(const std::string& text);

}  // namespace motet
