#include "motet/eval/heads.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "attention/nested.h"
#include "motet/error.h"
#include "motet/eval/predictions.h"
#include "motet/heads/judge.h"
#include "motet/model/encode.h"
#include "motet/model/reader.h"
#include "motet/probe/entropy.h"
#include "motet/reading/adaptive.h"
#include "motet/reading/reading.h"

namespace motet {
namespace {

using torch::Tensor;

/// Means over rows, of [layers, batch, heads, rows] as [layers, heads].
HeadTable mean_table(const Tensor& rows) { return nested(rows.to(torch::kFloat64).mean({1, 3})); }

double average(const Tensor& x) { return x.to(torch::kFloat64).mean().item<double>(); }

/// Shares of rows in bins of two margins, [bins][bins]; what is farther out is in the outermost.
HeadTable margin_map(const Tensor& truth, const Tensor& estimated) {
  constexpr auto kBins = HeadsFull::kBins;
  const auto bin = [](const Tensor& margin) {
    const auto place = (margin + HeadsFull::kMargins) / (2 * HeadsFull::kMargins) * kBins;
    return place.clamp(0, kBins - 1).to(torch::kInt64).flatten();
  };
  const auto counts =
      torch::bincount(bin(truth) * kBins + bin(estimated), {}, kBins * kBins).to(torch::kFloat64);
  return nested((counts / counts.sum()).view({kBins, kBins}));
}

}  // namespace

/// Counts the layers of tokens that are done.
class HeadsSegment::Progress : public Probe {
 public:
  explicit Progress(const HeadsProgress& report) : report_(report) {}
  ProbeNeeds needs() const override { return {}; }
  void observe(const Observation& seen) override {
    if (report_) {
      report_(static_cast<double>(seen.queries.back()));
    }
  }

