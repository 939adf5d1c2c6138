"""Reads checkpoints through transformers, and checks that they are complete.

transformers replaces missing weights by random numbers, and accepts a tokenizer without files. Here both are errors, except
for the new head of a classifier that is trained next. No code of a checkpoint is run.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from backends._torch import import_libraries, out_of_memory_named
from harness.core.engine import ROBERTAS
from harness.core.errors import BenchError, MissingExtra, ModelUnavailable, UserError
from harness.core.json_files import read_json

META: dict[str, Any] = {"device_map": {"": "meta"}}
"""With these arguments `load_model` compares the names and shapes of all weights, and reads none."""

WITH_IMAGES = ("gemma3", "mistral3")
"""The model_type of models of images and texts of which the text model alone is loaded."""
TEXT_WEIGHTS = {
    r"^language_model\.lm_head": "lm_head",
    r"^language_model\.model": "model",
    r"^model\.language_model": "model",
}
"""What their text weights are called in the files (by transformers up to 4.51, and since) and in the text model."""

DAMAGED = "Copy or download the checkpoint again; config.json and weights must be of the same model."
NAMED = 3
"""How many names of weights or tokens a message lists."""

TOKENS_OF_A_TEXT = ("bos_token", "eos_token", "sep_token", "pad_token", "cls_token")


@dataclass(frozen=True, slots=True)
class Loaded:
    """`new`: the model's modules without weights in the checkpoint. `parameters`: None where they are packed."""

    model: Any
    new: set[str]
    parameters: int | None


def read_config(folder: Path) -> Any:
    """Raises `UserError` for a model that transformers does not know, whether or not it brings code along."""
    import_libraries()
    from transformers import CONFIG_MAPPING, AutoConfig

    try:
        declared = read_json(folder / "config.json")
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: its config.json can't be read: {first_line(error)}", DAMAGED) from error
    kind = declared.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        raise UserError(
            f"{folder}: its config.json names the model_type {kind!r}, which transformers does not know"
            + (", and code of its own, which bench never runs." if "auto_map" in declared else "."),
            "Choose another checkpoint, or install a newer version of transformers.",
        )
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # a config class checks its values in many ways
        raise UserError(f"{folder}: its config.json can't be read: {first_line(error)}", DAMAGED) from error


def positions(config: Any) -> int | None:
    """How many tokens a model reads at once, those that the tokenizer adds included. None where it has no limit."""
    most = getattr(config, "max_position_embeddings", None) or -1
    if most <= 0:  # XLNet: -1
        return None
    return int(most) - (config.pad_token_id + 1 if config.model_type in ROBERTAS else 0)


def read_tokenizer(folder: Path, needs: Literal["pad_token", "eos_token"]) -> Any:
    """Raises `UserError` where there is none, or it lacks a vocabulary or the token that the engine needs: to pad the rows of a
    batch, or to end an answer."""
    import_libraries()
    from transformers import AutoTokenizer

    hint = "A checkpoint must have its tokenizer's files: tokenizer.json, or vocab.txt, tokenizer.model and the like."
    # Mistral's tokenizer.json splits some words otherwise than its tekken.json, which the model was trained with. transformers
    # corrects that where asked to, and then reads the same files whether or not the library mistral-common is installed.
    corrected = {"fix_mistral_regex": True} if (folder / "tekken.json").is_file() else {}
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True, **corrected)
    except Exception as error:  # each library that reads one has its own errors
        read_config(folder)  # raises where that is the cause
        there = any(file.name.startswith(("tokenizer.", "vocab", "spiece", "sentencepiece")) for file in folder.iterdir())
        what = f"its tokenizer can't be read: {first_line(error)}" if there else "there is no file of a tokenizer."
        raise UserError(f"{folder}: {what}", hint) from error
    files = dict(getattr(tokenizer, "vocab_files_names", None) or {})  # none: bytes or characters are its tokens
    whole = files.pop("tokenizer_file", "tokenizer.json")
    if files and not (folder / whole).is_file():
        needed = [name for kind, name in files.items() if kind in ("vocab_file", "merges_file")]
        lacking = [name for name in needed if not (folder / name).is_file()]
        if lacking and not any(folder.glob("*.tiktoken")) and not (folder / "tekken.json").is_file():
            raise UserError(f"{folder}: the tokenizer's files are missing: {whole}, or else {' and '.join(lacking)}.", hint)
    added = {str(token) for token in tokenizer.added_tokens_decoder.values()}
    if not any(token not in added for token in tokenizer.get_vocab()):
        raise UserError(f"{folder}: its tokenizer has an empty vocabulary.", hint)
    if getattr(tokenizer, needs) is None:
        raise UserError(f"{folder}: its tokenizer has no {needs}, which this engine needs.", "Choose another checkpoint.")
    return tokenizer


