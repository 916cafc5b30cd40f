// motet-generate: an answer from several passages, which are encoded in parallel.

#include "motet/model/generate.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "chat.h"
#include "generate_options.h"
#include "motet/context/layout.h"
#include "motet/files/atomic.h"
#include "motet/files/mapped.h"
#include "motet/files/sha256.h"
#include "motet/model/encode.h"
#include "motet/model/reader.h"
#include "motet/probe/entropy.h"
#include "motet/probe/mass.h"
#include "motet/probe/statistic.h"
#include "motet/reading/reading.h"
#include "motet/reading/registry.h"
#include "motet/text/tokenizer.h"
#include "run_files.h"

namespace {

using program::Task;
using program::UsageError;
using Options = program::GenerateOptions;

/// The longest part of `text` from `first` on that does not end inside a character.
std::size_t whole_characters(const std::string& text) {
  auto last = text.size();
  for (std::size_t back = 1; back <= std::min<std::size_t>(4, text.size()); ++back) {
    const auto byte = static_cast<unsigned char>(text[text.size() - back]);
    if ((byte & 0xc0) == 0x80) {
      continue;
    }
    const std::size_t wanted = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return wanted > back ? last - back : last;
  }
  return last;
}

class Answering {
 public:
  Answering(const Options& options, const motet::Decoder& model, const motet::Tokenizer& tokenizer,
            std::optional<program::Chat> chat)
      : options_(options), model_(model), tokenizer_(tokenizer), chat_(std::move(chat)) {
    options.ablation.ablation().check(model.config().layers, model.config().heads);
    const auto reading = !options.reading.empty() ? options.reading
                         : options.selects() ? fmt::format("select:{}", options.select.value_or(2))
                                             : "all";
    try {
      reading_ = motet::reading_named(reading);
    } catch (const motet::Error& error) {
      throw UsageError(error.what());
    }
    reading_->check(model.config().layers, model.config().heads);
    if (!options.out.empty() || reading_->source()) {
      const auto source = program::model_source(options, model.config());
      program::note_other_model(options, *reading_, source);
      model_hash_ = source.hash;
    }
  }

  /// What an answer depends on, beside model and pieces.
  nlohmann::ordered_json settings(const Task& task) const {
    nlohmann::ordered_json json{{"model", model_hash_},
                                {"dtype", options_.dtype},
                                {"device", options_.device},
                                {"products", program::products_of(options_)},
                                {"context", context_hash(task)},
                                {"tokens_at_most", options_.generate.tokens},
                                {"mode", options_.mode},
                                {"reading", reading_->name()},
                                {"positions", options_.positions},
                                {"bos", options_.bos},
                                {"chat", options_.chat},
                                {"temperature", options_.generate.sampling.temperature},
                                {"top_p", options_.generate.sampling.top_p},
                                {"seed", options_.seed},
                                {"query", task.query}};
    if (const auto source = reading_->source()) {
      json["reading_hash"] = source->hash;
    }
    if (options_.has_prefix()) {
      json["prefix"] = prefix_of(task);
    }
    if (options_.system) {
      json["system"] = program::unescaped(*options_.system);
    }
    if (!options_.ablation.heads.empty()) {
      std::vector<std::string> heads;  // not the name of their file, which may change
      for (const auto& [layer, head] : options_.ablation.ablation().heads) {
        heads.push_back(fmt::format("{}.{}", layer, head));
      }
      json["ablate"] = fmt::format("{}", fmt::join(heads, ","));
      json["ablate_by"] = options_.ablation.by;
    }
    return json;
  }

