#include "motet/files/lock.h"

#include <gtest/gtest.h>

#include "motet/error.h"
#include "temporary.h"

namespace motet {
namespace {

TEST(DirectoryLock, IsOneHoldersAtATime) {
  const TemporaryDirectory directory;
  {
    const DirectoryLock lock(directory.path());
    EXPECT_TRUE(lock.held());
    EXPECT_EQ(message([&] { DirectoryLock(directory.path()); }),
              directory.path().string() +
                  ": another process is at work in it; wait, stop that one first, or choose "
                  "another directory");
  }
  EXPECT_TRUE(DirectoryLock(directory.path()).held());
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));  // nothing is left
}

TEST(DirectoryLock, NamesADirectoryThatIsNotThere) {
  const TemporaryDirectory directory;
  EXPECT_EQ(message([&] { DirectoryLock(directory / "no"); }),
            (directory / "no").string() + ": cannot be opened: No such file or directory");
}

TEST(FieldError, SaysFieldsOrWhatAProgramCallsThem) {
  const auto check = [] {
    require(false, Field("skip"), " ", -1, ": with ", Field("rows"), " it is ", 0);
  };
  EXPECT_EQ(message(check), "skip -1: with rows it is 0");
  try {
    check();
  } catch (const FieldError& error) {
    EXPECT_EQ(error.named([](std::string_view field) { return "--" + std::string(field); }),
              "--skip -1: with --rows it is 0");
  }
}

}  // namespace
}  // namespace motet
