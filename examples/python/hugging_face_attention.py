#!/usr/bin/env python3
"""motet's attention inside a Hugging Face model, with the entropy of every head.

    hugging_face_attention.py --model DIR --text FILE [--length N] [--run RUN]

Reads the first N tokens of a text with transformers, whose attention is torch.ops.motet.attend, and
prints the entropy of every head (mean over rows, nats). Then checks them against transformers' own
attention matrices, and logits against its SDPA. --run is the folder of a run of motet-compare
--save-stats on the same model and text: its segments are read instead, and the entropies of the
mode `full` must agree too. The exit status is 1 where something differs by more than its tolerance.
"""

import argparse
import json
import pathlib
import sys

import torch
import transformers
from transformers.masking_utils import sdpa_mask

import motet_torch

TOLERANCE = 1e-4  # of a head's mean entropy, in nats; fp32 sums in another order
LOGITS = 1e-4  # of the largest |logit|


class MotetAttention:
    """attn_implementation="motet" for transformers; keeps what rows' entropies were.

    Only plain causal attention: every row sees all keys up to its own. Grouped keys are read as
    they lie. Padding, sliding windows that hide a key, packed sequences, attention in both
    directions, dropout, soft caps and sinks raise ValueError.
    """

    def __init__(self):
        if int(transformers.__version__.split(".")[0]) < 5:
            raise RuntimeError(f"transformers 5 is needed; this is {transformers.__version__}")
        self.entropy = {}  # by layer: [batch, heads, rows] of each forward call
        transformers.AttentionInterface.register("motet", self.attend)
        transformers.AttentionMaskInterface.register("motet", self.mask)

    def rows(self):
        """Entropies of all rows since the last clear(), [layers, batch, heads, rows], nats."""
        return torch.stack([torch.cat(self.entropy[layer], -1) for layer in sorted(self.entropy)])

    def clear(self):
        self.entropy = {}

    def attend(self, module, query, key, value, attention_mask, scaling=None, dropout=0.0, **more):
        if attention_mask is not None:
            raise ValueError(
                f"motet: an attention mask of {list(attention_mask.shape)} was given to layer "
                f"{module.layer_idx}; only plain causal attention is known: leave it out"
            )
        if dropout > 0:
            raise ValueError(f"motet: dropout {dropout} of attention; use model.eval()")
        if not more.get("is_causal", getattr(module, "is_causal", True)):
            raise ValueError(f"motet: layer {module.layer_idx} is not causal")
        for name in ("position_bias", "softcap", "s_aux"):
            if more.get(name) is not None:
                raise ValueError(f"motet: layer {module.layer_idx} wants {name}, which is unknown")
        # What PyTorch's own attention does: autocast's dtype for all three, or the query's. float16
        # is computed in float32, whose range it lacks.
        kind, given = query.device.type, query.dtype
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else given
        wide = torch.float32 if dtype == torch.float16 else dtype
        row = motet_torch.causal(query.to(wide), key.to(wide), value.to(wide), scale=scaling)
        self.entropy.setdefault(module.layer_idx, []).append(row.entropy.detach())
        return row.out.to(dtype).transpose(1, 2), None

    @staticmethod
    def mask(batch_size, q_length, kv_length, *arguments, **options):
        """Nothing where the mask is plain causal. Without this, transformers drops padding masks of
        attention that it does not know, in silence."""
        options["allow_is_causal_skip"] = False
        mask = sdpa_mask(batch_size, q_length, kv_length, *arguments, **options)
        row = torch.arange(q_length, device=mask.device).unsqueeze(-1)
        key = torch.arange(kv_length, device=mask.device)
        if not bool((mask == (key <= row + kv_length - q_length)).all()):
            raise ValueError(
                f"motet: the mask of {q_length} rows over {kv_length} keys is not plain causal "
                "(padding, a sliding window, packed sequences or a static cache); read texts of "
                "one length without padding, with the default cache"
            )
        return None


def eager_entropy(model, tokens):
    """Entropies from attention matrices, as transformers gives them, [layers, heads, rows]."""
    model.set_attn_implementation("eager")
    matrices = model(tokens, output_attentions=True).attentions
    return torch.stack([torch.special.entr(p[0].double()).sum(-1) for p in matrices])


