// torch.ops.motet: `attend` and `score` for PyTorch, in Python and TorchScript (docs/python.md).
// Both are `_rows`, which has what PyTorch's tracers want of an operator: shapes without data
// (Meta) and a backward pass that is an operator too.

#include <ATen/ATen.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/csrc/autograd/autograd_not_implemented_fallback.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/headeronly/version.h>
#include <torch/library.h>

#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "kernel/checked.h"
#include "kernel/compute.h"
#include "motet/error.h"

namespace motet {
namespace {

using c10::SymInt;
using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using OptionalTensor = std::optional<Tensor>;
using OptionalTensors = c10::List<OptionalTensor>;

/// out, lse, entropy, set_lse, set_entropy, set_top; those that are not wanted have no elements.
using RowTensors = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

/// What a library file tells of the LibTorch that it needs, without being loaded.
[[gnu::used]] constexpr char kBuild[] = "motet was built with LibTorch " TORCH_VERSION;

constexpr int64_t kSpanNumbers = 6;  // set, first_row, rows, first_key, keys, causal

KeySets sets_of(const char* where, const Tensor& query, at::TensorList keys,
                at::IntArrayRef numbers, int64_t sets, at::ArrayRef<double> factors) {
  require(query.dim() == 4, where, ": a query of ", query.dim(),
          " dimensions; it is [batch, heads, query, features]");
  int64_t count = 0;
  for (const auto& tensor : keys) {
    require(tensor.dim() == 4, where, ": keys of ", tensor.dim(),
            " dimensions; they are [batch, kv_heads, keys, features]");
    count += tensor.size(2);
  }
  require(numbers.size() % kSpanNumbers == 0, where, ": spans of ", numbers.size(),
          " numbers; each span is six: set, first_row, rows, first_key, keys, causal");
  std::vector<Span> spans;
  for (auto next = numbers.begin(); next != numbers.end(); next += kSpanNumbers) {
    require(next[5] == 0 || next[5] == 1, where, ": a span ends with ", next[5],
            "; causal is 0 or 1");
    spans.push_back({next[0], next[1], next[2], next[3], next[4], next[5] == 1});
  }
  KeySets made(sets, query.size(2), count, std::move(spans));
  require(factors.empty() || static_cast<int64_t>(factors.size()) == sets, where, ": ",
          factors.size(), " factors for ", sets, " sets; give one for each, or none");
  for (std::size_t set = 0; set < factors.size(); ++set) {
    made = made.with_factor(static_cast<int64_t>(set), factors[set]);
  }
  return made;
}

RowArguments arguments_of(const Tensor& query, at::TensorList keys, at::TensorList values,
                          at::IntArrayRef spans, int64_t sets, const OptionalTensor& log_weight,
                          at::ArrayRef<double> factors, const OptionalTensor& threshold,
                          std::optional<double> scale, bool entropy, int64_t top) {
  const auto* where = values.empty() ? "motet::score" : "motet::attend";
  return checked(where, query, keys, values, sets_of(where, query, keys, spans, sets, factors),
                 log_weight, {{scale}, threshold, entropy, top});
}

/// Rows of all heads of a token side by side, whichever kernel computed them.
Tensor side_by_side(const Tensor& out) { return out.transpose(1, 2).contiguous().transpose(1, 2); }

RowTensors rows(const Tensor& query, at::TensorList keys, at::TensorList values,
                at::IntArrayRef spans, int64_t sets, const OptionalTensor& log_weight,
                at::ArrayRef<double> factors, const OptionalTensor& threshold,
                std::optional<double> scale, bool entropy, int64_t top) {
  const auto result = compute(arguments_of(query, keys, values, spans, sets, log_weight, factors,
                                           threshold, scale, entropy, top));
  const auto made = [&](const Tensor& x) {
    return x.defined() ? x.contiguous() : at::empty({0}, result.lse.options());
  };
  return {values.empty() ? at::empty({0}, query.options()) : side_by_side(result.out),
          made(result.lse),
          made(result.entropy),
          made(result.set_lse),
          made(result.set_entropy),
          made(result.set_top)};
}

RowTensors rows_shapes(const Tensor& query, at::TensorList /*keys*/, at::TensorList values,
                       c10::SymIntArrayRef /*spans*/, int64_t sets,
                       const OptionalTensor& /*log_weight*/, at::ArrayRef<double> /*factors*/,
                       const OptionalTensor& /*threshold*/, std::optional<double> /*scale*/,
                       bool entropy, int64_t top) {
  const auto statistics = query.options().dtype(
      query.scalar_type() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32);
  const auto batch = query.sym_size(0), heads = query.sym_size(1), length = query.sym_size(2);
  const std::vector<SymInt> nothing{0}, of_rows{batch, heads, length};
  const auto of_sets = std::vector<SymInt>{batch, heads, length, sets};
  const auto of_top = std::vector<SymInt>{batch, heads, length, sets, top};
  const auto made = [&](const std::vector<SymInt>& shape, bool wanted = true) {
    return at::empty_symint(wanted ? shape : nothing, statistics);
  };
  const auto out = values.empty() ? at::empty_symint(nothing, query.options())
                                  : at::empty_symint({batch, length, heads, values[0].sym_size(3)},
                                                     query.options())
                                        .transpose(1, 2);
  return {out,           made(of_rows),          made(of_rows, entropy),
          made(of_sets), made(of_sets, entropy), made(of_top, top > 0)};
}

/// Gradients of query, keys ..., values ... and, where there is one, log weight, from `gradient`
/// and `result`, which are RowTensors without set_top.
std::vector<Tensor> rows_backward(const OptionalTensors& gradient, at::TensorList result,
                                  const Tensor& query, at::TensorList keys, at::TensorList values,
                                  at::IntArrayRef spans, int64_t sets,
                                  const OptionalTensor& log_weight, at::ArrayRef<double> factors,
                                  const OptionalTensor& threshold, std::optional<double> scale,
                                  bool entropy) {
  const auto arguments = arguments_of(query, keys, values, spans, sets, log_weight, factors,
                                      threshold, scale, entropy, 0);
  const auto of = [&](std::size_t i) { return gradient.get(i).value_or(Tensor()); };
  const auto if_made = [&](bool made, const Tensor& x) { return made ? x : Tensor(); };
  auto gradients =
      differentiate(arguments,
                    {if_made(!values.empty(), result[0]), result[1], if_made(entropy, result[2]),
                     result[3], if_made(entropy, result[4]), Tensor(), Tensor()},
                    {of(0), of(1), of(2), of(3), of(4), Tensor(), Tensor()});
  std::vector<Tensor> all{gradients.query};
  all.insert(all.end(), gradients.keys.begin(), gradients.keys.end());
  all.insert(all.end(), gradients.values.begin(), gradients.values.end());
  if (log_weight) {
    all.push_back(gradients.log_weight);
  }
  for (auto& tensor : all) {
    tensor = tensor.contiguous();
  }
  return all;
}

std::vector<Tensor> rows_backward_shapes(
    const OptionalTensors& /*gradient*/, at::TensorList /*result*/, const Tensor& query,
    at::TensorList keys, at::TensorList values, c10::SymIntArrayRef /*spans*/, int64_t /*sets*/,
    const OptionalTensor& log_weight, at::ArrayRef<double> /*factors*/,
    const OptionalTensor& /*threshold*/, std::optional<double> /*scale*/, bool /*entropy*/) {
  std::vector<Tensor> all{query};
  all.insert(all.end(), keys.begin(), keys.end());
  all.insert(all.end(), values.begin(), values.end());
  if (log_weight) {
    all.push_back(*log_weight);
  }
  for (auto& tensor : all) {
    tensor = at::empty_symint(tensor.sym_sizes(), tensor.options());
  }
  return all;
}

using RowsOperator = RowTensors(const Tensor&, at::TensorList, at::TensorList, c10::SymIntArrayRef,
                                int64_t, const OptionalTensor&, at::ArrayRef<double>,
                                const OptionalTensor&, std::optional<double>, bool, int64_t);
using RowsBackwardOperator = std::vector<Tensor>(const OptionalTensors&, at::TensorList,
                                                 const Tensor&, at::TensorList, at::TensorList,
                                                 c10::SymIntArrayRef, int64_t,
                                                 const OptionalTensor&, at::ArrayRef<double>,
                                                 const OptionalTensor&, std::optional<double>,
                                                 bool);

const auto& rows_operator() {
  static const auto handle =
      c10::Dispatcher::singleton().findSchemaOrThrow("motet::_rows", "").typed<RowsOperator>();
  return handle;
}

const auto& rows_backward_operator() {
  static const auto handle = c10::Dispatcher::singleton()
                                 .findSchemaOrThrow("motet::_rows_backward", "")
                                 .typed<RowsBackwardOperator>();
  return handle;
}

/// The arguments of one call, which its backward pass needs again; autograd keeps the tensors.
struct Call : torch::CustomClassHolder {
  std::size_t keys, values;
  std::vector<SymInt> spans;
  int64_t sets;
  bool log_weight;
  std::vector<double> factors;
  bool threshold;
  std::optional<double> scale;
  bool entropy;
  int64_t top;
};

/// Tensors in the order of `_rows`: query, keys ..., values ..., log weight, threshold.
struct CallTensors {
  Tensor query;
  at::TensorList keys, values;
  OptionalTensor log_weight, threshold;

