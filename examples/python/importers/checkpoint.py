"""Weights of a Hugging Face directory: what torch saved as pytorch_model.bin, whole or in shards,
or safetensors (of adapters and their base).

torch.load unpickles tensors and plain containers only (weights_only=True), and maps the file where
its format allows (torch 1.6 and later), so that a tensor is read when it is written.
"""

import dataclasses
import pathlib
import pickle
import zipfile

from importers.directory import (Failure, Model, Tensor, read_json, refuse_pointer,
                                 tokenizer_files)

# Masks and angles that old versions of transformers saved; a model makes them itself.
BUFFERS = (".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")


def load(path):
    """What torch saved in the file `path`: tensors and plain containers, nothing else."""
    import torch
    refuse_pointer(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True,
                          mmap=zipfile.is_zipfile(path))
    except (OSError, MemoryError, ImportError):
        raise
    except Exception as error:  # whatever a damaged file makes torch stumble over
        if isinstance(error, pickle.UnpicklingError) and "GLOBAL" in str(error):
            raise Failure(f"{path}: holds more than tensors and plain containers, and reading it "
                          "could run code, so it is not read; where you trust it, save its tensors "
                          "alone: torch.save(model.state_dict(), ...)") from error
        raise Failure(f"{path}: is damaged, truncated or no file of torch.save "
                      f"({type(error).__name__}); copy or download it again") from error


def stored(name, value, where):
    """A tensor of torch as one of a model."""
    import torch
    if not isinstance(value, torch.Tensor):
        raise Failure(f"{where}: '{name}' is {type(value).__name__}, not a tensor; "
                      "a state dict of a model is wanted")
    kinds = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
    if value.dtype not in kinds:
        raise Failure(f"{where}: the tensor '{name}' is of {value.dtype}; float32, float16 and "
                      "bfloat16 are read (quantised checkpoints of GPTQ, AWQ or bitsandbytes are "
                      "not)")
    return Tensor(name, tuple(value.shape), kinds[value.dtype], lambda: value)


def shards(directory, name):
    """The files of weights called `name`, or those that its index names: [path]."""
    if (directory / name).is_file():
        return [directory / name]
    index = directory / f"{name}.index.json"
    files = [directory / file
             for file in sorted(set(read_json(index).get("weight_map", {}).values()))]
    for file in files:
        if not file.is_file():
            raise Failure(f"{index}: names the shard {file.name}, which is missing; "
                          "download it too")
    return files


def config_of(directory):
    path = directory / "config.json"
    if not path.is_file():
        raise Failure(f"{directory}: has no config.json, which says what the weights are of; "
                      "download it too")
    config = read_json(path)
    if config.get("quantization_config") is not None:
        raise Failure(f"{path}: has a quantization_config; quantised checkpoints are not read: "
                      "take the unquantised weights")
    return config


def is_tied(config):
    """Whether the output layer is the embedding: where config.json does not say, as in transformers'
    configuration of the family.
    """
    default = config.get("model_type") in ("gpt2", "gemma2", "gemma3_text")
    return config.get("tie_word_embeddings", default)


def untied(tensors, config, where):
    """The tensors without an output layer that config.json ties to the embedding and that equals
    it.
    """
    by_name = {tensor.name: tensor for tensor in tensors}
    head = by_name.get("lm_head.weight")
    embedding = next((tensor for name, tensor in by_name.items()
                      if name.endswith(("embed_tokens.weight", "wte.weight"))), None)
    if head is None or embedding is None or not is_tied(config):
        return tensors
    if not (head.read() == embedding.read()).all():
        raise Failure(f"{where}: '{head.name}' differs from '{embedding.name}', but config.json "
                      "ties them (tie_word_embeddings)")
    return [tensor for tensor in tensors if tensor is not head]


def weights(directory):
    """The tensors of a Hugging Face directory: pytorch_model.bin or model.safetensors, or their
    shards.
    """
    tensors = []
    for name, read in (("model.safetensors", open_safetensors), ("pytorch_model.bin", load)):
        if (directory / name).is_file() or (directory / f"{name}.index.json").is_file():
            for path in shards(directory, name):
                tensors += [value if isinstance(value, Tensor) else stored(key, value, path)
                            for key, value in items(read(path), path)
                            if not key.endswith(BUFFERS)]
            break
    names = [tensor.name for tensor in tensors]
    for name in names:
        if names.count(name) > 1:
            raise Failure(f"{directory}: the tensor '{name}' is in two shards")
    return tensors


def items(state, path):
    if not isinstance(state, dict):
        raise Failure(f"{path}: holds {type(state).__name__}; a state dict of a model is wanted")
    return state.items()


def open_safetensors(path):
    """The tensors of a safetensors file, mapped: {name: Tensor}."""
    import safetensors
    refuse_pointer(path)
    try:
        file = safetensors.safe_open(path, "pt")
    except safetensors.SafetensorError as error:
        raise Failure(f"{path}: is damaged or no safetensors file ({error}); "
                      "download it again") from error

    def tensor(name):
        part = file.get_slice(name)
        if part.get_dtype() not in ("F32", "F16", "BF16"):
            raise Failure(f"{path}: the tensor '{name}' is of {part.get_dtype()}; F32, F16 and "
                          "BF16 are read")
        return Tensor(name, tuple(part.get_shape()), part.get_dtype(),
                      lambda: file.get_tensor(name))

    return {name: tensor(name) for name in file.keys() if not name.endswith(BUFFERS)}


def without_prefix(tensors, prefix, where):
    """The tensors without what a wrapper put before their names."""
    if not any(tensor.name.startswith(prefix) for tensor in tensors):
        raise Failure(f"{where}: no tensor's name begins with '{prefix}'; the first is "
                      f"'{tensors[0].name}'")
    return [dataclasses.replace(tensor, name=tensor.name.removeprefix(prefix))
            for tensor in tensors]


def open_directory(directory, tokenizer=None, prefix=""):
    """The model of a Hugging Face directory."""
    directory = pathlib.Path(directory)
    config = config_of(directory)
    tensors = weights(directory)
    if prefix:
        tensors = without_prefix(tensors, prefix, directory)
    return Model(config, untied(tensors, config, directory),
                 tokenizer_files(tokenizer or directory, directory))
