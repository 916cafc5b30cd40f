#pragma once

#include <filesystem>
#include <string>

namespace motet {

/// The directory of a model: `name` itself where it is one, else the snapshot of a Hugging Face hub
/// id (`openai-community/gpt2`) in the local cache that HF_HUB_CACHE, HF_HOME or XDG_CACHE_HOME
/// name, `~/.cache/huggingface/hub` unless they do. Never looks at the network. Throws Error that
/// says where it looked.
std::filesystem::path model_directory(const std::string& name);

}  // namespace motet
