// How a run of any training ends.

#include "motet/train/run.h"

#include <gtest/gtest.h>

#include <utility>

#include "motet/error.h"
#include "motet/files/atomic.h"
#include "motet/files/mapped.h"
#include "temporary.h"

namespace motet {
namespace {

/// A training that does nothing but count, with losses that were written down before.
class Counting : public Training {
 public:
  explicit Counting(std::vector<double> losses) : losses_(std::move(losses)) {}
  TrainStep step() override { return {.step = ++done_, .loss = 1, .tokens = done_}; }
  int64_t steps_done() const override { return done_; }
  void check() override {}
  double validate(const torch::Tensor&) const override { return losses_.at(done_); }
  void save(const std::filesystem::path& directory) const override {
    write_file(directory / "count", std::to_string(done_));
  }
  uint64_t bytes() const override { return 100; }
  void load(const std::filesystem::path& directory) override {
    done_ = std::stoll(read_file(directory / "count"));
  }
  void save_result(const std::filesystem::path& directory) const override {
    if (std::exchange(full_disk_, false)) {
      fail("no space left");
    }
    write_file(directory / "result", std::to_string(done_));
  }

  mutable bool full_disk_ = false;  // at the next result

 private:
  std::vector<double> losses_;  // of each step
  int64_t done_ = 0;
};

const std::vector<double> kLosses{5, 4, 3, 3.5, 3.2, 3.1, 2, 1, 1, 1, 1};

struct Ended {
  int64_t steps, result_step;
  std::string result;
};

Ended end_of(const std::filesystem::path& directory, int64_t patience, int64_t stop_after = -1) {
  Counting counting(kLosses);
  TrainingRun run(counting, directory,
                  {.save_every = 2,
                   .valid_every = 1,
                   .valid_rows = torch::zeros({1, 1}),
                   .patience = patience});
  const bool done = run.run(10, [&] { return run.steps_done() != stop_after; });
  return {run.steps_done(), run.result_step(),
          done ? read_file(directory / "result") : std::string()};
}

TEST(TrainingRun, EndsWhenItsPatienceDoes) {
  const TemporaryDirectory directory;
  const auto ended = end_of(directory.path(), 3);
  EXPECT_EQ(ended.steps, 5);
  EXPECT_EQ(ended.result_step, 2);
  EXPECT_EQ(ended.result, "2");
  // Once more: it is over.
  EXPECT_EQ(end_of(directory.path(), 3).result, "2");
}

TEST(TrainingRun, WithPatienceHasTheResultOfTheLowestLoss) {
  const TemporaryDirectory directory, impatient;
  const auto ended = end_of(directory.path(), 4);
  EXPECT_EQ(ended.steps, 10);
  EXPECT_EQ(ended.result, "7");  // the first of equals
  EXPECT_EQ(end_of(impatient.path(), 0).result, "10");
}

TEST(TrainingRun, StoppedAndResumedEndsTheSame) {
  const TemporaryDirectory directory;
  EXPECT_EQ(end_of(directory.path(), 3, 3).result, "");
  const auto ended = end_of(directory.path(), 3);
  EXPECT_EQ(ended.steps, 5);
  EXPECT_EQ(ended.result, "2");
}

TEST(TrainingRun, AResultThatCouldNotBeKeptIsKeptLater) {
  const TemporaryDirectory directory;
  const std::vector<double> rising{1, 2, 3, 4};
  const TrainingRunOptions options{
      .valid_every = 1, .valid_rows = torch::zeros({1, 1}), .patience = 2};
  Counting first(rising);
  first.full_disk_ = true;
  EXPECT_EQ(
      message([&] { TrainingRun(first, directory.path(), options).run(10, [] { return true; }); }),
      "no space left");
  Counting again(rising);
  TrainingRun run(again, directory.path(), options);
  EXPECT_TRUE(run.run(10, [] { return true; }));
  EXPECT_EQ(run.result_step(), 0);
  EXPECT_EQ(read_file(directory / "result"), "0");
}

TEST(TrainingRun, RefusesNegativePatience) {
  EXPECT_EQ(message([] { TrainingRunOptions{.patience = -1}.validate(); }),
            "patience -1: 0 or more validations are wanted");
}

}  // namespace
}  // namespace motet
