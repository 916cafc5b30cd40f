"""torch.ops.motet against plain softmax in float64. operators_test.py, with MOTET_LIBRARY set."""

import math
import pathlib
import re
import shutil
import sys
import tempfile
import unittest

import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples" / "python"))

import motet_torch  # noqa: E402
from motet_torch import Span  # noqa: E402


def twin(query, keys, values, spans, sets=1, log_weight=None, factors=None, threshold=None,
         scale=None, top=0, cap=None):  # fmt: skip
    """The same row with a matrix of scores, from the definition."""
    batch, heads, rows, features = query.shape
    groups = heads // keys[0].size(1)
    k, v = (
        torch.cat([x.expand(batch, -1, -1, -1) for x in of], 2).repeat_interleave(groups, 1)
        for of in (keys, values)
    )
    belongs = torch.full((rows, k.size(2)), -1)  # which set, where a row sees a key
    for span in spans:
        for row in range(span.rows):
            seen = span.keys - (span.rows - 1 - row if span.causal else 0)
            belongs[span.first_row + row, span.first_key : span.first_key + seen] = span.set
    s = (scale or 1 / math.sqrt(features)) * (query @ k.transpose(2, 3))
    if cap is not None:
        s = cap * torch.tanh(s / cap)
    if factors is not None:
        s = s * torch.tensor(factors, dtype=s.dtype)[belongs]
    seen = (belongs >= 0).expand_as(s)
    shifted = s if log_weight is None else s + log_weight[..., belongs.clamp_min(0)].diagonal(
        dim1=2, dim2=3).movedim(-1, 2)  # fmt: skip
    if threshold is not None:
        seen = seen & (shifted >= threshold.unsqueeze(-1))
    of_set = [seen & (belongs == m) for m in range(sets)]

    def statistics(mask):
        masked = shifted.masked_fill(~mask, -torch.inf)
        lse = masked.logsumexp(-1)
        p = (masked - lse.masked_fill(lse == -torch.inf, 0).unsqueeze(-1)).exp()
        return p, lse, torch.special.entr(p.masked_fill(~mask, 1)).sum(-1)  # 0, and so its slope

    p, lse, entropy = statistics(seen)
    _, set_lse, set_entropy = zip(*[statistics(mask) for mask in of_set])
    found = motet_torch.Row(
        p @ v, lse, entropy, torch.stack(set_lse, -1), torch.stack(set_entropy, -1), None
    )
    if top > 0:
        largest = [s.masked_fill(~mask, -torch.inf).topk(top, -1).values for mask in of_set]
        found = found._replace(set_top=torch.stack(largest, -2))
    return found


SPANS = [
    Span(0, 0, 7, 0, 4),
    Span(1, 0, 7, 4, 9),
    Span(2, 2, 5, 13, 6),  # rows 0 and 1 do not see it
    Span(3, 0, 7, 19, 7, causal=True),
]


def example(dtype=torch.float64, key_batch=2, seed=3):
    """Two queries of four heads over two heads of keys in three tensors; values of six features."""
    torch.manual_seed(seed)
    query = torch.randn(2, 4, 7, 8, dtype=dtype)
    sizes = [4, 15, 7]
    keys = [torch.randn(key_batch, 2, n, 8, dtype=dtype) for n in sizes]
    values = [torch.randn(key_batch, 2, n, 6, dtype=dtype) for n in sizes]
    return query, keys, values


def log_weights():
    torch.manual_seed(4)
    weights = torch.randn(2, 4, 7, 4, dtype=torch.float64)
    weights[:, 1, :, 1] = -torch.inf
    weights[0, 2, 3, 3] = -torch.inf
    return weights


