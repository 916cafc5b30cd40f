#include "report/svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace motet::svg {
namespace {

struct Color {
  double red, green, blue;
};

std::string mixed(const Color& a, const Color& b, double share) {
  const auto mix = [&](double from, double to) { return std::lround(from + (to - from) * share); };
  return fmt::format("#{:02x}{:02x}{:02x}", mix(a.red, b.red), mix(a.green, b.green),
                     mix(a.blue, b.blue));
}

template <std::size_t kCount>
std::string between(const std::array<Color, kCount>& stops, double x) {
  const auto at = std::clamp(x, 0.0, 1.0) * (kCount - 1);
  const auto first = std::min<std::size_t>(static_cast<std::size_t>(at), kCount - 2);
  return mixed(stops[first], stops[first + 1], at - static_cast<double>(first));
}

std::string tipped(std::string_view tag, std::string_view tip) {
  return tip.empty() ? fmt::format("{}/>\n", tag)
                     : fmt::format("{}><title>{}</title></{}>\n", tag, escaped(tip),
                                   tag.substr(1, tag.find(' ') - 1));
}

}  // namespace

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        if ((static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') || c == 0x7F) {
          // A control character is no text of a page: its picture is, U+2400 and on.
          out += {'\xE2', '\x90', static_cast<char>(c == 0x7F ? 0xA1 : 0x80 + c)};
        } else {
          out += c;
        }
    }
  }
  return out;
}

Style style_of(std::size_t series) {
  // Okabe & Ito's colors, which the color-blind tell apart, and darker ones between them.
  static constexpr std::array<std::string_view, 8> kColors{
      "#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9", "#777777"};
  static constexpr std::array<std::string_view, 8> kDashes{"",        "",    "7 3", "2 3",
                                                           "9 3 2 3", "4 2", "1 2", "12 3"};
  const auto i = series % 8, cycle = series / 8;
  return {kColors[i], kDashes[(i + 3 * cycle) % 8], static_cast<int>((i + 5 * cycle) % 8)};
}

void Drawing::line(Point a, Point b, std::string_view color, double width, std::string_view dash) {
  body_ += fmt::format(
      "<line x1=\"{:.2f}\" y1=\"{:.2f}\" x2=\"{:.2f}\" y2=\"{:.2f}\" stroke=\"{}\" "
      "stroke-width=\"{}\"",
      a.x, a.y, b.x, b.y, color, width);
  body_ += dash.empty() ? "/>\n" : fmt::format(" stroke-dasharray=\"{}\"/>\n", dash);
}

void Drawing::polyline(const std::vector<Point>& points, const Style& style, double width) {
  std::string list;
  for (const auto& point : points) {
    list += fmt::format("{:.2f},{:.2f} ", point.x, point.y);
  }
  body_ += fmt::format(
      "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" "
      "stroke-linejoin=\"round\" stroke-dasharray=\"{}\"/>\n",
      list, style.color, width, style.dash.empty() ? "none" : style.dash);
}

void Drawing::rectangle(Point corner, double width, double height, std::string_view fill,
                        std::string_view tip, std::string_view more) {
  body_ += tipped(
      fmt::format(
          "<rect x=\"{:.2f}\" y=\"{:.2f}\" width=\"{:.2f}\" height=\"{:.2f}\" fill=\"{}\" {}",
          corner.x, corner.y, width, height, fill, more),
      tip);
}

