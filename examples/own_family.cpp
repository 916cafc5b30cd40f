// A family of one's own: Qwen2 (Llama with biases on q, k and v).   own_family QWEN2_DIRECTORY
#include <motet/motet.h>

#include <iostream>

struct OwnBlock : motet::Block {
  using Linear = std::shared_ptr<motet::Linear>;
  OwnBlock(const motet::Config& config, int64_t layer) : c(config), layer(layer) {}
  torch::Tensor forward(const torch::Tensor& x, const motet::Rotation& rotation,
                        motet::Attention& attention) const override {
    const auto a = norm1->forward(x);  // [batch, rows, width]
    const auto q = motet::rotate(motet::split_heads(query->forward(a), c.heads), rotation);
    const auto k = motet::rotate(motet::split_heads(key->forward(a), c.kv_heads), rotation);
    const auto v = motet::split_heads(value->forward(a), c.kv_heads);
    const auto rows = attention.attend(layer, q, k, v, {});
    const auto h = x + out->forward(motet::join_heads(rows)), m = norm2->forward(h);
    return h + down->forward(torch::silu(gate->forward(m)) * up->forward(m));
  }
  motet::Config c;
  int64_t layer, width = c.width, wide = c.heads * c.features, kv = c.kv_heads * c.features;
  std::shared_ptr<motet::Norm> norm1 = make_rms_norm("norm_attention", width, c.norm_epsilon);
  std::shared_ptr<motet::Norm> norm2 = make_rms_norm("norm_mlp", width, c.norm_epsilon);
  Linear query = make_linear("query", width, wide, true), out = make_linear("out", wide, width);
  Linear key = make_linear("key", width, kv, true), value = make_linear("value", width, kv, true);
  Linear gate = make_linear("gate", width, c.inner), up = make_linear("up", width, c.inner);
  Linear down = make_linear("down", c.inner, width);
};

int main(int argc, char** argv) try {
  motet::require(argc == 2, "wanted: own_family QWEN2_DIRECTORY");
  const auto shipped = motet::load_model(argv[1]);
  auto family = *motet::find_family("llama");  // Qwen2 has its config.json and names of tensors
  family.model_type = "qwen2";                 // in place of the shipped one
  family.make_block = [](auto& c, auto layer) { return std::make_shared<OwnBlock>(c, layer); };
  motet::register_family(family);
  for (const auto& model : {shipped, motet::load_model(argv[1])}) {
    const auto context = motet::encode(*model, {1, 2, 3, 4}, motet::make_layout(0, {2, 2}));
    std::cout << motet::read(*model, context, {5, 6}) << '\n';
  }
} catch (const std::exception& error) {
  std::cerr << "own_family: " << error.what() << '\n';
  return 1;
}
