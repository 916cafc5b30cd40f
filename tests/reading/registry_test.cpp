#include "motet/reading/registry.h"

#include <gtest/gtest.h>

#include "motet/reading/weigh.h"
#include "temporary.h"

namespace motet {
namespace {

/// A kind for as long as a test needs it: the registry forgets nothing.
ReadingKind counted(const std::string& name) {
  return {.name = name, .usage = name + "[:C[:WORDS]]", .make = [](const ReadingText& text) {
            text.at_most(2);
            return std::make_shared<Discount>(text.number(0, 0.0) +
                                              static_cast<double>(text.words(1, '+').size()));
          }};
}

TEST(Registry, HasReadingsFromOutsideTheLibrary) {
  EXPECT_EQ(find_reading("counted"), nullptr);
  EXPECT_TRUE(register_reading(counted("counted")));
  EXPECT_EQ(reading_kinds().back().name, "counted");
  EXPECT_EQ(reading_named("counted")->name(), "discount(c=0)");
  EXPECT_EQ(reading_named("counted:0.5")->name(), "discount(c=0.5)");
  EXPECT_EQ(reading_named("counted:0.5:a+b")->name(), "discount(c=2.5)");
  EXPECT_NE(reading_usages().find("] and counted[:C[:WORDS]]"), std::string::npos)
      << reading_usages();
}

TEST(Registry, ReplacesAKindOfTheSameName) {
  register_reading(counted("replaced"));
  const auto count = reading_kinds().size();
  auto other = counted("replaced");
  other.usage = "replaced";
  register_reading(other);
  EXPECT_EQ(reading_kinds().size(), count);
  EXPECT_EQ(find_reading("replaced")->usage, "replaced");
}

TEST(Registry, ErrorsSayWhatThereIs) {
  const auto there = "; there are " + reading_usages();
  EXPECT_EQ(message([] { reading_named("near"); }), "the reading 'near': no such name" + there);
  EXPECT_EQ(message([] { reading_named("soft:cold"); }),
            "the reading 'soft:cold': 'cold' is not a number" + there);
  EXPECT_EQ(message([] { reading_named("soft:1:2"); }),
            "the reading 'soft:1:2': 2 options" + there);
  EXPECT_EQ(message([] { reading_named("select:2:heads+words"); }),
            "the reading 'select:2:heads+words': 'words' is not a dimension" + there);
  EXPECT_EQ(message([] { register_reading({.name = "a:b"}); }),
            "motet::register_reading: the name 'a:b'; a name without a colon is wanted");
  EXPECT_EQ(message([] { register_reading({.name = "a"}); }),
            "motet::register_reading: a has no `make`");
}

}  // namespace
}  // namespace motet
