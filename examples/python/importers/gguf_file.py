"""A GGUF file of llama.cpp: its tensors dequantised, named and laid out as Hugging Face has them,
its byte-level BPE as a tokenizer.json. Needs the packages gguf and numpy, not torch.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; what llama.cpp's convert_hf_to_gguf.py
did to the tensors is undone here.
"""

import dataclasses
import math
import pathlib
import sys
from collections.abc import Callable

from importers.directory import Failure, Model, Tensor, tokenizer_files

# --- architectures -------------------------------------------------------------------------------

# GGUF's names, and Hugging Face's, of a block's parts and of what is outside the blocks.
LLAMA_PARTS = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
               "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
               "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
               "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
QWEN3_PARTS = {**LLAMA_PARTS, "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
GPT2_PARTS = {"attn_norm": "ln_1", "ffn_norm": "ln_2", "attn_qkv": "attn.c_attn",
              "attn_output": "attn.c_proj", "ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"}
LLAMA_OUTSIDE = {"token_embd.weight": "model.embed_tokens.weight",
                 "output_norm.weight": "model.norm.weight"}
GPT2_OUTSIDE = {"token_embd.weight": "transformer.wte.weight",
                "position_embd.weight": "transformer.wpe.weight",
                "output_norm.weight": "transformer.ln_f.weight",
                "output_norm.bias": "transformer.ln_f.bias"}
GPT2_PRODUCTS = ("attn_qkv", "attn_output", "ffn_up", "ffn_down")  # Conv1D: [in, out]

ATTENTION = ("attn_q", "attn_k", "attn_v")
MLP = ("ffn_gate", "ffn_up", "ffn_down")

# Metadata of an architecture that is read below, or that says nothing more.
KNOWN = {"block_count", "context_length", "embedding_length", "feed_forward_length", "vocab_size",
         "attention.head_count", "attention.head_count_kv", "attention.key_length",
         "attention.value_length", "attention.layer_norm_rms_epsilon",
         "attention.layer_norm_epsilon", "attention.sliding_window", "rope.freq_base",
         "rope.dimension_count", "rope.scaling.type", "rope.scaling.factor", "rope.scale_linear",
         "rope.scaling.original_context_length", "rope.scaling.finetuned",
         "rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow", "tensor_data_layout"}
HARMLESS = {"expert_count": 0, "expert_used_count": 0, "attention.causal": True,
            "rope.scaling.attn_factor": 1.0}


class Metadata:
    """The key-value pairs of a file. What is asked for and missing is an error."""

    def __init__(self, reader, path):
        self.fields, self.path = reader.fields, path
        self.architecture = self.get("general.architecture")

    def get(self, name, *otherwise):
        if name in self.fields:
            return self.fields[name].contents()
        if otherwise:
            return otherwise[0]
        raise Failure(f"{self.path}: has no '{name}'")

    def own(self, name, *otherwise):
        """A value of the architecture, one for all layers."""
        value = self.get(f"{self.architecture}.{name}", *otherwise)
        if isinstance(value, list) and len(set(value)) == 1:
            return value[0]
        if isinstance(value, list):
            raise Failure(f"{self.path}: '{self.architecture}.{name}' differs from layer to layer "
                          "(" + ", ".join(map(str, value)) + "), which is not supported")
        return value

    def check(self):
        """Everything that the file says of its architecture is understood."""
        prefix = f"{self.architecture}."
        for name in self.fields:
            key = name.removeprefix(prefix)
            if name.startswith(prefix) and key not in KNOWN:
                value = self.get(name)
                if key not in HARMLESS or value != HARMLESS[key]:
                    raise Failure(f"{self.path}: '{name}' = {value} is not supported: the model "
                                  "computes something that motet's family does not")
        window = self.own("attention.sliding_window", None)
        if window and window < self.own("context_length"):
            raise Failure(f"{self.path}: a sliding window of {window} tokens in a context of "
                          f"{self.own('context_length')} is not supported")


def short(value):
    """A number stored in fp32 as it was written: 1e-05, not 9.999999747378752e-06."""
    return float(f"{value:.6g}")


def rope_scaling(metadata, factors):
    """rope_scaling of config.json. `factors` is the tensor rope_freqs, or None: there llama.cpp
    keeps what each frequency of a Llama 3 is divided by.
    """
    if factors is not None:
        return llama3(metadata, factors)
    kind = metadata.own("rope.scaling.type", None)
    linear = metadata.own("rope.scale_linear", 1.0)  # of old files
    factor = metadata.own("rope.scaling.factor", linear)
    if kind is None and linear != 1.0:
        kind = "linear"
    if kind in (None, "none") or (kind == "linear" and factor == 1.0):
        return None
    if kind == "linear":
        return {"rope_type": "linear", "factor": short(factor)}
    if kind == "yarn":
        return {"rope_type": "yarn", "factor": short(factor),
                "beta_fast": short(metadata.own("rope.scaling.yarn_beta_fast", 32.0)),
                "beta_slow": short(metadata.own("rope.scaling.yarn_beta_slow", 1.0)),
                "original_max_position_embeddings":
                    metadata.own("rope.scaling.original_context_length")}
    raise Failure(f"{metadata.path}: the rope scaling '{kind}' is not supported; none, linear, "
                  "yarn and Llama 3's are")


def llama3(metadata, factors):
    """The settings that give these factors. Files do not hold them; all Llamas since 3.1 have low
    and high factors 1 and 4 and 8,192 positions, which is checked here.
    """
    low, high, positions, factor = 1.0, 4.0, 8192, float(factors.max())
    base, features = metadata.own("rope.freq_base"), 2 * len(factors)
    for i, found in enumerate(factors):
        turns = positions * base ** (-2 * i / features) / (2 * math.pi)  # positions / wavelength
        smooth = min(max((turns - low) / (high - low), 0.0), 1.0)
        expected = 1 / ((1 - smooth) / factor + smooth)
        if abs(found - expected) > 1e-4 * expected:  # they were computed in fp32
            raise Failure(f"{metadata.path}: rope_freqs divides frequency {i} by {found:.6g}, not "
                          f"{expected:.6g} as Llama 3's scaling by {factor:.6g} from {positions} "
                          "positions does; another scaling is not supported")
    return {"rope_type": "llama3", "factor": short(factor), "low_freq_factor": low,
            "high_freq_factor": high, "original_max_position_embeddings": positions}


def rotary_config(metadata, tensors):
    """config.json of the families with rotated positions."""
    width, heads = metadata.own("embedding_length"), metadata.own("attention.head_count")
    features = metadata.own("attention.key_length", width // heads)
    for name in ("attention.value_length", "rope.dimension_count"):
        if metadata.own(name, features) != features:
            raise Failure(f"{metadata.path}: '{metadata.architecture}.{name}' is "
                          f"{metadata.own(name)} in heads of {features} features; they must be "
                          "equal")
    factors = tensors.get("rope_freqs.weight")
    return {
        "attention_dropout": 0.0,
        "head_dim": features,
        "hidden_act": "silu",
        "hidden_size": width,
        "initializer_range": width ** -0.5,
        "intermediate_size": metadata.own("feed_forward_length"),
        "max_position_embeddings": metadata.own("context_length"),
        "num_attention_heads": heads,
        "num_hidden_layers": metadata.own("block_count"),
        "num_key_value_heads": metadata.own("attention.head_count_kv", heads),
        "rms_norm_eps": short(metadata.own("attention.layer_norm_rms_epsilon")),
        "rope_scaling": rope_scaling(metadata, None if factors is None else dequantised(factors)),
        "rope_theta": metadata.own("rope.freq_base", 10000.0),
    }


def llama_config(metadata, tensors):
    return {**rotary_config(metadata, tensors),
            "architectures": ["LlamaForCausalLM"],
            "attention_bias": "blk.0.attn_q.bias" in tensors,
            "mlp_bias": "blk.0.ffn_up.bias" in tensors,
            "model_type": "llama"}


def qwen2_config(metadata, tensors):
    return {**rotary_config(metadata, tensors), "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2", "use_sliding_window": False}


def qwen3_config(metadata, tensors):
    return {**rotary_config(metadata, tensors), "architectures": ["Qwen3ForCausalLM"],
            "attention_bias": "blk.0.attn_q.bias" in tensors,
            "model_type": "qwen3", "use_sliding_window": False}


def gpt2_config(metadata, tensors):
    return {"activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"],
            "layer_norm_epsilon": short(metadata.own("attention.layer_norm_epsilon")),
            "model_type": "gpt2",
            "n_embd": metadata.own("embedding_length"),
            "n_head": metadata.own("attention.head_count"),
            "n_inner": metadata.own("feed_forward_length"),
            "n_layer": metadata.own("block_count"),
            "n_positions": metadata.own("context_length")}


@dataclasses.dataclass
class Architecture:
    config: Callable  # (metadata, tensors) -> dict
    parts: dict
    outside: dict
    block: str  # Hugging Face's prefix of a block
    biases: tuple = ()  # parts that always have one
    optional: tuple = ()  # groups of parts that have one where config.json says so
    interleaved: bool = False  # queries and keys


LLAMA_BLOCK, GPT2_BLOCK = "model.layers", "transformer.h"
ARCHITECTURES = {
    "llama": Architecture(llama_config, LLAMA_PARTS, LLAMA_OUTSIDE, LLAMA_BLOCK,
                          optional=((*ATTENTION, "attn_output"), MLP), interleaved=True),
    "qwen2": Architecture(qwen2_config, LLAMA_PARTS, LLAMA_OUTSIDE, LLAMA_BLOCK, biases=ATTENTION),
    "qwen3": Architecture(qwen3_config, QWEN3_PARTS, LLAMA_OUTSIDE, LLAMA_BLOCK,
                          optional=((*ATTENTION, "attn_output"),)),
    "gpt2": Architecture(gpt2_config, GPT2_PARTS, GPT2_OUTSIDE, GPT2_BLOCK,
                         biases=tuple(GPT2_PARTS)),
}

# --- tensors -------------------------------------------------------------------------------------


def dequantised(tensor):
    try:
        return package().dequantize(tensor.data, tensor.tensor_type)
    except NotImplementedError as error:
        raise Failure(f"the tensor '{tensor.name}' is of {tensor.tensor_type.name}, which this "
                      "version of the package gguf cannot dequantise; upgrade it") from error


def halves(weight, heads):
    """Undoes the row order that llama.cpp gives to query and key projections.

    Its rotary embedding turns neighbouring features (2i, 2i + 1) of a head, Hugging Face's turns
    features (i, i + size / 2), so llama.cpp's converter interleaves the two halves of each head.
    """
    pairs = weight.reshape(heads, weight.shape[0] // heads // 2, 2, *weight.shape[1:])
    return pairs.swapaxes(1, 2).reshape(weight.shape)


def names_of(architecture, layers, tensors):
    """{GGUF's name: Hugging Face's} of every tensor that such a model has."""
    names = dict(architecture.outside)
    if "output.weight" in tensors:
        names["output.weight"] = "lm_head.weight"
    biased = set(architecture.biases)
    for group in architecture.optional:
        if any(f"blk.0.{part}.bias" in tensors for part in group):
            biased.update(group)
    for layer in range(layers):
        for part, name in architecture.parts.items():
            for kind in ("weight", "bias") if part in biased else ("weight",):
                names[f"blk.{layer}.{part}.{kind}"] = \
                    f"{architecture.block}.{layer}.{name}.{kind}"
    return names


def check_names(names, tensors, path):
    missing = next((name for name in names if name not in tensors), None)
    if missing:
        raise Failure(f"{path}: the tensor '{missing}' is missing")
    left = next((name for name in tensors if name not in {*names, "rope_freqs.weight"}), None)
    if left:
        raise Failure(f"{path}: the tensor '{left}' is not supported: the model computes something "
                      "that motet's family does not")


def hf_tensor(tensor, name, architecture, metadata):
    """A tensor of the file as Hugging Face has it."""
    part = tensor.name.split(".")[-2]
    heads = {"attn_q": metadata.own("attention.head_count"),
             "attn_k": metadata.own("attention.head_count_kv",
                                    metadata.own("attention.head_count"))}
    transposed = architecture.parts is GPT2_PARTS and part in GPT2_PRODUCTS \
        and len(tensor.shape) == 2

    def read():
        weight = dequantised(tensor)
        if architecture.interleaved and part in heads:
            weight = halves(weight, heads[part])
        return weight.T if transposed else weight

    shape = tuple(int(size) for size in reversed(tensor.shape))  # GGUF: fastest first
    kind = tensor.tensor_type.name
    return Tensor(name, shape[::-1] if transposed else shape,
                  kind if kind in ("F32", "F16", "BF16") else "F32", read)


# --- tokenizer -----------------------------------------------------------------------------------

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5  # gguf.TokenType
LLAMA3_PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
                  r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2_PATTERN = LLAMA3_PATTERN.replace(r"\p{N}{1,3}", r"\p{N}")
LLAMA3_NAMES = ("llama-bpe", "llama3", "llama-v3")  # llama.cpp gives these a BOS unless told not to


def byte_level(use_regex):
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
            "use_regex": use_regex}


def split_by(pattern):
    return {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False},
        byte_level(False)]}


