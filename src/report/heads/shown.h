#pragma once

#include <array>
#include <functional>
#include <string>
#include <vector>

#include "motet/eval/heads_run.h"
#include "motet/report/picture.h"
#include "report/map.h"
#include "report/svg.h"

/// A run of motet-heads as it is shown, its pictures, and what they share.
namespace motet::report::heads {

constexpr double kScaleRoom = 56, kMapHeight = 130;  // pixels, as kMargin

constexpr double kMargin = 62;
constexpr double kOften = 0.95;  // a head that is long so often is always long, or as rarely local

enum class HeadKind { kLocal, kSwitching, kLong };
constexpr std::array<const char*, 3> kKindNames{"always local", "switching", "always long"};
constexpr std::array<const char*, 3> kKindColors{"#e8e8e8", "#56b4e9", "#1c3f5f"};
/// By how often a head is long.
HeadKind kind_of(double long_share);

/// A run as pictures take it.
struct Shown {
  std::vector<HeadsRow> rows;
  HeadsFull full;
  std::vector<std::string> methods;  // in the order of the run
  const HeadsRow* map = nullptr;     // the row that maps are made of
};

/// Throws Error for a run without rows.
Shown shown(const HeadsRun& run);
/// The rows of a method, rising in their share of local decisions.
std::vector<const HeadsRow*> rows_of(const Shown& run, const std::string& method);
double mean(const std::vector<double>& values);

/// Labels with their lines and marks; returns where what comes below begins.
double draw_legend(svg::Drawing& drawing, double y, const std::vector<std::string>& labels,
                   const std::function<svg::Style(std::size_t)>& style);
/// Labels with their colors; returns what draw_legend does.
double draw_keys(svg::Drawing& drawing, double x, double y, const std::vector<std::string>& labels,
                 const std::vector<std::string>& fills);

std::string share_color(double share);

Picture loss_picture(const Shown& run);
Picture map_picture(const Shown& run);
Picture confusion_picture(const Shown& run);
Picture error_picture(const Shown& run);
Picture fit_picture(const Shown& run);
Picture layer_picture(const Shown& run);
Picture rise_picture(const Shown& run);

}  // namespace motet::report::heads
