#include "eval/read_modes.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <set>
#include <string>

#include "attention/nested.h"
#include "eval/clock.h"
#include "eval/gold_probe.h"
#include "eval/task_layout.h"
#include "motet/eval/predictions.h"
#include "motet/model/reader.h"
#include "motet/probe/entropy.h"
#include "motet/probe/mass.h"
#include "text/unicode.h"

namespace motet {
namespace {

using torch::Tensor;
using Tokens = std::vector<int64_t>;

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

std::vector<double> listed(const Tensor& x) {
  const auto plain = x.to(torch::kCPU, torch::kFloat64).contiguous();
  return {plain.const_data_ptr<double>(), plain.const_data_ptr<double>() + plain.numel()};
}

/// The modes of an item that read one context. What one of them reads, all read in the same call:
/// products of weights are of all of them.
class Answers {
 public:
  Answers(const Decoder& model, const Tokenizer& tokenizer, const TaskItem& item,
          const TasksOptions& options, const EncodedContext& context, const TasksProgress& progress)
      : model_(model),
        tokenizer_(tokenizer),
        item_(item),
        options_(options),
        context_(context),
        progress_(progress) {}

  /// One more mode, whose figures go to `row`.
  void add(const Mode& mode, ItemRow& row) { modes_.emplace_back(*this, mode, row); }

  /// The query's call, and the likelihood of answers behind it.
  void read() {
    const auto start = Clock::now();
    std::vector<OfMode*> all;
    for (auto& mode : modes_) {
      all.push_back(&mode);
    }
    const auto last = call(all, std::vector<Tokens>(all.size(), item_.query));
    for (std::size_t i = 0; i < all.size(); ++i) {
      all[i]->last = last[i].slice(0, -1);
      all[i]->tell_query();
    }
    read_gold();
    if (!item_.candidates.empty()) {
      choose();
    }
    share(start, all);
  }

  /// Outputs, greedily.
  void generate() {
    std::vector<OfMode*> running;
    for (auto& mode : modes_) {
      running.push_back(&mode);
    }
    while (!running.empty() && item_.record.tokens > 0) {
      const auto start = Clock::now();
      std::vector<Tensor> hidden;
      for (const auto* mode : running) {
        hidden.push_back(mode->last);
      }
      const auto best = model_.logits(torch::cat(hidden)).argmax(-1).to(torch::kCPU).contiguous();
      std::vector<OfMode*> going;
      std::vector<Tokens> next;
      for (std::size_t i = 0; i < running.size(); ++i) {
        const auto token = best.const_data_ptr<int64_t>()[i];
        if (running[i]->take(token)) {
          going.push_back(running[i]);
          next.push_back({token});
        }
      }
      const auto rows = call(going, next);
      for (std::size_t i = 0; i < going.size(); ++i) {
        going[i]->last = rows[i];
      }
      share(start, running);
      std::erase_if(going, [&](const OfMode* mode) {
        return mode->stopped || static_cast<int64_t>(mode->output.size()) >= item_.record.tokens;
      });
      running = std::move(going);
    }
    for (auto& mode : modes_) {
      mode.tell_output();
    }
  }

  /// Tells of what an output that ended early did not take.
  void end() {
    for (auto& mode : modes_) {
      mode.tell(mode.left);
    }
  }

 private:
  /// One of them.
  struct OfMode {
    OfMode(const Answers& all, const Mode& mode, ItemRow& row)
        : all(all),
          row(row),
          gold_pieces(motet::gold_pieces(all.item_, filled_pieces(all.item_, mode.pieces))),
          gold(gold_pieces),
          gold_in_answer(gold_pieces),
          reader(all.model_, all.context_, *mode.reading, {&entropy, &mass, &gold},
                 all.options_.ablation),
          left(cost_of(all.item_, all.model_.config(), all.options_, mode).read),
          each(left / static_cast<double>(all.item_.record.tokens + 1)) {}

    void tell(double flops) {
      left -= flops;
      if (all.progress_) {
        all.progress_(flops);
      }
    }