 private:
  const HeadsProgress& report_;
};

double segment_work(const Config& config, const HeadsOptions& options, std::size_t rows) {
  const auto context = static_cast<double>(options.context());
  const auto query = static_cast<double>(options.scored);
  return static_cast<double>(config.layers) *
         (2 * context + (2 + static_cast<double>(rows)) * query);
}

HeadsSegment::HeadsSegment(const Decoder& model, const std::vector<int64_t>& tokens,
                           const HeadsOptions& options, int64_t segment,
                           const HeadsProgress& progress)
    : model_(model), options_(options), segment_(segment), progress_(progress) {
  require(static_cast<int64_t>(tokens.size()) == options.length,
          "motet::HeadsSegment: ", tokens.size(), " tokens, a segment has ", options.length);
  const std::vector<int64_t> before(tokens.begin(), tokens.begin() + options.context());
  query_.assign(tokens.begin() + options.context(), tokens.end() - 1);
  targets_.assign(tokens.begin() + options.context() + 1, tokens.end());
  const auto& config = model.config();
  Progress step(progress_);
  full_.segment = segment;
  full_.tokens = options.scored;
  full_.pieces = options.pieces;
  {
    const auto pieces =
        encode(model, before, make_layout(0, split_tokens(options.context(), options.pieces)),
               {&step}, {.reach = options.length});
    const All all;
    EntropyProbe entropy;
    const auto hidden =
        Reader(model, pieces, all, {&entropy, &step}, options.ablation).read(query_);
    full_.parallel_nll = average(predict(model, hidden, targets_).nll);
    full_.parallel_entropy = nested(entropy.entropy().heads());
  }
  context_ = encode(model, before, make_layout(0, {options.context()}), {&step},
                    {.moments = true, .reach = options.length});
  // Full attention, in which every head reads its bulk, so that there is one to judge.
  const FixedHeads full(torch::ones({config.layers, config.heads}, torch::kBool), options.window);
  EntropyProbe entropy;
  HeadJudge judge(context_, options.covariance);
  GaussianFit fit(context_);
  const auto hidden =
      Reader(model, context_, full, {&entropy, &judge, &fit, &step}, options.ablation).read(query_);
  full_nll_ = predict(model, hidden, targets_).nll;
  const auto nll = mean_of(full_nll_);
  full_.nll = nll.value;
  full_.nll_stderr = nll.standard_error;
  full_.entropy_tok = entropy.entropy().mean().item<double>();
  full_.entropy_heads = nested(entropy.entropy().heads());
  const auto error = judge.estimate().rows().to(torch::kFloat64) - judge.bulk().rows();
  full_.error = mean_table(error);
  full_.absolute_error = mean_table(error.abs());
  full_.margins = margin_map(judge.margin(), judge.estimated_margin());
  full_.distance = nested(fit.distance());
  for (const auto& layer : fit.histogram().unbind(0)) {
    full_.histogram.push_back(nested(layer));
  }
}

HeadsRow HeadsSegment::row(const std::string& method, double tau, std::optional<double> local_share,
                           const HeadCalibration* calibration, HeadsStatistics* statistics) {
  const auto& config = model_.config();
  const bool at_share = method == "static" || method == "random";
  require(!at_share || local_share, "motet::HeadsSegment: ", method,
          " needs the share of local decisions");
  require(method != "static" || calibration != nullptr,
          "motet::HeadsSegment: static needs a calibration");
  const auto reading = [&]() -> std::unique_ptr<Reading> {
    if (at_share || method == "pattern") {
      const auto heads = method == "static"   ? calibration->pattern(tau, *local_share)
                         : method == "random" ? random_pattern(config, *local_share, options_.seed)
                                              : *options_.pattern;
      return std::make_unique<FixedHeads>(heads, options_.window, method);
    }
    const auto mass = method == "oracle" ? BulkMass::kTrue : BulkMass::kEstimated;
    return std::make_unique<Adaptive>(AdaptiveOptions{
        .tau = tau, .window = options_.window, .mass = mass, .covariance = options_.covariance});
  }();
  Progress step(progress_);
  EntropyProbe entropy;
  HeadJudge judge(context_, options_.covariance);
  const auto hidden =
      Reader(model_, context_, *reading, {&entropy, &judge, &step}, options_.ablation).read(query_);
  const auto losses = predict(model_, hidden, targets_).nll;

  HeadsRow row;
  row.method = method;
  row.tau = tau;
  row.segment = segment_;
  row.tokens = options_.scored;
  const auto nll = mean_of(losses), delta = mean_of(losses - full_nll_);
  row.nll = nll.value;
  row.nll_stderr = nll.standard_error;
  row.delta_nll = delta.value;
  row.delta_stderr = delta.standard_error;
  row.entropy_tok = entropy.entropy().mean().item<double>();
  const auto local = judge.local().rows() > 0;  // [layers, batch, heads, rows]
  const auto oracle_long =
      bulks_needed(judge.window().rows(), judge.bulk().rows().unsqueeze(-1), tau).squeeze(-1);
  const auto missed = local.logical_and(oracle_long);
  const auto spare = local.logical_or(oracle_long).logical_not();
  row.local_share = average(local);
  row.false_local = average(missed);
  row.false_long = average(spare);
  row.log_mass_error =
      average((judge.estimate().rows().to(torch::kFloat64) - judge.bulk().rows()).abs());
  const auto bulk = bulk_of(options_.window, options_.context(), true);
  const auto all = static_cast<double>(options_.context());
  const auto far = static_cast<double>(bulk.last - bulk.first);
  const auto own = static_cast<double>(options_.scored + 1) / 2;
  row.read_share = read_share(judge.local().rows(), config.kv_heads, all - far + own, far);
  row.long_share = mean_table(local.logical_not());
  row.oracle_long = mean_table(oracle_long);
  row.false_local_heads = mean_table(missed);
  row.false_long_heads = mean_table(spare);
  row.switching = options_.scored > 1
                      ? mean_table(local.slice(3, 1).logical_xor(local.slice(3, 0, -1)))
                      : HeadTable(config.layers, std::vector<double>(config.heads, 0));
  if (statistics != nullptr) {
    const auto plain = [](const Tensor& x) { return x.squeeze(1).contiguous(); };
    *statistics = {{"nll", losses},
                   {"full_nll", full_nll_},
                   {"local", plain(local)},
                   {"window", plain(judge.window().rows())},
                   {"bulk", plain(judge.bulk().rows())},
                   {"estimate", plain(judge.estimate().rows())},
                   {"entropy", plain(entropy.entropy().rows())}};
  }
  return row;
}

double tau_for_loss(const Decoder& model, const std::vector<int64_t>& tokens, int64_t query,
                    double loss, const Window& window, Covariance covariance,
                    const Ablation& ablation) {
  const auto context = static_cast<int64_t>(tokens.size()) - query - 1;
  require(query > 0 && context > 0, "motet::tau_for_loss: ", tokens.size(),
          " tokens cannot have a context and ", query, " scored ones");
  const auto encoded =
      encode(model, {tokens.begin(), tokens.begin() + context}, make_layout(0, {context}), {},
             {.moments = true, .reach = static_cast<int64_t>(tokens.size())});
  const std::vector<int64_t> rows(tokens.begin() + context, tokens.end() - 1);
  const std::vector<int64_t> targets(tokens.begin() + context + 1, tokens.end());
  const auto nll = [&](const Reading& reading) {
    return average(
        predict(model, Reader(model, encoded, reading, {}, ablation).read(rows), targets).nll);
  };
  const auto tau_of = [](double odds) { return 1 / (1 + std::exp(-odds)); };
  const auto most = nll(All()) + loss;
  const auto cheap = [&](double tau) {
    return nll(Adaptive({.tau = tau, .window = window, .covariance = covariance})) <= most;
  };
  if (cheap(0)) {
    return 0;
  }
  double low = -12, high = 14;  // log odds: too costly, and not
  if (!cheap(tau_of(high))) {
    return 1;
  }
  while (high - low > 0.1) {
    const auto middle = (low + high) / 2;
    (cheap(tau_of(middle)) ? high : low) = middle;
  }
  return tau_of(high);
}

}  // namespace motet
