"""Measures a rival on request, as model_server does motet: a line in, a line of JSON out.

    rival_server.py transformers MODEL_DIRECTORY    rival_server.py llama.cpp GGUF_FILE

    version                      {"version"}
    prefill TOKENS DTYPE         {"seconds"}; logits of the last row
    attentions TOKENS DTYPE      {"seconds", "peak_bytes"}; output_attentions, and their entropy
    decode CONTEXT TOKENS DTYPE  {"seconds"} of a token

What goes wrong is answered as {"error"}.
"""

import argparse
import importlib.metadata
import json
import os
import sys
import time


def peak_bytes():
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def reset_peak():
    with open("/proc/self/clear_refs", "w", encoding="ascii") as clear:
        clear.write("5")


def tokens_for(vocabulary, count):
    """The same tokens as in model.h."""
    return [i * 7919 % vocabulary for i in range(count)]


class Transformers:
    def __init__(self, directory):
        import torch
        import transformers

        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        self.torch, self.transformers, self.directory = torch, transformers, directory
        self.loaded, self.model = None, None
        torch.set_grad_enabled(False)

    def version(self):
        return {"version": f"transformers {self.transformers.__version__}, "
                           f"torch {self.torch.__version__}"}

    def load(self, dtype, attention):
        """The only model in memory; warm."""
        if self.loaded != (dtype, attention):
            self.model = None
            self.model = self.transformers.AutoModelForCausalLM.from_pretrained(
                self.directory, dtype=getattr(self.torch, dtype), attn_implementation=attention,
                local_files_only=True).eval()
            self.loaded = dtype, attention
            self.model(self.ids(64), logits_to_keep=1)
        return self.model

    def ids(self, count):
        return self.torch.tensor([tokens_for(self.model.config.vocab_size, count)])

    def prefill(self, tokens, dtype):
        model = self.load(dtype, "sdpa")
        ids = self.ids(tokens)
        start = time.perf_counter()
        model(ids, logits_to_keep=1).logits.argmax(-1).item()
        return {"seconds": time.perf_counter() - start}

    def attentions(self, tokens, dtype):
        model = self.load(dtype, "eager")
        ids = self.ids(tokens)
        reset_peak()
        before = peak_bytes()
        start = time.perf_counter()
        out = model(ids, logits_to_keep=1, output_attentions=True)
        entropy = [self.torch.special.entr(p).sum(-1).mean() for p in out.attentions]
        out.logits.argmax(-1).item()
        self.torch.stack(entropy).tolist()
        seconds, peak = time.perf_counter() - start, peak_bytes()
        return {"seconds": seconds, "peak_bytes": peak, "growth_bytes": peak - before}

    def decode(self, context, tokens, dtype):
        model = self.load(dtype, "sdpa")
        out = model(self.ids(context), logits_to_keep=1)

        def step():
            token = out.logits.argmax(-1)
            return model(token, past_key_values=out.past_key_values, logits_to_keep=1)

        out = step()
        start = time.perf_counter()
        for _ in range(tokens):
            out = step()
        return {"seconds": (time.perf_counter() - start) / tokens}


class LlamaCpp:
    """Weights as the file has them, whatever dtype is asked for."""

    CONTEXT = 4608

    def __init__(self, path):
        import llama_cpp

        threads = len(os.sched_getaffinity(0))
        self.model = llama_cpp.Llama(path, n_ctx=self.CONTEXT, n_threads=threads,
                                     n_threads_batch=threads, verbose=False)
        self.evaluate(64)

    def version(self):
        return {"version": f"llama-cpp-python {importlib.metadata.version('llama-cpp-python')}"}

    def evaluate(self, count):
        self.model.reset()
        self.model.eval(tokens_for(self.model.n_vocab(), count))

    def prefill(self, tokens, _):
        start = time.perf_counter()
        self.evaluate(tokens)
        return {"seconds": time.perf_counter() - start}

    def decode(self, context, tokens, _):
        self.evaluate(context)
        self.model.eval([1])
        start = time.perf_counter()
        for token in tokens_for(self.model.n_vocab(), tokens):
            self.model.eval([token])
        return {"seconds": (time.perf_counter() - start) / tokens}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rival", choices=("transformers", "llama.cpp"))
    parser.add_argument("model")
    arguments = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w")  # libraries may print
    os.dup2(2, 1)
    rival = None
    for line in sys.stdin:
        try:
            if rival is None:
                rival = {"transformers": Transformers, "llama.cpp": LlamaCpp}[arguments.rival](
                    arguments.model)
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
