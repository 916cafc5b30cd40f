#!/usr/bin/env python3
"""Tables of docs/results/sparsity.sh, as Markdown, and its pictures.   sparsity_tables.py DIR

Reads DIR/FAMILY/SEED/ARM/{TEXT,rows}/{run.json,stats.safetensors}; writes DIR/FAMILY.{svg,png}. Losses are nats a
token, in brackets the difference to the control arm of the same seed on the same tokens, with its 95 % interval: 1.96
standard errors of the paired difference over tokens; of several seeds, the mean, with the standard error over seeds
where that is larger. Masses and shares of entries are means over heads, and over the few rows whose probabilities
were kept.
"""

import json
import math
import pathlib
import re
import statistics
import sys

import matplotlib
import numpy
from safetensors.numpy import load_file

matplotlib.use("agg")
from matplotlib import pyplot  # noqa: E402

CONTROL = "control"
MODES = ("full", "parallel", "sink", "selective", "both")
KEYS = 16        # of the top-k mass
ENTRY = 1e-3     # probabilities above it are counted
MARKERS = "os^xDv"


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


def in_order(keys):
    """(label, P) by P: the modes, then readings by name."""
    def place(key):
        label, pieces = key
        return pieces, MODES.index(label) if label in MODES else len(MODES), len(label), label
    return sorted(keys, key=place)


def label_of(row):
    """As statistics name it."""
    return row["mode"] if row["mode"] in MODES else row["reading"] + (" + prefix" if row["prefix_tokens"] else "")


def table(family, arms, text):
    names = names_of(arms)
    keys = in_order(next(iter(arms.values()))[CONTROL][text][0])
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
    print("| read as | P | " + " | ".join(names) + " |")
    print("|---|---|" + "---|" * len(names))
    for key in keys:
        cells = []
        for arm in names:
            heads = [entropy for seed in arms.values() for row in seed[arm][text][1]
                     if (label_of(row), row["pieces"]) == key for layer in row["entropy_heads"] for entropy in layer]
            cells.append(f"{statistics.fmean(heads):.3f} ({statistics.fmean(map(math.exp, heads)):.1f})")
        print(f"| {key[0]} | {key[1]} | " + " | ".join(cells) + " |")


def load_rows(run):
    """(label, P) -> probabilities of rows, [rows][layers, heads, keys that they see]."""
    stats, rows = load_file(run / "stats.safetensors"), {}
    for name in sorted(stats):
        if "/probabilities_" in name:
            _, label, pieces, _ = name.split("/")
            p = stats[name]
            rows.setdefault((label, int(pieces)), []).append(p[:, :, p.any(axis=(0, 1))])
    return rows


def mass_by_layer(rows):
    return numpy.mean([numpy.sort(p, axis=2)[:, :, -KEYS:].sum(axis=2).mean(axis=1) for p in rows], axis=0)


def share_by_layer(rows):
    return numpy.mean([(p > ENTRY).mean(axis=(1, 2)) for p in rows], axis=0)


def table_of_rows(family, arms):
    """Where the probability of a row lies, layer by layer, and the same over all layers read in pieces."""
    names = names_of(arms)
    rows = {name: [load_rows(seed[name]["rows"]) for seed in arms.values()] for name in names}
    found = {}
    for title, measure in ((f"mass of the {KEYS} largest keys of a row", mass_by_layer),
                           (f"share of a row's entries above {ENTRY:g}", share_by_layer)):
        print(f"\n### {family}, test_books: {title}\n")
        print("| read as | P | layer | " + " | ".join(names) + " |")
        print("|---|---|---|" + "---|" * len(names))
        for key in in_order(rows[CONTROL][0]):
            of_arms = [numpy.mean([measure(seed[key]) for seed in rows[name]], axis=0) for name in names]
            found[title, key] = of_arms
            print(f"| {key[0]} | {key[1]} | all | " + " | ".join(f"{x.mean():.3f}" for x in of_arms) + " |")
            for layer in range(len(of_arms[0]) if key == ("full", 1) else 0):
                print(f"| {key[0]} | {key[1]} | {layer} | " + " | ".join(f"{x[layer]:.3f}" for x in of_arms) + " |")
    return {key: value for (title, key), value in found.items() if title.startswith("mass")}


def picture(root, family, arms, masses):
    """Loss against the keys that are kept, top-k mass by layer, and loss by mode: a line an arm."""
    names, styles = names_of(arms), ["-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3))]
    text = next(text for text in arms[next(iter(arms))][CONTROL] if text != "rows")
    figure, (kept, by_layer, modes) = pyplot.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    losses = {name: {key: statistics.fmean(statistics.fmean(seed[name][text][0][key]) for seed in arms.values())
                     for key in next(iter(arms.values()))[CONTROL][text][0]} for name in names}
    budgets = sorted(int(found[1]) for label, pieces in losses[CONTROL]
                     if pieces == 1 and (found := re.fullmatch(r"topk\(k=(\d+)\)", label)))
    wanted = in_order(key for key in losses[CONTROL] if key[0] in MODES)
    for place, (name, style) in enumerate(zip(names, styles)):
        look = {"label": name, "linestyle": style, "marker": MARKERS[place % len(MARKERS)], "markersize": 4}
        kept.plot([str(k) for k in budgets] + ["all"],
                  [losses[name][f"topk(k={k})", 1] for k in budgets] + [losses[name]["full", 1]], **look)
        by_layer.plot(masses["full", 1][names.index(name)], **look)
        beside = 0.1 * (place - (len(names) - 1) / 2)
        modes.plot([at + beside for at in range(len(wanted))], [losses[name][key] for key in wanted],
                   **look | {"linestyle": "none", "marker": MARKERS[place % len(MARKERS)], "markersize": 5})
    kept.set(xlabel="keys kept of each row", ylabel=f"loss on {text}, nats a token")
    by_layer.set(xlabel="layer", ylabel=f"mass of a row's {KEYS} largest keys")
    modes.set_xticks(range(len(wanted)), [f"{label}, P={pieces}" for label, pieces in wanted], rotation=30)
    modes.set(ylabel=f"loss on {text}, nats a token")
    kept.legend(frameon=False, fontsize=8)
    for extension in ("svg", "png"):
        figure.savefig(root / f"{family}.{extension}", dpi=150)
    print(f"\n![{family}]({family}.svg)")


def load_arm(arm):
    return {run.name: run if run.name == "rows" else load(run)
            for run in sorted(arm.iterdir()) if (run / "run.json").exists()}


def names_of(arms):
    return sorted(next(iter(arms.values())), key=lambda name: (name != CONTROL, name))


def main():
    if len(sys.argv) != 2:
        sys.exit("wanted: sparsity_tables.py DIR")
    root = pathlib.Path(sys.argv[1])
    for family in sorted(path.name for path in root.iterdir() if (path / "1").is_dir()):
        arms = {}
        for seed in sorted(path for path in (root / family).iterdir() if path.name.isdigit()):
            arms[seed.name] = {arm.name: load_arm(arm) for arm in sorted(seed.iterdir())}
            if (root / family / "untrained").is_dir():
                arms[seed.name]["untrained"] = load_arm(root / family / "untrained")
        for text in next(iter(arms.values()))[CONTROL]:
            if text != "rows":
                table(family, arms, text)
        picture(root, family, arms, table_of_rows(family, arms))


if __name__ == "__main__":
    main()
