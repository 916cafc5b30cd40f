#include "model/products.h"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <optional>

#include "kernel/few_rows.h"
#include "kernel/target.h"
#include "motet/error.h"

namespace motet {
namespace {

using torch::Tensor;

/// LibTorch's way to oneDNN's products of fp32, which has no gradient of its own; null where it was
/// built without.
using LinearSignature = Tensor(const Tensor&, const Tensor&, const std::optional<Tensor>&,
                               c10::string_view, c10::List<std::optional<at::Scalar>>,
                               std::optional<c10::string_view>);
using LinearOperator = c10::TypedOperatorHandle<LinearSignature>;
const LinearOperator* onednn() {
  static const std::optional<LinearOperator> kOperator = []() -> std::optional<LinearOperator> {
    const auto found = c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", ""});
    if (!found || !at::hasMKLDNN()) {
      return std::nullopt;
    }
    return found->typed<LinearSignature>();
  }();
  return kOperator ? &*kOperator : nullptr;
}

struct Products {
  std::string_view name;
  bool onednn;  // of fp32
  bool native;  // of bf16
  // Rows up to which motet's own product is the faster one: of fp32, of bf16, of bf16 to fp32.
  int64_t few, few_low, few_wide;
};
constexpr std::array kAll{
    Products{"libtorch/wide", false, false, 16, 16, 16},
    Products{"libtorch/native", false, true, 16, 16, 16},
    Products{"onednn/wide", true, false, 16, 16, 64},
    Products{"onednn/native", true, true, 8, 8, 64},
};

const Products& products_named(std::string_view where, std::string_view name) {
  std::string known;
  for (const auto& products : kAll) {
    if (products.onednn && onednn() == nullptr) {
      continue;
    }
    if (products.name == name) {
      return products;
    }
    known += (known.empty() ? "" : ", ") + std::string(products.name);
  }
  fail(where, name, ": no such products; there are ", known);
}

/// The rule; docs/performance.md has the measurements. Its version is in products_provenance().
std::string_view best_for(const Processor& processor) {
  if (processor.amd && onednn() != nullptr) {
    return processor.avx512_bfloat16 ? "onednn/native" : "onednn/wide";
  }
  return processor.amx_bfloat16 || !processor.x86 ? "libtorch/native" : "libtorch/wide";
}

const Products*& chosen() {
  static const Products* products = [] {
    const char* forced = std::getenv("MOTET_PRODUCTS");
    return forced == nullptr ? &products_named("", best_for(processor()))
                             : &products_named("MOTET_PRODUCTS=", forced);
  }();
  return products;
}

Tensor onednn_product(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const auto some_bias = bias.defined() ? std::optional(bias) : std::nullopt;
  return onednn()->call(x, weight, some_bias, "none", c10::List<std::optional<at::Scalar>>(), "");
}

/// x W^T and its gradients; that of W is LibTorch's own product, which is no slower there.
class OneDnnProduct : public torch::autograd::Function<OneDnnProduct> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x,
                        const Tensor& weight) {
    context->save_for_backward({x, weight});
    return onednn_product(x, weight, Tensor());
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto &x = saved[0], &weight = saved[1], &gradient = gradients[0];
    torch::autograd::variable_list found(2);
    if (context->needs_input_grad(0)) {
      found[0] = apply(gradient, weight.t());
    }
    if (context->needs_input_grad(1)) {
      const auto rows = gradient.reshape({-1, gradient.size(-1)});
      found[1] = rows.t().mm(x.reshape({-1, x.size(-1)}));
    }
    return found;
  }
};

/// Whether oneDNN takes it: what does not fit is left to LibTorch, errors of shapes included.
bool onednn_multiplies(const Tensor& x, const Tensor& weight) {
  return chosen()->onednn && x.scalar_type() == torch::kFloat32 &&
         weight.scalar_type() == torch::kFloat32 && x.is_cpu() && weight.is_cpu() && x.dim() > 0 &&
         weight.dim() == 2 && x.size(-1) == weight.size(1) && x.numel() > 0 && weight.numel() > 0 &&
         !at::autocast::is_autocast_enabled(at::kCPU);
}

Tensor product(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  if (!onednn_multiplies(x, weight)) {
    return at::linear(x, weight, bias.defined() ? std::optional(bias) : std::nullopt);
  }
  const bool differentiated =
      x.requires_grad() || weight.requires_grad() || (bias.defined() && bias.requires_grad());
  if (!at::GradMode::is_enabled() || !differentiated) {
    return onednn_product(x, weight, bias);
  }
  const auto y = OneDnnProduct::apply(x, weight);
  return bias.defined() ? y + bias : y;
}

}  // namespace

std::string_view products_name() { return chosen()->name; }

std::vector<std::string_view> all_products() {
  std::vector<std::string_view> names;
  for (const auto& products : kAll) {
    if (!products.onednn || onednn() != nullptr) {
      names.push_back(products.name);
    }
  }
  return names;
}

void use_products(std::string_view name) {
  chosen() = &products_named("motet::use_products: ", name);
}

std::string products_provenance() { return std::string(products_name()) + ", rule 2"; }

std::vector<Tensor> multiply(const Tensor& x, std::span<const Affine> maps,
                             torch::ScalarType type) {
  if (maps.empty()) {
    return {};
  }
  const auto& products = *chosen();
  const bool low = x.scalar_type() == torch::kBFloat16, widens = type != x.scalar_type();
  const auto few = !low ? products.few : widens ? products.few_wide : products.few_low;
  if (std::all_of(maps.begin(), maps.end(),
                  [&](const Affine& map) { return multiplies_few_rows(x, map, few); })) {
    return multiply_few_rows(x, maps, type);
  }
  const bool wide = widens || (low && x.is_cpu() && !products.native);
  const auto operand = [&](const Tensor& tensor) {
    return wide && tensor.defined() ? tensor.to(torch::kFloat32) : tensor;
  };
  const auto left = operand(x);
  std::vector<Tensor> found;
  for (const auto& [weight, bias] : maps) {
    const auto y = product(left, operand(weight), operand(bias));
    found.push_back(wide ? y.to(type) : y);
  }
  return found;
}

}  // namespace motet
