// adaptive_ratios: what adaptive heads cost and save in decoding, against dense attention.

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <memory>
#include <numeric>

#include "measure.h"
#include "model.h"
#include "motet/context/layout.h"
#include "motet/model/reader.h"
#include "motet/model/weights.h"
#include "motet/reading/adaptive.h"
#include "motet/reading/read_rows.h"
#include "motet/reading/reading.h"
#include "report.h"
#include "ways.h"

namespace {

using at::Tensor;

/// Adaptive's test, made in full, whose outcome is then replaced: so many groups of heads, evenly
/// over the model, are local.
class Forced : public motet::WindowReading {
 public:
  Forced(const motet::Config& config, double local_share) {
    const auto groups = config.layers * config.kv_heads;
    auto is_long = at::empty({groups}, at::kBool);
    const auto locals = [&](int64_t first) {
      return std::llround(std::floor(static_cast<double>(first) * local_share + 1e-9));
    };
    for (int64_t group = 0; group < groups; ++group) {
      is_long[group] = locals(group + 1) == locals(group);
      long_ += static_cast<int64_t>(locals(group + 1) == locals(group));
    }
    is_long_ = is_long.view({config.layers, config.kv_heads, 1})
                   .expand({-1, -1, config.heads / config.kv_heads})
                   .reshape({config.layers, config.heads});
  }

  std::string name() const override { return "forced"; }
  motet::ReadingNeeds needs() const override { return adaptive_.needs(); }
  /// Bytes of keys and values that a token behind `context` tokens reads, over all of them.
  double read_share(const motet::Config& config, int64_t context) const {
    const auto groups = static_cast<double>(config.layers * config.kv_heads);
    const auto window = static_cast<double>(window_.first + window_.last);
    return (static_cast<double>(long_) +
            (groups - static_cast<double>(long_)) * window / static_cast<double>(context)) /
           groups;
  }

 protected:
  Tensor reads(const motet::PieceScores& scores, int64_t pieces) const override {
    const auto found = motet::bulks_needed(scores.row_lse, scores.bulk, 0.95);
    return is_long_[scores.layer]
        .view({1, -1, 1, 1})
        .expand({found.size(0), -1, found.size(2), pieces});
  }

 private:
  motet::Window window_;
  motet::Adaptive adaptive_;
  Tensor is_long_;
  int64_t long_ = 0;
};

/// A context of one piece with random keys.
motet::EncodedContext random_context(const motet::Decoder& model, int64_t tokens) {
  const auto& config = model.config();
  motet::EncodedPiece piece;
  piece.tokens.assign(tokens, 1);
  piece.origin = {model.fingerprint(), {}};
  piece.positions.resize(tokens);
  std::iota(piece.positions.begin(), piece.positions.end(), 0);
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    for (auto* of_layers : {&piece.keys, &piece.values}) {
      of_layers->push_back(
          at::randn({1, config.kv_heads, tokens, config.features}).to(model.dtype()));
    }
    piece.moments.push_back(motet::moments_of(piece.keys.back()));
  }
  return {.prefix = {}, .pieces = {piece}, .query_position = tokens};
}

class Suite {
 public:
  Suite(const std::filesystem::path& model, const bench::SuiteOptions& options)
      : report_(options.out, options.quick),
        model_(motet::load_model(model)),
        config_(model_->config()),
        quick_(options.quick) {
    if (!quick_) {
      rounds_.seconds = 8;
    }
    for (const auto share : {0.0, 0.5, 0.8, 0.9}) {
      forced_.push_back({share, std::make_shared<Forced>(config_, share)});
    }
  }

  void run() {
    for (const int64_t context : {1024, 2048, 4096, 8192, 16384, 32768}) {
      if (!quick_ || context == 2048 || context == 8192) {
        const auto encoded = random_context(*model_, context);
        attention(encoded, context);
        step(encoded, context);
      }
    }
    for (const int64_t rows : {1, 1024}) {
      test(rows);
    }
  }