class Rows(unittest.TestCase):
    def check(self, found, expected, tolerance):
        for name in found._fields:
            a, b = getattr(found, name), getattr(expected, name)
            if a is not None:
                self.assertEqual(a.shape, b.shape, name)
                same = a == b  # infinities
                error = (a.double() - b.double()).masked_fill(same, 0).abs().max().item()
                self.assertLessEqual(error, tolerance, name)

    def test_every_option_in_float64(self):
        threshold = torch.full((2, 4, 7), -0.3, dtype=torch.float64)
        for options in (
            {},
            {"log_weight": log_weights()},
            {"factors": [1.0, 0.5, 2.0, 1.5]},
            {"scale": 0.2, "top": 3},
            {"cap": 1.5, "top": 3, "factors": [1.0, 0.5, 2.0, 1.5]},
            {"threshold": threshold, "factors": [1.0, 2.0, 2.0, 1.0]},
            {"threshold": threshold, "log_weight": log_weights()},
        ):
            for key_batch in (2, 1):
                with self.subTest(options=list(options), key_batch=key_batch):
                    query, keys, values = example(key_batch=key_batch)
                    found = motet_torch.attend(query, keys, values, SPANS, 4, **options)
                    expected = twin(query, keys, values, SPANS, 4, **options)
                    self.check(found, expected, 1e-12)  # only the order of sums differs
                    if "log_weight" in options:
                        continue
                    scores = motet_torch.score(query, keys, SPANS, 4, **options)
                    self.check(scores, motet_torch.Scores(*expected[3:]), 1e-12)

    def test_low_precision(self):
        for dtype, tolerance in (
            (torch.float32, 2e-6),  # rounding of scores around 3
            (torch.bfloat16, 2e-2),  # the out is rounded to 8 bits; statistics are fp32
        ):
            query, keys, values = example(dtype)
            found = motet_torch.attend(query, keys, values, SPANS, 4)
            self.assertEqual(found.out.dtype, dtype)
            self.assertEqual(found.entropy.dtype, torch.float32)
            exact = [[x.double() for x in of] for of in ([query], keys, values)]
            self.check(found, twin(exact[0][0], exact[1], exact[2], SPANS, 4), tolerance)

    def test_a_dropped_set_may_be_nan(self):
        query, keys, values = example()
        weights = torch.zeros(2, 4, 7, 4, dtype=torch.float64)
        weights[..., 0] = -torch.inf
        expected = motet_torch.attend(query, keys, values, SPANS, 4, log_weight=weights)
        keys[0].fill_(torch.nan)
        values[0].fill_(torch.nan)
        found = motet_torch.attend(query, keys, values, SPANS, 4, log_weight=weights)
        for a, b in zip(found[:5], expected[:5]):
            self.assertTrue(torch.equal(a, b))

    def test_a_row_without_keys(self):
        query, keys, values = example()
        row = motet_torch.attend(query, keys, values, [Span(0, 1, 6, 0, 4)])
        for found, expected in zip((row.out, row.lse, row.entropy, row.mass(), row.between()),
                                   (0, -torch.inf, 0, 0, 0)):  # fmt: skip
            self.assertTrue(bool((found[:, :, 0] == expected).all()))
        self.assertEqual((row.mass()[:, :, 1:] - 1).abs().max().item(), 0)  # one set has it all

    def test_entropy_is_within_and_between(self):
        query, keys, values = example()
        row = motet_torch.attend(query, keys, values, SPANS, 4, log_weight=log_weights())
        mass = row.mass()
        self.assertLess((mass.sum(-1) - 1).abs().max().item(), 1e-12)
        self.assertEqual(mass[:, 1, :, 1].abs().max().item(), 0)
        parts = row.between() + row.within()
        self.assertLess((parts - row.entropy).abs().max().item(), 1e-12)  # the chain rule

    def test_what_is_not_asked_for_is_none(self):
        query, keys, values = example()
        row = motet_torch.attend(query, keys, values, SPANS, 4, entropy=False)
        self.assertIsNone(row.entropy)
        self.assertIsNone(row.set_entropy)
        self.assertIsNone(row.set_top)
        whole = motet_torch.attend(query, keys, values, SPANS, 4, top=2)
        self.assertTrue(torch.equal(row.out, whole.out))
        self.assertEqual(whole.set_top.shape, (2, 4, 7, 4, 2))
        scores = motet_torch.score(query, keys, SPANS, 4, entropy=False)
        self.assertIsNone(scores.entropy)
        self.assertIsNone(scores.top)
        self.assertTrue(torch.equal(scores.lse, whole.set_lse))

    def test_a_query_over_pieces_is_the_last_rows_of_the_packed_row(self):
        torch.manual_seed(5)
        prefix, pieces, own = 3, [5, 4], 6
        total = prefix + sum(pieces) + own
        query = torch.randn(1, 4, total, 8, dtype=torch.float64)
        key, value = (torch.randn(1, 2, total, 8, dtype=torch.float64) for _ in range(2))
        context = total - own
        spans = motet_torch.packed_spans(prefix, pieces)
        encoded = motet_torch.attend(query[:, :, :context], key[:, :, :context],
                                     value[:, :, :context], spans)  # fmt: skip
        spans, sets = motet_torch.piece_spans(prefix, pieces, own)
        self.assertEqual(sets, 4)
        read = motet_torch.attend(query[:, :, context:], key, value, spans, sets)
        everything = motet_torch.causal(query, key, value)
        # The prefix and the first piece are ordinary text; the second does not see the first.
        plain = prefix + pieces[0]
        self.check(_rows(encoded, slice(plain)), _rows(everything, slice(plain)), 1e-12)
        second = twin(query[:, :, plain:context], [key], [value],
                      [Span(0, 0, 4, 0, 3), Span(0, 0, 4, 8, 4, causal=True)])  # fmt: skip
        self.check(_rows(encoded, slice(plain, context)), _rows(second, slice(None)), 1e-12)
        self.check(_rows(read, slice(None)), _rows(everything, slice(context, None)), 1e-12)


