#pragma once

#include <filesystem>
#include <string_view>

namespace motet {

/// Throws Error where what `path` holds is no file of a model but Git LFS's word on where one lies.
void refuse_lfs_pointer(const std::filesystem::path& path, std::string_view contents);

}  // namespace motet
