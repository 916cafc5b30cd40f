"""TransformerLens, by its defaults: a bridge around Hugging Face's model, patterns from its cache."""

import importlib.metadata
import time

import common


class TransformerLens:
    def __init__(self, directory):
        import torch
        from transformer_lens.model_bridge import TransformerBridge

        self.torch = torch
        torch.set_grad_enabled(False)
        self.model = TransformerBridge.boot_transformers(directory, device="cpu", dtype=torch.float32)
        self.attentions(64, "float32")

    def version(self):
        return {"version": f"TransformerLens {importlib.metadata.version('transformer-lens')}"}

    def attentions(self, tokens, dtype):
        """All heads' patterns, and their entropies; float32 alone."""
        torch = self.torch
        if dtype != "float32":
            raise ValueError(f"dtype {dtype}: the bridge was made in float32")
        ids = torch.tensor([common.tokens_for(self.model.cfg.d_vocab, tokens)])
        common.reset_peak()
        before = common.peak_bytes()
        start = time.perf_counter()
        logits, cache = self.model.run_with_cache(ids, names_filter=lambda name: name.endswith("hook_pattern"))
        patterns = [cache[name] for name in cache if name.endswith("hook_pattern")]
        entropy = torch.stack([torch.special.entr(pattern).sum(-1).mean() for pattern in patterns])
        logits[0, -1].argmax().item()
        entropy.tolist()
        seconds, peak = time.perf_counter() - start, common.peak_bytes()
        return {"seconds": seconds, "peak_bytes": peak, "growth_bytes": peak - before, "layers": len(patterns)}
