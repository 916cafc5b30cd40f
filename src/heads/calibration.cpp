#include "motet/heads/calibration.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "attention/nested.h"
#include "motet/error.h"
#include "motet/files/atomic.h"
#include "motet/files/mapped.h"
#include "motet/heads/judge.h"
#include "motet/model/encode.h"
#include "motet/model/reader.h"
#include "motet/reading/adaptive.h"

namespace motet {
namespace {

using nlohmann::ordered_json;
using torch::Tensor;

constexpr const char* kFormat = "motet head calibration";

/// The `count` first heads of an order are long.
Tensor first_of(const Tensor& order, int64_t count, int64_t layers, int64_t heads) {
  auto is_long = torch::zeros({layers * heads}, torch::kBool);
  return is_long.index_fill_(0, order.slice(0, 0, count), true).view({layers, heads});
}

int64_t count_long(int64_t all, double local_share) {
  require(local_share >= 0 && local_share <= 1, "motet: a share of ", local_share,
          " local decisions; it is within [0, 1]");
  return std::llround((1 - local_share) * static_cast<double>(all));
}

/// Rows of numbers as [rows, columns], float64.
Tensor table_of(const std::filesystem::path& path, const std::vector<std::vector<double>>& rows) {
  require(!rows.empty() && !rows[0].empty(), path.string(), ": holds no heads");
  std::vector<double> flat;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    require(rows[i].size() == rows[0].size(), path.string(), ": layer ", i, " has ", rows[i].size(),
            " heads, layer 0 has ", rows[0].size());
    flat.insert(flat.end(), rows[i].begin(), rows[i].end());
  }
  return torch::tensor(flat, torch::kFloat64)
      .view({static_cast<int64_t>(rows.size()), static_cast<int64_t>(rows[0].size())});
}

std::vector<std::vector<double>> json_gates(const std::filesystem::path& path,
                                            const std::string& text) {
  const auto json = ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  require(json.is_object() && (json.contains("long") || json.contains("gates")), path.string(),
          R"(: is not a pattern of heads; {"long": [[true, false, ...], ...]} or {"gates": )"
          R"([[0.9, 0.1, ...], ...]} is wanted)");
  const bool gates = json.contains("gates");
  std::vector<std::vector<double>> rows;
  for (const auto& layer : json[gates ? "gates" : "long"]) {
    rows.emplace_back();
    for (const auto& head : layer) {
      require(gates ? head.is_number() : head.is_boolean(), path.string(), ": layer ",
              rows.size() - 1, ", head ", rows.back().size(), " is ", head.dump(), "; ",
              gates ? "a number" : "true or false", " is wanted");
      rows.back().push_back(gates ? head.get<double>() : head.get<bool>() ? INFINITY : -INFINITY);
    }
  }
  return rows;
}

std::vector<std::vector<double>> tsv_gates(const std::filesystem::path& path,
                                           const std::string& text) {
  std::vector<std::vector<double>> rows;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) {
      continue;
    }
    rows.emplace_back();
    std::istringstream cells(line);
    for (std::string cell; cells >> cell;) {
      char* end = nullptr;
      rows.back().push_back(std::strtod(cell.c_str(), &end));
      require(*end == '\0', path.string(), ": line ", rows.size(), ": '", cell,
              "' is not a number");
    }
  }
  return rows;
}

}  // namespace

double log_odds(double tau) { return std::log(tau / (1 - tau)); }

Margins read_margins(const Decoder& model, const std::vector<int64_t>& tokens, int64_t query,
                     const Window& window, Covariance covariance, const Ablation& ablation) {
  const auto context = static_cast<int64_t>(tokens.size()) - query;
  const auto bulk = bulk_of(window, std::max<int64_t>(0, context), true);
  require(query > 0 && bulk.last > bulk.first, "motet::read_margins: ", tokens.size(),
          " tokens with a query of ", query, " leave a context of ", context,
          ", of which a window of ", window.first, " + ", window.last,
          " keys leaves no bulk; a longer text is needed");
  const auto& config = model.config();
  const auto encoded =
      encode(model, {tokens.begin(), tokens.begin() + context}, make_layout(0, {context}), {},
             {.reach = static_cast<int64_t>(tokens.size())});
  const FixedHeads full(torch::ones({config.layers, config.heads}, torch::kBool), window);
  HeadJudge judge(encoded, covariance);
  Reader(model, encoded, full, {&judge}, ablation)
      .read(std::vector<int64_t>(tokens.begin() + context, tokens.end()));
  return {judge.margin().squeeze(1), judge.estimated_margin().squeeze(1)};
}

double tau_for_share(const Tensor& margins, double share) {
  const auto sorted = std::get<0>(margins.to(torch::kFloat64).flatten().sort(0, true));
  const auto count = sorted.numel(), local = count - count_long(count, share);
  if (local == 0) {
    return 1;
  }
  if (local == count) {
    return 0;
  }
  const auto least = sorted[local - 1].item<double>(), next = sorted[local].item<double>();
  const auto threshold = std::isinf(least) ? next + 1 : (least + next) / 2;
  return 1 / (1 + std::exp(-threshold));
}

