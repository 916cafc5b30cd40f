#include <ATen/ATen.h>

#include <algorithm>
#include <set>
#include <utility>

#include "attention/nested.h"
#include "eval/clock.h"
#include "eval/compare_cost.h"
#include "eval/gold_probe.h"
#include "eval/task_layout.h"
#include "motet/error.h"
#include "motet/eval/predictions.h"
#include "motet/eval/tasks.h"
#include "motet/model/encode.h"
#include "motet/model/reader.h"
#include "motet/probe/entropy.h"
#include "motet/probe/mass.h"
#include "text/unicode.h"

namespace motet {
namespace {

using torch::Tensor;
using Tokens = std::vector<int64_t>;

/// Tells of each layer of a context.
class EncodeProgress : public Probe {
 public:
  EncodeProgress(const TasksProgress& report, double layer) : report_(report), layer_(layer) {}
  ProbeNeeds needs() const override { return {}; }
  void observe(const Observation&) override {
    if (report_) {
      report_(layer_);
    }
  }

 private:
  const TasksProgress& report_;
  double layer_;
};

/// Pieces that hold a gold unit, where units are dealt to so many pieces; none where there is
/// nothing to find.
Tokens gold_pieces(const TaskItem& item, int64_t pieces) {
  if (item.record.gold_units.empty() || pieces < 2) {
    return {};
  }
  const Tokens ones(item.units.size(), 1);
  const auto units = split_units(ones, pieces);
  std::set<int64_t> gold;
  int64_t first = 0;
  for (int64_t piece = 0; piece < pieces; ++piece) {
    const auto last = first + units[piece];
    for (const auto unit : item.record.gold_units) {
      if (unit >= first && unit < last) {
        gold.insert(piece);
      }
    }
    first = last;
  }
  return {gold.begin(), gold.end()};
}

double mean(const RowStatistic& statistic) { return statistic.mean().item<double>(); }

double sum(const std::vector<double>& values) {
  double all = 0;
  for (const auto value : values) {
    all += value;
  }
  return all;
}

/// One mode of one item.
class Answer {
 public:
  Answer(const Decoder& model, const Tokenizer& tokenizer, const TaskItem& item,
         const TasksOptions& options, const Mode& mode, const EncodedContext& context)
      : model_(model),
        tokenizer_(tokenizer),
        item_(item),
        options_(options),
        gold_pieces_(gold_pieces(item, filled_pieces(item, mode.pieces))),
        gold_(gold_pieces_),
        reader_(model, context, *mode.reading, {&entropy_, &mass_, &gold_}, options.ablation) {}

  /// The query's call, and the likelihood of answers behind it.
  void read(ItemRow& row) {
    last_ = reader_.read(item_.query).slice(0, -1);
    row.entropy_query = mean(entropy_.entropy());
    row.mass_prefix = mean(mass_.prefix());
    row.mass_own = mean(mass_.own());
    row.mass_top_piece = mean(mass_.top_piece());
    GoldProbe answer(gold_pieces_);
    const auto gold = predictions(item_.gold, {&answer});
    row.answer_nlls = nested_list(gold.nll);
    row.answer_greedy = gold.top1.min().item<double>() > 0;
    row.answer_nll = sum(row.answer_nlls);
    row.answer_tokens = static_cast<int64_t>(row.answer_nlls.size());
    if (gold_.looks()) {
      row.mass_gold = mean(gold_.mass());
      row.best_is_gold = mean(gold_.best());
      row.kept_is_gold = mean(gold_.kept());
      auto rows = gold_.best().rows().slice(3, -1);  // [layers, batch, heads, rows]
      if (item_.gold.size() > 1) {
        rows = torch::cat({rows, answer.best().rows()}, 3);
      }
      row.gold_heads = nested(rows.to(torch::kFloat64).mean({1, 3}));
    }
    if (!item_.candidates.empty()) {
      choose(row);
    }
  }

