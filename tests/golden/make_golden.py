#!/usr/bin/env python3
"""Makes the golden files: tiny random models and what Hugging Face transformers computes with them.

    python tests/golden/make_golden.py [--out DIR] [CASE ...]

Ran with Python 3.11, torch 2.13.0 (CPU), transformers 5.23.0 (5.24.0 from Gemma on) and safetensors
0.8.0; needs these three packages. Seeds are fixed, so a second run with the same versions writes the same bytes.
Each case is a directory beside this file:

    config.json            as save_pretrained writes it, or by hand in an older format
    model.safetensors      the weights, or two shards and their index
    expected.safetensors   tokens   int64 [length]
                           logits   float32 [length, vocab]
                           entropy  float32 [layers, heads, length], -sum_j p_j ln p_j of each row

The expected values are computed from the files as stored (rounded to the stored precision), by a
float64 model with eager attention: causal, positions from 0, no cache. Inside a float64 Llama,
transformers still computes RMSNorm, the softmax, and the rotary angles with their cosines and
sines in float32; GPT-2 is float64 throughout. `exact` lifts these casts: the script asserts that
this moves no logit by more than 1e-5 of the largest, and prints by how much.

What else it asserts of every case, since a golden file that cannot fail proves nothing:
* attention is peaked: the mean entropy is below half of the mean of its maximum ln(visible keys);
* logits differ: their standard deviation over the vocabulary is above 0.5;
* the setting that the case is named for matters: without it, some logit moves by at least 1e-3 of
  the largest |logit|, ten times what the tests allow.
"""

import argparse
import contextlib
import dataclasses
import json
import math
import pathlib
import zlib

import safetensors.torch
import torch
import transformers
from transformers import (AutoModelForCausalLM, Gemma2Config, Gemma3TextConfig, GPT2Config,
                          GPTNeoXConfig, LlamaConfig, MistralConfig, Olmo2Config, Phi3Config,
                          Qwen2Config, Qwen3Config, modeling_rope_utils)
from transformers.models.gemma2 import modeling_gemma2
from transformers.models.gemma3 import modeling_gemma3
from transformers.models.gpt_neox import modeling_gpt_neox
from transformers.models.llama import modeling_llama
from transformers.models.mistral import modeling_mistral
from transformers.models.olmo2 import modeling_olmo2
from transformers.models.phi3 import modeling_phi3
from transformers.models.qwen2 import modeling_qwen2
from transformers.models.qwen3 import modeling_qwen3

LENGTH = 40
VOCABULARY = 40


@dataclasses.dataclass
class Case:
    name: str
    config: transformers.PreTrainedConfig
    without: list = dataclasses.field(default_factory=list)  # settings, each of which must matter
    gain: float = 2.2  # of query and key weights: scores have a deviation of about gain^2
    dtype: torch.dtype = torch.float32  # of the stored weights
    shards: int = 1
    finish: callable = lambda directory, state: None  # rewrites files by hand


# --- the cases ------------------------------------------------------------------------------------


def llama(kind=LlamaConfig, **options):
    defaults = dict(vocab_size=VOCABULARY, hidden_size=16, intermediate_size=20,
                    num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                    max_position_embeddings=64, rms_norm_eps=1e-5, tie_word_embeddings=True)
    return kind(**{**defaults, **options})


def scaled(**rope):
    """A Llama with scaled rotary positions. Its four wavelengths lie around the length and the
    original length: 6.3, 20, 63 and 199 tokens at a theta of 100, and 6.3 to 59 at 20."""
    return llama(head_dim=8, intermediate_size=16, rope_parameters=rope)


def rope(**parameters):
    return {"rope_parameters": parameters}


def default_rope(theta):
    return rope(rope_type="default", rope_theta=theta)


LINEAR = dict(rope_type="linear", rope_theta=100.0, factor=2.0)
# High, medium and low band: below 8 tokens, from 8 to 32, above 32.
LLAMA3 = dict(rope_type="llama3", rope_theta=100.0, factor=8.0, low_freq_factor=1.0,
              high_freq_factor=4.0, original_max_position_embeddings=32)
YARN = dict(rope_type="yarn", rope_theta=20.0, factor=4.0, original_max_position_embeddings=16)
YARN_OPTIONS = dict(YARN, attention_factor=0.8, beta_fast=2.0, beta_slow=0.5, truncate=False)
YARN_MSCALE = dict(YARN, mscale=2.0, mscale_all_dim=0.5)


def lacking(parameters, key):
    return rope(**{name: value for name, value in parameters.items() if name != key})


