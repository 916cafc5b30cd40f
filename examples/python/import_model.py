#!/usr/bin/env python3
"""Makes the model directory that motet reads (Hugging Face format) from another format.

    python examples/python/import_model.py SOURCE OUT [--base DIR] [--tokenizer DIR] [--dtype TYPE]
                                           [--strip-prefix PREFIX]

SOURCE is one of these:

    a directory with pytorch_model.bin, or its shards and their index, and config.json
    a directory with a LoRA adapter of PEFT: adapter_config.json and adapter_model.safetensors or
      .bin; it is merged into --base (default: the directory that adapter_config.json names)
    a checkpoint of nanoGPT: ckpt.pt, or the directory with it; needs --tokenizer
    a GGUF file of llama.cpp (architectures llama, which Mistral is too, qwen2, qwen3, gemma2,
      gemma3, olmo2, phi3, gptneox, gpt2), or the directory with one; every type is dequantised

OUT is written whole or not at all, and must not exist. Checkpoints are read without running code
from them. Needs torch (and safetensors for adapters), or numpy and gguf for GGUF files.
docs/models.md says more.
"""

import argparse
import pathlib
import signal
import sys

from importers import adapter, checkpoint, gguf_file, nanogpt
from importers.directory import (DTYPES, Failure, has_tokenizer, largest_id, read_json,
                                 refuse_existing, say, write_model)

KNOWN = ("known are a directory with pytorch_model.bin (or its shards) or adapter_config.json, "
         "nanoGPT's ckpt.pt, and a .gguf file")
FAMILIES = ("gemma2", "gemma3_text", "gpt2", "gpt_neox", "llama", "mistral", "olmo2", "phi3",
            "qwen2", "qwen3")  # that motet ships


def begins_with(path, magic):
    with open(path, "rb") as file:
        return file.read(len(magic)) == magic


def is_torch_file(path):
    """A zip archive, or the pickle that torch wrote before version 1.6."""
    return begins_with(path, b"PK\x03\x04") or begins_with(path, b"\x80\x02")


def kind_of(source):
    """What SOURCE is: (the name of a format, the path to read)."""
    if source.is_file():
        if source.name in ("pytorch_model.bin", "pytorch_model.bin.index.json"):
            return "pytorch_model.bin", source.parent
        if source.name == "adapter_config.json":
            return "adapter", source.parent
        if begins_with(source, b"GGUF") or source.suffix == ".gguf":
            return "gguf", source
        if source.suffix == ".pt" or is_torch_file(source):
            return "nanogpt", source
        with open(source, "rb") as file:
            raise Failure(f"{source}: its format is not known: it begins with {file.read(8)!r}; "
                          f"{KNOWN}")
    if not source.is_dir():
        raise Failure(f"{source}: is neither a file nor a directory")
    names = {path.name for path in source.iterdir()}
    ggufs = sorted(path for path in source.iterdir() if path.suffix == ".gguf")
    if "adapter_config.json" in names:
        return "adapter", source
    if names & {"model.safetensors", "model.safetensors.index.json"}:
        return "safetensors", source
    if names & {"pytorch_model.bin", "pytorch_model.bin.index.json"}:
        return "pytorch_model.bin", source
    if "ckpt.pt" in names:
        return "nanogpt", source / "ckpt.pt"
    if len(ggufs) == 1:
        return "gguf", ggufs[0]
    if ggufs:
        raise Failure(f"{source}: has several GGUF files; name one of "
                      + ", ".join(path.name for path in ggufs))
    seen = ", ".join(sorted(names)) or "nothing"
    raise Failure(f"{source}: holds {seen}, which is no known format; {KNOWN}")


