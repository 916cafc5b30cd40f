#include "measure.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/utsname.h>
#include <torch/version.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "motet/attention/kernel.h"
#include "motet/model/products.h"
#include "motet/version.h"

namespace bench {
namespace {

/// The first value of this name in /proc/cpuinfo; empty where there is none.
std::string processor(const std::string& name) {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const auto colon = line.find(": ");
    if (line.starts_with(name) && colon != std::string::npos) {
      return line.substr(colon + 2);
    }
  }
  return {};
}

}  // namespace

double seconds_of(const Call& call) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  call();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::vector<std::vector<double>> alternate(const std::vector<Call>& calls, const Rounds& rounds) {
  for (const auto& call : calls) {
    call();
  }
  std::vector<std::vector<double>> seconds(calls.size());
  double total = 0;
  for (int64_t round = 0; round < rounds.least || (round < rounds.most && total < rounds.seconds);
       ++round) {
    for (std::size_t i = 0; i < calls.size(); ++i) {
      seconds[i].push_back(seconds_of(calls[i]));
      total += seconds[i].back();
    }
  }
  return seconds;
}

std::vector<double> quotients(const std::vector<double>& above, const std::vector<double>& below) {
  std::vector<double> all;
  std::transform(above.begin(), above.end(), below.begin(), std::back_inserter(all),
                 std::divides<>());
  return all;
}

double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  const auto place = q * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const auto above = std::min(below + 1, values.size() - 1);
  return std::lerp(values[below], values[above], place - static_cast<double>(below));
}

double median(const std::vector<double>& values) { return quantile(values, 0.5); }

Spread spread_of(const std::vector<double>& values) {
  const auto tail = values.size() < 10 ? 0.0 : 0.1;
  return {median(values), quantile(values, tail), quantile(values, 1 - tail)};
}

bool processor_has(const std::string& flag) {
  std::istringstream flags(processor("flags"));
  for (std::string word; flags >> word;) {
    if (word == flag) {
      return true;
    }
  }
  return false;
}

nlohmann::json machine() {
  auto flags = nlohmann::json::array();
  for (const auto* flag : {"avx2", "fma", "f16c", "avx512f", "avx512vl", "avx512_vnni",
                           "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16"}) {
    if (processor_has(flag)) {
      flags.push_back(flag);
    }
  }
  utsname system{};
  ::uname(&system);
  return {
      {"processor", processor("model name")},
      {"flags", flags},
      {"cores", std::thread::hardware_concurrency()},
      {"threads", at::get_num_threads()},
      {"memory_bytes", ::sysconf(_SC_PHYS_PAGES) * ::sysconf(_SC_PAGE_SIZE)},
      {"system", fmt::format("{} {}", system.sysname, system.release)},
      {"libtorch", TORCH_VERSION},
      {"libtorch_capability", at::get_cpu_capability()},
      {"motet", motet::version()},
      {"revision", motet::revision()},
      {"kernel", motet::kernel_name()},
      {"products", motet::products_provenance()},
      {"date", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)))},
  };
}

Ring::Ring(torch::IntArrayRef shape, torch::ScalarType dtype) {
  tensors_.push_back(at::randn(shape, dtype));
  while (bytes() < kBytes) {
    tensors_.push_back(tensors_[0].clone());
  }
}

double Ring::bytes() const {
  return static_cast<double>(tensors_.size()) * static_cast<double>(tensors_[0].nbytes());
}

void Ring::sum() const {
  for (const auto& tensor : tensors_) {
    tensor.view(torch::kFloat32).sum();
  }
}

Product::Product() : a_(at::randn({2048, 2048})), b_(at::randn({2048, 2048})) {}

void Product::multiply() const { at::mm(a_, b_); }

double Product::flops() { return 2 * std::pow(2048.0, 3); }

}  // namespace bench