PRE_TOKENIZERS = {  # by tokenizer.ggml.pre
    "gpt-2": byte_level(True),
    "smollm": {"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": True}, byte_level(True)]},
    "qwen2": split_by(QWEN2_PATTERN),
    **{name: split_by(LLAMA3_PATTERN) for name in LLAMA3_NAMES},
}


def check_tokenizer(metadata):
    """That the file's tokenizer is one that can be written as a byte-level tokenizer.json."""
    other = "give the directory that has the model's tokenizer.json with --tokenizer"
    model = metadata.get("tokenizer.ggml.model", None)
    if model == "llama":
        raise Failure(f"{metadata.path}: its tokenizer is of SentencePiece ('llama'), and motet "
                      "reads byte-level BPE only; where a byte-level tokenizer for these tokens "
                      f"exists, {other}")
    if model != "gpt2":
        raise Failure(f"{metadata.path}: its tokenizer is of the kind '{model}'; 'gpt2' "
                      f"(byte-level BPE) is read: {other}")
    pre = metadata.get("tokenizer.ggml.pre", None)
    if pre not in PRE_TOKENIZERS:
        raise Failure(f"{metadata.path}: the rule '{pre}' by which its tokenizer splits text "
                      f"(tokenizer.ggml.pre) is not known here; {', '.join(PRE_TOKENIZERS)} are: "
                      f"{other}")


