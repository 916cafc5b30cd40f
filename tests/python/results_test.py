"""The tables of docs/results/ on runs of tiny models. results_test.py MOTET_COMPARE MOTET_EVAL MOTET_HEADS"""

import gzip
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

import numpy
import safetensors.numpy
import tiny

RESULTS = pathlib.Path(__file__).resolve().parents[2] / "docs" / "results"
sys.path.append(str(RESULTS))
import paired  # noqa: E402
TEXT = tiny.DATA / "valid_books.txt"
COMPARE = EVAL = HEADS = None


def run(*command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"{command[0]}: {done.stderr}")
    return done.stdout


def table(markdown, title):
    """The rows of the first table behind a line that ends so, without their header, as lists of cells."""
    lines = markdown[markdown.index(f"{title}\n"):].splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows[2:]


def rows_of(folder):
    return json.loads((folder / "run.json").read_text(encoding="utf-8"))["rows"]


class Sparsity(unittest.TestCase):
    """Two arms that are the same model, and one more: untrained."""

    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        cls.root = pathlib.Path(directory.name) / "runs"
        models = {"1/control": "llama", "1/tail-1": "llama", "untrained": "gpt2"}
        common = ("--text", TEXT, "--length", 96, "--scored", 24, "--pieces", "1,4", "--prefix", "Text: ", "--quiet",
                  "--save-stats")
        for arm, family in models.items():
            model = tiny.save(pathlib.Path(directory.name) / arm, family)
            folder = cls.root / "tiny" / arm
            run(COMPARE, "--model", model, *common, "--segments", 2, "--keep-keys", "4,8", "--out",
                folder / "test_books")
            run(COMPARE, "--model", model, *common, "--segments", 1, "--rows", "3,19", "--out", folder / "rows")
        cls.markdown = run(sys.executable, RESULTS / "sparsity_tables.py", cls.root)

    def test_losses_and_differences(self):
        found = {(row[0], row[1]): row[2:] for row in table(self.markdown, "1 seed: loss")}
        expected = rows_of(self.root / "tiny" / "1" / "control" / "test_books")
        untrained = rows_of(self.root / "tiny" / "untrained" / "test_books")
        self.assertEqual(len(found), len(expected))
        for row, of_other in zip(expected, untrained, strict=True):
            label = row["mode"] if row["mode"] != "topk" else row["reading"]
            label += " + prefix" if row["mode"] == "topk" and row["prefix_tokens"] else ""
            control, same, other = found[label, str(row["pieces"])]
            self.assertEqual(control, f"{row['nll']:.3f}")
            self.assertIn("(+0.000 ± 0.000)", same)
            self.assertRegex(other, r"^\d+\.\d{3} \([+-]\d+\.\d{3} ± \d+\.\d{3}\)$")
            difference = float(re.search(r"\(([^ ]+)", other)[1])
            self.assertAlmostEqual(difference, of_other["nll"] - row["nll"], delta=6e-4)

    def test_entropies(self):
        found = {(row[0], row[1]): row[2] for row in table(self.markdown, "exp of it, means over heads")}
        for row in rows_of(self.root / "tiny" / "1" / "control" / "test_books"):
            if row["mode"] != "topk":
                self.assertTrue(found[row["mode"], str(row["pieces"])].startswith(f"{row['entropy_tok']:.3f} "))
        plain, prefixed = found["topk(k=4)", "4"], found["topk(k=4) + prefix", "4"]
        self.assertNotEqual(plain, prefixed)

    def test_masses_and_pictures(self):
        masses = [float(row[3]) for row in table(self.markdown, "mass of the 16 largest keys of a row")]
        self.assertGreater(len(masses), 5)  # five modes, and every layer of one
        for mass in masses:
            self.assertTrue(0 < mass <= 1, mass)
        for extension in ("svg", "png"):
            self.assertGreater((self.root / f"tiny.{extension}").stat().st_size, 1000)

    def test_tables_outlive_their_runs(self):
        with tempfile.TemporaryDirectory() as directory:
            root = pathlib.Path(directory)
            for path in self.root.glob("tiny/1/*.json"):
                (root / "tiny" / "1").mkdir(parents=True, exist_ok=True)
                shutil.copy(path, root / "tiny" / "1")
            self.assertEqual(run(sys.executable, RESULTS / "sparsity_tables.py", root), self.markdown)

    def test_names_what_is_not_complete(self):
        with tempfile.TemporaryDirectory() as directory:
            root = pathlib.Path(directory) / "runs"
            shutil.copytree(self.root, root)
            path = root / "tiny" / "1" / "control" / "test_books" / "run.json"
            path.write_text(path.read_text(encoding="utf-8").replace('"complete": true', '"complete": false'),
                            encoding="utf-8")
            done = subprocess.run([sys.executable, RESULTS / "sparsity_tables.py", root], capture_output=True,
                                  text=True, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn(f"{path.parent} is not complete", done.stderr)


class Performance(unittest.TestCase):
    def test_rows(self):
        machine = {"processor": "A processor", "cores": 2, "memory_bytes": 24 << 30, "kernel": "avx2", "revision": "abc",
                   "date": "2026-11-23T10:00:00Z", "libtorch": "2.13.0"}
        rows = [{"name": "a, b", "goal": 0.75, "measured": 0.61234, "low": 0.5, "high": 0.7, "met": True},
                {"name": "c", "goal": 15, "better": "higher", "measured": 10.6, "low": 10.6, "high": 10.6, "met": False},
                {"name": "d", "goal": None, "measured": 1051.3, "low": 900.0, "high": 1100.0, "met": None},
                {"name": "e", "goal": 1, "measured": None, "met": None, "note": "left out"}]
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory) / "ratios.json"
            path.write_text(json.dumps({"machine": machine, "quick": True, "verdict": "1 of 2 goals met", "rivals": [],
                                        "rows": rows}), encoding="utf-8")
            lines = run(sys.executable, RESULTS / "performance_csv.py", path).splitlines()
        self.assertEqual(lines[0], "# A processor, 2 cores, 24 GiB; kernel avx2; revision abc; 2026-11-23")
        self.assertEqual(lines[2:4], ["# command: benchmarks/run.sh --quick", "# 1 of 2 goals met"])
        self.assertEqual(lines[5:], ["figure,better,goal,median,low,high,met", '"a, b",lower,0.75,0.612,0.5,0.7,yes',
                                     "c,higher,15,10.6,,,no", "d,,,1.05e+03,900,1.1e+03,"])


