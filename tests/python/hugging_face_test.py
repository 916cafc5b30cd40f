"""examples/python/hugging_face_attention.py on tiny models. hugging_face_test.py MOTET_COMPARE"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

import torch
import transformers

import tiny

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples" / "python"))

import hugging_face_attention as example  # noqa: E402
import motet_torch  # noqa: E402

COMPARE = None
TEXT = tiny.DATA / "valid_books.txt"


def tokens(batch=1, count=40):
    torch.manual_seed(1)
    return torch.randint(50257, (batch, count))


class InsideAModel(unittest.TestCase):
    def setUp(self):
        self.attention = example.MotetAttention()

    def both(self, family, **options):
        model = tiny.model(family, **options)
        model.set_attn_implementation("motet")
        other = tiny.model(family, **options)
        return model, other

    def test_logits_and_entropies(self):
        for family in ("llama", "gpt2", "mistral"):
            with self.subTest(family=family), torch.no_grad():
                model, other = self.both(family)
                logits = model(tokens(2)).logits
                other.set_attn_implementation("sdpa")
                expected = other(tokens(2)).logits
                # fp32, sums in another order
                error = (logits - expected).abs().max() / expected.abs().max()
                self.assertLess(error.item(), 1e-5)
                other.set_attn_implementation("eager")
                matrices = other(tokens(2), output_attentions=True).attentions
                entropy = torch.stack([torch.special.entr(p.double()).sum(-1) for p in matrices])
                found = self.attention.rows()
                self.attention.clear()
                self.assertEqual(found.shape, (3, 2, 4, 40))
                self.assertLess((found - entropy).abs().max().item(), 1e-4)  # what is promised
                spread = entropy[..., 20:].amax() - entropy[..., 20:].amin()
                self.assertGreater(spread.item(), 0.5)  # so that a wrong one would be seen

    def test_with_a_cache(self):
        with torch.no_grad():
            model, _ = self.both("llama")
            whole = model(tokens()).logits
            rows = self.attention.rows()
            self.attention.clear()
            first = model(tokens()[:, :25], use_cache=True)
            second = model(tokens()[:, 25:39], past_key_values=first.past_key_values)
            third = model(tokens()[:, 39:], past_key_values=second.past_key_values)
            parts = torch.cat([first.logits, second.logits, third.logits], 1)
            self.assertLess((parts - whole).abs().max().item(), 1e-4 * whole.abs().max().item())
            self.assertLess((self.attention.rows() - rows).abs().max().item(), 1e-4)
            greedy = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
            found = model.generate(tokens(), **greedy)
            model.set_attn_implementation("sdpa")
            self.assertTrue(torch.equal(found, model.generate(tokens(), **greedy)))

    def test_gradients(self):
        gradients = []
        for model in self.both("llama"):
            loss = model(tokens(2), labels=tokens(2)).loss
            loss.backward()
            gradients.append(model.model.layers[0].self_attn.k_proj.weight.grad)
        largest = gradients[1].abs().max().item()
        self.assertGreater(largest, 0)
        self.assertLess((gradients[0] - gradients[1]).abs().max().item(), 1e-4 * largest)

    def test_autocast_and_low_precision(self):
        for dtype in (torch.bfloat16, torch.float16):
            for family in ("llama", "qwen3"):
                for way in ("autocast", "weights"):
                    with self.subTest(dtype=dtype, family=family, way=way):
                        losses = []
                        for model in self.both(family):
                            model = model.to(dtype) if way == "weights" else model
                            with torch.autocast("cpu", dtype=dtype, enabled=way == "autocast"):
                                loss = model(tokens(2), labels=tokens(2)).loss
                            loss.backward()
                            losses.append(loss.item())
                            gradient = model.model.layers[0].self_attn.k_proj.weight.grad
                            self.assertTrue(gradient.isfinite().all())
                        self.assertLess(abs(losses[0] / losses[1] - 1), 0.02)

    def test_what_is_not_plain_causal_is_refused(self):
        padding = torch.ones(2, 40, dtype=torch.int64)
        model, _ = self.both("llama")
        model(tokens(2), attention_mask=padding)  # nothing is hidden
        padding[1, :3] = 0
        message = "motet: the mask of 40 rows over 40 keys is not plain causal"
        with self.assertRaisesRegex(ValueError, message):
            model(tokens(2), attention_mask=padding)
        with self.assertRaisesRegex(ValueError, message):  # packed sequences
            model(tokens(), position_ids=torch.arange(20).repeat(2).unsqueeze(0), use_cache=False)
        with self.assertRaisesRegex(ValueError, r"an attention mask of \[1, 1, 40, 40\] was given"):
            model(tokens(), attention_mask=torch.zeros(1, 1, 40, 40))
        with self.assertRaisesRegex(ValueError, "motet: the mask of 40 rows over 64 keys"):
            cache = transformers.StaticCache(config=model.config, max_cache_len=64)
            model(tokens(), past_key_values=cache)
        window, _ = self.both("mistral", sliding_window=16)
        with self.assertRaisesRegex(ValueError, message):
            window(tokens())
        window(tokens()[:, :16])  # the window hides nothing
        dropout, _ = self.both("llama", attention_dropout=0.1)
        with self.assertRaisesRegex(ValueError, "motet: dropout 0.1 of attention; use model.eval"):
            dropout.train()(tokens())


class Program(unittest.TestCase):
    def run_example(self, *arguments):
        command = [sys.executable, str(ROOT / "examples/python/hugging_face_attention.py")]
        return subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True)

    def test_agrees_with_motet_compare(self):
        for family in ("llama", "gpt2"):
            with self.subTest(family=family), tempfile.TemporaryDirectory() as folder:
                folder = pathlib.Path(folder)
                text = folder / "text.txt"
                text.write_text(TEXT.read_text(encoding="utf-8")[:8000], encoding="utf-8")
                model = tiny.save(folder / "model", family)
                run = folder / "run"
                subprocess.run(
                    [COMPARE, "--model", model, "--text", text, "--length", "96", "--scored", "24",
                     "--segments", "2", "--skip", "1", "--pieces", "1,2", "--save-stats", "--quiet",
                     "--out", run],
                    check=True, capture_output=True,
                )  # fmt: skip
                found = self.run_example("--model", model, "--text", text, "--run", run)
                self.assertEqual(found.returncode, 0, found.stdout + found.stderr)
                self.assertEqual(found.stderr, "")
                self.assertIn("segment 2: 24 rows after 71 tokens\n", found.stdout)
                self.assertEqual(found.stdout.count("agrees: entropy of heads, motet-compare: "), 2)
                lines = re.findall(r"^ +[012]( +\d\.\d\d){4}  \|", found.stdout, re.M)
                self.assertEqual(len(lines), 3)
                document = run / "run.json"
                plain = document.read_text()
                changed = json.loads(plain)
                changed["configuration"]["bos"] = [0]
                document.write_text(json.dumps(changed))
                found = self.run_example("--model", model, "--text", text, "--run", run)
                self.assertEqual(found.returncode, 1)
                self.assertEqual(
                    found.stderr, f"{run}: was made with --bos, which this example does not do\n"
                )
                document.write_text(plain)
                other = folder / "other.txt"
                other.write_text("A motet is not a motto. " * 200)
                found = self.run_example("--model", model, "--text", other, "--run", run)
                self.assertEqual(found.returncode, 1)
                self.assertEqual(
                    found.stderr, f"{run}: segment 1 is not of this text and this tokenizer\n"
                )
                found = self.run_example("--model", model, "--text", text, "--length", 9999)
                self.assertEqual(found.returncode, 1)
                self.assertRegex(found.stderr, r"text.txt: \d+ tokens, fewer than --length 9999\n$")

    def test_says_where_something_differs(self):
        for found, wrong in ((2.0, False), (2.1, True), (torch.nan, True)):
            pair = torch.tensor([1.0, found]), torch.tensor([1.0, 2.0])
            self.assertEqual(example.differ("a", *pair, 1e-4), wrong)


if __name__ == "__main__":
    COMPARE = sys.argv.pop(1)
    motet_torch.load()
    unittest.main(verbosity=2)
