"""motet's attention rows in PyTorch: torch.ops.motet with named results. See docs/python.md.

    import motet_torch
    motet_torch.load()                                   # build/release, or $MOTET_LIBRARY
    row = motet_torch.causal(query, keys, values)        # [batch, heads, rows, features]
    row.out, row.entropy
"""

import os
import pathlib
import re
from typing import NamedTuple, Optional

import torch


class Span(NamedTuple):
    """Rows that see keys of one set; where `causal`, the last row sees all of the span's keys and
    each row before it one less. Keys are counted through all key tensors, laid end to end."""

    set: int
    first_row: int
    rows: int
    first_key: int
    keys: int
    causal: bool = False


class Row(NamedTuple):
    """Attention rows. Statistics are in nats, fp32 or, for float64 inputs, float64."""

    out: torch.Tensor  # [batch, heads, rows, features], in the dtype of the query
    lse: torch.Tensor  # ln sum_j exp(s_j), [batch, heads, rows]
    entropy: Optional[torch.Tensor]  # -sum_j p_j ln p_j, [batch, heads, rows]
    set_lse: torch.Tensor  # of each set, its log weight added, [batch, heads, rows, sets]
    set_entropy: Optional[torch.Tensor]  # inside each set, [batch, heads, rows, sets]
    set_top: Optional[torch.Tensor]  # its largest scores, [batch, heads, rows, sets, top]

    def mass(self):
        """The probability of each set, [batch, heads, rows, sets]; 0 in a row without keys."""
        lse = self.lse.masked_fill(self.lse == -torch.inf, 0)
        return (self.set_lse - lse.unsqueeze(-1)).exp()

    def between(self):
        """How much a row hesitates between sets, [batch, heads, rows], nats."""
        return torch.special.entr(self.mass()).sum(-1)

    def within(self):
        """How much it hesitates inside them, [batch, heads, rows], nats."""
        return (self.mass() * self.set_entropy).sum(-1)


class Scores(NamedTuple):
    """What is known of each set without its values, [batch, heads, rows, sets(, top)]."""

    lse: torch.Tensor
    entropy: Optional[torch.Tensor]
    top: Optional[torch.Tensor]


ROOT = pathlib.Path(__file__).resolve().parents[2]
NAME = "libmotet.so"


def find(library=None):
    """The library file: `library`, or $MOTET_LIBRARY, or the one in this repository's
    build/release. A folder may be a build folder or the prefix of an installation."""
    given = library or os.environ.get("MOTET_LIBRARY")
    place = pathlib.Path(given or ROOT / "build" / "release").resolve()
    for path in [place, place / NAME, *sorted(place.glob(f"lib*/{NAME}")),
                 *sorted(place.glob(f"lib/*/{NAME}"))]:  # fmt: skip
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"{place}: holds no {NAME}; build it (cmake --preset release && cmake --build --preset "
        "release, without -DBUILD_SHARED_LIBS=OFF), and name the file or its folder in "
        "motet_torch.load(...) or in the environment variable MOTET_LIBRARY"
    )


def load(library=None):
    """Loads torch.ops.motet, once a process, and returns the path of the library; see `find`."""
    path = find(library)
    loaded = [pathlib.Path(p) for p in torch.ops.loaded_libraries if "libmotet" in p]
    if loaded:  # a second copy would end the process: its operators are registered already
        if not any(path.samefile(other) for other in loaded):
            raise RuntimeError(f"{path}: this process has loaded {loaded[0]} already")
        return path
    built = re.search(rb"motet was built with LibTorch ([0-9.]+)", path.read_bytes())
    if built is None:
        raise RuntimeError(f"{path}: is not motet's shared library, or one without operators")
    version = built[1].decode()
    if version != torch.__version__.split("+")[0]:
        raise RuntimeError(
            f"{path}: was built with LibTorch {version}, but this is PyTorch {torch.__version__}; "
            f"use torch=={version}, or build motet with Torch_DIR set to "
            f"{torch.utils.cmake_prefix_path}/Torch"
        )
    torch.ops.load_library(str(path))
    return path


def _list(tensors):
    return [tensors] if isinstance(tensors, torch.Tensor) else list(tensors)


def _flat(spans):
    return [int(number) for span in spans for number in Span(*span)]


def _wanted(tensors, names, options):
    """None for what was not asked for."""
    absent = set() if options.get("entropy", True) else {"entropy", "set_entropy"}
    absent |= set() if options.get("top", 0) > 0 else {"top", "set_top"}
    return [None if name in absent else tensor for name, tensor in zip(names, tensors)]


def attend(query, keys, values, spans, sets=1, **options):
    """A `Row` for each query row over its sets of keys; differentiable in query, keys, values and
    log_weight.

    query [batch, heads, rows, features]; keys and values: a tensor each, or lists of tensors that
    are read as if laid end to end, [batch or 1, kv_heads, keys, features], where kv_heads divides
    heads. Options: log_weight [batch, heads, rows, sets] (0 keeps a set, -inf drops it), factors
    (one for each set, on its scores), threshold [batch, heads, rows] (effective scores below it
    are dropped), scale (1 / sqrt(features) unless given), cap (a soft cap on scores before their
    factors), entropy=False, top=r. Raises RuntimeError where the shapes do not fit each other.
    """
    rows = torch.ops.motet.attend(query, _list(keys), _list(values), _flat(spans), sets, **options)
    return Row(*_wanted(rows, Row._fields, options))


def score(query, keys, spans, sets=1, **options):
    """`Scores` for each query row: what `attend` would find of each set, without values. Options:
    top, factors, threshold, scale, cap, entropy."""
    scores = torch.ops.motet.score(query, _list(keys), _flat(spans), sets, **options)
    return Scores(*_wanted(scores, Scores._fields, options))


def causal(query, keys, values, **options):
    """Ordinary causal attention: the last row sees all keys, each row before it one less."""
    rows, count = query.size(2), keys.size(2)
    return attend(query, keys, values, [Span(0, 0, rows, 0, count, causal=True)], **options)


def piece_spans(prefix, pieces, own):
    """Spans and number of sets of `own` query rows over a prefix of so many keys (0: none), pieces
    of so many, and their own keys: set 0, sets 1 .. P and set P + 1."""
    spans, first = [], 0
    for index, keys in enumerate([prefix, *pieces]):
        spans.append(Span(index, 0, own, first, keys))
        first += keys
    spans.append(Span(len(pieces) + 1, 0, own, first, own, causal=True))
    return spans, len(pieces) + 2


def packed_spans(prefix, pieces):
    """The span of each piece's rows when prefix and pieces are encoded as one packed row: a piece
    sees the prefix and itself. One set."""
    spans, first = [Span(0, 0, prefix, 0, prefix, causal=True)], prefix
    for tokens in pieces:
        spans.append(Span(0, first, tokens, 0, prefix))
        spans.append(Span(0, first, tokens, first, tokens, causal=True))
        first += tokens
    return spans
