"""Checkpoints of encoders: how they are read, which layer is the head, and low-rank adapters on the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backends import _loading
from backends._control_tokens import read_as_text
from backends._encoder_options import Attention, LoraOptions
from backends._heads import tie_coral
from backends._loading import Loaded, load_model
from harness.core.errors import UserError


def read_tokenizer(folder: Path) -> Any:
    """Reads what looks like a control token in a text as characters. Raises `UserError` where there is none that can pad."""
    tokenizer = _loading.read_tokenizer(folder, "pad_token")
    read_as_text(tokenizer)
    return tokenizer


def read_model(folder: Path, outputs: int | None, attention: Attention) -> Loaded:
    """The model in fp32. With `outputs` its head may be new, and is if it has another size; without, none is."""
    import torch
    from transformers import AutoModelForSequenceClassification

    kwargs: dict[str, Any] = {} if outputs is None else {"num_labels": outputs}
    if attention != "auto":
        kwargs["attn_implementation"] = attention
    return load_model(AutoModelForSequenceClassification, folder, new_head=outputs is not None, dtype=torch.float32, **kwargs)


def share_coral_weights(model: Any) -> None:
    """See `tie_coral`; the head is the last linear layer outside the base model that is trained."""
    import torch

    inner = set(model.base_model.modules()) if not hasattr(model, "peft_config") else set()
    heads = [
        module
        for module in model.modules()
        if isinstance(module, torch.nn.Linear)
        and module not in inner
        and module.weight.requires_grad
        and module.out_features == model.config.num_labels
    ]
    if not heads or heads[-1].bias is None:
        raise UserError(f"{type(model).__name__}: its head has no biases, which CORAL needs.", "Use corn or softmax.")
    tie_coral(heads[-1])


def with_lora(model: Any, options: LoraOptions, new: set[str]) -> Any:
    """A PEFT model around `model`: adapters on its linear layers; trained as a whole are its head and the modules in `new`."""
    import torch
    from transformers.pytorch_utils import Conv1D

    from harness.core.errors import MissingExtra

    try:
        from peft import LoraConfig, TaskType, get_peft_model
    except ImportError as error:
        raise MissingExtra("peft", "train", "LoRA") from error
    base = model.base_model
    whole = {name for name, module in model.named_children() if module is not base and any(True for _ in module.parameters())}
    whole |= {name for name in new if not any(name == top or name.startswith(f"{top}.") for top in whole)}
    adapted = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and not any(name == top or name.startswith(f"{top}.") for top in whole)
    ]
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=adapted,
        modules_to_save=sorted(whole),
    )
    return get_peft_model(model, config)
