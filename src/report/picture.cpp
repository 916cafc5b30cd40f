#include "motet/report/picture.h"

#include "motet/error.h"
#include "report/compare/shown.h"

namespace motet {

using namespace report;

std::vector<Picture> pictures_of(const std::vector<CompareRun>& runs) {
  require(!runs.empty(), "motet::pictures_of: no run");
  std::vector<Shown> all;
  all.reserve(runs.size());  // series point into rows
  for (const auto& run : runs) {
    all.push_back(shown(run));
  }
  const Styles styles(labels_of(all));
  std::vector<Picture> pictures{degree_picture(all, styles), map_picture(all), parts_picture(all),
                                text_picture(all, styles), mass_picture(all)};
  for (const auto& more : {diagnosis_pictures(all, styles), near_keys_pictures(all, styles),
                           attention_pictures(all)}) {
    pictures.insert(pictures.end(), more.begin(), more.end());
  }
  return pictures;
}

}  // namespace motet
