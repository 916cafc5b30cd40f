"""A model directory in Hugging Face format: what a reader of another format hands over, and how it
is written. One tensor at a time is in memory, and nothing half made is ever seen under its name.
"""

import dataclasses
import json
import os
import pathlib
import shutil
import struct
import sys
import tempfile
from collections.abc import Callable

DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}  # as config.json, as safetensors
BYTES = {"F32": 4, "F16": 2, "BF16": 2}
TOKENIZER = ("tokenizer.json", "vocab.json", "merges.txt")  # what motet reads
BESIDE = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
          "chat_template.jinja", "generation_config.json")  # what Hugging Face reads too


class Failure(Exception):
    """What went wrong and what to do about it, for a reader."""


@dataclasses.dataclass
class Tensor:
    """A tensor of the source under its Hugging Face name; `read` brings it into memory."""

    name: str
    shape: tuple[int, ...]
    dtype: str  # F32, F16 or BF16: as stored, F32 where the source is quantised
    read: Callable  # () -> a float array of NumPy or a tensor of torch, of this shape

    def elements(self):
        count = 1
        for size in self.shape:
            count *= size
        return count


@dataclasses.dataclass
class Model:
    config: dict  # config.json
    tensors: list[Tensor]  # in the order of the file
    files: dict  # by name: a path to copy, a text, or what a JSON file holds


def say(*words):
    print(f"{pathlib.Path(sys.argv[0]).stem}:", *words, file=sys.stderr, flush=True)


def refuse_pointer(path):
    """Git LFS leaves a few words where a file should be that it has not fetched."""
    with open(path, "rb") as file:
        if file.read(40).startswith(b"version https://git-lfs.github.com/spec/"):
            raise Failure(f"{path}: is a Git LFS pointer, not the file itself; `git lfs pull` in its "
                          "repository fetches it")


def read_json(path):
    refuse_pointer(path)
    try:
        return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise Failure(f"{path}: is not JSON: {error}") from error


def write_json(value, path):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def has_tokenizer(directory):
    return (directory / "tokenizer.json").is_file() or \
        ((directory / "vocab.json").is_file() and (directory / "merges.txt").is_file())


def tokenizer_files(directory, where):
    """The tokenizer in `directory`, to be copied: {name: path}."""
    directory = pathlib.Path(directory)
    if has_tokenizer(directory):
        return {name: directory / name for name in (*TOKENIZER, *BESIDE)
                if (directory / name).is_file()}
    seen = " (only a SentencePiece tokenizer.model, which motet does not read)" \
        if (directory / "tokenizer.model").is_file() else ""
    raise Failure(f"{directory}: has no tokenizer.json, nor both vocab.json and merges.txt{seen}; "
                  f"give the directory that has the tokenizer of {where} with --tokenizer")


def largest_id(files):
    """The largest token id of tokenizer files, as `tokenizer_files` gives them."""
    if "tokenizer.json" not in files:
        return max(read_json(files["vocab.json"]).values(), default=-1)
    source = files["tokenizer.json"]
    tokenizer = source if isinstance(source, dict) else read_json(source)
    vocabulary = tokenizer["model"]["vocab"]
    ids = vocabulary.values() if isinstance(vocabulary, dict) else range(len(vocabulary))
    added = [token["id"] for token in tokenizer.get("added_tokens") or []]
    return max([*ids, *added], default=-1)


def encoded(tensor, dtype):
    """The bytes of a tensor, read now, as safetensors stores this dtype: row after row,
    little-endian.
    """
    value = tensor.read()
    if tuple(value.shape) != tuple(tensor.shape):
        raise Failure(f"the tensor '{tensor.name}' is {tuple(value.shape)}, "
                      f"not {tuple(tensor.shape)} as announced")
    if type(value).__module__ == "numpy":
        import gguf  # whose readers give NumPy arrays
        import numpy
        kind = gguf.GGMLQuantizationType[dtype]
        with numpy.errstate(over="ignore"):  # told below
            stored = gguf.quantize(numpy.ascontiguousarray(value, dtype="<f4"), kind)
        finite = dtype != "F16" or numpy.isfinite(stored).sum() == numpy.isfinite(value).sum()
        data = stored.data
    else:
        import torch
        kind = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[dtype]
        stored = value.detach().to(kind).contiguous()
        finite = dtype != "F16" or torch.isfinite(stored).sum() == torch.isfinite(value).sum()
        data = stored.reshape(-1).view(torch.uint8).numpy().data
    if not finite:
        raise Failure(f"the tensor '{tensor.name}' has entries beyond 65504, the largest of "
                      "float16; take --dtype float32 or bfloat16")
    return data


def write_weights(tensors, path, dtype=None):
    """Writes model.safetensors: 8 bytes of header length, a JSON header, then the tensors in order.

    `dtype` is that of all of them, or None: each as stored. Written by hand, so that only one
    tensor is in memory at a time.
    """
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for tensor in tensors:
        kind = dtype or tensor.dtype
        begin, end = end, end + BYTES[kind] * tensor.elements()
        header[tensor.name] = {"dtype": kind, "shape": list(tensor.shape),
                               "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors start at a multiple of 8
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for number, tensor in enumerate(tensors, 1):
            file.write(encoded(tensor, dtype or tensor.dtype))
            if number % 50 == 0 or number == len(tensors):
                say(f"tensor {number} of {len(tensors)}")
        file.flush()
        os.fsync(file.fileno())


def write_files(model, directory, dtype=None):
    """Writes the files of a model into `directory`, in `dtype` (as config.json names it), or each
    tensor as it is stored.
    """
    write_weights(model.tensors, directory / "model.safetensors", DTYPES.get(dtype))
    config = dict(model.config)
    if dtype:
        config["torch_dtype"] = dtype
        if "dtype" in config:
            config["dtype"] = dtype
    for name, content in {"config.json": config, **model.files}.items():
        if isinstance(content, pathlib.Path):
            shutil.copyfile(content, directory / name)
        elif isinstance(content, str):
            (directory / name).write_text(content, encoding="utf-8")
        else:
            write_json(content, directory / name)


def write_model(model, out, dtype=None):
    """Makes the directory `out` of a model, whole or not at all."""
    refuse_existing(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    # Beside `out`, so that the rename at the end stays on one file system.
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        made = pathlib.Path(folder) / "made"
        made.mkdir()
        write_files(model, made, dtype)
        refuse_existing(out)  # a rename would take the place of an empty directory
        os.rename(made, out)


def refuse_existing(out):
    if os.path.lexists(out):
        raise Failure(f"{out}: is there already, and is not written over; remove it, or name "
                      "another directory")
