#include "motet/eval/predictions.h"

#include <ATen/ATen.h>

#include <cmath>
#include <functional>
#include <string>

#include "motet/error.h"

namespace motet {

namespace {

/// `log_p_of` makes ln p of the rows from `first` to `last`, [rows, vocabulary]; `hidden` is of one
/// member, or of the only one.
Predictions predict_rows(const Decoder& model, const torch::Tensor& hidden,
                         const std::function<torch::Tensor(int64_t first, int64_t last)>& log_p_of,
                         const std::vector<int64_t>& targets,
                         const std::optional<torch::Tensor>& reference) {
  const auto rows = static_cast<int64_t>(targets.size());
  require(hidden.size(0) == rows && (!reference || reference->size(0) == rows),
          "motet::predict: ", hidden.size(0), " rows, ", rows, " tokens to predict",
          reference ? ", a reference of " + std::to_string(reference->size(0)) : "");
  const at::NoGradGuard no_grad;
  const auto tokens = torch::tensor(targets, torch::kInt64).to(model.device());
  constexpr int64_t kRows = 64;  // of a vocabulary of 128,000 these take 32 MB
  std::vector<torch::Tensor> nll, top1, kl, same;
  for (int64_t first = 0; first < rows; first += kRows) {
    const auto last = std::min(first + kRows, rows);
    const auto log_p = log_p_of(first, last);
    const auto wanted = tokens.slice(0, first, last);
    nll.push_back(-log_p.gather(1, wanted.unsqueeze(1)).squeeze(1));
    top1.push_back(log_p.argmax(-1) == wanted);
    if (reference) {
      const auto log_r = model.logits(reference->slice(0, first, last)).log_softmax(-1);
      kl.push_back((log_r.exp() * (log_r - log_p)).sum(-1));
      same.push_back(log_r.argmax(-1) == log_p.argmax(-1));
    }
  }
  const auto joined = [](const std::vector<torch::Tensor>& parts) {
    return torch::cat(parts).to(torch::kFloat64);
  };
  Predictions predictions{joined(nll), joined(top1), {}, {}};
  const auto finite = predictions.nll.isfinite();
  require(finite.all().item<bool>(), "motet::predict: the loss of ",
          finite.logical_not().sum().item<int64_t>(), " of ", rows,
          " tokens is not finite: the model's weights are damaged, or its activations overflow in ",
          model.dtype());
  if (reference) {
    predictions.kl = joined(kl);
    predictions.same_top1 = joined(same);
  }
  return predictions;
}

}  // namespace

Predictions predict(const Decoder& model, const torch::Tensor& hidden,
                    const std::vector<int64_t>& targets,
                    const std::optional<torch::Tensor>& reference) {
  const auto log_p_of = [&](int64_t first, int64_t last) {
    return model.logits(hidden.slice(0, first, last)).log_softmax(-1);
  };
  return predict_rows(model, hidden, log_p_of, targets, reference);
}

Predictions predict(const Decoder& model, const Ensemble& ensemble,
                    const std::vector<torch::Tensor>& hidden, const std::vector<int64_t>& targets,
                    const std::optional<torch::Tensor>& reference) {
  require(!hidden.empty(), "motet::predict: an ensemble without members");
  const auto log_p_of = [&](int64_t first, int64_t last) {
    std::vector<torch::Tensor> logits;
    for (const auto& member : hidden) {
      logits.push_back(model.logits(member.slice(0, first, last)));
    }
    return mixed(ensemble, logits);
  };
  return predict_rows(model, hidden[0], log_p_of, targets, reference);
}

}  // namespace motet
