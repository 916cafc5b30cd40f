"""Joins what the suite's programs wrote into ratios.json and machine.json, and prints the table.

Exit status 1 where a figure that has a goal could not be measured, or a program's part is not there;
the other parts are joined then. Unmet goals are reported only.
"""

import json
import pathlib
import sys

PARTS = {"kernel.json": "Attention rows", "model.json": "The whole model", "adaptive.json": "Adaptive heads",
         "training.json": "Training"}


def table(rows):
    lines = [f"{'':62} {'goal':>8} {'measured':>8} {'low to high':>17}  met"]
    for row in rows:
        name = row["name"]
        than = "≥" if row.get("better") == "higher" else "≤"
        goal = "" if row["goal"] is None else f"{than} {row['goal']:.3g}"
        if row["measured"] is None:
            lines.append(f"{name:62} {goal:>8} left out: {row['note']}")
            continue
        met = {None: "", True: "yes", False: "NO"}[row["met"]]
        lines.append(f"{name:62} {goal:>8} {row['measured']:8.3f} {row['low']:8.3f} "
                     f"{row['high']:8.3f}  {met}")
    return "\n".join(lines)


def verdict(rows):
    """How many goals are met."""
    with_goal = [row for row in rows if row["goal"] is not None]
    goals = [row["met"] for row in with_goal if not skipped(row)]
    left = len(with_goal) - len(goals)
    return f"{sum(goals)} of {len(goals)} goals met" + (f", {left} left to a full run" if left else "")


def skipped(row):
    """Whether a quick run leaves it to a full one."""
    return row["measured"] is None and row["met"] is None


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: collect.py DIRECTORY")
    out = pathlib.Path(sys.argv[1])
    parts, unread = [], []
    for name, title in PARTS.items():
        try:
            part = json.loads((out / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            unread.append(f"{out / name}: {error}")
            continue
        for row in part["rows"]:
            row["part"] = title
        parts.append(part)
    if not parts:
        sys.exit("collect: nothing to join; benchmarks/run.sh makes it: " + "; ".join(unread))
    rows = [row for part in parts for row in part["rows"]]
    joined = {"machine": parts[0]["machine"], "quick": parts[0]["quick"], "verdict": verdict(rows),
              "rivals": [rival for part in parts for rival in part.get("rivals", [])],
              "rows": rows,
              "growth": [point for part in parts for point in part.get("growth", [])]}
    for name, value in (("ratios.json", joined), ("machine.json", joined["machine"])):
        (out / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    print(table(rows), "", joined["verdict"], sep="\n")
    missing = [row["name"] for row in rows
               if row["goal"] is not None and row["measured"] is None and not skipped(row)]
    if missing or unread:
        sys.exit("collect: could not be measured: " + "; ".join(missing + unread))


if __name__ == "__main__":
    main()
