#!/usr/bin/env python3
"""Makes smollm2.safetensors: what Hugging Face transformers computes with motet's default model.

    python tests/golden/make_smollm2_golden.py MODEL_DIR TEXT OUT

MODEL_DIR is what cmake/fetch_model.py makes, TEXT a text file of at least 2048 tokens: the file
checked in was made from valid_books.txt, which begins with Frankenstein (Project Gutenberg). Ran
with Python 3.11, torch 2.13.0 (CPU), transformers 5.23.0, tokenizers 0.23.3 and safetensors 0.8.0;
takes a few minutes on one core and 5 GB of memory. OUT holds

    tokens   int64 [2048]        the first tokens of the text (tokenised whole, no token added)
    rows     int64 [64]          evenly spread positions, the first and the last included
    ids      int64 [256]         evenly spread token ids, the first and the last included
    logits   float32 [64, 256]   of these ids at these rows
    lse      float32 [2048]      ln sum exp of all logits of each row
    largest  float32 []          the largest |logit| of all rows and ids

computed in float64 with eager attention from the stored fp32 weights: causal, positions from 0. As
in make_golden.py, transformers computes RMSNorm, softmax and rotary positions in float32 even so;
how far that moves the results is printed, together with what float32 throughout does.
"""

import argparse
import pathlib
import sys

import safetensors.torch
import tokenizers
import torch
import transformers

import make_golden

LENGTH = 2048


def say(*words):
    print(*words, file=sys.stderr, flush=True)


@torch.no_grad()
def compute(directory, tokens, dtype):
    """All logits in float64, [length, vocab]."""
    model = transformers.LlamaForCausalLM.from_pretrained(
        directory, dtype=dtype, attn_implementation="eager").eval()
    return model(tokens[None], use_cache=False).logits[0].double()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=pathlib.Path, metavar="MODEL_DIR")
    parser.add_argument("text", type=pathlib.Path, metavar="TEXT")
    parser.add_argument("out", type=pathlib.Path, metavar="OUT")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    tokenizer = tokenizers.Tokenizer.from_file(str(arguments.model / "tokenizer.json"))
    text = arguments.text.read_text(encoding="utf-8")
    tokens = torch.tensor(tokenizer.encode(text, add_special_tokens=False).ids[:LENGTH])
    if len(tokens) < LENGTH:
        sys.exit(f"{arguments.text} has only {len(tokens)} tokens; give a text of {LENGTH} or more")

    say("float64")
    logits = compute(arguments.model, tokens, torch.float64)
    largest, lse = logits.abs().max(), logits.logsumexp(-1)
    rows = torch.linspace(0, LENGTH - 1, 64, dtype=torch.float64).round().long()
    ids = torch.linspace(0, logits.shape[1] - 1, 256, dtype=torch.float64).round().long()
    safetensors.torch.save_file(
        {"tokens": tokens, "rows": rows, "ids": ids, "logits": logits[rows][:, ids].float(),
         "lse": lse.float(), "largest": largest.float()}, arguments.out)

    nll = (lse[:-1] - logits[:-1].gather(1, tokens[1:, None])[:, 0]).mean()
    print(f"mean negative log-likelihood {nll:.6f} nats, largest |logit| {largest:.3f}")

    def report(name, other):
        moved = ((other - logits).abs().max() / largest).item()
        print(f"{name} moves logits by {moved:.1e} of the largest, "
              f"lse by {(other.logsumexp(-1) - lse).abs().max():.1e}")

    say("exact float64")
    with make_golden.exact():
        report("float64 without float32 inside", compute(arguments.model, tokens, torch.float64))
    say("float32")
    report("float32", compute(arguments.model, tokens, torch.float32))


if __name__ == "__main__":
    main()
