#!/usr/bin/env python3
"""Compares motet with Hugging Face transformers on a model: every layer, and the logits.

    python examples/python/verify_model.py DIR [--text FILE] [--tokens N] [--bos] [--dtype TYPE]
                                           [--gguf FILE]

Both run the start of a text through the model in DIR, with ordinary causal attention. The table has
a row for the residual stream after each layer (layer 0 is the embedding; the last one is before the
final norm), and one for the logits: the largest absolute difference, and the same divided by the
largest absolute value of that layer; then the largest difference of a token's loss. Token ids are
compared too. Exits with 1 where they differ, or where a relative difference is above the bound, or
that of a loss, in nats.

--gguf compares with what transformers makes of a GGUF file that DIR was converted from: an error of
the conversion cannot cancel out. It needs the package accelerate.

The reference is float32, in eager attention; with --dtype bfloat16 its weights are rounded to
bfloat16, and motet computes in bfloat16. Needs torch, transformers and the built motet-trace.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# float32: only the order of sums differs. bfloat16: 8 bits of a number, rounded in every product.
BOUNDS = {"float32": 1e-3, "bfloat16": 1e-1}
LOSS = "losses (nats)"


class Failure(Exception):
    """What went wrong and what to do about it, for a reader."""


def find_program(given=None):
    """The program motet-trace: as given, in the build tree (here, or beside this script), or on the
    path.
    """
    built = "build/release/examples/motet-trace"
    candidates = [given] if given else [built, ROOT / built, shutil.which("motet-trace")]
    for candidate in filter(None, candidates):
        if pathlib.Path(candidate).is_file():
            return str(pathlib.Path(candidate).resolve())
    raise Failure(f"{given or 'motet-trace'} is not there; build it (cmake --build build/release), "
                  "or name it with --program")


def trace(program, directory, text, tokens, dtype="float32", bos=False):
    """What motet computes: {"tokens": [tokens], "residual": [layers + 1, tokens, width],
    "logits": [tokens, vocabulary]}.
    """
    from safetensors.torch import load_file
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "trace.safetensors"
        run = subprocess.run([program, directory, out, "--text", text, "--tokens", str(tokens),
                              "--dtype", dtype, *(["--bos"] if bos else [])], stderr=subprocess.PIPE, text=True, check=False)
        if run.returncode:
            raise Failure(run.stderr.strip() or f"{program} ended with {run.returncode}")
        return load_file(out)


def load_reference(directory, dtype="float32", gguf=None):
    """The model of transformers, float32, with weights rounded to `dtype`."""
    import torch
    import transformers
    source = {"pretrained_model_name_or_path": directory} if gguf is None else \
        {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    model = transformers.AutoModelForCausalLM.from_pretrained(
        **source, dtype=getattr(torch, dtype), attn_implementation="eager", local_files_only=True)
    return (model if gguf else model.float()).eval()  # of a GGUF file it is float32 already


def layers_of(model):
    """The list of a model's layers, whatever the family calls it."""
    import torch
    count = model.config.num_hidden_layers
    for module in model.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == count:
            return module
    raise Failure(f"{type(model).__name__}: has no list of {count} layers; is it a decoder?")


def reference(model, tokens):
    """What transformers computes, as `trace`. The residual stream is taken at the layers, since
    transformers' own last hidden state is after the final norm.
    """
    import torch
    layers, residual = layers_of(model), []
    hooks = [layers[0].register_forward_pre_hook(
        lambda _, inputs: residual.append(inputs[0][0].clone()))]
    for layer in layers:
        hooks.append(layer.register_forward_hook(lambda _, inputs, out: residual.append(
            (out[0] if isinstance(out, tuple) else out)[0].clone())))
    try:
        with torch.no_grad():
            logits = model(tokens[None], use_cache=False).logits[0]
    finally:
        for hook in hooks:
            hook.remove()
    return {"tokens": tokens, "residual": torch.stack(residual), "logits": logits}


def differences(ours, theirs):
    """[(name, largest absolute difference, relative to the largest absolute value)] of each layer
    and the logits.
    """
    pairs = [(f"layer {i}", a, b) for i, (a, b) in enumerate(zip(ours["residual"],
                                                                 theirs["residual"], strict=True))]
    rows = []
    for name, a, b in [*pairs, ("logits", ours["logits"], theirs["logits"])]:
        if a.shape != b.shape:
            raise Failure(f"{name}: motet has {tuple(a.shape)}, transformers {tuple(b.shape)}")
        difference = (a.double() - b.double()).abs().max().item()  # NaN stays NaN, and fails
        rows.append((name, difference, difference / b.double().abs().max().item()))
    return rows