def table(entropy):
    """Each head's mean, [layers, heads], as numbers and as a map: the darker, the higher."""
    shades = " .:-=+*#%@"
    top = entropy.max().item()
    lines = ["layer" + "".join(f"{head:6d}" for head in range(entropy.size(1)))]
    for layer, heads in enumerate(entropy.tolist()):
        dark = [shades[min(int(h / top * len(shades)), len(shades) - 1)] * 2 for h in heads]
        numbers = "".join(f"{h:6.2f}" for h in heads)
        lines.append(f"{layer:5d}{numbers}  |{''.join(dark)}|")
    return "\n".join(lines + [f"mean {entropy.mean():.4f} nats; '{shades[-1]}' is {top:.2f}"])


def read_run(folder):
    """For each segment of a run: its number, the query's tokens, their entropies in mode `full`."""
    from safetensors.torch import load_file

    run = json.loads((folder / "run.json").read_text())
    for option, name in (("--bos", "bos"), ("--ablate", "ablation")):
        if run["configuration"].get(name):
            sys.exit(f"{folder}: was made with {option}, which this example does not do")
    stats = load_file(folder / "stats.safetensors")
    segments = sorted({int(name.split("/")[0]) for name in stats})
    if f"{segments[0]}/full/1/entropy" not in stats:
        sys.exit(f"{folder}: has no mode full; run motet-compare with --pieces 1,...")
    return run["configuration"], [
        (s, stats[f"{s}/tokens"], stats[f"{s}/full/1/entropy"]) for s in segments
    ]


def differ(what, found, expected, tolerance):
    """Prints the largest difference, and whether that is too much."""
    difference = (found.double() - expected.double()).abs().max().item()
    far = not difference <= tolerance
    print(f"{'DIFFERS' if far else 'agrees'}: {what}: {difference:.1e} (tolerance {tolerance:.0e})")
    return far


@torch.no_grad()
def check(model, attention, tokens):
    """The rows' entropies, [layers, heads, rows], and whether transformers' own attention finds
    something else."""
    tokens = tokens.unsqueeze(0)
    attention.clear()
    model.set_attn_implementation("motet")
    logits = model(tokens).logits
    rows = attention.rows()[:, 0]
    model.set_attn_implementation("sdpa")
    expected = model(tokens).logits
    scale = expected.abs().max()
    eager = eager_entropy(model, tokens)
    wrong = differ("logits over the largest, SDPA", logits / scale, expected / scale, LOGITS)
    wrong |= differ(
        "entropy of heads, attention matrices", rows.mean(-1), eager.mean(-1), TOLERANCE
    )
    return rows, wrong


def check_run(folder, model, attention, tokens):
    """The same for each segment of a run, whose own entropies are compared too."""
    configuration, segments = read_run(folder)
    length, scored = configuration["length"], configuration["scored"]
    heads, wrong = [], False
    for segment, query, expected in segments:
        here = tokens[segment * length : (segment + 1) * length - 1]
        if not torch.equal(here[-scored:], query):
            sys.exit(f"{folder}: segment {segment} is not of this text and this tokenizer")
        print(f"segment {segment}: {scored} rows after {len(here) - scored} tokens")
        rows, differs = check(model, attention, here)
        rows = rows[..., -scored:]
        wrong |= differs
        wrong |= differ(
            "entropy of heads, motet-compare", rows.mean(-1), expected.mean(-1), TOLERANCE
        )
        wrong |= differ("entropy of rows, motet-compare", rows, expected, 10 * TOLERANCE)
        heads.append(rows.mean(-1))
    return torch.stack(heads).mean(0), wrong


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="directory in Hugging Face format")
    parser.add_argument("--text", required=True, type=pathlib.Path, help="UTF-8 file")
    parser.add_argument("--length", type=int, default=512, help="tokens to read (512)")
    parser.add_argument("--run", type=pathlib.Path, help="folder of motet-compare --save-stats")
    parser.add_argument("--library", help="libmotet.so or its folder; see motet_torch.find")
    options = parser.parse_args()
    motet_torch.load(options.library)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    tokenizer = transformers.AutoTokenizer.from_pretrained(options.model)
    model = transformers.AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)
    model.eval()
    text = options.text.read_bytes().decode("utf-8")
    tokens = torch.tensor(tokenizer(text, add_special_tokens=False).input_ids)
    attention = MotetAttention()
    if options.run is not None:
        heads, wrong = check_run(options.run, model, attention, tokens)
    else:
        if len(tokens) < options.length:
            sys.exit(f"{options.text}: {len(tokens)} tokens, fewer than --length {options.length}")
        rows, wrong = check(model, attention, tokens[: options.length])
        heads = rows.mean(-1)
    print(table(heads))
    sys.exit(wrong)


if __name__ == "__main__":
    main()
