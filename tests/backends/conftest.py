"""Tiny checkpoints, built once a session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tiny_models import CHAT_KINDS, tokenizer_of, write_bert, write_mistral

from backends.causal_lm import CausalLM, CausalLMOptions


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """One thread: the models are so small that more of them only wait for each other."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def mistrals(built_once: Callable[..., Path]) -> dict[str, Path]:
    """Folders with checkpoints, one for each of `CHAT_KINDS`."""
    root = built_once("mistrals", lambda root: [write_mistral(root / kind, tokenizer_of(kind)) for kind in CHAT_KINDS])
    return {kind: root / kind for kind in CHAT_KINDS}


@pytest.fixture(scope="session")
def engines(mistrals: dict[str, Path]) -> Iterator[dict[str, CausalLM]]:
    """A loaded engine for each of `CHAT_KINDS`."""
    options = CausalLMOptions.model_validate({"device": "cpu", "dtype": "float32"})
    loaded = {kind: CausalLM(options, folder) for kind, folder in mistrals.items()}
    for engine in loaded.values():
        engine.load()
    yield loaded
    for engine in loaded.values():
        engine.close()


@pytest.fixture(scope="session")
def bert(built_once: Callable[..., Path]) -> Path:
    """A folder with an untrained encoder."""
    return built_once("bert", write_bert)
