// model_server: measures a model on request, so that loading is in no measure and a rival in
// another process can be measured in turn. Reads a line, answers with a line of JSON:
//
//   machine                     what the figures depend on
//   prefill TOKENS DTYPE        {"seconds", "peak_bytes"}; all probes on, logits of the last row
//   decode CONTEXT TOKENS DTYPE {"seconds"} of a token, and the {"bytes"} it needs
//   batch CONTEXT QUERIES TOKENS DTYPE  {"seconds"} of a token of each query over one context
//   compare LENGTH SCORED DTYPE {"seconds", "flops"} of motet-compare's modes on one segment
//   grid SELECT DTYPE           {"seconds", "nlls"} of every mode of an item of in-context learning
//                               (rivals/hugging_face.py has the same), with selection where SELECT
//                               is 1
//   train TOKENS DTYPE CHECKPOINT  {"seconds", "loss", "peak_bytes"} of a step on one row
//   growth TOKENS PIECES DTYPE  {"encode", "read", "decode"}: {"seconds", "bytes"} of memory that
//                               encoding takes, 256 rows behind it, and a token of 16 behind those
//   sum                         {"seconds", "bytes"} of a plain sum over 1 GiB
//   product                     {"seconds", "flops"} of a matrix product
//
// DTYPE is float32 or bfloat16. What goes wrong is answered as {"error"}.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
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
#include "motet/eval/tasks.h"
#include "motet/model/config.h"
#include "motet/model/weights.h"
#include "motet/text/tokenizer.h"
#include "motet/train/initial.h"
#include "motet/train/trainer.h"

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
    if (what == "grid") {
      int64_t select = 0;
      motet::require(bool(words >> select), "'", line, "': 0 or 1 is missing");
      return grid(model(words), select != 0);
    }
    if (what == "growth") {
      const auto tokens = number(), pieces = number();
      return growth(model(words), tokens, pieces);
    }
    if (what == "train") {
      const auto count = number();
      const auto type = dtype(words);
      int64_t checkpoint = 0;
      motet::require(bool(words >> checkpoint), "'", line, "': 0 or 1 is missing");
      return train(count, type, checkpoint != 0);
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
                "': one of machine, prefill, decode, batch, compare, grid, growth, train, "
                "sum, product is wanted");
  }

 private:
  static torch::ScalarType dtype(std::istream& words) {
    std::string name;
    words >> name;
    motet::require(name == "float32" || name == "bfloat16", "dtype '", name,
                   "': float32 or bfloat16 is wanted");
    return name == "bfloat16" ? torch::kBFloat16 : torch::kFloat32;
  }

  /// The model in the dtype that comes next, the only one in memory; warm.
  const motet::Decoder& model(std::istream& words) {
    const auto type = dtype(words);
    if (!model_ || model_->dtype() != type) {
      model_.reset();
      if (std::filesystem::is_directory(directory_)) {
        model_ = motet::load_model(directory_, {.dtype = type});
      } else {
        model_ = motet::initial_model(motet::load_config(directory_), 0);
        model_->to(type);
      }
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
    std::vector<motet::CompareRow> rows;
    const auto whole = measured([&] {
      rows = motet::compare_segment(model, bench::tokens_for(model, length), options, plan, 0);
    });
    double seconds = 0;
    std::set<std::pair<int64_t, int64_t>> encoded;
    for (const auto& row : rows) {
      seconds += row.read_seconds;
      if (encoded.emplace(row.pieces, row.prefix_tokens).second) {
        seconds += row.encode_seconds;  // modes that share a context encode it once
      }
    }
    const auto head = 2 * static_cast<double>(scored * config.width * config.vocabulary);
    json answer{{"seconds", seconds},
                {"flops", plan.segment_flops - static_cast<double>(plan.modes.size()) * head}};
    if (whole.contains("bytes")) {
      answer["bytes"] = whole["bytes"];
    }
    return answer;
  }

  /// 32 demonstrations of 62 tokens, a query of 40, 20 labels of 3 tokens and an output of 8, as
  /// motet-eval reads them: P = 1, 4 and 16, `discount`, without and with a prefix of 15 tokens.
  json grid(const motet::Decoder& model, bool select) {
    if (!tokenizer_) {
      tokenizer_ = motet::Tokenizer::load(directory_);
    }
    const auto tokens = bench::tokens_for(model, 2200);
    auto next = tokens.begin();
    const auto take = [&](int64_t count) {
      next += count;
      return std::vector<int64_t>(next - count, next);
    };
    motet::TasksOptions options;
    options.prefix = take(15);
    options.readings = {"discount:1"};
    if (select) {
      options.readings.emplace_back("select:2:heads+rows");
    }
    options.full_length = true;
    motet::TaskItem item;
    item.record.task = item.record.id = "grid";
    item.record.answers = {"-"};
    item.record.tokens = 8;
    item.prefix = options.prefix;
    for (int unit = 0; unit < 32; ++unit) {
      item.units.push_back(take(62));
    }
    item.query = take(40);
    for (int label = 0; label < 20; ++label) {
      item.candidates.push_back(take(3));
      item.record.candidates.push_back(std::to_string(label));
    }
    item.gold = item.candidates[0];
    item.record.gold = item.record.candidates[0];
    item.modes = motet::plan_tasks(options).modes;
    std::vector<motet::ItemRow> rows;
    const auto seconds = bench::seconds_of(
        [&] { rows = motet::run_item(model, *tokenizer_, item, options, true, "bench"); });
    json nlls;
    for (const auto& row : rows) {
      const bool discounts = row.mode == "discount" && row.prefix_tokens > 0;
      nlls[row.mode + (discounts ? "+prefix " : " ") + std::to_string(row.pieces)] = row.answer_nll;
    }
    return {{"seconds", seconds}, {"nlls", nlls}};
  }

  /// Seconds of a call, and how much more memory it held at most than there was before.
  static json measured(const bench::Call& call) {
    const bool peaks = motet::reset_peak_memory();
    const auto before = motet::peak_memory();
    json answer{{"seconds", bench::seconds_of(call)}};
    if (const auto after = motet::peak_memory(); peaks && before && after) {
      answer["bytes"] = *after - *before;
    }
    return answer;
  }

  static json growth(const motet::Decoder& model, int64_t count, int64_t pieces) {
    constexpr int64_t kRows = 256, kSteps = 16;
    const auto tokens = bench::tokens_for(model, count);
    const auto layout = motet::make_layout(0, motet::split_tokens(count, pieces));
    motet::EncodedContext context;
    json answer;
    bench::AllProbes of_pieces(motet::RowKind::kContext), of_query(motet::RowKind::kQuery);
    answer["encode"] =
        measured([&] { context = motet::encode(model, tokens, layout, of_pieces.list()); });
    const motet::All all;
    motet::Reader reader(model, context, all, of_query.list());
    answer["read"] = measured([&] { reader.read(bench::tokens_for(model, kRows)); });
    answer["decode"] = measured([&] {
      for (int64_t step = 0; step < kSteps; ++step) {
        bench::next_token(model, reader.read({step}));
      }
    });
    answer["decode"]["seconds"] = answer["decode"]["seconds"].get<double>() / kSteps;
    return answer;
  }

  /// A step of motet-finetune, by its defaults; the process trains in one way alone.
  json train(int64_t count, torch::ScalarType type, bool checkpoint) {
    const at::AutoGradMode with_grad(true);
    if (!trainer_) {
      model_.reset();
      auto model = motet::load_model(directory_);
      const auto row = torch::tensor(bench::tokens_for(*model, count));
      trainer_ = std::make_unique<motet::Trainer>(
          std::move(model), row.repeat({8, 1}),
          motet::TrainOptions{.steps = 1000000, .dtype = type, .checkpoint = checkpoint});
    }
    const bool peaks = motet::reset_peak_memory();
    motet::TrainStep step;
    json answer{{"seconds", bench::seconds_of([&] { step = trainer_->step(); })}};
    answer["loss"] = step.loss;
    if (const auto peak = motet::peak_memory(); peaks && peak) {
      answer["peak_bytes"] = *peak;
    }
    return answer;
  }

  std::filesystem::path directory_;
  std::unique_ptr<motet::Trainer> trainer_;
  std::optional<motet::Tokenizer> tokenizer_;
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
  app.add_option(
         "--model", model,
         "directory of a model in Hugging Face format; or a configuration, for weights by chance")
      ->envname("MOTET_MODEL")
      ->required();
  app.add_option("--threads", threads, "as many as there are cores, unless given")
      ->check(CLI::Range(1, 4096));
  CLI11_PARSE(app, argc, argv);
  if (threads > 0) {
    at::set_num_threads(threads);
  }
  motet::reuse_freed_memory();  // as motet's programs do
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
