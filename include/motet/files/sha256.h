#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace motet {

/// SHA-256 of bytes that come in parts.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void update(std::string_view bytes);  ///< appends
  std::string digest();                 ///< of all so far, 64 hexadecimal digits; once

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// SHA-256 as 64 hexadecimal digits.
std::string sha256(std::string_view bytes);

}  // namespace motet
