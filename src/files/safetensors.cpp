#include "motet/files/safetensors.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "files/import_hint.h"
#include "files/lfs_pointer.h"
#include "motet/error.h"
#include "motet/files/atomic.h"
#include "motet/files/mapped.h"

namespace motet {
namespace {

using nlohmann::json;

constexpr std::array<std::pair<const char*, torch::ScalarType>, 15> kTypes{{
    {"F64", torch::kFloat64},
    {"F32", torch::kFloat32},
    {"F16", torch::kFloat16},
    {"BF16", torch::kBFloat16},
    {"I64", torch::kInt64},
    {"I32", torch::kInt32},
    {"I16", torch::kInt16},
    {"I8", torch::kInt8},
    {"U8", torch::kUInt8},
    {"BOOL", torch::kBool},
    {"U16", torch::kUInt16},
    {"U32", torch::kUInt32},
    {"U64", torch::kUInt64},
    {"F8_E4M3", torch::kFloat8_e4m3fn},
    {"F8_E5M2", torch::kFloat8_e5m2},
}};

struct Entry {
  std::string name;
  std::string dtype;
  std::optional<torch::ScalarType> type;  // nothing where LibTorch has none
  std::vector<int64_t> shape;
  uint64_t first, last;  // bytes of the data
};

/// One tensor of a header, checked by itself.
Entry entry_of(const std::string& where, const std::string& name, const json& fields) {
  const bool shaped = fields.is_object() && fields.contains("dtype") && fields.contains("shape") &&
                      fields.contains("data_offsets") && fields["dtype"].is_string() &&
                      fields["shape"].is_array() && fields["data_offsets"].is_array() &&
                      fields["data_offsets"].size() == 2;
  require(shaped, where, ": tensor '", name, "' has no dtype, shape and data_offsets");
  const auto type = fields["dtype"].get<std::string>();
  Entry entry{.name = name, .dtype = type, .type = {}, .shape = {}, .first = 0, .last = 0};
  for (const auto& [text, scalar_type] : kTypes) {
    if (type == text) {
      entry.type = scalar_type;
    }
  }
  uint64_t bytes = entry.type ? c10::elementSize(*entry.type) : 0;
  for (const auto& size : fields["shape"]) {
    require(size.is_number_unsigned() && size.get<uint64_t>() < (uint64_t{1} << 40), where,
            ": tensor '", name, "' has the shape ", fields["shape"].dump());
    entry.shape.push_back(size.get<int64_t>());
    require(entry.shape.back() == 0 || bytes <= (uint64_t{1} << 50) / entry.shape.back(), where,
            ": tensor '", name, "' has the shape ", fields["shape"].dump());
    bytes *= entry.shape.back();
  }
  const auto& offsets = fields["data_offsets"];
  require(offsets[0].is_number_unsigned() && offsets[1].is_number_unsigned() &&
              offsets[0] <= offsets[1],
          where, ": tensor '", name, "' has the data_offsets ", offsets.dump());
  entry.first = offsets[0].get<uint64_t>();
  entry.last = offsets[1].get<uint64_t>();
  require(!entry.type || entry.last - entry.first == bytes, where, ": tensor '", name, "' of ",
          type, " ", fields["shape"].dump(), " takes ", bytes, " bytes, but its data_offsets ",
          offsets.dump(), " hold ", entry.last - entry.first);
  return entry;
}

/// The tensors of a header, in the order of their data, which they fill without holes.
std::vector<Entry> entries_of(const std::string& where, const json& header, uint64_t data_bytes) {
  std::vector<Entry> entries;
  for (const auto& [name, fields] : header.items()) {
    if (name != "__metadata__") {
      entries.push_back(entry_of(where, name, fields));
    }
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.first, a.last) < std::pair(b.first, b.last);
  });
  uint64_t end = 0;
  for (const auto& entry : entries) {
    require(entry.last <= data_bytes, where, ": is truncated: tensor '", entry.name,
            "' ends at byte ", entry.last, " of the data, of which there are ", data_bytes,
            "; download the file again");
    require(entry.first >= end, where, ": tensor '", entry.name, "' begins at byte ", entry.first,
            " of the data, inside the tensor before it, which ends at ", end);
    require(entry.first == end, where, ": bytes ", end, " to ", entry.first,
            " of the data belong to no tensor");
    end = entry.last;
  }
  require(end == data_bytes, where, ": bytes ", end, " to ", data_bytes,
          " of the data belong to no tensor");
  return entries;
}

json parsed(const std::string& where, std::string_view text, const char* otherwise) {
  auto object = json::parse(text, nullptr, /*allow_exceptions=*/false);
  require(object.is_object(), where, ": ", otherwise);
  return object;
}

}  // namespace