def _rows(row, which):
    """Some rows, without what is of sets."""
    return row._replace(out=row.out[:, :, which], lse=row.lse[:, :, which],
                        entropy=row.entropy[:, :, which], set_lse=None, set_entropy=None)  # fmt: skip


class Gradients(unittest.TestCase):
    def test_every_output_in_every_input(self):
        query, keys, values = example()
        inputs = [x.requires_grad_() for x in (query, *keys, *values, log_weights())]

        def outputs(*inputs):
            row = motet_torch.attend(inputs[0], inputs[1:4], inputs[4:7], SPANS, 4,
                                     log_weight=inputs[7], factors=[1.0, 0.5, 2.0, 1.5],
                                     cap=cap)  # fmt: skip
            return tuple(x.masked_fill(x == -torch.inf, 0) for x in row[:5])

        for cap in (None, 2.0):
            self.assertTrue(
                torch.autograd.gradcheck(lambda *x: outputs(*x, log_weights()), inputs[:7])
            )
        finite = torch.zeros(2, 4, 7, 4, dtype=torch.float64, requires_grad=True)
        self.assertTrue(torch.autograd.gradcheck(lambda w: outputs(*inputs[:7], w), [finite]))

    def test_scores(self):
        query, keys, _ = example()
        inputs = [x.requires_grad_() for x in (query, *keys)]
        spans = [SPANS[0], SPANS[1], SPANS[3]]

        def outputs(*inputs):
            scores = motet_torch.score(inputs[0], inputs[1:], spans, 4)
            return scores.lse[..., [0, 1, 3]], scores.entropy

        self.assertTrue(torch.autograd.gradcheck(outputs, inputs))

    def test_the_same_as_the_twin_in_float32(self):
        query, keys, values = example(torch.float32)
        gradients = []
        for attend in (motet_torch.attend, twin):
            inputs = [x.detach().clone().requires_grad_() for x in (query, *keys, *values)]
            row = attend(inputs[0], inputs[1:4], inputs[4:], SPANS, 4)
            loss = row.out.square().sum() + row.lse.sum() + 3 * row.entropy.sum()
            gradients.append(torch.autograd.grad(loss, inputs))
        for a, b in zip(*gradients):
            self.assertLess((a - b).abs().max().item(), 2e-5)  # of gradients up to 20

    def test_largest_scores_have_none(self):
        query, keys, values = example()
        row = motet_torch.attend(query.requires_grad_(), keys, values, SPANS, 4, top=2)
        self.assertTrue(row.entropy.requires_grad)
        self.assertFalse(row.set_top.requires_grad)

    def test_second_derivatives_are_refused(self):
        query, keys, values = example()
        entropy = motet_torch.attend(query.requires_grad_(), keys, values, SPANS, 4).entropy.sum()
        (gradient,) = torch.autograd.grad(entropy, query, create_graph=True)
        with self.assertRaisesRegex(RuntimeError, "derivative for motet::_rows_backward"):
            gradient.sum().backward()


