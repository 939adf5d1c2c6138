"""A labelling as text: how many rows have which label, and what that took."""

from __future__ import annotations

from harness.core.labelling import LabellingRecord
from harness.records.entries import config_of_prompt
from harness.reports.text.formats import plural, usd


def teacher(record: LabellingRecord) -> str:
    """`qwen (strict · score)`: the model that labelled."""
    identity = record.identity
    if identity.prompt is not None:
        return f"{identity.backend.name} ({config_of_prompt(identity.prompt)})"
    if identity.train is None:
        return f"{identity.backend.name} (zero-shot)"
    return f"{identity.backend.name} (trained on {record.train_rows or 0:,})"


def distribution_rows(record: LabellingRecord, no_text: int) -> list[list[str]]:
    """Under label, rows, share; the last lines are rows without a label, by reason."""
    total = record.n + no_text
    counts = [*record.labels.items(), *((f"no label: {why}", count) for why, count in record.reasons.items())]
    counts += [("no label: no text", no_text)] if no_text else []
    return [[name, f"{count:,}", f"{count / total:.1%}"] for name, count in counts]


def sentence(record: LabellingRecord, dollars: float | None, no_text: int) -> str:
    """What was labelled, what could not be read, and what it took."""
    total, tokens = record.n + no_text, record.tokens
    left = record.unlabelled + no_text
    parts = [f"{teacher(record)} labelled {record.ok:,} of {plural(total, 'row')}"]
    parts.append(f"{plural(left, 'row')} without a label" if left else "none is without a label")
    if record.identity.counts_tokens and tokens.prompt is not None:
        parts.append(f"{tokens.prompt:,} prompt and {tokens.new or 0:,} new tokens")
    if record.timing.seconds is not None:
        parts.append(f"{record.timing.seconds:,.1f} seconds")
    parts.append("no price is known" if dollars is None else usd(dollars))
    return "; ".join(parts) + "."