class Paired(unittest.TestCase):
    def test_what_ties_shares_a_rank(self):
        # Ranks 1.5, 1.5, 3, 4 and 1, 2.5, 2.5, 4: 3.75 / 4.5.
        for order in ([0, 1, 2, 3], [3, 1, 0, 2], [1, 0, 3, 2]):
            found = paired.rank_correlation(numpy.array([0, 0, 1, 2])[order], numpy.array([1, 2, 2, 3])[order])
            self.assertAlmostEqual(found, 5 / 6)
        self.assertAlmostEqual(paired.rank_correlation([[1, 2], [3, 4]], [[8, 6], [4, 2]]), -1)
        self.assertTrue(numpy.isnan(paired.rank_correlation([1, 1, 1], [1, 2, 3])))

    def test_a_run_is_kept_whole_or_not_at_all(self):
        with tempfile.TemporaryDirectory() as directory, mock.patch("gzip.compress", side_effect=KeyboardInterrupt):
            kept = pathlib.Path(directory) / "kept.jsonl.gz"
            self.assertRaises(KeyboardInterrupt, paired.keep_run, kept, {}, (), [])
            self.assertFalse(kept.exists())


class Looks(unittest.TestCase):
    """A look (--quick) and a result do not mix in one folder; said before anything is set up."""

    def refused(self, directory, *options):
        for script in ("tasks", "readings", "heads", "sparsity"):
            done = subprocess.run([RESULTS / f"{script}.sh", "--out", directory, *options], capture_output=True, text=True, check=False,
                                  env={**os.environ, "PATH": "/usr/bin:/bin"})
            self.assertEqual((done.returncode, done.stdout), (2, ""), done.stderr)
            yield done.stderr

    def test_a_look_does_not_go_into_results(self):
        with tempfile.TemporaryDirectory() as directory:
            (pathlib.Path(directory) / "trec.jsonl.gz").touch()
            for message in self.refused(directory, "--quick"):
                self.assertIn("holds something other than a --quick run; name an empty folder with --out", message)

    def test_results_do_not_go_into_a_look(self):
        with tempfile.TemporaryDirectory() as directory:
            (pathlib.Path(directory) / "quick").touch()
            for message in self.refused(directory):
                self.assertIn("holds a --quick run, whose figures would be taken for results", message)