def gpt2(**options):
    defaults = dict(vocab_size=VOCABULARY, n_positions=44, n_embd=16, n_layer=2, n_head=4,
                    n_inner=24, bos_token_id=1, eos_token_id=2)
    return GPT2Config(**{**defaults, **options})


def gemma2(**options):
    defaults = dict(head_dim=6, query_pre_attn_scalar=9, sliding_window=7, rms_norm_eps=1e-5,
                    attn_logit_softcapping=6.0, final_logit_softcapping=3.0)
    return llama(Gemma2Config, **{**defaults, **options})


def gemma3(**options):
    defaults = dict(head_dim=6, query_pre_attn_scalar=9, sliding_window=7, num_hidden_layers=3,
                    num_key_value_heads=1,
                    layer_types=["sliding_attention", "full_attention", "sliding_attention"])
    return llama(Gemma3TextConfig, **{**defaults, **options})


def gpt_neox(**options):
    defaults = dict(vocab_size=VOCABULARY, hidden_size=32, intermediate_size=40,
                    num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=64)
    return GPTNeoXConfig(**{**defaults, **options})


def phi3(**options):
    """Heads of 8 features: four rotated pairs."""
    return llama(Phi3Config, **{**dict(hidden_size=32, pad_token_id=0), **options})


LONGROPE = dict(rope_type="longrope", rope_theta=100.0, short_factor=[1.0, 1.5, 2.0, 1.2],
                long_factor=[1.1, 3.0, 5.0, 8.0])


def rewrite_config(directory, remove, **add):
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    write_json(directory / "config.json",
               {k: v for k, v in config.items() if k not in remove} | add)


def old_gemma3(directory, state):
    """config.json as transformers 4 wrote it: a pattern, and two bases."""
    rewrite_config(directory, ["rope_parameters", "layer_types"], sliding_window_pattern=2,
                   rope_theta=1000.0, rope_local_base_freq=20.0,
                   rope_scaling={"rope_type": "linear", "factor": 8.0})


def old_gpt_neox(directory, state):
    """config.json as Pythia's."""
    rewrite_config(directory, ["rope_parameters"], rotary_emb_base=100, rotary_pct=1.0)


def old_rope(directory, state):
    """config.json as transformers 4 wrote it, in the manner of SmolLM2's."""
    write_json(directory / "config.json", {
        "_name_or_path": "golden/llama_old_rope",
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": 16,
        "initializer_range": 0.041666666666666664,
        "intermediate_size": 20,
        "is_llama_config": True,
        "max_position_embeddings": 64,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "pad_token_id": 2,
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-05,
        "rope_interleaved": False,
        "rope_scaling": {"type": "linear", "factor": 2.0},
        "rope_theta": 100000,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "transformers_version": "4.42.3",
        "use_cache": True,
        "vocab_size": VOCABULARY,
    })


def published(directory, state):
    """Files in the form of openai-community/gpt2: bare names, causal masks as buffers, no head."""
    write_json(directory / "config.json", {
        "activation_function": "gelu_new",
        "architectures": ["GPT2LMHeadModel"],
        "attn_pdrop": 0.1,
        "bos_token_id": 39,
        "embd_pdrop": 0.1,
        "eos_token_id": 39,
        "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-05,
        "model_type": "gpt2",
        "n_ctx": LENGTH,
        "n_embd": 8,
        "n_head": 2,
        "n_layer": 2,
        "n_positions": LENGTH,
        "resid_pdrop": 0.1,
        "summary_activation": None,
        "summary_first_dropout": 0.1,
        "summary_proj_to_labels": True,
        "summary_type": "cls_index",
        "summary_use_proj": True,
        "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
        "vocab_size": VOCABULARY,
    })
    bare = {name.removeprefix("transformer."): tensor.contiguous()
            for name, tensor in state.items() if name != "lm_head.weight"}
    mask = torch.ones(LENGTH, LENGTH).tril().view(1, 1, LENGTH, LENGTH)
    for layer in range(2):
        bare[f"h.{layer}.attn.bias"] = mask.clone()
    safetensors.torch.save_file(bare, directory / "model.safetensors", {"format": "pt"})


