#include <ATen/ATen.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <utility>

#include "attention/nested.h"
#include "eval/clock.h"
#include "eval/compare_cost.h"
#include "motet/error.h"
#include "motet/eval/compare.h"
#include "motet/eval/memory.h"
#include "motet/eval/predictions.h"
#include "motet/model/encode.h"
#include "motet/model/reader.h"
#include "motet/probe/choice.h"
#include "motet/probe/diagnosis.h"
#include "motet/probe/entropy.h"
#include "motet/probe/mass.h"
#include "motet/probe/near_keys.h"
#include "motet/probe/probabilities.h"
#include "motet/probe/statistic.h"

namespace motet {
namespace {

using namespace compare;

/// Counts work, layer by layer, without asking for anything to be computed.
class Progress : public Probe {
 public:
  Progress(const CompareProgress& report, Cost cost) : report_(report), cost_(cost) {}
  ProbeNeeds needs() const override { return {}; }
  void observe(const Observation& seen) override {
    step(seen.kind == RowKind::kContext ? cost_.encode_layer : cost_.read_layer);
  }
  void head() { step(cost_.head); }

 private:
  void step(double flops) {
    if (report_) {
      report_(flops);
    }
  }
  const CompareProgress& report_;
  Cost cost_;
};

/// A context that was encoded for the modes that share it.
struct Encoded {
  EncodedContext context;
  std::vector<TextBin> entropy;  // of its tokens
  double seconds = 0;
  std::optional<int64_t> peak_bytes;
};

/// Cuts `rows` rows into bins, each with its first row and their number: `count` bins for every
/// `length` rows.
std::vector<std::pair<int64_t, int64_t>> spread_bins(int64_t rows, int64_t length,
                                                     int64_t count = 192) {
  const auto bins = std::clamp<int64_t>((count * rows + length - 1) / length, 1, rows);
  std::vector<std::pair<int64_t, int64_t>> all;
  for (int64_t bin = 0; bin < bins; ++bin) {
    const auto from = bin * rows / bins, to = (bin + 1) * rows / bins;
    all.emplace_back(from, to - from);
  }
  return all;
}

/// Mean entropies of bins of neighbouring rows. `entropy` is [layers, batch, heads, rows]; the
/// first row is token `first` of the segment.
std::vector<TextBin> bins_of(const torch::Tensor& entropy, int64_t first, int64_t length) {
  const auto mean = entropy.to(torch::kFloat64).mean({0, 1, 2});
  std::vector<TextBin> all;
  for (const auto& [from, rows] : spread_bins(entropy.size(3), length)) {
    all.push_back({first + from, rows, mean.slice(0, from, from + rows).mean().item<double>()});
  }
  return all;
}

Diagnosis summary_of(const DiagnosisProbe& probe) {
  const auto key_norm = probe.key_norm(), value_norm = probe.value_norm(), cosine = probe.cosine(),
             abs_score = probe.abs_score();
  Diagnosis diagnosis{.query_norm = nested(probe.query_norm().heads()),
                      .key_norm = nested(key_norm.mean(2)),
                      .value_norm = nested(value_norm.mean(2)),
                      .cosine = nested(cosine.mean(2)),
                      .abs_score = nested(abs_score.mean(2)),
                      .places = {}};
  const auto longest = key_norm.size(2);
  for (int64_t from = 0, count = 1; from < longest; from += count) {
    // The first places are the story: bins grow with the place.
    count = std::min(longest - from, std::max<int64_t>(1, from / 5));
    const auto mean = [from = from, count = count](const torch::Tensor& x) {
      return x.slice(2, from, from + count).mean().item<double>();
    };
    diagnosis.places.push_back(
        {from, count, mean(key_norm), mean(value_norm), mean(cosine), mean(abs_score)});
  }
  return diagnosis;
}

/// One mode over one segment, but for the figures against `full`.
class SegmentRun {
 public:
  SegmentRun(const Decoder& model, const std::vector<int64_t>& tokens,
             const CompareOptions& options, int64_t segment, const CompareProgress& progress,
             CompareStatistics* statistics)
      : model_(model),
        options_(options),
        segment_(segment),
        progress_(progress),
        statistics_(statistics),
        context_(tokens.begin(), tokens.begin() + options.context()),
        query_(tokens.begin() + options.context(), tokens.end() - 1),
        targets_(tokens.begin() + options.context() + 1, tokens.end()) {
    if (statistics_ != nullptr) {
      (*statistics_)[std::to_string(segment) + "/tokens"] = torch::tensor(query_);
      (*statistics_)[std::to_string(segment) + "/targets"] = torch::tensor(targets_);
    }
  }

