"""The programs on a device against themselves on the CPU.   device_check.py PROGRAMS DEVICE MODEL ROOT OUT

Every figure of a run has to be that of the CPU but for rounding; times stand side by side. Writes OUT/device.md; exit status 1 where
something differs or fails. Called by tests/device.sh; needs Python's standard library alone.
"""

import json
import pathlib
import shutil
import subprocess
import sys
import time

READINGS = "select,soft,sharpen:4,discount:1,temper,weigh,null:0,scale:ssmax,scale:entropy,guess:2:full,guess:2:box,topk:32,adaptive"
NLL, ENTROPY, LOSS = 2e-3, 2e-3, 1e-3  # nats, fp32: the order of sums


class Check:
    def __init__(self, programs, device, model, root, out):
        self.programs, self.device, self.model, self.root, self.out = (
            pathlib.Path(programs), device, model, pathlib.Path(root), pathlib.Path(out))
        self.text = self.root / "examples/data/alice.txt"
        self.wrong, self.lines, self.times = [], [], []

    def run(self, device, name, program, *arguments):
        """A program's folder, and the seconds that it took."""
        folder = self.out / f"{device}-{name}"
        shutil.rmtree(folder, ignore_errors=True)
        start = time.monotonic()
        done = subprocess.run([self.programs / program, "--model", self.model, "--device", device, "--quiet", "--out", folder,
                               *map(str, arguments)], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{name} on {device}: {done.stderr.strip()[-600:]}")
        return folder, time.monotonic() - start

    def both(self, name, program, *arguments):
        return [self.run(device, name, program, *arguments) for device in ("cpu", self.device)]

    def expect(self, what, figures, bound):
        """Pairs of figures; the worst one is what is told."""
        worst = max(abs(a - b) for a, b in figures)
        self.lines.append(f"| {what} | {len(figures)} | {worst:.1e} | {bound:.0e} |")
        if not worst <= bound:
            self.wrong.append(f"{what}: differs by {worst:.3g}, {bound:.0e} is rounding")

    def took(self, what, seconds):
        self.times.append(f"| {what} | {seconds[0]:.2f} s | {seconds[1]:.2f} s | {seconds[0] / max(seconds[1], 1e-9):.1f} |")

    def compare(self):
        runs = self.both("compare", "motet-compare", "--text", self.text, "--length", 2048, "--scored", 256, "--segments", 1, "--pieces",
                         "1,8", "--readings", READINGS, "--ensembles", "nbce", "--recall", "--near-keys", "1,4", "--diagnose", "--rows", "0")
        rows = [json.loads((folder / "run.json").read_text())["rows"] for folder, _ in runs]
        pairs = list(zip(*rows))
        for figure, bound in (("nll", NLL), ("kl", NLL), ("entropy_tok", ENTROPY), ("entropy_between", ENTROPY)):
            self.expect(f"motet-compare, {figure}", [(a[figure], b[figure]) for a, b in pairs], bound)
        for mode, pieces in (("full", 1), ("parallel", 8)):
            of = [next(row for row in one if row["mode"] == mode and row["pieces"] == pieces) for one in rows]
            self.took(f"encode 1,791 tokens, P = {pieces}", [row["encode_seconds"] for row in of])
        self.took("read 256 rows, 8 pieces", [next(row for row in one if row["mode"] == "parallel")["read_seconds"] for one in rows])

    def eval(self):
        runs = self.both("eval", "motet-eval", "--tasks", "kv:pairs=10", "--items", 2, "--length", 1024, "--pieces", "1,4", "--full-length")
        rows = [json.loads((folder / "run.json").read_text())["item_rows"] for folder, _ in runs]
        self.expect("motet-eval, answers", [pair for a, b in zip(*rows) for pair in zip(a["answer_nlls"], b["answer_nlls"])], NLL)
        self.took("two items of motet-eval, outputs included", [sum(row["read_seconds"] for row in one) for one in rows])

    def heads(self):
        runs = self.both("heads", "motet-heads", "--text", self.text, "--length", 1024, "--scored", 128, "--segments", 1, "--tau", "0.9")
        rows = [json.loads((folder / "run.json").read_text())["rows"] for folder, _ in runs]
        self.expect("motet-heads, nll", [(a["nll"], b["nll"]) for a, b in zip(*rows)], NLL)

    def train(self):
        for name, more in (("train", ["--sparsity", "tail"]), ("fit", ["--tune", "reading", "--pieces", "8"])):
            runs = self.both(name, "motet-finetune", "--text", self.text, "--steps", 3, "--length", 512, *more)
            logs = [[json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()] for folder, _ in runs]
            self.expect(f"motet-finetune {more[0]}, loss", [(a["loss"], b["loss"]) for a, b in zip(*logs)], LOSS)
            self.took(f"three steps of motet-finetune {more[0]}, the model loaded and saved", [seconds for _, seconds in runs])

    def all(self):
        for part in (self.compare, self.eval, self.heads, self.train):
            try:
                part()
            except (RuntimeError, OSError, KeyError, ValueError) as error:
                self.wrong.append(str(error))
        page = "\n".join([f"{self.device} against cpu\n", "| figures | of them | largest difference | rounding |", "|---|---|---|---|", *self.lines,
                          "", f"| time | cpu | {self.device} | times as fast |", "|---|---|---|---|", *self.times, ""])
        (self.out / "device.md").write_text(page)
        print(page)
        for one in self.wrong:
            print(f"device_check: {one}", file=sys.stderr)
        return 1 if self.wrong else 0


if __name__ == "__main__":
    if len(sys.argv) != 6:
        sys.exit(__doc__.splitlines()[0])
    sys.exit(Check(*sys.argv[1:]).all())
