"""The tokenizer of a GGUF file as a tokenizer.json, in the format of the library `tokenizers`:
byte-level BPE, and BPE of characters as SentencePiece has it.
"""

from importers.directory import Failure

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5  # gguf.TokenType
MARK = "\u2581"  # SentencePiece's, in the place of a space
LLAMA3_PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
                  r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2_PATTERN = LLAMA3_PATTERN.replace(r"\p{N}{1,3}", r"\p{N}")
LLAMA3_NAMES = ("llama-bpe", "llama3", "llama-v3")  # llama.cpp gives these a BOS unless told not to
LIKE_LLAMA3 = (*LLAMA3_NAMES, "smaug-bpe")  # that split as Llama 3 does


def byte_level(use_regex):
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
            "use_regex": use_regex}


def split_by(pattern):
    return {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False},
        byte_level(False)]}


PRE_TOKENIZERS = {  # by tokenizer.ggml.pre, of byte-level BPE
    "gpt-2": byte_level(True),
    "olmo": byte_level(True),
    "smollm": {"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": True}, byte_level(True)]},
    "qwen2": split_by(QWEN2_PATTERN),
    **{name: split_by(LLAMA3_PATTERN) for name in LIKE_LLAMA3},
}


def check_tokenizer(metadata):
    """That the file's tokenizer is one that can be written as a tokenizer.json."""
    other = "give the directory that has the model's tokenizer.json with --tokenizer"
    model = metadata.get("tokenizer.ggml.model", None)
    if model == "llama":
        return
    if model != "gpt2":
        raise Failure(f"{metadata.path}: its tokenizer is of the kind '{model}'; 'gpt2' "
                      f"(byte-level BPE) and 'llama' (SentencePiece's BPE) are read: {other}")
    pre = metadata.get("tokenizer.ggml.pre", None)
    if pre is None:
        raise Failure(f"{metadata.path}: has no 'tokenizer.ggml.pre', which says how its tokenizer "
                      f"splits text: {other}")
    if pre not in PRE_TOKENIZERS:
        raise Failure(f"{metadata.path}: the rule '{pre}' by which its tokenizer splits text "
                      f"(tokenizer.ggml.pre) is not known here; {', '.join(PRE_TOKENIZERS)} are: "
                      f"{other}")


def is_sentencepiece(metadata):
    return metadata.get("tokenizer.ggml.model") == "llama"


def is_gemma(metadata):
    return metadata.architecture.startswith("gemma")


def tokens_of(metadata):
    """[(id, (token as Hugging Face writes it, kind))]."""
    tokens = metadata.get("tokenizer.ggml.tokens")
    kinds = metadata.get("tokenizer.ggml.token_type", [NORMAL] * len(tokens))
    if is_gemma(metadata):  # tokens of spaces are written with spaces in these files
        tokens = [MARK * len(token) if len(token) > 1 and not token.strip(" ") else token
                  for token in tokens]
    return list(enumerate(zip(tokens, kinds)))


def added_tokens(metadata):
    """Tokens that are matched as they are written: [(id, their text and how they are matched)]."""
    return [(id, {"content": token, "single_word": False, "lstrip": False, "rstrip": False,
                  "normalized": False, "special": kind == CONTROL})
            for id, (token, kind) in tokens_of(metadata)
            if kind == CONTROL or kind == USER_DEFINED and token.strip(MARK)]


def merges_of(metadata):
    """The merges that a SentencePiece vocabulary implies: every cut of a token into two others, the
    best token first. Files of Gemma keep the order of the tokens, others their scores.
    """
    tokens = [token for _, (token, _) in tokens_of(metadata)]
    ids = {token: id for id, token in enumerate(tokens)}
    score = (lambda id: -id) if is_gemma(metadata) else metadata.get("tokenizer.ggml.scores").__getitem__
    merges = []
    for id, token in enumerate(tokens):
        cuts = [(token[:i], token[i:]) for i in range(1, len(token))]
        merges += [(score(id), left, right) for left, right in
                   sorted((cut for cut in cuts if cut[0] in ids and cut[1] in ids),
                          key=lambda cut: (ids[cut[0]], ids[cut[1]]))]
    # As transformers' own conversion orders them.
    merges.sort(key=lambda merge: (merge[0], len(merge[1]), len(merge[2])), reverse=True)
    return [[left, right] for _, left, right in merges]