  CompareRow run(const Mode& mode) {
    const auto layout = layout_of(options_, mode);
    encode_for(mode.pieces, mode.prefix);
    EncodedContext mixed;
    if (mode.oracle) {
      mixed = oracle(model_.config(), encoded_.context, full_context(mode.prefix), *mode.oracle);
    }
    const auto& context = mode.oracle ? mixed : encoded_.context;

    EntropyProbe entropy;
    MassProbe mass;
    DiagnosisProbe diagnosis;
    ProbabilityProbe probabilities(options_.rows);
    // Each member of an ensemble tells of its own pass.
    Progress progress(progress_, cost_of(model_.config(), layout, options_.scored,
                                         mode.ensemble ? 1 : passes_of(mode)));
    Probes probes{&entropy, &mass, &progress};
    if (!mode.ensemble) {  // whose members see keys of their own
      probes.push_back(&probabilities);
      if (options_.diagnose) {
        probes.push_back(&diagnosis);
      }
    }
    ChoiceProbe choice;
    const auto needs = mode.reading->needs();
    if (options_.recall && (needs.kept > 0 || needs.bulk)) {
      probes.push_back(&choice);
    }
    std::optional<NearKeysProbe> near_keys;
    if (!options_.gaps.empty()) {
      probes.push_back(&near_keys.emplace(options_.gaps));
    }
    const bool peaks = reset_peak_memory();
    const auto start = Clock::now();
    const auto members =
        mode.ensemble ? members_of(*mode.ensemble, context) : std::vector<EncodedContext>();
    std::deque<Reader> readers;
    std::vector<Reader*> together;
    const auto add = [&](const EncodedContext& read) {
      together.push_back(
          &readers.emplace_back(model_, read, *mode.reading, probes, options_.ablation));
    };
    if (mode.ensemble) {
      std::for_each(members.begin(), members.end(), add);
    } else {
      add(context);
    }
    const auto hidden =
        read_together(together, std::vector<Reader::Queries>(together.size(), {query_}));
    const auto read_seconds = seconds_since(start);
    if (mode.name == "full") {
      full_ = hidden[0];
    }
    const auto predictions = mode.ensemble
                                 ? predict(model_, *mode.ensemble, hidden, targets_, full_)
                                 : predict(model_, hidden[0], targets_, full_);
    progress.head();
    if (mode.name == "full") {
      full_nll_ = predictions.nll;
    }
    const auto peak = peaks ? peak_memory() : std::nullopt;

    CompareRow row;
    row.mode = mode.name;
    row.reading = mode.oracle     ? "oracle(" + mode.oracle->name() + ")"
                  : mode.ensemble ? "ensemble(" + mode.ensemble->name() + ")"
                                  : mode.reading->name();
    row.pieces = mode.pieces;
    row.prefix_tokens = mode.prefix ? static_cast<int64_t>(options_.prefix.size()) : 0;
    row.selected = mode.selected;
    row.positions = name_of(options_.positions);
    row.tokens = options_.scored;
    row.segment = segment_;
    const auto nll = mean_of(predictions.nll);
    row.nll = nll.value;
    row.nll_stderr = nll.standard_error;
    row.perplexity = std::exp(row.nll);
    if (full_) {
      const auto delta = mean_of(predictions.nll - *full_nll_);
      row.delta_nll = delta.value;
      row.delta_stderr = delta.standard_error;
      row.kl = mean_of(*predictions.kl).value;
      row.same_top1 = mean_of(*predictions.same_top1).value;
    }
    const auto mean = [](const RowStatistic& statistic) { return statistic.mean().item<double>(); };
    row.entropy_pce = entropy.mean_of_calls();
    row.entropy_tok = mean(entropy.entropy());
    row.entropy_between = mean(entropy.between());
    row.entropy_within = mean(entropy.within());
    row.entropy_heads = nested(entropy.entropy().heads());
    row.entropy_text = encoded_.entropy;
    const auto of_members = entropy.entropy().rows().unflatten(
        3, {static_cast<int64_t>(together.size()), options_.scored});
    const auto of_query = bins_of(of_members.mean(3), options_.context(), options_.length);
    row.entropy_text.insert(row.entropy_text.end(), of_query.begin(), of_query.end());
    row.mass_prefix = mean(mass.prefix());
    row.mass_own = mean(mass.own());
    row.mass_top_piece = mean(mass.top_piece());
    if (!mass.null().empty()) {
      row.mass_null = mean(mass.null());
    }
    if (!choice.recall().empty()) {
      row.choice = ChoiceFigures{mean(choice.recall()), mean(choice.mass())};
    }
    if (near_keys) {
      row.near_keys.emplace();
      const auto counts = near_keys->keys().mean();
      for (std::size_t i = 0; i < options_.gaps.size(); ++i) {
        row.near_keys->push_back(
            {options_.gaps[i], counts[static_cast<int64_t>(i)].item<double>()});
      }
    }
    row.cost_ratio = layout.cost_ratio();
    row.encode_seconds = encoded_.seconds;
    row.read_seconds = read_seconds;
    if (peak && encoded_.peak_bytes) {
      row.peak_bytes = std::max(*peak, *encoded_.peak_bytes);
    }
    if (options_.diagnose && !mode.ensemble) {
      row.diagnosis = summary_of(diagnosis);
    }
    for (const auto shown : mode.ensemble ? std::vector<int64_t>() : options_.rows) {
      row.attention.push_back(attention_of(shown, probabilities.row(shown), layout));
    }
    if (statistics_ != nullptr) {
      const auto keep_as = keep(row, predictions.nll, entropy, mass);
      if (mode.ensemble) {
        return row;
      }
      if (options_.diagnose) {
        keep_as("query_norm", diagnosis.query_norm().rows().squeeze(1));
        keep_as("key_norm", diagnosis.key_norm());
        keep_as("value_norm", diagnosis.value_norm());
        keep_as("cosine", diagnosis.cosine());
        keep_as("abs_score", diagnosis.abs_score());
      }
      for (const auto shown : options_.rows) {
        keep_as("probabilities_" + std::to_string(shown), probabilities.row(shown).squeeze(1));
      }
    }
    return row;
  }

