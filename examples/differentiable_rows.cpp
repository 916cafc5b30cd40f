// Entropy, lse and top-k mass of attention rows, with gradients: a step each that makes rows
// sharper, and one that makes them spend their probability on eight keys.
#include <motet/motet.h>
#include <torch/autograd.h>

#include <cstdio>

int main() {
  torch::manual_seed(1);
  constexpr int64_t kRows = 64, kFeatures = 32;
  auto query = torch::randn({1, 4, kRows, kFeatures}).set_requires_grad(true);
  auto keys =
      torch::randn({1, 2, kRows, kFeatures}).set_requires_grad(true);  // two query heads each
  const auto values = torch::randn({1, 2, kRows, kFeatures});
  const auto rows = [&] {
    return motet::attend(query, keys, values, motet::causal_keys(kRows, kRows), {},
                         {.budget = {.keys = 8}});
  };
  const auto show = [](const char* when, const motet::Row& row) {
    std::printf("%-22s entropy %.4f nats   lse %.4f   mass of the 8 largest keys %.4f\n", when,
                row.entropy.mean().item<double>(), row.lse.mean().item<double>(),
                row.top_mass.mean().item<double>());
  };
  const auto step = [&](const torch::Tensor& loss) {
    const auto gradients = torch::autograd::grad({loss}, {query, keys});
    const torch::NoGradGuard no_grad;
    query.sub_(gradients[0], 10);
    keys.sub_(gradients[1], 10);
  };
  show("at first", rows());
  step(rows().entropy.mean());
  show("after entropy", rows());
  step(rows().lse.square().mean());  // a z-loss of attention
  show("after lse", rows());
  step((1 - rows().top_mass).mean());
  show("after top-k mass", rows());
}