CASES = [
    Case("llama_default", llama()),
    Case("llama_multi_head",
         llama(num_key_value_heads=4, tie_word_embeddings=False, rms_norm_eps=0.05,
               **default_rope(500.0)),
         without=[{"rms_norm_eps": 1e-5}, default_rope(10000.0)]),
    Case("llama_one_kv_head", llama(num_key_value_heads=1)),
    Case("llama_head_dim", llama(head_dim=6)),
    Case("llama_linear", scaled(**LINEAR), without=[default_rope(100.0)]),
    Case("llama_llama3", scaled(**LLAMA3),
         without=[default_rope(100.0), rope(**{**LLAMA3, "low_freq_factor": 0.5}),
                  rope(**{**LLAMA3, "high_freq_factor": 5.5})]),
    Case("llama_yarn", scaled(**YARN),
         without=[default_rope(20.0), rope(**{**YARN, "attention_factor": 1.0})]),
    Case("llama_yarn_options", scaled(**YARN_OPTIONS), gain=2.4,
         without=[lacking(YARN_OPTIONS, "attention_factor"), lacking(YARN_OPTIONS, "beta_fast"),
                  lacking(YARN_OPTIONS, "beta_slow"), lacking(YARN_OPTIONS, "truncate")]),
    Case("llama_yarn_mscale", scaled(**YARN_MSCALE), without=[rope(**YARN)]),
    Case("llama_biases", llama(attention_bias=True, mlp_bias=True),
         without=[{"attention_bias": False}, {"mlp_bias": False}]),
    Case("llama_gelu", llama(hidden_act="gelu_pytorch_tanh"), without=[{"hidden_act": "silu"}]),
    Case("llama_sharded", llama(tie_word_embeddings=False), shards=2),
    Case("llama_bfloat16", llama(), dtype=torch.bfloat16),
    Case("llama_float16", llama(), gain=2.6, dtype=torch.float16),
    Case("llama_old_rope", llama(**rope(rope_type="linear", rope_theta=100000.0, factor=2.0)),
         without=[default_rope(100000.0), rope(rope_type="linear", rope_theta=10000.0, factor=2.0)],
         finish=old_rope),
    Case("mistral_default", llama(MistralConfig, sliding_window=None, head_dim=6)),
    Case("qwen2_default", llama(Qwen2Config)),
    Case("qwen3_default", llama(Qwen3Config, head_dim=6)),
    Case("qwen3_biases", llama(Qwen3Config, head_dim=4, attention_bias=True),
         without=[{"attention_bias": False}]),
    Case("gpt2_default", gpt2(n_inner=None)),
    Case("gpt2_inner", gpt2(n_inner=40, layer_norm_epsilon=0.05),
         without=[{"layer_norm_epsilon": 1e-5}]),
    Case("gpt2_layer_scale", gpt2(scale_attn_by_inverse_layer_idx=True),
         without=[{"scale_attn_by_inverse_layer_idx": False}], gain=2.4),
    Case("gpt2_no_scale", gpt2(scale_attn_weights=False),
         without=[{"scale_attn_weights": True}], gain=1.5),
    Case("gpt2_relu", gpt2(activation_function="relu"),
         without=[{"activation_function": "gelu_new"}]),
    Case("gpt2_published", gpt2(n_embd=8, n_head=2, n_inner=None, n_positions=LENGTH),
         finish=published),
    Case("gpt2_untied", gpt2(tie_word_embeddings=False)),
    # Windows, of all layers or some.
    Case("mistral_window", llama(MistralConfig, sliding_window=7),
         without=[{"sliding_window": None}]),
    Case("qwen2_window",
         llama(Qwen2Config, use_sliding_window=True, sliding_window=6, max_window_layers=1),
         without=[{"layer_types": ["full_attention"] * 2}]),
    Case("qwen3_window",
         llama(Qwen3Config, head_dim=6, use_sliding_window=True, sliding_window=5,
               layer_types=["sliding_attention", "full_attention"]),
         without=[{"layer_types": ["full_attention"] * 2},
                  {"layer_types": ["full_attention", "sliding_attention"]}]),
    Case("gemma2_default", gemma2(), gain=3.0,
         without=[{"attn_logit_softcapping": None}, {"final_logit_softcapping": None},
                  {"sliding_window": 64}, {"query_pre_attn_scalar": 4}]),
    Case("gemma2_no_caps",
         gemma2(attn_logit_softcapping=None, final_logit_softcapping=None, attention_bias=True,
                layer_types=["full_attention", "sliding_attention"]),
         without=[{"layer_types": ["sliding_attention", "full_attention"]},
                  {"attention_bias": False}]),
    Case("gemma3_default", gemma3(), gain=2.0,
         without=[{"sliding_window": 64}, {"query_pre_attn_scalar": 4}]),
    Case("gemma3_scaled",
         gemma3(final_logit_softcapping=4.0, rope_parameters={
             "full_attention": dict(rope_type="linear", factor=8.0, rope_theta=100.0),
             "sliding_attention": dict(rope_type="default", rope_theta=20.0)}), gain=2.0,
         without=[{"final_logit_softcapping": None},
                  {"rope_parameters": {
                      "full_attention": dict(rope_type="default", rope_theta=100.0),
                      "sliding_attention": dict(rope_type="default", rope_theta=20.0)}},
                  {"rope_parameters": {
                      "full_attention": dict(rope_type="linear", factor=8.0, rope_theta=100.0),
                      "sliding_attention": dict(rope_type="default", rope_theta=100.0)}}]),
    Case("gemma3_old_rope", gemma3(rope_parameters={
             "full_attention": dict(rope_type="linear", factor=8.0, rope_theta=1000.0),
             "sliding_attention": dict(rope_type="default", rope_theta=20.0)}), gain=2.2,
         finish=old_gemma3),
    Case("gpt_neox_default", gpt_neox(), without=[{"use_parallel_residual": False}]),
    Case("gpt_neox_serial",
         gpt_neox(use_parallel_residual=False, tie_word_embeddings=True,
                  **rope(rope_type="default", rope_theta=100.0, partial_rotary_factor=0.5)),
         without=[{"use_parallel_residual": True}]),
    Case("gpt_neox_old", gpt_neox(**rope(rope_type="default", rope_theta=100.0,
                                         partial_rotary_factor=1.0)), finish=old_gpt_neox),
    Case("gpt_neox_no_bias", gpt_neox(attention_bias=False)),
    Case("phi3_default", phi3(), gain=2.0),
    Case("phi3_partial", phi3(**rope(rope_type="default", rope_theta=100.0,
                                     partial_rotary_factor=0.5), sliding_window=9),
         without=[{"sliding_window": None}]),
    Case("phi3_short", phi3(max_position_embeddings=128, original_max_position_embeddings=64,
                            **rope(**LONGROPE)),
         without=[rope(**{**LONGROPE, "short_factor": [1.0] * 4})]),
    Case("phi3_long", phi3(max_position_embeddings=128, original_max_position_embeddings=32,
                           **rope(**LONGROPE)),
         without=[rope(**{**LONGROPE, "long_factor": [1.0] * 4})]),
    Case("olmo2_default", llama(Olmo2Config, tie_word_embeddings=False)),
    Case("olmo2_biases", llama(Olmo2Config, attention_bias=True, num_key_value_heads=4),
         without=[{"attention_bias": False}]),
]