 private:
  /// Keeps the statistics of a mode; returns what keeps more of them.
  std::function<void(const std::string&, const torch::Tensor&)> keep(const CompareRow& row,
                                                                     const torch::Tensor& nll,
                                                                     const EntropyProbe& entropy,
                                                                     const MassProbe& mass) {
    const auto name =
        std::to_string(segment_) + "/" + label_of(row) + "/" + std::to_string(row.pieces) + "/";
    (*statistics_)[name + "nll"] = nll;
    const auto add = [this, name](const std::string& what, const torch::Tensor& statistic) {
      (*statistics_)[name + what] = statistic.to(torch::kFloat32).contiguous();
    };
    const auto add_rows = [&](const char* what, const RowStatistic& statistic) {
      add(what, statistic.rows().squeeze(1));
    };
    add_rows("entropy", entropy.entropy());
    add_rows("between", entropy.between());
    add_rows("within", entropy.within());
    add_rows("mass_prefix", mass.prefix());
    add_rows("mass_own", mass.own());
    add_rows("mass_top_piece", mass.top_piece());
    return add;
  }

  /// The context as one piece, which oracles take from.
  const EncodedContext& full_context(bool prefix) {
    auto& full = full_contexts_[prefix];
    if (full.pieces.empty()) {
      const auto layout = layout_of(options_, 1, prefix);
      Progress progress(progress_, cost_of(model_.config(), layout, options_.scored));
      full = encode(model_, tokens_of(prefix), layout, {&progress}, reach_of(layout));
    }
    return full;
  }

