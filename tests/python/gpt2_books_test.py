"""The GPT-2 in examples/data: its losses and logits in transformers.

gpt2_books_test.py MOTET_COMPARE MOTET_TRACE
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = ROOT / "examples" / "data" / "gpt2-books"
TEXT = ROOT / "examples" / "data" / "alice.txt"
COMPARE = TRACE = None


class Gpt2Books(unittest.TestCase):
    def test_logits_are_those_of_transformers(self):
        subprocess.run([sys.executable, ROOT / "examples/python/verify_model.py", MODEL, "--tokens", "512",
                        "--program", TRACE, "--bound", "1e-4"], check=True)

    def test_losses_are_those_of_transformers(self):
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([COMPARE, "--model", MODEL, "--text", TEXT, "--length", "512", "--scored", "128",
                            "--segments", "1", "--pieces", "1,8", "--quiet", "--out", folder],
                           check=True, stdout=subprocess.DEVNULL)
            rows = json.loads((pathlib.Path(folder) / "run.json").read_text(encoding="utf-8"))["rows"]
        rows = {(row["mode"], row["pieces"]): row for row in rows}
        tokens = torch.tensor(transformers.AutoTokenizer.from_pretrained(MODEL)(TEXT.read_text("utf-8")).input_ids[:512])
        model = transformers.AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
        with torch.no_grad():
            logits = model(tokens[None]).logits[0, -129:-1]
        expected = torch.nn.functional.cross_entropy(logits, tokens[-128:]).item()
        self.assertAlmostEqual(rows["full", 1]["nll"], expected, delta=1e-4)
        self.assertLess(expected, 6)  # it has learned: 9.01 is the loss of a guess
        # Zhang et al., arXiv 2412.16545: entropy rises in parallel reading, and so does the loss.
        self.assertGreater(rows["parallel", 8]["entropy_tok"], rows["full", 1]["entropy_tok"])


if __name__ == "__main__":
    COMPARE, TRACE = sys.argv[1:]
    unittest.main(argv=sys.argv[:1])
