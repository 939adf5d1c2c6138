"""The contract of an engine, on one screen.

An engine runs models. It knows nothing of tasks, prompts, parsing, metrics or run records: texts or chat messages
come in, probabilities or generated texts go out, in the order they came. The runner decides which rows go into a
batch, keeps what comes out, and calls `close` at the end whatever happened.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from harness.types import Label, LabelSpace

Messages = list[dict[str, str]]
"""A chat: `[{"role": "system" | "user" | "assistant", "content": ...}, ...]`, ending with the user's turn."""

FloatArray = NDArray[np.float64]
OnProgress = Callable[[int, int, str], None]
"""`on_progress(done, total, note)`; units are the engine's own (training steps, say)."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One answer. `complete` is False where `max_new_tokens` cut it. `error` is set where there is no answer."""

    text: str
    complete: bool
    prompt_tokens: int
    new_tokens: int
    error: str | None = None


@dataclass(frozen=True, slots=True)
class LabelledTexts:
    texts: Sequence[str]
    labels: Sequence[Label]


class Engine(ABC):
    """Base of both kinds. `Options` validates the `options` of a backend's YAML."""

    Options: type[BaseModel]
    needs_model = True
    libraries: tuple[str, ...] = ()  # what it imports beyond the bare install, and the extra that installs them
    extra = ""

    def __init__(self, options: BaseModel, model: Path | None) -> None:
        """`model` is a folder with a checkpoint (None unless `needs_model`). Loads nothing yet."""
        self.options: BaseModel = options

    def facts(self) -> dict[str, Any]:
        """What else determines the outcome and is known without loading: `device` type, resolved `dtype`, ..."""
        return {}

    def batch_size(self) -> int:
        """Rows a batch; the runner halves it when a batch raises `OutOfMemory`."""
        return 64

    def close(self) -> None:  # noqa: B027 - nothing to free is a valid implementation
        """Free what was loaded."""


class Classifier(Engine):
    """A trainable classifier."""

    @abstractmethod
    def fit(
        self,
        train: LabelledTexts,
        validation: LabelledTexts,
        labels: LabelSpace,
        seed: int,
        scratch: Path,
        on_progress: OnProgress,
    ) -> dict[str, Any]:
        """Train; returns what is worth keeping of it (losses, the best step). `scratch` is a folder that survives a kill."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write all that `load` needs."""

    @abstractmethod
    def load(self, folder: Path, labels: LabelSpace) -> None:
        """Read what `save` wrote."""

    @abstractmethod
    def predict(self, texts: Sequence[str]) -> FloatArray:
        """Probabilities, shape (len(texts), len(labels)). Raises `OutOfMemory`."""


class LanguageModel(Engine):
    """A prompted language model."""

    @abstractmethod
    def load(self) -> None:
        """Load the weights (or reach the server). Raises `ModelUnavailable`."""

    @abstractmethod
    def generate(self, chats: Sequence[Messages], max_new_tokens: int, choices: Sequence[str] | None) -> list[Generation]:
        """Greedy answers; with `choices`, only one of these strings can be generated. Raises `OutOfMemory`."""

    @abstractmethod
    def score(self, chats: Sequence[Messages], choices: Sequence[str]) -> FloatArray:
        """log p(choice | chat) of each whole choice, shape (len(chats), len(choices)); NaN rows where the chat is
        longer than the model's context. Raises `OutOfMemory`."""