  nlohmann::ordered_json answer(const Task& task) {
    auto prefix = prefix_of(task);
    auto query = task.query;
    if (chat_) {
      prefix = chat_->before + prefix;
      query = (options_.has_prefix() ? "" : chat_->before) + query + chat_->after;
    }
    auto tokens = options_.bos ? program::bos_of(options_.model, model_.config(), tokenizer_)
                               : std::vector<int64_t>();
    if (options_.has_prefix()) {
      const auto more = ids(prefix);
      tokens.insert(tokens.end(), more.begin(), more.end());
    }
    const auto prefix_tokens = static_cast<int64_t>(tokens.size());
    std::vector<int64_t> lengths;
    for (const auto& unit : task.units) {
      const auto more = ids(unit);
      tokens.insert(tokens.end(), more.begin(), more.end());
      lengths.push_back(static_cast<int64_t>(more.size()));
    }
    lengths = motet::split_units(lengths, options_.mode == "full" ? 1 : task.pieces());
    const auto layout =
        motet::make_layout(prefix_tokens, lengths, motet::positions_named(options_.positions));
    const auto question = ids(query);
    const auto reach =
        layout.query_position + static_cast<int64_t>(question.size()) + options_.generate.tokens;
    const auto context = motet::encode(model_, tokens, layout, {}, {.reach = reach});
    motet::EntropyProbe entropy;
    motet::MassProbe mass;
    motet::Reader reader(model_, context, *reading_,
                         options_.probe ? motet::Probes{&entropy, &mass} : motet::Probes{},
                         options_.ablation.ablation());
    auto generate = options_.generate;
    generate.sampling.seed = static_cast<uint64_t>(options_.seed);
    generate.stop = stop_tokens();
    std::vector<int64_t> answer;
    std::string text, shown;
    if (options_.probe) {
      fmt::print("{:<16} {:>8} {:>6} {:>6} {:>6}\n", "token", "entropy", "own", "piece", "mass");
    }
    auto statistics = nlohmann::ordered_json::array();
    motet::generate(model_, reader, question, generate, [&](int64_t token) {
      answer.push_back(token);
      text = tokenizer_.decode(answer);
      if (options_.probe) {
        statistics.push_back(show(token, entropy, mass));
      } else {
        const auto whole = std::max(shown.size(), whole_characters(text));
        fmt::print("{}", program::for_output(text.substr(shown.size(), whole - shown.size())));
        std::fflush(stdout);
        shown = text.substr(0, whole);
      }
      return !program::interrupted();
    });
    fmt::print("{}\n",
               program::for_output(options_.probe ? "\n" + text : text.substr(shown.size())));
    std::fflush(stdout);  // before a note
    if (static_cast<int64_t>(answer.size()) < generate.tokens && reader.positions_left() == 0) {
      program::note(options_, fmt::format("note: this answer ends where the model's table of {} "
                                          "positions does",
                                          model_.config().positions));
    }
    auto json = settings(task);
    json["answer"] = text;
    json["tokens"] = answer;
    if (options_.probe) {
      json["statistics"] = statistics;
    }
    return json;
  }

 private:
  std::string prefix_of(const Task& task) const {
    return task.prefix ? *task.prefix
                       : program::unescaped(options_.prefix.value_or(
                             "Answer the question with these passages:\\n\\n"));
  }

  std::vector<int64_t> ids(const std::string& text) const { return tokenizer_.encode(text).ids; }

  /// Of the units and how many pieces they make.
  static std::string context_hash(const Task& task) {
    const nlohmann::json context{task.units, task.pieces()};
    return motet::sha256(context.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  }

  std::vector<int64_t> stop_tokens() const {
    auto stop = motet::end_tokens(options_.model);
    if (const auto end = tokenizer_.id("<|im_end|>"); options_.chat && end) {
      stop.push_back(*end);
    }
    return stop;
  }

  /// A token's line, from the row that predicted it: the last that the probes have seen.
  nlohmann::ordered_json show(int64_t token, const motet::EntropyProbe& entropy,
                              const motet::MassProbe& mass) const {
    const auto last = [](const motet::RowStatistic& statistic) {
      return statistic.last().to(torch::kFloat64).mean({0, 1, 2});
    };
    const auto masses = last(mass.mass());
    const auto pieces = masses.slice(0, 1, -1);
    const auto best = pieces.argmax().item<int64_t>();
    nlohmann::ordered_json json{{"token", tokenizer_.token(token)},
                                {"entropy", last(entropy.entropy()).item<double>()},
                                {"mass_own", masses[-1].item<double>()},
                                {"top_piece", best + 1},
                                {"mass_top_piece", pieces[best].item<double>()}};
    fmt::print("{:<16} {:>8.3f} {:>6.2f} {:>6} {:>6.2f}\n",
               nlohmann::json(json["token"])
                   .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace),
               json["entropy"].get<double>(), json["mass_own"].get<double>(), best + 1,
               json["mass_top_piece"].get<double>());
    std::fflush(stdout);
    return json;
  }

