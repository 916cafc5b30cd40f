// model_server: measures a model on request, so that loading is in no measure and a rival in
// another process can be measured in turn. Reads a line, answers with a line of JSON:
//
//   machine                     what the figures depend on
//   prefill TOKENS DTYPE        {"seconds", "peak_bytes"}; all probes on, logits of the last row
//   decode CONTEXT TOKENS DTYPE {"seconds"} of a token, and the {"bytes"} it needs
//   batch CONTEXT QUERIES TOKENS DTYPE  {"seconds"} of a token of each query over one context
//   compare LENGTH SCORED DTYPE {"seconds", "flops"} of motet-compare's modes on one segment
//   sum                         {"seconds", "bytes"} of a plain sum over 1 GiB
//   product                     {"seconds", "flops"} of a matrix product
//
// DTYPE is float32 or bfloat16. What goes wrong is answered as {"error"}.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>
#include <string>

#include "measure.h"
#include "model.h"
#include "motet/error.h"
#include "motet/eval/compare.h"
#include "motet/eval/memory.h"
#include "motet/model/weights.h"

namespace {

using nlohmann::json;

class Server {
 public:
  explicit Server(std::filesystem::path directory) : directory_(std::move(directory)) {}

  json answer(const std::string& line) {
    std::istringstream words(line);
    std::string what;
    words >> what;
    const auto number = [&] {
      int64_t value = 0;
      motet::require(bool(words >> value) && value > 0, "'", line, "': a number is missing");
      return value;
    };
    if (what == "machine") {
      return bench::machine();
    }
    if (what == "prefill") {
      const auto tokens = number();
      return prefill(model(words), tokens);
    }
    if (what == "decode") {
      const auto context = number(), tokens = number();
      return decode(model(words), context, tokens);
    }
    if (what == "batch") {
      const auto context = number(), queries = number(), tokens = number();
      return decode(model(words), context, tokens, queries);
    }
    if (what == "compare") {
      const auto length = number(), scored = number();
      return compare(model(words), length, scored);
    }
    if (what == "sum") {
      if (!ring_) {
        ring_.emplace(torch::IntArrayRef{int64_t{1} << 28}, torch::kFloat32);
        ring_->sum();
      }
      const auto seconds = bench::seconds_of([&] { ring_->sum(); });
      return {{"seconds", seconds}, {"bytes", ring_->bytes()}};
    }
    if (what == "product") {
      product_.multiply();
      const auto seconds = bench::seconds_of([&] { product_.multiply(); });
      return {{"seconds", seconds}, {"flops", bench::Product::flops()}};
    }
    motet::fail("'", line,
                "': one of machine, prefill, decode, batch, compare, sum, product is "
                "wanted");
  }

 private:
  /// The model in the dtype that comes next, the only one in memory; warm.
  const motet::Decoder& model(std::istream& words) {
    std::string dtype;
    words >> dtype;
    motet::require(dtype == "float32" || dtype == "bfloat16", "dtype '", dtype,
                   "': float32 or bfloat16 is wanted");
    const auto type = dtype == "bfloat16" ? torch::kBFloat16 : torch::kFloat32;
    if (!model_ || model_->dtype() != type) {
      model_.reset();
      model_ = motet::load_model(directory_, {.dtype = type});
      bench::prefill(*model_, bench::tokens_for(*model_, 64));
    }
    return *model_;
  }

  static json prefill(const motet::Decoder& model, int64_t count) {
    const auto tokens = bench::tokens_for(model, count);
    const bool peaks = motet::reset_peak_memory();
    const auto before = motet::peak_memory();
    json answer{{"seconds", bench::seconds_of([&] { bench::prefill(model, tokens); })}};
    const auto after = motet::peak_memory();
    if (peaks && before && after) {
      answer["peak_bytes"] = *after;
      answer["growth_bytes"] = *after - *before;
    }
    return answer;
  }

  static json decode(const motet::Decoder& model, int64_t context, int64_t tokens,
                     int64_t queries = 1) {
    bench::Decoding decoding(model, context, queries);
    decoding.step();
    const auto seconds = bench::seconds_of([&] {
      for (int64_t i = 0; i < tokens; ++i) {
        decoding.step();
      }
    });
    const auto middle = static_cast<double>(context) + static_cast<double>(tokens) / 2;
    return {{"seconds", seconds / static_cast<double>(tokens)},
            {"bytes", bench::bytes_of_token(model, middle)}};
  }

  /// Encoding and reading, as the rows of a run count them, and the FLOPs of their products: those
  /// of the plan but for the scores of the vocabulary, which are made after reading.
  static json compare(const motet::Decoder& model, int64_t length, int64_t scored) {
    motet::CompareOptions options;
    options.length = length;
    options.scored = scored;
    options.prefix = bench::tokens_for(model, 15);
    const auto& config = model.config();
    const auto plan = motet::plan_compare(config, options);
    const auto rows =
        motet::compare_segment(model, bench::tokens_for(model, length), options, plan, 0);
    double seconds = 0;
    std::set<std::pair<int64_t, int64_t>> encoded;
    for (const auto& row : rows) {
      seconds += row.read_seconds;
      if (encoded.emplace(row.pieces, row.prefix_tokens).second) {
        seconds += row.encode_seconds;  // modes that share a context encode it once
      }
    }
    const auto head = 2 * static_cast<double>(scored * config.width * config.vocabulary);
    return {{"seconds", seconds},
            {"flops", plan.segment_flops - static_cast<double>(plan.modes.size()) * head}};
  }

  std::filesystem::path directory_;
  std::shared_ptr<motet::Decoder> model_;
  std::optional<bench::Ring> ring_;
  bench::Product product_;
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Measures a model on request: a line on stdin, a line of JSON on stdout.",
               "model_server");
  std::filesystem::path model;
  int threads = 0;
  app.add_option("--model", model, "directory of a model in Hugging Face format")
      ->envname("MOTET_MODEL")
      ->required();
  app.add_option("--threads", threads, "as many as there are cores, unless given")
      ->check(CLI::Range(1, 4096));
  CLI11_PARSE(app, argc, argv);
  if (threads > 0) {
    at::set_num_threads(threads);
  }
  motet::keep_freed_memory();  // as motet's programs do
  const at::NoGradGuard no_grad;
  Server server(model);
  for (std::string line; std::getline(std::cin, line);) {
    json answer;
    try {
      answer = server.answer(line);
    } catch (const std::exception& error) {
      answer = {{"error", error.what()}};
    }
    std::cout << answer.dump() << std::endl;
  }
  return 0;
}
