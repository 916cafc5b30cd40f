"""A GGUF file of llama.cpp: its tensors dequantised, named and laid out as Hugging Face has them.
Needs the packages gguf and numpy, not torch.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; what llama.cpp's convert_hf_to_gguf.py
did to the tensors is undone here.
"""

import dataclasses
import math
import pathlib
import sys
from collections.abc import Callable

from importers.directory import Failure, Model, Tensor, refuse_pointer, tokenizer_files
from importers.gguf_tokenizer import check_tokenizer, tokenizer, tokenizer_config

# --- architectures -------------------------------------------------------------------------------

# GGUF's names, and Hugging Face's, of a block's parts and of what is outside the blocks.
LLAMA_PARTS = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
               "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
               "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
               "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
QWEN3_PARTS = {**LLAMA_PARTS, "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
GEMMA2_PARTS = {**LLAMA_PARTS, "ffn_norm": "pre_feedforward_layernorm",
                "post_attention_norm": "post_attention_layernorm",
                "post_ffw_norm": "post_feedforward_layernorm"}
GEMMA3_PARTS = {**GEMMA2_PARTS, "attn_q_norm": "self_attn.q_norm",
                "attn_k_norm": "self_attn.k_norm"}
OLMO2_PARTS = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
               "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
               "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
               "post_attention_norm": "post_attention_layernorm",
               "post_ffw_norm": "post_feedforward_layernorm",
               "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
PHI3_PARTS = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
              "attn_qkv": "self_attn.qkv_proj", "attn_output": "self_attn.o_proj",
              "ffn_up": "mlp.gate_up_proj", "ffn_down": "mlp.down_proj"}
NEOX_PARTS = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
              "attn_qkv": "attention.query_key_value", "attn_output": "attention.dense",
              "ffn_up": "mlp.dense_h_to_4h", "ffn_down": "mlp.dense_4h_to_h"}
NEOX_OUTSIDE = {"token_embd.weight": "gpt_neox.embed_in.weight",
                "output_norm.weight": "gpt_neox.final_layer_norm.weight",
                "output_norm.bias": "gpt_neox.final_layer_norm.bias"}
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
         "rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow", "tensor_data_layout",
         "attn_logit_softcapping", "final_logit_softcapping", "use_parallel_residual",
         "rope.scaling.attn_factor", "rope.freq_base_swa"}