Tensor HeadCalibration::pattern(double at, double local_share) const {
  const auto found = std::find_if(tau.begin(), tau.end(), [&](double known) {
    return std::abs(known - at) < 1e-9;  // as JSON has it
  });
  if (found == tau.end()) {
    std::string known;
    for (const auto value : tau) {
      known += (known.empty() ? "" : ", ") + ordered_json(value).dump();
    }
    fail("motet::HeadCalibration: there is none for tau = ", at, "; it was made for ", known,
         "; use one of these, or calibrate on a text");
  }
  const auto& share = long_share[found - tau.begin()];
  const auto order = std::get<1>(share.flatten().sort(/*stable=*/true, 0, /*descending=*/true));
  return first_of(order, count_long(share.numel(), local_share), share.size(0), share.size(1));
}

void HeadCalibration::check(const Config& config, const Window& wanted) const {
  const auto& share = long_share.at(0);
  require(share.size(0) == config.layers && share.size(1) == config.heads,
          "motet::HeadCalibration: it was made for ", share.size(0), " layers of ", share.size(1),
          " heads, the model has ", config.layers, " of ", config.heads, "; calibrate on a text");
  require(window == wanted, "motet::HeadCalibration: it was made with a window of ", window.first,
          " + ", window.last, " keys, this one is of ", wanted.first, " + ", wanted.last,
          "; calibrate on a text");
}

HeadCalibration calibrate(const Margins& margins, const Window& window,
                          const std::vector<double>& tau) {
  HeadCalibration calibration{
      .text = {}, .hash = {}, .window = window, .tau = tau, .long_share = {}};
  for (const auto one : tau) {
    calibration.long_share.push_back((margins.oracle < log_odds(one)).to(torch::kFloat64).mean(2));
  }
  return calibration;
}

void save_calibration(const HeadCalibration& calibration, const std::filesystem::path& path) {
  ordered_json json{{"format", kFormat},
                    {"text", calibration.text},
                    {"hash", calibration.hash},
                    {"tokens", calibration.tokens},
                    {"window", {calibration.window.first, calibration.window.last}},
                    {"tau", calibration.tau},
                    {"long_share", ordered_json::array()}};
  for (const auto& share : calibration.long_share) {
    json["long_share"].push_back(nested(share));
  }
  write_file(path, json.dump(1) + "\n");
}

HeadCalibration load_calibration(const std::filesystem::path& path) {
  const auto json = ordered_json::parse(read_file(path), nullptr, /*allow_exceptions=*/false);
  require(json.is_object() && json.value("format", "") == kFormat, path.string(),
          ": is not a calibration of heads");
  try {
    HeadCalibration calibration{.text = json.at("text"),
                                .hash = json.at("hash"),
                                .tokens = json.at("tokens"),
                                .window = {json.at("window").at(0), json.at("window").at(1)},
                                .tau = json.at("tau").get<std::vector<double>>(),
                                .long_share = {}};
    for (const auto& share : json.at("long_share")) {
      calibration.long_share.push_back(
          table_of(path, share.get<std::vector<std::vector<double>>>()));
    }
    require(!calibration.tau.empty() && calibration.tau.size() == calibration.long_share.size(),
            path.string(), ": is damaged: ", calibration.tau.size(), " tau, tables for ",
            calibration.long_share.size());
    return calibration;
  } catch (const ordered_json::exception& error) {
    fail(path.string(), ": is damaged: ", error.what());
  }
}

Tensor random_pattern(const Config& config, double local_share, int64_t seed) {
  const auto all = config.layers * config.heads;
  auto generator = at::make_generator<at::CPUGeneratorImpl>(static_cast<uint64_t>(seed));
  const auto order = torch::randperm(all, generator, torch::kInt64);
  return first_of(order, count_long(all, local_share), config.layers, config.heads);
}

Tensor load_pattern(const std::filesystem::path& path, const Config& config, double threshold) {
  const auto text = read_file(path);
  const bool json = text.find_first_not_of(" \t\r\n") != std::string::npos &&
                    text[text.find_first_not_of(" \t\r\n")] == '{';
  const auto gates = table_of(path, json ? json_gates(path, text) : tsv_gates(path, text));
  const auto heads = gates.size(1);
  require(gates.size(0) == config.layers && (heads == config.heads || heads == config.kv_heads),
          path.string(), ": has ", gates.size(0), " layers of ", heads, " heads, the model has ",
          config.layers, " of ", config.heads, " heads (", config.kv_heads, " of keys and values)");
  return (gates >= threshold).repeat_interleave(config.heads / heads, 1);
}

}  // namespace motet
