#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "motet/eval/fields.h"

namespace motet {

/// A figure over items and its interval, in which 95 % of means over resampled items lie.
struct Interval {
  static constexpr int64_t kLeast = 5;  ///< items: of fewer, draws say less than they seem to

  std::optional<double> value;  ///< over all items; nothing where no item has it
  std::optional<double> low;    ///< the 2.5th percentile; nothing for fewer than kLeast items
  std::optional<double> high;   ///< the 97.5th
};

/// A figure of a mode, and how it differs from those of other modes on the same items. In files
/// its figures stand beside each other, behind the name: `score`, `score_low`, ...,
/// `score_minus_full`, ...
struct Measured {
  static constexpr bool kFlat = true;  ///< see above

  std::optional<double> value;                ///< over all items that have it
  std::optional<double> low;                  ///< as Interval
  std::optional<double> high;                 ///< as Interval
  std::optional<double> minus_full;           ///< paired by item: less that of `full`
  std::optional<double> minus_full_low;       ///< as Interval
  std::optional<double> minus_full_high;      ///< as Interval
  std::optional<double> minus_parallel;       ///< less that of `parallel` of the same degree
  std::optional<double> minus_parallel_low;   ///< as Interval
  std::optional<double> minus_parallel_high;  ///< as Interval

  template <class Visit>
  static void fields(Visit&& visit) {  ///< see fields.h; names go behind that of the figure
    visit(figure::same("", &Measured::value));
    visit(figure::same("_low", &Measured::low));
    visit(figure::same("_high", &Measured::high));
    visit(figure::same("_minus_full", &Measured::minus_full));
    visit(figure::same("_minus_full_low", &Measured::minus_full_low));
    visit(figure::same("_minus_full_high", &Measured::minus_full_high));
    visit(figure::same("_minus_parallel", &Measured::minus_parallel));
    visit(figure::same("_minus_parallel_low", &Measured::minus_parallel_low));
    visit(figure::same("_minus_parallel_high", &Measured::minus_parallel_high));
  }
};

/// A figure of each item, as a sum and what it is a sum over: a mean over items has weights of 1,
/// a mean over tokens their numbers. A weight of 0: the item has no such figure.
struct ItemFigure {
  std::vector<double> sum;     ///< of each item
  std::vector<double> weight;  ///< of each item

  /// Adds an item with weight 1, or with none.
  void add(const std::optional<double>& value);
  /// Adds an item.
  void add(double item_sum, double item_weight);
};

/// The interval of a figure by its values over draws and over all items, as Resamples::means has
/// them, of so many items.
Interval interval_of(const torch::Tensor& means, int64_t items);

/// Bootstrap of a fixed seed (Efron & Tibshirani 1993): the same items are drawn for every figure,
/// so that what is paired stays paired.
class Resamples {
 public:
  static constexpr int64_t kCount = 2000;  ///< draws of as many items as there are

  /// Draws of different streams have nothing to do with each other. Throws Error for no item.
  explicit Resamples(int64_t items, int64_t stream = 0);
  /// A figure over all items that have it.
  Interval over(const ItemFigure& figure) const;
  /// The difference a - b over the items that have both.
  Interval difference(const ItemFigure& a, const ItemFigure& b) const;
  /// A figure over the items of each draw, and over all items, which goes last: [draws + 1],
  /// float64; NaN where no item that was drawn has it.
  torch::Tensor means(const ItemFigure& figure) const;

 private:
  torch::Tensor counts_;  // how often each item is drawn, [draws, items], float64
};

}  // namespace motet
