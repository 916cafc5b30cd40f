"""Paired differences and their tables, and how runs are kept, for the experiments of this folder.

Intervals are 95 %, by bootstrap (10,000 draws); p-values are of a sign-flip test (20,000 flips), corrected for all comparisons of a
table together (Holm 1979). Each has the draws of one fixed seed, so that no interval depends on which others are there.
"""

import gzip
import json
import os
import re

import numpy

DRAWS, FLIPS, SEED = 10_000, 20_000, 42


def short(value):
    """Files are named as in options, without their folders."""
    if isinstance(value, str):
        return re.sub(r"(?:(?<=[:=])|^(?=/))[^:=]*/", "", value)
    if isinstance(value, dict):
        return {name: short(one) for name, one in value.items()}
    return [short(one) for one in value] if isinstance(value, list) else value


def keep_run(path, run, fields, rows):
    """Writes these fields of a run, shortened, and its rows, a line each. The file is whole from the moment that it is there."""
    lines = [short({name: run[name] for name in fields}), *rows]
    with open(f"{path}.part", "wb") as file:
        file.write(gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode(), mtime=0))
    os.replace(f"{path}.part", path)


def ranks(values):
    """From 1; those that tie share the mean of their ranks."""
    _, group, count = numpy.unique(numpy.ravel(values), return_inverse=True, return_counts=True)
    return (numpy.cumsum(count) - (count - 1) / 2)[group]


def rank_correlation(a, b):
    """Spearman's. NaN where all of one tie."""
    with numpy.errstate(invalid="ignore"):
        return numpy.corrcoef(ranks(a), ranks(b))[0, 1]


def interval(values):
    """Mean, and its 95 % interval."""
    random = numpy.random.default_rng(SEED)
    draws = values[random.integers(0, len(values), (DRAWS, len(values)))].mean(1)
    return values.mean(), *numpy.quantile(draws, (0.025, 0.975))


def p_value(values):
    flips = numpy.random.default_rng(SEED).choice((-1.0, 1.0), (FLIPS, len(values)))
    return (1 + (abs((flips * values).mean(1)) >= abs(values.mean()) - 1e-12).sum()) / (1 + FLIPS)


def holm(p_values):
    """Adjusted p-values, in the order given."""
    order = numpy.argsort(p_values)
    adjusted, largest = numpy.empty(len(p_values)), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def table(head, rows):
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()
