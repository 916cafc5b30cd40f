#!/usr/bin/env python3
"""What docs/results/tasks.sh finds, as Markdown.   tasks_tables.py RUN ... | tasks_tables.py --keep KEPT RUN

A RUN is a run.json of motet-eval or, a twentieth of the size, a KEPT of one (a .jsonl.gz): what the tables are made of.

Differences are paired by item; how they are tested is in paired.py. * marks p < 0.05, corrected.
"""

import gzip
import json
import sys

import numpy

from paired import holm, interval, keep_run, p_value, rank_correlation, table

HEAD = ("model", "dtype", "kernel", "products", "configuration", "seed", "version", "revision", "complete", "correlations")
ROW = ("task", "group", "rule", "id", "mode", "reading", "pieces", "prefix_tokens", "tokens", "score", "answer_nll", "answer_tokens",
       "candidate_best", "candidate_margin", "entropy_query", "entropy_pce", "mass_gold", "best_is_gold", "kept_is_gold", "depth")


def read(path):
    if not path.endswith(".gz"):
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        run = json.loads(next(file))
        return run | {"item_rows": [dict(zip(ROW, json.loads(line))) for line in file]}


def keep(path, run):
    """Four digits after the point are more than the intervals have."""
    short = lambda value: round(value, 4) if isinstance(value, float) else value
    keep_run(path, run, HEAD, ([short(row[name]) for name in ROW] for row in run["item_rows"]))


def label(row):
    named = row["mode"] in ("full", "parallel", "sink", "selective", "both")
    return row["mode"] if named else row["reading"] + (" + prefix" if row["prefix_tokens"] else "")


def by_mode(rows):
    """task -> (P, mode) -> item -> row, in the order of the run."""
    tasks = {}
    for row in rows:
        tasks.setdefault(row["task"], {}).setdefault((row["pieces"], label(row)), {})[row["id"]] = row
    return tasks


def differences(mode, other, figure):
    """Of items that both have; for nll, nats of an answer's tokens, which count alike."""
    pairs = [(figure(mode[i]), figure(other[i])) for i in mode if i in other]
    return numpy.array([a - b for a, b in pairs if a is not None and b is not None])


def nll(row):
    return row["answer_nll"] / row["answer_tokens"]


def compared(tasks, figure):
    """Every cure against parallel reading of the same degree: ((P, mode), task) -> its mean difference and interval, and the p-value,
    corrected for all of them."""
    found, tests = {}, {}
    for name, modes in tasks.items():
        for (pieces, mode), rows in modes.items():
            if pieces == 1 or mode == "parallel":
                continue
            values = differences(rows, modes[pieces, "parallel"], figure)
            if len(values) > 1:
                tests[(pieces, mode), name] = p_value(values)
                found[(pieces, mode), name] = interval(values)
    return {cell: (found[cell], p) for cell, p in zip(found, holm(list(tests.values())))}


def against_parallel(tasks, figure, sign):
    """A row a mode, a column a task."""
    cells = compared(tasks, figure)
    if cells:
        table(["P", "mode"] + list(tasks), [
            [str(mode[0] or "units"), mode[1]] + [
                "–" if (mode, name) not in cells else
                "{:{s}.3f} [{:{s}.3f}, {:{s}.3f}]".format(*cells[mode, name][0], s=sign) + ("*" if cells[mode, name][1] < 0.05 else "")
                for name in tasks] for mode in dict.fromkeys(mode for mode, _ in cells)])