def tokens_of(metadata):
    tokens = metadata.get("tokenizer.ggml.tokens")
    return list(enumerate(zip(tokens, metadata.get("tokenizer.ggml.token_type",
                                                   [NORMAL] * len(tokens)))))


def added_tokens(metadata):
    """Tokens that are matched as they are written: [(id, their text and how they are matched)]."""
    return [(id, {"content": token, "single_word": False, "lstrip": False, "rstrip": False,
                  "normalized": False, "special": kind == CONTROL})
            for id, (token, kind) in tokens_of(metadata) if kind in (CONTROL, USER_DEFINED)]


def bos(metadata):
    """The token that texts begin with, or None: (token, id)."""
    usual = metadata.get("tokenizer.ggml.pre") in LLAMA3_NAMES
    if not metadata.get("tokenizer.ggml.add_bos_token", usual):
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


def tokenizer(metadata):
    """tokenizer.json, in the format of the `tokenizers` library."""
    pre = metadata.get("tokenizer.ggml.pre")
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": id, **token} for id, token in added_tokens(metadata)],
        "normalizer": {"type": "NFC"} if pre == "qwen2" else None,
        "pre_tokenizer": PRE_TOKENIZERS[pre],
        "post_processor": post_processor(metadata),
        "decoder": byte_level(True),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": pre in LLAMA3_NAMES,
            "vocab": {token: id for id, (token, kind) in tokens_of(metadata) if kind != UNUSED},
            "merges": metadata.get("tokenizer.ggml.merges"),
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


