"""From measurements to a page: preface, table, and where the engines agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

REFERENCE = "d.causal_lm.score"
DECODINGS = ("score", "constrained", "free")
NONE = "-"


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table. `seconds` has one entry a repeat; `flops` are None where only a whole process is timed."""

    part: str
    what: str
    kind: str
    whole: bool
    rows: int
    seconds: list[float]
    flops: float | None
    labels: Mapping[str, int | None]

    @property
    def rate(self) -> float:
        return self.rows / median(self.seconds)


def page(record: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    """Markdown of all that is measured so far. `parts` are name -> an object with `what` and `kind`."""
    done = [m for m in record["measurements"] if "error" not in m]
    failed = [m for m in record["measurements"] if "error" in m]
    sections = [_preface(record), table(lines(done, parts), gemm_rate(done)), _explain(done), agreement(done)]
    sections += ["\n".join(f"- not measured: {m['part']}: {m['error']}" for m in failed)]
    return "\n\n".join(section for section in sections if section) + "\n"


def lines(done: Sequence[Mapping[str, Any]], parts: Mapping[str, Any]) -> list[Line]:
    found = []
    for name, part in parts.items():
        repeats = [m for m in done if m["part"] == name]
        for key in ("seconds", "process_seconds"):
            seconds = [m[key] for m in repeats if m[key] is not None]
            if seconds:
                first, whole = repeats[0], key == "process_seconds"
                what = f"{part.what}; whole process" if whole else part.what
                flops = None if whole else first["flops"]
                found.append(Line(name, what, part.kind, whole, len(first["labels"]), seconds, flops, first["labels"]))
    return found


def table(found: Sequence[Line], gflops: float | None) -> str:
    """The Markdown table. Ratios are of rows a second, (b) the one of the same kind: labels with labels, texts with texts."""
    loop = next((line for line in found if line.part == "a.loop"), None)
    reference = next((line.labels for line in found if line.part == REFERENCE and not line.whole), None)
    head = [
        "part",
        "what",
        "rows",
        "seconds",
        "rows/s",
        "x over (a)",
        "x over (b)",
        "of GEMM rate",
        f"same label as {REFERENCE}",
    ]
    cells = [
        [
            line.part,
            line.what,
            str(line.rows),
            _spread(line.seconds),
            f"{line.rate:.2f}",
            _ratio(line, None if line.whole else loop),
            _ratio(line, _rival(line, found)),
            _share(line, gflops),
            _same(line.labels, reference),
        ]
        for line in found
    ]
    align = ["---", "---", *["---:"] * (len(head) - 2)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, align, *cells])


def _rival(line: Line, found: Sequence[Line]) -> Line | None:
    name = f"b.{line.kind}"
    return next((other for other in found if other.part == name and other.whole == line.whole), None)


def _spread(seconds: Sequence[float]) -> str:
    if len(seconds) == 1:
        return f"{seconds[0]:.1f}"
    return f"{median(seconds):.1f} ({min(seconds):.1f}-{max(seconds):.1f})"


def _ratio(line: Line, other: Line | None) -> str:
    return NONE if other is None else f"{line.rate / other.rate:.2f}"


def _share(line: Line, gflops: float | None) -> str:
    if line.flops is None or gflops is None:
        return NONE
    return f"{line.flops / median(line.seconds) / gflops / 1e9:.0%}"


def _same(labels: Mapping[str, int | None], reference: Mapping[str, int | None] | None) -> str:
    shared = [row for row in labels if reference is not None and row in reference]
    if reference is None or not shared:
        return NONE
    return f"{sum(labels[row] is not None and labels[row] == reference[row] for row in shared) / len(shared):.1%}"


def gemm_rate(done: Sequence[Mapping[str, Any]]) -> float | None:
    """GFLOP/s: the median over the run of the faster shape's best, so that shares are rather too low than too high."""
    rates = [max(m["gflops"].values()) for m in done if "gflops" in m]
    return median(rates) if rates else None


def agreement(done: Sequence[Mapping[str, Any]]) -> str:
    """How often our two engines give the same label, by decoding; rows that neither could read say nothing."""
    found = []
    for decoding in DECODINGS:
        ours = [
            next((m["labels"] for m in done if m["part"] == f"d.{engine}.{decoding}"), None) for engine in ("causal_lm", "vllm")
        ]
        if ours[0] is None or ours[1] is None:
            continue
        pairs = [(ours[0][row], ours[1][row]) for row in ours[0]]
        read = [pair for pair in pairs if pair != (None, None)]
        share = f"{sum(a == b for a, b in read) / len(read):.1%} of {len(read)} rows" if read else "no row with a label"
        unread = f"; {len(pairs) - len(read)} more have no label from either" if len(read) < len(pairs) else ""
        found.append(f"- {decoding}: {share}{unread}")
    return "\n".join(["Same answers, causal_lm and vllm:", "", *found]) if found else ""


def _preface(record: Mapping[str, Any]) -> str:
    settings, machine = record["settings"], record["machine"]
    repeats = max((m["repeat"] for m in record["measurements"]), default=0) + 1
    text = [
        f"{settings['rows']} rows of {settings['task']} ({settings['lang']}; {record['distinct']} distinct texts), prompt "
        f"`{record['prompt']}`, checkpoint {settings['model']}, float32, CPU only; {repeats} repeat(s), interleaved.",
        f"{machine['cpu']}, {len(machine['cores'])} cores, {machine['memory_gib']} GiB; "
        + ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
        + ".",
        "Load average at start and end: "
        + "; ".join(f"{s['started']} {s['load_start']} - {s.get('load_end', 'stopped')}" for s in record["sessions"])
        + ".",
    ]
    return "\n\n".join(text)


def _explain(done: Sequence[Mapping[str, Any]]) -> str:
    rates = [m["gflops"] for m in done if "gflops" in m]
    shown = "; ".join(", ".join(f"{name} {rate:.0f}" for name, rate in both.items()) for both in rates)
    facts = sorted({f"lm-eval {m['lm_eval']}, batch size {m['batch_size']}" for m in done if "lm_eval" in m})
    rate = f"torch.mm (GFLOP/s: {shown})" if shown else "torch.mm"
    facts += sorted(
        {f"vLLM's own chat: KV cache {m['kv_cache_gib']} GiB, enforce_eager, float32" for m in done if "kv_cache_gib" in m}
    )
    text = [
        "Seconds exclude loading and a warm-up of one prompt, which holds the shared instruction. They include rendering (but",
        "lm-eval is given rendered text), tokenization, the model and, for ours, parsing. `whole process` counts a command",
        "from its start to its end. Each part is a process of its own, one after the other. The one-by-one loops run on a",
        "sample of the rows. Share of the GEMM rate: the operations that the rows need (each needed token once, see",
        f"`needed_flops`) by the seconds, over the rate of {rate}. An answer that can't be read is no same label.",
        *(f"{fact}." for fact in facts),
    ]
    return "\n".join(text)
