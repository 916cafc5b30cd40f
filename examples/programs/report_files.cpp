#include "report_files.h"

#include <librsvg/rsvg.h>

#include <algorithm>
#include <memory>

#include "motet/error.h"
#include "motet/files/atomic.h"
#include "motet/report/html.h"
#include "motet/report/picture.h"

namespace program {
namespace {

template <class T, void (*kFree)(T*)>
struct Freed {
  void operator()(T* x) const { kFree(x); }
};

void release(RsvgHandle* handle) { g_object_unref(handle); }

cairo_status_t append(void* to, const unsigned char* bytes, unsigned int count) {
  static_cast<std::string*>(to)->append(reinterpret_cast<const char*>(bytes), count);
  return CAIRO_STATUS_SUCCESS;
}

}  // namespace

std::string png_of(const std::string& svg) {
  constexpr double kScale = 2, kLargest = 32767;  // the longest side that cairo draws, pixels
  GError* error = nullptr;
  const std::unique_ptr<RsvgHandle, Freed<RsvgHandle, release>> handle(
      rsvg_handle_new_from_data(reinterpret_cast<const guint8*>(svg.data()), svg.size(), &error));
  double width = 0, height = 0;
  if (handle != nullptr) {
    rsvg_handle_get_intrinsic_size_in_pixels(handle.get(), &width, &height);
  }
  const auto scale = std::min(kScale, kLargest / std::max({width, height, 1.0}));
  const std::unique_ptr<cairo_surface_t, Freed<cairo_surface_t, cairo_surface_destroy>> surface(
      cairo_image_surface_create(CAIRO_FORMAT_RGB24, static_cast<int>(width * scale),
                                 static_cast<int>(height * scale)));
  const std::unique_ptr<cairo_t, Freed<cairo_t, cairo_destroy>> cairo(cairo_create(surface.get()));
  const RsvgRectangle whole{0, 0, width * scale, height * scale};
  const bool drawn = handle != nullptr &&
                     rsvg_handle_render_document(handle.get(), cairo.get(), &whole, &error) != 0;
  if (!drawn) {
    const std::string why = error != nullptr ? error->message : "no reason is given";
    g_clear_error(&error);
    motet::fail("a picture could not be drawn as PNG: ", why);
  }
  std::string png;
  const auto status = cairo_surface_write_to_png_stream(surface.get(), append, &png);
  motet::require(status == CAIRO_STATUS_SUCCESS,
                 "a picture could not be drawn as PNG: ", cairo_status_to_string(status));
  return png;
}

std::filesystem::path write_report(const std::vector<motet::Picture>& pictures,
                                   const std::string& page,
                                   const std::filesystem::path& directory) {
  const auto folder = directory / "pictures";
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  motet::require(std::filesystem::is_directory(folder), folder.string(),
                 ": cannot be made: ", error.message());
  for (const auto& picture : pictures) {
    motet::write_file(folder / (picture.name + ".svg"), picture.svg);
    motet::write_file(folder / (picture.name + ".png"), png_of(picture.svg));
  }
  motet::write_file(directory / "index.html", page);
  return directory / "index.html";
}

std::filesystem::path write_report(const std::vector<motet::CompareRun>& runs,
                                   const std::filesystem::path& directory) {
  return write_report(motet::pictures_of(runs), motet::html_of(runs), directory);
}

}  // namespace program
