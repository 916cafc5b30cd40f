#include "motet/attention/merge.h"

#include <ATen/ATen.h>

#include "attention/infinity.h"
#include "attention/merging.h"
#include "motet/attention/scores.h"
#include "motet/error.h"

namespace motet {
namespace {

using torch::Tensor;

/// One figure of all parts, as `Row` or `Scores` name it; none where no part has it.
class Figure {
 public:
  template <class Part>
  Figure(const char* where, const char* name, const std::vector<Part>& parts,
         Tensor Part::*figure) {
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const auto& of_part = parts[i].*figure;
      require(of_part.defined() == (parts[0].*figure).defined(), where, ": part ", i,
              of_part.defined() ? " has" : " lacks", " the ", name, " that part 0 ",
              of_part.defined() ? "lacks" : "has");
      if (!of_part.defined()) {
        continue;
      }
      require(of_part.sizes() == (parts[0].*figure).sizes(), where, ": the ", name,
              " of part 0 is ", (parts[0].*figure).sizes(), ", that of part ", i, " ",
              of_part.sizes());
      of_parts_.push_back(of_part);
    }
  }

  bool there() const { return !of_parts_.empty(); }
  const std::vector<Tensor>& of_parts() const { return of_parts_; }

  /// The entropy of all parts' keys.
  Tensor entropy(const Shares& shares) const {
    return there() ? shares.entropy(of_parts_).clamp_min(0) : Tensor();
  }
  /// The largest of them all.
  Tensor largest() const {
    return there() ? std::get<0>(torch::cat(of_parts_, -1).detach().topk(of_parts_[0].size(-1), -1))
                   : Tensor();
  }
  /// ln of the sum of all parts' exponentials.
  Tensor log_sum() const { return there() ? Shares(of_parts_).lse : Tensor(); }

 private:
  std::vector<Tensor> of_parts_;
};

/// Refuses what does not follow from figures of parts.
void require_no_budget(const char* where, std::size_t part, const Tensor& of_budget,
                       const char* name) {
  require(!of_budget.defined(), where, ": part ", part, " has a ", name,
          ", and the largest keys of the whole are not known from it; make the parts without a "
          "budget, or the row at once");
}

/// Outs with 0 where a part has no weight: 0 * NaN is NaN.
std::vector<Tensor> weighed_outs(const Shares& shares, const std::vector<Row>& parts) {
  std::vector<Tensor> outs;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto none = shares.weights[i] == 0;
    // Where no row drops the part, which is the rule, its out is as it is.
    const bool all = none.is_cpu() && !none.any().item<bool>();
    outs.push_back(all ? parts[i].out : parts[i].out.masked_fill(none.unsqueeze(-1), 0));
  }
  return outs;
}

}  // namespace

Row merge(const std::vector<Row>& parts, const std::vector<Tensor>& log_weights) {
  require(!parts.empty(), "motet::merge: no rows to merge");
  require(log_weights.empty() || log_weights.size() == parts.size(), "motet::merge: ", parts.size(),
          " parts, ", log_weights.size(), " log weights");
  std::vector<Tensor> lses, entropies, set_lses, set_entropies;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto& part = parts[i];
    require(part.out.sizes() == parts[0].out.sizes(), "motet::merge: rows of ",
            parts[0].out.sizes(), " and of ", part.out.sizes());
    require(part.entropy.defined(), "motet::merge: part ", i, " was made without entropy");
    require_no_budget("motet::merge", i, part.top_mass, "top_mass");
    const auto shift =
        log_weights.empty() ? torch::zeros_like(part.lse) : log_weights[i].expand_as(part.lse);
    const auto dropped = shift == -kInfinity;
    // What is dropped may be NaN.
    lses.push_back((part.lse + shift).masked_fill(dropped, -kInfinity));
    entropies.push_back(part.entropy.masked_fill(dropped, 0));
    set_lses.push_back(
        (part.set_lse + shift.unsqueeze(-1)).masked_fill(dropped.unsqueeze(-1), -kInfinity));
    set_entropies.push_back(part.set_entropy.masked_fill(dropped.unsqueeze(-1), 0));
  }
  const Shares shares(lses);
  return {.out = shares.out(weighed_outs(shares, parts)).to(parts[0].out.scalar_type()),
          .lse = shares.lse,
          .entropy = shares.entropy(entropies).clamp_min(0),
          .set_lse = torch::cat(set_lses, -1),
          .set_entropy = torch::cat(set_entropies, -1)};
}

Row join(const std::vector<Row>& parts) {
  constexpr auto kWhere = "motet::join";
  require(!parts.empty(), kWhere, ": no rows to join");
  for (std::size_t i = 0; i < parts.size(); ++i) {
    require_no_budget(kWhere, i, parts[i].top_mass, "top_mass");
  }
  const Figure out(kWhere, "out", parts, &Row::out), lse(kWhere, "lse", parts, &Row::lse),
      entropy(kWhere, "entropy", parts, &Row::entropy),
      set_lse(kWhere, "set_lse", parts, &Row::set_lse),
      set_entropy(kWhere, "set_entropy", parts, &Row::set_entropy),
      set_top(kWhere, "set_top", parts, &Row::set_top);
  const Shares shares(lse.of_parts()), set_shares(set_lse.of_parts());
  return {.out = out.there()
                     ? shares.out(weighed_outs(shares, parts)).to(parts[0].out.scalar_type())
                     : Tensor(),
          .lse = shares.lse,
          .entropy = entropy.entropy(shares),
          .set_lse = set_shares.lse,
          .set_entropy = set_entropy.entropy(set_shares),
          .set_top = set_top.largest()};
}

Scores join(const std::vector<Scores>& parts) {
  constexpr auto kWhere = "motet::join";
  require(!parts.empty(), kWhere, ": no scores to join");
  for (std::size_t i = 0; i < parts.size(); ++i) {
    require_no_budget(kWhere, i, parts[i].top_threshold, "top_threshold");
  }
  const Figure lse(kWhere, "lse", parts, &Scores::lse),
      entropy(kWhere, "entropy", parts, &Scores::entropy), top(kWhere, "top", parts, &Scores::top),
      row_lse(kWhere, "row_lse", parts, &Scores::row_lse);
  const Shares shares(lse.of_parts());
  return {.lse = shares.lse,
          .entropy = entropy.entropy(shares),
          .top = top.largest(),
          .row_lse = row_lse.log_sum()};
}

}  // namespace motet
