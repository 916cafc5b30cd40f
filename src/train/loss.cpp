#include "motet/train/loss.h"

#include <ATen/ATen.h>

#include "motet/error.h"
#include "motet/train/text_rows.h"

namespace motet {

torch::Tensor next_token_loss(const Decoder& model, const torch::Tensor& hidden,
                              const torch::Tensor& targets) {
  require(hidden.dim() == 3 && targets.sizes() == hidden.sizes().slice(0, 2),
          "motet::next_token_loss: rows of ", hidden.sizes(), ", targets of ", targets.sizes());
  const auto wanted = (targets != Cut::kNone).any(0).nonzero();
  require(wanted.size(0) > 0, "motet::next_token_loss: no row has a target");
  const auto first = wanted[0].item<int64_t>();  // earlier rows need no logits
  const auto logits = model.logits(hidden.slice(1, first)).flatten(0, 1);
  return at::cross_entropy_loss(logits, targets.slice(1, first).flatten().to(logits.device()), {},
                                at::Reduction::Mean, Cut::kNone);
}

}  // namespace motet
