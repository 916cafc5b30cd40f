#pragma once

#include "motet/model/family.h"

namespace motet {

Family gpt2_family();
Family llama_family();
Family mistral_family();
Family qwen2_family();
Family qwen3_family();

}  // namespace motet
