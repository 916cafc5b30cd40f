#pragma once

#include <cstdint>

#include "motet/reading/registry.h"

/// The readings that come with the library, each from its own file. The registry names them, so
/// that no linker drops one from an archive.
namespace motet {

/// How often register_reading has been called.
int64_t readings_registered();

ReadingKind select_kind();
ReadingKind soft_kind();
ReadingKind sharpen_kind();
ReadingKind discount_kind();
ReadingKind temper_kind();
ReadingKind weigh_kind();
ReadingKind null_kind();
ReadingKind scale_kind();
ReadingKind guess_kind();
ReadingKind learned_kind();
ReadingKind topk_kind();
ReadingKind adaptive_kind();

}  // namespace motet