def load_model(auto: Any, folder: Path, *, new_head: bool = False, **kwargs: Any) -> Loaded:
    """`auto.from_pretrained`, with every weight from the files of `folder`.

    With `new_head` the modules outside the base model, and its pooler, may be new. Raises `ModelUnavailable` for weights that
    are missing, have another shape, or do not belong to the model; `UserError` for what can't be read at all.
    """
    import torch

    read_config(folder)

    def read(**renamed: Any) -> Any:
        return auto.from_pretrained(
            folder,
            trust_remote_code=False,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            **kwargs,
            **renamed,
        )

    try:
        with out_of_memory_named(torch):
            model, found = read()
            if renamed := _embedding_of_last_layer(model, found["missing_keys"], found["unexpected_keys"]):
                model, found = read(key_mapping=renamed)
    except BenchError:
        raise
    except Exception as error:  # transformers, safetensors and quantization each raise errors of their own
        kind = "a classifier" if new_head else "a language model" if "CausalLM" in auto.__name__ else "a model"
        raise UserError(
            f"{folder}: can't be read as {kind}: {first_line(error)}",
            "Choose a checkpoint of such a model, with weights in safetensors, or another `attention` if that is the cause.",
        ) from error
    # Saved by the names of the model's own parts, as the Trainer reads its checkpoints, and not by those of the files.
    model._weight_conversions = []
    shapes = {name: (list(there), list(wanted)) for name, there, wanted in found["mismatched_keys"]}
    absent = {*found["missing_keys"], *shapes}
    new = _new_modules(model, absent) if new_head else set()
    missing = {name for name in absent if _module_of(name) not in new}
    _refuse(folder, model, missing - shapes.keys(), {n: s for n, s in shapes.items() if n in missing}, found["unexpected_keys"])
    return Loaded(model, new, None if is_quantized(model.config) else count_parameters(model))


def text_config(config: Any) -> Any:
    """That of the text model alone, of a model of images and texts; else `config` itself."""
    if config.model_type not in WITH_IMAGES:
        return config
    text = config.get_text_config()
    text.tie_word_embeddings = config.tie_word_embeddings  # the whole model's word counts
    if is_quantized(config):
        text.quantization_config = config.quantization_config
    return text


def load_language_model(folder: Path, **kwargs: Any) -> Loaded:
    """`load_model` of a decoder-only model. Of one that reads images too, the weights for these are left out."""
    from transformers import AutoModelForCausalLM

    return load_model(AutoModelForCausalLM, folder, **text_model(read_config(folder)), **kwargs)


def text_model(config: Any) -> dict[str, Any]:
    """The arguments with which `load_model` leaves the weights for images out; none where there are none."""
    return {"config": text_config(config), "key_mapping": TEXT_WEIGHTS} if config.model_type in WITH_IMAGES else {}