HARMLESS = {"expert_count": 0, "expert_used_count": 0, "attention.causal": True}


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
        if self.architecture not in ("phi3", "llama"):
            factor = self.own("rope.scaling.attn_factor", 1.0)
            if factor != 1.0:
                raise Failure(f"{self.path}: '{prefix}rope.scaling.attn_factor' = {factor} is not "
                              "supported")

    def window(self):
        """Tokens of the sliding window, or None where a context is no longer than that."""
        window = self.own("attention.sliding_window", None)
        return window if window and window < self.own("context_length") else None


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
    whole = ("attention.value_length", "rope.dimension_count")
    for name in whole[:1] if metadata.architecture == "phi3" else whole:
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
    config = rotary_config(metadata, tensors)
    biases = {"attention_bias": "blk.0.attn_q.bias" in tensors,
              "mlp_bias": "blk.0.ffn_up.bias" in tensors}
    if metadata.window() is None:
        return {**config, **biases, "architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    if any(biases.values()):
        raise Failure(f"{metadata.path}: a sliding window of {metadata.window()} tokens beside "
                      "biases is no model of Mistral's, and not supported")
    return {**config, "architectures": ["MistralForCausalLM"], "model_type": "mistral",
            "sliding_window": metadata.window()}


def qwen_config(family, name):
    def config(metadata, tensors):
        if metadata.window() is not None:  # the file does not say in which layers
            raise Failure(f"{metadata.path}: a sliding window of {metadata.window()} tokens in a "
                          f"context of {metadata.own('context_length')} is not supported")
        biases = {"attention_bias": "blk.0.attn_q.bias" in tensors} if family == "qwen3" else {}
        return {**rotary_config(metadata, tensors), **biases, "architectures": [name],
                "model_type": family, "use_sliding_window": False}
    return config


def gemma_config(metadata, tensors, largest_layers, others):
    """What both Gemmas have. Files do not hold the scale of scores: that of the largest model is by
    the width, of all others by the head.
    """
    config = rotary_config(metadata, tensors)
    largest = config["num_hidden_layers"] == largest_layers
    del config["hidden_act"]
    return {**config, **others,
            "attention_bias": False,
            "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": (config["hidden_size"] // config["num_attention_heads"]
                                      if largest else config["head_dim"]),
            "sliding_window": metadata.own("attention.sliding_window")}


def gemma2_config(metadata, tensors):
    def cap(name):
        return short(metadata.own(f"{name}_logit_softcapping"))
    return gemma_config(metadata, tensors, 46, {
        "architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2",
        "attn_logit_softcapping": cap("attn"), "final_logit_softcapping": cap("final")})


def gemma3_config(metadata, tensors):
    return gemma_config(metadata, tensors, 62, {
        "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text",
        "final_logit_softcapping": None, "attn_logit_softcapping": None,
        "rope_local_base_freq": metadata.own("rope.freq_base_swa", 10000.0),
        "sliding_window_pattern": 6})


def olmo2_config(metadata, tensors):
    return {**rotary_config(metadata, tensors), "architectures": ["Olmo2ForCausalLM"],
            "attention_bias": False, "model_type": "olmo2"}


def phi3_config(metadata, tensors):
    config = rotary_config(metadata, tensors)
    original = metadata.own("rope.scaling.original_context_length",
                            config["max_position_embeddings"])
    share = metadata.own("rope.dimension_count", config["head_dim"]) / config["head_dim"]
    long, short_ = (tensors.get(f"rope_factors_{kind}.weight") for kind in ("long", "short"))
    scaling = None
    if long is not None:
        scaling = {"type": "longrope",
                   "long_factor": [short(x) for x in dequantised(long)],
                   "short_factor": [short(x) for x in dequantised(short_)]}
        factor = metadata.own("rope.scaling.attn_factor", None)
        if factor is not None:
            scaling["attention_factor"] = short(factor)
    return {**config, "architectures": ["Phi3ForCausalLM"], "model_type": "phi3",
            "original_max_position_embeddings": original, "partial_rotary_factor": share,
            "rope_scaling": scaling, "sliding_window": metadata.window()}


def gpt_neox_config(metadata, tensors):
    width, heads = metadata.own("embedding_length"), metadata.own("attention.head_count")
    return {"architectures": ["GPTNeoXForCausalLM"], "model_type": "gpt_neox",
            "attention_bias": True, "hidden_act": "gelu", "hidden_size": width,
            "intermediate_size": metadata.own("feed_forward_length"),
            "layer_norm_eps": short(metadata.own("attention.layer_norm_epsilon")),
            "max_position_embeddings": metadata.own("context_length"),
            "num_attention_heads": heads, "num_hidden_layers": metadata.own("block_count"),
            "rotary_emb_base": metadata.own("rope.freq_base", 10000.0),
            "rotary_pct": metadata.own("rope.dimension_count") / (width // heads),
            "use_parallel_residual": metadata.own("use_parallel_residual", True)}


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
    norm_offset: int = 0  # that llama.cpp adds to the weights of norms
    head: str = "lm_head.weight"
    own: tuple = ()  # tensors of settings, which config.json has


LLAMA_BLOCK, GPT2_BLOCK, NEOX_BLOCK = "model.layers", "transformer.h", "gpt_neox.layers"
ARCHITECTURES = {
    "llama": Architecture(llama_config, LLAMA_PARTS, LLAMA_OUTSIDE, LLAMA_BLOCK,
                          optional=((*ATTENTION, "attn_output"), MLP), interleaved=True),
    "qwen2": Architecture(qwen_config("qwen2", "Qwen2ForCausalLM"), LLAMA_PARTS, LLAMA_OUTSIDE,
                          LLAMA_BLOCK, biases=ATTENTION),
    "qwen3": Architecture(qwen_config("qwen3", "Qwen3ForCausalLM"), QWEN3_PARTS, LLAMA_OUTSIDE,
                          LLAMA_BLOCK, optional=((*ATTENTION, "attn_output"),)),
    "gemma2": Architecture(gemma2_config, GEMMA2_PARTS, LLAMA_OUTSIDE, LLAMA_BLOCK, norm_offset=1),
    "gemma3": Architecture(gemma3_config, GEMMA3_PARTS, LLAMA_OUTSIDE, LLAMA_BLOCK, norm_offset=1),
    "olmo2": Architecture(olmo2_config, OLMO2_PARTS, LLAMA_OUTSIDE, LLAMA_BLOCK),
    "phi3": Architecture(phi3_config, PHI3_PARTS, LLAMA_OUTSIDE, LLAMA_BLOCK,
                         own=("rope_factors_long.weight", "rope_factors_short.weight")),
    "gptneox": Architecture(gpt_neox_config, NEOX_PARTS, NEOX_OUTSIDE, NEOX_BLOCK,
                            biases=tuple(NEOX_PARTS), head="embed_out.weight"),
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


def by_head(weight, heads):
    """Queries, keys and values of all heads, as llama.cpp has them, head by head."""
    parts = weight.reshape(3, heads, weight.shape[0] // (3 * heads), *weight.shape[1:])
    return parts.swapaxes(0, 1).reshape(weight.shape)


def names_of(architecture, layers, tensors):
    """{GGUF's name: Hugging Face's} of every tensor that such a model has."""
    names = dict(architecture.outside)
    if "output.weight" in tensors:
        names["output.weight"] = architecture.head
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


def check_names(names, tensors, path, own=()):
    missing = next((name for name in names if name not in tensors), None)
    if missing:
        raise Failure(f"{path}: the tensor '{missing}' is missing")
    known = {*names, *own, "rope_freqs.weight"}
    left = next((name for name in tensors if name not in known), None)
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
        if architecture.norm_offset and part.endswith("norm"):
            weight = weight - architecture.norm_offset
        if architecture.parts is NEOX_PARTS and part == "attn_qkv":
            weight = by_head(weight, heads["attn_q"])
        return weight.T if transposed else weight

    shape = tuple(int(size) for size in reversed(tensor.shape))  # GGUF: fastest first
    kind = tensor.tensor_type.name
    return Tensor(name, shape[::-1] if transposed else shape,
                  kind if kind in ("F32", "F16", "BF16") else "F32", read)


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
    refuse_pointer(path)
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
    check_names(names, tensors, path, architecture.own)
    if tokenizer_directory is None:
        check_tokenizer(metadata)
        files = {"tokenizer.json": tokenizer(metadata),
                 "tokenizer_config.json": tokenizer_config(metadata)}
    else:
        files = tokenizer_files(tokenizer_directory, path)
    return Model(config_of(metadata, architecture, tensors, names),
                 [hf_tensor(tensors[tensor.name], names[tensor.name], architecture, metadata)
                  for tensor in reader.tensors if tensor.name in names], files)
