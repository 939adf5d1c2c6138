"""Low-rank adapters (LoRA, Hu et al. 2021, arXiv:2106.09685; on 4-bit weights QLoRA, Dettmers et al. 2023, arXiv:2305.14314).

What is kept of such a training are the adapters and the head, in PEFT's files, and where their base is: a few megabytes, and
not the base once more.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends._encoder_options import BasePrecision, LoraOptions
from harness.core.errors import MissingExtra, ModelUnavailable, UserError
from harness.core.json_files import read_json

CONFIG, WEIGHTS, BASE = "adapter_config.json", "adapter_model.safetensors", "base.json"
ADAPTER = "default"
"""PEFT's name of the only adapter of a model."""


@dataclass(frozen=True)
class Adapters:
    """`weights` by PEFT's names, in fp32 on the CPU: adapters, and modules that were trained as a whole. `base`: the folder of
    the checkpoint that they change; `precision`: in which it was read."""

    config: Mapping[str, Any]
    weights: Mapping[str, Any]
    base: Path
    precision: BasePrecision

    def save(self, folder: Path) -> None:
        from safetensors.torch import save_file

        save_file(dict(self.weights), folder / WEIGHTS, {"format": "pt"})
        base = {"folder": str(self.base.resolve()), "precision": self.precision}
        for name, content in ((CONFIG, self.config), (BASE, base)):
            (folder / name).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def are_adapters(folder: Path) -> bool:
    return (folder / CONFIG).is_file() and (folder / BASE).is_file()


def read_adapters(folder: Path) -> Adapters:
    """What `Adapters.save` wrote."""
    from safetensors.torch import load_file

    base = read_json(folder / BASE)
    return Adapters(read_json(folder / CONFIG), load_file(folder / WEIGHTS), Path(base["folder"]), base["precision"])


def whole_checkpoint(folder: Path) -> Path:
    """`folder`, or below adapters the checkpoint that they change: it has the config and the tokenizer.

    Raises `ModelUnavailable` where it is gone.
    """
    while are_adapters(folder):
        base = Path(read_json(folder / BASE)["folder"])
        if not base.is_dir():
            raise ModelUnavailable(
                f"{folder} holds adapters; the checkpoint that they change is gone: {base}.", "Train that model anew."
            )
        folder = base
    return folder


def with_lora(model: Any, options: LoraOptions, new: set[str], *, task: str = "SEQ_CLS") -> Any:
    """A PEFT model around `model`: adapters on its linear layers; its head and the modules in `new` are trained as a whole.

    Of a language model (`task` CAUSAL_LM) the last layer is no new head: it is frozen, without adapters, as QLoRA has it. What
    is trained is in fp32, whatever the precision of the rest.
    """
    import torch
    from transformers.pytorch_utils import Conv1D

    try:
        from peft import LoraConfig, TaskType, get_peft_model
    except ImportError as error:
        raise MissingExtra("peft", "train", "LoRA") from error
    base = model.base_model
    outside = {name for name, module in model.named_children() if module is not base and any(True for _ in module.parameters())}
    outside |= {name for name in new if not any(name == top or name.startswith(f"{top}.") for top in outside)}
    adapted = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D)
        and not any(name == top or name.startswith(f"{top}.") for top in outside)
    }
    config = LoraConfig(
        task_type=TaskType[task],
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=list(adapted),
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in adapted.values()),  # GPT-2's weights lie the other way
        modules_to_save=sorted(outside) if task == "SEQ_CLS" else None,
    )
    return _trained_in_fp32(get_peft_model(model, config))


def _trained_in_fp32(model: Any) -> Any:
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model


def adapters_of(model: Any, base: Path, precision: BasePrecision) -> Adapters:
    """Of the PEFT model `model`, as copies."""
    from peft import get_peft_model_state_dict

    weights = {name: weight.detach().float().cpu().clone() for name, weight in get_peft_model_state_dict(model).items()}
    return Adapters(_config_of(model), weights, base, precision)


def _config_of(model: Any) -> dict[str, Any]:
    """As JSON, without the name of the base: that is a folder of this machine."""

    def plain(value: Any) -> Any:
        return sorted(value) if isinstance(value, set) else str(value)

    config: dict[str, Any] = json.loads(json.dumps(model.peft_config[ADAPTER].to_dict(), default=plain))
    whole = config["modules_to_save"] and sorted(set(config["modules_to_save"]))  # PEFT names some twice
    return {**config, "modules_to_save": whole, "base_model_name_or_path": None}


def attached(model: Any, adapters: Adapters) -> Any:
    """The PEFT model around `model` with these adapters. Raises `ModelUnavailable` where they do not fit."""
    try:
        from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
    except ImportError as error:
        raise MissingExtra("peft", "train", "LoRA") from error
    config = LoraConfig(**{key: value for key, value in adapters.config.items() if key != "peft_type"})
    adapted = _trained_in_fp32(get_peft_model(model, config))
    expected = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    found = set_peft_model_state_dict(adapted, dict(adapters.weights))
    if lacking := sorted(expected & set(found.missing_keys)) or sorted(found.unexpected_keys):
        raise ModelUnavailable(f"The trained adapters do not fit their base: {lacking[0]}.", "Train that model anew.")
    return adapted


def merged(model: Any, dtype: Any) -> Any:
    """The plain model that computes what the PEFT model `model` does, with the adapted layers in `dtype`. Each is merged in
    fp32, so that the sum is rounded once."""
    import torch
    from peft.tuners.lora import LoraLayer

    for module in model.modules():
        if isinstance(module, LoraLayer):
            weight: Any = module.get_base_layer().weight
            with torch.no_grad():
                weight.data = weight.data.float()
                module.merge()
                weight.data = weight.data.to(dtype)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*already merged")
        return model.merge_and_unload()


def check_mergeable(adapters: Adapters, base: BasePrecision) -> None:
    """Raises `UserError` unless a training with this `base` can go on from the adapters: they become a part of its base."""
    if "nf4" in (adapters.precision, base):
        raise UserError(
            "A training on 4-bit weights can neither follow nor go on from one of adapters: merging would change the weights.",
            "Use another `train.lora.base` for both.",
        )
