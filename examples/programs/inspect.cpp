// motet-inspect: what a model's directory holds, what it needs, and whether motet loads it.

#include <fmt/format.h>

#include <map>

#include "motet/files/safetensors.h"
#include "motet/model/weights.h"
#include "motet/text/tokenizer.h"
#include "program.h"

namespace {

struct Options : program::Options {
  int64_t length = 4096;
  bool tensors = false;
};

void add_options(CLI::App& app, Options& options) {
  app.add_option("directory", options.model, "of a model in Hugging Face format")->required();
  app.add_option("--length", options.length, "tokens whose keys and values are counted")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--dtype", options.dtype, "of weights, keys and values")
      ->check(CLI::IsMember({"float32", "bfloat16"}))
      ->capture_default_str();
  program::add_ignore_option(app, options);
  app.add_flag("--tensors", options.tensors, "the name, shape and dtype of every tensor");
  program::add_basic_options(app, options);
}

void line(std::string_view name, const std::string& value) {
  fmt::print("{:<12} {}\n", name, program::for_output(value));
}

std::string bytes(double count) {
  return count < 1 << 30 ? fmt::format("{:.1f} MiB", count / (1 << 20))
                         : fmt::format("{:.2f} GiB", count / (1 << 30));
}

std::string shape(const torch::Tensor& tensor) {
  std::string text;
  for (const auto size : tensor.sizes()) {
    text += (text.empty() ? "" : " x ") + std::to_string(size);
  }
  return text.empty() ? "a number" : text;
}

void show_config(const motet::Config& config) {
  line("family", config.model_type);
  line("layers", fmt::format("{} of width {}, MLP {} ({})", config.layers, config.width,
                             config.inner, config.activation));
  line("heads",
       fmt::format("{} of {} features, {} of keys and values{}", config.heads, config.features,
                   config.kv_heads, config.query_key_norm ? ", queries and keys normed" : ""));
  line("positions",
       fmt::format("{}, {}", config.positions,
                   config.learned_positions() ? "learned: there are no more" : "rotated"));
  line("vocabulary",
       fmt::format("{}{}", config.vocabulary, config.tied ? ", output tied to the embedding" : ""));
}

void show_files(const Options& options) {
  const auto files = motet::SafeTensors::open_model(options.model);
  std::map<std::string, int64_t> elements;  // of each dtype
  std::map<std::string, int64_t> others;    // tensors of dtypes that LibTorch has not
  double size = 0;
  for (const auto& name : files.names()) {
    if (!files.readable(name)) {
      ++others[files.dtype(name)];
      continue;
    }
    const auto tensor = files.tensor(name);
    elements[c10::toString(tensor.scalar_type())] += tensor.numel();
    size += static_cast<double>(tensor.nbytes());
  }
  std::string dtypes;
  for (const auto& [dtype, count] : elements) {
    dtypes += fmt::format("{}{:.1f} M {}", dtypes.empty() ? "" : ", ", count / 1e6, dtype);
  }
  for (const auto& [dtype, count] : others) {
    dtypes += fmt::format("{}{} of {}", dtypes.empty() ? "" : ", ", count, dtype);
  }
  line("tensors", fmt::format("{} in {} file{}: {}, {}", files.names().size(), files.files().size(),
                              files.files().size() == 1 ? "" : "s", dtypes, bytes(size)));
  if (options.tensors) {
    for (const auto& name : files.names()) {
      const bool readable = files.readable(name);
      fmt::print("  {:<56} {:<18} {}\n", name, readable ? shape(files.tensor(name)) : "",
                 readable ? c10::toString(files.tensor(name).scalar_type()) : files.dtype(name));
    }
  }
}

void inspect(const Options& options) {
  // Each part speaks for itself: what cannot be read is said, and the rest is still shown.
  std::string problem;
  const auto attempt = [&](const char* name, const auto& part) {
    try {
      part();
    } catch (const motet::Error& error) {
      line(name, error.what());
      problem = problem.empty() ? error.what() : problem;
    }
  };
  attempt("config", [&] { show_config(motet::load_config(options.model)); });
  attempt("tensors", [&] { show_files(options); });
  attempt("tokenizer", [&] {
    const auto tokenizer = motet::Tokenizer::load(options.model);
    const auto& first = tokenizer.usual_prefix();
    line("tokenizer",
         fmt::format("{} tokens{}", tokenizer.size(),
                     first.empty() ? "" : ", usually puts " + tokenizer.decode(first) + " first"));
  });
  motet::require(problem.empty(), "it cannot be loaded: ", problem);
  const auto model = motet::load_model(options.model, options.load());
  const auto& config = model->config();
  double weights = 0;
  for (const auto& parameter : model->parameters()) {
    weights += static_cast<double>(parameter.nbytes());
  }
  const auto element = static_cast<double>(c10::elementSize(model->dtype()));
  const auto token =
      2.0 * element * static_cast<double>(config.layers * config.kv_heads * config.features);
  const auto keys = token * static_cast<double>(options.length);
  line("memory", fmt::format("weights {}, keys and values of {} tokens {} ({}), in {}",
                             bytes(weights), options.length, bytes(keys),
                             fmt::format("{:.0f} bytes a token", token), options.dtype));
  line("", "it loads");
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("What a model's directory holds, what it needs, and whether motet loads it.",
               "motet-inspect");
  Options options;
  add_options(app, options);
  return program::run(app, argc, argv, options, [&] { inspect(options); });
}
