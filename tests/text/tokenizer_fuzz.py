"""Compares motet's tokenizer with Hugging Face `tokenizers` on random strings.

    python tokenizer_fuzz.py PROGRAM [--strings 10000] [--seed 0]

PROGRAM is tokenize_lines. Tokenizers of bytes are GPT-2's vocabulary and merges (../data/gpt2), with
more merges so that ids show where pieces end, under the pre-tokenizers of several families, saved by
`tokenizers` itself. Those of characters are ../data/tokenizers, as SentencePiece exports them, and
one of them under stages that no family has. Ids are compared, and what they decode to. The strings hold every character assigned up to Unicode 14, whatever Unicode
this Python knows: two builds of PCRE2 and of `tokenizers` may differ on what is newer.

The Punctuation inside `tokenizers` is of Unicode 8; strings with what is a mark for
it alone, or for newer versions alone, are left out where it counts. On some strings `tokenizers` panics after its own Replace: those are counted.

The NFC inside `tokenizers` 0.23 is that of Unicode 9: it does not know 98 combining marks and one
composition of Unicode 10 to 14, and leaves them where they stand. Where that makes a string's
normal form wrong, it is compared with `tokenizers` under Python's NFC; their number is printed.
"""

import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE

DATA = pathlib.Path(__file__).resolve().parent.parent / "data" / "gpt2"

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")

# Code points assigned by Unicode 15.0, 15.1 and 16.0.
AFTER_14 = """
    CF3 ECE 1B4E-1B4F 1B7F 1C89-1C8A 2427-2429 2FFC-2FFF 31E4-31E5 31EF A7CB-A7CD A7DA-A7DC
    105C0-105F3 10D40-10D65 10D69-10D85 10D8E-10D8F 10EC2-10EC4 10EFC-10EFF 1123F-11241
    11380-11389 1138B 1138E 11390-113B5 113B7-113C0 113C2 113C5 113C7-113CA 113CC-113D5
    113D7-113D8 113E1-113E2 116D0-116E3 11B00-11B09 11BC0-11BE1 11BF0-11BF9 11F00-11F10
    11F12-11F3A 11F3E-11F5A 1342F 13439-13455 13460-143FA 16100-16139 16D40-16D79 18CFF 1B132
    1B155 1CC00-1CCF9 1CD00-1CEB3 1D2C0-1D2D3 1DF25-1DF2A 1E030-1E06D 1E08F 1E4D0-1E4F9
    1E5D0-1E5FA 1E5FF 1F6DC 1F774-1F776 1F77B-1F77F 1F7D9 1F8B2-1F8BB 1F8C0-1F8C1 1FA75-1FA77
    1FA87-1FA89 1FA8F 1FAAD-1FAAF 1FABB-1FABF 1FAC6 1FACE-1FACF 1FADA-1FADC 1FADF 1FAE8-1FAE9
    1FAF7-1FAF8 1FBCB-1FBEF 2B739 2EBF0-2EE5D 31350-323AF
"""
ASSIGNED_IN_14 = 144762  # without surrogates and private use: 144697 and 65 control characters

ADDED = [
    AddedToken("<|endoftext|>", special=True, normalized=False),
    AddedToken("<|end", special=True, normalized=False),  # a prefix of the one above
    AddedToken("<|left|>", special=True, normalized=False, lstrip=True),
    AddedToken("<|right|>", special=False, normalized=False, rstrip=True),
    AddedToken("<|both|>", special=True, normalized=True, lstrip=True, rstrip=True),
    AddedToken("word", special=False, normalized=False, single_word=True),
    AddedToken("caf\u00e9", special=False, normalized=True),  # cafe + U+0301 too, under NFC
    AddedToken("cafe\u0301s", special=False, normalized=True, single_word=True),
    AddedToken("e\u0301t\u00e9", special=False, normalized=False),  # as written, in no normal form
    AddedToken("  \n", special=False, normalized=True),
    AddedToken("\t\t", special=False, normalized=False, rstrip=True),
]

