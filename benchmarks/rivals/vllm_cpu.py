"""vLLM's build for CPUs, by its defaults, but for a memory of one gigabyte for keys and, where a prefill is measured, no
prefixes from its cache."""

import os
import time

import common


class Vllm:
    """One dtype at a time; loading compiles its graphs."""

    def __init__(self, directory):
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")  # in this process, which is what is measured
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        import vllm

        self.vllm, self.directory, self.loaded, self.model = vllm, directory, None, None

    def version(self):
        return {"version": f"vLLM {self.vllm.__version__}"}

    def load(self, dtype):
        if self.loaded is None:
            self.model = self.vllm.LLM(self.directory, dtype=dtype, max_model_len=4608, gpu_memory_utilization=0.3)
            self.loaded = dtype
        if self.loaded != dtype:
            raise ValueError(f"dtype {dtype}: this process has {self.loaded}")
        return self.model

    def generate(self, prompts, tokens):
        sampling = self.vllm.SamplingParams(max_tokens=tokens, temperature=0, ignore_eos=True, detokenize=False)
        start = time.perf_counter()
        self.model.generate([{"prompt_token_ids": prompt} for prompt in prompts], sampling, use_tqdm=False)
        return time.perf_counter() - start

    def prompt(self, count):
        return common.tokens_for(self.model.get_tokenizer().vocab_size, count)

    def prefill(self, tokens, dtype):
        self.load(dtype).reset_prefix_cache()
        return {"seconds": self.generate([self.prompt(tokens)], 1)}

    def decode(self, context, tokens, dtype):
        return self.batch(context, 1, tokens, dtype)

    def batch(self, context, queries, tokens, dtype):
        """Queries of one token behind a context that they share: seconds of a token of each, the context being known."""
        self.load(dtype)
        prompts = [self.prompt(context) + [query + 1] for query in range(queries)]
        self.generate(prompts, 1)
        return {"seconds": (self.generate(prompts, 1 + tokens) - self.generate(prompts, 1)) / tokens}
