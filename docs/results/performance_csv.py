"""The figures of a run of benchmarks/run.sh as CSV, for docs/performance.md.

    performance_csv.py runs/benchmarks/ratios.json > docs/results/performance-NAME.csv
"""

import csv
import json
import sys

HEADER = """\
# {processor}, {cores} cores, {gib:.0f} GiB; kernel {kernel}; revision {revision}; {date}
# LibTorch {libtorch}{rivals}
# command: benchmarks/run.sh{quick}
# {verdict}
# Median of paired ratios, with 10 % and 90 % quantiles (the extremes, where there are fewer than ten pairs; none where there was one pair).
"""


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: performance_csv.py RATIOS.json")
    with open(sys.argv[1], encoding="utf-8") as file:
        run = json.load(file)
    machine = run["machine"]
    rivals = "".join(f", {each}" for each in run["rivals"] if isinstance(each, str))
    sys.stdout.write(HEADER.format(**{**machine, "date": machine["date"][:10]}, gib=machine["memory_bytes"] / 2**30, rivals=rivals,
                                   quick=" --quick" if run["quick"] else "", verdict=run["verdict"]))
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["figure", "better", "goal", "median", "low", "high", "met"])
    for row in run["rows"]:
        if row["measured"] is None:
            continue
        goal = row["goal"] is not None
        paired = not row["low"] == row["high"] == row["measured"]
        writer.writerow([row["name"], row.get("better", "lower") if goal else "", f"{row['goal']:g}" if goal else "",
                         f"{row['measured']:.3g}", f"{row['low']:.3g}" if paired else "", f"{row['high']:.3g}" if paired else "",
                         ("yes" if row["met"] else "no") if goal else ""])


if __name__ == "__main__":
    main()