  ContextOptions reach_of(const Layout& layout) const {
    return {.reach = layout.query_position + options_.scored};
  }

  std::vector<int64_t> tokens_of(bool prefix) const {
    auto tokens = prefix_of(options_, prefix);
    tokens.insert(tokens.end(), context_.begin(), context_.end());
    return tokens;
  }

  /// Modes of one degree that differ only in their reading share one encoded context.
  void encode_for(int64_t pieces, bool prefix) {
    const std::pair key(pieces, prefix);
    if (encoded_for_ == key) {
      return;
    }
    const auto layout = layout_of(options_, pieces, prefix);
    Progress progress(progress_, cost_of(model_.config(), layout, options_.scored));
    encoded_ = {};  // the earlier one makes room first
    const bool peaks = reset_peak_memory();
    const auto start = Clock::now();
    EntropyProbe entropy(RowKind::kContext);
    encoded_.context =
        encode(model_, tokens_of(prefix), layout, {&entropy, &progress}, reach_of(layout));
    encoded_.seconds = seconds_since(start);
    encoded_.peak_bytes = peaks ? peak_memory() : std::nullopt;
    const auto rows = entropy.entropy().rows();
    auto first = layout.prefix;
    for (const auto length : layout.pieces) {
      const auto piece =
          bins_of(rows.slice(3, first, first + length), first - layout.prefix, options_.length);
      encoded_.entropy.insert(encoded_.entropy.end(), piece.begin(), piece.end());
      first += length;
    }
    encoded_for_ = key;
    if (pieces == 1 && !options_.oracles.empty()) {
      full_contexts_[prefix] = encoded_.context;
    }
  }

  /// Probabilities of one row, [layers, 1, heads, keys], in bins along the segment.
  RowAttention attention_of(int64_t row, const torch::Tensor& probabilities,
                            const Layout& layout) const {
    RowAttention attention{row, {0}, {}};
    const auto p = probabilities.to(torch::kFloat64).mean({1, 2});  // [layers, keys]
    std::vector<torch::Tensor> bins{p.slice(1, 0, layout.prefix).sum(1)};
    int64_t first = 0;
    const auto add = [&](int64_t tokens) {
      for (const auto& [from, length] : spread_bins(tokens, options_.length, 96)) {
        const auto begin = layout.prefix + first + from;
        bins.push_back(p.slice(1, begin, begin + length).sum(1));
        attention.edges.push_back(first + from + length);
      }
      first += tokens;
    };
    std::for_each(layout.pieces.begin(), layout.pieces.end(), add);
    add(row + 1);
    attention.layers = nested((torch::stack(bins, 1) * 1e6).round() / 1e6);  // short to write
    return attention;
  }

  const Decoder& model_;
  const CompareOptions& options_;
  int64_t segment_;
  const CompareProgress& progress_;
  CompareStatistics* statistics_;  // null: none are wanted
  std::vector<int64_t> context_, query_, targets_;
  Encoded encoded_;
  std::pair<int64_t, bool> encoded_for_{0, false};
  std::map<bool, EncodedContext> full_contexts_;  // without and with prefix, for oracles
  std::optional<torch::Tensor> full_, full_nll_;  // what `full` predicts
};

}  // namespace

std::vector<CompareRow> compare_segment(const Decoder& model, const std::vector<int64_t>& tokens,
                                        const CompareOptions& options, const ComparePlan& plan,
                                        int64_t segment, const CompareProgress& progress,
                                        CompareStatistics* statistics) {
  require(static_cast<int64_t>(tokens.size()) == options.length,
          "motet::compare_segment: ", tokens.size(), " tokens, a segment has ", options.length);
  SegmentRun run(model, tokens, options, segment, progress, statistics);
  std::vector<CompareRow> rows(plan.modes.size());
  std::vector<bool> done(plan.modes.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (std::size_t j = i; j < rows.size();
         ++j) {  // those that share its context come right after it
      if (!done[j] && share_context(plan.modes[i], plan.modes[j])) {
        rows[j] = run.run(plan.modes[j]);
        done[j] = true;
      }
    }
  }
  return rows;
}

}  // namespace motet
