#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "motet/eval/record.h"
#include "motet/text/tokenizer.h"
#include "program.h"

namespace program {

/// ChatML, the template of SmolLM2's and Qwen's chat models: what stands before and behind a
/// user's message, up to where the answer begins.
struct Chat {
  std::string before;  ///< a system message, where there is one, and the user's role
  std::string after;   ///< the end of the message, and the assistant's role
};

/// That of a model, with this system message (knows \n), or none. Notes on stderr where the model's
/// own template may put a system message of its own. Throws Error unless it is a ChatML model.
Chat chat_of(const Options& options, const motet::Tokenizer& tokenizer,
             const std::optional<std::string>& system);

/// An item as a message: `before` stands before everything, in every mode, lead, prefix and units
/// are in the message, and so is the query up to its last line break; what follows that begins the
/// assistant's answer. A query of one line, or with nothing before its last one, is all in the
/// message. Answers have a space before them where a text begins the answer.
motet::TaskRecord in_chat(motet::TaskRecord record, const Chat& chat);

}  // namespace program