    void tell_query() const {
      row.entropy_query = mean(entropy.entropy());
      row.mass_prefix = mean(mass.prefix());
      row.mass_own = mean(mass.own());
      row.mass_null = mass.null().empty() ? std::nullopt : std::optional(mean(mass.null()));
      row.mass_top_piece = mean(mass.top_piece());
    }

    void tell_gold(const Predictions& predictions) const {
      row.answer_nlls = listed(predictions.nll);
      row.answer_greedy = predictions.top1.min().item<double>() > 0;
      row.answer_nll = sum(row.answer_nlls);
      row.answer_tokens = static_cast<int64_t>(row.answer_nlls.size());
      if (!gold.looks()) {
        return;
      }
      row.mass_gold = mean(gold.mass());
      row.best_is_gold = mean(gold.best());
      row.kept_is_gold = mean(gold.kept());
      row.gold_chance =
          static_cast<double>(gold_pieces.size()) / static_cast<double>(row.pieces_filled);
      auto rows = gold.best().rows().slice(3, -1);  // [layers, batch, heads, rows]
      if (row.answer_tokens > 1) {
        rows = torch::cat({rows, gold_in_answer.best().rows()}, 3);
      }
      row.gold_heads = nested(rows.to(torch::kFloat64).mean({1, 3}));
    }

    /// One more token of the output; false where it ends the output and is no part of it.
    bool take(int64_t token) {
      const auto& options = all.options_;
      if (!options.full_length &&
          std::find(options.end.begin(), options.end.end(), token) != options.end.end()) {
        return false;
      }
      output.push_back(token);
      text = text::lossy(all.tokenizer_.decode(output, {.special_tokens = false}));
      stopped = !options.full_length && stop();
      return true;
    }

    /// Cuts the text where one of the record's stops begins.
    bool stop() {
      auto first = std::string::npos;
      for (const auto& stop : all.item_.record.stop) {
        first = std::min(first, text.find(stop));
      }
      if (first == std::string::npos) {
        return false;
      }
      text.resize(first);
      return true;
    }

    void tell_output() const {
      row.output = text;
      row.output_ids = output;
      row.parsed = parsed_answer(all.item_.record, text);
      row.score = score_answer(all.item_.record, text);
      row.entropy_pce = entropy.mean_of_calls();
      row.entropy_tok = mean(entropy.entropy());
    }

    const Answers& all;
    ItemRow& row;
    Tokens gold_pieces;
    EntropyProbe entropy;
    MassProbe mass;
    GoldProbe gold, gold_in_answer;
    Reader reader;
    double left, each;  // FLOPs to tell of: of all, of one call
    Tensor last;        // the row that predicts the next token, [1, width]
    std::string text;
    Tokens output;
    bool stopped = false;
  };

  /// The time since `start`, which these modes took together.
  static void share(Clock::time_point start, const std::vector<OfMode*>& modes) {
    for (auto* mode : modes) {
      mode->row.read_seconds += seconds_since(start) / static_cast<double>(modes.size());
    }
  }

  /// One call of each of these modes.
  static std::vector<Tensor> call(const std::vector<OfMode*>& modes,
                                  const std::vector<Tokens>& tokens) {
    std::vector<Reader*> readers;
    std::vector<Reader::Queries> queries;
    for (std::size_t i = 0; i < modes.size(); ++i) {
      readers.push_back(&modes[i]->reader);
      queries.push_back({tokens[i]});
    }
    auto rows = read_together(readers, queries);
    for (auto* mode : modes) {
      mode->tell(mode->each);
    }
    return rows;
  }

  /// What each mode reads after the query: rows of a batch of continuations, of each mode.
  std::vector<Tensor> go_on(const Reader::Queries& batch, bool gold) {
    std::deque<Reader> more;
    std::vector<Reader*> readers;
    for (auto& mode : modes_) {
      const auto probes = gold ? Probes{&mode.gold_in_answer} : Probes{};
      readers.push_back(
          &more.emplace_back(mode.reader, probes, static_cast<int64_t>(batch.size())));
    }
    return read_together(readers, std::vector<Reader::Queries>(readers.size(), batch));
  }

