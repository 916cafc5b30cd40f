#pragma once

#include <string>
#include <vector>

#include "motet/eval/compare_run.h"
#include "motet/report/picture.h"

/// The page around pictures and figures: self-contained, no network, no script.
namespace motet::report {

/// Terms and what is said of them, as HTML.
class Summary {
 public:
  void add(std::string_view term, const std::string& text);
  /// What numbers are made of, motet's version, and the command.
  void add_provenance(const Provenance& provenance);
  std::string html() const;

 private:
  std::string lines_;
};

/// A table whose cells stay on one line; it scrolls where it is wider than the page.
std::string scrolling(const std::string& table);

/// A page: a title, a note, the pictures with their captions, and the rest, which is HTML.
std::string page_of(const std::string& title, const std::string& note,
                    const std::vector<Picture>& pictures, const std::string& rest);

}  // namespace motet::report
