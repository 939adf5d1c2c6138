"""A result of lm-evaluation-harness as a run of the leaderboard.

Only the model's answers are taken over: metrics are computed from them, and lm-eval's own figures are kept beside them as
reported. No text of a document and no model output is kept.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.core.errors import UserError
from harness.core.json_files import digest
from harness.core.options import RunOptions, Split
from harness.core.record import RESULT_VERSION, BackendIdentity, Identity, ImportedFrom, Metrics, PromptIdentity, RunRecord
from harness.core.types import Decoding, LabelKind
from harness.data.dates import dates_of
from harness.data.rows import fingerprint, load_examples, with_names
from harness.data.sources import rows_from
from harness.records.entries import finished_entry
from harness.records.journal import prediction_from, prediction_record
from harness.records.lm_eval.answers import Answers, read_choices, read_texts
from harness.records.lm_eval.files import Evaluation, read_evaluation
from harness.records.lm_eval.rows import Pairing, check_left_out, pair
from harness.records.store import Store
from harness.specs.catalog import Catalog
from harness.specs.parser_spec import ParserSpec
from harness.specs.tasks import TaskSpec
from harness.specs.yamlspec import load_yaml, validate_options
from harness.statistics.extra_metrics import code_of, require_trust
from harness.statistics.metrics import evaluate_predictions

ENGINE = "lm-eval"
SAME_AS = {"accuracy": ("acc", "exact_match"), "subset_accuracy": ("exact_match",)}
"""Our metrics, and what lm-eval calls those that should agree with them."""


@dataclass(frozen=True)
class ImportRequest:
    """`from_task` and `kept` name a task and a filter of lm-eval, for files that hold several."""

    path: Path
    task: str
    lang: str
    split: Split = "test"
    backend: str | None = None
    data_dir: Path | None = None
    from_task: str | None = None
    kept: str | None = None
    parser: ParserSpec | None = None
    allow_missing: bool = False


@dataclass(frozen=True)
class Imported:
    """A finished run. `total`: rows of the task's split; `read`: in words, how the answers became labels."""

    folder: Path
    record: RunRecord
    total: int
    read: str
    computed: bool

    @property
    def compared(self) -> list[tuple[str, float, str, float]]:
        """(our metric, its value, lm-eval's name, its value) for those that should agree."""
        assert self.record.imported is not None
        reported, values = self.record.imported.reported, self.record.metrics.values
        return [
            (ours, value, theirs, reported[theirs])
            for ours, names in SAME_AS.items()
            for theirs in names
            if ours in values and theirs in reported and (value := values[ours].value) is not None
        ]


def import_lm_eval(wanted: ImportRequest, catalog: Catalog, store: Store, *, force: bool = False) -> Imported:
    """Write the record, or find it there. Raises `UserError` (`DataError` for what is damaged or does not fit), `RunBusy`."""
    task = with_names(catalog.task(wanted.task), wanted.data_dir)
    require_trust(task.name, task.metrics, catalog.trust_metric_code)
    rows = load_examples(task, lang=wanted.lang, split=wanted.split, data_dir=wanted.data_dir)
    evaluation = read_evaluation(wanted.path, wanted.from_task, wanted.kept)
    found = pair(task, rows, evaluation.samples)
    what = f"the {len(rows)} {wanted.split} rows of {task.name!r} in {wanted.lang!r}"
    check_left_out(found, len(evaluation.samples), what, allowed=wanted.allow_missing)
    matched = [row for row, _ in found.pairs]
    answers = _read(task, found, evaluation, wanted.parser)
    identity = _identity(task, wanted, evaluation, found, answers)
    name = identity.run_id
    if not force and (entry := finished_entry(store, name)) is not None:
        return Imported(store.root / name, entry.record, len(rows), answers.words, computed=False)
    records = [prediction_record(row, said) for row, said in zip(matched, answers.predictions, strict=True)]
    metrics = evaluate_predictions(
        matched,
        [prediction_from(record) for record in records],  # as a record holds them, as for any run
        task.label_space,
        threshold=task.threshold,
        extra_metrics=task.metrics,
        rank_by=task.rank_by,
    )
    record = _record(identity, metrics, task, wanted, evaluation, found, len(rows))
    with store.journal(name):
        if not force:
            store.set_aside(name)
        folder = store.finish(record, records)
    return Imported(folder, record, len(rows), answers.words, computed=True)


def parser_named(text: str) -> ParserSpec:
    """`integer`, or YAML such as `{type: integer, first: 1}`, as a prompt's front matter has it. Raises `UserError`."""
    import yaml

    try:
        _, value = load_yaml(text)
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(
            f"--parser {text!r} can't be read as YAML.", "For example: --parser '{type: integer, first: 1}'"
        ) from error
    if not isinstance(value, dict):
        value = {"type": value}
    return validate_options(value, ParserSpec, "--parser")


def _read(task: TaskSpec, found: Pairing, evaluation: Evaluation, parser: ParserSpec | None) -> Answers:
    labels = task.label_space
    if evaluation.by_choice:
        if parser is not None:
            raise UserError("--parser reads texts, and these samples are probabilities of choices.", "Leave it out.")
        return read_choices(found.pairs, labels)
    if parser is not None:
        return read_texts(found.pairs, labels, [parser], chosen=True)
    return read_texts(found.pairs, labels, _usual_parsers(labels.kind), chosen=False)


