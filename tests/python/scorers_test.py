"""What motet-eval --also writes, by the rules of RULER's and HELMET's scorers, written down here. scorers_test.py MOTET_EVAL"""

import json
import pathlib
import re
import string
import subprocess
import sys
import tempfile
import unittest

import tiny

EVAL = None
MODES = ["full", "parallel_P2", "sharpen_b_4_P2", "sharpen_b_4_prefix_P2", "sink_P2"]


def ruler_score(path, every):
    """evaluate.py: per cent of references in the prediction (all), or of lines with any (part), to two digits."""
    shares = []
    for line in path.read_text(encoding="utf-8").splitlines():
        line = json.loads(line)
        assert line["input"] and line["others"].get("id", line["index"]) is not None
        text = re.sub(r"[\x00-\x1f]", "\n", line["pred"].strip()).strip().lower()
        found = [reference.lower() in text for reference in line["outputs"]]
        shares.append(sum(found) / len(found) if every else max(found))
    return round(100 * sum(map(float, shares)) / len(shares), 2)


def normalized(text):
    """utils.py: SQuAD's."""
    text = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def helmet_averages(path):
    results = json.loads(path.read_text(encoding="utf-8"))
    rules = {
        "substring_exact_match": lambda text, answers: any(normalized(a) in normalized(text) for a in answers),
        "exact_match": lambda text, answers: any(normalized(a) == normalized(text) for a in answers),
        "ruler_recall": lambda text, answers: sum(a.lower() in text.lower() for a in answers) / len(answers),
    }
    found = {}
    for metric, rule in rules.items():
        if metric in results["metrics"]:
            scores = [max(rule(item["output"], item["answer"]), rule(item["parsed_output"], item["answer"]))
                      for item in results["data"]]
            found[metric] = 100 * sum(map(float, scores)) / len(scores)
    for metric in ("input_len", "output_len"):
        values = [item[metric] for item in results["data"]]
        found[metric] = sum(values) / len(values)
    return found


class Scorers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        cls.root = pathlib.Path(directory.name)
        cls.model = tiny.save(cls.root / "model", "llama")
        records = [{"task": f"own:{rule}", "id": i, "units": ["One unit. ", f"Unit {i} of many. "], "query": "Which?",
                    "answers": ["?"], "score": rule, "tokens": 6, "stop": [f"{i}"]}
                   for rule in ("found", "any", "substring", "exact") for i in range(4)]
        cls.eval(records, "first")
        rows = json.loads((cls.root / "first" / "run.json").read_text(encoding="utf-8"))["item_rows"]
        said = {(row["task"], row["id"]): row["output"] for row in rows if row["mode"] == "full"}
        for record in records:  # references that some outputs hold, in part
            output = said[record["task"], str(record["id"])]
            part = output if record["score"] == "exact" else re.findall(r"\w+", output + " x")[0]
            record["answers"] = [["nowhere"], [part.upper()], ["nowhere", part], [part, "elsewhere"]][record["id"]]
        cls.eval(records, "second", "--also", "ruler,helmet")
        cls.rows = json.loads((cls.root / "second" / "run.json").read_text(encoding="utf-8"))["rows"]

    @classmethod
    def eval(cls, records, out, *more):
        path = cls.root / "records.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        subprocess.run([EVAL, "--model", cls.model, "--tasks", f"record:{path}", "--pieces", "2", "--readings", "sharpen:4",
                        "--quiet", *more, "--out", cls.root / out], check=True, stdout=subprocess.DEVNULL)

    def score(self, task, folder):
        place = MODES.index(folder)
        rows = [row for row in self.rows if row["task"] == task]
        order = ["full", "parallel_P2", "sharpen_b_4_P2", "sink_P2", "sharpen_b_4_prefix_P2"]
        return 100 * rows[order.index(MODES[place])]["score"]

    def test_ruler(self):
        folder = self.root / "second" / "ruler"
        self.assertEqual(sorted(path.name for path in folder.iterdir()), MODES)
        seen = set()
        for mode in MODES:
            for rule in ("found", "any"):
                ours = self.score(f"own:{rule}", mode)
                self.assertAlmostEqual(ruler_score(folder / mode / f"own_{rule}.jsonl", rule == "found"), ours, 2)
                seen.add(ours)
        self.assertGreater(len(seen), 2)

    def test_helmet(self):
        folder = self.root / "second" / "helmet"
        seen = set()
        for mode in MODES:
            for rule, metric in (("found", "ruler_recall"), ("substring", "substring_exact_match"), ("exact", "exact_match")):
                name = f"{rule}_motet_{mode}_own_{rule}_in2048_size4_shots0_sampFalsemax6min0t0.0p1.0_chatFalse_42.json"
                score = json.loads((folder / mode / (name + ".score")).read_text(encoding="utf-8"))
                averages = helmet_averages(folder / mode / name)
                self.assertEqual(set(score), set(averages))
                for key, value in averages.items():
                    self.assertAlmostEqual(score[key], value, 9)
                self.assertAlmostEqual(score[metric], self.score(f"own:{rule}", mode), 9)
                seen.add(score[metric])
        self.assertGreater(len(seen), 2)


if __name__ == "__main__":
    EVAL = sys.argv[1]
    unittest.main(argv=sys.argv[:1])
