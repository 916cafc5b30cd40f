"""The job of motet-compare by PCE's own code: one process for each of five modes, on the CPU.

That code cannot be shipped here: a path to a checkout is given. It asks for transformers 4.44.
"""

import json
import os
import pathlib
import re
import subprocess
import time

MODES = {"full": (1, []), "parallel": (8, []), "sink": (8, ["test_starting_prompt:p1"]),
         "selective": (8, ["aggr_dims:", "sel_topk:2"]), "both": (8, ["test_starting_prompt:p1", "aggr_dims:", "sel_topk:2"])}
# STARTING_PROMPTS["p1"] there.
PREFIX = "Given the following partial context, predicting the next sequence of words:\n\n"
SEGMENTS, LENGTH, SCORED = 4, 2048, 512


class Job:
    def __init__(self, code, python, compare, model):
        self.code, self.python, self.compare, self.model = code.resolve(), python.absolute(), compare.resolve(), model.resolve()

    def revision(self):
        found = subprocess.run(["git", "-C", self.code, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
        return found.stdout.strip() or "unknown"

    def measure(self, folder, rounds):
        """Seconds of ours and theirs, by turns, and how far apart the losses of a mode are at most."""
        text = (pathlib.Path(__file__).resolve().parent.parent / "examples" / "data" / "alice.txt").read_text(encoding="utf-8")[:36000]
        (folder / "text.txt").write_text(text, encoding="utf-8")
        (folder / "text.jsonl").write_text(json.dumps({"text": text}) + "\n", encoding="utf-8")
        (folder / "_cache").mkdir()  # without one it does not start
        ours, theirs = [], []
        for number in range(rounds):
            seconds, mine = self.motet(folder, number)
            ours.append(seconds)
            found = {mode: self.pce(folder, *options) for mode, options in MODES.items()}
            theirs.append(sum(seconds for seconds, _ in found.values()))
            apart = max(abs(mine[mode] - nll) for mode, (_, nll) in found.items())
        return ours, theirs, apart

    def motet(self, folder, number):
        out = folder / f"run{number}"
        seconds, _ = self.timed([self.compare, "--model", self.model, "--text", folder / "text.txt", "--length", LENGTH,
                                 "--scored", SCORED, "--segments", SEGMENTS, "--pieces", "1,8", "--prefix", PREFIX, "--select", 2,
                                 "--out", out], folder, {})
        losses = {}
        for row in json.loads((out / "run.json").read_text(encoding="utf-8"))["segment_rows"]:
            if MODES[row["mode"]][0] == row["pieces"]:
                losses.setdefault(row["mode"], []).append(row["nll"])
        return seconds, {mode: sum(values) / len(values) for mode, values in losses.items()}

    def pce(self, folder, pieces, options):
        """A process of theirs: its seconds and its loss."""
        seconds, printed = self.timed(
            [self.python, "-m", "mspx.tasks.memana.run_ppl", "my_dtype:fp32", "my_device:-1", f"model_name:mym:{self.model}",
             "input_file:text.jsonl", "inst_eval_count:1", "test_batch_size:1", f"test_seg_size:{LENGTH}", "test_step_size:0",
             "selatt.enabled:1", f"test_context_split:{pieces},1,{SCORED}", *options], folder,
            {"PYTHONPATH": str(self.code), "ZCALC_ENTROPY": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"})
        found = re.search(r"Finished LM testing with: [^=]*=([0-9.]+)", printed)
        if not found:
            raise OSError(f"PCE's code printed no loss: {printed[-500:]}")
        return seconds, float(found.group(1))

    @staticmethod
    def timed(command, folder, environment):
        start = time.perf_counter()
        done = subprocess.run([str(word) for word in command], cwd=folder, env=os.environ | environment, text=True, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        seconds = time.perf_counter() - start
        if done.returncode:
            raise OSError(f"{command[0]} ended with exit code {done.returncode}: {done.stdout[-500:]}")
        return seconds, done.stdout