void SafeTensors::add_file(const std::filesystem::path& path) {
  const auto where = path.string();
  const auto file = MappedFile::open(path);
  refuse_lfs_pointer(path, {reinterpret_cast<const char*>(file->data()), file->size()});
  uint64_t header_bytes = 0;
  require(file->size() >= sizeof header_bytes, where, ": is truncated: ", file->size(),
          " bytes are no safetensors file; download it again");
  std::memcpy(&header_bytes, file->data(), sizeof header_bytes);  // little-endian
  require(header_bytes <= file->size() - sizeof header_bytes, where,
          ": is truncated or no safetensors ", "file: a header of ", header_bytes,
          " bytes in a file of ", file->size());
  const auto header = parsed(
      where, {reinterpret_cast<const char*>(file->data()) + sizeof header_bytes, header_bytes},
      "is not a safetensors file: its header is not a JSON object");
  if (const auto found = header.find("__metadata__"); found != header.end() && found->is_object()) {
    for (const auto& [name, text] : found->items()) {
      if (text.is_string()) {
        metadata_.emplace(name, text.get<std::string>());
      }
    }
  }
  auto* data = file->data() + sizeof header_bytes + header_bytes;
  for (const auto& entry :
       entries_of(where, header, file->size() - sizeof header_bytes - header_bytes)) {
    auto* first = data + entry.first;
    torch::Tensor tensor;
    if (entry.type) {
      const bool aligned =
          reinterpret_cast<std::uintptr_t>(first) % c10::elementSize(*entry.type) == 0;
      if (aligned && entry.first != entry.last) {
        tensor = torch::from_blob(
            first, entry.shape, [file](void*) {}, *entry.type);
      } else {  // an odd header: a view would be misaligned
        tensor = torch::empty(entry.shape, *entry.type);
        if (entry.first != entry.last) {
          std::memcpy(tensor.data_ptr(), first, entry.last - entry.first);
        }
      }
    }
    require(tensors_.emplace(entry.name, Stored{tensor, entry.dtype}).second, where, ": tensor '",
            entry.name, "' is in another shard too");
  }
  paths_.push_back(path);
}

SafeTensors SafeTensors::open(const std::filesystem::path& path) {
  SafeTensors all;
  if (path.extension() != ".json") {
    all.add_file(path);
    return all;
  }
  const auto where = path.string();
  const auto text = read_file(path);
  refuse_lfs_pointer(path, text);
  const auto index = parsed(where, text, "is not an index of shards: it is not a JSON object");
  require(index.contains("weight_map") && index["weight_map"].is_object(), where,
          ": has no weight_map");
  std::map<std::string, std::vector<std::string>> shards;
  for (const auto& [tensor, file] : index["weight_map"].items()) {
    require(file.is_string(), where, ": the shard of '", tensor, "' is not a file name");
    shards[file.get<std::string>()].push_back(tensor);
  }
  for (const auto& [file, tensors] : shards) {
    const auto shard = path.parent_path() / file;
    require(std::filesystem::exists(shard), where, ": names the shard ", file,
            ", which is missing; download it too");
    require(std::filesystem::is_regular_file(shard), where, ": the shard of '", tensors[0],
            "' is '", file, "', which is not a file");
    all.add_file(shard);
    for (const auto& tensor : tensors) {
      require(all.contains(tensor), where, ": says that ", file, " holds '", tensor,
              "', but it does not");
    }
  }
  return all;
}

SafeTensors SafeTensors::open_model(const std::filesystem::path& directory) {
  for (const auto* name : {"model.safetensors", "model.safetensors.index.json"}) {
    if (std::filesystem::exists(directory / name)) {
      return open(directory / name);
    }
  }
  const auto hint = import_hint(directory);
  fail(directory.string(), ": has no model.safetensors and no model.safetensors.index.json",
       hint.empty() ? "; the download is not complete" : hint);
}

std::vector<std::string> SafeTensors::names() const {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors_) {
    names.push_back(name);
  }
  return names;
}

const SafeTensors::Stored& SafeTensors::stored(const std::string& name) const {
  const auto found = tensors_.find(name);
  require(found != tensors_.end(), paths_.empty() ? "safetensors" : paths_[0].string(),
          ": has no tensor '", name, "'");
  return found->second;
}

torch::Tensor SafeTensors::tensor(const std::string& name) const {
  const auto& found = stored(name);
  require(found.tensor.defined(), paths_[0].string(), ": tensor '", name, "' is of ", found.dtype,
          ", which LibTorch does not have");
  return found.tensor;
}

const std::string& SafeTensors::dtype(const std::string& name) const { return stored(name).dtype; }

bool SafeTensors::readable(const std::string& name) const { return stored(name).tensor.defined(); }

void save_safetensors(const std::filesystem::path& path,
                      const std::map<std::string, torch::Tensor>& tensors,
                      const std::map<std::string, std::string>& metadata) {
  json header{{"__metadata__", metadata}};
  header["__metadata__"]["format"] = "pt";
  uint64_t end = 0;
  for (const auto& [name, tensor] : tensors) {
    const char* type = nullptr;
    for (const auto& [text, scalar_type] : kTypes) {
      if (tensor.scalar_type() == scalar_type) {
        type = text;
      }
    }
    require(type != nullptr, path.string(), ": tensor '", name, "' of ", tensor.scalar_type(),
            " cannot be saved");
    const auto first = std::exchange(end, end + tensor.numel() * tensor.element_size());
    header[name] = {
        {"dtype", type}, {"shape", tensor.sizes().vec()}, {"data_offsets", {first, end}}};
  }
  auto text = header.dump();
  text.append((64 - (sizeof(uint64_t) + text.size()) % 64) % 64, ' ');
  const auto header_bytes = static_cast<uint64_t>(text.size());
  AtomicFile file(path);
  file.write({reinterpret_cast<const char*>(&header_bytes), sizeof header_bytes});
  file.write(text);
  for (const auto& [name, tensor] : tensors) {
    const auto plain = tensor.detach().cpu().contiguous();
    file.write({static_cast<const char*>(plain.data_ptr()), plain.nbytes()});
  }
  file.commit();
}

}  // namespace motet
