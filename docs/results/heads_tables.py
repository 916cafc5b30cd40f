#!/usr/bin/env python3
"""Tables of docs/results/heads.sh, as Markdown, and their picture.   heads_tables.py DIR

Reads DIR/NAME/{run.json,stats/}; writes DIR/heads.{svg,png}. Differences are to full attention on the same tokens, in
nats a token, with 95 % intervals: 1.96 standard errors over tokens, for recall over texts (of a text, its digits'
mean). "Keeps quality" is a difference of at most 0.02 nats, 2 % of perplexity; between the tau that were run, shares
are read off straight lines.
"""

import json
import math
import pathlib
import statistics
import sys

import matplotlib
from safetensors.numpy import load_file

matplotlib.use("agg")
from matplotlib import pyplot  # noqa: E402

DIGITS = 7     # of a recall text, its last tokens
KEPT = 0.02    # nats
METHODS = ("adaptive", "oracle", "static", "random")
LOOKS = {"adaptive": ("o", "-"), "oracle": ("s", "--"), "static": ("^", "-."), "random": ("x", ":")}


def points_of(run):
    """Method -> rows over tau, by rising share of local decisions."""
    document = json.loads((run / "run.json").read_text(encoding="utf-8"))
    if not document["complete"]:
        sys.exit(f"heads_tables: {run} is not complete; run heads.sh again")
    points = {method: [] for method in METHODS}
    for row in document["rows"]:
        point = dict(row, error=row["delta_stderr"])
        if run.name.startswith("recall"):
            point |= recall(run, row)
        points[row["method"]].append(point)
    return {method: sorted(rows, key=lambda row: row["local_share"]) for method, rows in points.items()}


def recall(run, row):
    """Loss of the digits, and difference to full attention."""
    losses, differences = [], []
    for path in sorted((run / "stats").glob(f"*-{row['method']}-{row['tau']:g}.safetensors")):
        stats = load_file(path)
        nll, full = stats["nll"][-DIGITS:], stats["full_nll"][-DIGITS:]
        losses.append(nll.mean())
        differences.append((nll - full).mean())
    if not losses:
        sys.exit(f"heads_tables: {run}/stats holds nothing of {row['method']}, tau = {row['tau']:g}")
    error = statistics.stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else math.nan
    return {"nll": statistics.fmean(losses), "delta_nll": statistics.fmean(differences), "error": error}


def kept_share(points):
    """The largest share of local decisions up to which the difference stays within KEPT."""
    best, before = 0.0, {"local_share": 0.0, "delta_nll": 0.0}
    for point in points:
        if point["delta_nll"] > KEPT:
            rise = point["delta_nll"] - before["delta_nll"]
            part = (KEPT - before["delta_nll"]) / rise if rise > 0 else 0
            return best + part * (point["local_share"] - best)
        best, before = point["local_share"], point
    return best


def tables(name, points):
    print(f"\n### {name}\n")
    print("| method | tau | local | loss | against full | false local | false long | key-value memory read |")
    print("|---|---|---|---|---|---|---|---|")
    for method in METHODS:
        for p in points[method]:
            print(f"| {method} | {p['tau']:g} | {p['local_share']:.1%} | {p['nll']:.4f} | "
                  f"{p['delta_nll']:+.4f} ± {1.96 * p['error']:.4f} | {p['false_local']:.1%} | {p['false_long']:.1%} | "
                  f"{p['read_share']:.1%} |")


def claims(runs):
    print("\n### What the paper claims\n")
    print(f"The share of local decisions up to which the loss stays within {KEPT} nats of full attention. The paper: "
          "about 60 % for static heads, 80 to 90 % for adaptive and oracle.\n")
    print("| text | " + " | ".join(METHODS) + " |")
    print("|---|" + "---|" * len(METHODS))
    for name, points in runs.items():
        print(f"| {name} | " + " | ".join(f"{kept_share(points[method]):.0%}" for method in METHODS) + " |")
    print("\nFalse local rarer than false long, for adaptive:\n")
    for name, points in runs.items():
        rarer = [p["tau"] for p in points["adaptive"] if p["false_local"] < p["false_long"]]
        print(f"- {name}: at {len(rarer)} of {len(points['adaptive'])} tau" +
              (f" ({', '.join(f'{tau:g}' for tau in sorted(rarer))})" if rarer else ""))


def picture(root, runs):
    figure, axes = pyplot.subplots(1, len(runs), figsize=(3.4 * len(runs), 3.2), layout="constrained", squeeze=False)
    for (name, points), axis in zip(runs.items(), axes[0]):
        for method in METHODS:
            marker, line = LOOKS[method]
            axis.errorbar([p["local_share"] for p in points[method]], [p["delta_nll"] for p in points[method]],
                          [1.96 * p["error"] for p in points[method]], marker=marker, linestyle=line, markersize=4,
                          linewidth=1, capsize=2, label=method)
        axis.axhline(0, color="0.6", linewidth=0.8)
        axis.set(title=name, xlabel="share of local decisions")
        axis.set_yscale("symlog", linthresh=0.02)
        axis.yaxis.set_major_formatter("{x:g}")
    axes[0][0].set_ylabel("loss against full attention, nats a token")
    axes[0][0].legend(frameon=False, fontsize=8)
    for extension in ("svg", "png"):
        figure.savefig(root / f"heads.{extension}", dpi=150)
    print("\n![loss against the share of local decisions](heads.svg)")


def main():
    if len(sys.argv) != 2:
        sys.exit("wanted: heads_tables.py DIR")
    root = pathlib.Path(sys.argv[1])
    folders = sorted(path.parent for path in root.glob("*/run.json"))
    runs = {folder.name: points_of(folder) for folder in folders}
    for name, points in runs.items():
        tables(name, points)
    claims(runs)
    picture(root, runs)


if __name__ == "__main__":
    main()