def main():
    if sys.argv[1:2] == ["--keep"]:
        keep(sys.argv[2], read(sys.argv[3]))
        return
    runs = [read(path) for path in sys.argv[1:]]
    for path, one in zip(sys.argv[1:], runs):
        if not one["complete"]:
            print(f"tasks_tables: {path} is not complete; what is there is shown", file=sys.stderr)
    run = runs[0]
    item_rows = [row for one in runs for row in one["item_rows"]]
    for name in ("model", "dtype", "seed", "version"):
        if len({json.dumps(one[name]) for one in runs}) > 1:
            print(f"tasks_tables: the runs differ in {name}", file=sys.stderr)
    tasks = by_mode(item_rows)
    first = {name: next(iter(next(iter(modes.values())).values())) for name, modes in tasks.items()}
    configuration = run["configuration"]
    products = " and ".join(dict.fromkeys(one["products"] for one in runs))
    print(f"{run['model']['name']}, {run['dtype']} (products {products}), layout {configuration['layout']}, "
          f"positions {configuration['positions']}, seed {run['seed']}, motet {run['version']} ({run['revision']})\n")
    degrees = sorted({row["pieces"] for row in item_rows} - {1})
    rows = []
    for name, modes in tasks.items():
        full, parallel = modes.get((1, "full"), {}), {p: rows for (p, mode), rows in modes.items() if mode == "parallel"}
        tokens = numpy.mean([row["tokens"] for row in full.values()] or [0])
        scores = [row["score"] for row in full.values() if row["score"] is not None]
        rows.append([name, first[name]["rule"], f"{tokens:.0f}", str(len(full)), str(len(scores)),
                     f"{numpy.mean(scores):.2f}" if scores else "–",
                     f"{numpy.mean([nll(row) for row in full.values()]):.3f}" if full else "–"] +
                    ["{:+.3f} [{:+.3f}, {:+.3f}]".format(*interval(differences(parallel[p], full, nll)))
                     if full and p in parallel else "–" for p in degrees])
    print("**The tasks**: score and loss of full reading, and the loss that parallel reading adds, nats a token, mean over items\n")
    table(["task", "score", "tokens", "items", "outputs", "score of full", "loss of full"] +
          [f"parallel, P = {p}" for p in degrees], rows)
    print("**Each mode**: loss of the gold answer, nats a token; score, where there are outputs; entropy of the query, nats\n")
    def own(rows):
        scores = [row["score"] for row in rows.values() if row["score"] is not None]
        entropies = [row["entropy_query"] for row in rows.values() if row["entropy_query"] is not None]
        return "{:.3f}, {}, {:.2f}".format(numpy.mean([nll(row) for row in rows.values()]),
                                           f"{numpy.mean(scores):.2f}" if scores else "–", numpy.mean(entropies))
    every = list(dict.fromkeys(mode for modes in tasks.values() for mode in modes))
    table(["P", "mode"] + list(tasks), [
        [str(mode[0] or "units"), mode[1]] + [own(modes[mode]) if mode in modes else "–" for modes in tasks.values()] for mode in every])
    print("**Loss against parallel reading** of the same degree, nats a token: below 0 a cure helps\n")
    against_parallel(tasks, nll, "+")
    print("**Score against parallel reading**, 0 to 1: above 0 a cure helps\n")
    against_parallel(tasks, lambda row: row["score"], "+")
    print("**Does entropy order the modes?** Spearman's rank correlation of entropy and loss over the modes of a task; 1: less "
          "entropy, less loss\n")
    show = lambda x: "–" if x[0] is None else f"{x[0]:.2f}" + (f" [{x[1]:.2f}, {x[2]:.2f}]" if x[1] is not None else "")
    table(["task", "modes", "entropy and loss", "entropy and score"], [
        [one["task"], str(one["modes"]), show(one["entropy_nll"]), show(one["entropy_score"])]
        for run in runs for one in run.get("correlations", [])])
    print("**What a reading does to entropy and to loss**, against parallel of the same degree, mean over tasks, of modes that "
          "all of them have\n")
    rows = []
    for mode in every:
        if mode[0] == 1 or mode[1] == "parallel" or any(mode not in modes for modes in tasks.values()):
            continue
        both = [[differences(modes[mode], modes[mode[0], "parallel"], figure).mean()
                 for figure in (lambda row: row["entropy_query"], nll)] for modes in tasks.values()]
        rows.append((str(mode[0] or "units"), mode[1], *numpy.mean(both, 0)))
    table(["P", "mode", "entropy, nats", "loss, nats a token"], [[*row[:2], *(f"{x:+.3f}" for x in row[2:])] for row in rows])
    print("**Does a change of entropy order readings across tasks?** Spearman's rank correlation of the last table's columns\n")
    of_degree = {pieces: [row[2:] for row in rows if row[0] == pieces] for pieces in dict.fromkeys(row[0] for row in rows)}
    table(["P", "readings", "entropy and loss"], [[pieces, str(len(found)), f"{rank_correlation(*zip(*found)):+.2f}"]
                                                  for pieces, found in of_degree.items() if len(found) > 2])


if __name__ == "__main__":
    main()
