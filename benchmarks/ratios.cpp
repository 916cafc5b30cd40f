// ratios: attention rows against their rivals, call by call in one process, and how both grow.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <malloc.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <tuple>

#include "measure.h"
#include "motet/attention/rows.h"
#include "motet/context/layout.h"
#include "motet/error.h"
#include "motet/eval/memory.h"
#include "motet/reading/learned.h"
#include "motet/reading/read_rows.h"
#include "motet/reading/select.h"
#include "motet/reading/weigh.h"
#include "peak.h"
#include "report.h"
#include "ways.h"

namespace {

using bench::Figure;
using bench::Inputs;
using bench::time_ratio;
using nlohmann::json;

const char* name_of(at::ScalarType dtype) { return dtype == at::kBFloat16 ? "bf16" : "fp32"; }

std::string amx_note() {
  return bench::processor_has("amx_bf16")
             ? "this processor has AMX"
             : "the goal is for processors with AMX, this one has none";
}

/// A loss of out and of the penalty on causal rows, and the gradients of all inputs.
class Penalised {
 public:
  explicit Penalised(int64_t rows)
      : x_(rows, rows, 64),
        sets_(motet::causal_keys(rows, rows)),
        d_out_(at::randn_like(x_.query)),
        leaves_{x_.query, x_.keys, x_.values} {
    for (const auto& leaf : leaves_) {
      leaf.requires_grad_();
    }
  }

  std::vector<at::Tensor> ours() const { return gradients(bench::penalty(x_, sets_)); }
  std::vector<at::Tensor> dense() const {
    return gradients(bench::matrix_penalty(x_, bench::causal_mask(x_.query.size(2))));
  }

 private:
  std::vector<at::Tensor> gradients(const std::vector<at::Tensor>& of) const {
    return bench::gradients(of, {d_out_, at::ones_like(of[1])}, leaves_);
  }

  Inputs x_;
  motet::KeySets sets_;
  at::Tensor d_out_;
  std::vector<at::Tensor> leaves_;
};

class Suite {
 public:
  explicit Suite(const bench::SuiteOptions& options)
      : quick_(options.quick), report_(options.out, options.quick) {
    if (options.quick) {
      largest_ = 8192;
    } else {
      rounds_.seconds = 8;
    }
  }

  void run() {
    for (const auto& [rows, goal] : std::map<int64_t, double>{
             {1024, 0.75}, {2048, 0.75}, {4096, 0.80}, {8192, 0.88}, {16384, 0.88}}) {
      causal(rows, goal);
    }
    for (const auto rows : {1024, 2048, 4096, 8192, 16384}) {
      causal_against_sdpa(rows, 128, at::kFloat, 0.85);
    }
    for (const auto features : {64, 128}) {
      for (const auto rows : {1024, 2048, 4096, 8192, 16384}) {
        causal_against_sdpa(rows, features, at::kBFloat16, 0.75);
      }
    }
    share_of_peak(64, at::kFloat, 0.7);
    share_of_peak(128, at::kFloat, 0.75);
    share_of_peak(64, at::kBFloat16, {});
    share_of_peak(128, at::kBFloat16, {});
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      for (const auto rows : {1024, 4096}) {
        statistics(rows, 64, dtype);
      }
      statistics(4096, 128, dtype);
    }
    statistics_with_top();
    for (const auto pieces : {1, 8, 64}) {
      reading(pieces);
    }
    for (const auto pieces : {8, 64}) {
      reading_with_select(pieces);
    }
    learned_reading();
    matrix();
    pieces();
    decode(at::kFloat);
    decode(at::kBFloat16);
    backward();
    penalty();
    growth();
  }

 private:
  void causal(int64_t rows, double goal) {
    const auto name = fmt::format("causal fp32 d=64 N={}", rows);
    if (rows > largest_) {
      report_.skip({.name = name + " / SDPA", .goal = goal});
      return;
    }
    const Inputs x(rows, rows, 64);
    const auto sets = motet::causal_keys(rows, rows);
    const auto seconds = bench::alternate(
        {[&] { motet::attend(x.query, x.keys, x.values, sets); }, [&] { bench::sdpa(x, true); }},
        rounds_);
    report_.add(time_ratio(name + " / SDPA", goal, seconds[0], seconds[1]));
  }