PIECES = [
    "'s", "'S", "'t", "'re", "'VE", "'m", "'ll", "'Ll", "'d", "'\u017f", "'x", "\u2019s", "''",
    " '", " ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", " \n", "\u00a0", "\u3000", "\u2028",
    "\u0085", "\u180e", "\u200b", "\u200d", "\ufeff", "\x0b", "\x1c", "\x00", "0", "12", "123",
    "1234567", "\u0663", "\u00bd", "\u216b", "\u2461", "\u3007", "the", " and", "Hello", "word",
    " word", "words", "_word", "cafe\u0301", "caf\u00e9", "cafe\u0301s", "\u00e9te\u0301",
    "e\u0301t\u00e9", "x\u0301", "\u0344", "\u0958", "\u1e9b\u0323", "\u212b", "\u2126",
    "\u2581", "\u2581\u2581the", "<0x0A>", "<s>", "</s>", "<unk>", " <s> ", "[INST]", "[/INST] ",
    "<|user|>  ", "<|end|>\n", "<start_of_turn>", "<bos>", "\n\n\n", "Alice", " was beginning",
    "\u1100\u1161\u11a8", "\uac00\u11a8", "\uac01", "\u09c7\u09be", "\U0001d15e", "a\u0323\u0307",
    "a\u0307\u0323", "\u0e33", "\u5b57\u5178", "\U0001f469\u200d\U0001f52c",
    "\U0001f1e9\U0001f1ea", "...", " !?", "#", "<|endoftext|>", "<|end", "<|endof", "<|left|>",
    "<|right|>", "<|both|>", "\t\t", "  \n",
]  # fmt: skip


def characters():
    """Characters assigned up to Unicode 14, without surrogates and private use, by category."""
    newer = set()
    for entry in AFTER_14.split():
        first, _, last = entry.partition("-")
        newer.update(range(int(first, 16), int(last or first, 16) + 1))
    by_category = {}
    for code in range(0x110000):
        category = unicodedata.category(chr(code))
        if category not in ("Cn", "Co", "Cs") and code not in newer:
            by_category.setdefault(category, []).append(chr(code))
    count = sum(map(len, by_category.values()))
    version = unicodedata.unidata_version
    print(f"unicodedata {version}: {count} characters")
    if int(version.split(".")[0]) >= 14 and count != ASSIGNED_IN_14:
        sys.exit(f"{ASSIGNED_IN_14} are assigned in Unicode 14: AFTER_14 lacks those of {version}")
    return by_category


def random_string(rng, by_category):
    """Up to 40 parts: fixed pieces, any characters, runs of one script or of one character."""
    categories = list(by_category)
    everywhere = by_category[rng.choice(categories)]
    at = rng.randrange(len(everywhere))
    script = everywhere[at : at + 60]  # neighbours: mostly of one script
    parts = []
    for _ in range(rng.randint(0, 40)):
        kind = rng.random()
        if kind < 0.4:
            parts.append(rng.choice(PIECES))
        elif kind < 0.6:
            parts.append(rng.choice(by_category[rng.choice(categories)]))
        elif kind < 0.8:
            parts.append("".join(rng.choices(script, k=rng.randint(1, 6))))
        elif kind < 0.9:
            letter = rng.choice(by_category[rng.choice(["Ll", "Lu", "Lo"])])
            parts.append(letter + "".join(rng.choices(by_category["Mn"], k=rng.randint(1, 3))))
        elif kind < 0.95:
            parts.append(rng.choice(" \n\tx0'-\u00e9\u0301") * rng.randint(2, 40))
        else:
            parts.append("".join(chr(rng.randint(32, 126)) for _ in range(rng.randint(1, 12))))
    return "".join(parts)


