#!/usr/bin/env python3
"""What docs/results/readings.sh finds, as Markdown.
  readings_tables.py [--temper] KEPT ... | readings_tables.py --keep KEPT RUN | readings_tables.py --has KEPT READINGS PIECES SEGMENTS

A RUN is a run.json of motet-compare, a KEPT one (TEXT.NAME.jsonl.gz) what the tables are made of. Runs over one text have the same
segments, so that modes of several runs are compared in pairs. How differences are tested is in paired.py; * marks p < 0.05.
With --temper: of a grid of that reading's two numbers, a table and the best pair. With --has: the exit status is 0 where KEPT is of
a whole run with at least these readings and pieces (lists with commas, as motet-compare takes them) and so many segments, 1 otherwise.
"""

import gzip
import json
import pathlib
import re
import sys

import numpy

from paired import holm, interval, keep_run, p_value, rank_correlation, short, table

HEAD = ("model", "data", "dtype", "kernel", "products", "configuration", "version", "revision", "complete")
ROW = ("mode", "reading", "pieces", "prefix_tokens", "selected", "segment", "tokens", "nll", "kl", "same_top1", "entropy_tok", "entropy_between",
       "mass_own", "mass_top_piece", "mass_null", "choice", "near_keys")


def read(path):
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return json.loads(next(file)), [dict(zip(ROW, json.loads(line))) for line in file]


def keep(path, run):
    def rounded(value):
        if isinstance(value, float):
            return round(value, 6)
        if isinstance(value, dict):
            return {name: rounded(one) for name, one in value.items()}
        return [rounded(one) for one in value] if isinstance(value, list) else value
    keep_run(path, run, HEAD, ([rounded(row[name]) for name in ROW] for row in run["segment_rows"]))


def has(path, readings, pieces, segments):
    """Whether this file is there, of a whole run, and of all of these; numbers are texts, as on the command line."""
    if not pathlib.Path(path).exists():
        return False
    head, _ = read(path)
    kept = head["configuration"]
    return (head["complete"] and set(short(readings.split(","))) <= set(kept["readings"]) and
            set(map(int, pieces.split(","))) <= set(kept["pieces"]) and int(segments) <= kept["segments"])


def label(row):
    named = row["mode"] in ("full", "parallel", "sink", "selective", "both") and row["selected"] in (0, 2)
    return row["mode"] if named else row["reading"] + (" + prefix" if row["prefix_tokens"] else "")


def modes_of(paths):
    """text -> (P, mode) -> segment -> row; and what the runs share."""
    texts, heads = {}, []
    for path in paths:
        head, rows = read(path)
        heads.append(head)
        modes = texts.setdefault(pathlib.Path(path).name.split(".")[0], {})
        for row in rows:
            modes.setdefault((row["pieces"], label(row)), {})[row["segment"]] = row
    return texts, heads


def pairs(mode, other, figure="nll"):
    return numpy.array([mode[i][figure] - other[i][figure] for i in sorted(mode) if i in other])


def mean(rows, figure):
    values = [row[figure] for row in rows.values() if row[figure] is not None]
    return numpy.mean(values) if values else None


def shown(texts, pieces, mode):
    """A mode's name, and how many segments it has where full reading has more."""
    fewer = [len(modes[pieces, mode]) for modes in texts.values() if (pieces, mode) in modes and len(modes[pieces, mode]) < len(modes[1, "full"])]
    return mode + (f" ({min(fewer)} segments)" if fewer else "")


