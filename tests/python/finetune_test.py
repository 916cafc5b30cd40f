"""What motet-finetune leaves, in transformers: the same model. finetune_test.py MOTET_FINETUNE MOTET_TRACE"""

import pathlib
import subprocess
import sys
import tempfile
import unittest

import torch
import transformers

import tiny

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = tiny.DATA / "valid_books.txt"
FINETUNE = TRACE = None


class Result(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def tune(self, *begin):
        out = self.folder / "out"
        subprocess.run([FINETUNE, *begin, "--text", TEXT, "--steps", "3", "--length", "64", "--lr", "0.01",
                        "--sparsity", "tail", "--keys", "8", "--weight", "1", "--quiet", "--out", out],
                       check=True, stdout=subprocess.DEVNULL)
        return out

    def assert_same_there(self, out):
        subprocess.run([sys.executable, ROOT / "examples/python/verify_model.py", out, "--tokens", "100",
                        "--program", TRACE, "--bound", "1e-4"], check=True, stdout=subprocess.DEVNULL)

    def test_of_each_family(self):
        for family in ("llama", "mistral", "gpt2"):
            with self.subTest(family=family):
                source = tiny.save(self.folder / family, family)
                out = self.tune("--model", source, "--overwrite")
                before, after = map(transformers.AutoModelForCausalLM.from_pretrained, (source, out))
                self.assertIs(type(after), type(before))
                moved = [not torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True)]
                self.assertGreater(sum(moved), len(moved) // 2)
                self.assert_same_there(out)

    def test_from_scratch(self):
        configuration = self.folder / "gpt2.json"
        tiny.configuration("gpt2").to_json_file(configuration, use_diff=False)
        self.assert_same_there(self.tune("--init", configuration, "--tokenizer", tiny.DATA / "gpt2"))


if __name__ == "__main__":
    FINETUNE, TRACE = sys.argv[1:]
    unittest.main(argv=sys.argv[:1])
