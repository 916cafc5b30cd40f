#include <gtest/gtest.h>
#include <torch/types.h>

#include <filesystem>
#include <vector>

#include "motet/context/layout.h"
#include "motet/files/safetensors.h"
#include "motet/model/encode.h"
#include "motet/model/reader.h"
#include "motet/model/weights.h"
#include "motet/probe/entropy.h"
#include "motet/reading/reading.h"
#include "reference/attention.h"

namespace motet {
namespace {

using reference::max_error;

std::vector<std::string> cases() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(MOTET_GOLDEN)) {
    if (entry.is_directory()) names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<int64_t> values(const torch::Tensor& x) {
  return {x.data_ptr<int64_t>(), x.data_ptr<int64_t>() + x.numel()};
}

/// Tiny models whose logits and entropies Hugging Face computed in float64:
/// tests/golden/make_golden.py.
class Golden : public testing::TestWithParam<std::string> {
 protected:
  std::filesystem::path directory_ = std::filesystem::path(MOTET_GOLDEN) / GetParam();
  SafeTensors expected_ = SafeTensors::open(directory_ / "expected.safetensors");
  std::vector<int64_t> tokens_ = values(expected_.tensor("tokens"));
};

INSTANTIATE_TEST_SUITE_P(Models, Golden, testing::ValuesIn(cases()),
                         [](const auto& info) { return info.param; });

TEST_P(Golden, LogitsAndEntropiesEqualHuggingFace) {
  const auto model = load_model(directory_, {.dtype = torch::kFloat32});
  EntropyProbe probe;
  const auto logits = read(*model, EncodedContext(), tokens_, All(), {&probe});
  const auto expected = expected_.tensor("logits");
  EXPECT_LT(max_error(logits, expected), 1e-5 * expected.abs().max().item<double>());
  EXPECT_LT(max_error(probe.entropy().rows().squeeze(1), expected_.tensor("entropy")), 5e-5);
}

TEST_P(Golden, AContextInOnePieceReadsAsPlainAttention) {
  const auto model = load_model(directory_, {.dtype = torch::kFloat32});
  const std::vector<int64_t> before(tokens_.begin(), tokens_.begin() + 23),
      query(tokens_.begin() + 23, tokens_.end());
  const auto expected = expected_.tensor("logits").slice(0, 23);
  const auto tolerance = 1e-5 * expected.abs().max().item<double>();
  for (const auto& layout : {make_layout(0, {23}), make_layout(5, {18}), make_layout(23, {})}) {
    const auto context = encode(*model, before, layout, {}, {.reach = 40});
    EXPECT_LT(max_error(read(*model, context, query), expected), tolerance);
  }
}

TEST_P(Golden, TokenByTokenReadsTheSame) {
  const auto model = load_model(directory_, {.dtype = torch::kFloat32});
  EncodedContext empty;
  empty.reach = static_cast<int64_t>(tokens_.size());
  const All all;
  Reader reader(*model, empty, all);
  std::vector<torch::Tensor> rows;
  for (const auto token : tokens_) rows.push_back(reader.read(std::vector{token}));
  const auto expected = expected_.tensor("logits");
  EXPECT_LT(max_error(model->logits(torch::cat(rows)), expected),
            1e-5 * expected.abs().max().item<double>());
}

TEST_P(Golden, SavedAndLoadedAgainIsTheSameModel) {
  const auto model = load_model(directory_);
  const auto saved = std::filesystem::path(testing::TempDir()) / ("motet-saved-" + GetParam());
  save_model(*model, saved);
  const auto again = load_model(saved);
  std::filesystem::remove_all(saved);
  const auto parameters = model->named_parameters(), copies = again->named_parameters();
  ASSERT_EQ(parameters.size(), copies.size());
  for (const auto& item : parameters) {
    EXPECT_TRUE(torch::equal(item.value(), copies[item.key()])) << item.key();
  }
}

}  // namespace
}  // namespace motet
