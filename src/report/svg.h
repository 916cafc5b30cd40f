#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace motet::svg {

/// Text as XML has it.
std::string escaped(std::string_view text);

/// How one of several series is drawn, so that it is told apart in black and white too.
struct Style {
  std::string_view color, dash;
  int marker;
};
Style style_of(std::size_t series);

enum class Anchor { kStart, kMiddle, kEnd };

struct Point {
  double x, y;
};

/// A drawing in pixels, y downwards. Marks with a `tip` show it when pointed at.
class Drawing {
 public:
  void line(Point a, Point b, std::string_view color, double width = 1, std::string_view dash = "");
  void polyline(const std::vector<Point>& points, const Style& style, double width = 1.8);
  void rectangle(Point corner, double width, double height, std::string_view fill,
                 std::string_view tip = "", std::string_view more = "");
  void marker(Point at, const Style& style, std::string_view tip = "");
  void dot(Point at, double radius, std::string_view color);
  void text(Point at, std::string_view text, Anchor anchor = Anchor::kStart, double size = 12,
            std::string_view more = "");
  /// Text that is read upwards.
  void upward_text(Point at, std::string_view text, double size = 12);

  /// The document, in which fills "url(#between)" and "url(#pieces)" are hatched.
  std::string document(double width, double height) const;

 private:
  std::string body_;
};

/// Round values that cover [low, high], about `count` of them.
std::vector<double> ticks(double low, double high, int count);

/// A color for x in [0, 1]: dark to bright, as bright in grey as in color (viridis).
std::string sequential_color(double x);
/// A color for x in [-1, 1]: blue, white, red.
std::string diverging_color(double x);

}  // namespace motet::svg
