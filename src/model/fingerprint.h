#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "motet/model/decoder.h"

namespace motet {

/// The fingerprint of a model as long as nobody writes to its parameters.
struct Decoder::KnownFingerprint {
  /// That of now. Any number of threads may ask.
  std::string of(const Decoder& model);

 private:
  using State = std::vector<std::pair<const void*, uint64_t>>;  // where each lies, writes to it
  std::mutex mutex_;
  State state_;
  std::string fingerprint_;
};

}  // namespace motet
