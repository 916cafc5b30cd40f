"""Sides of a comparison: processes that measure on request, and the rows that come of their answers."""

import json
import os
import statistics
import subprocess


class Failed(Exception):
    """What could not be measured, and why."""


class Server:
    """A process that answers a line with a line of JSON. Started when first asked."""

    def __init__(self, name, command):
        self.name, self.command, self.process = name, command, None

    def ask(self, *words):
        if self.process is None:
            try:
                self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE,
                                                stdout=subprocess.PIPE, text=True)
            except OSError as error:
                raise Failed(f"{self.name} does not start: {error}") from error
        line = " ".join(map(str, words))
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            code = self.process.wait()
            self.process = None
            raise Failed(f"{self.name} ended with exit code {code} on '{line}'")
        answer = json.loads(answer)
        if "error" in answer:
            raise Failed(f"{self.name}: {answer['error']}")
        return answer

    def close(self):
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait()
            self.process = None


def quantile(values, q):
    values = sorted(values)
    place = q * (len(values) - 1)
    below = int(place)
    above = min(below + 1, len(values) - 1)
    return values[below] + (values[above] - values[below]) * (place - below)


class Report:
    """The rows that are there so far: printed as they come, and in the file after each of them."""

    def __init__(self, path, document):
        self.path, self.document = path, document | {"rows": []}
        self.save()

    def save(self):
        beside = self.path.with_name(self.path.name + ".part")
        beside.write_text(json.dumps(self.document, indent=2) + "\n", encoding="utf-8")
        os.replace(beside, self.path)

    def add(self, name, goal, values, unit, *, ours, rival, higher=False, note=""):
        measured = statistics.median(values)
        tail = 0 if len(values) < 10 else 0.1
        row = {"name": name, "goal": goal, "measured": measured, "low": quantile(values, tail),
               "high": quantile(values, 1 - tail), "met": None, "unit": unit,
               "ours_seconds": statistics.median(ours), "rival_seconds": statistics.median(rival),
               "pairs": len(values)}
        if goal is not None:
            row["met"] = measured >= goal if higher else measured <= goal
        if higher:
            row["better"] = "higher"
        if note:
            row["note"] = note
        met = {None: "", True: "yes", False: "no"}[row["met"]]
        print(f"{name:<62} {'' if goal is None else format(goal, '.3g'):>8} {measured:>8.3f} "
              f"{row['low']:>8.3f} {row['high']:>8.3f}  {met:>5}", flush=True)
        self.document["rows"].append(row)
        self.save()

    def leave_out(self, name, goal, why, higher, met=False):
        print(f"{name:<62} {'' if goal is None else format(goal, '.3g'):>8} left out: {why}",
              flush=True)
        self.document["rows"].append({"name": name, "goal": goal, "measured": None,
                                      "met": None if goal is None else met, "note": why}
                                     | ({"better": "higher"} if higher else {}))
        self.save()

    def skip(self, name, goal, higher):
        """A row that a quick run leaves to a full one."""
        self.leave_out(name, goal, "not part of --quick", higher, met=None)
