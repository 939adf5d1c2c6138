"""The leaderboard: a pure function of the run records, so the same records give the same bytes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from harness.errors import RunError
from harness.metrics import LOWER_IS_BETTER
from harness.reported import Figure, Reported
from harness.store import Store, digest

DECISIONS = {"expected": "expected value"}
TITLES = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "micro_f1": "micro-F1",
    "subset_accuracy": "subset accuracy",
    "mae": "MAE",
    "qwk": "QWK",
    "roc_auc": "ROC AUC",
    "binary_accuracy": "binary accuracy",
    "off_by_one": "off by one at most",
}


@dataclass(frozen=True)
class Entry:
    """One run as the leaderboard shows it."""

    run_id: str
    manifest: Mapping[str, Any]
    metrics: Mapping[str, Any]

    @property
    def group(self) -> tuple[str, str, str, str]:
        """Runs of one group saw the same rows with the same labels; only these are compared."""
        identity = self.manifest["identity"]
        labels = digest([identity["labels"], identity["label_kind"]])
        return identity["task"], identity["split"], identity["lang"], identity["rows"] + labels

    @property
    def order(self) -> tuple[float, str]:
        """Best first by the first headline metric; the id settles what is equal."""
        name = self.metrics["headline"][0]
        value = self.metrics["values"][name]["value"]
        if value is None:
            return float("inf"), self.run_id
        return (value if name in LOWER_IS_BETTER else -value), self.run_id

    @property
    def how(self) -> str:
        """What was trained on, or how it was prompted."""
        identity = self.manifest["identity"]
        prompt = identity["prompt"]
        first = _prompted(prompt) if prompt else _trained(identity["train"])
        decision = (prompt or identity).get("decision")
        runtime = (self.manifest.get("runtime") or {}).get("runtime")
        settings = dict(self.manifest.get("settings") or {})
        if runtime is not None:
            settings.pop("predict.runtime", None)
        parts = [
            *first,
            *([DECISIONS.get(decision, decision)] if decision else []),
            *([f"{len(prompt['shots'])} exemplars"] if prompt and prompt["shots"] else []),
            *(_setting(name, value) for name, value in settings.items()),
            *([runtime] if runtime else []),
            *([f"seed {identity['seed']}"] if identity["seed"] else []),
        ]
        return ", ".join(parts)


def _setting(name: str, value: Any) -> str:
    """`train.lora={}` asks for adapters with their defaults: the name says it all."""
    return name if value == {} else f"{name}={value if isinstance(value, str) else json.dumps(value)}"


def _prompted(prompt: Mapping[str, Any]) -> list[str]:
    variant = f".{prompt['variant']}" if prompt["variant"] else ""
    calibration = [f"{prompt['calibration']} calibration"] if "calibration" in prompt else []
    return [f"{prompt['name']}{variant} · {prompt['decoding']}", *calibration]


def _trained(train: Mapping[str, Any]) -> list[str]:
    validated = [f"validated on {'+'.join(train['validation_langs'])}"] if "validation_langs" in train else []
    before = [f"continued from {'+'.join(train['continued_from']['langs'])}"] if "continued_from" in train else []
    several = [f"{train['processes']} processes"] if "processes" in train else []
    return [f"trained on {train['train_count']} {'+'.join(train['langs'])}", *validated, *before, *several]


def read_entries(store: Store) -> list[Entry]:
    """All finished runs. Raises `RunError` for a damaged record: to leave it out would change the ranking in silence."""
    return [read_entry(store, name) for name in store.ids()]


def read_entry(store: Store, name: str) -> Entry:
    entry = Entry(name, store.manifest(name), store.metrics(name))
    try:
        _ = entry.group, entry.order, cells(1, entry)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        folder = store.root / name
        raise RunError(
            f"{folder} is not the record of a run ({type(error).__name__}: {error}).", "Delete that folder."
        ) from error
    return entry


def shown(metric: Mapping[str, Any]) -> str:
    """`0.512 [0.468, 0.556]`; the interval only where there is one."""
    value, low, high = metric["value"], metric["low"], metric["high"]
    if value is None:
        return "n/a"
    return f"{value:.3f}" if low is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def tables(entries: Iterable[Entry]) -> list[tuple[tuple[str, str, str, str], list[Entry]]]:
    """Groups by name, larger row sets first; within a group best first."""
    groups: dict[tuple[str, str, str, str], list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.group, []).append(entry)
    ordered = sorted(groups.items(), key=lambda item: (*item[0][:3], -item[1][0].metrics["n"], item[0][3]))
    return [(group, sorted(members, key=lambda entry: entry.order)) for group, members in ordered]


def columns(members: list[Entry]) -> list[str]:
    headline = members[0].metrics["headline"]
    return ["#", "backend", "how", *(TITLES.get(name, name) for name in headline), "parsed", "rows/s", "run"]


def cells(rank: int, entry: Entry) -> list[str]:
    metrics, rate = entry.metrics, entry.manifest["timing"]["rows_per_second"]
    return [
        str(rank),
        entry.manifest["identity"]["backend"]["name"],
        entry.how,
        *(shown(metrics["values"][name]) for name in metrics["headline"]),
        f"{math.floor(1000 * metrics['ok'] / metrics['n']) / 10:.1f}%",
        "n/a" if rate is None else f"{rate:,.1f}" if rate < 100 else f"{rate:,.0f}",
        entry.run_id,
    ]


LEGEND = """\
Made by `bench leaderboard` from the records in `results/runs/`, and from nothing else.

