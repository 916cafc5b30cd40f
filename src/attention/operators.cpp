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

/// What the operators take, in the order of their schemas. `Spans` are numbers, or a tracer's.
template <class Spans>
struct Call {
  Tensor query;
  at::TensorList keys, values;
  Spans spans;
  int64_t sets;
  OptionalTensor log_weight;
  at::ArrayRef<double> factors;
  OptionalTensor threshold;
  std::optional<double> scale;
  bool entropy;
  int64_t top;
  std::optional<double> cap;

  const char* where() const { return values.empty() ? "motet::score" : "motet::attend"; }

  /// The tensors that a row is differentiable in: query, keys ..., values ..., log weight.
  variable_list inputs() const {
    variable_list all{query};
    all.insert(all.end(), keys.begin(), keys.end());
    all.insert(all.end(), values.begin(), values.end());
    if (log_weight) {
      all.push_back(*log_weight);
    }
    return all;
  }
};
using NumberCall = Call<at::IntArrayRef>;
using TracedCall = Call<c10::SymIntArrayRef>;

/// `function`, which takes a Call, as an operator takes its arguments; `Before` are those that come
/// first.
template <auto function, class Spans, class... Before>
auto operator_of(Before... before, const Tensor& query, at::TensorList keys, at::TensorList values,
                 Spans spans, int64_t sets, const OptionalTensor& log_weight,
                 at::ArrayRef<double> factors, const OptionalTensor& threshold,
                 std::optional<double> scale, bool entropy, int64_t top,
                 std::optional<double> cap) {
  return function(before..., Call<Spans>{query, keys, values, spans, sets, log_weight, factors,
                                         threshold, scale, entropy, top, cap});
}

/// The operator of that name, by its place in `_rows` or `_rows_backward`.
template <class Result, class... Before>
Result call_operator(const char* name, Before... before, const TracedCall& call) {
  using Function =
      Result(Before..., const Tensor&, at::TensorList, at::TensorList, c10::SymIntArrayRef, int64_t,
             const OptionalTensor&, at::ArrayRef<double>, const OptionalTensor&,
             std::optional<double>, bool, int64_t, std::optional<double>);
  static const auto handle =
      c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Function>();
  return handle.call(before..., call.query, call.keys, call.values, call.spans, call.sets,
                     call.log_weight, call.factors, call.threshold, call.scale, call.entropy,
                     call.top, call.cap);
}

RowTensors call_rows(const TracedCall& call) {
  return call_operator<RowTensors>("motet::_rows", call);
}

RowArguments arguments_of(const NumberCall& call) {
  const auto* where = call.where();
  return checked(where, call.query, call.keys, call.values,
                 sets_of(where, call.query, call.keys, call.spans, call.sets, call.factors),
                 call.log_weight,
                 {.rule = {.scale = call.scale, .cap = call.cap},
                  .threshold = call.threshold,
                  .entropy = call.entropy,
                  .top = call.top});
}

/// Rows of all heads of a token side by side, whichever kernel computed them.
Tensor side_by_side(const Tensor& out) { return out.transpose(1, 2).contiguous().transpose(1, 2); }

RowTensors rows(const NumberCall& call) {
  const auto result = compute(arguments_of(call));
  const auto made = [&](const Tensor& x) {
    return x.defined() ? x.contiguous() : at::empty({0}, result.lse.options());
  };
  return {call.values.empty() ? at::empty({0}, call.query.options()) : side_by_side(result.out),
          made(result.lse),
          made(result.entropy),
          made(result.set_lse),
          made(result.set_entropy),
          made(result.set_top)};
}

RowTensors rows_shapes(const TracedCall& call) {
  const auto& query = call.query;
  const auto statistics = query.options().dtype(
      query.scalar_type() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32);
  const auto batch = query.sym_size(0), heads = query.sym_size(1), length = query.sym_size(2);
  const std::vector<SymInt> nothing{0}, of_rows{batch, heads, length};
  const auto of_sets = std::vector<SymInt>{batch, heads, length, call.sets};
  const auto of_top = std::vector<SymInt>{batch, heads, length, call.sets, call.top};
  const auto made = [&](const std::vector<SymInt>& shape, bool wanted = true) {
    return at::empty_symint(wanted ? shape : nothing, statistics);
  };
  const auto out =
      call.values.empty()
          ? at::empty_symint(nothing, query.options())
          : at::empty_symint({batch, length, heads, call.values[0].sym_size(3)}, query.options())
                .transpose(1, 2);
  return {out,
          made(of_rows),
          made(of_rows, call.entropy),
          made(of_sets),
          made(of_sets, call.entropy),
          made(of_top, call.top > 0)};
}

