#!/usr/bin/env python3
"""Tables of docs/results/sparsity.sh, as Markdown, and its pictures.   sparsity_tables.py DIR

Reads DIR/FAMILY/SEED/ARM/{TEXT,rows}/{run.json,stats.safetensors}, and DIR/FAMILY/untrained; leaves what the tables
need of each arm in DIR/FAMILY/SEED/ARM.json, which serves where its runs are gone, and DIR/FAMILY.{svg,png}. Losses
are nats a token, in brackets the difference to the control arm of the same seed on the same tokens, with its 95 %
interval: 1.96 standard errors of the paired difference over tokens; of several seeds, the mean, with the standard
error over seeds where that is larger. Masses and shares of entries are means over heads, and over the few rows whose
probabilities were kept.
"""

import itertools
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
matplotlib.rcParams["svg.hashsalt"] = "motet"
from matplotlib import pyplot  # noqa: E402

CONTROL = "control"
MODES = ("full", "parallel", "sink", "selective", "both")
KEYS = 16        # of the top-k mass
ENTRY = 1e-3     # probabilities above it are counted
UNTRAINED = "untrained"
ROWS_TEXT = "test_books"  # whose probabilities were kept
MARKERS = "so^Dv"  # of arms, in order


def load(run):
    """(label, P) -> nll of each scored token, and entropy of each head."""
    document = json.loads((run / "run.json").read_text(encoding="utf-8"))
    if not document["complete"]:
        sys.exit(f"sparsity_tables: {run} is not complete; run sparsity.sh again")
    stats, losses, entropies = load_file(run / "stats.safetensors"), {}, {}
    for name in sorted(stats):
        if name.endswith("/nll"):
            _, label, pieces, _ = name.split("/")
            losses.setdefault((label, int(pieces)), []).extend(stats[name].tolist())
    for row in document["rows"]:
        heads = [entropy for layer in row["entropy_heads"] for entropy in layer]
        entropies.setdefault((label_of(row), row["pieces"]), []).extend(heads)
    return losses, entropies


def load_rows(run):
    """(label, P) -> probabilities of rows, [rows][layers, heads, keys that they see]."""
    stats, rows = load_file(run / "stats.safetensors"), {}
    for name in sorted(stats):
        if "/probabilities_" in name:
            _, label, pieces, _ = name.split("/")
            p = stats[name]
            rows.setdefault((label, int(pieces)), []).append(p[:, :, p.any(axis=(0, 1))])
    return rows


def mean_and_error(values):
    return statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))


def summarise(arm, control):
    """What the tables need of an arm: {"texts": {TEXT: [reading...]}, "rows": [reading...]}."""
    texts = {}
    for run in runs_of(arm):
        losses, entropies = load(run)
        of_control, _ = load(control / run.name)
        found = texts[run.name] = []
        for key in in_order(losses):
            paired = [a - b for a, b in zip(losses[key], of_control[key], strict=True)]
            difference, error = mean_and_error(paired)
            figures = {"loss": statistics.fmean(losses[key]), "difference": difference, "error": error,
                       "entropy": statistics.fmean(entropies[key]),
                       "exp_entropy": statistics.fmean(map(math.exp, entropies[key]))}
            found.append({"read_as": key[0], "pieces": key[1], "tokens": len(paired)}
                         | {name: round(value, 6) for name, value in figures.items()})
    rows = load_rows(arm / "rows")
    return {"texts": texts,
            "rows": [{"read_as": key[0], "pieces": key[1], "mass": mass_by_layer(rows[key]).round(5).tolist(),
                      "share": share_by_layer(rows[key]).round(5).tolist()} for key in in_order(rows)]}


def as_text(summary):
    """JSON, a line a reading."""
    def lines(found):
        return ",\n".join("  " + json.dumps(reading) for reading in found)
    texts = ",\n".join(f" {json.dumps(name)}: [\n{lines(found)}]" for name, found in summary["texts"].items())
    return f'{{"texts": {{\n{texts}}},\n"rows": [\n{lines(summary["rows"])}]}}\n'


def runs_of(arm):
    return [run for run in sorted(arm.iterdir()) if run.name != "rows" and (run / "run.json").exists()]


def is_read(arm):
    return (arm / "rows" / "run.json").exists()


def load_arms(seed, untrained):
    """ARM -> its summary, from its runs or, where those are gone, from what they left."""
    arms = {path.name: path for path in seed.iterdir() if path.is_dir() and is_read(path)}
    if is_read(untrained):
        arms[UNTRAINED] = untrained
    control = arms.get(CONTROL)
    for name, arm in arms.items() if control else ():
        (seed / f"{name}.json").write_text(as_text(summarise(arm, control)), encoding="utf-8")
    summaries = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(seed.glob("*.json"))}
    if CONTROL not in summaries:
        sys.exit(f"sparsity_tables: {seed} has no '{CONTROL}', which the others are compared with")
    for name in sorted(arms.keys() - summaries.keys()):
        sys.exit(f"sparsity_tables: {seed / name} cannot be compared: the runs of {seed / CONTROL} are gone")
    return summaries


