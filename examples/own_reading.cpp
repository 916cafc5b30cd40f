// A reading of one's own: each row reads the pieces that have at least a share of what its best
// piece has.   own_reading MODEL TEXT SHARE
#include <motet/motet.h>

#include <iostream>

class Near : public motet::Reading {
 public:
  explicit Near(double share) : share_(share) {}
  std::string name() const override { return "near(" + std::to_string(share_) + ")"; }
  motet::ReadingNeeds needs() const override { return {.scores = true}; }
  std::optional<torch::Tensor> decide(const motet::Scores& scores) const override {
    auto log_weight = torch::zeros_like(scores.lse);  // [batch, heads, rows, sets]
    const auto pieces = scores.lse.slice(3, 1, -1);   // sets: the prefix, the pieces, own
    const auto far = pieces < pieces.amax(3, true) + std::log(share_);
    log_weight.slice(3, 1, -1).masked_fill_(far, -std::numeric_limits<float>::infinity());
    return log_weight;
  }

 private:
  double share_;
};

int main(int argc, char** argv) try {
  motet::require(argc == 4, "wanted: own_reading MODEL TEXT SHARE");
  const auto model = motet::load_model(argv[1]);
  const auto tokens = motet::Tokenizer::load(argv[1]).encode(motet::read_file(argv[2])).ids;
  motet::require(tokens.size() > 1000, argv[2], ": has ", tokens.size(), " tokens; 1001 wanted");
  const auto query = tokens.begin() + 900;  // 900 tokens of context in four pieces, 100 of query
  const auto context = motet::encode(*model, {tokens.begin(), query},
                                     motet::make_layout(0, motet::split_tokens(900, 4)));
  const Near near(std::stod(argv[3]));
  motet::Reader reader(*model, context, near);
  const auto hidden = reader.read(std::vector(query, query + 100));  // [rows, width]
  const auto nll = motet::predict(*model, hidden, {query + 1, query + 101}).nll;
  std::cout << near.name() << ": " << nll.mean().item<double>() << " nats a token\n";
} catch (const std::exception& error) {
  std::cerr << "own_reading: " << error.what() << '\n';
  return 1;
}