def is_decoder(config: Any) -> bool:
    """Whether the model reads from left to right, so that a classifier reads the last token of a text."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

    config = text_config(config)
    kind = type(config)
    both_ways = kind in MODEL_FOR_MASKED_LM_MAPPING or config.is_encoder_decoder or config.model_type == "xlnet"
    return kind in MODEL_FOR_CAUSAL_LM_MAPPING and not both_ways


def nf4(torch: Any, dtype: str, **more: Any) -> Any:
    """The settings of 4-bit NormalFloat with double quantization, computing in `dtype`."""
    from transformers import BitsAndBytesConfig

    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise MissingExtra("bitsandbytes", "llm", "4-bit quantization") from error
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
        **more,
    )


def _embedding_of_last_layer(model: Any, missing: Collection[str], unexpected: Collection[str]) -> dict[str, str]:
    """Pattern -> name of the embedding that the file has only as the last layer of a masked language model: the two are one
    weight, and a converter to safetensors keeps one of its names. Empty for all other checkpoints."""
    from transformers import MODEL_FOR_MASKED_LM_MAPPING

    kind = MODEL_FOR_MASKED_LM_MAPPING.get(type(model.config), None)
    if kind is None or not getattr(model.config, "tie_word_embeddings", False):
        return {}
    shared = dict(getattr(kind, "_tied_weights_keys", None) or {})
    return {f"^{re.escape(last)}$": name for last, name in shared.items() if name in missing and last in unexpected}


def check_vocabulary(tokenizer: Any, model: Any, folder: Path) -> None:
    """Raises `UserError` where a text can get a token that `model` has no embedding for.

    Surplus embeddings are common. So are special tokens beyond the last embedding that no text and no chat template can
    produce (those of images, in the text-only models of a family).
    """
    try:
        rows = model.get_input_embeddings().weight.shape[0]
    except (NotImplementedError, AttributeError):  # a model of characters has no table of tokens
        return
    if not getattr(tokenizer, "vocab_files_names", None):
        return
    used = {getattr(tokenizer, name, None) for name in TOKENS_OF_A_TEXT}
    template = str(getattr(tokenizer, "chat_template", None) or "")
    unused = {
        str(token)
        for token in tokenizer.added_tokens_decoder.values()
        if token.special and str(token) not in used and str(token) not in template
    }
    beyond = [token for token, number in tokenizer.get_vocab().items() if number >= rows and token not in unused]
    if beyond:
        raise UserError(
            f"{folder}: the tokenizer does not belong to this model: {len(beyond):,} of its tokens have no row in the model's "
            f"embedding, which has {rows:,} ({_names(map(repr, beyond))}).",
            "Put the tokenizer's files of the same model into the folder.",
        )


def count_parameters(model: Any) -> int:
    """Shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def is_quantized(config: Any) -> bool:
    return getattr(config, "quantization_config", None) is not None


def first_line(error: Exception) -> str:
    """With the next line where it ends with a colon."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]


def _module_of(weight: str) -> str:
    return weight.rpartition(".")[0]


def _new_modules(model: Any, absent: set[str]) -> set[str]:
    """The modules that may be new and have no weight in the checkpoint. A head with some of its weights is damaged."""
    base = model.base_model
    outside = base is not model
    inner = {f"{name}." for name, module in model.named_modules() if module is base} if outside else {""}
    new = set()
    for name in {_module_of(weight) for weight in absent}:
        is_head = not any(f"{name}.".startswith(prefix) for prefix in inner)
        own = {f"{name}.{weight}" for weight, _ in model.get_submodule(name).named_parameters(recurse=False)}
        if (is_head or "pooler" in name.split(".")) and own <= absent:
            new.add(name)
    return new


def _refuse(
    folder: Path, model: Any, missing: set[str], shapes: dict[str, tuple[list[int], list[int]]], unexpected: Collection[str]
) -> None:
    kind = type(model).__name__
    shaped = [f"{name} (is {there}, should be {wanted})" for name, (there, wanted) in sorted(shapes.items())]
    foreign = [] if is_quantized(model.config) else _without_place(model, unexpected)
    for names, what in (
        (missing, f"of the weights of {kind} are not in its files, and would be random"),
        (shaped, f"of its weights have another shape than {kind} has by config.json"),
        (foreign, f"of the weights in its files have no place in the layers of {kind}"),
    ):
        if names:
            raise ModelUnavailable(f"{folder}: {len(names):,} {what}: {_names(names)}.", DAMAGED)


def _without_place(model: Any, unexpected: Collection[str]) -> list[str]:
    """Weights of a layer, a bias or a norm that this kind of model does not have. The head of another task is no fault, nor
    are buffers that older versions saved beside the weights."""
    import torch

    modules = dict(model.named_modules())
    stacks = {name for name, module in modules.items() if isinstance(module, torch.nn.ModuleList)}
    prefix = f"{model.base_model_prefix}."

    def is_of_a_layer(name: str) -> bool:
        parts = name.split(".")
        owner = modules.get(_module_of(name))
        is_buffer = owner is not None and any(True for _ in owner.children())  # GPT-2's mask is called attn.bias
        if parts[-1] not in ("weight", "bias") or is_buffer:
            return False
        return any(".".join(parts[:at]) in stacks and parts[at].isdigit() for at in range(1, len(parts)))

    return [name for name in unexpected if is_of_a_layer(name) or is_of_a_layer(prefix + name)]


def _names(names: Any) -> str:
    ordered = sorted(names)
    rest = len(ordered) - NAMED
    return ", ".join(ordered[:NAMED]) + (f" and {rest:,} more" if rest > 0 else "")