class Tracing(unittest.TestCase):
    def test_opcheck(self):
        spans = [number for span in SPANS for number in map(int, span)]
        ops = torch.ops.motet
        for dtype in (torch.float64, torch.float32, torch.bfloat16):
            query, keys, values = example(dtype)
            inputs = [query, *keys, *values]
            for x in inputs:
                x.requires_grad_()
            weights = log_weights().clamp_min(-3).to(dtype).requires_grad_()
            rest = (weights, [], None, None)
            for op, arguments, options in (
                (ops.attend, (query, keys, values, spans, 4), {"log_weight": weights}),
                (ops.score, (query, keys, spans, 4), {"top": 2, "entropy": False}),
                (ops._rows, (query, keys, values, spans, 4, *rest, True, 2), {}),
                (ops._rows, (query, keys, [], spans, 4, None, [], None, 0.1, False, 2), {}),
            ):
                with self.subTest(op=op, dtype=dtype):
                    results = torch.library.opcheck(op.default, arguments, options)
                    self.assertEqual(set(results.values()), {"SUCCESS"})

    def test_compiled_once_for_all_lengths(self):
        def loss(query, key, value):
            row = motet_torch.causal(2 * query, key, value)
            return row.out.square().sum() + row.entropy.sum()

        graphs = []

        def backend(graph, inputs):
            graphs.append(graph)
            return torch._dynamo.backends.registry.lookup_backend("aot_eager")(graph, inputs)

        compiled = torch.compile(loss, backend=backend, fullgraph=True, dynamic=True)
        for rows in (5, 7, 3):  # no other size is one of these: equal ones are taken for the same
            query, keys, values = example()
            query = query[:, :, :rows].clone().requires_grad_()
            found = compiled(query, keys[1], values[1])
            expected = loss(query, keys[1], values[1])
            self.assertLess((found - expected).abs().item(), 1e-10)  # sums of about 100
            gradients = [torch.autograd.grad(x, query)[0] for x in (found, expected)]
            self.assertLess((gradients[0] - gradients[1]).abs().max().item(), 1e-10)
        self.assertEqual(len(graphs), 1)


