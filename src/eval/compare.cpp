#include "motet/eval/compare.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <map>
#include <utility>

#include "eval/sums.h"
#include "motet/error.h"
#include "motet/eval/memory.h"
#include "motet/eval/predictions.h"
#include "motet/model/encode.h"
#include "motet/model/reader.h"
#include "motet/probe/diagnosis.h"
#include "motet/probe/entropy.h"
#include "motet/probe/mass.h"
#include "motet/probe/probabilities.h"
#include "motet/probe/statistic.h"
#include "motet/reading/registry.h"

namespace motet {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// FLOPs of the products that one layer makes for `rows` rows that see `pairs` keys in all.
double layer_flops(const Config& config, double rows, double pairs) {
  const auto width = static_cast<double>(config.width);
  const auto heads = static_cast<double>(config.heads * config.features);
  const auto keys = static_cast<double>(config.kv_heads * config.features);
  const auto mlps = config.gated ? 3.0 : 2.0;
  const auto weights = 2 * width * heads + 2 * width * keys + mlps * width * config.inner;
  return 2 * rows * weights + 4 * pairs * heads;
}

struct Cost {
  double encode_layer, read_layer, head;
};

/// `passes`: how often the reading has the layers run over the query.
Cost cost_of(const Config& config, const Layout& layout, int64_t query, double passes = 1) {
  const auto encode = encode_sets(layout);
  const auto read = read_sets(layout.prefix, layout.pieces, {query}, {0});
  const auto rows = static_cast<double>(query);
  return {layer_flops(config, static_cast<double>(layout.tokens()),
                      static_cast<double>(encode.pairs())),
          passes * layer_flops(config, rows, static_cast<double>(read.pairs())),
          2 * rows * static_cast<double>(config.width * config.vocabulary)};
}

/// What every piece sees: BOS, and the prefix in modes that have it.
std::vector<int64_t> prefix_of(const CompareOptions& options, bool prefix) {
  auto tokens = options.bos;
  if (prefix) {
    tokens.insert(tokens.end(), options.prefix.begin(), options.prefix.end());
  }
  return tokens;
}

Layout layout_of(const CompareOptions& options, int64_t pieces, bool prefix) {
  return make_layout(static_cast<int64_t>(prefix_of(options, prefix).size()),
                     split_tokens(options.context(), pieces), options.positions);
}

Layout layout_of(const CompareOptions& options, const CompareMode& mode) {
  return layout_of(options, mode.pieces, mode.prefix);
}

double passes_of(const Reading& reading) { return reading.needs().layers ? 2 : 1; }

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

std::vector<std::vector<double>> nested(const torch::Tensor& heads) {
  std::vector<std::vector<double>> layers;
  for (const auto& layer : heads.unbind(0)) {
    const auto row = layer.contiguous();
    layers.emplace_back(row.data_ptr<double>(), row.data_ptr<double>() + row.numel());
  }
  return layers;
}

/// Where bins of `rows` neighbours begin, and how many each holds: as fine as `count` of them in a
/// segment of `length`.
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

/// Entropies of neighbouring rows, [layers, batch, heads, rows], `rows` of which belong together
/// and begin at token `first` of the segment.
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