def _usual_parsers(kind: LabelKind) -> list[ParserSpec]:
    """Of which the first that reads all targets right is taken."""
    if kind is LabelKind.MULTILABEL:
        return [ParserSpec(type="json_list", key="labels")]
    numbers = [ParserSpec(type="integer"), ParserSpec(type="integer", first=1)]
    names = [ParserSpec(type="label")]
    return [*numbers, *names] if kind is LabelKind.ORDINAL else [*names, *numbers]


def _identity(task: TaskSpec, wanted: ImportRequest, evaluation: Evaluation, found: Pairing, answers: Answers) -> Identity:
    """As that of a prompted run; what determines its outcome is the file, so a digest of it is part of the identity."""
    model = _model(evaluation)
    name = wanted.backend or (None if model is None else model.rpartition("/")[2])
    if not name:
        raise UserError(f"No results beside {evaluation.path} name the model.", "Name it: --backend NAME.")
    shots = evaluation.of_task("n-shot")
    wording = _wording(evaluation)
    return Identity(
        version=RESULT_VERSION,
        task=task.name,
        lang=wanted.lang,
        split=wanted.split,
        rows=fingerprint([row for row, _ in found.pairs]),
        labels=list(task.label_space.names),
        label_kind=task.label_space.kind,
        backend=BackendIdentity(
            name=name,
            engine=ENGINE,
            model=model,
            revision=_config(evaluation).get("model_sha") or None,
            options={"filter": evaluation.filter, **answers.options},
            samples_sha256=evaluation.sha256,
        ),
        train=None,
        prompt=PromptIdentity(
            name=f"{ENGINE}:{evaluation.task}",
            variant=None,
            sha256=wording,
            decoding=Decoding.SCORE if evaluation.by_choice else Decoding.FREE,
            shots=[f"exemplar-{i + 1}" for i in range(shots if isinstance(shots, int) and 0 < shots < 10_000 else 0)],
            shots_sha256=wording,
        ),
        seed=0,
    )


def _wording(evaluation: Evaluation) -> str:
    """A digest of what makes the prompts, the same for any rows; of the prompts themselves where no configuration is there."""
    config = evaluation.of_task("configs")
    if not isinstance(config, dict):
        return digest(sorted(sample.prompt for sample in evaluation.samples))
    kept = ("doc_to_text", "doc_to_choice", "description", "target_delimiter", "fewshot_delimiter", "generation_kwargs")
    asked = [evaluation.results.get(key) for key in ("system_instruction", "chat_template_sha", "fewshot_as_multiturn")]
    return digest([[str(config.get(key)) for key in kept], asked, evaluation.of_task("n-shot")])


def _model(evaluation: Evaluation) -> str | None:
    """Of a path the last part: no record tells of a machine's folders."""
    name = evaluation.results.get("model_name")
    if not isinstance(name, str) or not name.strip():
        return None
    return re.split(r"[/\\]", name.rstrip("/\\"))[-1] if re.match(r"[./~\\]|[A-Za-z]:", name) else name


def _config(evaluation: Evaluation) -> Mapping[str, Any]:
    config = evaluation.results.get("config")
    return config if isinstance(config, dict) else {}


def _record(
    identity: Identity,
    metrics: Metrics,
    task: TaskSpec,
    wanted: ImportRequest,
    evaluation: Evaluation,
    found: Pairing,
    split_rows: int,
) -> RunRecord:
    """Without what lm-eval does not report: time, tokens, memory, the machine."""
    now = datetime.now(UTC)
    version = evaluation.results.get("lm_eval_version")
    version = version if isinstance(version, str) else None
    imported = {
        "from": "lm-evaluation-harness",
        "version": version,
        "at": now.isoformat(timespec="seconds"),
        "file": evaluation.path.name,
        "task": evaluation.task,
        "filter": evaluation.filter,
        "output_type": "multiple_choice" if evaluation.by_choice else "generate_until",
        "samples": len(evaluation.samples),
        "paired_by": found.by,
        "left_out": {"unmatched": len(found.unmatched), "ambiguous": len(found.ambiguous)},
        "reported": evaluation.reported,
    }
    return RunRecord(
        run_id=identity.run_id,
        identity=identity,
        options=RunOptions(
            task=wanted.task, backend=identity.backend.name, lang=wanted.lang, split=wanted.split, data=wanted.data_dir
        ).public({}),
        n=len(found.pairs),
        metrics=metrics,
        rows_from=rows_from(task, wanted.split, wanted.data_dir, split_rows),
        finished=(_finished(evaluation.results) or now).isoformat(timespec="seconds"),
        imported=ImportedFrom.model_validate(imported),
        metric_code=code_of(task.metrics),
        dates=dates_of(task.published, None),
        versions={} if version is None else {"lm_eval": version},
    )


def _finished(results: Mapping[str, Any]) -> datetime | None:
    """When the evaluation ended: its start (a UNIX time) and its seconds, where both are there."""
    try:
        ended = float(results["date"]) + float(results["total_evaluation_time_seconds"])
        return datetime.fromtimestamp(ended, UTC) if math.isfinite(ended) else None
    except (LookupError, TypeError, ValueError, OverflowError, OSError):
        return None
