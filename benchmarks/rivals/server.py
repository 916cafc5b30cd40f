"""Measures a rival on request, as model_server does motet: a line in, a line of JSON out.

    server.py transformers|lens|vllm MODEL_DIRECTORY    server.py llama.cpp GGUF_FILE[:DTYPE]

    version                           {"version"}
    prefill TOKENS DTYPE              {"seconds"}; logits of the last row
    attentions TOKENS DTYPE           {"seconds", "peak_bytes"}; the weights of all heads, and their entropies
    decode CONTEXT TOKENS DTYPE       {"seconds"} of a token
    batch CONTEXT QUERIES TOKENS DTYPE  {"seconds"} of a token of each query over one context
    train TOKENS DTYPE CHECKPOINT     {"seconds", "loss", "peak_bytes"} of a step on one row
    grid SELECT DTYPE                 {"seconds", "nlls"} of the modes that model_server's `grid` has, one after the other

A rival answers what it has. What goes wrong is answered as {"error"}.
"""

import argparse
import importlib
import json
import os
import sys

# Name: module and class.
RIVALS = {"transformers": ("hugging_face", "Transformers"), "lens": ("lens", "TransformerLens"),
          "vllm": ("vllm_cpu", "Vllm"), "llama.cpp": ("llama_cpp_python", "LlamaCpp")}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rival", choices=RIVALS)
    parser.add_argument("model")
    arguments = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w")  # libraries may print
    os.dup2(2, 1)
    rival = None
    for line in sys.stdin:
        try:
            if rival is None:
                module, name = RIVALS[arguments.rival]
                rival = getattr(importlib.import_module(module), name)(arguments.model)
            what, *words = line.split()
            answer = getattr(rival, what)(*(int(w) if w.isdigit() else w for w in words))
        except Exception as error:  # all of them belong to the one who asked
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