def open_base(source, base, tokenizer):
    """The model that an adapter belongs to: --base, or what the adapter itself names."""
    named = read_json(source / "adapter_config.json").get("base_model_name_or_path")
    if base is None and (not named or not pathlib.Path(named).is_dir()):
        raise Failure(f"{source}: an adapter is merged into its base, which is "
                      f"{named or 'not named in it'}: give the directory of that model with --base")
    directory = pathlib.Path(base or named)
    kind, path = kind_of(directory)
    if kind == "adapter":
        raise Failure(f"{directory}: is an adapter itself; import it into its base first")
    return open_model(kind, path, tokenizer=tokenizer)


def open_model(kind, path, base=None, tokenizer=None, activation="gelu", prefix=""):
    """The model of a format that `kind_of` found."""
    if kind == "gguf":
        return gguf_file.open_file(path, tokenizer)
    if kind == "nanogpt":
        return nanogpt.open_checkpoint(path, tokenizer, activation)
    if kind == "adapter":
        own = path if has_tokenizer(path) else None  # it may have tokens of its own
        return adapter.open_adapter(path, open_base(path, base, tokenizer or own))
    return checkpoint.open_directory(path, tokenizer, prefix)


def check(model, source, chosen_tokenizer):
    """Notes what motet would stumble over; a tokenizer that was chosen must fit."""
    family, rows = model.config.get("model_type"), model.config.get("vocab_size")
    if family not in FAMILIES:
        say(f"note: the model family '{family}' is not one that motet ships ({', '.join(FAMILIES)})"
            "; it loads where a program registers it")
    largest = largest_id(model.files)
    if rows is not None and largest >= rows:
        problem = f"the tokenizer has the id {largest}, the model a vocabulary of {rows}"
        if chosen_tokenizer:
            raise Failure(f"{source}: {problem}; --tokenizer names the tokenizer of another model")
        say(f"note: {problem}; texts with such tokens cannot be read")


def import_model(source, out, base=None, tokenizer=None, dtype=None, activation="gelu",
                 strip_prefix=""):
    refuse_existing(out)
    kind, path = kind_of(source)
    if kind == "safetensors" and dtype is None and tokenizer is None and not strip_prefix:
        raise Failure(f"{source}: has model.safetensors, which motet reads as it is: nothing to "
                      "import")
    if kind != "adapter" and base is not None:
        raise Failure(f"{source}: --base is for adapters; this is {kind}")
    if kind not in ("safetensors", "pytorch_model.bin") and strip_prefix:
        raise Failure(f"{source}: --strip-prefix is for Hugging Face's directories; this is {kind}")
    model = open_model(kind, path, base, tokenizer, activation, strip_prefix)
    check(model, source, tokenizer)
    write_model(model, out, dtype)
    say(f"{out} is ready: {model.config.get('model_type')}, {len(model.tensors)} tensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", metavar="SOURCE", type=pathlib.Path)
    parser.add_argument("out", metavar="OUT", type=pathlib.Path, help="directory to make")
    parser.add_argument("--base", metavar="DIR", type=pathlib.Path,
                        help="the model that an adapter belongs to, in any format known here")
    parser.add_argument("--tokenizer", metavar="DIR", type=pathlib.Path,
                        help="directory with tokenizer.json, or vocab.json and merges.txt, to take "
                             "instead of the source's")
    parser.add_argument("--dtype", choices=DTYPES,
                        help="of the weights (default: each as stored, float32 where quantised)")
    parser.add_argument("--activation", choices=("gelu", "gelu_new"), default="gelu",
                        help="of a nanoGPT: gelu_new where it is of before 17 May 2023 "
                             "(default: gelu)")
    parser.add_argument("--strip-prefix", metavar="PREFIX", default="",
                        help="that a wrapper put before the names of tensors, such as module.")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # leave nothing behind there either
    try:
        import_model(**vars(arguments))
    except ImportError as error:
        sys.exit(f"import_model: error: {error}; install that package into {sys.executable}")
    except (Failure, OSError) as error:
        sys.exit(f"import_model: error: {error}")
    except KeyboardInterrupt:
        sys.exit("import_model: interrupted; nothing was left behind")


if __name__ == "__main__":
    main()
