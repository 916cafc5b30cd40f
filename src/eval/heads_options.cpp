#include <algorithm>
#include <array>

#include "eval/segment_options.h"
#include "motet/error.h"
#include "motet/eval/heads.h"

namespace motet {
namespace {

constexpr std::array kMethods{"adaptive", "oracle", "static", "random", "pattern"};

}  // namespace

void HeadsOptions::validate() const {
  check_segment_options(*this);
  window.validate();
  require(context() - window.first - window.last >= 2, Field("length"), " ", length, " ",
          Field("scored"), " ", scored, ": a context of ", context(), " tokens beside a window of ",
          window.first, " + ", window.last, " keys leaves a bulk of ",
          std::max<int64_t>(0, context() - window.first - window.last), ", and 2 are needed; ",
          Field("length"), " must be at least ", scored + 3 + window.first + window.last);
  require(!tau.empty(), Field("tau"), ": none is given");
  for (const auto one : tau) {
    require(one >= 0 && one <= 1, Field("tau"), " ", one, ": it is within [0, 1]");
    require(std::count(tau.begin(), tau.end(), one) == 1, Field("tau"), " ", one,
            " is given twice");
  }
  require(!methods.empty(), Field("methods"), ": none is given");
  for (const auto& method : methods) {
    require(std::find(kMethods.begin(), kMethods.end(), method) != kMethods.end(), Field("methods"),
            " ", method, ": one of adaptive, oracle, static, random, pattern is wanted");
    require(std::count(methods.begin(), methods.end(), method) == 1, Field("methods"), " ", method,
            " is given twice");
    require((method != "static" && method != "random") || methods[0] == "adaptive",
            Field("methods"), " ", method,
            ": it is run at the share of local decisions that adaptive has; name adaptive "
            "first");
    require((method == "pattern") <= pattern.has_value(), Field("methods"),
            " pattern: ", Field("pattern"), " says which heads are long");
  }
  require(pieces >= 2, Field("pieces"), " ", pieces, ": at least 2 are read in parallel");
  require(pieces <= context(), Field("pieces"), " ", pieces, ": the context has ", context(),
          " tokens; choose fewer pieces or a longer ", Field("length"));
  split_tokens(context(), pieces);
}

}  // namespace motet