  /// Both products of causal rows, statistics on, in units of what the processor could do.
  void share_of_peak(int64_t features, at::ScalarType dtype, std::optional<double> goal) {
    constexpr int64_t kN = 4096;
    const Inputs x(kN, kN, features, dtype);
    const auto sets = motet::causal_keys(kN, kN);
    const bench::Peak peak(dtype);
    const auto seconds = bench::alternate(
        {[&] { motet::attend(x.query, x.keys, x.values, sets); }, [&] { peak.run(); }}, rounds_);
    Figure share{.name = fmt::format("causal {} d={} N={}, share of the processor's peak",
                                     name_of(dtype), features, kN),
                 .unit = "of the peak's FLOP/s",
                 .goal = goal,
                 .higher = true,
                 .ours = seconds[0],
                 .rival = seconds[1],
                 .note = fmt::format("peak, by {}: {:.0f} GFLOP/s", peak.by(),
                                     peak.flops() / bench::median(seconds[1]) / 1e9)};
    const auto flops = 4.0 * 768 * static_cast<double>(sets.pairs());
    for (const auto quotient : bench::quotients(seconds[1], seconds[0])) {
      share.values.push_back(quotient * flops / peak.flops());
    }
    report_.add(share);
  }

  void causal_against_sdpa(int64_t rows, int64_t features, at::ScalarType dtype, double goal) {
    const bool low = dtype == at::kBFloat16;
    const auto name = fmt::format("causal {} d={} N={} / SDPA", name_of(dtype), features, rows);
    if (rows > largest_ || (quick_ && rows > 4096)) {
      report_.skip({.name = name, .goal = goal});
      return;
    }
    const Inputs x(rows, rows, features, dtype);
    const auto sets = motet::causal_keys(rows, rows);
    const auto seconds = bench::alternate(
        {[&] { motet::attend(x.query, x.keys, x.values, sets); }, [&] { bench::sdpa(x, true); }},
        rounds_);
    auto figure = time_ratio(name, goal, seconds[0], seconds[1]);
    figure.note = low ? amx_note() : "";
    report_.add(figure);
  }

  void statistics(int64_t rows, int64_t features, at::ScalarType dtype) {
    const Inputs x(rows, rows, features, dtype);
    const auto sets = motet::causal_keys(rows, rows);
    const auto attend = [&](bool entropy) {
      return [&, entropy] {
        motet::attend(x.query, x.keys, x.values, sets, {}, {.entropy = entropy});
      };
    };
    const auto seconds = bench::alternate({attend(true), attend(false)}, rounds_);
    report_.add(
        time_ratio(fmt::format("statistics on / off, {} d={} N={}", name_of(dtype), features, rows),
                   1.03, seconds[0], seconds[1]));
  }

  /// The entropies of a reading beside its five largest scores of each piece.
  void statistics_with_top() {
    constexpr int64_t kPieces = 8;
    const Inputs x(kRows, kKeys, 64);
    const auto keys = bench::apart(x.keys, kPieces), values = bench::apart(x.values, kPieces);
    const auto sets = bench::piece_sets(kRows, kKeys, kPieces);
    const auto read = [&](bool entropy) {
      return [&, entropy] {
        motet::attend(x.query, keys, values, sets, {}, {.entropy = entropy, .top = 5});
      };
    };
    const auto seconds = bench::alternate({read(true), read(false)}, rounds_);
    report_.add(
        time_ratio(fmt::format("statistics on / off, fp32, reading with top-5, P={}", kPieces),
                   1.03, seconds[0], seconds[1]));
  }

  void reading(int64_t pieces) {
    const Inputs x(kRows, kKeys, 64);
    const auto keys = bench::apart(x.keys, pieces), values = bench::apart(x.values, pieces);
    const auto sets = bench::piece_sets(kRows, kKeys, pieces);
    const auto seconds =
        bench::alternate({[&] { motet::attend(x.query, keys, values, sets, {}, {.top = 5}); },
                          [&] { bench::sdpa(x, false); }},
                         rounds_);
    report_.add(
        time_ratio(fmt::format("reading with top-5, P={} / SDPA over the same keys", pieces), 1.0,
                   seconds[0], seconds[1]));
  }

