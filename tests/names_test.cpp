#include "motet/names.h"

#include <gtest/gtest.h>

#include "temporary.h"

namespace motet {
namespace {

enum class Colour { kRed, kGreen, kBlue };
constexpr Names<Colour, 2> kNames({{Colour::kRed, "red"}, {Colour::kGreen, "green"}});

TEST(Names, AreFoundBothWays) {
  EXPECT_EQ(kNames.of(Colour::kGreen), "green");
  EXPECT_EQ(kNames.named("colour", "red"), Colour::kRed);
  EXPECT_EQ(kNames.list(), "red, green");
}

TEST(Names, TellWhatHasNone) {
  EXPECT_EQ(message([] { kNames.of(Colour::kBlue); }), "motet: a value without a name: 2");
  EXPECT_EQ(message([] { kNames.named("colour", "blue"); }),
            "colour 'blue': one of red, green is wanted");
  EXPECT_EQ(kNames.find("blue"), std::nullopt);
}

}  // namespace
}  // namespace motet
