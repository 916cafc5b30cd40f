// motet-trace: the residual stream after every layer, and the logits, as safetensors: what
// examples/python/verify_model.py compares with other implementations.

#include <torch/types.h>

#include <algorithm>
#include <numeric>

#include "motet/attention/rows.h"
#include "motet/context/layout.h"
#include "motet/files/mapped.h"
#include "motet/files/safetensors.h"
#include "motet/text/tokenizer.h"
#include "program.h"

namespace {

struct Options : program::Options {
  std::filesystem::path text;
  int64_t tokens = 256;
  bool bos = false;
};

void add_options(CLI::App& app, Options& options) {
  app.add_option("directory", options.model, "of a model in Hugging Face format")->required();
  app.add_option("out", options.out,
                 "safetensors file to write: tokens [tokens], residual [layers + 1, tokens, width] "
                 "(the first is the embedding), logits [tokens, vocabulary]")
      ->required();
  app.add_option("--text", options.text, "file to read from its start")
      ->check(CLI::ExistingFile)
      ->required();
  app.add_option("--tokens", options.tokens, "of the text, at most")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_flag("--bos", options.bos, "put the tokenizer's first token before the text");
  app.add_option("--dtype", options.dtype, "of weights and activations")
      ->check(CLI::IsMember({"float32", "bfloat16"}))
      ->capture_default_str();
  program::add_ignore_option(app, options);
  program::add_basic_options(app, options);
}

/// Ordinary causal attention, behind the window of each layer.
class Causal : public motet::Attention {
 public:
  Causal(const motet::Config& config, const std::vector<int64_t>& positions)
      : config_(config),
        positions_(positions),
        sets_(motet::causal_keys(static_cast<int64_t>(positions.size()),
                                 static_cast<int64_t>(positions.size()))) {}
  torch::Tensor attend(int64_t layer, const torch::Tensor& query, const torch::Tensor& keys,
                       const torch::Tensor& values, const motet::ScoreRule& rule) override {
    const auto window = config_.window(layer);
    const auto sets = window ? motet::behind_window(sets_, positions_, positions_, *window) : sets_;
    return motet::attend(query, keys, values, sets, {}, {.rule = rule}).out;
  }

 private:
  const motet::Config& config_;
  const std::vector<int64_t>& positions_;
  motet::KeySets sets_;
};

void trace(const Options& options) {
  const auto tokenizer = motet::Tokenizer::load(options.model);
  auto ids = program::tokens_of(options, tokenizer,
                                {options.text.string(), motet::read_file(options.text)});
  motet::require(!ids.empty(), options.text.string(), ": has no tokens; give a text with --text");
  ids.resize(std::min<std::size_t>(ids.size(), options.tokens));
  if (options.bos) {
    const auto config = motet::load_config(options.model);
    const auto first = program::bos_of(options.model, config, tokenizer);
    ids.insert(ids.begin(), first.begin(), first.end());
  }
  const auto model = motet::load_model(options.model, options.load());
  motet::require(!model->config().learned_positions() ||
                     static_cast<int64_t>(ids.size()) <= model->config().positions,
                 "--tokens: ", ids.size(), " tokens, but the model's table has ",
                 model->config().positions, " positions; give fewer");
  std::vector<int64_t> positions(ids.size());
  std::iota(positions.begin(), positions.end(), 0);
  const auto tokens = torch::tensor(ids, torch::kInt64);
  std::vector<torch::Tensor> residual;  // [tokens, width], after each number of layers
  Causal attention(model->config(), positions);
  const at::NoGradGuard no_grad;
  const auto hidden = model->forward(
      tokens.unsqueeze(0), positions, attention,
      [&](int64_t /*layers*/, const torch::Tensor& x) { residual.push_back(x[0].clone()); });
  motet::save_safetensors(options.out, {{"tokens", tokens},
                                        {"residual", torch::stack(residual)},
                                        {"logits", model->logits(hidden)[0]}});
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("The residual stream after every layer, and the logits, of the start of a text.",
               "motet-trace");
  Options options;
  add_options(app, options);
  return program::run(app, argc, argv, options, [&] { trace(options); });
}
