"""A project with a small task, and engines that count what they are asked: for the tests of the machinery.

The engines read the answer in the text: a text that says `says 2` is answered with 2, `says mumble` with nothing
readable, `says fail` with an error. A checkpoint holds a number that the language model adds to its answers. A token is
a word. `ToyServer` is the same model behind a name, at a price.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict, Field

from harness.core.arrays import FloatArray
from harness.core.engine import (
    ChatTrainingJob,
    Classifier,
    Embedder,
    Encoded,
    Generation,
    LabelledTexts,
    LanguageModel,
    Messages,
    OnProgress,
    Scores,
    TrainedLanguageModel,
    TrainingJob,
    ValidationScorer,
    ZeroShot,
    memory_settings,
)
from harness.core.options import RunOptions
from harness.core.types import LabelSpace
from harness.running.plan import Plan, make_plan
from harness.specs.catalog import Catalog

SECRET = "SENTINEL"  # stands in every text and every answer, and may stand in no record
TASK = """\
description: d
source: {files: {train: rows/train.jsonl, validation: rows/validation.jsonl, test: rows/test.jsonl}}
columns: {id: id, lang: lang}
labels: {kind: ordinal, names: [bad, fair, good]}
languages: [en, de]
"""
FILES = {
    "tasks/toy.yaml": TASK,
    "backends/toy-model.yaml": "engine: toy_model\nmodel: CHECKPOINT\n",
    "backends/toy-classifier.yaml": "engine: toy_classifier\n",
    "backends/toy-server.yaml": "engine: toy_server\nmodel: served\nprice: {prompt: 1000, completion: 2000, source: nowhere}\n",
    "prompts/echo.j2": "---\ndescription: d\nparser: integer\n---\n{{ text }}\n",
    "prompts/shown.j2": "---\ndescription: d\nparser: integer\nshots: 1\n---\n{{ text }}\n",
}
SAID = ["0", "1", "2", "mumble", "1", "fail", "2", "0", "1", "2", "2"]


def row(split: str, lang: str, number: int, says: str, label: int) -> dict[str, Any]:
    """Lengths differ and are not in the order of the ids, as in life."""
    text = f"{SECRET} {split} {lang} {number} {'long ' * (number * 7 % 5)}says {says}"
    return {"id": f"{split}-{lang}-{number}", "text": text, "label": label, "lang": lang}


def write_rows(project: Path, split: str, rows: Iterable[dict[str, Any]]) -> None:
    path = project / "tasks" / "rows" / f"{split}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def read_rows(project: Path, split: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (project / "tasks" / "rows" / f"{split}.jsonl").read_text().splitlines()]


def write_checkpoint(folder: Path, shift: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    header = json.dumps({"__metadata__": {"shift": str(shift)}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    return folder


def write_project(project: Path) -> Path:
    checkpoint = write_checkpoint(project / "weights" / "tiny")
    for name, text in FILES.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("CHECKPOINT", str(checkpoint)), encoding="utf-8")
    write_rows(project, "test", [row("test", lang, n, says, n % 3) for lang in ("en", "de") for n, says in enumerate(SAID)])
    for split, count in (("train", 9), ("validation", 3)):
        write_rows(project, split, [row(split, lang, n, str(n % 3), n % 3) for lang in ("en", "de") for n in range(count)])
    return project


class ToyOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    batch: int = 3
    tokens: int | None = None
    most: int | None = None  # words that the classifier reads of a text
    flavour: str = "plain"
    evaluations: int = 0
    predict: dict[str, Any] = {}
    threads: int = Field(1, exclude=True)
    _memory = memory_settings("tokens")


class Counting:
    """What the tests watch: `batches` holds the texts of each batch that was answered, the warm-up first."""

    options: Any

    def __init__(self, options: BaseModel, model: Path | str | None) -> None:
        self.options, self.model = options, model
        self.loads = self.closes = self.fits = self.resets = 0
        self.batches: list[list[str]] = []
        self.hook: Callable[[Sequence[str]], None] = lambda texts: None

    def batch_size(self) -> int:
        return int(self.options.batch)

    def batch_tokens(self) -> int | None:
        tokens: int | None = self.options.tokens
        return tokens

    def reset(self) -> None:
        self.resets += 1

    def close(self) -> None:
        self.closes += 1

    def answered(self, texts: Sequence[str]) -> list[str]:
        self.hook(texts)
        self.batches.append(list(texts))
        return [said_in(text) for text in texts]

    @property
    def counted(self) -> list[str]:
        """The texts that were answered, without the warm-up."""
        return [text for batch in self.batches[1:] for text in batch]


def said_in(text: str) -> str:
    """`mumble` for a text that says nothing."""
    found: list[str] = re.findall(r"says (\w+)", text)
    return found[-1] if found else "mumble"


class ToyModel(Counting, LanguageModel):
    Options = ToyOptions
    shift = 0

    def load(self) -> None:
        assert isinstance(self.model, Path)
        self.loads += 1
        self.shift = int(json.loads((self.model / "model.safetensors").read_bytes()[8:])["__metadata__"]["shift"])

    def encode(self, chats: Sequence[Messages], choices: Sequence[str] | None) -> list[Encoded]:
        assert self.loads, "a tokenizer is loaded with its model"
        texts = [chat[-1]["content"] for chat in chats]
        return [Encoded(len(text.split()), (text, choices)) for text in texts]

    def generate(self, prompts: Sequence[Encoded], max_new_tokens: int, choices: Sequence[str] | None) -> list[Generation]:
        return [self._answer(*row) for row in zip(prompts, self._said(prompts, choices), strict=True)]

    def _said(self, prompts: Sequence[Encoded], choices: Sequence[str] | None) -> list[str]:
        assert all(prompt.content[1] == choices for prompt in prompts)
        return self.answered([prompt.content[0] for prompt in prompts])

    def _answer(self, prompt: Encoded, said: str) -> Generation:
        if said == "fail":
            return Generation("", False, prompt.tokens, 0, error="prompt_too_long")
        text = f"{(int(said) + self.shift) % 3}\n{SECRET}" if said.isdigit() else SECRET
        return Generation(text, True, prompt.tokens, 2)

    def score(self, prompts: Sequence[Encoded], choices: Sequence[str]) -> list[Scores]:
        said = self._said(prompts, choices)
        return [
            Scores(None, prompt.tokens, error="prompt_too_long")
            if word == "fail"
            else Scores(np.array(_scores(word, len(choices))), prompt.tokens)
            for prompt, word in zip(prompts, said, strict=True)
        ]


class ToyServer(ToyModel):
    """Costs by the word, and has neither weights nor a warm-up: `batches` holds what was paid for and nothing else."""

    model_is = "name"

    def load(self) -> None:
        self.loads += 1


class ToyTuned(ToyModel, TrainedLanguageModel):
    """`job`: what it was trained on. It answers as the checkpoint does, and is loaded by its training."""

    job: ChatTrainingJob

    def load(self) -> None:
        raise AssertionError("it is trained first")

    def fit(self, job: ChatTrainingJob) -> dict[str, Any]:
        self.fits, self.job = self.fits + 1, job
        super().load()
        for number in range(self.options.evaluations):
            job.on_evaluation({"loss": 1 / (number + 1)})
        return {"train_rows": len(job.train.chats), "steps": 1}

    def save(self, folder: Path) -> None:
        (folder / "adapters").write_text("learned")

    def load_trained(self, folder: Path) -> None:
        assert (folder / "adapters").read_text() == "learned"
        super().load()


class ToyClassifier(Counting, Classifier):
    Options = ToyOptions
    model_is = "nothing"
    during_fit: Callable[[Path], None] = staticmethod(lambda scratch: None)

    def fit(self, job: TrainingJob) -> dict[str, Any]:
        self.fits += 1
        job.scratch.mkdir(parents=True, exist_ok=True)
        self.during_fit(job.scratch)
        job.on_progress(1, 1, "")
        for _ in range(self.options.evaluations):
            self.scored = job.scorer.evaluate(self._probabilities(list(job.validation.texts), len(job.labels)))
        self.state = {"seed": job.seed, "rows": len(job.train.texts), "classes": len(job.labels)}
        return {"loss": 0.5, "rows": len(job.train.texts)}

    def save(self, folder: Path) -> None:
        (folder / "state.json").write_text(json.dumps(self.state))

    def load(self, folder: Path, labels: LabelSpace) -> None:
        self.loads += 1
        self.state = json.loads((folder / "state.json").read_text())

    def optimize(self, folder: Path, validation: LabelledTexts, scorer: ValidationScorer) -> dict[str, Any] | None:
        return {"library": "toy", **self.options.predict} if "runtime" in self.options.predict else None

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        words = [len(text.split()) for text in texts]
        read = [min(count, self.options.most or count) for count in words]
        return [Encoded(kept, text, count - kept) for kept, text, count in zip(read, texts, words, strict=True)]

    def predict(self, texts: Sequence[Encoded]) -> FloatArray:
        return self._probabilities([text.content for text in texts], self.state["classes"], self.answered)

    def _probabilities(
        self, texts: list[str], classes: int, answered: Callable[[Sequence[str]], list[str]] | None = None
    ) -> FloatArray:
        said = answered(texts) if answered else [said_in(text) for text in texts]
        scores = np.exp([_scores(word, classes) for word in said])
        return np.asarray(scores / scores.sum(axis=1, keepdims=True), dtype=np.float64)


class ToyEmbedder(ToyClassifier, Embedder):
    """Texts that say the same are alike."""

    def embed(self, texts: Sequence[str], on_progress: OnProgress, *, kept: bool) -> FloatArray:
        vectors = np.array([[1.0, *(said_in(text) == str(number) for number in range(3))] for text in texts])
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float64)


class ToyZeroShot(Counting, ZeroShot):
    """`labels`: what it was loaded for. A text that says `fail` has no answer."""

    Options = ToyOptions
    model_is = "nothing"
    labels: LabelSpace

    def load(self, labels: LabelSpace) -> None:
        self.loads += 1
        self.labels = labels

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        return [Encoded(len(text.split()), text) for text in texts]

    def score(self, texts: Sequence[Encoded]) -> list[Scores]:
        said = self.answered([text.content for text in texts])
        scores = [np.array(_scores(word, len(self.labels))) for word in said]
        return [
            Scores(None, text.tokens, error="prompt_too_long")
            if word == "fail"
            else Scores(row - np.log(np.exp(row).sum()), text.tokens)
            for text, word, row in zip(texts, said, scores, strict=True)
        ]


def _scores(said: str, classes: int) -> list[float]:
    """Prefers what is said; nothing in particular where that is no number; NaN for `fail`."""
    if said == "fail":
        return [float("nan")] * classes
    return [0.0 if str(index) == said else -1.0 - index / 7 for index in range(classes)]


def toy_entry_points(*, group: str) -> list[EntryPoint]:
    kinds = {
        "toy_model": "ToyModel",
        "toy_classifier": "ToyClassifier",
        "toy_server": "ToyServer",
        "toy_embedder": "ToyEmbedder",
        "toy_zero_shot": "ToyZeroShot",
        "toy_tuned": "ToyTuned",
    }
    toys = [EntryPoint(name, f"toy:{kind}", group) for name, kind in kinds.items()]
    return [*entry_points(group=group), *(toys if group == "bench.engines" else [])]


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.specs.backend_specs.entry_points", toy_entry_points)


def plan(project: Path, backend: str = "toy-model", **changes: Any) -> Plan:
    """A plan for the English test rows, unless `changes` say otherwise."""
    given: dict[str, Any] = {"task": "toy", "backend": backend, "lang": "en", "prompt": "echo", **changes}
    return make_plan(RunOptions(**given), Catalog(project))


def engine_of(plan: Plan) -> Any:
    """The plan's engine, for a look at its counts."""
    return plan.engine


def quiet(phase: str, done: int, total: int, note: str) -> None:
    """No progress bar."""