# --- the file ------------------------------------------------------------------------------------


def package():
    """The package gguf, or an error that says how to get it."""
    try:
        import gguf
        return gguf
    except ImportError as error:
        raise Failure(f"{error}; run `{sys.executable} -m pip install numpy gguf`") from error


def open_reader(path):
    gguf = package()
    with open(path, "rb") as file:
        magic = file.read(4)
    if magic != b"GGUF":
        raise Failure(f"{path}: is no GGUF file: it begins with {magic!r}, not b'GGUF'")
    try:
        reader = gguf.GGUFReader(path)
    except (ValueError, IndexError, KeyError, UnicodeDecodeError, OverflowError) as error:
        raise Failure(f"{path}: is damaged or truncated ({error}); download it again") from error
    if reader.byte_order == "S":
        raise Failure(f"{path}: is of the other byte order (big-endian), which is not supported")
    return reader


def config_of(metadata, architecture, tensors, names):
    """config.json: what the file says, and what it leaves to the architecture."""
    embedding = tensors["token_embd.weight"]
    stored = embedding.tensor_type.name
    ids = {f"{kind}_token_id": metadata.get(f"tokenizer.ggml.{name}_token_id", None)
           for kind, name in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"))}
    config = {
        **architecture.config(metadata, tensors),
        **ids,
        "_name_or_path": metadata.get("general.name", pathlib.Path(metadata.path).stem),
        "tie_word_embeddings": "output.weight" not in names,
        "torch_dtype": {"F16": "float16", "BF16": "bfloat16"}.get(stored, "float32"),
        "use_cache": True,
        "vocab_size": int(embedding.shape[1]),
    }
    return dict(sorted(config.items()))


def open_file(path, tokenizer_directory=None):
    """The model of a GGUF file, with the tokenizer of a directory, or the file's own."""
    reader = open_reader(path)
    metadata = Metadata(reader, path)
    architecture = ARCHITECTURES.get(metadata.architecture)
    if architecture is None:
        raise Failure(f"{path}: the architecture '{metadata.architecture}' is not known here; "
                      f"known: {', '.join(ARCHITECTURES)}")
    if metadata.get("split.count", 1) > 1:
        raise Failure(f"{path}: is one of {metadata.get('split.count')} parts; join them with "
                      "`llama-gguf-split --merge`")
    metadata.check()
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    names = names_of(architecture, metadata.own("block_count"), tensors)
    check_names(names, tensors, path)
    if tokenizer_directory is None:
        check_tokenizer(metadata)
        files = {"tokenizer.json": tokenizer(metadata),
                 "tokenizer_config.json": tokenizer_config(metadata)}
    else:
        files = tokenizer_files(tokenizer_directory, path)
    return Model(config_of(metadata, architecture, tensors, names),
                 [hf_tensor(tensors[tensor.name], names[tensor.name], architecture, metadata)
                  for tensor in reader.tensors if tensor.name in names], files)
