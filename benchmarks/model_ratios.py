"""The whole model against its rivals, pair by pair: ours, theirs, ours, theirs.

Each side is a process that has its model in memory and measures on request (model_server,
rivals/server.py); one computes at a time. Writes rows of the form that `ratios` writes.
"""

import argparse
import pathlib
import statistics
import sys
import tempfile
import time

import pce
from servers import Failed, Report, Server

HERE = pathlib.Path(__file__).resolve().parent
GROUPS = ("prefill", "decode", "batches", "grid", "entropy", "training", "compare", "llama_cpp", "vllm", "pce")


class Suite:
    def __init__(self, report, rivals, quick):
        """`rivals`: servers by their names, motet's own among them."""
        self.report, self.rivals, self.quick = report, rivals, quick
        self.motet, self.transformers = rivals["motet"], rivals["transformers"]
        self.grid_losses = {}  # the rival's in fp32, without and with selection
        self.rival_seconds = {}  # of ("prefill", dtype) and, in fp32, of ("grid", without or with selection)

    def close(self):
        for server in self.rivals.values():
            server.close()

    def pairs(self, *asks):
        """Answers to each of `asks`, (server, words ...), in turn: at most 5 rounds, and no new one
        once the time is spent."""
        answers, start = [[] for _ in asks], time.monotonic()
        while len(answers[0]) < 5:
            for (server, *words), into in zip(asks, answers):
                into.append(server.ask(*words))
            if time.monotonic() - start > (12 if self.quick else 300):
                break
        return answers

    @staticmethod
    def quotients(above, below, key="seconds"):
        return [a[key] / b[key] for a, b in zip(above, below)]

    def row(self, name, goal, make, higher=False, whole=False):
        """Adds what `make` measures, or says why it could not; what is of a `whole` run is left to one."""
        if whole and self.quick:
            self.report.skip(name, goal, higher)
            return
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

        def factor():
            values, details = self.against(self.transformers, ("prefill", 4096, dtype))
            self.rival_seconds["prefill", dtype] = statistics.median(details["rival"])
            return values, details

        self.row(f"prefill of 4,096 tokens with probes, {dtype} / transformers SDPA", 0.75, factor)

    def entropy(self, rival, label, goals, whole=False):
        """Of all heads at 2,048 tokens; both sides in processes of their own, for their memory."""
        self.close()
        names = [f"attentions and entropy at 2,048, {label} / ours: {what}"
                 for what in ("time", "memory", "memory beyond the model")]
        if whole and self.quick:
            for name, goal in zip(names, goals):
                self.report.skip(name, goal, higher=True)
            return
        try:
            self.motet.ask("prefill", 16, "float32")
            rival.ask("attentions", 16, "float32")
            ours, theirs = self.pairs((self.motet, "prefill", 2048, "float32"),
                                      (rival, "attentions", 2048, "float32"))
        except Failed as error:
            for name, goal in zip(names, goals):
                self.report.leave_out(name, goal, str(error), higher=True)
            return
        both = {"ours": self.seconds(ours), "rival": self.seconds(theirs), "higher": True,
                "unit": "times ours"}
        self.report.add(names[0], goals[0], self.quotients(theirs, ours), **both)
        for name, goal, key in zip(names[1:], goals[1:], ("peak_bytes", "growth_bytes")):
            # Later measures reuse what the first has left.
            first = self.quotients(theirs[:1], ours[:1], key)
            self.report.add(name, goal, first, **both, note=self.bytes(ours[:1], theirs[:1], key) + ", the first of each")

    @staticmethod
    def bytes(ours, theirs, key="peak_bytes"):
        middle = [statistics.median(answer[key] for answer in answers) / 1e6 for answers in (ours, theirs)]
        return "{:,.0f} MB against {:,.0f} MB".format(*middle)

    def training(self, dtype, checkpoint):
        """A step of AdamW on a row of 1,024 tokens, from the same weights; in processes of their own, for their memory."""
        what = f"training step of 1,024 tokens, {dtype}{', checkpointing' if checkpoint else ''} / transformers SDPA"
        whole, command = bool(checkpoint) or dtype != "float32", ("train", 1024, dtype, checkpoint)
        steps = []

        def time_of_step():
            self.close()
            first = [server.ask(*command)["loss"] for server in (self.motet, self.transformers)]
            if abs(first[0] - first[1]) > (1e-3 if dtype == "float32" else 5e-2):
                raise Failed(f"the losses of the first step differ: {first[0]:.5g} and {first[1]:.5g}")
            steps.extend(self.pairs((self.motet, *command), (self.transformers, *command)))
            return self.quotients(*steps), {"unit": "of the rival's time", "ours": self.seconds(steps[0]),
                                            "rival": self.seconds(steps[1])}

        def memory():
            if not steps:
                raise Failed("the step could not be measured")
            return self.quotients(*steps, "peak_bytes"), {
                "unit": "of the rival's peak", "ours": self.seconds(steps[0]), "rival": self.seconds(steps[1]),
                "note": self.bytes(*steps)}

        self.row(f"{what}, time", 0.8, time_of_step, whole=whole)
        self.row(f"{what}, memory", 0.8, memory, whole=whole)

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
            self.row(f"decode of {queries} queries over 2,048 tokens, {dtype}", goal, factor, higher=True, whole=goal is None)

    def grid(self, dtype):
        """motet-eval's modes of an item of 2,048 tokens; the rival reads mode by mode. Our figures must be the rival's in fp32;
        in bf16 the rival rounds the scores that it chooses pieces by, so that its own may lie further away."""
        for select, goal in ((0, 5), (1, None)):
            name = f"tasks: grid of modes of an item, {dtype}, {'with' if select else 'without'} selection, rate / transformers"
            wait = self.rival_grid_seconds(select, dtype)
            if self.quick and wait > 240:
                self.report.leave_out(name, goal, f"the rival would take some {wait / 60:.0f} minutes: not part of --quick",
                                      higher=True, met=None)
                continue

            def factor(select=select):
                self.warm(self.motet, dtype)
                self.warm(self.transformers, dtype)
                ours, theirs = self.pairs((self.motet, "grid", select, dtype), (self.transformers, "grid", select, dtype))
                mine, other = ours[0]["nlls"], theirs[0]["nlls"]
                if mine.keys() != other.keys():
                    raise Failed(f"modes {', '.join(mine)} against {', '.join(other)}")
                if dtype == "float32":
                    self.grid_losses[select] = other
                    self.rival_seconds["grid", select] = statistics.median(self.seconds(theirs))
                if select not in self.grid_losses:
                    raise Failed("there are no figures in fp32 to compare with")
                wanted = self.grid_losses[select]
                apart, rivals = (max(abs(of[mode] - wanted[mode]) for mode in mine) for of in (mine, other))
                if apart > (1e-3 if dtype == "float32" else 1):
                    raise Failed(f"the figures differ by {apart:.2g} nats from the rival's in fp32")
                return self.quotients(theirs, ours), {
                    "unit": "times the rival's rate", "ours": self.seconds(ours), "rival": self.seconds(theirs),
                    "note": f"{len(mine)} modes; losses within {apart:.1g} nats of the rival's in fp32"
                            + (f", its own within {rivals:.1g}" if other is not wanted else "")}
            self.row(name, goal, factor, higher=True)

    def rival_grid_seconds(self, select, dtype):
        """About what it will take, from what it took in fp32: in bf16 much longer where the processor has no products of it."""
        known = self.rival_seconds
        if dtype == "float32" or not {("grid", select), ("prefill", "float32"), ("prefill", dtype)} <= known.keys():
            return 0
        return known["grid", select] * known["prefill", dtype] / known["prefill", "float32"]

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
        tokens = 16 if self.quick else 64
        for weights, dtype in (("Q4_1", "float32"), ("F32", "float32"), ("BF16", "bfloat16")):
            self.close()
            rival = self.rivals[f"llama.cpp {weights}"]
            note = "llama.cpp has the weights in 4 bits" if weights == "Q4_1" else ""
            self.warm(self.motet, dtype)
            self.warm(rival, dtype)
            for name, command in (("prefill of 4,096 tokens", ("prefill", 4096, dtype)),
                                  ("decode at 1,024 tokens", ("decode", 1024, tokens, dtype))):
                self.row(f"{name}, {dtype}, time / llama.cpp {weights}", None,
                         lambda: self.against(rival, command, note), whole=weights != "Q4_1")

    def vllm(self):
        self.close()
        rival, dtype = self.rivals["vllm"], "bfloat16"
        if not self.quick:
            self.warm(self.motet, dtype)
            self.warm(rival, dtype)
        for name, command in (("prefill of 4,096 tokens", ("prefill", 4096, dtype)),
                              ("decode at 1,024 tokens", ("batch", 1024, 1, 64, dtype)),
                              ("decode of 16 queries over 1,024 tokens", ("batch", 1024, 16, 64, dtype))):
            self.row(f"{name}, {dtype}, time / vLLM", None, lambda: self.against(rival, command), whole=True)

    def pce(self, job):
        """PCE's own code, where a checkout of it is given: whole processes by turns."""
        name = "motet-compare, 2,048 tokens, P = 1 and 8, float32, time of PCE's code / ours"
        if job is None:
            self.report.leave_out(name, None, "PCE_CODE names no checkout of its code", higher=True)
            return

        def factor():
            try:
                with tempfile.TemporaryDirectory() as folder:
                    ours, theirs, apart = job.measure(pathlib.Path(folder), 1 if self.quick else 3)
            except OSError as error:
                raise Failed(str(error)) from error
            return [b / a for a, b in zip(ours, theirs)], {
                "unit": "times ours, whole processes", "ours": ours, "rival": theirs,
                "note": f"revision {job.revision()}; losses within {apart:.1g} nats"}

        self.close()
        self.row(name, 4.5, factor, higher=True)

    def run(self, job, only):
        dtypes = ("float32", "bfloat16")
        groups = [(group, (dtype,)) for dtype in dtypes for group in (self.prefill, self.decode, self.batches, self.grid)]
        groups += [(self.entropy, (self.transformers, "transformers", (7, 10, 10))),
                   (self.entropy, (self.rivals["lens"], "TransformerLens", (None, None, None), True))]
        groups += [(self.training, (dtype, checkpoint)) for checkpoint in (0, 1) for dtype in dtypes]
        groups += [(self.close, ()), (self.compare, ()), (self.llama_cpp, ()), (self.vllm, ()), (self.pce, (job,))]
        try:
            for group, arguments in groups:
                if not only or group.__name__ in (*only, "close"):
                    group(*arguments)
        finally:
            self.close()


