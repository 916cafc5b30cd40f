#pragma once

#include <cstdint>

#include "motet/model/family.h"

namespace motet {

/// How often register_family has been called.
int64_t families_registered();

Family gemma2_family();
Family gemma3_family();
Family gpt2_family();
Family gpt_neox_family();
Family llama_family();
Family mistral_family();
Family olmo2_family();
Family phi3_family();
Family qwen2_family();
Family qwen3_family();

}  // namespace motet