 private:
  /// All layers' attention of one row.
  void attention(const motet::EncodedContext& context, int64_t tokens) {
    const auto& piece = context.pieces[0];
    const auto query = at::randn({1, config_.heads, 1, config_.features});
    const auto own = at::randn({1, config_.kv_heads, 1, config_.features});
    const auto sets = motet::read_sets(0, {tokens}, {1}, {0});
    const auto split = motet::split_window(sets, {});
    const auto needs = *forced_[0].reading->needs().bulk;
    std::vector<motet::KeyEstimates> bulks;
    for (int64_t layer = 0; layer < config_.layers; ++layer) {
      bulks.push_back(motet::model_bulks(needs, motet::bulk_moments(context, layer, needs.window),
                                         1 / std::sqrt(static_cast<double>(config_.features)),
                                         at::kFloat));
    }
    const auto all_layers = [&](const motet::Reading& reading) {
      return [&] {
        for (int64_t layer = 0; layer < config_.layers; ++layer) {
          motet::read_rows(reading, query, std::vector{piece.keys[layer], own},
                           std::vector{piece.values[layer], own}, sets, {0, 1}, {}, layer,
                           {.estimates = &bulks[layer], .sets = &split});
        }
      };
    };
    std::vector<bench::Call> calls{all_layers(all_)};
    for (const auto& forced : forced_) {
      calls.emplace_back(all_layers(*forced.reading));
    }
    add("decode attention", tokens, bench::alternate(calls, rounds_),
        [&](double share) -> std::optional<double> {
          return share == 0.9 && tokens == 8192 ? std::optional(0.25) : std::nullopt;
        });
  }

  /// The whole step, from a token to the next, without probes.
  void step(const motet::EncodedContext& context, int64_t tokens) {
    std::vector<std::shared_ptr<motet::Reader>> readers;
    std::vector<bench::Call> calls;
    const auto add_reader = [&](const motet::Reading& reading) {
      readers.push_back(std::make_shared<motet::Reader>(*model_, context, reading));
      calls.emplace_back([this, reader = readers.back().get()] {
        bench::next_token(*model_, reader->read(std::vector<int64_t>{1}));
      });
    };
    add_reader(all_);
    for (const auto& forced : forced_) {
      add_reader(*forced.reading);
    }
    add("decode step", tokens, bench::alternate(calls, rounds_),
        [&](double share) -> std::optional<double> {
          return share == 0.9 && tokens >= 2048 ? std::optional(1.0) : std::nullopt;
        });
  }

  template <typename Goal>
  void add(const std::string& what, int64_t tokens, const std::vector<std::vector<double>>& seconds,
           const Goal& goal) {
    for (std::size_t i = 0; i < forced_.size(); ++i) {
      const auto& [share, reading] = forced_[i];
      auto figure = bench::time_ratio(
          fmt::format("{} over {} keys, {:.0f} % local / dense", what, tokens, 100 * share),
          goal(share), seconds[i + 1], seconds[0]);
      figure.note = fmt::format("{:.1f} % of the bytes of keys and values are read",
                                100 * reading->read_share(config_, tokens));
      report_.add(figure);
    }
  }

  /// The test against attention over the window.
  void test(int64_t rows) {
    constexpr int64_t kKeys = 8192;
    const auto query = at::randn({1, config_.heads, rows, config_.features});
    const auto keys = at::randn({1, config_.kv_heads, kKeys, config_.features});
    const auto split = motet::split_window(bench::piece_sets(rows, kKeys, 1), {});
    const auto moments = motet::moments_of(keys);
    for (const auto& [name, covariance, goal] :
         {std::tuple{"diagonal", motet::Covariance::kDiagonal, 0.1},
          {"full", motet::Covariance::kFull, 0.2}}) {
      const motet::GaussianKeys bulk(moments, covariance, 0.125, at::kFloat);
      const auto window = motet::attend(query, keys, keys, split.window);
      const auto seconds = bench::alternate(
          {[&] { motet::bulks_needed(window.lse, bulk.log_mass(query).unsqueeze(3), 0.95); },
           [&] { motet::attend(query, keys, keys, split.window); }},
          rounds_);
      report_.add(bench::time_ratio(fmt::format("test of {} row{}, {} covariance / its window",
                                                rows, rows == 1 ? "" : "s", name),
                                    goal, seconds[0], seconds[1]));
    }
  }

  struct Share {
    double local;
    std::shared_ptr<Forced> reading;
  };

  bench::Report report_;
  std::shared_ptr<motet::Decoder> model_;
  const motet::Config& config_;
  bool quick_;
  motet::All all_;
  std::vector<Share> forced_;
  bench::Rounds rounds_;
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Adaptive heads against dense attention in decoding, call by call in one process.",
               "adaptive_ratios");
  bench::SuiteOptions options;
  std::filesystem::path model;
  app.add_option("--model", model, "directory of a model in Hugging Face format")->required();
  return bench::run_suite(app, argc, argv, options, "fewer repetitions and sizes", [&] {
    const at::NoGradGuard no_grad;
    Suite(model, options).run();
  });
}
