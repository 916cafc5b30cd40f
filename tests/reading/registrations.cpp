// Whether the readings and families that come with the library are there. Linked to an archive of
// it, from which a linker takes only what is named.
#include <iostream>
#include <string>

#include "motet/model/family.h"
#include "motet/reading/registry.h"

int main() {
  int missing = 0;
  for (const auto* name :
       {"all", "select", "soft", "sharpen", "discount", "temper", "topk:1", "adaptive"}) {
    const std::string text(name);
    if (motet::find_reading(text.substr(0, text.find(':'))) == nullptr ||
        motet::reading_named(text) == nullptr) {
      std::cerr << "no reading " << text << '\n';
      ++missing;
    }
  }
  for (const auto* name : {"gpt2", "llama", "mistral", "qwen2", "qwen3"}) {
    if (motet::find_family(name) == nullptr) {
      std::cerr << "no family " << name << '\n';
      ++missing;
    }
  }
  return missing;
}
