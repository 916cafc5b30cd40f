#include "motet/train/run.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "motet/error.h"
#include "motet/files/atomic.h"
#include "motet/files/mapped.h"

namespace motet {

using nlohmann::ordered_json;

namespace {

constexpr const char* kBest = "best";

}  // namespace

void TrainingRunOptions::validate() const {
  require(save_every >= 1, Field("save_every"), " ", save_every, ": at least 1 is wanted");
  require(valid_every >= 1, Field("valid_every"), " ", valid_every, ": at least 1 is wanted");
  require(patience >= 0, Field("patience"), " ", patience, ": 0 or more validations are wanted");
}

TrainingRun::TrainingRun(Training& trainer, std::filesystem::path directory,
                         TrainingRunOptions options)
    : trainer_(trainer),
      directory_(std::move(directory)),
      options_(std::move(options)),
      checkpoints_(directory_) {
  options_.validate();
  checkpoints_.clean();
  if (const auto last = checkpoint()) {
    trainer_.load(*last);
  }
  log_.emplace(directory_ / "log.jsonl", trainer_.steps_done());
  if (options_.valid_rows.defined()) {
    valid_.emplace(directory_ / "valid.jsonl", trainer_.steps_done());
  }
}

std::optional<std::filesystem::path> TrainingRun::checkpoint() const {
  const auto step = checkpoints_.last();
  return step ? std::optional(checkpoints_.path(*step)) : std::nullopt;
}

bool TrainingRun::run(int64_t steps, const std::function<bool()>& go_on,
                      const std::function<void(const TrainingStatus&)>& report) {
  const auto due = [&](int64_t every) {
    return trainer_.steps_done() % every == 0 || trainer_.steps_done() == steps;
  };
  if (valid_ && valid_->lines().empty()) {
    validate();
  }
  while (trainer_.steps_done() < steps && !is_out_of_patience()) {
    if (go_on && !go_on()) {
      if (trainer_.steps_done() > checkpoints_.last().value_or(0)) {
        save();
      }
      return false;
    }
    const auto done = trainer_.step();
    log_->add({{"step", done.step},
               {"loss", done.loss},
               {"penalty", done.penalty ? ordered_json(*done.penalty) : ordered_json()},
               {"weight", done.weight},
               {"lr", done.learning_rate},
               {"gradient_norm", done.gradient_norm},
               {"tokens", done.tokens}});
    if (valid_ && due(options_.valid_every)) {
      validate();
    }
    if (due(options_.save_every)) {
      save();
    }
    if (report) {
      report({done,
              valid_ ? std::optional(valid_->lines().back()["loss"].get<double>()) : std::nullopt});
    }
  }
  if (options_.patience > 0 && valid_) {
    take_best();
  } else {
    trainer_.check();
    save_result(directory_);
  }
  return true;
}

void TrainingRun::save_result(const std::filesystem::path& directory) const {
  require_space(directory, trainer_.bytes() / 3 + copied_bytes());
  copy_files(directory);
  trainer_.save_result(directory);
}

int64_t TrainingRun::result_step() const {
  if (options_.patience == 0 || !valid_ || valid_->lines().empty()) {
    return trainer_.steps_done();
  }
  const auto& lines = valid_->lines();
  const auto best = std::min_element(lines.begin(), lines.end(), [](const auto& a, const auto& b) {
    return a["loss"].template get<double>() < b["loss"].template get<double>();
  });
  return (*best)["step"].get<int64_t>();
}

bool TrainingRun::is_out_of_patience() const {
  if (options_.patience == 0 || !valid_) {
    return false;
  }
  const auto best = result_step();
  const auto& lines = valid_->lines();
  return options_.patience <= std::count_if(lines.begin(), lines.end(), [&](const auto& line) {
           return line["step"].template get<int64_t>() > best;
         });
}

void TrainingRun::take_best() const {
  const auto best = directory_ / kBest;
  require(std::filesystem::is_directory(best), best.string(),
          ": the result of the lowest validation is gone; begin the run anew");
  for (const auto& file : std::filesystem::directory_iterator(best)) {
    write_file(directory_ / file.path().filename(), read_file(file.path()));
  }
}

void TrainingRun::validate() {
  const auto loss = trainer_.validate(options_.valid_rows);
  const auto& lines = valid_->lines();
  const bool best = std::all_of(lines.begin(), lines.end(), [&](const auto& line) {
    return loss < line["loss"].template get<double>();
  });
  if (options_.patience > 0 && best) {
    trainer_.check();
    std::filesystem::remove_all(directory_ / kBest);  // with what a killed run left half-written
    std::filesystem::create_directories(directory_ / kBest);
    save_result(directory_ / kBest);
  }
  // Last: a line that is there has its result.
  valid_->add({{"step", trainer_.steps_done()}, {"loss", loss}});
}

void TrainingRun::save() {
  trainer_.check();
  log_->flush();  // a checkpoint's steps are always in the log
  if (valid_) {
    valid_->flush();
  }
  checkpoints_.save(trainer_.steps_done(), trainer_.bytes() + copied_bytes(),
                    [&](const std::filesystem::path& directory) {
                      trainer_.save(directory);
                      copy_files(directory);
                    });
}

void TrainingRun::copy_files(const std::filesystem::path& directory) const {
  for (const auto& path : options_.beside) {
    write_file(directory / path.filename(), read_file(path));
  }
}

uint64_t TrainingRun::copied_bytes() const {
  uint64_t bytes = 0;
  for (const auto& path : options_.beside) {
    std::error_code error;
    const auto size = std::filesystem::file_size(path, error);
    require(!error, path.string(), ": cannot be copied beside the model: ", error.message());
    bytes += size;
  }
  return bytes;
}

}  // namespace motet
