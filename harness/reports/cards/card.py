"""A model card for a fine-tuned encoder: README.md with the hub's metadata, and `.eval_results`, from run records alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from harness.core.plain import plain
from harness.reports.cards import snippets, tables, words
from harness.reports.cards.facts import Hub, Subject, base_licence, base_repository, hub_of, rows_used, source_of
from harness.reports.cards.metadata import check_library, eval_results, front_matter
from harness.reports.markdown import escape

PLACEHOLDER = "OWNER/NAME"
TEMPLATE = Path(__file__).with_name("card.md.j2")

METHODS = {
    "wilson": "Wilson's for shares",
    "bc_bootstrap": "bias-corrected bootstrap for F1, MAE, QWK and correlations",
    "skewed_t": "Student's t corrected for skewness for losses",
    "delong": "DeLong's for ROC AUC",
}


@dataclass(frozen=True)
class Card:
    """`readme` is README.md with its front matter, `others` are paths in the repository with their text."""

    readme: str
    others: Mapping[str, str]

    @property
    def files(self) -> dict[str, str]:
        return {"README.md": self.readme, **self.others}


def make_card(subject: Subject, repository: str | None = None, licence: str | None = None) -> Card:
    """`repository`: `OWNER/NAME` on the hub, where it is known. `licence`: the hub's name of one, where the publisher says it.

    Raises `MissingExtra`.
    """
    check_library()
    name = subject.name if repository is None else repository.rpartition("/")[2]
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    body = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(_context(subject, name, repository, licence))
    readme = f"---\n{front_matter(subject, name, licence)}\n---\n\n{body}"
    return Card(plain(readme), eval_results(subject))


def _context(subject: Subject, name: str, repository: str | None, licence: str | None) -> dict[str, Any]:
    """Everything from a file is escaped, but for what stands in blocks of code."""
    manifest, training, train = subject.entry.manifest, subject.training, subject.identity["train"]
    options, others = tables.recipe(subject)
    return {
        "name": escape(name),
        "introduction": words.introduction(subject),
        "verdict": words.verdict(subject),
        "how": snippets.words(subject),
        "code": tables.block("python", snippets.code(subject, repository or PLACEHOLDER)),
        "further": tables.block("sh", tables.further_command(subject, repository or PLACEHOLDER)),
        "labels": tables.labels(subject),
        "kind": subject.identity["label_kind"],
        "results": tables.results(subject),
        "per_class": tables.per_class(subject),
        "asked": _rows(subject),
        "methods": _methods(subject),
        "guess": words.always_the_same(subject),
        "sampled": words.sampled(subject),
        "chosen": words.chosen(subject),
        "limits": words.limits(subject),
        "base": _base(subject, licence),
        "task": escape(subject.identity["task"]),
        "source": [*_origin(subject), *_told(subject)],
        "train": train,
        "langs": escape(", ".join(subject.langs)),
        "validation": _validation(subject),
        "before": escape(", ".join((train.get("continued_from") or {}).get("langs", []))),
        "start": escape(subject.start or "") or None,
        "options": options,
        "others": others,
        "course": tables.course(subject),
        "best": tables.BEST,
        "training": training,
        "setfit": subject.head == "setfit",
        "seed": subject.identity["seed"],
        "command": tables.block("sh", tables.run_command(subject)),
        "outdated": tables.outdated(subject),
        "run_id": escape(subject.entry.run_id),
        "rows": escape(subject.identity["rows"]),
        "fingerprint": escape(train["train_rows"]),
        "machine": _machine(manifest),
        "versions": escape(", ".join(f"{library} {version}" for library, version in (manifest.get("versions") or {}).items())),
    }


def _rows(subject: Subject) -> str:
    identity = subject.identity
    return escape(f"{identity['lang']} {identity['split']} rows (n = {rows_used(subject.entry)})")


def _methods(subject: Subject) -> str:
    used = {run.metrics["values"][name]["method"] for run in subject.runs for name in subject.headline}
    return ", ".join(words for method, words in METHODS.items() if method in used)


def _base(subject: Subject, licence: str | None) -> str:
    """The base model, where it is from, and under which licence, as far as anything says so."""
    backend, repository = subject.identity["backend"], base_repository(subject.identity)
    said = f" ({escape(subject.backend.description.rstrip('.'))})" if subject.backend and not subject.has_own_model else ""
    revision = f", revision {escape(str(backend['revision']))}" if backend["revision"] else ""
    found = base_licence(subject.identity)
    if found is not None:
        terms = f"Its card names the licence {escape(found)}."
    else:
        terms = "Its licence is not known from the checkpoint: look it up before you publish or use this model."
    name = escape(str(backend["model"]))
    named = f"[{name}](https://huggingface.co/{repository})" if repository else name
    own = f" The publisher of this model names the licence {escape(licence)} for it." if licence else ""
    return f"{named}{said}{revision}. {terms}{own}"


def _origin(subject: Subject) -> list[str]:
    """Where the rows came from, as the run's record says; the task's file can't know, as `--data` takes its place."""
    task, source, hub = subject.task, source_of(subject.entry), hub_of(subject.entry)
    if hub is not None:
        return [f"Source: {_on_hub(hub.id, hub)}."]
    if source == "bundled":
        return [f"Source: {escape(str(task.source.bundled))}, which comes with bench." if task else "Source: bench's own data."]
    if source == "files":
        return ["Source: files of the project."]
    named = f"{_on_hub(task.source.hub.id)}" if task and task.source.hub else "the task's own source"
    if source == "data":
        return [f"The rows came from local files (`--data`), not from {named}."]
    return [f"The record does not tell where the rows came from: {named}, or local files (`--data`)."]


