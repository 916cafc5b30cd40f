"""A checkpoint of nanoGPT (https://github.com/karpathy/nanoGPT): GPT-2 whose products are stored as
[out, in], with or without biases, its vocabulary often padded to a multiple of 64.
"""

import pathlib

from importers.checkpoint import load, stored
from importers.directory import Failure, Model, Tensor, tokenizer_files

PRODUCTS = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
NORMS = ("ln_1", "ln_2")
GPT2_VOCABULARY = 50257


def no_tokenizer(path, vocabulary):
    if vocabulary >= GPT2_VOCABULARY:
        return (f"{path}: a checkpoint holds no tokenizer; its vocabulary of {vocabulary} is that "
                f"of GPT-2 ({GPT2_VOCABULARY} tokens, the rest padding): give a directory with "
                "GPT-2's tokenizer.json, or vocab.json and merges.txt, with --tokenizer")
    return (f"{path}: a checkpoint holds no tokenizer, and a vocabulary of {vocabulary} is not "
            "GPT-2's: character-level runs keep theirs in a meta.pkl, a pickle, which is not read "
            "since reading one can run code; give a directory with a byte-level tokenizer.json of "
            "these tokens with --tokenizer")


def parts_of(path):
    """(model_args, state dict) of a checkpoint."""
    checkpoint = load(path)
    if not isinstance(checkpoint, dict) or not {"model", "model_args"} <= checkpoint.keys():
        seen = ", ".join(map(str, checkpoint)) if isinstance(checkpoint, dict) \
            else type(checkpoint).__name__
        raise Failure(f"{path}: is no checkpoint of nanoGPT: it holds {seen}, not model and "
                      "model_args")
    state = {name.removeprefix("_orig_mod."): value  # of torch.compile
             for name, value in checkpoint["model"].items()}
    return checkpoint["model_args"], state


def linear(name, tensor):
    """A product as Hugging Face's Conv1D stores it, [in, out]."""
    return Tensor(name, tensor.shape[::-1], tensor.dtype, lambda: tensor.read().t())


def zeros(name, size, dtype):
    import torch
    return Tensor(name, (size,), dtype, lambda: torch.zeros(size))


def tensors_of(state, layers, path):
    """The tensors by Hugging Face's names. A model without biases gets biases of zero, which its
    architecture there always has.
    """
    rest = dict(state)

    def take(name):
        if name not in rest:
            raise Failure(f"{path}: the tensor '{name}' is missing")
        return stored(name, rest.pop(name), path)

    tensors = [take("transformer.wte.weight"), take("transformer.wpe.weight")]

    def add(name, product=False):
        weight = take(f"{name}.weight")
        bias = f"{name}.bias"
        tensors.append(linear(weight.name, weight) if product else weight)
        tensors.append(take(bias) if bias in rest else zeros(bias, weight.shape[0], weight.dtype))

    for layer in range(layers):
        block = f"transformer.h.{layer}"
        for part in NORMS:
            add(f"{block}.{part}")
        for part in PRODUCTS:
            add(f"{block}.{part}", product=True)
        rest.pop(f"{block}.attn.bias", None)  # the causal mask
    add("transformer.ln_f")
    head = rest.pop("lm_head.weight", None)
    if head is not None and not (head == state["transformer.wte.weight"]).all():
        raise Failure(f"{path}: lm_head.weight differs from transformer.wte.weight, which nanoGPT "
                      "ties")
    if rest:
        raise Failure(f"{path}: the tensor '{next(iter(rest))}' is not one of nanoGPT's")
    return tensors


def open_checkpoint(path, tokenizer=None, activation="gelu"):
    """The model of a checkpoint. `activation` is gelu, or gelu_new for a nanoGPT of before 17 May
    2023 (commit 594068e); the checkpoint does not tell.
    """
    arguments, state = parts_of(path)
    tensors = tensors_of(state, arguments["n_layer"], path)
    vocabulary, width = tensors[0].shape
    if tokenizer is None:
        raise Failure(no_tokenizer(path, vocabulary))
    end = GPT2_VOCABULARY - 1 if vocabulary >= GPT2_VOCABULARY else None
    config = {
        "_name_or_path": str(pathlib.Path(path).resolve().parent.name),
        "activation_function": activation,
        "architectures": ["GPT2LMHeadModel"],
        "attn_pdrop": arguments.get("dropout", 0.0),
        "bos_token_id": end,
        "embd_pdrop": arguments.get("dropout", 0.0),
        "eos_token_id": end,
        "layer_norm_epsilon": 1e-5,
        "model_type": "gpt2",
        "n_embd": width,
        "n_head": arguments["n_head"],
        "n_inner": 4 * width,
        "n_layer": arguments["n_layer"],
        "n_positions": tensors[1].shape[0],
        "resid_pdrop": arguments.get("dropout", 0.0),
        "tie_word_embeddings": True,
        "torch_dtype": {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}[tensors[0].dtype],
        "vocab_size": vocabulary,
    }
    return Model(config, tensors, tokenizer_files(tokenizer, path))
