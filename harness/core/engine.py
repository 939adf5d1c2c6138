"""The contract of an engine, on one screen.

An engine runs models. It knows nothing of tasks, prompts, parsing, metrics or run records: texts or chat messages
come in, probabilities or generated texts go out, in the order they came. The runner decides which rows go into a
batch (never the same text twice), keeps what comes out, and calls `close` at the end whatever happened.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from harness.core.errors import BenchError
from harness.core.types import FloatArray, Label, LabelSpace

Messages = list[dict[str, str]]
"""A chat: `[{"role": "system" | "user" | "assistant", "content": ...}, ...]`, ending with the user's turn."""

ROBERTAS = frozenset({"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "roberta-prelayernorm", "longformer", "mpnet"})
"""Model types whose positions begin after that of the padding."""
OnProgress = Callable[[int, int, str], None]
"""`on_progress(done, total, note)`; units are the engine's own (training steps, say)."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A text or prompt in its engine's own form. `tokens`: its length, with what a pass over it reads of the choices; or an
    upper bound where only a server can count. `cut`: tokens of a text that are left out, as the model reads no more."""

    tokens: int
    content: Any
    cut: int = 0


@dataclass(frozen=True, slots=True)
class Generation:
    """One answer. `complete` is False where `max_new_tokens` cut it. `error` (a word) is set where there is no answer;
    `passing`: for a reason that is not the row's (a timeout, say), so that another request may have one."""

    text: str
    complete: bool
    prompt_tokens: int
    new_tokens: int
    error: str | None = None
    passing: bool = False


@dataclass(frozen=True, slots=True)
class Scores:
    """log p(choice | prompt) of each whole choice, shape (len(choices),), -inf where p is 0; None, and a word in `error`, where
    there is none. `passing` as in `Generation`."""

    log_p: FloatArray | None
    prompt_tokens: int
    new_tokens: int = 0
    error: str | None = None
    passing: bool = False


@dataclass(frozen=True, slots=True)
class LabelledTexts:
    texts: Sequence[str]
    labels: Sequence[Label]


@dataclass(frozen=True, slots=True)
class ValidationScorer:
    """Says what probabilities of the validation rows are worth; an engine chooses its checkpoint by it.

    `metrics` takes them in the rows' order, shape (validation rows, labels). `main` is the metric that counts where the
    options name none. `watch` is told of them while a model trains, and may raise to end that (a search that gives up on it).
    """

    metrics: Callable[[FloatArray], dict[str, float]]
    main: str
    lower_is_better: frozenset[str]
    watch: Callable[[dict[str, float]], None] = lambda metrics: None

    def look(self, probabilities: FloatArray) -> dict[str, float]:
        """`metrics` in the course of a training."""
        found = self.metrics(probabilities)
        self.watch(found)
        return found


class Engine(ABC):
    """Base of both kinds. `Options` validates the `options` of a backend's YAML."""

    Options: type[BaseModel]
    model_is: Literal["checkpoint", "name", "nothing"] = "checkpoint"  # what a backend's `model` means
    libraries: tuple[str, ...] = ()  # what it imports beyond the bare install, and the extra that installs them
    extra = ""

    def __init__(self, options: BaseModel, model: Path | str | None) -> None:
        """`model` is the folder of a checkpoint, or a server's name for a model (maybe None). Loads nothing yet."""
        self.options: BaseModel = options

    def facts(self) -> dict[str, Any]:
        """What else determines the outcome and is known without loading: `device` type, resolved `dtype`, ..."""
        return {}

    def parameters(self) -> int | None:
        """Of the model, once it is loaded or trained; None where that is not known."""
        return None

    def batch_size(self) -> int:
        """Rows a batch, at most; the runner halves it when a batch raises `OutOfMemory`."""
        return 64

    def batch_tokens(self) -> int | None:
        """Tokens a batch, at most: rows times the longest one and its new tokens. None: no limit but `batch_size`."""
        return None

    def reset(self) -> None:  # noqa: B027 - most keep nothing
        """Forget what was kept of earlier texts: a run must not be faster for the one before it."""

    def close(self) -> None:  # noqa: B027 - nothing to free is a valid implementation
        """Free what was loaded."""


class Classifier(Engine):
    """A trainable classifier."""

    def threshold(self) -> float | None:
        """Of a multilabel task: the probability from which a label is given. None: one for each label, tuned on validation."""
        return None

    @classmethod
    def with_min_steps(cls, options: BaseModel, rows: int, steps: int) -> dict[str, Any]:
        """The options, by dotted name, with which a training on so many rows takes at least so many steps; empty where the
        options take them already, or there are no such steps."""
        return {}

    @abstractmethod
    def fit(
        self,
        train: LabelledTexts,
        validation: LabelledTexts,
        labels: LabelSpace,
        scorer: ValidationScorer,
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

    def optimize(self, folder: Path, validation: LabelledTexts, scorer: ValidationScorer) -> dict[str, Any] | None:
        """After `fit` or `load`: exchange the model for a faster form of it, kept in `folder`, where the options ask for one.

        Returns what a record should say of it. Raises `RunError` where the faster form is not good enough.
        """
        return None

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Prepare texts, after `fit` or `load`; called in a thread of its own while another batch is computed."""

    @abstractmethod
    def predict(self, texts: Sequence[Encoded]) -> FloatArray:
        """Probabilities, shape (len(texts), len(labels)); of a multilabel task each label's own. Raises `OutOfMemory`."""


class LanguageModel(Engine):
    """A prompted language model."""

    def attempts(self) -> int:
        """How often one request may be sent, and charged, until its row has an answer or failed."""
        return 1

    def down(self) -> BenchError | None:
        """Why it is of no use to ask on, after a batch whose answers are to be kept; the runner ends the run with it."""
        return None

    def sent_instead(self) -> dict[str, str | None]:
        """Fields of a request that the server refused by name, and what it is sent in their place (None: nothing)."""
        return {}

    @abstractmethod
    def load(self) -> None:
        """Load the weights (or reach the server). Raises `ModelUnavailable`."""

    def rendered(self, chat: Messages) -> str | None:
        """The prompt as the model reads it; None where only a server knows."""
        return None

    @abstractmethod
    def encode(self, chats: Sequence[Messages], choices: Sequence[str] | None) -> list[Encoded]:
        """Prepare prompts; called in a thread of its own while another batch is computed. Raises `UserError` for
        `choices` that the model can't tell apart."""

    @abstractmethod
    def generate(self, prompts: Sequence[Encoded], max_new_tokens: int, choices: Sequence[str] | None) -> list[Generation]:
        """Greedy answers; with `choices` (those of `encode`), only one of these can be generated, and `max_new_tokens` is
        room enough for each of them in a JSON object. Raises `OutOfMemory`."""

    @abstractmethod
    def score(self, prompts: Sequence[Encoded], choices: Sequence[str]) -> list[Scores]:
        """How likely each of `choices` (those of `encode`) is as the whole answer. Raises `OutOfMemory`."""
