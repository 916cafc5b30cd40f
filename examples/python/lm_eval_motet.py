"""motet as a model of lm-evaluation-harness: its requests go to motet-eval, a record each, and are answered from run.json.

    from lm_eval_motet import MotetLM
    lm_eval.simple_evaluate(MotetLM("motet-eval", "models/SmolLM2-135M-Instruct", pieces=8), tasks=[...])

`split` is the rule that makes units and a query of a prompt: by default its last paragraph is the query.
`mode` is one that motet-eval reads: `sink` and `both` want a `prefix`, and readings have to be among `options`, as in
mode="sharpen", options=["--readings", "sharpen:4"]; where there is a prefix, such a reading is the one behind it.
"""

import json
import pathlib
import re
import subprocess
import tempfile

from lm_eval.api.model import LM


def paragraphs(prompt):
    """Units and query of a prompt: paragraphs, the last of which is the query."""
    *units, query = re.findall(r".+?(?:\n\n+|\Z)", prompt, re.DOTALL) or [""]
    return units, query


class MotetLM(LM):
    def __init__(self, program, model, mode="parallel", pieces=4, prefix="", split=paragraphs, options=()):
        super().__init__()
        self.mode, self.pieces, self.prefix, self.split = mode, pieces, prefix, split
        self.command = [program, "--model", model, "--pieces", str(pieces), "--prefix", prefix, "--quiet", *options]

    def run(self, records):
        """The row of each record in this mode; in full where a single unit leaves nothing to select.

        Raises ValueError where motet-eval leaves the mode out, with its reason."""
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "records.jsonl"
            path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
            subprocess.run([*self.command, "--tasks", f"record:{path}", "--items", str(len(records)), "--out", folder],
                           check=True, stdout=subprocess.DEVNULL)
            run = json.loads((pathlib.Path(folder) / "run.json").read_text(encoding="utf-8"))
        rows = {(row["id"], row["mode"]): row for row in run["item_rows"]
                if row["prefix_tokens"] or not self.prefix or row["mode"] in ("full", "parallel", "selective")}
        reasons = {(one.get("id"), one["mode"]): one["reason"] for one in run["left_out"] + run["items_left_out"]}
        return [self.row(str(record["id"]), len(record["units"]), rows, reasons) for record in records]

    def row(self, item, units, rows, reasons):
        reason = reasons.get((item, self.mode)) or reasons.get((None, self.mode)) or "motet-eval does not read it"
        mode = "full" if units == 1 and reason.startswith("K = ") else self.mode
        found = rows.get((item, self.mode)) or rows.get((item, mode))
        if found is None:
            modes = ", ".join(sorted(mode for other, mode in rows if other == item))
            raise ValueError(f"the mode {self.mode}, P = {self.pieces}: {reason}; there are {modes}")
        return found

    def record(self, number, prompt, **fields):
        """A record; what is empty in it is a line break, since something has to come before an answer."""
        units, query = self.split(prompt)
        return {"task": "lm_eval", "id": number, "units": units or ["\n"], "query": query or "\n", "score": "any"} | fields

    def loglikelihood(self, requests):
        records = []
        for number, (context, continuation) in enumerate(request.args for request in requests):
            records.append(self.record(number, context, answers=[continuation], space=False, tokens=1))
        return [(-row["answer_nll"], row["answer_greedy"]) for row in self.run(records)]

    def generate_until(self, requests):
        records = []
        for number, (context, until) in enumerate(request.args for request in requests):
            stop = until.get("until") or []
            records.append(self.record(number, context, answers=["-"], tokens=until.get("max_gen_toks", 64),
                                       stop=[text for text in ([stop] if isinstance(stop, str) else stop) if text]))
        return [row["output"] for row in self.run(records)]

    def loglikelihood_rolling(self, requests):
        raise NotImplementedError("whole texts: motet-compare reads them")
