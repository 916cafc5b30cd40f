#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "program.h"

namespace program {

/// The items of a run, such as segments, and what is still to be done of each.
struct Items {
  std::string verb;  ///< of the progress line: "comparing"
  int64_t first = 0, count = 0;
  /// The work of an item that is still to be done, in the unit of its progress; 0: it is done.
  std::function<double(int64_t item)> open;
  /// Does that, adds it to the run and saves the run. `step` is told of every part of the work;
  /// what it throws ends the run.
  std::function<void(int64_t item, const std::function<void(double work)>& step)> run;
  /// What is kept so far, for the message of an interruption: "3 of 4 segments".
  std::function<std::string()> kept;
};

/// Runs every item that is open, with progress on stderr. Throws Interrupted, with what is kept,
/// where the user stops it.
void run_items(const Options& options, const Items& items);

}  // namespace program