void Drawing::marker(Point at, const Style& style, std::string_view tip) {
  constexpr double kSize = 4.5;
  const auto polygon = [&](std::initializer_list<Point> corners, std::string_view fill) {
    std::string list;
    for (const auto& corner : corners) {
      list += fmt::format("{:.2f},{:.2f} ", at.x + kSize * corner.x, at.y + kSize * corner.y);
    }
    body_ +=
        tipped(fmt::format("<polygon points=\"{}\" fill=\"{}\" stroke=\"{}\" stroke-width=\"1.4\"",
                           list, fill, style.color),
               tip);
  };
  const auto color = style.color;
  switch (style.marker) {
    case 1:
      return polygon({{-0.9, -0.9}, {0.9, -0.9}, {0.9, 0.9}, {-0.9, 0.9}}, color);
    case 2:
      return polygon({{0, -1.2}, {1.1, 0.9}, {-1.1, 0.9}}, "white");
    case 3:
      return polygon({{0, -1.3}, {1.3, 0}, {0, 1.3}, {-1.3, 0}}, color);
    case 4:
      return polygon({{0, 1.2}, {1.1, -0.9}, {-1.1, -0.9}}, "white");
    case 5:
      return polygon({{-0.9, -0.9}, {0.9, -0.9}, {0.9, 0.9}, {-0.9, 0.9}}, "white");
    case 6:
      return polygon({{0, -1.2}, {1.1, 0.9}, {-1.1, 0.9}}, color);
    case 7:
      return polygon({{0, -1.3}, {1.3, 0}, {0, 1.3}, {-1.3, 0}}, "white");
    default:
      body_ += tipped(fmt::format("<circle cx=\"{:.2f}\" cy=\"{:.2f}\" r=\"{}\" fill=\"{}\"", at.x,
                                  at.y, kSize, color),
                      tip);
  }
}

void Drawing::dot(Point at, double radius, std::string_view color) {
  body_ += fmt::format(
      "<circle cx=\"{:.2f}\" cy=\"{:.2f}\" r=\"{:.2f}\" fill=\"{}\" pointer-events=\"none\"/>\n",
      at.x, at.y, radius, color);
}

void Drawing::text(Point at, std::string_view text, Anchor anchor, double size,
                   std::string_view more) {
  const char* where = anchor == Anchor::kStart    ? "start"
                      : anchor == Anchor::kMiddle ? "middle"
                                                  : "end";
  body_ += fmt::format(
      "<text x=\"{:.2f}\" y=\"{:.2f}\" text-anchor=\"{}\" font-size=\"{}\" {}>{}</text>\n", at.x,
      at.y, where, size, more, escaped(text));
}

void Drawing::upward_text(Point at, std::string_view text, double size) {
  this->text(at, text, Anchor::kMiddle, size,
             fmt::format("transform=\"rotate(-90 {:.2f} {:.2f})\"", at.x, at.y));
}

std::string Drawing::document(double width, double height) const {
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" width=\"{0:.0f}\" "
      "height=\"{1:.0f}\" font-family=\"Helvetica, Arial, 'DejaVu Sans', sans-serif\" "
      "fill=\"#111\">\n"
      "<defs>\n"
      "<pattern id=\"between\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\" "
      "patternTransform=\"rotate(45)\"><rect width=\"5\" height=\"5\" fill=\"#f6c9a0\"/>"
      "<line x1=\"0\" y1=\"0\" x2=\"0\" y2=\"5\" stroke=\"#b3541e\" "
      "stroke-width=\"2\"/></pattern>\n"
      "<pattern id=\"pieces\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\" "
      "patternTransform=\"rotate(-45)\"><rect width=\"5\" height=\"5\" fill=\"#cfe3f2\"/>"
      "<line x1=\"0\" y1=\"0\" x2=\"0\" y2=\"5\" stroke=\"#4d8fbf\" "
      "stroke-width=\"1.6\"/></pattern>\n"
      "</defs>\n"
      "<rect width=\"{0:.0f}\" height=\"{1:.0f}\" fill=\"white\"/>\n{2}</svg>\n",
      width, height, body_);
}

std::vector<double> ticks(double low, double high, int count) {
  const auto rough = (high - low) / count;
  const auto power = std::pow(10, std::floor(std::log10(rough)));
  auto step = 10 * power;
  for (const double factor : {1.0, 2.0, 2.5, 5.0}) {
    if (factor * power >= rough) {
      step = factor * power;
      break;
    }
  }
  std::vector<double> all;
  for (auto i = std::ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; ++i) {
    all.push_back(i == 0 ? 0.0 : i * step);
  }
  return all;
}

std::string sequential_color(double x) {
  return between<6>({{{68, 1, 84},
                      {65, 68, 135},
                      {42, 120, 142},
                      {34, 168, 132},
                      {122, 209, 81},
                      {253, 231, 37}}},
                    x);
}

std::string diverging_color(double x) {
  return between<5>(
      {{{5, 78, 151}, {133, 183, 217}, {247, 247, 247}, {240, 150, 113}, {165, 15, 21}}},
      (x + 1) / 2);
}

}  // namespace motet::svg