  void reading_with_select(int64_t pieces) {
    const Inputs x(kRows, kKeys, 64);
    const auto keys = bench::apart(x.keys, pieces), values = bench::apart(x.values, pieces);
    const auto sets = bench::piece_sets(kRows, kKeys, pieces);
    const motet::Select select;
    const auto seconds =
        bench::alternate({[&] {
                            motet::read_rows(select, x.query, keys, values, sets, {0, kRows}, {});
                          },
                          [&] { bench::sdpa(x, false); }},
                         rounds_);
    report_.add(
        time_ratio(fmt::format("reading with select, P={} / SDPA over the same keys", pieces), 1.3,
                   seconds[0], seconds[1]));
  }

  /// Numbers of each head, and a null set, against one number for all.
  void learned_reading() {
    constexpr int64_t kPieces = 8;
    const Inputs x(kRows, kKeys, 64);
    const auto keys = bench::apart(x.keys, kPieces), values = bench::apart(x.values, kPieces);
    const auto sets = bench::piece_sets(kRows, kKeys, kPieces);
    const auto heads = x.query.size(1);
    const auto exponent = at::rand({1, heads}) + 0.5, discount = at::rand({1, heads});
    const motet::Sharpen sharpen(2);
    const motet::Learned learned({exponent, discount});
    const motet::Learned with_null({exponent, discount, {}, at::zeros({1, heads})});
    const auto read = [&](const motet::Reading& reading) {
      return [&] { motet::read_rows(reading, x.query, keys, values, sets, {0, kRows}, {}); };
    };
    const auto seconds = bench::alternate({read(learned), read(sharpen), read(with_null)}, rounds_);
    report_.add(time_ratio(fmt::format("reading with learned numbers / sharpen, P={}", kPieces),
                           1.03, seconds[0], seconds[1]));
    report_.add(time_ratio(
        fmt::format("reading with learned numbers and a null set / sharpen, P={}", kPieces), 1.1,
        seconds[2], seconds[1]));
  }

  void matrix() {
    constexpr int64_t kN = 4096;
    const auto names = std::array{"matrix way with entropy N=4096, time / ours",
                                  "matrix way with entropy N=4096, memory / ours"};
    if (!matrix_fits(kN)) {
      leave_out(names[0], {});
      leave_out(names[1], 50);
      return;
    }
    {
      const Inputs x(kN, kN, 64);
      const auto sets = motet::causal_keys(kN, kN);
      const auto mask = bench::causal_mask(kN);
      const auto seconds =
          bench::alternate({[&] { motet::attend(x.query, x.keys, x.values, sets); },
                            [&] { bench::matrix_way(x, mask); }},
                           rounds_);
      report_.add({.name = names[0],
                   .unit = "times ours",
                   .higher = true,
                   .values = bench::quotients(seconds[1], seconds[0]),
                   .ours = seconds[0],
                   .rival = seconds[1]});
    }
    report_.add(memory_ratio(names[1], 50, point("motet", kN, 1), point("matrix", kN, 1)));
  }

  void pieces() {
    constexpr int64_t kN = 8192;
    const Inputs x(kN, kN, 64);
    std::vector<motet::Layout> layouts;
    std::vector<bench::Call> calls;
    for (const auto degree : {1, 2, 4, 8}) {
      layouts.push_back(motet::make_layout(0, motet::split_tokens(kN, degree)));
      calls.emplace_back([&x, sets = motet::encode_sets(layouts.back())] {
        motet::attend(x.query, x.keys, x.values, sets);
      });
    }
    const auto seconds = bench::alternate(calls, rounds_);
    for (std::size_t i = 1; i < calls.size(); ++i) {
      auto figure = time_ratio(
          fmt::format("{} equal pieces, time / cost ratio, N={}", layouts[i].pieces.size(), kN),
          1.15, seconds[i], seconds[0]);
      figure.unit = "of one piece's time x cost ratio";
      for (auto& value : figure.values) {
        value /= layouts[i].cost_ratio();
      }
      for (auto& allowed : figure.rival) {
        allowed *= layouts[i].cost_ratio();
      }
      report_.add(figure);
    }
  }