# --- making and computing -------------------------------------------------------------------------


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


@torch.no_grad()
def randomise(model, gain):
    """Weights that keep the residual stream near 1, with no norm at one and no bias at zero."""
    for name, parameter in model.named_parameters():
        kind = name.split(".")[-2]
        if kind.startswith(("norm", "ln_")) or kind.endswith(("layernorm", "_norm")):
            if name.endswith("weight"):
                parameter.uniform_(0.5, 1.5)
                if kind in ("q_norm", "k_norm"):  # they undo the gain of what they norm
                    parameter *= gain
                if model.config.model_type.startswith("gemma"):  # 1 is added to them
                    parameter -= 1
            else:
                parameter.normal_(std=0.3)
        elif parameter.dim() == 1:
            parameter.normal_(std=0.3)
        elif kind in ("embed_tokens", "lm_head", "wte", "wpe", "embed_in", "embed_out"):
            parameter.normal_(std=0.5)
            if model.config.model_type.startswith("gemma"):  # it is scaled when it is read
                parameter /= 2
        elif kind in ("c_attn", "c_proj", "c_fc"):  # GPT-2: [in, out]
            parameter.normal_(std=parameter.shape[0] ** -0.5)
            if kind == "c_attn":
                parameter[:, :2 * parameter.shape[0]] *= gain
        else:  # Llama: [out, in]
            parameter.normal_(std=parameter.shape[1] ** -0.5)
            if kind in ("q_proj", "k_proj"):
                parameter *= gain
            elif kind == "qkv_proj":  # Phi-3: queries, keys, values
                parameter[:-(parameter.shape[0] - parameter.shape[1]) // 2] *= gain
            elif kind == "query_key_value":  # GPT-NeoX: head by head
                heads = parameter.view(model.config.num_attention_heads, 3, -1, parameter.shape[1])
                heads[:, :2] *= gain


def store(case, directory):
    """Writes config.json and the weights."""
    torch.manual_seed(zlib.crc32(case.name.encode()))
    model = AutoModelForCausalLM.from_config(case.config)
    randomise(model, case.gain)
    model.to(case.dtype)
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.iterdir():
        old.unlink()
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    limit = size if case.shards == 1 else math.ceil(size / case.shards * 1.1)
    model.save_pretrained(directory, max_shard_size=limit)
    (directory / "generation_config.json").unlink()
    case.finish(directory, model.state_dict())
    files = list(directory.glob("model*.safetensors"))
    assert len(files) == case.shards, files


class Float64Torch:
    """The module torch, but what asks it for float32 gets float64."""

    def __getattr__(self, name):
        return torch.float64 if name in ("float32", "float") else getattr(torch, name)


@contextlib.contextmanager
def exact():
    """Lifts the casts to float32 inside transformers' Llama and its like."""
    modules = (modeling_gemma2, modeling_gemma3, modeling_gpt_neox, modeling_llama,
               modeling_mistral, modeling_olmo2, modeling_phi3, modeling_qwen2, modeling_qwen3,
               modeling_rope_utils)
    for module in modules:
        module.torch = Float64Torch()
    try:
        yield
    finally:
        for module in modules:
            module.torch = torch


@torch.no_grad()
def compute(directory, tokens, dtype=torch.float64, **overrides):
    """Logits [length, vocab] and entropy [layers, heads, length] of the model in `directory`."""
    config = transformers.AutoConfig.from_pretrained(directory)
    for name, value in overrides.items():
        assert hasattr(config, name), name
        setattr(config, name, value)
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        directory, config=config, dtype=dtype, attn_implementation="eager",
        output_loading_info=True)
    assert not info["missing_keys"] and not info["mismatched_keys"], info
    assert overrides or not info["unexpected_keys"], info  # without biases, these are left over
    result = model.eval()(tokens[None], output_attentions=True, use_cache=False)
    rows = torch.cat(result.attentions)  # [layers, heads, length, length]
    assert not rows.triu(1).any()
    return result.logits[0], torch.special.entr(rows).sum(-1)


