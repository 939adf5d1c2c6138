"""The tables of `benchmarks/llm.py`, from its JSON file. They stand in `docs/performance.md`, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from _llm_record import Record, agreement, distinct_settings, same_label
from _results import NONE, described, markdown, spread

REFERENCE = "d.causal_lm.score"
LOOP, LM_EVAL = "a.loop", "b"
SHORT = {"float32": "fp32", "bfloat16": "bf16"}
VLLM_SETTINGS = ("enforce_eager", "block_size", "max_model_len", "max_num_seqs", "max_num_batched_tokens", "kv_cache_gib")
"""Those that are shown."""
DECODINGS = ("score", "constrained", "free")


class Described(Protocol):
    """A part, of which only what it is matters here."""

    @property
    def what(self) -> str: ...

    @property
    def kind(self) -> str: ...


Parts = Mapping[str, Described]


def page(record: Record, parts: Parts) -> str:
    """Markdown of all that is measured so far."""
    failed = [f"- not measured: {m.part}, {m.dtype}: {m.error}" for m in record.measurements if m.error is not None]
    tables = [labels_table(record, parts), texts_table(record, parts), process_table(record, parts), direct_table(record)]
    sections = [preface(record), *tables, agreement_table(record), "\n".join(failed)]
    return "\n\n".join(section for section in sections if section) + "\n"


def preface(record: Record) -> str:
    settings = record.settings
    repeats = sorted({len(record.find(m.part, m.dtype)) for m in record.done()})
    loads = [m.load for m in record.measurements if m.load is not None]
    rates = [f"{SHORT.get(dtype, dtype)} {spread(_gemm(record, dtype))}" for dtype in record.dtypes() if _gemm(record, dtype)]
    fewer = [f"the loops take {settings.loop_rows} of them"] if settings.loop_rows < settings.rows else []
    fewer += [f"lm-eval {settings.lm_eval_rows}"] if settings.lm_eval_rows < settings.rows else []
    lines = [
        f"{settings.rows} rows of {settings.task} ({settings.lang}), {record.distinct} distinct texts"
        + (f" ({', '.join(fewer)})" if fewer else "")
        + f"; prompt `{record.prompt}`; {settings.model}. Repeats: {_range(repeats)}, interleaved.",
        described(record.setup.model_dump()),
        *([f"Load average when a part started: {spread(loads, '.1f')}."] if loads else []),
        *([f"Matrix products of a layer, GFLOP/s: {'; '.join(rates)}."] if rates else []),
        *_rivals_settings(record),
    ]
    return "\n".join(f"- {line}" for line in lines)


def _range(numbers: Sequence[int]) -> str:
    return "0" if not numbers else f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


def _rivals_settings(record: Record) -> list[str]:
    """The batch size of lm-eval, and what was tried; the limits of vLLM."""
    lines = []
    for dtype in record.dtypes():
        for part, what in (("b.label", "multiple_choice"), ("b.text", "generate_until")):
            found = record.find(part, dtype)
            tried = next((m.settings["tried"] for m in found if m.settings.get("tried")), {})
            if found:
                rates = (
                    f" (rows/s in a trial: {', '.join(f'{size}: {rate:.2f}' for size, rate in tried.items())})" if tried else ""
                )
                size = distinct_settings(found)["batch_size"]
                version = distinct_settings(found)["version"]
                lines.append(f"lm-eval {version}, {what}, {SHORT.get(dtype, dtype)}: batch size {size}{rates}.")
    for part, what in (("c.label", "its defaults"), ("c2.label", "our settings")):
        found = [m for dtype in record.dtypes() for m in record.find(part, dtype)]
        settings = distinct_settings(found)
        if shown := [f"{name} {settings[name]}" for name in VLLM_SETTINGS if name in settings]:
            lines.append(f"vLLM with {what}: {', '.join(shown)}.")
    return lines


def labels_table(record: Record, parts: Parts) -> str:
    """Parts that give a label, and the notebook loop, which is what they replace."""
    return _speeds(record, [name for name, part in parts.items() if part.kind == "label" or name == LOOP], parts, "b.label")


def texts_table(record: Record, parts: Parts) -> str:
    """Parts that write text."""
    return _speeds(record, [name for name, part in parts.items() if part.kind == "text" and name != LOOP], parts, "b.text")


def _speeds(record: Record, names: Sequence[str], parts: Parts, rival: str) -> str:
    reference = {dtype: found[0].labels for dtype in record.dtypes() if (found := record.find(REFERENCE, dtype))}
    rows = []
    for name in names:
        for dtype in record.dtypes():
            timed = record.timed(name, dtype)
            if timed is None:
                continue
            same = same_label(record.find(name, dtype)[0].labels, reference[dtype]) if dtype in reference else None
            rows.append(
                [
                    parts[name].what,
                    SHORT.get(dtype, dtype),
                    spread(list(timed.rates.values())),
                    spread(ratios(record, name, dtype, LOOP)),
                    spread(ratios(record, name, dtype, rival)),
                    spread(shares(record, name, dtype), ".0%"),
                    NONE if same is None else f"{same:.1%}",
                ]
            )
    head = ["what", "dtype", "rows/s", "x notebook loop", "x lm-eval", "of GEMM rate", "same label as bench, score"]
    return markdown(head, rows, 2) if rows else ""


def best_dtype(record: Record, part: str) -> str | None:
    """The dtype in which a part is fastest; None where it was not measured."""
    rates = {dtype: timed.rate for dtype in record.dtypes() if (timed := record.timed(part, dtype)) is not None}
    return max(rates, key=rates.__getitem__) if rates else None


def ratios(record: Record, part: str, dtype: str, rival: str) -> list[float]:
    """Of rows per second in each repeat, over the rival in its own best dtype."""
    best = best_dtype(record, rival)
    ours, theirs = record.timed(part, dtype), record.timed(rival, best) if best is not None else None
    return [] if ours is None or theirs is None else ours.over(theirs)


def shares(record: Record, part: str, dtype: str) -> list[float]:
    """Of the rate of matrix products in this dtype and repeat, the share that the needed operations make up."""
    found = []
    for m in record.find(part, dtype):
        rates = _gemm(record, dtype, m.repeat)
        if m.seconds is not None and rates:
            found.append(m.flops / m.seconds / 1e9 / (sum(rates) / len(rates)))
    return found


def _gemm(record: Record, dtype: str, repeat: int | None = None) -> list[float]:
    return [m.gflops["layer"] for m in record.done() if m.gflops and m.dtype == dtype and repeat in (None, m.repeat)]


def process_table(record: Record, parts: Parts) -> str:
    """Whole commands, from start to end."""
    rows = []
    for name, part in parts.items():
        for dtype in record.dtypes():
            whole = record.timed(name, dtype, "process_seconds")
            if whole is None:
                continue
            own = [record.timed(name, dtype, field) for field in ("load_seconds", "predict_seconds")]
            cells = [spread(list(timed.seconds.values())) if timed is not None else NONE for timed in (whole, *own)]
            rows.append([part.what, SHORT.get(dtype, dtype), str(whole.rows), *cells, f"{whole.rate:.2f}"])
    head = ["command", "dtype", "rows", "seconds from start to end", "of which loading", "of which predicting", "rows/s"]
    return markdown(head, rows, 2) if rows else ""


def direct_table(record: Record) -> str:
    """The ratios that the project aims at, each of what was measured side by side."""
    rows = []
    if (best := best_dtype(record, REFERENCE)) is not None:
        for rival, what, aim in ((LOOP, "the notebook loop", "25"), ("b.label", "lm-eval", "5")):
            if found := ratios(record, REFERENCE, best, rival):
                rows.append([f"causal_lm `score` / {what}, both in their best dtype", f"{aim}x", f"{spread(found)}x"])
    for dtype in record.dtypes():
        if found := shares(record, REFERENCE, dtype):
            rows.append(
                [f"share of the GEMM rate of causal_lm `score`, {SHORT.get(dtype, dtype)}", "60%", spread(found, ".0%")]
            )
    pairs = (("d.vllm.constrained", "c2.label"), ("d.vllm.score", "c2.label"), ("d.vllm.free", "c2.text"))
    for ours, theirs in pairs:
        for dtype in record.dtypes():
            mine, other = record.timed(ours, dtype), record.timed(theirs, dtype)
            if mine is not None and other is not None:
                name = f"vllm `{ours.rpartition('.')[2]}` / `LLM.chat` with equal settings, {SHORT.get(dtype, dtype)}"
                rows.append([name, "1x", f"{spread(mine.over(other))}x"])
    return markdown(["what", "aim", "measured"], rows, 1) if rows else ""


def agreement_table(record: Record) -> str:
    """How often two of our engines, or two dtypes of one, give the same label; rows that neither could read say nothing."""
    rows = []
    for decoding in DECODINGS:
        name, other = f"d.causal_lm.{decoding}", f"d.vllm.{decoding}"
        sides: list[tuple[str, Any, Any]] = [
            (f"causal_lm and vllm, {SHORT.get(dtype, dtype)}", record.find(name, dtype), record.find(other, dtype))
            for dtype in record.dtypes()
        ]
        if len(record.dtypes()) == 2:
            first, second = record.dtypes()
            sides.append(("causal_lm in both dtypes", record.find(name, first), record.find(name, second)))
        for what, left, right in sides:
            if left and right:
                same, read, unread = agreement(left[0].labels, right[0].labels)
                share = f"{same / read:.1%}" if read else NONE
                rows.append([decoding, what, share, str(read), str(unread)])
    head = ["decoding", "compared", "same label", "of rows with a label", "rows without"]
    return markdown(head, rows, 2) if rows else ""