  void decode(at::ScalarType dtype) {
    const bench::Ring ring({2, 1, 3, kKeys, 64}, dtype);  // keys and values of a layer each
    const auto query = at::randn({1, 9, 1, 64}).to(dtype);
    const auto sets = motet::all_keys(1, kKeys);
    const auto seconds = bench::alternate({[&] {
                                             for (const auto& layer : ring.tensors()) {
                                               motet::attend(query, layer[0], layer[1], sets);
                                             }
                                           },
                                           [&] { ring.sum(); }},
                                          rounds_);
    report_.add({.name = fmt::format("decode of a row over {} keys, {}", kKeys, name_of(dtype)),
                 .unit = "of a plain sum's bandwidth",
                 .goal = 0.8,
                 .higher = true,
                 .values = bench::quotients(seconds[1], seconds[0]),
                 .ours = seconds[0],
                 .rival = seconds[1],
                 .note = fmt::format("plain sum: {:.1f} GB/s",
                                     ring.bytes() / bench::median(seconds[1]) / 1e9)});
  }

  void backward() {
    constexpr int64_t kN = 2048;
    const at::AutoGradMode with_grad(true);
    const Inputs x(kN, kN, 64);
    const std::vector<at::Tensor> leaves{x.query, x.keys, x.values};
    for (const auto& leaf : leaves) {
      leaf.requires_grad_();
    }
    const auto d_out = at::randn_like(x.query.detach());
    const auto sets = motet::causal_keys(kN, kN);
    const auto seconds = bench::alternate(
        {[&] {
           const auto row = motet::attend(x.query, x.keys, x.values, sets);
           bench::gradients({row.out, row.entropy}, {d_out, at::ones_like(row.entropy)}, leaves);
         },
         [&] { bench::gradients({bench::sdpa(x, true)}, {d_out}, leaves); }},
        rounds_);
    report_.add(time_ratio("forward and backward with entropy, N=2048 / SDPA without", 1.0,
                           seconds[0], seconds[1]));
  }

  /// Forward and backward of a loss on the mass of each row's largest keys.
  void penalty() {
    constexpr int64_t kN = 2048;
    const auto names =
        std::array{"penalty on top-k mass, forward and backward, N=2048, dense / ours",
                   "penalty on top-k mass, N=2048, memory of dense / ours"};
    if (!matrix_fits(2 * kN)) {
      leave_out(names[0], 3);
      leave_out(names[1], 10);
      return;
    }
    {
      const at::AutoGradMode with_grad(true);
      const Penalised x(kN);
      const auto seconds = bench::alternate({[&] { x.ours(); }, [&] { x.dense(); }}, rounds_);
      report_.add({.name = names[0],
                   .unit = "times ours",
                   .goal = 3,
                   .higher = true,
                   .values = bench::quotients(seconds[1], seconds[0]),
                   .ours = seconds[0],
                   .rival = seconds[1]});
    }
    report_.add(
        memory_ratio(names[1], 10, measured("penalty", kN, 1), measured("dense_penalty", kN, 1)));
  }

  /// What the rival takes beyond inputs and outputs, in units of ours.
  static Figure memory_ratio(std::string name, double goal, const json& ours, const json& rival) {
    const auto bytes = [](const json& of) { return of["peak_bytes"].get<double>(); };
    return {.name = std::move(name),
            .unit = "times ours, beyond inputs and outputs",
            .goal = goal,
            .higher = true,
            .values = {bytes(rival) / bytes(ours)},
            .ours = {ours["seconds"].get<double>()},
            .rival = {rival["seconds"].get<double>()},
            .note = fmt::format("{:.1f} MB against {:.1f} MB, each in a process of its own",
                                bytes(ours) / 1e6, bytes(rival) / 1e6)};
  }

  /// Time and memory against N, and against P for N tokens in all.
  void growth() {
    for (const auto* way : {"motet", "sdpa", "matrix"}) {
      for (int64_t rows = 1024; rows <= largest_; rows *= 2) {
        if (way != std::string("matrix") || matrix_fits(rows)) {
          point(way, rows, 1);
        }
      }
    }
    for (int64_t degree = 2; degree <= 64; degree *= 2) {
      point("motet", 8192, degree);
    }
  }

  /// A point of growth, which the page shows; measured once.
  json point(const std::string& way, int64_t rows, int64_t pieces) {
    const auto key = fmt::format("{} {} {}", way, rows, pieces);
    if (const auto known = points_.find(key); known != points_.end()) {
      return known->second;
    }
    const auto found = measured(way, rows, pieces);
    report_.add_growth(found);
    return points_[key] = found;
  }

