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
# The names that RULER's evaluate.py opens, and those that HELMET's collect_results.py looks for in their place.
RULER = {"niah_single_1": "niah_s_1", "niah_single_2": "niah_s_2", "niah_single_3": "niah_s_3",
         "niah_multikey_1": "niah_mk_1", "niah_multikey_2": "niah_mk_2", "niah_multikey_3": "niah_mk_3",
         "niah_multivalue": "niah_mv", "niah_multiquery": "niah_mq",
         "vt": "vt", "cwe": "cwe", "fwe": "fwe", "qa_1": "qa_1", "qa_2": "qa_2"}
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


def helmet_file(dataset, mode, test, size, shots, tokens, length=2048):
    """collect_results.py: where it expects a result with the tag motet_MODE."""
    return (f"{dataset}_motet_{mode}_{test}_in{length}_size{size}_shots{shots}_sampFalsemax{tokens}min0t0.0p1.0"
            "_chatFalse_42.json")


class OnATinyModel(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        cls.root = pathlib.Path(directory.name)
        cls.model = tiny.save(cls.root / "model", "llama")

    @classmethod
    def eval(cls, out, tasks, *more):
        subprocess.run([EVAL, "--model", cls.model, "--tasks", ",".join(tasks), "--pieces", "2", "--readings", "sharpen:4",
                        "--quiet", *more, "--out", cls.root / out], check=True, stdout=subprocess.DEVNULL)

    @classmethod
    def write(cls, name, *lines):
        path = cls.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return path


class Scorers(OnATinyModel):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        records = [{"task": f"own:{rule}", "id": i, "units": ["One unit. ", f"Unit {i} of many. "], "query": "Which?",
                    "answers": ["none"], "score": rule, "tokens": 6, "stop": [f"{i}"]}
                   for rule in ("found", "any", "substring", "exact") for i in range(4)]
        cls.eval("first", [f"record:{cls.write('records.jsonl', *records)}"])
        rows = json.loads((cls.root / "first" / "run.json").read_text(encoding="utf-8"))["item_rows"]
        said = {(row["task"], row["id"]): row["output"] for row in rows if row["mode"] == "full"}
        for record in records:  # references that some outputs hold, in part
            output = said[record["task"], str(record["id"])]
            part = output if record["score"] == "exact" else re.findall(r"\w+", output + " x")[0]
            record["answers"] = [["nowhere"], [part.upper()], ["nowhere", part], [part, "elsewhere"]][record["id"]]
        cls.eval("second", [f"record:{cls.write('records.jsonl', *records)}"], "--also", "ruler,helmet")
        cls.rows = json.loads((cls.root / "second" / "run.json").read_text(encoding="utf-8"))["rows"]

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
                name = helmet_file(rule, mode, f"own_{rule}", 4, 0, 6)
                score = json.loads((folder / mode / (name + ".score")).read_text(encoding="utf-8"))
                averages = helmet_averages(folder / mode / name)
                self.assertEqual(set(score), set(averages))
                for key, value in averages.items():
                    self.assertAlmostEqual(score[key], value, 9)
                self.assertAlmostEqual(score[metric], self.score(f"own:{rule}", mode), 9)
                seen.add(score[metric])
        self.assertGreater(len(seen), 2)


class Names(OnATinyModel):
    """Files that lie as RULER and HELMET write them come out by the names that their scorers look for."""

    def names(self, out, tasks, *more):
        self.eval(out, tasks, "--also", "ruler,helmet", *more)
        names = [sorted(path.name for path in (self.root / out / also / "full").iterdir()) for also in ("ruler", "helmet")]
        return names[0], [name for name in names[1] if not name.endswith(".score")]

    def test_ruler(self):
        line = {"index": 0, "input": "Do it.\nOne.\nTwo 7.\nThree.\nWhich?", "outputs": ["7"], "answer_prefix": ""}
        tasks = [f"ruler:{self.write(f'{name}/validation.jsonl', line)}:tokens=4" for name in RULER if name != "fwe"]
        line["input"] = "Count the words. abcdef ... ghijkl\nWhich?"
        tasks.append(f"ruler:{self.write('coded.jsonl', line)}:kind=fwe:tokens=4:name=fwe")
        ruler, helmet = self.names("ruler", tasks)
        self.assertEqual(ruler, sorted(f"{name}.jsonl" for name in RULER))
        self.assertEqual(helmet, sorted(helmet_file(f"ruler_{short}", "full", "coded" if name == "fwe" else "validation", 1, 0, 4)
                                        for name, short in RULER.items()))

    def test_helmet(self):
        needle = {"context": "One. It is 7. Two.", "query": "oak", "answer": ["7"], "type_needle_v": "numbers"}
        pairs = {"context": 'Pairs:\n{\n    "a": "1",\n    "b": "2"\n}', "num_kvs": 2, "question": "b", "answer": "2",
                 "demos": [["c", "3"], ["d", "4"]]}
        kilt = [{"question": f"Who {i}?", "answers": ["Anna"], "ctxs": [{"title": "T", "text": "Anna."}]} for i in range(3)]
        tasks = [f"helmet:{self.write('niah_multikey_2/validation_100.jsonl', needle)}:tokens=4",
                 f"helmet:{self.write('other.jsonl', needle)}:name=ruler_niah_mv:tokens=4",
                 f"helmet:{self.write('json_kv/test_k2_dep6.jsonl', pairs)}:tokens=4",
                 f"qa:{self.write('kilt/nq-dev-multikilt_1000_k1_dep6.jsonl', *kilt)}"]
        ruler, helmet = self.names("helmet", tasks, "--layout", "helmet")
        self.assertEqual(helmet, sorted([
            helmet_file("ruler_niah_mk_2", "full", "validation_100", 1, 0, 4),
            helmet_file("ruler_niah_mv", "full", "other", 1, 0, 4),
            helmet_file("json_kv", "full", "test_k2_dep6", 1, 2, 4),
            helmet_file("kilt_nq", "full", "nq-dev-multikilt_1000_k1_dep6", 1, 2, 20)]))
        self.assertLess({"niah_multikey_2.jsonl", "niah_multivalue.jsonl"}, set(ruler))

    def test_two_of_one_name(self):
        """Neither is lost where two tasks have one short name."""
        line = {"index": 0, "input": "Do it.\nOne.\nTwo 7.\nThree.\nWhich?", "outputs": ["7"], "answer_prefix": ""}
        path = self.write("vt/validation.jsonl", line)
        ruler, helmet = self.names("two", [f"ruler:{path}:tokens=4", f"ruler:{path}:tokens=5"])
        self.assertEqual(ruler, ["ruler_vt_tokens_4.jsonl", "ruler_vt_tokens_5.jsonl"])
        self.assertEqual(helmet, [helmet_file(f"vt_tokens_{n}", "full", "validation", 1, 0, n) for n in (4, 5)])
        kilt = [{"question": f"Who {i}?", "answers": ["Anna"], "ctxs": [{"title": "T", "text": "Anna."}]} for i in range(3)]
        path = self.write("kilt/popqa_test.jsonl", *kilt)
        ruler, helmet = self.names("kilt", [f"qa:{path}", f"qa:{path}:passages=1"])
        self.assertEqual(helmet, [helmet_file("kilt_popqa", "full", "popqa_test", 3, 0, 20),
                                  helmet_file("kilt_popqa", "full", "qa_popqa_test_passages_1", 3, 0, 20)])


if __name__ == "__main__":
    EVAL = sys.argv[1]
    unittest.main(argv=sys.argv[:1])