  const Options& options_;
  const motet::Decoder& model_;
  const motet::Tokenizer& tokenizer_;
  std::optional<program::Chat> chat_;
  std::string model_hash_;
  std::shared_ptr<motet::Reading> reading_;
};

/// Answers that --out holds already, a line each, in the order of the tasks. Nothing of another
/// run is overwritten unasked.
std::vector<std::string> earlier_answers(const Options& options, const std::vector<Task>& tasks,
                                         const Answering& answering) {
  const auto path = options.out / "answers.jsonl";
  if (options.out.empty() || options.overwrite || !std::filesystem::exists(path)) {
    return {};
  }
  motet::require(options.resume, options.out.string(),
                 ": holds answers already; --resume goes on with them, --overwrite replaces them");
  std::vector<std::string> lines;
  const auto text = motet::read_file(path);
  for (std::size_t first = 0; first < text.size();) {
    const auto last = std::min(text.find('\n', first), text.size());
    lines.push_back(text.substr(first, last - first));
    first = last + 1;
    const auto where = fmt::format("{}:{}", path.string(), lines.size());
    const auto json = nlohmann::json::parse(lines.back(), nullptr, /*allow_exceptions=*/false);
    motet::require(json.is_object(), where, ": is damaged; --overwrite begins anew");
    motet::require(lines.size() <= tasks.size(), where,
                   ": is an answer more than there are queries");
    const auto wanted = answering.settings(tasks[lines.size() - 1]);
    for (const auto* name : {"reading_hash", "prefix", "system", "ablate", "ablate_by"}) {
      motet::require(!json.contains(name) || wanted.contains(name), where, ": was made with ", name,
                     " ", json.contains(name) ? json[name].dump() : "",
                     ", this command has none; choose another --out");
    }
    for (const auto& [name, value] : wanted.items()) {
      motet::require(json.contains(name) && json[name] == value, where, ": was made with another ",
                     name, ": ", json.contains(name) ? json[name].dump() : "none",
                     ", this command has ", value.dump(), "; choose another --out");
    }
  }
  return lines;
}

void generate(Options& options) {
  const auto tasks = program::tasks_of(options);
  program::check(options, tasks);
  const auto tokenizer = motet::Tokenizer::load(options.model);
  const auto chat = options.chat
                        ? std::optional(program::chat_of(options, tokenizer, options.system))
                        : std::nullopt;
  const auto model = motet::load_model(options.model, options.load());
  Answering answering(options, *model, tokenizer, chat);
  const auto lock = options.out.empty() ? nullptr : program::claim_directory(options);
  auto answers = earlier_answers(options, tasks, answering);
  if (!answers.empty() && !options.quiet) {
    fmt::print(stderr, "{} of {} answers are in {} already\n", answers.size(), tasks.size(),
               options.out.string());
  }
  program::heed_signals();
  for (auto i = answers.size(); i < tasks.size(); ++i) {
    if (tasks.size() > 1) {
      fmt::print("{}[{}] {}\n", i == 0 ? "" : "\n", i + 1, program::for_output(tasks[i].query));
    }
    const auto answer = [&] {
      try {
        return answering.answer(tasks[i]);
      } catch (const UsageError&) {
        throw;
      } catch (const motet::Error& error) {
        motet::fail(tasks[i].where, tasks[i].where.empty() ? "" : ": ", error.what());
      }
    }();
    if (program::interrupted()) {  // what was cut short is no answer
      throw program::Interrupted(
          options.out.empty()
              ? std::string("interrupted; without --out nothing is kept")
              : fmt::format("interrupted; {} of {} answers are in {}; --resume goes on with them",
                            i, tasks.size(), options.out.string()));
    }
    answers.push_back(answer.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    if (!options.out.empty()) {
      motet::write_file(options.out / "answers.jsonl",
                        fmt::format("{}\n", fmt::join(answers, "\n")));
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Passages, encoded in parallel, and a text that goes on from them: an answer, token by "
      "token.",
      "motet-generate");
  Options options;
  program::add_generate_options(app, options);
  return program::run(app, argc, argv, options, [&] { generate(options); });
}
