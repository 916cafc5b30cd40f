// A task of one's own, registered by name: numbers stand in the units, and their sum is asked for.
#include <iostream>

#include "motet/eval/task.h"

namespace {

motet::MadeTask make_sums(const motet::TaskText& text, const motet::TaskSettings& settings,
                          const motet::Tokenizer&) {
  const auto terms = text.number("terms", 3);
  text.no_more();
  motet::MadeTask made{{}, settings.layout, {}, {}};
  for (int64_t item = 0; item < settings.items; ++item) {
    motet::ItemRandom random(settings.seed, text.label(), item);
    motet::TaskRecord record{.task = text.label(), .id = std::to_string(item)};
    int64_t sum = 0;
    for (int64_t i = 0; i < terms; ++i) {
      const auto term = random.below(10);
      record.units.push_back("Number " + std::to_string(i + 1) + ": " + std::to_string(term) +
                             "\n");
      sum += term;
    }
    record.query = "Sum of all numbers:";
    record.answers = {std::to_string(sum)};
    record.rule = motet::AnswerRule::kExact;
    record.parse_line = true;
    made.records.push_back(record);
  }
  return made;
}

const bool registered = motet::register_task({"sums", "sums[:terms=N]", make_sums});

}  // namespace

int main(int argc, char** argv) try {
  motet::require(argc == 2, "wanted: own_task MODEL, whose tokenizer counts");
  const auto tokenizer = motet::Tokenizer::load(argv[1]);
  const auto items = motet::make_task("sums:terms=2", {.items = 1}, tokenizer);
  std::cout << items.records[0].units[0] << items.records[0].units[1] << items.records[0].query
            << " " << items.records[0].gold << "\n";
} catch (const std::exception& error) {
  std::cerr << "own_task: " << error.what() << '\n';
  return 1;
}
