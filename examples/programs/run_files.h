#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "motet/eval/mode.h"
#include "motet/eval/provenance.h"
#include "motet/model/config.h"
#include "motet/reading/reading.h"
#include "program.h"

/// What programs that leave a run.json do with it.
namespace program {

/// The name that config.json gives the model; empty where it gives none.
std::string own_name(const motet::Config& config);

/// The model's own name, or its directory's, and its hash.
motet::Source model_source(const Options& options, const motet::Config& config);

/// What computes rows on the device of this run, and what multiplies weights, as runs name them.
std::string kernel_of(const Options& options);
std::string products_of(const Options& options);

/// Notes where the file of a reading is of another model than this one.
void note_other_model(const Options& options, const motet::Reading& reading,
                      const motet::Source& model);

/// Readings of modes that are made from a file, once each, with its hash. Notes as the above.
std::vector<motet::Source> reading_files(const Options& options,
                                         const std::vector<motet::Mode>& modes,
                                         const motet::Source& model);

/// How this run comes about, but for its model and text.
motet::Provenance provenance_here(const Options& options);

/// Throws Error where a document cannot be written, since a name in it is not UTF-8: to be called
/// before an earlier one goes.
void check_writable(const nlohmann::ordered_json& document);

/// Sees to it that --out, which is claimed, is free for the run `wanted`, or holds it. Returns
/// whether it holds it: --resume was given and the run agrees in every field that makes figures
/// (`also` names more of them). With --overwrite the earlier run, where there is one, goes first:
/// its files, .svg and .png in pictures/, .safetensors in stats/. Throws Error.
bool goes_on(const Options& options, const nlohmann::ordered_json& wanted,
             const std::vector<std::string>& also = {});

/// Notes where the run that --config names was of another model or text than `wanted`.
void tell_changes(const Options& options, const nlohmann::ordered_json& wanted);

}  // namespace program