class Folders(unittest.TestCase):
    """What is kept in a folder is of one model and dtype; and names of --only are known. Both are said before anything is set up."""

    def said(self, script, *options):
        done = subprocess.run([RESULTS / f"{script}.sh", *options], capture_output=True, text=True, check=False,
                              env={**os.environ, "PATH": "/usr/bin:/bin"}, timeout=60)
        self.assertEqual((done.returncode, done.stdout), (2, ""), done.stderr)
        return done.stderr

    def test_another_model_or_dtype(self):
        with tempfile.TemporaryDirectory() as directory:
            root = pathlib.Path(directory)
            model = root / "another"
            model.mkdir()
            (model / "config.json").write_text("{}")
            for name in ("valid_books", "train_books_1", "wikitext2_valid", "test_books", "wikitext2_test"):
                (root / f"{name}.txt").touch()
            digest = hashlib.sha256(b"{}").hexdigest()
            for script, options, now in (("tasks", ("--dtype", "float32"), ", float32"), ("tasks", (), ", bfloat16"),
                                         ("readings", ("--texts", root), "")):
                for was in (f"first, config.json {digest}{now}", f"another, config.json 00{now}", f"another, config.json {digest}, float16"):
                    (root / "of").write_text(f"{was}\n")
                    message = self.said(script, "--model", model, "--out", root, *options)
                    self.assertEqual(message, f"{script}: {root} holds results of another model or dtype ({was}; now: another, config.json "
                                     f"{digest}{now}), which would be taken for this one's; name another folder with --out\n")

    def test_unknown_names(self):
        with tempfile.TemporaryDirectory() as directory:
            root = pathlib.Path(directory)
            for name in ("valid_books", "train_books_1", "wikitext2_valid", "test_books", "wikitext2_test"):
                (root / f"{name}.txt").touch()
            out = ("--out", root / "out", "--quick")
            self.assertIn("tasks: --only kv-pairs-11 is not known; there are: kv-pairs-10 niah-depth-50 vt\n",
                          self.said("tasks", *out, "--data", root, "--only", "vt", "--only", "kv-pairs-11"))
            self.assertEqual(self.said("readings", *out, "--texts", root, "--only", "mixture"),
                             "readings: --only mixture is not known; there are: mixture-own mixture-full temper fixed controls learned "
                             "ensembles prefix choices\n")
            self.assertEqual(list((root / "out").iterdir()), [])


class Pieces(unittest.TestCase):
    def test_full_reading_is_among_them(self):
        done = subprocess.run([RESULTS / "readings.sh", "--pieces", "4,16"], capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (2, "readings: --pieces 4,16 lacks 1, full reading\n"))


