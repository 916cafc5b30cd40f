#!/usr/bin/env python3
"""Makes training.json: what a few steps of training do to tiny models, by Hugging Face and PyTorch.

    python tests/golden/make_training_golden.py

Ran with Python 3.11, torch 2.13.0 (CPU), transformers 5.23.0 and safetensors 0.8.0. Models are those
of make_golden.py, in float64 throughout; the optimizer is torch.optim.AdamW, the schedule is
transformers' own without its first step, whose rate is 0, and every step sees all rows, so that
their order does not matter. Rows in pieces are packed here, from the words of docs/guide.md and not by motet:
position ids, and a mask of 0 and -inf in which no piece sees another.

    rows        int [rows][length]
    options     of all runs
    runs        model, cut (null: plain causal rows), and for each step loss and gradient norm
                (before clipping); `after` is the loss once all steps are done
"""

import json
import math
import pathlib

import torch
from transformers import AutoModelForCausalLM, get_cosine_schedule_with_warmup

from make_golden import VOCABULARY, exact

HERE = pathlib.Path(__file__).parent
OPTIONS = dict(steps=5, warmup=2, lr=0.02, decay=0.1, clip=1.0)
LENGTH = 24
CUTS = [
    None,
    dict(pieces=3, scored=7, prefix=[5, 6], loss="scored"),
    dict(pieces=3, scored=7, prefix=[5, 6], loss="all"),
]


def packed(rows, cut):
    """Tokens, position ids and an additive mask of packed rows, and (row, target) pairs."""
    length = rows.shape[1]
    if cut is None:
        mask = torch.full((length - 1, length - 1), -math.inf, dtype=torch.float64).triu(1)
        return rows[:, :-1], torch.arange(length - 1), mask, [(t, t + 1) for t in range(length - 1)]
    prefix, context = len(cut["prefix"]), length - cut["scored"] - 1
    size = math.ceil(context / cut["pieces"])
    pieces = [list(range(first, min(first + size, context))) for first in range(0, context, size)]
    assert len(pieces) == cut["pieces"] and len(pieces[-1]) < size  # unequal, as hard as it gets
    tokens = torch.cat([torch.tensor([cut["prefix"]] * len(rows)), rows[:, :-1]], dim=1)
    positions = list(range(prefix))
    owner = [-1] * prefix  # the piece that a token is of; -1 the prefix, -2 the query
    pairs = []
    for number, piece in enumerate(pieces):
        positions += [prefix + t * size // len(piece) for t in range(len(piece))]
        owner += [number] * len(piece)
        if cut["loss"] == "all":
            pairs += [(prefix + t, t + 1) for t in piece[:-1]]
    positions += range(prefix + size, prefix + size + cut["scored"])
    owner += [-2] * cut["scored"]
    pairs += [(prefix + t, t + 1) for t in range(context, length - 1)]
    mask = torch.full((len(owner), len(owner)), -math.inf, dtype=torch.float64)
    for row, mine in enumerate(owner):
        for key in range(row + 1):
            if owner[key] in (-1, mine) or mine == -2:
                mask[row, key] = 0
    return tokens, torch.tensor(positions), mask, pairs


def loss_of(model, rows, cut):
    tokens, positions, mask, pairs = packed(rows, cut)
    logits = model(tokens, position_ids=positions.expand(len(rows), -1),
                   attention_mask=mask.expand(len(rows), 1, -1, -1), use_cache=False).logits
    where, target = torch.tensor(pairs).T
    return torch.nn.functional.cross_entropy(logits[:, where].flatten(0, 1),
                                             rows[:, target].flatten())


def train(name, rows, cut):
    model = AutoModelForCausalLM.from_pretrained(HERE / name, dtype=torch.float64,
                                                 attn_implementation="eager").eval()  # no dropout
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(
        [dict(params=[p for p in parameters if p.dim() > 1], weight_decay=OPTIONS["decay"]),
         dict(params=[p for p in parameters if p.dim() == 1], weight_decay=0.0)],
        lr=OPTIONS["lr"])
    schedule = get_cosine_schedule_with_warmup(optimizer, OPTIONS["warmup"] + 1,
                                               OPTIONS["steps"] + 1)
    optimizer.step()  # the step that we leave out: it has no gradients, and a rate of 0
    schedule.step()
    steps = []
    for _ in range(OPTIONS["steps"]):
        loss = loss_of(model, rows, cut)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, OPTIONS["clip"])
        steps.append(dict(loss=loss.item(), gradient_norm=norm.item(),
                          lr=schedule.get_last_lr()[0]))
        optimizer.step()
        schedule.step()
    after = loss_of(model, rows, cut).item()
    assert after < steps[0]["loss"] - 0.5, "it learns"
    assert steps[0]["gradient_norm"] > OPTIONS["clip"], "gradients are clipped"
    if cut is None:
        hugging_face = AutoModelForCausalLM.from_pretrained(HERE / name, dtype=torch.float64).eval()
        reference = hugging_face(rows, labels=rows).loss.item()
        assert abs(reference - steps[0]["loss"]) < 1e-6, (reference, steps[0])
    print(f"{name:16} {str(cut):72} {steps[0]['loss']:.4f} -> {after:.4f}")
    return dict(model=name, cut=cut, steps=steps, after=after)


def main():
    torch.manual_seed(6)
    rows = torch.randint(VOCABULARY, (3, LENGTH))
    with exact():
        runs = [train(name, rows, cut) for name in ("gpt2_default", "llama_default")
                for cut in CUTS]
    text = json.dumps(dict(rows=rows.tolist(), options=OPTIONS, runs=runs), indent=1)
    (HERE / "training.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