  /// Seconds and peak memory of a way, in a fresh process.
  static json measured(const std::string& way, int64_t rows, int64_t pieces) {
    const auto figures = bench::ask_self(
        fmt::format("--threads {} --point {} {} {}", at::get_num_threads(), way, rows, pieces), 2);
    return {{"way", way},
            {"rows", rows},
            {"pieces", pieces},
            {"seconds", figures[0]},
            {"peak_bytes", figures[1]}};
  }

  /// Whether the matrices of `rows` rows, four at a time, take less than half of the free memory.
  static bool matrix_fits(int64_t rows) {
    std::ifstream info("/proc/meminfo");
    for (std::string line; std::getline(info, line);) {
      if (line.starts_with("MemAvailable:")) {
        return 4 * 4 * 12 * rows * rows < std::stoll(line.substr(13)) * 1024 / 2;
      }
    }
    return false;
  }

  /// A figure times ours that wants the matrix written out.
  void leave_out(const std::string& name, std::optional<double> goal) {
    report_.leave_out({.name = name, .goal = goal, .higher = true},
                      "too little free memory for the matrix");
  }

  static constexpr int64_t kRows = 1024, kKeys = 8192;  // of a reading
  bool quick_;
  int64_t largest_ = 16384;
  bench::Rounds rounds_;
  bench::Report report_;
  std::map<std::string, json> points_;
};

/// Prints the seconds and the peak memory, beyond inputs and outputs, of one way: of its first
/// call, so that what it keeps for later ones counts.
void measure_point(const std::string& way, int64_t rows, int64_t pieces) {
  const Inputs x(rows, rows, 64);
  const Penalised penalised(rows);
  const auto sets = motet::encode_sets(motet::make_layout(0, motet::split_tokens(rows, pieces)));
  const auto mask = way == "matrix" ? bench::causal_mask(rows) : at::Tensor();
  const auto run = [&]() -> std::vector<at::Tensor> {
    const at::AutoGradMode with_grad(way.ends_with("penalty"));
    if (way == "penalty") {
      return penalised.ours();
    }
    if (way == "dense_penalty") {
      return penalised.dense();
    }
    if (way == "matrix") {
      return bench::matrix_way(x, mask);
    }
    if (way == "sdpa") {
      return {bench::sdpa(x, true)};
    }
    motet::require(way == "motet", "--point: the way '", way,
                   "' is not known; motet, sdpa, matrix, penalty and dense_penalty are");
    const auto row = motet::attend(x.query, x.keys, x.values, sets);
    return {row.out, row.lse, row.entropy, row.set_lse, row.set_entropy};
  };
  at::mm(at::randn({512, 512}), at::randn({512, 512}));  // starts threads, loads libraries
  ::malloc_trim(0);
  motet::require(motet::reset_peak_memory(),
                 "ratios: /proc/self/clear_refs cannot be written, so "
                 "peak memory cannot be measured here");
  const auto before = motet::peak_memory();
  std::vector<at::Tensor> outputs;
  std::vector<double> seconds{bench::seconds_of([&] { outputs = run(); })};
  const auto after = motet::peak_memory();
  auto bytes = static_cast<double>(after.value() - before.value());
  for (const auto& output : outputs) {
    bytes -= static_cast<double>(output.nbytes());
  }
  outputs.clear();
  for (double total = 0; seconds.size() < 3 || (seconds.size() < 15 && total < 0.5);) {
    seconds.push_back(bench::seconds_of(run));
    total += seconds.back();
  }
  fmt::print("{} {}\n", bench::median(seconds), std::max(bytes, 4096.0));  // a page is the least
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Attention rows against their rivals, call by call in one process: the ratio of every pair,\n"
      "its median and spread, and the goal.",
      "ratios");
  bench::SuiteOptions options;
  std::tuple<std::string, int64_t, int64_t> one;
  app.add_option("--point", one,
                 "measure one point: motet, sdpa, matrix, penalty or dense_penalty, N, P");
  return bench::run_suite(app, argc, argv, options, "fewer repetitions, and 8,192 rows at most",
                          [&] {
                            const at::NoGradGuard no_grad;
                            if (const auto& [way, rows, pieces] = one; !way.empty()) {
                              measure_point(way, rows, pieces);
                            } else {
                              Suite(options).run();
                            }
                          });
}