class Heads(unittest.TestCase):
    def test_tables_and_picture(self):
        with tempfile.TemporaryDirectory() as directory:
            root = pathlib.Path(directory)
            model = tiny.save(root / "model", "llama")
            common = ("--model", model, "--text", TEXT, "--calibrate", TEXT, "--length", 96, "--scored", 24,
                      "--segments", 2, "--window-first", 2, "--window-last", 8, "--tau", "0.6,0.9",
                      "--save-stats", "--quiet")
            for name in ("books-96", "recall-96"):
                run(HEADS, *common, "--out", root / name)
            markdown = run(sys.executable, RESULTS / "heads_tables.py", root)
            found = {(row[0], row[1]): row[2:] for row in table(markdown, "### books-96")}
            expected = rows_of(root / "books-96")
            self.assertEqual(len(found), len(expected))
            for row in expected:
                cells = found[row["method"], f"{row['tau']:g}"]
                self.assertEqual(cells[0], f"{row['local_share']:.1%}")
                self.assertEqual(cells[2], f"{row['delta_nll']:+.4f} ± {1.96 * row['delta_stderr']:.4f}")
            # Of a recall text only the digits count: not the same tokens, so not the same loss.
            digits = {(row[0], row[1]): row[2:] for row in table(markdown, "### recall-96")}
            self.assertEqual(digits.keys(), found.keys())
            self.assertNotEqual([cells[1] for cells in digits.values()], [cells[1] for cells in found.values()])
            kept = table(markdown, "80 to 90 % for adaptive and oracle.")
            self.assertEqual([row[0] for row in kept], ["books-96", "recall-96"])
            for share in re.findall(r"(\d+)%", " ".join(" ".join(row) for row in kept)):
                self.assertLessEqual(int(share), 100)
            self.assertGreater((root / "heads.png").stat().st_size, 1000)

    def test_recall_task_wants_a_token_a_digit(self):
        with tempfile.TemporaryDirectory() as directory:
            model = tiny.save(pathlib.Path(directory) / "model", "llama")
            done = subprocess.run([sys.executable, RESULTS / "recall_task.py", model, TEXT, "200", "1"],
                                  capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn("does not give every digit a token of its own", done.stderr)


class Tasks(unittest.TestCase):
    def test_differences_are_paired_and_corrected(self):
        with tempfile.TemporaryDirectory() as directory:
            root = pathlib.Path(directory)
            model = tiny.save(root / "model", "llama")
            config = json.loads((model / "config.json").read_text(encoding="utf-8"))
            (model / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 1024}), encoding="utf-8")
            run(EVAL, "--model", model, "--tasks", "vt,niah", "--length", 250, "--items", 5, "--outputs", 3,
                "--pieces", "1,2,4", "--readings", "select,discount:1", "--quiet", "--out", root / "run")
            markdown = run(sys.executable, RESULTS / "tasks_tables.py", root / "run" / "run.json")
            document = json.loads((root / "run" / "run.json").read_text(encoding="utf-8"))
            run(sys.executable, RESULTS / "tasks_tables.py", "--keep", root / "kept.jsonl.gz", root / "run" / "run.json")
            kept = run(sys.executable, RESULTS / "tasks_tables.py", root / "kept.jsonl.gz")
            run(sys.executable, RESULTS / "tasks_picture.py", root / "tasks.svg", root / "kept.jsonl.gz")
            picture = (root / "tasks.svg").read_text(encoding="utf-8")
            of_one = lambda row: row["task"] == "vt" and row["reading"].startswith("discount") and row["prefix_tokens"]
            (root / "less.json").write_text(json.dumps(document | {
                "item_rows": [row for row in document["item_rows"] if not of_one(row)]}), encoding="utf-8")
            less = run(sys.executable, RESULTS / "tasks_tables.py", root / "less.json")
            run(sys.executable, RESULTS / "tasks_picture.py", root / "less.svg", root / "less.json")
            less_picture = (root / "less.svg").read_text(encoding="utf-8")
            document["configuration"]["tasks"] = ["icl:/a/b/test.jsonl:demos=/a/train.jsonl:labels=2", "vt"]
            (root / "elsewhere.json").write_text(json.dumps(document), encoding="utf-8")
            run(sys.executable, RESULTS / "tasks_tables.py", "--keep", root / "elsewhere.jsonl.gz", root / "elsewhere.json")
            with gzip.open(root / "elsewhere.jsonl.gz", "rt", encoding="utf-8") as file:
                head = json.loads(next(file))
        self.assertEqual(kept, markdown)  # four digits say the same
        self.assertEqual(head["configuration"]["tasks"], ["icl:test.jsonl:demos=train.jsonl:labels=2", "vt"])
        tasks = {row[0]: row for row in table(markdown, "mean over items\n")}
        self.assertEqual(list(tasks), ["vt", "niah"])
        items = [row for row in document["item_rows"] if row["task"] == "niah"]

        def loss(mode, pieces, prefix=False):
            return {row["id"]: row["answer_nll"] / row["answer_tokens"] for row in items
                    if (row["mode"], row["pieces"], row["prefix_tokens"] > 0) == (mode, pieces, prefix)}

        full, parallel = loss("full", 1), loss("parallel", 4)
        self.assertTrue(tasks["niah"][8].startswith(f"{sum(parallel[i] - full[i] for i in full) / 5:+.3f} ["))
        self.assertIn(f">{sum(parallel[i] - full[i] for i in full) / 5:+.2f}<", picture)
        for label in (">sink<", ">discount(c=1) + prefix<", ">niah<", ">loss,<"):
            self.assertIn(label, picture)
        against = {(row[0], row[1]): row[2:] for row in table(markdown, "below 0 a cure helps\n")}
        self.assertEqual(len(against), 5 + 3)  # sink, discount twice; with four pieces select twice more
        sink = loss("sink", 4, True)
        self.assertTrue(against["4", "sink"][1].startswith(f"{sum(sink[i] - parallel[i] for i in sink) / 5:+.3f} ["))
        self.assertIn(f">{sum(sink[i] - parallel[i] for i in sink) / 5:+.2f}<", picture)
        self.assertNotIn("*", " ".join(against["4", "sink"]))  # 32 sign flips say little
        # A mean over tasks is of the same tasks for every mode.
        means = lambda text: [row[1] for row in table(text, "that all of them have\n") if row[0] == "4"]
        self.assertEqual([mode for mode in means(markdown) if mode not in means(less)], ["discount(c=1) + prefix"])
        self.assertIn("discount(c=1) + prefix", [row[1] for row in table(less, "below 0 a cure helps\n")])
        self.assertNotIn(">discount(c=1) + prefix<", less_picture)


