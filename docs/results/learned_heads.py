#!/usr/bin/env python3
"""Which heads learned what, as Markdown.   learned_heads.py READING.safetensors COMPARE HEADS

READING is of motet-finetune --tune reading, COMPARE a run.json of motet-compare --save-stats with full and parallel reading (of one
degree above 1), HEADS one of motet-heads with the method oracle, all of one model. The stats.safetensors beside COMPARE has the parts
of parallel reading's entropy, between the sets and within them.
"""

import json
import math
import pathlib
import re
import struct
import sys

import numpy

from paired import rank_correlation


def tensors(path):
    """The fp32 ones of a safetensors file."""
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    header.pop("__metadata__", None)
    return {name: numpy.frombuffer(data[slice(*one["data_offsets"])], numpy.float32).reshape(one["shape"])
            for name, one in header.items() if one["dtype"] == "F32"}


def part_of_entropy(statistics, part):
    """Of each head in parallel reading, [layers, heads]: the mean over rows, and over segments, which have equally many."""
    return numpy.mean([rows.mean(2) for name, rows in statistics.items() if re.fullmatch(rf"\d+/parallel/\d+/{part}", name)], 0)


def signed(value):
    return "–" if math.isnan(value) else f"{value:+.2f}"


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__.splitlines()[0])
    numbers = tensors(sys.argv[1])
    with open(sys.argv[2], encoding="utf-8") as file:
        rows = json.load(file)["rows"]
    with open(sys.argv[3], encoding="utf-8") as file:
        heads = json.load(file)["rows"]
    entropy = {row["mode"]: numpy.array(row["entropy_heads"]) for row in rows if row["mode"] in ("full", "parallel")}
    oracle = [row for row in heads if row["method"] == "oracle"]
    far = numpy.array(min(oracle, key=lambda row: abs(row["tau"] - 0.9))["oracle_long"])
    shape = entropy["full"].shape
    statistics = tensors(pathlib.Path(sys.argv[2]).with_name("stats.safetensors"))
    b, c = (numpy.broadcast_to(numbers[name], shape) for name in ("exponent", "discount"))
    rise = entropy["parallel"] - entropy["full"]
    figures = {"b": b, "c": c, "entropy in full": entropy["full"], "rise in parallel": rise,
               "between in parallel": part_of_entropy(statistics, "between"), "within": part_of_entropy(statistics, "within"),
               "rows that need far keys": far}
    print("Means over heads (tenths, nine tenths)\n")
    print("| layers | " + " | ".join(figures) + " |\n|" + "---|" * (len(figures) + 1))
    for first in range(0, shape[0], max(1, shape[0] // 5)):
        last = min(shape[0], first + max(1, shape[0] // 5))
        cells = ["{:.2f} ({:.2f}, {:.2f})".format(values[first:last].mean(), *numpy.quantile(values[first:last], (0.1, 0.9)))
                 for values in figures.values()]
        print(f"| {first} to {last - 1} | " + " | ".join(cells) + " |")
    print("\nSpearman's rank correlation over all heads\n")
    others = list(figures)[2:]
    print("| | " + " | ".join(others) + " |\n|" + "---|" * (len(others) + 1))
    for name in ("b", "c"):
        print(f"| {name} | " + " | ".join(signed(rank_correlation(figures[name], figures[other])) for other in others) + " |")


if __name__ == "__main__":
    main()
