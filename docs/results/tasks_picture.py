#!/usr/bin/env python3
"""What docs/results/tasks.sh finds, as a picture.   tasks_picture.py OUT.svg RUN ...

Cures by tasks, at the largest degree: loss against parallel reading. Above, what there was to cure; below, whether entropy orders
the task's modes; on the right, means over tasks. Modes are those that all tasks have. RUN as in tasks_tables.py.
"""

import re
import sys

import matplotlib
import numpy

from tasks_tables import by_mode, compared, differences, nll, read

matplotlib.use("agg")
matplotlib.rcParams |= {"svg.hashsalt": "motet", "svg.fonttype": "none", "font.family": "sans-serif"}
from matplotlib import pyplot  # noqa: E402

SPAN = 1.2  # nats at which colours end


def entropy(row):
    return row["entropy_query"]


def short(task):
    """`icl:trec_test:demos=trec_train` -> icl, trec."""
    name, *options = task.split(":")
    told = [option.replace("=", " ") for option in options if not re.match("demos=|labels=|passages=", option)]
    return "\n".join([name, *(re.sub("_(test|20docs)$", "", option) for option in told)])


def cells(axes, values, text, bold, colours, span):
    axes.imshow(numpy.ma.masked_invalid(values), cmap=colours, vmin=-span, vmax=span, aspect="auto")
    for (i, j), value in numpy.ndenumerate(values):
        if numpy.isfinite(value):
            axes.text(j, i, text(value), ha="center", va="center", fontsize=8.5, color="white" if abs(value) > 0.55 * span else "#222",
                      fontweight="bold" if bold[i, j] else "normal")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    for i in range(1, values.shape[0]):
        axes.axhline(i - 0.5, color="white", linewidth=1.5)
    for j in range(1, values.shape[1]):
        axes.axvline(j - 0.5, color="white", linewidth=1.5)


def main():
    if len(sys.argv) < 3:
        sys.exit("wanted: tasks_picture.py OUT.svg RUN ...")
    runs = [read(path) for path in sys.argv[2:]]
    tasks = by_mode([row for run in runs for row in run["item_rows"]])
    orders = {one["task"]: one["entropy_nll"][0] for run in runs for one in run.get("correlations", [])}
    tasks = dict(sorted(tasks.items(), key=lambda task: -(orders.get(task[0]) or 0)))
    pieces = max(p for modes in tasks.values() for p, _ in modes)
    names = [mode for mode in dict.fromkeys(mode for modes in tasks.values() for p, mode in modes if p == pieces)
             if mode != "parallel" and all((pieces, mode) in modes for modes in tasks.values())]
    loss, less = numpy.full((2, len(names), len(tasks)), numpy.nan)
    real = numpy.zeros(loss.shape, bool)
    for ((p, name), task), (found, p_value) in compared(tasks, nll).items():
        if p == pieces and name in names:
            place, modes = (names.index(name), list(tasks).index(task)), tasks[task]
            loss[place], real[place] = found[0], p_value < 0.05
            less[place] = differences(modes[p, name], modes[p, "parallel"], entropy).mean()
    order = numpy.argsort(numpy.nanmean(loss, 1))
    loss, less, real, names = loss[order], less[order], real[order], [names[i] for i in order]
    cost = numpy.array([[differences(modes[pieces, "parallel"], modes[1, "full"], nll).mean()
                         if (pieces, "parallel") in modes and (1, "full") in modes else numpy.nan for modes in tasks.values()]])
    rho = numpy.array([[orders.get(task) if orders.get(task) is not None else numpy.nan for task in tasks]])

    figure, grid = pyplot.subplots(3, 3, figsize=(1.9 + 0.95 * (len(tasks) + 2), 1.9 + 0.3 * len(names)), gridspec_kw={
        "height_ratios": [1, len(names), 1], "width_ratios": [len(tasks), 1, 1], "hspace": 0.08, "wspace": 0.06})
    signed, plain = "{:+.2f}".format, numpy.zeros((1, len(tasks)), bool)
    cells(grid[0, 0], cost, signed, plain, "PuOr_r", 3 * SPAN)
    cells(grid[1, 0], loss, signed, real, "RdBu_r", SPAN)
    cells(grid[2, 0], rho, "{:.2f}".format, plain, "BrBG", 1.5)
    nothing = numpy.zeros((len(names), 1), bool)
    cells(grid[1, 1], numpy.nanmean(loss, 1)[:, None], signed, nothing, "RdBu_r", SPAN)
    cells(grid[1, 2], numpy.nanmean(less, 1)[:, None], signed, nothing, "PRGn_r", 3)
    for spare in (grid[0, 1], grid[0, 2], grid[2, 1], grid[2, 2]):
        spare.set_axis_off()
    grid[0, 0].set_title(f"Loss against parallel reading, nats a token, P = {pieces}; bold: p < 0.05 after correction", fontsize=10, loc="left",
                         pad=34)
    grid[0, 0].xaxis.tick_top()
    grid[0, 0].set_xticks(range(len(tasks)), [short(task) for task in tasks], fontsize=8.5)
    grid[0, 0].set_yticks([0], ["parallel, above full"], fontsize=8.5)
    grid[1, 0].set_yticks(range(len(names)), names, fontsize=8.5)
    grid[2, 0].set_yticks([0], ["ρ of entropy and loss"], fontsize=8.5)
    for axes, title in ((grid[1, 1], "loss,\nmean"), (grid[1, 2], "entropy,\nmean")):
        axes.xaxis.tick_top()
        axes.set_xticks([0], [title], fontsize=8.5)
    figure.savefig(sys.argv[1], bbox_inches="tight", metadata={"Date": None})


if __name__ == "__main__":
    main()
