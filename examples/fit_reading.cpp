// A reading of one's own with two parameters, fitted to a text: each piece's log weight is a times
// its lse, plus b.   fit_reading MODEL TEXT STEPS
#include <motet/motet.h>

#include <iostream>

struct Affine : motet::Reading {
  torch::Tensor a = torch::zeros({}, torch::requires_grad());
  torch::Tensor b = torch::zeros({}, torch::requires_grad());
  std::string name() const override { return "affine"; }
  motet::ReadingNeeds needs() const override { return {.scores = true}; }
  std::optional<torch::Tensor> decide(const motet::PieceScores& scores) const override {
    const auto lse = scores.piece_lse().clamp_min(-1e4);  // -inf where a window hides a piece
    return scores.for_pieces(a * lse + b);
  }
};

int main(int argc, char** argv) try {
  motet::require(argc == 4, "wanted: fit_reading MODEL TEXT STEPS");
  const auto model = motet::load_model(argv[1], {.dtype = torch::kFloat32});
  for (auto& parameter : model->parameters()) parameter.set_requires_grad(false);
  const auto tokens = motet::Tokenizer::load(argv[1]).encode(motet::read_file(argv[2])).ids;
  const motet::Cut cut(100, {.pieces = 4, .scored = 25});  // 74 tokens of context, in four pieces
  motet::ShuffledRows rows(motet::text_rows(tokens, 100), /*seed=*/1);
  const Affine reading;
  motet::AdamW optimizer({reading.a, reading.b}, torch::optim::AdamWOptions(0.05));
  for (int64_t step = 0; step < std::stoll(argv[3]); ++step) {
    const auto row = rows.take(step, 1);  // [1, 100]
    const auto packed = cut.tokens(row)[0].contiguous();
    const auto* ids = packed.const_data_ptr<int64_t>();
    const auto* query = ids + cut.layout().tokens();
    const auto context = motet::encode(*model, {ids, query}, cut.layout());
    const auto hidden =
        motet::read_differentiable(*model, context, {query, ids + packed.numel()}, reading);
    const auto loss = motet::next_token_loss(*model, hidden.unsqueeze(0),
                                             cut.targets(row).slice(1, cut.layout().tokens()));
    optimizer.zero_grad();
    loss.backward();
    optimizer.step();
    std::cout << step + 1 << ": " << loss.item<double>() << " nats a token; a "
              << reading.a.item<double>() << ", b " << reading.b.item<double>() << '\n';
  }
} catch (const std::exception& error) {
  std::cerr << "fit_reading: " << error.what() << '\n';
  return 1;
}