- Every table holds runs on the same rows, best first by its first metric. In brackets: the 95% interval of the sampling of rows
  (Wilson for accuracy, bootstrap for the others). Where intervals overlap widely, the order means little.
- An answer that could not be read counts as wrong in every metric (for MAE: as the largest possible error); `parsed` is the
  share that could be read. Lower is better for MAE, higher for the rest. QWK: quadratic weighted kappa.
- `rows/s` is inference alone, on the machine and at the load that the run's record names; compare it within one machine only.
"""


def markdown(entries: Iterable[Entry], reported: Sequence[Reported] = ()) -> str:
    """The whole file; `reported` comes last, in tables of its own."""
    lines = ["# Leaderboard", "", LEGEND]
    current = ""
    for (task, split, lang, rows), members in tables(entries):
        heading = f"{task} ({split})"
        if heading != current:
            current = heading
            lines += [f"## {escape(heading)}", ""]
        lines += [f"### {escape(lang)}: {members[0].metrics['n']} rows (`{rows[:8]}`)", ""]
        ranked = [cells(rank, entry) for rank, entry in enumerate(members, start=1)]
        linked = [[*map(escape, row[:-1]), f"[record](runs/{quote(row[-1])}/run.json)"] for row in ranked]
        lines += [*_table(columns(members), linked), ""]
    if not current:
        lines += ["No runs yet.", ""]
    return "\n".join([*lines, *_reported_section(reported)])


REPORTED = """\
## Reported by others, not measured here

Published figures, from the files in `results/reported/`: on other rows, by other code, and never ranked. In brackets, for
shares of a known number of rows: the 95% interval of Clopper and Pearson.
"""


def _reported_section(reported: Sequence[Reported]) -> list[str]:
    lines = [REPORTED] if reported else []
    titles = ["model", "task", "language", "trained or prompted", "rows", "metric", "reported", "note"]
    for source in reported:
        lines += [f"### {escape(source.name)}", "", f"Source: {escape(source.source)}.", ""]
        lines += [escape(source.note), ""] if source.note else []
        lines += [*_table(titles, [list(map(escape, _reported_cells(figure))) for figure in source.figures]), ""]
    return lines


def _reported_cells(figure: Figure) -> list[str]:
    n = "n unknown" if figure.n is None else f"n = {figure.n:,}"
    rows = n if figure.split == "test" else f"{figure.split}, {n}"
    metric = TITLES.get(figure.metric, figure.metric)
    return [figure.model, figure.task, figure.lang or "all", figure.train, rows, metric, figure.shown, figure.note]


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [_row(titles), "|" + "|".join(" --- " for _ in titles) + "|", *map(_row, rows)]


def _row(values: Iterable[str]) -> str:
    return "| " + " | ".join(values) + " |"


def escape(text: str) -> str:
    """A name from a file is text, not Markdown or HTML, and stays on its line."""
    text = "".join(f"&#{ord(char)};" if char in "&<>|`*\\" else char for char in " ".join(text.split()))
    return text.replace("](", "]&#40;")  # a link; brackets alone are intervals
