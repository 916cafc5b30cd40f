#pragma once

#include <motet/motet.h>

/// What fragments of C++ in README.md and docs/ take as given.
extern const std::shared_ptr<motet::Decoder> model;
extern const motet::Tokenizer tokenizer;
extern const std::vector<int64_t> tokens;  // of prefix and pieces, or of a text
extern const std::vector<int64_t> query;
extern const motet::Layout layout;
extern const motet::EncodedContext context;
extern const int64_t prefix_tokens, rows, keys_count, steps;
extern const torch::Tensor queries, keys, values;
extern const torch::Tensor batch;  // of tokens, [batch, length]
torch::Tensor nll(const torch::Tensor& hidden);