  /// An output, greedily; `step` is called for each call.
  void generate(ItemRow& row, const std::function<void()>& step) {
    std::string text;
    Tokens output;
    auto hidden = last_;
    bool stopped = false;
    while (!stopped && static_cast<int64_t>(output.size()) < item_.record.tokens) {
      const auto token = model_.logits(hidden)[0].argmax().item<int64_t>();
      if (!options_.full_length &&
          std::find(options_.end.begin(), options_.end.end(), token) != options_.end.end()) {
        break;
      }
      output.push_back(token);
      text = text::lossy(tokenizer_.decode(output, {.special_tokens = false}));
      if (!options_.full_length) {
        stopped = stop(text);
      }
      hidden = reader_.read({token});
      step();
    }
    row.output = text;
    row.output_ids = output;
    row.parsed = parsed_answer(item_.record, text);
    row.score = score_answer(item_.record, text);
    row.entropy_pce = entropy_.mean_of_calls();
    row.entropy_tok = mean(entropy_.entropy());
  }

 private:
  /// -ln p of each token of an answer, which follows the query: the first is predicted by the
  /// query's last row, the others in one call.
  Predictions predictions(const Tokens& answer, const Probes& probes) {
    auto hidden = last_;
    if (answer.size() > 1) {
      Reader more(reader_, probes);
      hidden = torch::cat({hidden, more.read(Tokens(answer.begin(), answer.end() - 1))});
    }
    return predict(model_, hidden, answer);
  }

  static std::vector<double> nested_list(const Tensor& x) {
    const auto plain = x.to(torch::kFloat64).contiguous();
    return {plain.const_data_ptr<double>(), plain.const_data_ptr<double>() + plain.numel()};
  }

  /// The likelihood of each candidate, in one call: a batch of those that differ in more than their
  /// last token.
  void choose(ItemRow& row) {
    std::vector<Tokens> reads;  // all tokens but the last
    std::vector<std::size_t> place;
    for (const auto& answer : item_.candidates) {
      Tokens read(answer.begin(), answer.end() - 1);
      const auto found = std::find(reads.begin(), reads.end(), read);
      place.push_back(found - reads.begin());
      if (found == reads.end()) {
        reads.push_back(std::move(read));
      }
    }
    const auto empty = std::find(reads.begin(), reads.end(), Tokens());
    std::vector<Tokens> batch = reads;
    std::erase(batch, Tokens());
    std::vector<Tensor> hidden;  // rows that predict an answer
    if (!batch.empty()) {
      Reader more(reader_, Probes{}, static_cast<int64_t>(batch.size()));
      const auto rows = more.read(batch);
      int64_t first = 0;
      for (const auto& read : batch) {
        const auto last = first + static_cast<int64_t>(read.size());
        hidden.push_back(torch::cat({last_, rows.slice(0, first, last)}));
        first = last;
      }
    }
    if (empty != reads.end()) {
      hidden.insert(hidden.begin() + (empty - reads.begin()), last_);
    }
    std::vector<double> likelihoods;
    std::size_t gold = 0;
    for (std::size_t i = 0; i < item_.candidates.size(); ++i) {
      const auto nll = predict(model_, hidden[place[i]], item_.candidates[i]).nll;
      likelihoods.push_back(-nll.sum().item<double>());
      gold = item_.record.candidates[i] == item_.record.gold ? i : gold;
    }
    double best_other = -INFINITY;
    int64_t rank = 1;
    for (std::size_t i = 0; i < likelihoods.size(); ++i) {
      if (i != gold) {
        best_other = std::max(best_other, likelihoods[i]);
        rank += likelihoods[i] >= likelihoods[gold] ? 1 : 0;  // a tie is not won
      }
    }
    row.candidate_margin = likelihoods[gold] - best_other;
    row.candidate_best = rank == 1 ? 1 : 0;
    row.candidate_rank = rank;
  }

