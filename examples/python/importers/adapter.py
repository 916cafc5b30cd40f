"""A LoRA adapter of the package PEFT, merged into its base: W + scale B A.

Hu et al. 2021, "LoRA", arXiv 2106.09685: scale = alpha / r; with use_rslora alpha / sqrt(r)
(Kalajdzievski 2023, arXiv 2312.03732). Merged in float32, then rounded to the dtype of the base.
"""

import math
import pathlib
import re

from importers.checkpoint import is_tied, items, load, open_safetensors, stored
from importers.directory import Failure, Model, Tensor, read_json

# Settings that are handled here, or that say nothing about the weights.
KNOWN = {"peft_type", "task_type", "base_model_name_or_path", "revision", "inference_mode", "r",
         "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "target_modules",
         "exclude_modules", "layers_to_transform", "layers_pattern", "modules_to_save", "bias",
         "fan_in_fan_out", "lora_dropout", "init_lora_weights", "auto_mapping", "runtime_config",
         "megatron_core", "loftq_config", "qalora_group_size", "peft_version",
         "ensure_weight_tying"}
# Initialisations that leave the base's own weights alone. Others, such as PiSSA, take something out
# of them, which a plain base then has twice.
KEEPS_BASE = (None, True, False, "gaussian", "eva", "orthogonal")
CONV1D = ("c_attn", "c_proj", "c_fc")  # GPT-2's products, stored as [in, out]


def settings(directory):
    """adapter_config.json, with an error for what a merge here would get wrong."""
    path = directory / "adapter_config.json"
    config = read_json(path)
    if config.get("peft_type") != "LORA":
        raise Failure(f"{path}: peft_type is {config.get('peft_type')}; LORA is read")
    if config.get("use_dora"):
        raise Failure(f"{path}: use_dora: DoRA (weight magnitudes beside LoRA) is not supported; "
                      "merge with PEFT's merge_and_unload and save_pretrained")
    initial = config.get("init_lora_weights")
    initial = initial.lower() if isinstance(initial, str) else initial
    if initial not in KEEPS_BASE:
        raise Failure(f"{path}: init_lora_weights {config['init_lora_weights']} changes the weights "
                      "of the base, or is not known here to leave them alone, which is not "
                      "supported; merge with PEFT's merge_and_unload and save_pretrained")
    for name, value in config.items():
        if name not in KNOWN and value:
            raise Failure(f"{path}: the setting '{name}' ({value}) is not supported; merge with "
                          "PEFT's merge_and_unload and save_pretrained")
    return config


def adapter_weights(directory):
    """{name: Tensor} of adapter_model.safetensors or .bin, names as in the base."""
    for name, read in (("adapter_model.safetensors", open_safetensors),
                       ("adapter_model.bin", load)):
        path = directory / name
        if path.is_file():
            found = {key: value if isinstance(value, Tensor) else stored(key, value, path)
                     for key, value in items(read(path), path)}
            return {re.sub(r"\.(base_layer|modules_to_save)(?=\.)", "",
                           key.removeprefix("base_model.model.")): tensor
                    for key, tensor in found.items()}
    raise Failure(f"{directory}: has no adapter_model.safetensors and no adapter_model.bin; "
                  "the download is not complete")


def matching(patterns, module, otherwise):
    """The value of the first pattern that `module` ends with, as PEFT matches rank_pattern."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return otherwise


def scale_of(config, module, rank):
    """What B A is multiplied by."""
    r = matching(config.get("rank_pattern"), module, config["r"])
    if r != rank:
        raise Failure(f"adapter_config.json gives '{module}' the rank {r}, but its weights have "
                      f"{rank}")
    alpha = matching(config.get("alpha_pattern"), module, config["lora_alpha"])
    return alpha / math.sqrt(r) if config.get("use_rslora") else alpha / r


def merged(weight, a, b, scale, transposed):
    """The base's tensor with the update, as a tensor that is computed when it is read."""
    import torch

    def read():
        update = scale * (b.read().float() @ a.read().float())  # [out, in]
        whole = torch.as_tensor(weight.read()).float()
        return whole + (update.t() if transposed else update)

    shape = (b.shape[0], a.shape[1])
    if (shape[::-1] if transposed else shape) != weight.shape or a.shape[0] != b.shape[1]:
        raise Failure(f"the adapter's update of '{weight.name}' is {shape}, the base's tensor "
                      f"{weight.shape}: the adapter belongs to another base")
    return Tensor(weight.name, weight.shape, weight.dtype, read)


