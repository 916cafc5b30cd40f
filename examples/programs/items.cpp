#include "items.h"

#include <fmt/format.h>

#include <vector>

namespace program {

void run_items(const Options& options, const Items& items) {
  heed_signals();
  double work = 0;
  std::vector<int64_t> open;
  for (auto item = items.first; item < items.first + items.count; ++item) {
    if (const auto left = items.open(item); left > 0) {
      work += left;
      open.push_back(item);
    }
  }
  Progress progress(items.verb, work, options.quiet);
  const auto step = [&](double done) {
    if (interrupted()) {
      throw Interrupted(options.out.empty()
                            ? "interrupted; without --out nothing is kept"
                            : fmt::format("interrupted; {} are in {}; --resume goes on with it",
                                          items.kept(), (options.out / "run.json").string()));
    }
    progress.add(done);
  };
  for (const auto item : open) {
    items.run(item, step);
  }
}

}  // namespace program