def losses(run):
    """What each token but the first cost, nats."""
    import torch
    return torch.nn.functional.cross_entropy(run["logits"][:-1].double(), run["tokens"][1:],
                                             reduction="none")


def hugging_face_ids(directory, text):
    """The ids that the library `tokenizers` gives a text."""
    import tokenizers
    directory = pathlib.Path(directory)
    if (directory / "tokenizer.json").is_file():
        tokenizer = tokenizers.Tokenizer.from_file(str(directory / "tokenizer.json"))
    else:
        import transformers
        loaded = transformers.AutoTokenizer.from_pretrained(directory, local_files_only=True)
        tokenizer = loaded.backend_tokenizer
    tokenizer.no_truncation()  # what the file may ask for is no part of the text
    tokenizer.no_padding()
    return tokenizer.encode(text, add_special_tokens=False).ids


def check_tokens(directory, text, ours, tokens):
    """Throws where motet's ids, behind those that go first, are not the first of Hugging Face's."""
    theirs = hugging_face_ids(directory, pathlib.Path(text).read_bytes().decode())
    for i, id in enumerate(ours[len(ours) - min(tokens, len(theirs)):]):
        if i >= len(theirs) or id != theirs[i]:
            raise Failure(f"{text}: token {i} is {id} for motet, "
                          f"{theirs[i] if i < len(theirs) else 'missing'} for tokenizers: "
                          "report this")


def verify(directory, text, tokens, bos, dtype, bound, program, gguf):
    """Prints the table; returns whether every relative difference is within the bound."""
    ours = trace(find_program(program), directory, text, tokens, dtype, bos)
    ids = ours["tokens"].tolist()
    check_tokens(directory, text, ids, tokens)
    theirs = reference(load_reference(directory, dtype, gguf), ours["tokens"])
    rows = differences(ours, theirs)
    if len(ids) > 1:
        worst = (losses(ours) - losses(theirs)).abs().max().item()
        rows.append((LOSS, worst, worst))
    print(f"{directory}, the first {len(ids)} tokens of {os.path.relpath(text)}: the ids of tokenizers; {dtype}\n")
    print(f"{'':<13} {'difference':>12} {'relative':>12}")
    for name, difference, relative in rows:
        mark = "" if relative <= bound else "  above the bound"
        beside = "" if name == LOSS else f"{relative:.3g}"
        print(f"{name:<13} {difference:>12.3g} {beside:>12}{mark}".rstrip())
    within = all(relative <= bound for _, _, relative in rows)
    print(f"\nbound: {bound:g} of the largest absolute value of each row, and nats; "
          + ("motet and transformers agree" if within else "motet and transformers DIFFER"))
    return within


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", metavar="DIR", type=pathlib.Path)
    parser.add_argument("--text", metavar="FILE", type=pathlib.Path,
                        default=ROOT / "examples/data/alice.txt",
                        help="UTF-8 (default: examples/data/alice.txt)")
    parser.add_argument("--tokens", metavar="N", type=int, default=256,
                        help="of the text, at most (default: 256)")
    parser.add_argument("--bos", action="store_true",
                        help="put the tokenizer's first token before the text")
    parser.add_argument("--gguf", metavar="FILE", type=pathlib.Path,
                        help="compare with transformers' own reading of this file")
    parser.add_argument("--dtype", choices=BOUNDS, default="float32",
                        help="that motet computes in (default: float32)")
    parser.add_argument("--bound", type=float, help="of relative differences (default: "
                        + ", ".join(f"{bound:g} in {dtype}" for dtype, bound in BOUNDS.items())
                        + ")")
    parser.add_argument("--program", metavar="FILE",
                        help="motet-trace (default: that of build/release, or on the path)")
    arguments = vars(parser.parse_args())
    if arguments["bound"] is None:
        arguments["bound"] = BOUNDS[arguments["dtype"]]
    try:
        sys.exit(0 if verify(**arguments) else 1)
    except ImportError as error:
        sys.exit(f"verify_model: error: {error}; install that package into {sys.executable}")
    except (Failure, OSError) as error:
        sys.exit(f"verify_model: error: {error}")


if __name__ == "__main__":
    main()