def in_order(keys):
    """(label, P) by P: the modes, then readings by name."""
    def place(key):
        label, pieces = key
        return pieces, MODES.index(label) if label in MODES else len(MODES), len(label), label
    return sorted(keys, key=place)


def label_of(row):
    """As statistics name it."""
    return row["mode"] if row["mode"] in MODES else row["reading"] + (" + prefix" if row["prefix_tokens"] else "")


def readings(arms, arm, text):
    """(label, P) -> what each seed found."""
    found = {}
    for seed in arms.values():
        for reading in seed[arm]["texts"][text]:
            found.setdefault((reading["read_as"], reading["pieces"]), []).append(reading)
    return found


def mean_of(found, field):
    return statistics.fmean(reading[field] for reading in found)


def difference(found):
    """Mean of the arm minus control over seeds, and its standard error."""
    error = math.sqrt(sum(reading["error"] ** 2 for reading in found)) / len(found)
    if len(found) > 1:
        over_seeds = statistics.stdev(reading["difference"] for reading in found) / math.sqrt(len(found))
        error = max(error, over_seeds)
    return mean_of(found, "difference"), error


def table(family, arms, text):
    names = names_of(arms)
    found = {name: readings(arms, name, text) for name in names}
    print(f"\n### {family}, {text}, {len(arms)} seed{'s' if len(arms) > 1 else ''}: loss\n")
    print("| read as | P | " + " | ".join(names) + " |")
    print("|---|---|" + "---|" * len(names))
    for key in in_order(found[CONTROL]):
        cells = []
        for arm in names:
            loss = mean_of(found[arm][key], "loss")
            mean, error = difference(found[arm][key])
            cells.append(f"{loss:.3f}" if arm == CONTROL else f"{loss:.3f} ({mean:+.3f} ± {1.96 * error:.3f})")
        print(f"| {key[0]} | {key[1]} | " + " | ".join(cells) + " |")
    print(f"\n### {family}, {text}: perplexity\n")
    print("| read as | P | " + " | ".join(names) + " |")
    print("|---|---|" + "---|" * len(names))
    for key in in_order(found[CONTROL]):
        cells = [f"{math.exp(mean_of(found[arm][key], 'loss')):.2f}" for arm in names]
        print(f"| {key[0]} | {key[1]} | " + " | ".join(cells) + " |")
    print(f"\n### {family}, {text}: entropy of attention, nats, and exp of it, means over heads\n")
    print("| read as | P | " + " | ".join(names) + " |")
    print("|---|---|" + "---|" * len(names))
    for key in in_order(found[CONTROL]):
        cells = [f"{mean_of(found[arm][key], 'entropy'):.3f} ({mean_of(found[arm][key], 'exp_entropy'):.1f})"
                 for arm in names]
        print(f"| {key[0]} | {key[1]} | " + " | ".join(cells) + " |")


def mass_by_layer(rows):
    return numpy.mean([numpy.sort(p, axis=2)[:, :, -KEYS:].sum(axis=2).mean(axis=1) for p in rows], axis=0)


def share_by_layer(rows):
    return numpy.mean([(p > ENTRY).mean(axis=(1, 2)) for p in rows], axis=0)


def table_of_rows(family, arms):
    """Where the probability of a row lies, layer by layer, and the same over all layers read in pieces. Returns the
    masses: ARM -> of each layer, read in full."""
    names = names_of(arms)
    for field, title in (("mass", f"mass of the {KEYS} largest keys of a row"),
                         ("share", f"share of a row's entries above {ENTRY:g}")):
        print(f"\n### {family}, {ROWS_TEXT}: {title}\n")
        print("| read as | P | layer | " + " | ".join(names) + " |")
        print("|---|---|---|" + "---|" * len(names))
        of_arms = {name: by_layer(arms, name, field) for name in names}
        for key in in_order(of_arms[CONTROL]):
            print(f"| {key[0]} | {key[1]} | all | " + " | ".join(f"{of_arms[x][key].mean():.3f}" for x in names) + " |")
            for layer in range(len(of_arms[CONTROL][key]) if key == ("full", 1) else 0):
                print(f"| {key[0]} | {key[1]} | {layer} | "
                      + " | ".join(f"{of_arms[x][key][layer]:.3f}" for x in names) + " |")
    return {name: by_layer(arms, name, "mass")["full", 1] for name in names}


