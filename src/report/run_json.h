#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "motet/model/ablation.h"

/// What the `run.json` of every program has in common.
namespace motet::report {

/// A `run.json` of this program and schema. Throws Error for anything else.
nlohmann::ordered_json read_run(const std::filesystem::path& path, const std::string& program,
                                int64_t schema);

/// Null where no head is ablated.
nlohmann::ordered_json json_of(const Ablation& ablation);
/// The reverse of json_of.
Ablation ablation_of(const nlohmann::ordered_json& json);

}  // namespace motet::report