def make_tokenizer(name):
    vocabulary = json.loads((DATA / "vocab.json").read_text(encoding="utf-8"))
    lines = (DATA / "merges.txt").read_text(encoding="utf-8").split("\n")[1:]
    merges = [tuple(line.split(" ")) for line in lines if line]
    if name == "smollm2":  # as there, some control bytes have no token; no merge uses them
        for c in ("\u0100", "\u0101", "\u010b", "\u011c"):  # the stand-ins of bytes 0, 1, 11, 28
            del vocabulary[c]
        vocabulary = {token: i for i, token in enumerate(sorted(vocabulary, key=vocabulary.get))}
    # GPT-2 merges few rare characters with what is beside them, so few ids would tell where a piece
    # ends. Here any two bytes that meet in a piece merge, after all that GPT-2 merges.
    symbols = [token for token in vocabulary if len(token) == 1]
    for left in symbols:
        for right in symbols:
            if left + right not in vocabulary:
                vocabulary[left + right] = len(vocabulary)
                merges.append((left, right))
    tokenizer = Tokenizer(BPE(vocabulary, merges, ignore_merges=(name == "llama3")))
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    with_regex = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)

    def split(pattern):
        return pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(pattern), "isolated"), bytes_only]
        )

    split_at = pre_tokenizers.Split
    digits = pre_tokenizers.Digits
    tokenizer.pre_tokenizer = {
        "falcon": lambda: pre_tokenizers.Sequence(  # stages behind ByteLevel see its stand-ins
            [
                pre_tokenizers.Punctuation("contiguous"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
                digits(individual_digits=False),
                split_at(Regex("[0-9][0-9][0-9]"), "isolated"),
            ]
        ),
        "behaviors": lambda: pre_tokenizers.Sequence(
            [
                split_at(Regex(QWEN2), "removed", invert=True),
                split_at(Regex("[aeiou]*"), "merged_with_previous"),
                split_at(Regex("[^a-m ]"), "merged_with_next"),
                split_at(Regex("e|t"), "contiguous"),
                split_at("h", "merged_with_next", invert=True),
                bytes_only,
            ]
        ),
        "words": lambda: pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), with_regex]),
        "gpt2": lambda: with_regex,
        "smollm2": lambda: pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), with_regex]
        ),
        "llama3": lambda: split(LLAMA3),
        "qwen2": lambda: split(QWEN2),
    }[name]()
    if name == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens(ADDED)
    return tokenizer


def stranger(name):
    """A tokenizer of characters with stages that none of ../data/tokenizers has."""
    tokenizer = Tokenizer.from_file(str(DATA.parent / "tokenizers" / "spm" / "tokenizer.json"))
    replace, metaspace = normalizers.Replace, pre_tokenizers.Metaspace
    if name == "metaspace split":
        tokenizer.normalizer = None
        tokenizer.pre_tokenizer = metaspace(prepend_scheme="always", split=True)
        tokenizer.decoder = decoders.Metaspace()
    elif name == "start":
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Strip(left=False), replace(Regex(" {2,}"), "\u2581"), replace(Regex(r"\AA*"), "a")]
        )
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.WhitespaceSplit(), metaspace(prepend_scheme="first", split=False)]
        )
        tokenizer.decoder = decoders.Sequence([decoders.Metaspace(), decoders.Strip("e", 1, 0)])
    elif name == "unknown":  # no byte fallback: unknown tokens, apart
        made = json.loads(tokenizer.to_str())
        made["model"].update(byte_fallback=False, fuse_unk=False, unk_token="<unk>")
        made["decoder"] = None
        tokenizer = Tokenizer.from_str(json.dumps(made))
    elif name == "half a fallback":  # bytes from 128 on have none, and unknown tokens wait
        made = json.loads(tokenizer.to_str())
        merges, vocabulary = made["model"]["merges"], made["model"]["vocab"]
        for byte in range(0x80, 0xC4):
            del vocabulary[f"<0x{byte:02X}>"]
        made["model"].update(fuse_unk=True, unk_token="<unk>", ignore_merges=False)
        ids = {token: i for i, token in enumerate(sorted(vocabulary, key=vocabulary.get))}
        for token in made["added_tokens"]:
            token["id"] = ids[token["content"]]
        made["model"].update(vocab=ids, merges=merges)
        tokenizer = Tokenizer.from_str(json.dumps(made))
    if name != "start":  # it strips "  \n" away, and then `tokenizers` finds it everywhere
        tokenizer.add_tokens(ADDED)
    return tokenizer