/// Gradients of `Call::inputs` from `gradient` and `result`, which are RowTensors without set_top.
std::vector<Tensor> rows_backward(const OptionalTensors& gradient, at::TensorList result,
                                  const NumberCall& call) {
  const auto arguments = arguments_of(call);
  const auto of = [&](std::size_t i) { return gradient.get(i).value_or(Tensor()); };
  const auto if_made = [&](bool made, const Tensor& x) { return made ? x : Tensor(); };
  auto gradients = differentiate(
      arguments,
      {if_made(!call.values.empty(), result[0]), result[1], if_made(call.entropy, result[2]),
       result[3], if_made(call.entropy, result[4]), Tensor(), Tensor()},
      {of(0), of(1), of(2), of(3), of(4), Tensor(), Tensor()});
  std::vector<Tensor> all{gradients.query};
  all.insert(all.end(), gradients.keys.begin(), gradients.keys.end());
  all.insert(all.end(), gradients.values.begin(), gradients.values.end());
  if (call.log_weight) {
    all.push_back(gradients.log_weight);
  }
  for (auto& tensor : all) {
    tensor = tensor.contiguous();
  }
  return all;
}

std::vector<Tensor> rows_backward_shapes(const OptionalTensors& /*gradient*/,
                                         at::TensorList /*result*/, const TracedCall& call) {
  auto all = call.inputs();
  for (auto& tensor : all) {
    tensor = at::empty_symint(tensor.sym_sizes(), tensor.options());
  }
  return all;
}

/// A call that its backward pass makes again; autograd keeps the tensors.
struct KeptCall : torch::CustomClassHolder {
  std::size_t keys, values;
  std::vector<SymInt> spans;
  int64_t sets;
  bool log_weight;
  std::vector<double> factors;
  bool threshold;
  std::optional<double> scale;
  bool entropy;
  int64_t top;
  std::optional<double> cap;

  explicit KeptCall(const TracedCall& call)
      : keys(call.keys.size()),
        values(call.values.size()),
        spans(call.spans.vec()),
        sets(call.sets),
        log_weight(call.log_weight.has_value()),
        factors(call.factors.vec()),
        threshold(call.threshold.has_value()),
        scale(call.scale),
        entropy(call.entropy),
        top(call.top),
        cap(call.cap) {}

  /// The call with these tensors: those of `Call::inputs`, then the threshold.
  TracedCall with(at::TensorList all) const {
    auto next = 1 + keys + values;
    const auto one = [&](bool there) { return there ? OptionalTensor(all[next++]) : std::nullopt; };
    const auto weights = one(log_weight), parting = one(threshold);
    return {all[0],
            all.slice(1, keys),
            all.slice(1 + keys, values),
            spans,
            sets,
            weights,
            factors,
            parting,
            scale,
            entropy,
            top,
            cap};
  }
};

class RowsFunction : public torch::autograd::Function<RowsFunction> {
 public:
  static variable_list forward(AutogradContext* context, at::TensorList inputs,
                               const c10::intrusive_ptr<KeptCall>& call) {
    const at::AutoDispatchBelowADInplaceOrView guard;
    const auto result = call_rows(call->with(inputs));
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
        c10::static_intrusive_pointer_cast<KeptCall>(context->saved_data["call"].toCapsule());
    const auto saved = context->get_saved_variables();
    const auto inputs = saved.size() - (gradient.size() - 1);
    OptionalTensors given;
    for (std::size_t i = 0; i + 1 < gradient.size(); ++i) {
      given.push_back(gradient[i].defined() ? OptionalTensor(gradient[i]) : std::nullopt);
    }
    auto gradients = call_operator<std::vector<Tensor>, const OptionalTensors&, at::TensorList>(
        "motet::_rows_backward", given, at::TensorList(saved).slice(inputs),
        call->with(at::TensorList(saved).slice(0, inputs)));
    gradients.resize(inputs + 1);  // none for the threshold, none for `call`
    return gradients;
  }
};

