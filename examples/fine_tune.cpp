// A training loop of one's own, with attention made sparse in two lines.   fine_tune MODEL TEXT OUT
#include <motet/motet.h>
#include <torch/nn/utils/clip_grad.h>

#include <iostream>

int main(int argc, char** argv) try {
  motet::require(argc == 4, "wanted: fine_tune MODEL TEXT OUT");
  const auto model = motet::load_model(argv[1], {.dtype = torch::kFloat32});
  const auto tokens = motet::Tokenizer::load(argv[1]).encode(motet::read_file(argv[2])).ids;
  const motet::Cut cut(32);  // plain causal rows of 32 tokens
  motet::ShuffledRows rows(motet::text_rows(tokens, 32), /*seed=*/1);
  auto optimizer = motet::adamw(*model, torch::optim::AdamWOptions(1e-3));
  motet::Sparsity sparsity({.keys = 4, .weight = 0.1});  // line one
  for (int64_t step = 0; step < 20; ++step) {
    const auto batch = rows.take(4 * step, 4);  // [4, 32]
    const auto hidden = motet::forward(*model, cut.tokens(batch), cut.layout(), motet::All(), {},
                                       {.penalty = &sparsity});
    const auto nll = motet::next_token_loss(*model, hidden, cut.targets(batch));
    optimizer.zero_grad();
    (nll + sparsity.loss()).backward();  // line two
    torch::nn::utils::clip_grad_norm_(model->parameters(), 1);
    optimizer.step();
    std::cout << step + 1 << ": " << nll.item<double>()
              << " nats a token, mass outside the largest "
              << "four keys " << sparsity.penalty().item<double>() << '\n';
  }
  motet::save_model(*model, argv[3]);
} catch (const std::exception& error) {
  std::cerr << "fine_tune: " << error.what() << '\n';
  return 1;
}