class Errors(unittest.TestCase):
    def refuses(self, message, call):
        with self.assertRaises(RuntimeError) as caught:
            call()
        self.assertEqual(str(caught.exception), message)

    def test_are_exceptions_with_their_message(self):
        query, keys, values = example()
        ops, spans = torch.ops.motet, [0, 0, 7, 0, 4, 0]
        self.refuses(
            "motet::attend: spans of 3 numbers; each span is six: set, first_row, rows, first_key, "
            "keys, causal",
            lambda: ops.attend(query, keys, values, spans[:3]),
        )
        self.refuses(
            "motet::attend: a span ends with 2; causal is 0 or 1",
            lambda: ops.attend(query, keys, values, [0, 0, 7, 0, 4, 2]),
        )
        self.refuses(
            "motet::KeySets: the span (set 0, rows 0+7, keys 0+27) leaves 1 sets, 7 rows, 26 keys",
            lambda: ops.attend(query, keys, values, [0, 0, 7, 0, 27, 0]),
        )
        self.refuses(
            "motet::attend: no values; motet::score is for keys alone",
            lambda: ops.attend(query, keys, [], spans),
        )
        self.refuses(
            "motet::score: a query of 3 dimensions; it is [batch, heads, query, features]",
            lambda: ops.score(query[0], keys, spans),
        )
        self.refuses(
            "motet::score: keys of 3 dimensions; they are [batch, kv_heads, keys, features]",
            lambda: ops.score(query, [keys[0][0]], spans),
        )
        self.refuses(
            "motet::attend: keys are Double on cpu, the query is Float on cpu",
            lambda: ops.attend(query.float(), keys, values, spans),
        )
        self.refuses(
            "motet::attend: 2 factors for 1 sets; give one for each, or none",
            lambda: ops.attend(query, keys, values, spans, factors=[1.0, 2.0]),
        )
        weights = torch.zeros(2, 4, 7, 2, dtype=torch.float64)
        self.refuses(
            "motet::attend: log weights of [2, 4, 7, 2]; they are [batch, heads, query, sets] = "
            "[2, 4, 7, 1]",
            lambda: ops.attend(query, keys, values, spans, log_weight=weights),
        )
        self.refuses(
            "motet::attend: log weights of [2, 4, 7, 2]; they are [batch, heads, query, sets] = "
            "[2, 4, 7, 1]",  # the same where gradients are wanted
            lambda: ops.attend(query.requires_grad_(), keys, values, spans, log_weight=weights),
        )


class Loading(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name).resolve()
        self.loaded = set(torch.ops.loaded_libraries)
        self.addCleanup(torch.ops.loaded_libraries.update, self.loaded)

    def test_finds_the_library_in_a_build_and_in_a_prefix(self):
        for place in (".", "lib", "lib64", "lib/x86_64-linux-gnu"):
            with self.subTest(place=place), tempfile.TemporaryDirectory() as folder:
                library = pathlib.Path(folder).resolve() / place / "libmotet.so"
                library.parent.mkdir(parents=True, exist_ok=True)
                library.touch()
                self.assertEqual(motet_torch.find(folder), library)

    def test_says_how_to_build_it(self):
        with self.assertRaises(FileNotFoundError) as caught:
            motet_torch.load(self.folder)
        self.assertIn(f"{self.folder}: holds no libmotet.so; build it (", str(caught.exception))

    def test_refuses_what_is_not_for_this_pytorch(self):
        torch.ops.loaded_libraries.clear()
        library = self.folder / "libmotet.so"
        library.write_bytes(b"an ELF file, so to speak")
        with self.assertRaises(RuntimeError) as caught:
            motet_torch.load(library)
        self.assertEqual(
            str(caught.exception),
            f"{library}: is not motet's shared library, or one without operators",
        )
        library.write_bytes(b"\0motet was built with LibTorch 1.2.3\0")
        with self.assertRaises(RuntimeError) as caught:
            motet_torch.load(library)
        self.assertEqual(
            str(caught.exception),
            f"{library}: was built with LibTorch 1.2.3, but this is PyTorch {torch.__version__}; "
            "use torch==1.2.3, or build motet with Torch_DIR set to "
            f"{torch.utils.cmake_prefix_path}/Torch",
        )

    def test_a_second_copy_is_refused(self):
        copy = self.folder / "libmotet.so"
        shutil.copy(motet_torch.load(), copy)
        with self.assertRaisesRegex(RuntimeError, "this process has loaded .*libmotet.* already"):
            motet_torch.load(copy)

    def test_tells_what_it_was_built_with(self):
        version = torch.__version__.split("+")[0]
        self.assertEqual(torch.ops.motet.build(), f"motet was built with LibTorch {version}")


class Documentation(unittest.TestCase):
    def test_examples_of_the_page_run(self):
        page = (ROOT / "docs" / "python.md").read_text()
        blocks = re.findall(r"```python\n(.*?)```", page, re.S)
        self.assertGreater(len(blocks), 0)
        scope = {}
        for block in blocks:
            exec(compile(block, "docs/python.md", "exec"), scope)
        self.assertEqual(scope["row"].out.shape, scope["query"].shape)


if __name__ == "__main__":
    motet_torch.load()
    unittest.main(verbosity=2)