  CompareRow run(const CompareMode& mode) {
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
    Progress progress(progress_,
                      cost_of(model_.config(), layout, options_.scored, passes_of(*mode.reading)));
    Probes probes{&entropy, &mass, &probabilities, &progress};
    if (options_.diagnose) {
      probes.push_back(&diagnosis);
    }
    const bool peaks = reset_peak_memory();
    const auto start = Clock::now();
    Reader reader(model_, context, *mode.reading, probes, options_.ablation);
    const auto hidden = reader.read(query_);
    const auto read_seconds = seconds_since(start);
    if (mode.name == "full") {
      full_ = hidden;
    }
    const auto predictions = predict(model_, hidden, targets_, full_);
    progress.head();
    if (mode.name == "full") {
      full_nll_ = predictions.nll;
    }
    const auto peak = peaks ? peak_memory() : std::nullopt;

    CompareRow row;
    row.mode = mode.name;
    row.reading = mode.oracle ? "oracle(" + mode.oracle->name() + ")" : mode.reading->name();
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
    const auto of_query = bins_of(entropy.entropy().rows(), options_.context(), options_.length);
    row.entropy_text.insert(row.entropy_text.end(), of_query.begin(), of_query.end());
    row.mass_prefix = mean(mass.prefix());
    row.mass_own = mean(mass.own());
    row.mass_top_piece = mean(mass.top_piece());
    row.cost_ratio = layout.cost_ratio();
    row.encode_seconds = encoded_.seconds;
    row.read_seconds = read_seconds;
    if (peak && encoded_.peak_bytes) {
      row.peak_bytes = std::max(*peak, *encoded_.peak_bytes);
    }
    if (options_.diagnose) {
      row.diagnosis = summary_of(diagnosis);
    }
    for (const auto shown : options_.rows) {
      row.attention.push_back(attention_of(shown, probabilities.row(shown), layout));
    }
    if (statistics_ != nullptr) {
      const auto add = keep(row, predictions.nll, entropy, mass);
      if (options_.diagnose) {
        add("query_norm", diagnosis.query_norm().rows().squeeze(1));
        add("key_norm", diagnosis.key_norm());
        add("value_norm", diagnosis.value_norm());
        add("cosine", diagnosis.cosine());
        add("abs_score", diagnosis.abs_score());
      }
      for (const auto shown : options_.rows) {
        add("probabilities_" + std::to_string(shown), probabilities.row(shown).squeeze(1));
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
      full = encode(model_, tokens_of(prefix), layout, {&progress});
    }
    return full;
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
    encoded_.context = encode(model_, tokens_of(prefix), layout, {&entropy, &progress});
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

/// Modes that read the same encoded context.
bool share_context(const CompareMode& a, const CompareMode& b) {
  return a.pieces == b.pieces && a.prefix == b.prefix;
}

/// A reading of the options, and what its modes are called.
struct ReadingMode {
  std::string without_prefix, with_prefix;
  int64_t selected;
  std::shared_ptr<const Reading> reading;
  bool without_pieces;  // whether it changes rows of ordinary attention, too
};

std::vector<ReadingMode> modes_of(const CompareOptions& options) {
  std::vector<ReadingMode> modes;
  for (const auto& text : options.readings) {
    const std::shared_ptr<const Reading> reading =
        reading_named(text == "select" ? text + ":" + std::to_string(options.select) : text);
    const auto name = text.substr(0, text.find(':'));
    require(name != "all", "--readings ", text, ": parallel and sink read all already");
    for (const auto& earlier : modes) {
      require(earlier.reading->name() != reading->name(), "--readings: ", text, " is given twice");
    }
    const auto needs = reading->needs();
    const auto& kind = *find_reading(name);
    const auto called = [&](const std::string& mode) { return mode.empty() ? name : mode; };
    modes.push_back({called(kind.mode), called(kind.mode_with_prefix), needs.kept, reading,
                     needs.budget.wanted() || needs.bulk.has_value()});
  }
  return modes;
}

}  // namespace

void CompareOptions::validate() const {
  require(scored >= 1, "--scored ", scored, ": at least 1 token must be scored");
  require(length >= scored + 2, "--length ", length, " --scored ", scored,
          ": a segment needs a context; --length must be at least ", scored + 2);
  require(segments >= 1, "--segments ", segments, ": at least 1 is needed");
  require(skip >= 0, "--skip ", skip, ": a number of segments is wanted");
  require(select >= 1, "--select ", select, ": at least 1 piece must be kept");
  modes_of(*this);
  for (const auto row : rows) {
    require(row >= 0 && row < scored, "--rows ", row, ": the query's rows are 0 to ", scored - 1);
    require(std::count(rows.begin(), rows.end(), row) == 1, "--rows: ", row, " is given twice");
  }
  for (const auto& oracle : oracles) {
    require(std::count_if(
                oracles.begin(), oracles.end(),
                [&](const OracleOptions& other) { return other.name() == oracle.name(); }) == 1,
            "--oracle: ", oracle.name(), " is given twice");
  }
  require(!pieces.empty(), "--pieces: no degree is given");
  for (const auto degree : pieces) {
    require(degree >= 1, "--pieces ", degree, ": a degree is at least 1");
    require(std::count(pieces.begin(), pieces.end(), degree) == 1, "--pieces: the degree ", degree,
            " is given twice");
    const auto size = (context() + degree - 1) / degree;
    const auto filled = (context() + size - 1) / size;
    require(filled == degree, "--pieces ", degree, ": the context of ", context(),
            " tokens in pieces of ", size, " fills only ", filled,
            "; choose fewer pieces or a longer --length");
  }
}

ComparePlan plan_compare(const Config& config, const CompareOptions& options) {
  options.validate();
  ComparePlan plan;
  const auto all = std::make_shared<All>();
  const auto readings = modes_of(options);
  const auto add = [&](CompareMode mode) {
    const auto leave_out = [&](const std::string& reason) {
      plan.left_out.push_back({mode.name, mode.pieces, reason});
    };
    if (mode.selected >= mode.pieces && mode.selected > 0) {
      return leave_out("K = " + std::to_string(mode.selected) + " keeps all of " +
                       std::to_string(mode.pieces) + " pieces");
    }
    if (mode.prefix && options.prefix.empty()) {
      return leave_out("the prefix is empty");
    }
    // An oracle takes from a run of one piece, which must have been.
    const auto needed =
        std::max(layout_of(options, mode).query_position + options.scored,
                 mode.oracle ? layout_of(options, 1, mode.prefix).query_position : int64_t{0});
    if (config.learned_positions() && needed > config.positions) {
      return leave_out("it needs " + std::to_string(needed) + " positions, the model has " +
                       std::to_string(config.positions));
    }
    plan.modes.push_back(std::move(mode));
  };
  for (const auto degree : options.pieces) {
    if (degree == 1) {
      add({"full", 1, false, 0, all});
      for (const auto& reading : readings) {
        if (reading.without_pieces) {  // it leaves keys out of a single piece, too
          add({reading.without_prefix, 1, false, 0, reading.reading});
        }
      }
      continue;
    }
    add({"parallel", degree, false, 0, all});
    add({"sink", degree, true, 0, all});
    for (const auto& reading : readings) {
      add({reading.without_prefix, degree, false, reading.selected, reading.reading});
      add({reading.with_prefix, degree, true, reading.selected, reading.reading});
    }
    for (const auto& oracle : options.oracles) {
      oracle.validate(config);
      add({"oracle", degree, false, 0, all, oracle});
      add({"oracle", degree, true, 0, all, oracle});
    }
  }
  std::string reasons;
  for (const auto& left_out : plan.left_out) {
    reasons += "\n  " + left_out.mode + ", P = " + std::to_string(left_out.pieces) + ": " +
               left_out.reason;
  }
  require(!plan.modes.empty(), "no mode is left to run:", reasons);
  // `full` first: the others are compared with it.
  std::stable_partition(plan.modes.begin(), plan.modes.end(),
                        [](const CompareMode& mode) { return mode.name == "full"; });
  const auto layers = static_cast<double>(config.layers);
  for (auto mode = plan.modes.begin(); mode != plan.modes.end(); ++mode) {
    const auto cost =
        cost_of(config, layout_of(options, *mode), options.scored, passes_of(*mode->reading));
    plan.segment_flops += layers * cost.read_layer + cost.head;
    const bool first_oracle =
        mode->oracle && std::none_of(plan.modes.begin(), mode, [&](const CompareMode& earlier) {
          return earlier.prefix == mode->prefix && (earlier.oracle || earlier.pieces == 1);
        });
    if (first_oracle) {
      plan.segment_flops +=
          layers *
          cost_of(config, layout_of(options, 1, mode->prefix), options.scored).encode_layer;
    }
    if (std::none_of(plan.modes.begin(), mode,
                     [&](const CompareMode& earlier) { return share_context(earlier, *mode); })) {
      plan.segment_flops += layers * cost.encode_layer;
    }
  }
  return plan;
}

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

std::string label_of(const CompareRow& row) {
  if (row.reading == "all") {
    return row.mode;
  }
  // A mode with a name of its own says as much as a reading with no other option than K.
  for (const auto& kind : reading_kinds()) {
    const bool named = row.mode == kind.mode || row.mode == kind.mode_with_prefix;
    if (named && row.selected > 0 &&
        row.reading ==
            kind.make(ReadingText(kind.name + ":" + std::to_string(row.selected)))->name()) {
      return row.mode;
    }
  }
  return row.reading + (row.prefix_tokens > 0 ? " + prefix" : "");
}

std::vector<CompareRow> over_segments(const std::vector<CompareRow>& segment_rows) {
  std::vector<CompareRow> joined;
  for (const auto& first : segment_rows) {
    const auto same = [&](const CompareRow& row) {
      return row.mode == first.mode && row.pieces == first.pieces && row.reading == first.reading &&
             row.prefix_tokens == first.prefix_tokens;
    };
    if (std::any_of(joined.begin(), joined.end(), same)) {
      continue;
    }
    CompareRow all = first;
    all.segment = {};
    all.segments = all.tokens = 0;
    all.encode_seconds = all.read_seconds = 0;
    Sums nll, delta;
    double total = 0;
    for (const auto& row : segment_rows) {
      total += same(row) ? static_cast<double>(row.tokens) : 0;
    }
    const auto average = [&](auto field) {
      double sum = 0;
      for (const auto& row : segment_rows) {
        sum += same(row) ? field(row) * static_cast<double>(row.tokens) / total : 0;
      }
      return sum;
    };
    for (const auto& row : segment_rows) {
      if (!same(row)) {
        continue;
      }
      const auto tokens = static_cast<double>(row.tokens);
      ++all.segments;
      all.tokens += row.tokens;
      nll.add(tokens, row.nll, row.nll_stderr);
      if (row.delta_nll) {
        delta.add(tokens, *row.delta_nll, row.delta_stderr);
      }
      all.encode_seconds += row.encode_seconds;
      all.read_seconds += row.read_seconds;
      if (all.peak_bytes && row.peak_bytes) {
        all.peak_bytes = std::max(*all.peak_bytes, *row.peak_bytes);
      }
    }
    all.nll = nll.mean().value;
    all.nll_stderr = nll.mean().standard_error;
    all.perplexity = std::exp(all.nll);
    if (first.delta_nll) {
      all.delta_nll = delta.mean().value;
      all.delta_stderr = delta.mean().standard_error;
      all.kl = average([](const CompareRow& row) { return *row.kl; });
      all.same_top1 = average([](const CompareRow& row) { return *row.same_top1; });
    }
    for (const auto field :
         {&CompareRow::entropy_pce, &CompareRow::entropy_tok, &CompareRow::entropy_between,
          &CompareRow::entropy_within, &CompareRow::mass_prefix, &CompareRow::mass_own,
          &CompareRow::mass_top_piece, &CompareRow::cost_ratio}) {
      all.*field = average([&](const CompareRow& row) { return row.*field; });
    }
    // `of` gives a row's table of the same shape in every segment.
    const auto average_table = [&](auto of) {
      auto& table = of(all);
      for (std::size_t i = 0; i < table.size(); ++i) {
        for (std::size_t j = 0; j < table[i].size(); ++j) {
          table[i][j] = average([&](const CompareRow& row) { return of(row)[i][j]; });
        }
      }
    };
    average_table([](auto& row) -> auto& { return row.entropy_heads; });
    if (all.diagnosis) {
      for (const auto field : {&Diagnosis::query_norm, &Diagnosis::key_norm, &Diagnosis::value_norm,
                               &Diagnosis::cosine, &Diagnosis::abs_score}) {
        average_table([field](auto& row) -> auto& { return *row.diagnosis.*field; });
      }
      for (std::size_t place = 0; place < all.diagnosis->places.size(); ++place) {
        for (const auto field : {&Diagnosis::Place::key_norm, &Diagnosis::Place::value_norm,
                                 &Diagnosis::Place::cosine, &Diagnosis::Place::abs_score}) {
          all.diagnosis->places[place].*field =
              average([&](const CompareRow& row) { return row.diagnosis->places[place].*field; });
        }
      }
    }
    for (std::size_t shown = 0; shown < all.attention.size(); ++shown) {
      average_table([shown](auto& row) -> auto& { return row.attention[shown].layers; });
    }
    for (std::size_t bin = 0; bin < all.entropy_text.size(); ++bin) {
      all.entropy_text[bin].entropy =
          average([&](const CompareRow& row) { return row.entropy_text[bin].entropy; });
    }
    joined.push_back(std::move(all));
  }
  return joined;
}

}  // namespace motet