  CallTensors(const Call& call, at::TensorList all)
      : query(all[0]),
        keys(all.slice(1, call.keys)),
        values(all.slice(1 + call.keys, call.values)) {
    auto next = 1 + call.keys + call.values;
    if (call.log_weight) {
      log_weight = all[next++];
    }
    if (call.threshold) {
      threshold = all[next];
    }
  }
};

class RowsFunction : public torch::autograd::Function<RowsFunction> {
 public:
  static variable_list forward(AutogradContext* context, at::TensorList inputs,
                               const c10::intrusive_ptr<Call>& call) {
    const at::AutoDispatchBelowADInplaceOrView guard;
    const CallTensors tensors(*call, inputs);
    const auto result = rows_operator().call(
        tensors.query, tensors.keys, tensors.values, call->spans, call->sets, tensors.log_weight,
        call->factors, tensors.threshold, call->scale, call->entropy, call->top);
    auto outputs = std::apply([](const auto&... x) { return variable_list{x...}; }, result);
    context->saved_data["call"] = c10::IValue::make_capsule(call);
    auto saved = inputs.vec();
    saved.insert(saved.end(), outputs.begin(), outputs.end() - 1);
    context->save_for_backward(saved);
    context->set_materialize_grads(false);
    variable_list constant{outputs[5]};
    if (!call->entropy) {
      constant.push_back(outputs[2]);
      constant.push_back(outputs[4]);
    }
    if (call->values == 0) {
      constant.push_back(outputs[0]);
    }
    context->mark_non_differentiable(constant);
    return outputs;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradient) {
    const auto call =
        c10::static_intrusive_pointer_cast<Call>(context->saved_data["call"].toCapsule());
    const auto saved = context->get_saved_variables();
    const auto inputs = saved.size() - (gradient.size() - 1);
    const CallTensors tensors(*call, at::TensorList(saved).slice(0, inputs));
    OptionalTensors given;
    for (std::size_t i = 0; i + 1 < gradient.size(); ++i) {
      given.push_back(gradient[i].defined() ? OptionalTensor(gradient[i]) : std::nullopt);
    }
    auto gradients = rows_backward_operator().call(
        given, at::TensorList(saved).slice(inputs), tensors.query, tensors.keys, tensors.values,
        call->spans, call->sets, tensors.log_weight, call->factors, tensors.threshold, call->scale,
        call->entropy);
    gradients.resize(inputs + 1);  // none for the threshold, none for `call`
    return gradients;
  }
};

RowTensors rows_autograd(const Tensor& query, at::TensorList keys, at::TensorList values,
                         c10::SymIntArrayRef spans, int64_t sets, const OptionalTensor& log_weight,
                         at::ArrayRef<double> factors, const OptionalTensor& threshold,
                         std::optional<double> scale, bool entropy, int64_t top) {
  variable_list inputs{query};
  inputs.insert(inputs.end(), keys.begin(), keys.end());
  inputs.insert(inputs.end(), values.begin(), values.end());
  if (log_weight) {
    inputs.push_back(*log_weight);
  }
  if (!wants_gradient(inputs)) {
    const at::AutoDispatchBelowADInplaceOrView guard;
    return rows_operator().call(query, keys, values, spans, sets, log_weight, factors, threshold,
                                scale, entropy, top);
  }
  if (threshold) {
    inputs.push_back(*threshold);
  }
  auto call = c10::make_intrusive<Call>();
  call->keys = keys.size();
  call->values = values.size();
  call->spans = spans.vec();
  call->sets = sets;
  call->log_weight = log_weight.has_value();
  call->factors = factors.vec();
  call->threshold = threshold.has_value();
  call->scale = scale;
  call->entropy = entropy;
  call->top = top;
  const auto all = RowsFunction::apply(at::TensorList(inputs), call);
  return {all[0], all[1], all[2], all[3], all[4], all[5]};
}

RowTensors attend_operator(const Tensor& query, at::TensorList keys, at::TensorList values,
                           c10::SymIntArrayRef spans, int64_t sets,
                           const OptionalTensor& log_weight, at::ArrayRef<double> factors,
                           const OptionalTensor& threshold, std::optional<double> scale,
                           bool entropy, int64_t top) {
  require(!values.empty(), "motet::attend: no values; motet::score is for keys alone");
  return rows_operator().call(query, keys, values, spans, sets, log_weight, factors, threshold,
                              scale, entropy, top);
}

std::tuple<Tensor, Tensor, Tensor> score_operator(const Tensor& query, at::TensorList keys,
                                                  c10::SymIntArrayRef spans, int64_t sets,
                                                  int64_t top, at::ArrayRef<double> factors,
                                                  const OptionalTensor& threshold,
                                                  std::optional<double> scale, bool entropy) {
  const auto result = rows_operator().call(query, keys, {}, spans, sets, {}, factors, threshold,
                                           scale, entropy, top);
  return {std::get<3>(result), std::get<4>(result), std::get<5>(result)};
}

TORCH_LIBRARY(motet, m) {
  const std::vector<at::Tag> traceable{at::Tag::pt2_compliant_tag};
  m.def("build() -> str", [] { return std::string(kBuild); });
  m.def(
      "attend(Tensor query, Tensor[] keys, Tensor[] values, SymInt[] spans, int sets=1, *, "
      "Tensor? log_weight=None, float[] factors=[], Tensor? threshold=None, float? scale=None, "
      "bool entropy=True, int top=0) -> (Tensor out, Tensor lse, Tensor entropy, Tensor set_lse, "
      "Tensor set_entropy, Tensor set_top)",
      traceable);
  m.def(
      "score(Tensor query, Tensor[] keys, SymInt[] spans, int sets=1, *, int top=0, "
      "float[] factors=[], Tensor? threshold=None, float? scale=None, bool entropy=True) -> "
      "(Tensor lse, Tensor entropy, Tensor top)",
      traceable);
  m.def(
      "_rows(Tensor query, Tensor[] keys, Tensor[] values, SymInt[] spans, int sets, "
      "Tensor? log_weight, float[] factors, Tensor? threshold, float? scale, bool entropy, "
      "int top) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
      traceable);
  m.def(
      "_rows_backward(Tensor?[] gradient, Tensor[] result, Tensor query, Tensor[] keys, "
      "Tensor[] values, SymInt[] spans, int sets, Tensor? log_weight, float[] factors, "
      "Tensor? threshold, float? scale, bool entropy) -> Tensor[]",
      traceable);
}

TORCH_LIBRARY_IMPL(motet, CompositeImplicitAutograd, m) {
  m.impl("attend", attend_operator);
  m.impl("score", score_operator);
}

TORCH_LIBRARY_IMPL(motet, CompositeExplicitAutograd, m) {
  m.impl("_rows", rows);
  m.impl("_rows_backward", rows_backward);
}

TORCH_LIBRARY_IMPL(motet, Meta, m) {
  m.impl("_rows", rows_shapes);
  m.impl("_rows_backward", rows_backward_shapes);
}

TORCH_LIBRARY_IMPL(motet, Autograd, m) {
  m.impl("_rows", rows_autograd);
  m.impl("_rows_backward", torch::autograd::autogradNotImplementedFallback());
}

}  // namespace
}  // namespace motet