class Readings(unittest.TestCase):
    def test_losses_choices_and_heads(self):
        with tempfile.TemporaryDirectory() as directory:
            root = pathlib.Path(directory)
            model = tiny.save(root / "model", "llama")
            for text, first in (("one", 0), ("two", 9000)):
                (root / f"{text}.txt").write_text(TEXT.read_text(encoding="utf-8")[first:first + 9000], encoding="utf-8")
                common = ("--model", model, "--text", root / f"{text}.txt", "--length", 48, "--scored", 12, "--prefix", "", "--recall", "--quiet")
                run(COMPARE, *common, "--segments", 6, "--pieces", "1,4", "--readings", "select,select:1,guess:2:mean,null:0",
                    "--save-stats", "--out", root / text)
                run(COMPARE, *common, "--segments", 5, "--pieces", "1,4", "--readings", "guess:1:last", "--out", root / "few" / text)
                for name, folder in (("fixed", root / text), ("few", root / "few" / text)):
                    run(sys.executable, RESULTS / "readings_tables.py", "--keep", root / f"{text}.{name}.jsonl.gz", folder / "run.json")
            kept = sorted(root.glob("*.jsonl.gz"))
            markdown = run(sys.executable, RESULTS / "readings_tables.py", *kept)
            document = json.loads((root / "two" / "run.json").read_text(encoding="utf-8"))
            run(HEADS, "--model", model, "--text", root / "one.txt", "--length", 48, "--scored", 12, "--segments", 1, "--pieces", 4,
                "--tau", "0.9", "--window-first", 2, "--window-last", 8, "--calibrate", root / "two.txt", "--quiet", "--out", root / "heads")
            numbers = {name: numpy.full((1, 1), 1.5, numpy.float32) for name in ("exponent", "discount")}
            safetensors.numpy.save_file(numbers, root / "reading.safetensors", {"model": "tiny"})
            heads = run(sys.executable, RESULTS / "learned_heads.py", root / "reading.safetensors", root / "one" / "run.json",
                        root / "heads" / "run.json")
        rows = {row[0]: row for row in table(markdown, "attention's entropy, nats")}
        self.assertEqual(set(rows), {"parallel", "selective", "select(K=1, r=5)", "guess(K=2, mean)", "null(b=0)",
                                     "guess(K=1, last) (5 segments)"})

        def losses(mode, pieces, selected=0):
            return [round(row["nll"], 6) for row in document["segment_rows"]  # as they are kept
                    if (row["mode"], row["pieces"], row["selected"]) == (mode, pieces, selected)]

        mean = lambda values: sum(values) / len(values)
        gap = mean(losses("parallel", 4)) - mean(losses("full", 1))
        above = mean(losses("selective", 4, 2)) - mean(losses("full", 1))
        self.assertTrue(rows["selective"][5].startswith(f"{above:+.3f} ± "), rows["selective"])  # of the second text
        self.assertEqual(rows["selective"][7], f"{100 * (1 - above / gap):.0f} %")
        self.assertEqual(rows["parallel"][6], "")
        choices = {(row[0], row[1]): row for row in table(markdown, "the loss above full, nats a token")}
        self.assertEqual(choices["4", "selective"][2], "1.00")
        self.assertIn(("4", "guess(K=1, last) (5 segments)"), choices)
        self.assertNotIn(("4", "null(b=0)"), choices)
        self.assertIn("| null(b=0) | ", markdown.split("**In one piece**")[1])
        self.assertIn("1.50 (1.50, 1.50)", heads)
        # Numbers that are all equal have no rank; the parts of parallel reading's entropy make up the whole.
        self.assertIn("| b | – | – | – | – | – |", heads)
        means = [float(cell.split()[0]) for cell in table(heads, "(tenths, nine tenths)")[0][3:7]]
        self.assertAlmostEqual(means[0] + means[1], means[2] + means[3], delta=0.02)  # of two digits each

    def test_what_is_kept_and_whole(self):
        with tempfile.TemporaryDirectory() as directory:
            root = pathlib.Path(directory)
            model = tiny.save(root / "model", "llama")
            numbers = {name: numpy.full((1, 1), 1.5, numpy.float32) for name in ("exponent", "discount")}
            safetensors.numpy.save_file(numbers, root / "a.safetensors", {"model": "tiny"})
            run(COMPARE, "--model", model, "--text", TEXT, "--length", 48, "--scored", 12, "--segments", 3, "--pieces", "1,2,4", "--prefix", "",
                "--readings", f"select,null:0,learned:{root}/a.safetensors", "--quiet", "--out", root / "run")
            document = json.loads((root / "run" / "run.json").read_text(encoding="utf-8"))
            (root / "interrupted.json").write_text(json.dumps(document | {"complete": False}), encoding="utf-8")
            for name, path in (("whole", root / "run" / "run.json"), ("interrupted", root / "interrupted.json")):
                run(sys.executable, RESULTS / "readings_tables.py", "--keep", root / f"{name}.jsonl.gz", path)

            def has(name, readings, pieces, segments):
                done = subprocess.run([sys.executable, RESULTS / "readings_tables.py", "--has", root / f"{name}.jsonl.gz", readings, pieces,
                                       str(segments)], capture_output=True, text=True, check=False)
                self.assertEqual((done.stdout, done.stderr), ("", ""))
                return done.returncode == 0

            self.assertTrue(has("whole", f"select,learned:{root}/a.safetensors", "1,4", 3))
            self.assertTrue(has("whole", "null:0,select", "1,2,4", 2))
            self.assertFalse(has("whole", f"select,learned:{root}/b.safetensors", "1,4", 3))
            self.assertFalse(has("whole", "select", "1,4,8", 3))
            self.assertFalse(has("whole", "select", "1,4", 4))
            self.assertFalse(has("interrupted", "select", "1,4", 3))
            self.assertFalse(has("nothing", "select", "1,4", 3))

    def test_entropies_are_paired_and_full_reading_wanted(self):
        full = {0: (3.0, 1.0), 1: (1.0, 5.0)}  # entropy and loss by segment: the second has less of the one, and more of the other
        above = {"parallel": (0.3, (0, 1)), "one": (0.2, (0, 1)), "other": (0.1, (1,))}  # full reading, in both, where it was read
        head = {"model": {"name": "tiny"}, "dtype": "float32", "products": "any", "configuration": {"length": 48, "scored": 12}, "version": "1"}
        row = lambda mode, pieces, segment, more: [mode, mode, pieces, 0, 0, segment, 10, full[segment][1] + more, None, None,
                                                   full[segment][0] + more, None, None, None, None, None, []]
        lines = [head] + [row(mode, 4, segment, more) for mode, (more, segments) in above.items() for segment in segments]
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory) / "one.fixed.jsonl.gz"
            write = lambda lines: path.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode()))
            write(lines)
            done = subprocess.run([sys.executable, RESULTS / "readings_tables.py", path], capture_output=True, text=True, check=False)
            self.assertEqual((done.returncode, done.stderr), (1, "readings_tables: no run over one has full reading (--pieces 1)\n"))
            write(lines + [row("full", 1, segment, 0) for segment in full])
            markdown = run(sys.executable, RESULTS / "readings_tables.py", path)
        self.assertEqual(table(markdown, "over modes; 1: less entropy, less loss"), [["one", "4", "3", "+1.00"]])

    def test_temper_by_a_grid(self):
        loss = {(0.5, 0.5): 3.3, (0.5, 1.0): 3.2, (1.0, 0.5): 3.1, (1.0, 1.0): 3.4}
        rows = [["full", "all", 1, 0, 0, 0, 10, 3.0]] + [[f"temper(T={t:g}, S={s:g})", f"temper(T={t:g}, S={s:g})", 8, 0, 0, 0, 10, nll]
                                                         for (t, s), nll in loss.items()]
        with tempfile.TemporaryDirectory() as directory:
            paths = [pathlib.Path(directory) / f"{text}.temper.jsonl.gz" for text in ("one", "two")]
            for path in paths:
                path.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in [{}, *rows]).encode()))
                rows[0][7] += 0.2  # the second text's, above which all is 0.2 less
            markdown = run(sys.executable, RESULTS / "readings_tables.py", "--temper", *paths)
        self.assertTrue(markdown.startswith("Best: `temper:1:0.5`, "), markdown)
        self.assertEqual(table(markdown, "1 segments of two\n"), [["0.5", "+0.200", "+0.100"], ["1", "**+0.000**", "+0.300"]])


if __name__ == "__main__":
    COMPARE, EVAL, HEADS = sys.argv[1:4]
    unittest.main(argv=sys.argv[:1])
