"""Tiny random models in Hugging Face format, with GPT-2's vocabulary."""

import pathlib

import torch
import transformers

DATA = pathlib.Path(__file__).resolve().parents[1] / "data"


transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


def configuration(family, **options):
    if family == "gpt2":
        sizes = {"vocab_size": 50257, "n_positions": 128, "n_embd": 16, "n_layer": 3, "n_head": 4}
        return transformers.GPT2Config(**(sizes | options))
    sizes = {"vocab_size": 50257, "hidden_size": 32, "intermediate_size": 48,
             "num_hidden_layers": 3, "num_attention_heads": 4, "max_position_embeddings": 128,
             "pad_token_id": None}  # fmt: skip
    if family != "gpt_neox":
        sizes |= {"head_dim": 8, "num_key_value_heads": 2}
    return transformers.AutoConfig.for_model(family, **(sizes | options))


def model(family, **options):
    """With weights so large that attention has opinions: its entropies are far from ln(keys)."""
    torch.manual_seed(0)
    made = transformers.AutoModelForCausalLM.from_config(configuration(family, **options))
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "norm" not in name and "ln_" not in name:
                parameter.normal_(std=0.3)
    return made.eval()


def save(directory, family, **options):
    model(family, **options).save_pretrained(directory)
    tokenizer = transformers.GPT2Tokenizer(
        vocab=str(DATA / "gpt2" / "vocab.json"), merges=str(DATA / "gpt2" / "merges.txt")
    )
    tokenizer.save_pretrained(directory)
    return directory
