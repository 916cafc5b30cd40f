"""Tiny random models of every family and variant, made by transformers: motet-inspect shows each,
motet-compare reads 512 tokens of it, and what verify_model.py compares agrees.

    python tests/python/families_test.py PATH/TO/motet-inspect PATH/TO/motet-compare PATH/TO/motet-trace [--print]

--print prints the table of docs/families.md and tests nothing more.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

import torch

import tiny

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples" / "python"))
import verify_model  # noqa: E402: found there

TEXT = ROOT / "examples" / "data" / "alice.txt"
LENGTH, SCORED = 512, 128
INSPECT, COMPARE, TRACE = sys.argv[1:4]

LONGROPE = {"rope_type": "longrope", "rope_theta": 10000.0,
            "short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [1.0, 1.5, 3.0, 6.0]}
VARIANTS = {
    "GPT-2": ("gpt2", {"n_positions": 1024}),
    "Llama": ("llama", {}),
    "Llama with biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "Mistral": ("mistral", {"sliding_window": None}),
    "Mistral, window of 100": ("mistral", {"sliding_window": 100}),
    "Qwen2": ("qwen2", {}),
    "Qwen2, windows from layer 1 on":
        ("qwen2", {"use_sliding_window": True, "sliding_window": 100, "max_window_layers": 1}),
    "Qwen3": ("qwen3", {}),
    "Qwen3, windows from layer 2 on":
        ("qwen3", {"use_sliding_window": True, "sliding_window": 100, "max_window_layers": 2}),
    "Gemma 2": ("gemma2", {"sliding_window": 100, "query_pre_attn_scalar": 8}),
    "Gemma 3 (text)": ("gemma3_text", {"sliding_window": 100, "query_pre_attn_scalar": 8,
                                       "num_hidden_layers": 7}),
    "GPT-NeoX": ("gpt_neox", {}),
    "GPT-NeoX, serial": ("gpt_neox", {"use_parallel_residual": False}),
    "Phi-3": ("phi3", {}),
    "Phi-3, LongRope, short factors":
        ("phi3", {"rope_parameters": LONGROPE, "original_max_position_embeddings": 1024,
                  "max_position_embeddings": 4096}),
    "Phi-3, LongRope, long factors":
        ("phi3", {"rope_parameters": LONGROPE, "original_max_position_embeddings": 256,
                  "max_position_embeddings": 4096}),
    "OLMo 2": ("olmo2", {}),
}  # fmt: skip


def run(program, *arguments):
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"{program}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def measure(name, folder):
    """Relative differences of the residual stream and the logits, of the loss in full mode and of
    losses token by token; and what the programs said."""
    family, options = VARIANTS[name]
    if family != "gpt2":
        options = {"max_position_embeddings": 1024} | options
    tiny.save(folder / "model", family, **options)
    inspected = run(INSPECT, folder / "model")
    run(COMPARE, "--model", folder / "model", "--text", TEXT, "--length", LENGTH, "--scored",
        SCORED, "--segments", 1, "--pieces", "1,4", "--quiet", "--out", folder / "run")
    result = json.loads((folder / "run" / "run.json").read_text(encoding="utf-8"))
    ours = verify_model.trace(pathlib.Path(TRACE), folder / "model", TEXT, LENGTH)
    theirs = verify_model.reference(verify_model.load_reference(folder / "model"), ours["tokens"])
    rows = verify_model.differences(ours, theirs)
    nll = verify_model.losses(theirs)
    full = next(row["nll"] for row in result["rows"] if row["mode"] == "full")
    return {
        "layers": max(relative for name, _, relative in rows if name != "logits"),
        "logits": next(relative for name, _, relative in rows if name == "logits"),
        "losses": (verify_model.losses(ours) - nll).abs().max().item(),
        "full": abs(full - nll[-SCORED:].mean().item()),
        "modes": sorted({row["mode"] for row in result["rows"]}),
        "inspected": inspected,
    }


class Families(unittest.TestCase):
    def test_every_variant_agrees_with_transformers(self):
        for name, (family, _) in VARIANTS.items():
            with self.subTest(name), tempfile.TemporaryDirectory() as folder:
                found = measure(name, pathlib.Path(folder))
                self.assertLess(found["layers"], 1e-4)
                self.assertLess(found["logits"], 1e-4)
                self.assertLess(found["losses"], 1e-3)
                self.assertLess(found["full"], 1e-3)
                self.assertEqual(found["modes"], ["both", "full", "parallel", "selective", "sink"])
                self.assertIn(family, found["inspected"])


def print_table():
    print("| model | residual stream | logits | a token's loss, nats |\n|---|---|---|---|")
    for name in VARIANTS:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(name, pathlib.Path(folder))
            print(f"| {name} | {found['layers']:.1e} | {found['logits']:.1e} | {found['losses']:.1e} |",
                  flush=True)


if __name__ == "__main__":
    torch.set_num_threads(2)
    if "--print" in sys.argv:
        print_table()
    else:
        unittest.main(argv=sys.argv[:1])
