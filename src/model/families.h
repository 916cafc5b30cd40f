#pragma once

#include "motet/model/family.h"

namespace motet {

Family gpt2_family();
Family llama_family();

}  // namespace motet