  /// -ln p of each token of the gold answer, which follows the query: the first is predicted by the
  /// query's last row, the others in one call.
  void read_gold() {
    const auto& gold = item_.gold;
    std::vector<Tensor> rows;
    if (gold.size() > 1) {
      rows = go_on({Tokens(gold.begin(), gold.end() - 1)}, true);
    }
    std::vector<Tensor> hidden;
    Tokens wanted;
    for (std::size_t i = 0; i < modes_.size(); ++i) {
      hidden.push_back(modes_[i].last);
      if (!rows.empty()) {
        hidden.push_back(rows[i]);
      }
      wanted.insert(wanted.end(), gold.begin(), gold.end());
    }
    const auto predictions = predict(model_, torch::cat(hidden), wanted);
    const auto length = static_cast<int64_t>(gold.size());
    for (std::size_t i = 0; i < modes_.size(); ++i) {
      const auto of_mode = [&](const Tensor& x) {
        return x.narrow(0, static_cast<int64_t>(i) * length, length);
      };
      modes_[i].tell_gold({of_mode(predictions.nll), of_mode(predictions.top1), {}, {}});
    }
  }

  /// The likelihood of each candidate, in one call: a batch of those that differ in more than their
  /// last token.
  void choose() {
    std::vector<Tokens> batch;       // all tokens but the last, where there are such
    std::vector<std::size_t> place;  // of each candidate, in the batch
    for (const auto& answer : item_.candidates) {
      Tokens read(answer.begin(), answer.end() - 1);
      const auto found = std::find(batch.begin(), batch.end(), read);
      place.push_back(found - batch.begin());
      if (found == batch.end() && !read.empty()) {
        batch.push_back(std::move(read));
      }
    }
    std::vector<Tensor> rows(modes_.size());
    if (!batch.empty()) {
      rows = go_on(batch, false);
    }
    std::vector<int64_t> firsts{0};  // of each read of the batch, in the rows of a mode
    for (const auto& read : batch) {
      firsts.push_back(firsts.back() + static_cast<int64_t>(read.size()));
    }
    std::vector<Tensor> hidden;
    Tokens wanted;
    for (std::size_t i = 0; i < modes_.size(); ++i) {
      for (std::size_t k = 0; k < place.size(); ++k) {
        const auto& answer = item_.candidates[k];
        hidden.push_back(modes_[i].last);
        if (answer.size() > 1) {
          hidden.push_back(rows[i].slice(0, firsts[place[k]], firsts[place[k] + 1]));
        }
        wanted.insert(wanted.end(), answer.begin(), answer.end());
      }
    }
    const auto nll = listed(predict(model_, torch::cat(hidden), wanted).nll);
    auto next = nll.begin();
    for (auto& mode : modes_) {
      std::vector<double> likelihoods;
      for (const auto& answer : item_.candidates) {
        const auto length = static_cast<std::ptrdiff_t>(answer.size());
        likelihoods.push_back(-sum({next, next + length}));
        next += length;
      }
      compare(likelihoods, mode.row);
    }
  }

  /// How the gold answer does among the candidates.
  void compare(const std::vector<double>& likelihoods, ItemRow& row) const {
    const auto& candidates = item_.record.candidates;
    std::size_t gold = 0;
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      gold = candidates[i] == item_.record.gold ? i : gold;
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

  const Decoder& model_;
  const Tokenizer& tokenizer_;
  const TaskItem& item_;
  const TasksOptions& options_;
  const EncodedContext& context_;
  const TasksProgress& progress_;
  std::deque<OfMode> modes_;  // their readers refer to their probes
};

}  // namespace

void read_modes(const Decoder& model, const Tokenizer& tokenizer, const TaskItem& item,
                const TasksOptions& options, const EncodedContext& context,
                const std::vector<std::pair<const Mode*, ItemRow*>>& modes, bool generate,
                const TasksProgress& progress) {
  Answers answers(model, tokenizer, item, options, context, progress);
  for (const auto& [mode, row] : modes) {
    answers.add(*mode, *row);
  }
  answers.read();
  if (generate) {
    answers.generate();
  }
  answers.end();
}

}  // namespace motet