RowTensors rows_autograd(const TracedCall& call) {
  auto inputs = call.inputs();
  if (!wants_gradient(inputs)) {
    const at::AutoDispatchBelowADInplaceOrView guard;
    return call_rows(call);
  }
  if (call.threshold) {
    inputs.push_back(*call.threshold);
  }
  const auto all = RowsFunction::apply(at::TensorList(inputs), c10::make_intrusive<KeptCall>(call));
  return {all[0], all[1], all[2], all[3], all[4], all[5]};
}

RowTensors attend_operator(const TracedCall& call) {
  require(!call.values.empty(), "motet::attend: no values; motet::score is for keys alone");
  return call_rows(call);
}

std::tuple<Tensor, Tensor, Tensor> score_operator(const Tensor& query, at::TensorList keys,
                                                  c10::SymIntArrayRef spans, int64_t sets,
                                                  int64_t top, at::ArrayRef<double> factors,
                                                  const OptionalTensor& threshold,
                                                  std::optional<double> scale, bool entropy,
                                                  std::optional<double> cap) {
  const auto result =
      call_rows({query, keys, {}, spans, sets, {}, factors, threshold, scale, entropy, top, cap});
  return {std::get<3>(result), std::get<4>(result), std::get<5>(result)};
}

TORCH_LIBRARY(motet, m) {
  const std::vector<at::Tag> traceable{at::Tag::pt2_compliant_tag};
  m.def("build() -> str", [] { return std::string(kBuild); });
  m.def(
      "attend(Tensor query, Tensor[] keys, Tensor[] values, SymInt[] spans, int sets=1, *, "
      "Tensor? log_weight=None, float[] factors=[], Tensor? threshold=None, float? scale=None, "
      "bool entropy=True, int top=0, float? cap=None) -> (Tensor out, Tensor lse, Tensor entropy, "
      "Tensor set_lse, Tensor set_entropy, Tensor set_top)",
      traceable);
  m.def(
      "score(Tensor query, Tensor[] keys, SymInt[] spans, int sets=1, *, int top=0, "
      "float[] factors=[], Tensor? threshold=None, float? scale=None, bool entropy=True, "
      "float? cap=None) -> (Tensor lse, Tensor entropy, Tensor top)",
      traceable);
  m.def(
      "_rows(Tensor query, Tensor[] keys, Tensor[] values, SymInt[] spans, int sets, "
      "Tensor? log_weight, float[] factors, Tensor? threshold, float? scale, bool entropy, "
      "int top, float? cap=None) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
      traceable);
  m.def(
      "_rows_backward(Tensor?[] gradient, Tensor[] result, Tensor query, Tensor[] keys, "
      "Tensor[] values, SymInt[] spans, int sets, Tensor? log_weight, float[] factors, "
      "Tensor? threshold, float? scale, bool entropy, int top, float? cap) -> Tensor[]",
      traceable);
}

TORCH_LIBRARY_IMPL(motet, CompositeImplicitAutograd, m) {
  m.impl("attend", operator_of<attend_operator, c10::SymIntArrayRef>);
  m.impl("score", score_operator);
}

TORCH_LIBRARY_IMPL(motet, CompositeExplicitAutograd, m) {
  m.impl("_rows", operator_of<rows, at::IntArrayRef>);
  m.impl("_rows_backward",
         operator_of<rows_backward, at::IntArrayRef, const OptionalTensors&, at::TensorList>);
}

TORCH_LIBRARY_IMPL(motet, Meta, m) {
  m.impl("_rows", operator_of<rows_shapes, c10::SymIntArrayRef>);
  m.impl("_rows_backward", operator_of<rows_backward_shapes, c10::SymIntArrayRef,
                                       const OptionalTensors&, at::TensorList>);
}

TORCH_LIBRARY_IMPL(motet, Autograd, m) {
  m.impl("_rows", operator_of<rows_autograd, c10::SymIntArrayRef>);
  m.impl("_rows_backward", torch::autograd::autogradNotImplementedFallback());
}

}  // namespace
}  // namespace motet
