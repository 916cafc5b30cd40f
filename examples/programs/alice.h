#pragma once

#include <string_view>

namespace program {

/// examples/data/alice.txt, so that installed programs have a text of their own.
extern const std::string_view kAlice;

}  // namespace program