def make(case, directory):
    """Writes one case and prints a line of what was asserted of it."""
    store(case, directory)
    tokens = torch.randint(VOCABULARY, (LENGTH,))
    logits, entropy = compute(directory, tokens)
    assert logits.isfinite().all() and entropy.isfinite().all()

    largest = logits.abs().max()

    def moved(other):
        return ((other - logits).abs().max() / largest).item()

    peak = (entropy.mean() / torch.arange(1, LENGTH + 1).log().mean()).item()
    assert peak < 0.5, f"{case.name}: attention is not peaked, entropy {peak:.2f} of its maximum"
    spread = logits.std(-1).mean().item()
    assert spread > 0.5, f"{case.name}: logits are nearly equal, deviation {spread:.3f}"
    with exact():
        lifted, lifted_entropy = compute(directory, tokens)
    assert moved(lifted) < 1e-5, f"{case.name}: float32 inside moves logits by {moved(lifted):.1e}"
    single, _ = compute(directory, tokens, dtype=torch.float32)
    effects = []
    for settings in case.without:
        effects.append(moved(compute(directory, tokens, **settings)[0]))
        assert effects[-1] > 1e-3, f"{case.name}: with {settings} logits move by {effects[-1]:.1e}"

    safetensors.torch.save_file(
        {"tokens": tokens, "logits": logits.float(), "entropy": entropy.float()},
        directory / "expected.safetensors")
    kilobytes = sum(file.stat().st_size for file in directory.iterdir()) / 1000
    print(f"{case.name:20} {kilobytes:5.1f} {peak:8.2f} {spread:7.2f} {largest:8.2f}"
          f" {moved(lifted):9.1e} {(lifted_entropy - entropy).abs().max():9.1e}"
          f" {moved(single):9.1e}  {' '.join(f'{effect:.3f}' for effect in effects)}", flush=True)
    return kilobytes


def main():
    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    parser.add_argument("cases", metavar="CASE", nargs="*",
                        help=f"all, or some of: {' '.join(names)}")
    arguments = parser.parse_args()
    if unknown := set(arguments.cases) - set(names):
        parser.error(f"unknown case {', '.join(sorted(unknown))}; known are {', '.join(names)}")

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    print("entropy: of its maximum; logits: deviation over the vocabulary, largest; then how far\n"
          "exact float64 moves logits (of the largest) and entropy (nats), float32 and settings\n"
          "move logits\n"
          f"{'case':20} {'kB':>5} {'entropy':>8} {'logits':>7} {'largest':>8} {'exact':>9}"
          f" {'entropy':>9} {'float32':>9}  settings")
    total = sum(make(case, arguments.out / case.name)
                for case in CASES if not arguments.cases or case.name in arguments.cases)
    print(f"{'all':20} {total:5.1f}")


if __name__ == "__main__":
    main()