def by_layer(arms, arm, field):
    """(label, P) -> a number for each layer, the mean over seeds."""
    found = {}
    for seed in arms.values():
        for row in seed[arm]["rows"]:
            found.setdefault((row["read_as"], row["pieces"]), []).append(row[field])
    return {key: numpy.mean(values, axis=0) for key, values in found.items()}


def picture(root, family, arms, masses):
    """Of each arm, how its loss differs from the control's where rows keep few keys and where the context is read in
    pieces, with intervals, and the top-k mass of its rows by layer."""
    names = names_of(arms)
    tuned = [name for name in names if name not in (CONTROL, UNTRAINED)]
    looks = {name: {"label": name, "color": color, "marker": marker, "markersize": 4, "linewidth": 1.3}
             for name, color, marker in zip(tuned, colours(tuned), itertools.cycle(MARKERS))}
    texts = list(arms[next(iter(arms))][CONTROL]["texts"])
    figure, panels = pyplot.subplots(2, 2, figsize=(10, 6.4), layout="constrained")
    of_layers, kept, *of_texts = panels.flat

    for name in names:
        look = looks.get(name, {"label": name, "color": "black" if name == CONTROL else "0.6", "linewidth": 1.3})
        of_layers.plot(masses[name], **look)
    of_layers.set(xlabel="layer", ylabel=f"mass of a row's {KEYS} largest keys", title=f"{ROWS_TEXT}, read in full")
    of_layers.legend(frameon=False, fontsize=8)

    def differences(axes, text, labels, beside):
        """A point an arm at each label, and its interval."""
        axes.axhline(0, color="black", linewidth=0.8)
        for place, name in enumerate(tuned):
            found = readings(arms, name, text)
            means, errors = zip(*(difference(found[label]) for label in labels))
            at = [x + beside * (place - (len(tuned) - 1) / 2) for x in range(len(labels))]
            axes.errorbar(at, means, [1.96 * error for error in errors], capsize=2,
                          **looks[name] | ({"linestyle": "none"} if labels[0][0] in MODES else {}))
        axes.set(ylabel="loss minus control, nats a token")

    read = readings(arms, CONTROL, texts[0])
    budgets = sorted(int(found[1]) for label, pieces in read
                     if pieces == 1 and (found := re.fullmatch(r"topk\(k=(\d+)\)", label)))
    differences(kept, texts[0], [(f"topk(k={k})", 1) for k in budgets] + [("full", 1)], 0.06)
    kept.set_xticks(range(len(budgets) + 1), [*map(str, budgets), "all"])
    kept.set(xlabel="keys kept of each row", title=f"{texts[0]}, P = 1")
    modes = in_order(key for key in read if key[0] in MODES)
    for axes, text in zip(of_texts, texts):
        differences(axes, text, modes, 0.12)
        axes.set_xticks(range(len(modes)), [f"{label}\nP = {pieces}" for label, pieces in modes])
        axes.set(title=text)
    for axes in of_texts[len(texts):]:
        axes.set_axis_off()
    figure.savefig(root / f"{family}.svg", metadata={"Date": None})  # the same figures, the same file
    figure.savefig(root / f"{family}.png", dpi=120)
    print(f"\n![{family}]({family}.svg)")


def colours(names):
    """Of one penalty the darker, the larger its weight."""
    kinds = [name.rpartition("-")[0] for name in names]
    maps = dict(zip(sorted(set(kinds), reverse=True), ("Blues", "Oranges", "Greens")))
    for place, kind in enumerate(kinds):
        shade = (kinds[:place].count(kind) + 1) / kinds.count(kind)
        yield matplotlib.colormaps[maps[kind]](0.3 + 0.6 * shade if kinds.count(kind) > 1 else 0.6)


def names_of(arms):
    """Those of every seed, control first."""
    return sorted(set.intersection(*map(set, arms.values())), key=lambda name: (name != CONTROL, name))


def name_what_is_left_out(family, arms):
    for seed, found in arms.items():
        for name in sorted(found.keys() - set(names_of(arms))):
            print(f"sparsity_tables: {family}/{seed}/{name} is left out: another seed lacks it", file=sys.stderr)


def main():
    if len(sys.argv) != 2:
        sys.exit("wanted: sparsity_tables.py DIR")
    root = pathlib.Path(sys.argv[1])
    families = {path.parent.name for path in root.glob("*/*") if path.is_dir() and path.name.isdigit()}
    for family in sorted(families):
        arms = {seed.name: load_arms(seed, root / family / UNTRAINED)
                for seed in sorted((root / family).iterdir()) if seed.name.isdigit()}
        name_what_is_left_out(family, arms)
        for text in next(iter(arms.values()))[CONTROL]["texts"]:
            table(family, arms, text)
        picture(root, family, arms, table_of_rows(family, arms))


if __name__ == "__main__":
    main()
