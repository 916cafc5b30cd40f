#include "motet/report/heads.h"
#include "report/heads/shown.h"

namespace motet {

std::vector<Picture> pictures_of(const HeadsRun& run) {
  using namespace report::heads;
  const auto all = shown(run);
  return {loss_picture(all), map_picture(all),   confusion_picture(all), error_picture(all),
          fit_picture(all),  layer_picture(all), rise_picture(all)};
}

}  // namespace motet
