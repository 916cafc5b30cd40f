"""Tiny models with random weights and the real GPT-2 tokenizer, in Hugging Face format: what the commands of the
documentation run on where the real model is absent."""

import json
import pathlib
import shutil

import numpy
from safetensors.numpy import save_file

DATA = pathlib.Path(__file__).resolve().parent.parent / "data" / "gpt2"
WIDTH, INNER, LAYERS, HEADS = 16, 32, 2, 2


def save(directory, config, shapes):
    directory.mkdir(parents=True)
    random = numpy.random.default_rng(1)
    ones = ("norm.weight", "layernorm.weight", "ln_1.weight", "ln_2.weight", "ln_f.weight")
    tensors = {name: numpy.ones(shape, numpy.float32) if name.endswith(ones)
               else random.normal(0, 0.3, shape).astype(numpy.float32) for name, shape in shapes.items()}
    save_file(tensors, directory / "model.safetensors")
    (directory / "config.json").write_text(json.dumps(config))


def llama(directory):
    """A Llama with ChatML's tokens, in a vocabulary of its own file, tokenizer.json."""
    vocabulary = json.loads((DATA / "vocab.json").read_text(encoding="utf-8"))
    added = [{"id": len(vocabulary) + i, "content": token, "special": True, "single_word": False, "lstrip": False,
              "rstrip": False, "normalized": False} for i, token in enumerate(["<|im_start|>", "<|im_end|>"])]
    shapes = {"model.embed_tokens.weight": (len(vocabulary) + len(added), WIDTH), "model.norm.weight": (WIDTH,)}
    for layer in range(LAYERS):
        for name, shape in {"self_attn.q_proj": (WIDTH, WIDTH), "self_attn.k_proj": (WIDTH // HEADS, WIDTH),
                            "self_attn.v_proj": (WIDTH // HEADS, WIDTH), "self_attn.o_proj": (WIDTH, WIDTH),
                            "mlp.gate_proj": (INNER, WIDTH), "mlp.up_proj": (INNER, WIDTH),
                            "mlp.down_proj": (WIDTH, INNER), "input_layernorm": (WIDTH,),
                            "post_attention_layernorm": (WIDTH,)}.items():
            shapes[f"model.layers.{layer}.{name}.weight"] = shape
    save(directory, {"model_type": "llama", "vocab_size": len(vocabulary) + len(added), "hidden_size": WIDTH,
                     "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": 1,
                     "intermediate_size": INNER, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5,
                     "hidden_act": "silu", "tie_word_embeddings": True}, shapes)
    merges = [line for line in (DATA / "merges.txt").read_text(encoding="utf-8").splitlines()[1:] if line]
    bytes_as_letters = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    tokenizer = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
                 "pre_tokenizer": bytes_as_letters, "post_processor": None, "decoder": bytes_as_letters,
                 "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                           "end_of_word_suffix": None, "fuse_unk": False, "vocab": vocabulary, "merges": merges}}
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer))


def gpt2(directory):
    """A GPT-2 in the layout in which it is published."""
    shapes = {"wte.weight": (50257, WIDTH), "wpe.weight": (1024, WIDTH), "ln_f.weight": (WIDTH,), "ln_f.bias": (WIDTH,)}
    for layer in range(LAYERS):
        for name, shape in {"attn.c_attn": (WIDTH, 3 * WIDTH), "attn.c_proj": (WIDTH, WIDTH),
                            "mlp.c_fc": (WIDTH, 4 * WIDTH), "mlp.c_proj": (4 * WIDTH, WIDTH), "ln_1": (WIDTH,),
                            "ln_2": (WIDTH,)}.items():
            shapes[f"h.{layer}.{name}.weight"] = shape
            shapes[f"h.{layer}.{name}.bias"] = shape[-1:]
    save(directory, {"model_type": "gpt2", "vocab_size": 50257, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS,
                     "n_positions": 1024, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5}, shapes)
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(DATA / name, directory / name)


def gemma3(directory):
    """A Gemma 3, with the small tokenizer of tests/data."""
    tokenizer = (DATA.parent / "tokenizers" / "gemma" / "tokenizer.json").read_text(encoding="utf-8")
    read, features = json.loads(tokenizer), WIDTH // HEADS
    vocabulary = 1 + max([*read["model"]["vocab"].values(), *(token["id"] for token in read["added_tokens"])])
    shapes = {"model.embed_tokens.weight": (vocabulary, WIDTH), "model.norm.weight": (WIDTH,)}
    for layer in range(LAYERS):
        for name, shape in {"self_attn.q_proj": (WIDTH, WIDTH), "self_attn.k_proj": (features, WIDTH),
                            "self_attn.v_proj": (features, WIDTH), "self_attn.o_proj": (WIDTH, WIDTH),
                            "self_attn.q_norm": (features,), "self_attn.k_norm": (features,),
                            "mlp.gate_proj": (INNER, WIDTH), "mlp.up_proj": (INNER, WIDTH),
                            "mlp.down_proj": (WIDTH, INNER), "input_layernorm": (WIDTH,),
                            "post_attention_layernorm": (WIDTH,), "pre_feedforward_layernorm": (WIDTH,),
                            "post_feedforward_layernorm": (WIDTH,)}.items():
            shapes[f"model.layers.{layer}.{name}.weight"] = shape
    save(directory, {"model_type": "gemma3_text", "vocab_size": vocabulary, "hidden_size": WIDTH,
                     "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": 1,
                     "head_dim": features, "intermediate_size": INNER, "max_position_embeddings": 8192,
                     "query_pre_attn_scalar": features, "sliding_window": 100,
                     "layer_types": ["sliding_attention", "full_attention"]}, shapes)
    (directory / "tokenizer.json").write_text(tokenizer, encoding="utf-8")


def changed(file, change):
    """A Llama with something else in a JSON file."""
    def make(directory):
        llama(directory)
        content = json.loads((directory / file).read_text())
        change(content)
        (directory / file).write_text(json.dumps(content))
    return make


def puts_first(tokenizer):
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|im_start|>": {"id": "<|im_start|>", "ids": [50257], "tokens": ["<|im_start|>"]}}}


# Models that pages speak of beside the default one, by their folders in models/.
OTHERS = {
    "gemma-3-270m": gemma3,
    "gpt2": gpt2,
    "mamba": changed("config.json", lambda config: config.update(model_type="mamba")),
    "sentencepiece": changed("tokenizer.json", lambda tokenizer: tokenizer.update(
        model={"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0]]})),
    "with-bos": changed("tokenizer.json", puts_first),
}