def _on_hub(name: str, hub: Hub | None = None) -> str:
    revision = f" at revision {escape(hub.revision)}" if hub and hub.revision else ""
    split = f", split {escape(hub.split)}" if hub and hub.split else ", divided by the task's file" if hub else ""
    return f"[{escape(name)}](https://huggingface.co/datasets/{escape(name)}) on the hub{revision}{split}"


def _told(subject: Subject) -> list[str]:
    """What the task's file says of its data, which may be others than the run's."""
    task = subject.task
    if task is None:
        return ["The task's file is not at hand, so that nothing more is known of them."]
    own = source_of(subject.entry) in (None, "data")
    licence = escape(task.licence).rstrip(".")
    pages = ", ".join(escape(url) for url in task.reference_urls)
    said = [
        f"Licence of the data: {licence}." if licence else "The task's file names no licence of the data.",
        *([f"See {pages}."] if pages else []),
        *([escape(task.note)] if task.note else []),
    ]
    return [*(["The task's file says of its own data:"] if own else []), *said]


def _validation(subject: Subject) -> str:
    train, rows = subject.identity["train"], subject.training.get("validation_rows")
    if rows is None or subject.head == "setfit":
        return "Validation rows: not looked at."
    if rows == 0:
        return "Validation rows: none; the training went on to its end."
    langs = ", ".join(train.get("validation_langs", train["langs"]))
    return f"Validation rows: {rows} ({escape(langs)}), fingerprint {escape(train['validation_rows'])}."


def _machine(manifest: Mapping[str, Any]) -> str:
    machine, timing, memory = manifest.get("machine") or {}, manifest["timing"], manifest.get("peak_memory_mib") or {}
    parts = [
        *([f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB"] if machine else []),
        *([f"GPU: {machine.get('gpu') or 'none'}"] if machine else []),
        *([f"{timing['rows_per_second']:.1f} rows/s in batches of {timing['batch_size']}"] if timing.get("batch_size") else []),
        *([f"peak memory {memory['host']} MiB"] if memory.get("host") else []),
        *([f"{memory['gpu']} MiB on the GPU"] if memory.get("gpu") else []),
    ]
    return escape("; ".join(parts))
