#include "motet/context/encoded_context.h"

namespace motet {

int64_t EncodedContext::tokens() const {
  auto tokens = prefix.length();
  for (const auto& piece : pieces) {
    tokens += piece.length();
  }
  return tokens;
}

std::vector<int64_t> EncodedContext::piece_lengths() const {
  std::vector<int64_t> lengths;
  for (const auto& piece : pieces) {
    lengths.push_back(piece.length());
  }
  return lengths;
}

std::vector<int64_t> EncodedContext::positions() const {
  auto all = prefix.positions;
  for (const auto& piece : pieces) {
    all.insert(all.end(), piece.positions.begin(), piece.positions.end());
  }
  return all;
}

int64_t EncodedContext::bytes() const {
  const auto size = [](const EncodedPiece& piece) {
    int64_t bytes = 0;
    for (std::size_t layer = 0; layer < piece.keys.size(); ++layer) {
      bytes += static_cast<int64_t>(piece.keys[layer].nbytes() + piece.values[layer].nbytes());
    }
    return bytes;
  };
  auto bytes = size(prefix);
  for (const auto& piece : pieces) {
    bytes += size(piece);
  }
  return bytes;
}

std::vector<KeyMoments> bulk_moments(const EncodedContext& context, int64_t layer,
                                     const Window& window) {
  std::vector<KeyMoments> moments;
  for (const auto& piece : context.pieces) {
    const auto [first, last] = bulk_of(window, piece.length(), &piece == &context.pieces.back());
    const auto& keys = piece.keys.at(layer);
    moments.push_back(piece.moments.empty()
                          ? moments_of(keys.slice(2, first, last))
                          : piece.moments.at(layer) - moments_of(keys.slice(2, 0, first)) -
                                moments_of(keys.slice(2, last)));
  }
  return moments;
}

std::vector<KeyBounds> bulk_bounds(const EncodedContext& context, int64_t layer,
                                   const Window& window) {
  std::vector<KeyBounds> bounds;
  for (const auto& piece : context.pieces) {
    const auto [first, last] = bulk_of(window, piece.length(), &piece == &context.pieces.back());
    bounds.push_back(bounds_of(piece.keys.at(layer).slice(2, first, last)));
  }
  return bounds;
}

}  // namespace motet
