#pragma once

#include <cstdint>

#include "motet/model/family.h"

namespace motet {

/// How often register_family has been called.
int64_t families_registered();

Family gpt2_family();
Family llama_family();
Family mistral_family();
Family qwen2_family();
Family qwen3_family();

}  // namespace motet