def losses(texts, pieces):
    """A row a mode, by its mean over texts: above full, against parallel, how much of the gap is closed, entropy."""
    names = list(dict.fromkeys(mode for modes in texts.values() for p, mode in modes if p == pieces))
    tests = [(text, mode, p_value(pairs(modes[pieces, mode], modes[pieces, "parallel"])))
             for text, modes in texts.items() for mode in names if mode != "parallel" and (pieces, mode) in modes]
    real = {(text, mode) for (text, mode, _), p in zip(tests, holm([p for *_, p in tests])) if p < 0.05}
    rows = []
    for mode in names:
        cells, order = [], []
        for text, modes in texts.items():
            if (pieces, mode) not in modes:
                cells += ["–"] * 4
                continue
            one, full, parallel = modes[pieces, mode], modes[1, "full"], modes[pieces, "parallel"]
            above, low, high = interval(pairs(one, full))
            gap = pairs(parallel, {i: full[i] for i in one}).mean()
            against = interval(pairs(one, parallel))
            order.append(above)
            cells += [f"{above:+.3f} ± {(high - low) / 2:.3f}",
                      "" if mode == "parallel" else
                      "{:+.3f} [{:+.3f}, {:+.3f}]".format(*against) + ("*" if (text, mode) in real else ""),
                      f"{100 * (1 - above / gap):.0f} %", f"{mean(one, 'entropy_tok'):.2f}"]
        rows.append((numpy.mean(order), [shown(texts, pieces, mode)] + cells))
    print(f"**P = {pieces}**: loss above full reading ± half its interval, against parallel reading, the share of the gap that is closed, "
          "nats a token; and attention's entropy, nats\n")
    head = ["mode"]
    for text in texts:
        head += [f"{text}: above full", "against parallel", "closed", "entropy"]
    table(head, [cells for _, cells in sorted(rows, key=lambda row: row[0])])


def kind(mode):
    """What is corrected together where readings are compared with each other."""
    if mode.startswith("ensemble"):
        return "ensembles"
    return "with the prefix" if mode in ("sink", "both") or mode.endswith(" + prefix") else ""


def between(texts, pieces, others, of_kind):
    """Readings of a kind against some of them, in pairs by segment."""
    names = [mode for mode in dict.fromkeys(mode for modes in texts.values() for p, mode in modes if p == pieces) if kind(mode) == of_kind]
    tests = [(text, mode, other, pairs(modes[pieces, mode], modes[pieces, other])) for text, modes in texts.items() for other in others
             for mode in names if mode != other and (pieces, mode) in modes and (pieces, other) in modes]
    if not tests:
        return
    adjusted = holm([p_value(values) for *_, values in tests])
    cells = {(text, mode, other): "{:+.3f} [{:+.3f}, {:+.3f}]".format(*interval(values)) + ("*" if p < 0.05 else "")
             for (text, mode, other, values), p in zip(tests, adjusted)}
    print(f"**P = {pieces}, {of_kind + (', ' if of_kind else '')}reading against reading**: loss of the row's less that of the column's, nats a token\n")
    table(["mode"] + [f"{text}: {other}" for text in texts for other in others],
          [[mode] + [cells.get((text, mode, other), "–") for text in texts for other in others] for mode in names])


def choices(texts):
    """Guesses of pieces against the exact choice: recall, mass, and what they cost."""
    rows = []
    for pieces, mode in dict.fromkeys(key for modes in texts.values() for key in modes):
        cells = []
        for modes in texts.values():
            found = [row for row in modes.get((pieces, mode), {}).values() if row["choice"]]
            cells += ["–"] * 3 if not found else [
                f"{numpy.mean([row['choice']['recall'] for row in found]):.2f}",
                f"{numpy.mean([row['choice']['mass'] for row in found]):.2f}",
                f"{pairs(modes[pieces, mode], modes[1, 'full']).mean():+.3f}"]
        if any(cell != "–" for cell in cells):
            rows.append([str(pieces), shown(texts, pieces, mode)] + cells)
    if rows:
        print("**Which pieces?** Recall of the exact choice of as many, the pieces' mass that is kept, and the loss above full, nats a "
              "token\n")
        head = ["P", "mode"]
        for text in texts:
            head += [f"{text}: recall", "mass", "loss"]
        table(head, sorted(rows, key=lambda row: int(row[0])))


