"""Checkpoints of encoders: how they are read, which layer is the head, and low-rank adapters on the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backends._control_tokens import read_as_text
from backends._encoder_options import Attention, LoraOptions
from backends._heads import tie_coral
from harness.errors import UserError


def read_tokenizer(folder: Path) -> Any:
    """Reads what looks like a control token in a text as characters. Raises `UserError` where there is none that can pad."""
    from transformers import AutoTokenizer

    hint = "Choose the checkpoint of an encoder, with its tokenizer."
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # whatever library reads it has its own
        raise UserError(f"{folder}: its tokenizer can't be read: {_first_line(error)}", hint) from error
    if tokenizer.pad_token_id is None:
        raise UserError(f"{folder}: its tokenizer has no pad token, so that rows can't share a batch.", hint)
    read_as_text(tokenizer)
    return tokenizer


def read_model(folder: Path, outputs: int | None, attention: Attention) -> tuple[Any, set[str]]:
    """The model in fp32, and its modules that the checkpoint has no weights for: a new head of `outputs` (None: as many as
    the checkpoint has), say. A head of another size is dropped. Raises `UserError` for what is no encoder."""
    import torch
    from transformers import AutoModelForSequenceClassification

    kwargs: dict[str, Any] = {} if outputs is None else {"num_labels": outputs, "ignore_mismatched_sizes": True}
    if attention != "auto":
        kwargs["attn_implementation"] = attention
    try:
        model, found = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **kwargs
        )
    except (ValueError, OSError, ImportError) as error:
        raise UserError(
            f"{folder}: can't be read as a classifier: {_first_line(error)}",
            "Choose the checkpoint of an encoder, with weights in safetensors; another `attention` where that is the trouble.",
        ) from error
    names = {*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])}
    return model, {name.rpartition(".")[0] for name in names}


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

    from harness.errors import MissingExtra

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


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
