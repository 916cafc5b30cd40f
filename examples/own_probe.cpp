// A probe of one's own: how many query rows of each head have an entropy above 3 nats.
//   own_probe MODEL TEXT
#include <motet/motet.h>

#include <iostream>

class ConfusedRows : public motet::Probe {
 public:
  void observe(const motet::Observation& seen) override {
    if (seen.kind == motet::RowKind::kQuery) {
      above_.add(seen.layer, seen.row.entropy > 3);  // [batch, heads, rows]
    }
  }
  /// How many, [layers, heads].
  torch::Tensor counts() const { return above_.rows().sum({1, 3}); }

 private:
  motet::RowStatistic above_;
};

int main(int argc, char** argv) try {
  motet::require(argc == 3, "wanted: own_probe MODEL TEXT");
  const auto model = motet::load_model(argv[1]);
  const auto tokens = motet::Tokenizer::load(argv[1]).encode(motet::read_file(argv[2])).ids;
  motet::require(tokens.size() >= 1000, argv[2], ": has ", tokens.size(), " tokens; 1000 wanted");
  const auto query = tokens.begin() + 900;  // 900 tokens of context in four pieces, 100 of query
  const auto context = motet::encode(*model, {tokens.begin(), query},
                                     motet::make_layout(0, motet::split_tokens(900, 4)));
  ConfusedRows confused;
  motet::read(*model, context, {query, query + 100}, motet::All(), {&confused});
  std::cout << confused.counts() << '\n';
} catch (const std::exception& error) {
  std::cerr << "own_probe: " << error.what() << '\n';
  return 1;
}