class Base:
    """The tensors of the base, by the names that a model of transformers gives them."""

    def __init__(self, model):
        self.gpt2 = model.config.get("model_type") == "gpt2"
        self.tied = is_tied(model.config)
        self.tensors = {self.full(tensor.name): tensor for tensor in model.tensors}

    def full(self, name):
        """GPT-2 is published without `transformer.`."""
        bare = self.gpt2 and not name.startswith(("transformer.", "lm_head."))
        return f"transformer.{name}" if bare else name

    def tensor(self, name):
        if self.tied and name.endswith(("lm_head.weight", "embed_tokens.weight", "wte.weight")):
            raise Failure(f"the adapter changes '{name}', which the base's config.json ties to the "
                          "other end of the model (tie_word_embeddings); what that means differs "
                          "between versions of PEFT, so it is not supported: merge with its "
                          "merge_and_unload and save_pretrained")
        if name not in self.tensors:
            raise Failure(f"the adapter changes '{name}', which the base does not have: the "
                          "adapter belongs to another base")
        return self.tensors[name]

    def transposed(self, module):
        return self.gpt2 and module.endswith(CONV1D)


def whole_tensors(adapter, base):
    """Tensors that the adapter has instead of the base's: modules_to_save, biases, and embeddings,
    which PEFT saves beside an update of them.
    """
    changed = {}
    for name, tensor in adapter.items():
        if ".lora_" in name:
            continue
        weight = base.tensor(name)
        if tensor.shape != weight.shape:
            raise Failure(f"the adapter's '{name}' is {tensor.shape}, the base's {weight.shape}; "
                          "another vocabulary is not supported: merge with PEFT's "
                          "merge_and_unload and save_pretrained")
        changed[name] = Tensor(weight.name, weight.shape, weight.dtype, tensor.read)
    return changed


def changes(adapter, base, config):
    """The tensors that the adapter changes, by full name."""
    changed = whole_tensors(adapter, base)
    updates = {name: tensor for name, tensor in adapter.items() if ".lora_" in name}
    for first, second in ((".lora_A.weight", ".lora_B.weight"),
                          (".lora_embedding_A", ".lora_embedding_B")):
        for name in [name for name in updates if name.endswith(first)]:
            module = name.removesuffix(first)
            a, b = updates.pop(name), updates.pop(module + second, None)
            if b is None:
                raise Failure(f"the adapter has '{name}' but no matrix B for it")
            weight = base.tensor(f"{module}.weight")
            changed[f"{module}.weight"] = merged(
                changed.get(f"{module}.weight", weight), a, b,
                scale_of(config, module, a.shape[0]),
                first == ".lora_embedding_A" or base.transposed(module))
    for name in updates:
        raise Failure(f"the adapter's tensor '{name}' is not known here; lora_A, lora_B and "
                      "lora_embedding_A and _B are merged")
    return changed


def open_adapter(directory, model):
    """The base `model` with the adapter in `directory` merged into it."""
    directory = pathlib.Path(directory)
    config = settings(directory)
    base = Base(model)
    changed = changes(adapter_weights(directory), base, config)
    if not changed:
        raise Failure(f"{directory}: the adapter has no tensors")
    return Model(model.config,
                 [changed.get(name, tensor) for name, tensor in base.tensors.items()], model.files)