def entropies(texts):
    """Does less entropy mean less loss, mode by mode? Both less full reading's of the same segments, since modes have different ones."""
    rows = []
    for text, modes in texts.items():
        full = modes[1, "full"]
        for pieces in sorted({p for p, _ in modes} - {1}):
            found = [[pairs(mode, full, figure).mean() for figure in ("entropy_tok", "nll")]
                     for (p, _), mode in modes.items() if p == pieces]
            rows.append([text, str(pieces), str(len(found)), f"{rank_correlation(*zip(*found)):+.2f}"])
    print("**Does entropy order the modes?** Spearman's rank correlation of entropy and loss, both less those of full reading, over modes; "
          "1: less entropy, less loss\n")
    table(["text", "P", "modes", "entropy and loss"], rows)


def temper(texts):
    """Which T and S read these texts best, all segments alike."""
    loss = {}
    for modes in texts.values():
        for (_, mode), rows in modes.items():
            if mode.startswith("temper("):
                loss.setdefault(tuple(float(number) for number in re.findall(r"=([0-9.e-]+)", mode)), []).extend(pairs(rows, modes[1, "full"]))
    loss = {pair: numpy.mean(rows) for pair, rows in loss.items()}
    best = min(loss, key=loss.get)
    print(f"Best: `temper:{best[0]:g}:{best[1]:g}`, of the loss above full reading, nats a token, over " + ", ".join(
        f"{len(modes[1, 'full'])} segments of {text}" for text, modes in texts.items()) + "\n")
    scales = sorted({scale for _, scale in loss})
    table(["T, S"] + [f"{scale:g}" for scale in scales], [
        [f"{t:g}"] + [("**{:+.3f}**" if (t, scale) == best else "{:+.3f}").format(loss[t, scale]) for scale in scales]
        for t in sorted({t for t, _ in loss})])


def main():
    if sys.argv[1:2] == ["--keep"]:
        with open(sys.argv[3], encoding="utf-8") as file:
            keep(sys.argv[2], json.load(file))
        return
    if sys.argv[1:2] == ["--has"]:
        sys.exit(0 if has(*sys.argv[2:]) else 1)
    if sys.argv[1:2] == ["--temper"]:
        temper(modes_of(sys.argv[2:])[0])
        return
    texts, heads = modes_of(sys.argv[1:])
    for text, modes in texts.items():
        if (1, "full") not in modes:
            sys.exit(f"readings_tables: no run over {text} has full reading (--pieces 1)")
    head = heads[0]
    configuration = head["configuration"]
    for name in ("model", "dtype", "version"):
        if len({json.dumps(one[name]) for one in heads}) > 1:
            print(f"readings_tables: the runs differ in {name}", file=sys.stderr)
    products = " and ".join(dict.fromkeys(head["products"] for head in heads))
    segments = {text: len(modes[1, "full"]) for text, modes in texts.items()}
    print(f"{head['model']['name']}, {head['dtype']} (products {products}), segments of {configuration['length']:,} tokens, "
          f"{configuration['scored']} scored: " + ", ".join(f"{n} of {text}" for text, n in segments.items()) +
          f"; motet {head['version']}\n")
    for pieces in sorted({p for modes in texts.values() for p, _ in modes}):
        if pieces > 1:
            losses(texts, pieces)
            for of_kind in ("", "with the prefix", "ensembles"):
                between(texts, pieces, ("selective", "sharpen(b=4)", "weigh(b=2, c=0.3)"), of_kind)
    single = {mode: modes for modes in texts.values() for p, mode in modes if p == 1 and mode != "full"}
    if single:
        print("**In one piece**: loss above full reading, nats a token\n")
        table(["mode"] + list(texts), [[mode] + [
            "{:+.3f} [{:+.3f}, {:+.3f}]".format(*interval(pairs(modes[1, mode], modes[1, "full"]))) if (1, mode) in modes
            else "–" for modes in texts.values()] for mode in single])
    choices(texts)
    entropies(texts)


if __name__ == "__main__":
    main()
