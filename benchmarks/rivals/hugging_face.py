"""transformers, by its defaults: SDPA, a cache; eager attention where its weights are wanted."""

import math
import time

import common


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
        return self.torch.tensor([common.tokens_for(self.model.config.vocab_size, count)])

    def prefill(self, tokens, dtype):
        model = self.load(dtype, "sdpa")
        ids = self.ids(tokens)
        start = time.perf_counter()
        model(ids, logits_to_keep=1).logits.argmax(-1).item()
        return {"seconds": time.perf_counter() - start}

    def attentions(self, tokens, dtype):
        model = self.load(dtype, "eager")
        ids = self.ids(tokens)
        common.reset_peak()
        before = common.peak_bytes()
        start = time.perf_counter()
        out = model(ids, logits_to_keep=1, output_attentions=True)
        entropy = [self.torch.special.entr(p).sum(-1).mean() for p in out.attentions]
        out.logits.argmax(-1).item()
        self.torch.stack(entropy).tolist()
        seconds, peak = time.perf_counter() - start, common.peak_bytes()
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

    def train(self, tokens, dtype, checkpoint):
        """A step of AdamW on one row; bf16 by autocast, as its Trainer does."""
        torch = self.torch
        if self.loaded != ("train", dtype, checkpoint):
            self.model = self.transformers.AutoModelForCausalLM.from_pretrained(
                self.directory, dtype=torch.float32, attn_implementation="sdpa", local_files_only=True).train()
            if checkpoint:
                self.model.gradient_checkpointing_enable()
                self.model.config.use_cache = False
            self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=5e-5, weight_decay=0.01)
            self.loaded = "train", dtype, checkpoint
        ids = self.ids(tokens)
        common.reset_peak()
        start = time.perf_counter()
        with torch.enable_grad():
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
                loss = self.model(ids, labels=ids).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()
        return {"seconds": time.perf_counter() - start, "loss": loss.item(), "peak_bytes": common.peak_bytes()}

    def grid(self, select, dtype):
        model = self.load(dtype, "sdpa")
        grid = Grid(self.torch, model)
        modes = [(mode, pieces) for pieces in (1, 4, 16) for mode in
                 (["full"] if pieces == 1 else ["parallel", "discount", "sink", "discount+prefix"]
                  + (["selective", "both"] if select else []))]
        start = time.perf_counter()
        nlls = {f"{mode} {pieces}": grid.read(mode, pieces) for mode, pieces in modes}
        return {"seconds": time.perf_counter() - start, "nlls": nlls}


class Grid:
    """An item of in-context learning read in pieces by Hugging Face's model, with its cache and SDPA, no entropies: 4D masks
    keep pieces apart, labels are read in one row each of which sees itself alone, and selection has one eager pass of scores
    in each layer of each call, as PCE's code has."""

    def __init__(self, torch, model):
        import transformers

        self.torch, self.model = torch, model
        transformers.AttentionInterface.register("motet_selecting", self.selecting)
        tokens = iter(common.tokens_for(model.config.vocab_size, 2200))
        take = lambda count: [next(tokens) for _ in range(count)]
        self.prefix, self.units, self.query = take(15), [take(62) for _ in range(32)], take(40)
        self.labels = [take(3) for _ in range(20)]

    def read(self, mode, degree):
        torch = self.torch
        prefix = self.prefix if mode in ("sink", "both", "discount+prefix") else []
        each = len(self.units) // degree
        pieces = [sum(self.units[i:i + each], []) for i in range(0, len(self.units), each)]
        context = sum(pieces, list(prefix))
        of_piece = torch.tensor([-1] * len(prefix) + [i for i, piece in enumerate(pieces) for _ in piece])
        positions = list(range(len(prefix))) + [len(prefix) + i for piece in pieces for i in range(len(piece))]
        first = len(prefix) + max(map(len, pieces))
        self.spans = [(len(prefix) + i * len(pieces[0]), len(prefix) + (i + 1) * len(pieces[0])) for i in range(degree)]
        row, column = of_piece.unsqueeze(1), of_piece.unsqueeze(0)
        causal = torch.ones(len(context), len(context), dtype=torch.bool).tril()
        self.model.set_attn_implementation("sdpa")
        cache = self.call(context, positions, causal & ((row == column) | (column == -1)), None).past_key_values
        if mode in ("selective", "both"):
            self.model.set_attn_implementation("motet_selecting")
        self.bias = torch.zeros(len(context))
        if mode.startswith("discount"):
            self.bias[of_piece >= 0] = -math.log(degree)

        def behind(tokens, own, start, groups):
            """Rows that see the context with its weights, and of what follows what `own` says."""
            seen = torch.where(own, 0.0, float("-inf"))
            mask = torch.cat([self.bias.expand(len(tokens), -1), seen], 1)
            self.groups = groups  # of as many rows, which choose together
            return self.call(tokens, start, mask.to(self.model.dtype), cache)

        size = len(self.query)
        out = behind(self.query, torch.ones(size, size, dtype=torch.bool).tril(), range(first, first + size), 1)
        next_row = out.logits[0, -1].float().log_softmax(-1)
        reads = [token for label in self.labels for token in label[:-1]]
        label = torch.arange(len(reads)) // 2
        own = (label.unsqueeze(1) == label.unsqueeze(0)) & torch.ones(len(reads), len(reads), dtype=torch.bool).tril()
        rows = behind(reads, torch.cat([torch.ones(len(reads), size, dtype=torch.bool), own], 1),
                      [first + size + i % 2 for i in range(len(reads))], len(self.labels)).logits[0].float().log_softmax(-1)
        likelihoods = [(next_row[a] + rows[2 * i, b] + rows[2 * i + 1, c]).item() for i, (a, b, c) in enumerate(self.labels)]
        cache.crop(-len(reads))
        token = next_row.argmax().item()
        for i in range(8):
            out = behind([token], torch.ones(1, size + i + 1, dtype=torch.bool), [first + size + i], 1)
            token = out.logits[0, -1].argmax().item()
        return -likelihoods[0]

    def call(self, tokens, positions, mask, cache):
        torch = self.torch
        return self.model(torch.tensor([tokens]), attention_mask=mask[None, None], past_key_values=cache, use_cache=True,
                          position_ids=torch.tensor([list(positions)]), logits_to_keep=1 if cache is None else 0)

    def selecting(self, module, query, key, value, attention_mask, scaling=None, **_):
        """Each group of rows reads the two best pieces: a piece's score in a row and head is the sum of its five largest
        probabilities, and of a group the sum of the five largest of those."""
        torch = self.torch
        keys = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
        weights = (query @ keys.transpose(2, 3) * scaling + attention_mask).float().softmax(-1)[0]
        scores = torch.stack([weights[..., first:last].topk(5).values.sum(-1) for first, last in self.spans], -1)
        of_group = scores.unflatten(1, (self.groups, -1)).transpose(0, 1).flatten(1, 2)  # [groups, heads * rows, pieces]
        kept = of_group.topk(min(5, of_group.shape[1]), 1).values.sum(1).topk(2).indices
        kept = kept.repeat_interleave(weights.shape[1] // self.groups, 0)  # [rows, 2]
        mask = attention_mask.clone()
        for piece, (first, last) in enumerate(self.spans):
            mask[0, 0, (kept != piece).all(1), first:last] = float("-inf")
        out = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling, enable_gqa=True)
        return out.transpose(1, 2).contiguous(), None
