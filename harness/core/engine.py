"""The contract of an engine.

An engine runs models. It knows nothing of tasks, prompts, parsing, metrics or run records: it gets texts or chats and returns
probabilities or answers in the same order. The runner cuts the batches (no text comes twice), stores the results, and always
calls `close` at the end.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field, FieldSerializationInfo, field_serializer
from pydantic_core import to_jsonable_python

from harness.core.arrays import FloatArray
from harness.core.errors import BenchError
from harness.core.token_use import ChargedTokens, TokenUse
from harness.core.types import Label, LabelSpace

Messages = list[dict[str, str]]
"""A chat: `[{"role": "system" | "user" | "assistant", "content": ...}, ...]`, ending with the user's turn."""

ROBERTAS = frozenset({"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "roberta-prelayernorm", "longformer", "mpnet"})
"""Model types whose positions begin after that of the padding."""
T = TypeVar("T")
Pending = Callable[[], T]
"""The results of a batch that was launched: called once, it waits for them, and returns or raises what the batch's own method
does."""
OnProgress = Callable[[int, int, str], None]
"""`on_progress(done, total, note)`; units are the engine's own (training steps, say)."""


def later_option(default: Any, **field: Any) -> Any:
    """A field of an engine's `Options` that is newer than some records: at its default it is in no dump of the options, so that
    earlier runs and trained models keep their ids."""
    return Field(default, exclude_if=lambda value: value == default, **field)


def memory_settings(*names: str) -> Any:
    """In the body of an engine's `Options`: these fields say how much is computed at a time. A run's identity has them at their
    defaults, whatever they are, so that earlier runs keep their ids."""

    def default(self: BaseModel, value: Any, info: FieldSerializationInfo) -> Any:  # pydantic looks for the name `self`
        return type(self).model_fields[info.field_name].default

    return field_serializer(*names, when_used="json")(default)


@dataclass(frozen=True, slots=True)
class ListOf:
    """Constrained answers of a multilabel task: a JSON list of `most` of `names` at most, each once, or `[]`."""

    names: tuple[str, ...]
    most: int

    def text(self, chosen: Sequence[str]) -> str:
        return json.dumps(list(chosen), ensure_ascii=False)


Allowed = Sequence[str] | ListOf
"""What a constrained answer may be: one of these texts, or a list."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A text or prompt in the engine's own form. `tokens`: how many a pass over it reads, choices included; an upper bound
    where only a server can count. `cut`: tokens beyond the model's maximum length, which are left out. `shared`: of `tokens`,
    those at the beginning that are computed once for all batches (see `LanguageModel.share`)."""

    tokens: int
    content: Any
    cut: int = 0
    shared: int = 0


class _Counted:
    """Of an answer: its tokens by their price."""

    __slots__ = ()
    prompt_tokens: int
    new_tokens: int
    cached_tokens: int
    cache_written_tokens: int
    batched: bool

    @property
    def charged(self) -> ChargedTokens:
        use = TokenUse(self.prompt_tokens, self.new_tokens, self.cached_tokens, self.cache_written_tokens)
        return ChargedTokens(batched=use) if self.batched else ChargedTokens(use)


@dataclass(frozen=True, slots=True)
class Generation(_Counted):
    """One answer. `complete` is False where `max_new_tokens` cut it. `error` (a word) is set where there is no answer.
    `retryable`: the cause is not the row itself (a timeout, say), so that another request may succeed. `cached_tokens` and
    `cache_written_tokens`: of the prompt, as in `TokenUse`. `batched`: answered by a batch API."""

    text: str
    complete: bool
    prompt_tokens: int
    new_tokens: int
    error: str | None = None
    retryable: bool = False
    cached_tokens: int = 0
    cache_written_tokens: int = 0
    batched: bool = False


@dataclass(frozen=True, slots=True)
class Scores(_Counted):
    """log p(choice | prompt) of each whole choice, shape (len(choices),), -inf where p is 0; or None, with `error`, `retryable`
    and the counts as in `Generation`."""

    log_p: FloatArray | None
    prompt_tokens: int
    new_tokens: int = 0
    error: str | None = None
    retryable: bool = False
    cached_tokens: int = 0
    cache_written_tokens: int = 0
    batched: bool = False


@dataclass(frozen=True, slots=True)
class BatchApi:
    """Requests go through a batch API: the answers take up to a day, and cost the share of the price that `Price.batch` says.
    `direct`: at most so many requests are sent directly first, `attempts()` times each, at the full price."""

    direct: int


@dataclass(frozen=True, slots=True)
class LabelledTexts:
    """`probabilities`: targets of a training in place of the labels, shape (texts, labels), rows sum to 1; None: the labels are
    the targets. `groups`: what each was sampled with (a film, an author), which a validation inside the training must not
    part; None unless all have one."""

    texts: Sequence[str]
    labels: Sequence[Label]
    probabilities: FloatArray | None = None
    groups: Sequence[str] | None = None


Standing = dict[str, Any]
"""What a choice of checkpoints knows of the evaluations so far, as JSON: a training keeps it in its checkpoints."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """One evaluation in a training. `metric` is to choose, one of `metrics`: those of `ValidationScorer` and the engine's
    `loss`. `probabilities`: as `ValidationScorer.metrics` takes them."""

    metric: str
    metrics: Mapping[str, float]
    probabilities: FloatArray
    lower_is_better: bool

    @property
    def signed(self) -> float:
        """The value of the metric, negative where a lower one is better."""
        value = self.metrics[self.metric]
        return -value if self.lower_is_better else value


def best_value(before: Standing, found: Evaluated) -> tuple[bool, Standing]:
    """The best value, and of equal ones the first; see `ValidationScorer.choose`."""
    is_better = not before or found.signed > before["value"]
    return is_better, {"value": found.signed} if is_better else before


@dataclass(frozen=True, slots=True)
class ValidationScorer:
    """Scores predictions on the validation rows; an engine selects its checkpoint by it.

    `metrics` takes the rows' probabilities in their order, shape (validation rows, labels). `main` is the metric that counts
    where the options name none. `on_evaluation` may raise to end the training (a search that prunes the trial). `choose` tells
    of each evaluation whether its checkpoint is to be kept in place of the one before; it gets what it returned last, {} at
    first.
    """

    metrics: Callable[[FloatArray], dict[str, float]]
    main: str
    lower_is_better: frozenset[str]
    on_evaluation: Callable[[dict[str, float]], None] = lambda metrics: None
    choose: Callable[[Standing, Evaluated], tuple[bool, Standing]] = best_value

    def evaluate(self, probabilities: FloatArray) -> dict[str, float]:
        """`metrics` during a training: reported to `on_evaluation`."""
        found = self.metrics(probabilities)
        self.on_evaluation(found)
        return found


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """What `Classifier.fit` trains on, and with. `validation` may have no rows. `scratch`: a folder that survives a kill."""

    train: LabelledTexts
    validation: LabelledTexts
    labels: LabelSpace
    scorer: ValidationScorer
    seed: int
    scratch: Path
    on_progress: OnProgress


@dataclass(frozen=True, slots=True)
class AnsweredChats:
    """`answers[i]` is what a model should write after `chats[i]`."""

    chats: Sequence[Messages]
    answers: Sequence[str]


@dataclass(frozen=True, slots=True)
class ChatTrainingJob:
    """What `TrainedLanguageModel.fit` trains on, and with. `validation` may have no rows. `on_evaluation` gets the `loss` on
    its answers; what it raises ends the training. `scratch`: a folder that survives a kill."""

    train: AnsweredChats
    validation: AnsweredChats
    seed: int
    scratch: Path
    on_progress: OnProgress
    on_evaluation: Callable[[dict[str, float]], None] = lambda metrics: None


def at_once(results: T) -> Pending[T]:
    """Of a batch that was computed when it was launched."""
    return lambda: results


def in_turn(launched: Iterable[T], ahead: int) -> Iterator[T]:
    """What an iterator launches, in its order, each once `ahead` further ones are launched too. With 0 the next one is not even
    asked for before."""
    in_flight: deque[T] = deque()
    for latest in launched:
        in_flight.append(latest)
        if len(in_flight) > ahead:
            yield in_flight.popleft()
    yield from in_flight


class Engine(ABC):
    """Base of both kinds. `Options` validates the `options` of a backend's YAML."""

    Options: type[BaseModel]
    model_is: Literal["checkpoint", "name", "nothing"] = "checkpoint"  # what a backend's `model` means
    libraries: tuple[str, ...] = ()  # what it imports beyond the bare install, and the extra that installs them
    extra = ""
    parameters: int | None = None  # of the loaded or trained model; None where that is unknown

    def __init__(self, options: BaseModel, model: Path | str | None) -> None:
        """`model`: a checkpoint's folder, or a server's name for a model (may be None). Loads nothing yet."""
        self.options: BaseModel = options

    def earlier_options(self) -> dict[str, Any]:
        """The options as earlier versions recorded them: those of `memory_settings` as they are."""
        found: dict[str, Any] = to_jsonable_python(self.options.model_dump())  # in Python mode
        return found

    def facts(self) -> Mapping[str, str]:
        """What else determines the results and is known before loading: `device`, resolved `dtype`, ..."""
        return {}

    def batch_size(self) -> int:
        """Maximum rows per batch; the runner halves it when a batch raises `OutOfMemory`."""
        return 64

    def batch_tokens(self) -> int | None:
        """Maximum tokens per batch: rows × (longest row without what is `shared`, + its new tokens). None: only `batch_size`
        limits."""
        return None

    def cache_tokens(self) -> int | None:
        """After `load`: maximum tokens per batch of which something is kept for each row: rows × (longest row, what is `shared`
        included, + its new tokens). None: no limit of its own."""
        return None

    def ahead(self) -> int:
        """How many further batches the runner launches before it waits for the oldest one. 0: one batch after the other. More
        keeps a device busy that computes by itself; it is no part of what is answered."""
        return 0

    def speed_settings(self) -> Mapping[str, Any]:
        """After `load`: settings that change speed and memory alone, as they are in use; the record has them, as JSON, beside
        the time."""
        return {}

    def reset(self) -> None:  # noqa: B027 - most keep nothing
        """Drop batches that were launched and not waited for, and caches of earlier texts: a run must not be faster because of
        the one before it."""

    def close(self) -> None:  # noqa: B027 - nothing to free is a valid implementation
        """Free what was loaded."""

    # Of engines whose `model_is` a name:

    def attempts(self) -> int:
        """How often one request may be sent, and charged, before its row has an answer or has failed."""
        return 1

    def unavailable(self) -> BenchError | None:
        """After a batch: why further requests are useless. The runner keeps the batch's answers and ends the run with it."""
        return None

    def reasoning_room(self) -> int:
        """Tokens beyond `max_new_tokens` that an answer of `generate` may take, for reasoning before it."""
        return 0

    def batch_api(self) -> BatchApi | None:
        """Set where requests go through a batch API: a batch is then as large as `batch_size` allows, and its time says nothing
        of the model."""
        return None

    def use_scratch(self, folder: Path) -> None:  # noqa: B027 - most note nothing
        """Before the first batch of a run. `folder` survives a kill: there an engine notes requests that it will be charged for
        before it has their answers. It may not exist yet, and is deleted when the run is finished or begins again."""

    def replaced_fields(self) -> dict[str, str | None]:
        """Request fields that the server refused by name -> the field that is sent instead (None: nothing)."""
        return {}


class Classifier(Engine):
    """A trainable classifier."""

    chooses_checkpoint = False  # whether it keeps the best of several checkpoints by `ValidationScorer`

    def expect(self, rows: int, validation_rows: int) -> None:
        """Before the identity of a run is made: how many rows it predicts, and by how many an engine can judge itself. An
        option that leaves something to the engine may be settled by it."""

    def expected_rows(self) -> int | None:
        """What it was told by `expect`, if `optimize` depends on it."""
        return None

    def threshold(self) -> float | None:
        """Multilabel tasks: the probability from which a label is given. None: one per label, tuned on validation rows."""
        return None

    @classmethod
    def with_min_steps(cls, options: BaseModel, rows: int, steps: int) -> dict[str, Any]:
        """The options, by dotted name, that make a training on `rows` rows at least `steps` steps long; empty where it is
        already, or where an engine has no steps."""
        return {}

    @classmethod
    def soft_labels_problem(cls, options: BaseModel) -> str:
        """Why it can't train on `LabelledTexts.probabilities`, as words that follow its name; empty where it can."""
        return "trains on labels only"

    @abstractmethod
    def fit(self, job: TrainingJob) -> Mapping[str, object]:
        """Train; returns what the record keeps of it as JSON: keys of `harness.core.record`, and others. An engine that takes
        work from a cache reports its time as `CACHED_SECONDS`, so that the training counts as long as it would have taken."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write all that `load` needs."""

    @abstractmethod
    def load(self, folder: Path, labels: LabelSpace) -> None:
        """Read what `save` wrote."""

    def export(self, folder: Path) -> None:
        """After `load`: write a model that needs nothing else, also where `save` writes less. Raises `UserError` where there is
        none."""
        self.save(folder)

    def optimize(self, folder: Path, validation: LabelledTexts, scorer: ValidationScorer) -> Mapping[str, object] | None:
        """After `fit` or `load`: replace the model by a faster form, cached in `folder`, if the options ask for one. `folder`
        is that of the trained model: its `model` holds what `save` wrote.

        Returns what the record keeps of it as JSON. Raises `RunError` where the faster form is not good enough.
        """
        return None

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Prepare texts, after `fit` or `load`; runs in its own thread while another batch is computed."""

    @abstractmethod
    def predict(self, texts: Sequence[Encoded]) -> FloatArray:
        """Probabilities, shape (len(texts), len(labels)); in a multilabel task each label's own. Raises `OutOfMemory`."""

    def launch(self, texts: Sequence[Encoded]) -> Pending[FloatArray]:
        """`predict`, of an engine that works `ahead`: begun now."""
        return at_once(self.predict(texts))


class ZeroShot(Engine):
    """Classifies by the names and descriptions of the labels alone: it is not trained, and there is no prompt."""

    def threshold(self) -> float:
        """Multilabel tasks: the probability from which a label is given."""
        return 0.5

    def new_tokens(self, labels: LabelSpace) -> int:
        """Upper bound of the tokens that a server writes, and charges, for one text."""
        return 0

    @abstractmethod
    def load(self, labels: LabelSpace) -> None:
        """Load the weights (or reach the server) for these labels. Raises `ModelUnavailable`."""

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Prepare texts, after `load`; runs in its own thread while another batch is computed."""

    @abstractmethod
    def score(self, texts: Sequence[Encoded]) -> list[Scores]:
        """log p of each label, shape (len(labels),): of one label a text they sum to 1, in a multilabel task each is its own.
        Raises `OutOfMemory`."""


class Embedder(ABC):
    """What an engine is, too, that makes vectors of texts: few-shot examples are chosen by it."""

    @abstractmethod
    def embed(self, texts: Sequence[str], on_progress: OnProgress, *, kept: bool) -> FloatArray:
        """Vectors of length 1, shape (len(texts), dimensions); loads the encoder if need be. `kept`: they may come from the
        cache, and go there."""


class LanguageModel(Engine):
    """A prompted language model."""

    shares_beginning = False  # whether `share` is of use

    @abstractmethod
    def load(self) -> None:
        """Load the weights (or reach the server). Raises `ModelUnavailable`."""

    def context(self) -> int | None:
        """After `load`: tokens of prompt and answer that the model can read; None where that is unknown, or without a limit."""
        return None

    def is_sized(self) -> bool:
        """Whether the engine is loaded for prompts up to some length: then `encode` works before `load`, and `make_room` is
        called."""
        return False

    def make_room(self, tokens: int) -> bool:
        """If `is_sized`: before `load`, and before each further run of a loaded engine. `tokens`: of the longest prompt and its
        answer. False: the loaded engine has no room for them, and must be loaded again."""
        return True

    def rendered(self, chat: Messages) -> str | None:
        """The prompt as the model reads it; None where only a server knows."""
        return None

    def share(self, sample: Sequence[Encoded]) -> None:
        """Before the batches of a run, if `shares_beginning`: some of its prompts, the same ones after a resume. What they all
        begin with may be computed once and kept until `reset`; `encode` then counts it as `shared`."""

    @abstractmethod
    def encode(self, chats: Sequence[Messages], choices: Allowed | None) -> list[Encoded]:
        """Prepare prompts; runs in its own thread while another batch is computed. Raises `UserError` for `choices` that the
        model can't tell apart."""

    @abstractmethod
    def generate(self, prompts: Sequence[Encoded], max_new_tokens: int, choices: Allowed | None) -> list[Generation]:
        """Greedy answers. With `choices` (those of `encode`) each answer is one of them (of `ListOf`: its text), and
        `max_new_tokens` has room for each in a JSON object. Raises `OutOfMemory`."""

    @abstractmethod
    def score(self, prompts: Sequence[Encoded], choices: Sequence[str]) -> list[Scores]:
        """How likely each of `choices` (those of `encode`) is as the whole answer. Raises `OutOfMemory`."""

    def launch_generate(
        self, prompts: Sequence[Encoded], max_new_tokens: int, choices: Allowed | None
    ) -> Pending[list[Generation]]:
        """`generate`, of an engine that works `ahead`: begun now."""
        return at_once(self.generate(prompts, max_new_tokens, choices))

    def launch_score(self, prompts: Sequence[Encoded], choices: Sequence[str]) -> Pending[list[Scores]]:
        """`score`, of an engine that works `ahead`: begun now."""
        return at_once(self.score(prompts, choices))


class TrainedLanguageModel(LanguageModel):
    """A language model that is trained to give the answers of a run's prompt. `fit` or `load_trained` takes the place of
    `load`."""

    @abstractmethod
    def fit(self, job: ChatTrainingJob) -> Mapping[str, object]:
        """Train; returns what the record keeps of it as JSON, as `Classifier.fit` does."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write all that `load_trained` needs."""

    @abstractmethod
    def load_trained(self, folder: Path) -> None:
        """Read what `save` wrote."""
