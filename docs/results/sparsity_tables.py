#!/usr/bin/env python3
"""Tables of docs/results/sparsity.sh, as Markdown.   sparsity_tables.py DIR

Reads DIR/FAMILY/SEED/ARM/TEXT/{run.json,stats.safetensors}. Losses are nats a token, in brackets the difference to the
control arm of the same seed on the same tokens, with its 95 % interval: 1.96 standard errors of the paired difference
over tokens; of several seeds, the mean, with the standard error over seeds where that is larger.
"""

import json
import math
import pathlib
import statistics
import sys

from safetensors.numpy import load_file

CONTROL = "control"


def load(run):
    """(label, P) -> nll of each scored token, and rows of run.json by the same keys."""
    document = json.loads((run / "run.json").read_text(encoding="utf-8"))
    if not document["complete"]:
        sys.exit(f"sparsity_tables: {run} is not complete; run sparsity.sh again")
    stats, losses = load_file(run / "stats.safetensors"), {}
    for name in sorted(stats):
        if name.endswith("/nll"):
            _, label, pieces, _ = name.split("/")
            losses.setdefault((label, int(pieces)), []).extend(stats[name].tolist())
    return losses, document["rows"]


def mean_and_error(values):
    return statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))


def difference(arms, arm, text, key):
    """Mean of `arm` minus control over seeds, and its standard error."""
    seeds = []
    for seed in arms.values():
        ours, control = seed[arm][text][0][key], seed[CONTROL][text][0][key]
        seeds.append(mean_and_error([a - b for a, b in zip(ours, control, strict=True)]))
    mean = statistics.fmean(m for m, _ in seeds)
    error = math.sqrt(sum(e * e for _, e in seeds)) / len(seeds)
    if len(seeds) > 1:
        error = max(error, statistics.stdev(m for m, _ in seeds) / math.sqrt(len(seeds)))
    return mean, error


def table(family, arms, text):
    names = sorted(next(iter(arms.values())), key=lambda name: (name != CONTROL, name))
    keys = sorted(next(iter(arms.values()))[CONTROL][text][0], key=lambda key: (key[1], key[0]))
    print(f"\n### {family}, {text}, {len(arms)} seed{'s' if len(arms) > 1 else ''}: loss\n")
    print("| read as | P | " + " | ".join(names) + " |")
    print("|---|---|" + "---|" * len(names))
    for key in keys:
        cells = []
        for arm in names:
            loss = statistics.fmean(statistics.fmean(seed[arm][text][0][key]) for seed in arms.values())
            mean, error = difference(arms, arm, text, key)
            cells.append(f"{loss:.3f}" if arm == CONTROL else f"{loss:.3f} ({mean:+.3f} ± {1.96 * error:.3f})")
        print(f"| {key[0]} | {key[1]} | " + " | ".join(cells) + " |")
    print(f"\n### {family}, {text}: entropy of attention, nats, and exp of it, means over heads\n")
    print("| mode | P | " + " | ".join(names) + " |")
    print("|---|---|" + "---|" * len(names))
    modes = [(row["mode"], row["reading"], row["pieces"]) for row in next(iter(arms.values()))[CONTROL][text][1]]
    for mode in modes:
        cells = []
        for arm in names:
            heads = [entropy for seed in arms.values() for row in seed[arm][text][1]
                     if (row["mode"], row["reading"], row["pieces"]) == mode
                     for layer in row["entropy_heads"] for entropy in layer]
            cells.append(f"{statistics.fmean(heads):.3f} ({statistics.fmean(map(math.exp, heads)):.1f})")
        print(f"| {mode[0] if mode[1] == 'all' else mode[1]} | {mode[2]} | " + " | ".join(cells) + " |")


def main():
    if len(sys.argv) != 2:
        sys.exit("wanted: sparsity_tables.py DIR")
    root = pathlib.Path(sys.argv[1])
    for family in sorted(path.name for path in root.iterdir() if (path / "1").is_dir()):
        arms = {}
        for seed in sorted(path for path in (root / family).iterdir() if path.name.isdigit()):
            arms[seed.name] = {arm.name: {text.name: load(text) for text in sorted(arm.iterdir())
                                          if (text / "run.json").exists()} for arm in sorted(seed.iterdir())}
        for text in next(iter(arms.values()))[CONTROL]:
            table(family, arms, text)


if __name__ == "__main__":
    main()
