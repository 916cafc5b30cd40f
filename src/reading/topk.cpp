#include "motet/reading/topk.h"

#include "motet/error.h"
#include "motet/reading/registry.h"
#include "reading/shipped.h"

namespace motet {

TopK::TopK(int64_t keys) : keys_(keys) {
  require(keys >= 1, "motet::TopK: keys = ", keys, "; a row keeps at least 1");
}

std::string TopK::name() const { return "topk(k=" + std::to_string(keys_) + ")"; }

ReadingKind topk_kind() {
  return {.name = "topk", .usage = "topk:K", .make = [](const ReadingText& text) {
            text.at_most(1);
            if (text.count() == 0) {
              text.fail("how many keys a row keeps is not given");
            }
            return std::make_shared<TopK>(text.number(0, int64_t{0}));
          }};
}

}  // namespace motet
