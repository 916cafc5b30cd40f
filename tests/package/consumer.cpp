#include <motet/motet.h>

#include <iostream>

int main(int, char** argv) {
  const auto model = motet::load_model(argv[1]);
  const auto context =
      motet::encode(*model, {1, 2, 3, 4, 5, 6}, motet::make_layout(0, motet::split_tokens(6, 2)));
  motet::EntropyProbe entropy;
  const auto logits = motet::read(*model, context, {7, 8}, motet::All(), {&entropy});
  std::cout << "motet " << motet::version() << ": " << logits.size(0) << " rows, "
            << entropy.entropy().heads().numel() << " heads\n";
}
