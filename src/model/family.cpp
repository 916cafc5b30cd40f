#include "motet/model/family.h"

#include <map>
#include <utility>

#include "model/families.h"

namespace motet {
namespace {

int64_t registrations = 0;

std::map<std::string, Family>& families() {
  static std::map<std::string, Family> known = [] {
    std::map<std::string, Family> shipped;
    for (auto family :
         {gemma2_family(), gemma3_family(), gpt2_family(), gpt_neox_family(), llama_family(),
          mistral_family(), olmo2_family(), phi3_family(), qwen2_family(), qwen3_family()}) {
      shipped.emplace(family.model_type, std::move(family));
    }
    return shipped;
  }();
  return known;
}

}  // namespace

int64_t families_registered() { return registrations; }

bool register_family(Family family) {
  const auto name = family.model_type;
  families().insert_or_assign(name, std::move(family));
  ++registrations;
  return true;
}

const Family* find_family(const std::string& model_type) {
  const auto found = families().find(model_type);
  return found == families().end() ? nullptr : &found->second;
}

std::string family_names() {
  std::string names;
  for (const auto& [name, family] : families()) {
    names += names.empty() ? name : ", " + name;
  }
  return names;
}

}  // namespace motet
