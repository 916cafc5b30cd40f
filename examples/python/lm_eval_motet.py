"""motet as a model of lm-evaluation-harness: its requests go to motet-eval, a record each, and are answered from run.json.

    from lm_eval_motet import MotetLM
    lm_eval.simple_evaluate(MotetLM("motet-eval", "models/SmolLM2-135M-Instruct", mode="both", pieces=8), tasks=[...])

`split` is the rule that makes units and a query of a prompt: by default its last paragraph is the query.
"""

import json
import pathlib
import subprocess
import tempfile

from lm_eval.api.model import LM


def paragraphs(prompt):
    """Units and query of a prompt: paragraphs, the last of which is the query."""
    *units, query = prompt.split("\n\n")
    return [unit + "\n\n" for unit in units], query


class MotetLM(LM):
    def __init__(self, program, model, mode="parallel", pieces=4, prefix="", split=paragraphs, options=()):
        super().__init__()
        self.mode, self.pieces, self.split = mode, pieces, split
        self.command = [program, "--model", model, "--pieces", str(pieces), "--prefix", prefix, "--quiet", *options]

    def run(self, records):
        """The row of each record in this mode; in full where its context is a single unit."""
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "records.jsonl"
            path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
            subprocess.run([*self.command, "--tasks", f"record:{path}", "--items", str(len(records)), "--out", folder],
                           check=True, stdout=subprocess.DEVNULL)
            rows = json.loads((pathlib.Path(folder) / "run.json").read_text(encoding="utf-8"))["item_rows"]
        found = {int(row["id"]): row for row in rows if row["mode"] == "full"} | {
            int(row["id"]): row for row in rows if row["mode"] == self.mode and row["pieces"] == self.pieces}
        return [found[i] for i in range(len(records))]

    def record(self, number, prompt, **fields):
        units, query = self.split(prompt)
        return {"task": "lm_eval", "id": number, "units": units or ["\n"], "query": query, "score": "exact"} | fields

    def loglikelihood(self, requests):
        records = []
        for number, (context, continuation) in enumerate(request.args for request in requests):
            records.append(self.record(number, context, answers=[continuation], space=False, tokens=1))
        return [(-row["answer_nll"], row["answer_greedy"]) for row in self.run(records)]

    def generate_until(self, requests):
        records = [self.record(number, context, answers=["-"], stop=[stop for stop in until["until"] if stop],
                               tokens=until.get("max_gen_toks", 64))
                   for number, (context, until) in enumerate(request.args for request in requests)]
        return [row["output"] for row in self.run(records)]

    def loglikelihood_rolling(self, requests):
        raise NotImplementedError("whole texts: motet-compare reads them")