  /// Cuts a text where one of the record's stops begins.
  bool stop(std::string& text) const {
    auto first = std::string::npos;
    for (const auto& stop : item_.record.stop) {
      first = std::min(first, text.find(stop));
    }
    if (first == std::string::npos) {
      return false;
    }
    text.resize(first);
    return true;
  }

  const Decoder& model_;
  const Tokenizer& tokenizer_;
  const TaskItem& item_;
  const TasksOptions& options_;
  Tokens gold_pieces_;
  EntropyProbe entropy_;
  MassProbe mass_;
  GoldProbe gold_;
  Reader reader_;
  Tensor last_;  // the query's last row, [1, width]
};

ItemRow row_of(const TaskItem& item, const Mode& mode, const std::string& layout) {
  const auto& record = item.record;
  ItemRow row;
  row.task = record.task;
  row.group = record.group.empty() ? record.task : record.group;
  row.id = record.id;
  row.layout = layout;
  row.prompt_hash = record.prompt_hash();
  row.rule = std::string(name_of(record.rule)) + (record.parse_line ? ", line" : "");
  row.depth = record.depth;
  row.mode = mode.name;
  row.reading = mode.reading->name();
  row.pieces = mode.pieces;
  row.pieces_filled = filled_pieces(item, mode.pieces);
  row.prefix_tokens = mode.prefix ? static_cast<int64_t>(item.prefix.size()) : 0;
  row.selected = mode.selected;
  row.units = static_cast<int64_t>(item.units.size());
  row.units_dropped = item.dropped;
  row.tokens = item.tokens();
  return row;
}

}  // namespace

std::vector<ItemRow> run_item(const Decoder& model, const Tokenizer& tokenizer,
                              const TaskItem& item, const TasksOptions& options, bool generate,
                              const std::string& layout, const TasksProgress& progress) {
  const at::NoGradGuard no_grad;
  const auto& modes = item.modes;
  std::vector<ItemRow> rows(modes.size());
  std::vector<bool> done(modes.size());
  for (std::size_t i = 0; i < modes.size(); ++i) {
    if (done[i]) {
      continue;
    }
    const auto shape = layout_of(item, options, modes[i]);
    auto tokens = before_units(item, options, modes[i].prefix);
    for (const auto& unit : item.units) {
      tokens.insert(tokens.end(), unit.begin(), unit.end());
    }
    const auto longest = std::max(item.record.tokens, static_cast<int64_t>(item.gold.size()));
    const auto reach = shape.query_position + static_cast<int64_t>(item.query.size()) + longest;
    EncodeProgress step(progress, cost_of(item, model.config(), options, modes[i]).encode_layer);
    const auto start = Clock::now();
    const auto context = encode(model, tokens, shape, {&step}, {.reach = reach});
    const auto encode_seconds = seconds_since(start);
    for (std::size_t j = i; j < modes.size(); ++j) {  // those that share it
      if (done[j] || !compare::share_context(modes[i], modes[j])) {
        continue;
      }
      done[j] = true;
      auto& row = rows[j] = row_of(item, modes[j], layout);
      const auto read_start = Clock::now();
      Answer answer(model, tokenizer, item, options, modes[j], context);
      answer.read(row);
      auto left = cost_of(item, model.config(), options, modes[j]).read;
      const auto each = left / static_cast<double>(item.record.tokens + 1);
      const auto tell = [&](double flops) {
        left -= flops;
        if (progress) {
          progress(flops);
        }
      };
      tell(each);
      if (generate) {
        answer.generate(row, [&] { tell(each); });
      }
      tell(left);  // of an output that ended early
      row.cost_ratio = shape.cost_ratio();
      row.encode_seconds = encode_seconds;
      row.read_seconds = seconds_since(read_start);
      if (row.mass_gold) {
        row.gold_chance =
            static_cast<double>(gold_pieces(item, filled_pieces(item, modes[j].pieces)).size()) /
            static_cast<double>(row.pieces_filled);
      }
    }
  }
  return rows;
}

}  // namespace motet
