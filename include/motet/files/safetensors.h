#pragma once

#include <torch/types.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace motet {

/// Tensors of one safetensors file, or of all the shards that an index names, as views of the
/// mapped files.
class SafeTensors {
 public:
  /// Opens a `.safetensors` file or a `.safetensors.index.json`. Throws Error, with file and
  /// values, for a header that is truncated, overlapping, or does not match the file.
  static SafeTensors open(const std::filesystem::path& path);
  /// Opens DIRECTORY/model.safetensors or the index of its shards. Throws Error where there is
  /// neither.
  static SafeTensors open_model(const std::filesystem::path& directory);

  /// Whether there is a tensor of this name.
  bool contains(const std::string& name) const { return tensors_.count(name) > 0; }
  /// Of all tensors, in order.
  std::vector<std::string> names() const;
  /// A view of the mapped file; writing to it changes this process's copy only. Throws Error for an
  /// unknown name, and for a dtype that LibTorch has not.
  torch::Tensor tensor(const std::string& name) const;
  /// The dtype of a tensor as the file writes it, such as "F8_E4M3". Throws Error for an unknown
  /// name.
  const std::string& dtype(const std::string& name) const;
  /// Whether `tensor` has it: whether its dtype is one of LibTorch's.
  bool readable(const std::string& name) const;
  /// What the headers' `__metadata__` say, texts by their names; of several files, the first's
  /// word.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  /// That are mapped.
  const std::vector<std::filesystem::path>& files() const { return paths_; }

 private:
  void add_file(const std::filesystem::path& path);

  struct Stored {
    torch::Tensor tensor;  // undefined where its dtype is not known
    std::string dtype;
  };
  const Stored& stored(const std::string& name) const;

  std::map<std::string, Stored> tensors_;
  std::map<std::string, std::string> metadata_;
  std::vector<std::filesystem::path> paths_;
};

/// Writes tensors to a safetensors file, whole or not at all; metadata {"format": "pt"} beside
/// `metadata`, data aligned to 64 bytes. Throws Error.
void save_safetensors(const std::filesystem::path& path,
                      const std::map<std::string, torch::Tensor>& tensors,
                      const std::map<std::string, std::string>& metadata = {});

}  // namespace motet
