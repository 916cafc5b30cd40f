#include "motet/reading/learned.h"

#include <ATen/ATen.h>

#include <array>
#include <cmath>
#include <memory>
#include <utility>

#include "attention/infinity.h"
#include "attention/merging.h"
#include "motet/error.h"
#include "motet/files/mapped.h"
#include "motet/files/safetensors.h"
#include "motet/files/sha256.h"
#include "motet/reading/registry.h"
#include "reading/numbers.h"
#include "reading/shipped.h"

namespace motet {
namespace {

using torch::Tensor;

constexpr double kNear = 1 / kFar;

/// Undefined ones included.
std::array<const Tensor*, 4> all_of(const LearnedNumbers& numbers) {
  return {&numbers.exponent, &numbers.discount, &numbers.prefix, &numbers.null};
}

/// motet-finetune calls every file reading.safetensors: the directory says whose it is.
std::string name_of(const std::filesystem::path& path) {
  const auto file = std::filesystem::absolute(path).lexically_normal();
  const auto directory = file.parent_path().filename().string();
  return file.stem() == "reading" && !directory.empty() ? directory : file.stem().string();
}

/// Of a layer, as something that rows of [batch, heads, query, pieces] are multiplied by.
Tensor of_layer(const Tensor& numbers, int64_t layer, const Tensor& like) {
  const auto row = numbers.size(0) == 1 ? 0 : layer;
  return numbers.select(0, row).to(like.options()).view({1, -1, 1, 1});
}

}  // namespace

void LearnedNumbers::validate() const {
  const auto check = [](const char* name, const Tensor& numbers, double least = -kFar) {
    require(
        numbers.defined() && numbers.dim() == 2 && numbers.numel() > 0 &&
            (numbers.scalar_type() == torch::kFloat32 || numbers.scalar_type() == torch::kFloat64),
        "motet::Learned: '", name, "' is ",
        numbers.defined() ? c10::str(numbers.sizes(), " of ", numbers.scalar_type())
                          : std::string("missing"),
        "; [layers or 1, heads or 1] in fp32 or float64 is wanted");
    const auto values = numbers.detach();
    const auto inside = (values >= least).logical_and(values <= kFar);  // not NaN
    if (!inside.all().item<bool>()) {
      fail("motet::Learned: '", name, "' has ",
           values.masked_select(inside.logical_not())[0].item<double>(), "; numbers within ", least,
           " and ", kFar, " are wanted");
    }
  };
  check("exponent", exponent, kNear);
  check("discount", discount);
  if (prefix.defined()) {
    check("prefix", prefix);
  }
  if (null.defined()) {
    check("null", null);
  }
}

Learned::Learned(LearnedNumbers numbers, std::string name)
    : numbers_(std::move(numbers)), name_(std::move(name)) {
  numbers_.validate();
}

Learned Learned::pair(double exponent, double discount) {
  require_positive("motet::Learned", "exponent", exponent);
  require(std::abs(discount) <= kFar, "motet::Learned: c = ", discount, "; it is within ", -kFar,
          " and ", kFar);
  const auto one = [](double value) { return torch::full({1, 1}, value, torch::kFloat64); };
  return Learned({one(exponent), one(discount)},
                 "weigh(b=" + text_of(exponent) + ", c=" + text_of(discount) + ")");
}

Learned Learned::load(const std::filesystem::path& path) {
  const auto file = SafeTensors::open(path);
  const auto own = [&](const char* name) { return file.tensor(name).clone(); };
  LearnedNumbers numbers{own("exponent"), own("discount")};
  if (file.contains("prefix")) {
    numbers.prefix = own("prefix");
  }
  if (file.contains("null")) {
    numbers.null = own("null");
  }
  try {
    Learned learned(std::move(numbers), "learned(" + name_of(path) + ")");
    const auto model = file.metadata().find("model_hash");
    learned.source_ = {sha256(read_file(path)),
                       model == file.metadata().end() ? "" : model->second};
    return learned;
  } catch (const Error& error) {
    fail(path.string(), ": ", error.what());
  }
}

void Learned::save(const std::filesystem::path& path,
                   const std::map<std::string, std::string>& about) const {
  std::map<std::string, Tensor> tensors{{"exponent", numbers_.exponent},
                                        {"discount", numbers_.discount}};
  if (numbers_.prefix.defined()) {
    tensors["prefix"] = numbers_.prefix;
  }
  if (numbers_.null.defined()) {
    tensors["null"] = numbers_.null;
  }
  save_safetensors(path, tensors, about);
}

void Learned::check(int64_t layers, int64_t heads) const {
  for (const auto* numbers : all_of(numbers_)) {
    if (numbers->defined()) {
      require((numbers->size(0) == 1 || numbers->size(0) == layers) &&
                  (numbers->size(1) == 1 || numbers->size(1) == heads),
              name_, ": its numbers are ", numbers->sizes(), ", of another model than this one of ",
              layers, " layers with ", heads, " heads");
    }
  }
}

std::optional<Tensor> Learned::decide(const PieceScores& scores) const {
  for (const auto* numbers : all_of(numbers_)) {
    if (numbers->defined()) {
      require((numbers->size(0) == 1 || scores.layer < numbers->size(0)) &&
                  (numbers->size(1) == 1 || numbers->size(1) == scores.lse.size(1)),
              name_, ": its numbers are ", numbers->sizes(), ", of another model than this one, ",
              "whose layer ", scores.layer, " has ", scores.lse.size(1), " heads");
    }
  }
  if (scores.sets.pieces() == 0 && !numbers_.prefix.defined() && !numbers_.null.defined()) {
    return {};
  }
  const auto& like = scores.lse;
  auto weight = torch::zeros_like(like);
  if (scores.sets.pieces() > 0) {
    const auto pieces = scores.piece_lse();
    const auto none = pieces == -kInfinity;  // and no gradient comes from there
    const auto lse = below_largest(pieces).masked_fill(none, 0);
    const auto b = of_layer(numbers_.exponent, scores.layer, lse);
    const auto c = of_layer(numbers_.discount, scores.layer, lse);
    const auto total = finite_log_sum((b * lse).masked_fill(none, -kInfinity));
    const auto discount = c * std::log(static_cast<double>(scores.sets.pieces()));
    weight = scores.for_pieces((b - 1) * lse - (1 - 1 / b) * total - discount);
  }
  if (numbers_.prefix.defined()) {
    auto of_prefix = torch::zeros_like(weight);
    const auto there = scores.sets.prefix_in(scores.lse) != -kInfinity;
    of_prefix.select(3, scores.sets.prefix()).copy_(there);
    weight = weight + of_prefix * of_layer(numbers_.prefix, scores.layer, like);
  }
  if (numbers_.null.defined()) {
    auto of_null = torch::zeros_like(weight);
    scores.sets.null_in(of_null).fill_(1);
    weight = weight + of_null * of_layer(numbers_.null, scores.layer, like);
  }
  return weight;
}

ReadingKind learned_kind() {
  return {.name = "learned", .usage = "learned:FILE", .make = [](const ReadingText& text) {
            const auto path = text.rest(0);
            if (path.empty()) {
              text.fail("a file of motet-finetune --tune reading is wanted");
            }
            return std::make_shared<Learned>(Learned::load(path));
          }};
}

ReadingKind weigh_kind() {
  return {
      .name = "weigh", .usage = "weigh[:B[:C]]", .make = [](const ReadingText& text) {
        text.at_most(2);
        return std::make_shared<Learned>(Learned::pair(text.number(0, 1.5), text.number(1, 0.6)));
      }};
}

}  // namespace motet
