#pragma once

#include <torch/types.h>

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "motet/reading/reading.h"

namespace motet {

/// Numbers of a Learned reading: each [layers or 1, heads or 1], of query heads, in fp32 or
/// float64; 1 stands for all.
struct LearnedNumbers {
  torch::Tensor exponent;     ///< b, above 0, of the merge of pieces, as in Sharpen
  torch::Tensor discount;     ///< c, of ln P, as in Discount
  torch::Tensor prefix = {};  ///< log weight of the prefix; undefined: 0
  torch::Tensor null = {};    ///< lse of a set without keys, as in NullSet; undefined: none

  /// Throws Error where they are no such tensors, or have numbers beyond a million (exponents:
  /// below a millionth, too).
  void validate() const;
};

/// Pieces are merged with an exponent b and discounted by c ln P, as in Sharpen and Discount, by
/// numbers of each layer and query head; the prefix has a log weight, too, and rows a null set,
/// where they are there. At one degree a log weight of own keys would say nothing more: it is 0.
/// Differentiable in its numbers: see read_differentiable and ReadingFit. Ours.
class Learned : public Reading {
 public:
  /// `name` is what reports call it. Throws Error for numbers that cannot be.
  explicit Learned(LearnedNumbers numbers, std::string name = "learned");
  /// The same numbers for all heads.
  static Learned pair(double exponent, double discount);

  /// Of a file of `save`, called by the file's name, or, where that is reading.safetensors, by its
  /// directory's. Throws Error.
  static Learned load(const std::filesystem::path& path);
  /// Writes the numbers to a safetensors file, as `exponent`, `discount`, `prefix` and `null`;
  /// `about` says in its metadata which model they are of and how they were fitted. Throws Error.
  void save(const std::filesystem::path& path,
            const std::map<std::string, std::string>& about = {}) const;

  std::string name() const override { return name_; }
  std::optional<ReadingSource> source() const override { return source_; }  ///< of `load`
  void check(int64_t layers, int64_t heads) const override;
  ReadingNeeds needs() const override { return {.scores = true, .null = numbers_.null.defined()}; }
  /// Throws Error for scores of a layer or of heads that the numbers have not.
  std::optional<torch::Tensor> decide(const PieceScores& scores) const override;
  const LearnedNumbers& numbers() const { return numbers_; }  ///< as given

 private:
  LearnedNumbers numbers_;
  std::string name_;
  std::optional<ReadingSource> source_;
};

}  // namespace motet
