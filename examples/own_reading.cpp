// A reading of one's own, had by name: each row reads the pieces that have at least a share of what
// its best piece has.   own_reading MODEL TEXT SHARE
#include <motet/motet.h>

#include <iostream>

struct Near : motet::Reading {
  explicit Near(double share) : share_(share) {}
  std::string name() const override { return "near(" + std::to_string(share_) + ")"; }
  motet::ReadingNeeds needs() const override { return {.scores = true}; }
  std::optional<torch::Tensor> decide(const motet::PieceScores& scores) const override {
    const auto lse = scores.piece_lse();  // [batch, heads, rows, pieces]
    const auto far = lse < lse.amax(3, true) + std::log(share_);
    return scores.for_pieces(torch::zeros_like(lse).masked_fill(far, -INFINITY));
  }
  double share_;
};

const bool registered = motet::register_reading(
    {.name = "near", .usage = "near[:SHARE]", .make = [](const motet::ReadingText& text) {
       return std::make_shared<Near>(text.number(0, 0.1));
     }});

int main(int argc, char** argv) try {
  motet::require(argc == 4, "wanted: own_reading MODEL TEXT SHARE");
  const auto model = motet::load_model(argv[1]);
  auto tokens = motet::Tokenizer::load(argv[1]).encode(motet::read_file(argv[2])).ids;
  motet::require(tokens.size() > 1000, argv[2], ": has ", tokens.size(), " tokens; 1001 wanted");
  tokens.resize(1001);  // 900 tokens of context in four pieces, and the 100 that follow are scored
  const motet::CompareOptions options{
      .length = 1001, .scored = 100, .pieces = {4}, .readings = {std::string("near:") + argv[3]}};
  const auto plan = motet::plan_compare(model->config(), options);
  for (const auto& row : motet::compare_segment(*model, tokens, options, plan, 0))
    std::cout << motet::label_of(row) << ": " << row.nll << " nats a token\n";
} catch (const std::exception& error) {
  std::cerr << "own_reading: " << error.what() << '\n';
  return 1;
}