class PythonNfc:
    """NFC as Unicode defines it, inside `tokenizers`."""

    def normalize(self, text):
        normalized = unicodedata.normalize("NFC", text.normalized)
        text.replace(Regex(r"\A(?m:.+)\z"), normalized)  # Oniguruma: with m, "." is a line end too


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("--strings", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="names of tokenizers, with commas")
    options = parser.parse_args()

    by_category = characters()
    rng = random.Random(options.seed)
    strings = [random_string(rng, by_category) for _ in range(options.strings)]
    # Each character at least once, between letters so that it splits or joins them.
    every = [c for category in by_category.values() for c in category]
    for i in range(0, len(every), 100):
        strings.append("".join(f"a{c}b {c}" for c in every[i : i + 100]))
    lines = "".join(json.dumps(string) + "\n" for string in strings)

    nfc = normalizers.NFC()
    bytes_of = ["gpt2", "smollm2", "llama3", "qwen2", "falcon", "behaviors", "words"]
    tokenizers = {name: make_tokenizer(name) for name in bytes_of}
    for path in sorted((DATA.parent / "tokenizers").glob("*/tokenizer.json")):
        tokenizers[path.parent.name] = Tokenizer.from_file(str(path))
        if path.parent.name in ("gemma", "llama2_legacy"):
            tokenizers[path.parent.name].add_tokens(ADDED)
    for name in ("metaspace split", "start", "unknown", "half a fallback"):
        tokenizers[name] = stranger(name)
    marks = pre_tokenizers.Punctuation("isolated")
    unknown_marks = {
        c
        for category, all_of_it in by_category.items()
        for c in all_of_it
        if (len(marks.pre_tokenize_str(f"a{c}")) == 2)
        != (category.startswith("P") or c in "$+<=>^`|~")
    }
    with_python_nfc = make_tokenizer("qwen2")
    with_python_nfc.normalizer = normalizers.Normalizer.custom(PythonNfc())

    differ = old_nfc = 0
    if options.only:
        tokenizers = {name: tokenizers[name] for name in options.only.split(",")}
    for name, tokenizer in tokenizers.items():
        with tempfile.TemporaryDirectory() as directory:
            tokenizer.save(str(pathlib.Path(directory) / "tokenizer.json"))
            command = [options.program.resolve(), directory]
            run = subprocess.run(command, input=lines, stdout=subprocess.PIPE, text=True)
        if run.returncode != 0:
            sys.exit(f"{name}: {options.program} ended with {run.returncode}")
        answers = [json.loads(line) for line in run.stdout.splitlines()]
        if len(answers) != len(strings):
            sys.exit(f"{name}: {len(answers)} answers to {len(strings)} strings")
        wrong = panics = new_marks = 0
        for string, (ids, text) in zip(strings, answers):
            if name == "falcon" and not unknown_marks.isdisjoint(string):
                new_marks += 1
                continue
            right = tokenizer
            if name == "qwen2":
                if nfc.normalize_str(string) != unicodedata.normalize("NFC", string):
                    right = with_python_nfc
                    old_nfc += 1
            try:
                expected = right.encode(string, add_special_tokens=False).ids
            except BaseException as error:  # a panic of Rust is no Exception
                if type(error).__name__ != "PanicException":
                    raise
                panics += 1
                continue
            decoded = tokenizer.decode(ids, skip_special_tokens=False)
            text = bytes.fromhex(text).decode("utf-8", errors="replace")
            if ids != expected or text != decoded:
                wrong += 1
                if wrong <= 5:
                    both = (ids, expected) if ids != expected else (text, decoded)
                    pairs = enumerate(zip(*both))
                    at = next((i for i, pair in pairs if pair[0] != pair[1]), min(map(len, both)))
                    print(f"{name}: {json.dumps(string)}, from {at} on:")
                    for who, what in zip(("motet", "HF   "), both):
                        print(f"  {who} {what[max(0, at - 5) : at + 10]!r}")
        differ += wrong
        print(
            f"{name}: {wrong} of {len(strings)} differ"
            + (f"; {panics} that `tokenizers` cannot take" if panics else "")
            + (f"; {new_marks} with other punctuation left out" if new_marks else "")
        )
        if panics > len(strings) / 2:
            sys.exit(f"{name}: too few strings were compared")
    print(f"{old_nfc} strings of qwen2 compared under Python's NFC, not the one of Unicode 9")
    sys.exit(differ != 0)


if __name__ == "__main__":
    main()