def usual_bos(metadata):
    """Whether llama.cpp puts a BOS first where the file does not say."""
    return is_sentencepiece(metadata) or metadata.get("tokenizer.ggml.pre", None) in LLAMA3_NAMES


def bos(metadata):
    """The token that texts begin with, or None: (token, id)."""
    if not metadata.get("tokenizer.ggml.add_bos_token", usual_bos(metadata)):
        return None
    id = metadata.get("tokenizer.ggml.bos_token_id")
    return metadata.get("tokenizer.ggml.tokens")[id], id


def post_processor(metadata):
    first = bos(metadata)
    if first is None:
        return None
    token, id = first

    def parts(name, kind):
        return [{"SpecialToken": {"id": token, "type_id": kind}},
                {"Sequence": {"id": name, "type_id": kind}}]

    return {"type": "TemplateProcessing", "single": parts("A", 0),
            "pair": parts("A", 0) + parts("B", 1),
            "special_tokens": {token: {"id": token, "ids": [id], "tokens": [token]}}}


def bytes_parts(metadata):
    """What tokenizer.json says of byte-level BPE."""
    pre = metadata.get("tokenizer.ggml.pre")
    return {
        "normalizer": {"type": "NFC"} if pre == "qwen2" else None,
        "pre_tokenizer": PRE_TOKENIZERS[pre],
        "decoder": byte_level(True),
    }, {
        "unk_token": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": pre in LLAMA3_NAMES,
        "vocab": {token: id for id, (token, kind) in tokens_of(metadata) if kind != UNUSED},
        "merges": metadata.get("tokenizer.ggml.merges"),
    }


def sentencepiece_parts(metadata):
    """What tokenizer.json says of SentencePiece's BPE: as transformers writes it for these models."""
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": MARK}
    decoders = [{"type": "Replace", "pattern": {"String": MARK}, "content": " "},
                {"type": "ByteFallback"}, {"type": "Fuse"}]
    prefix = metadata.get("tokenizer.ggml.add_space_prefix", not is_gemma(metadata))
    if prefix:
        decoders.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    unknown = metadata.get("tokenizer.ggml.unknown_token_id", 0)
    # A text that starts with a space has one more in front in Phi-3, and in files of before there
    # was another way; where only the start of a text counts, the pre-tokenizer does it.
    prepend = prefix and metadata.architecture == "phi3"
    steps = [{"type": "Prepend", "prepend": MARK}, replace] if prepend else [replace]
    metaspace = {"type": "Metaspace", "replacement": MARK, "prepend_scheme": "first",
                 "split": False}
    split = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious",
             "invert": False}
    return {
        "normalizer": None if prefix and not prepend else
                      steps[0] if len(steps) == 1 else {"type": "Sequence", "normalizers": steps},
        "pre_tokenizer": None if prepend else metaspace if prefix else split,
        "decoder": {"type": "Sequence", "decoders": decoders},
    }, {
        "unk_token": metadata.get("tokenizer.ggml.tokens")[unknown],
        "fuse_unk": True,
        "byte_fallback": True,
        "ignore_merges": False,
        "vocab": {token: id for id, (token, kind) in tokens_of(metadata)},
        "merges": merges_of(metadata),
    }


def tokenizer(metadata):
    """tokenizer.json, in the format of the `tokenizers` library."""
    parts, model = (sentencepiece_parts if is_sentencepiece(metadata) else bytes_parts)(metadata)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": id, **token} for id, token in added_tokens(metadata)],
        **parts,
        "post_processor": post_processor(metadata),
        "model": {
            "type": "BPE",
            "dropout": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            **model,
        },
    }


def tokenizer_config(metadata):
    tokens = metadata.get("tokenizer.ggml.tokens")
    ids = {name: metadata.get(f"tokenizer.ggml.{kind}_token_id", None)
           for name, kind in (("bos_token", "bos"), ("eos_token", "eos"),
                              ("pad_token", "padding"), ("unk_token", "unknown"))}
    template = metadata.get("tokenizer.chat_template", None)
    config = {
        "add_bos_token": bos(metadata) is not None,
        "add_prefix_space": False,
        "added_tokens_decoder": {str(id): token for id, token in added_tokens(metadata)},
        "clean_up_tokenization_spaces": False,
        "model_max_length": metadata.own("context_length"),
        "tokenizer_class": "PreTrainedTokenizerFast",  # takes tokenizer.json as it is
        **({} if template is None else {"chat_template": template}),
        **{name: tokens[id] for name, id in ids.items() if id is not None},
    }
    return dict(sorted(config.items()))