def version_of(server):
    try:
        return server.ask("version")["version"]
    except Failed as error:
        return f"missing: {error}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=pathlib.Path, required=True, metavar="DIR")
    parser.add_argument("--server", type=pathlib.Path, required=True, metavar="PROGRAM",
                        help="model_server of the build")
    parser.add_argument("--gguf", type=pathlib.Path, required=True, metavar="FILE",
                        help="what the model was made from; copies in other dtypes are made beside it")
    parser.add_argument("--environments", type=pathlib.Path, required=True, metavar="DIR",
                        help="virtual environments of rivals, by their names; this Python where there is none")
    parser.add_argument("--compare", type=pathlib.Path, required=True, metavar="PROGRAM",
                        help="motet-compare of the build")
    parser.add_argument("--pce-code", type=pathlib.Path, metavar="DIR",
                        help="a checkout of PCE's code, whose environment is `pce`")
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="FILE")
    parser.add_argument("--only", action="append", default=[], metavar="GROUP", choices=GROUPS,
                        help="this group of rows alone, of " + ", ".join(GROUPS) + "; may be repeated")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, shorter runs")
    arguments = parser.parse_args()

    def python_of(name):
        own = arguments.environments / name / "bin" / "python"
        return own if own.exists() else pathlib.Path(sys.executable)

    def rival(name, model):
        return Server(name, [python_of(name), HERE / "rivals" / "server.py", name, model])

    motet = Server("model_server", [arguments.server, "--model", arguments.model])
    rivals = {"motet": motet} | {name: rival(name, arguments.model) for name in ("transformers", "lens", "vllm")}
    for weights, suffix in (("Q4_1", ""), ("F32", ":float32"), ("BF16", ":bfloat16")):
        rivals[f"llama.cpp {weights}"] = rival("llama.cpp", f"{arguments.gguf}{suffix}")
    job = None
    if arguments.pce_code:
        job = pce.Job(arguments.pce_code, python_of("pce"), arguments.compare, arguments.model)
    machine = motet.ask("machine")
    versions = [version_of(rivals[name]) for name in ("transformers", "lens", "vllm", "llama.cpp Q4_1")]
    suite = Suite(Report(arguments.out, {"machine": machine, "quick": arguments.quick, "rivals": versions}), rivals,
                  arguments.quick)
    suite.close()
    suite.run(job, arguments.only)


if __name__ == "__main__":
    try:
        main()
    except (Failed, OSError) as error:
        sys.exit(f"model_ratios: {error}")
    except KeyboardInterrupt:
        sys.exit("model_ratios: interrupted; the rows that are done are in the file")
