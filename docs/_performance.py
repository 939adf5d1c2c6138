"""Write the tables of docs/performance.md and docs/scale.md from benchmarks/results/: `make performance`. A test fails if they
do not match.

A table stands between `<!-- table: NAME -->` and `<!-- end -->`; NAME is a key of `TABLES`. To add one: a function of the
benchmark that turns its JSON file into Markdown, an entry in `TABLES`, and the two markers in the page.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "docs" / "performance.md", ROOT / "docs" / "scale.md")
RESULTS = ROOT / "benchmarks" / "results"
TABLE = re.compile(r"(<!-- table: (?P<name>\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


@dataclass(frozen=True)
class Table:
    """The JSON file in benchmarks/results/, and what makes Markdown of its content."""

    file: str
    made: Callable[[Any], str]


def _llm(function: str) -> Callable[[Any], str]:
    def made(content: Any) -> str:
        import _report
        from _llm_record import Record
        from _parts import PARTS

        record, make = Record.model_validate(content), getattr(_report, function)
        text: str = make(record, PARTS) if function in ("labels_table", "texts_table", "process_table") else make(record)
        return text

    return made


def _long_prompts(content: Any) -> str:
    from long_prompts import Record, table

    return table(Record.model_validate(content))


def _precision(content: Any) -> str:
    from precision import table

    return table(content["results"])


def _precision_setup(content: Any) -> str:
    trained, prompted = content["train_limit"], content["prompted"]
    rows = "all training rows" if trained is None else f"{trained:,} training rows"
    limits = f"The encoders were trained on {rows}; the language model got at most {prompted:,} of the validation rows."
    return f"{_setup(content)}\n{limits}"


def _encoder(content: Any) -> str:
    from _encoder_report import inference_table

    return inference_table(content["inference"])


def _encoder_sizes(content: Any) -> str:
    from _encoder_report import sizes_table

    return sizes_table(content["inference"])


def _training(content: Any) -> str:
    from _encoder_report import differences_table, training_table

    measured, epochs = content["training"], content["options"]["train"]["epochs"]
    return f"{training_table(measured, content['train_rows'] * epochs)}\n\n{differences_table(measured)}"


def _startup(content: Any) -> str:
    from startup import table

    before = RESULTS / "startup_before.json"
    return table(json.loads(before.read_text(encoding="utf-8")) if before.exists() else None, content)


def _million(content: Any) -> str:
    from million import table

    return table(content)


def _scale(function: str) -> Callable[[Any], str]:
    def made(content: Any) -> str:
        import scale

        text: str = getattr(scale, function)(content)
        return text

    return made


def _ray_overhead(content: Any) -> str:
    from ray_overhead import table

    return table(content["measured"])


def _ray_overhead_setup(content: Any) -> str:
    from ray_overhead import preface

    return preface(content)


def _many_runs(content: Any) -> str:
    from many_runs import table

    return table(content)


def _many_runs_setup(content: Any) -> str:
    from many_runs import preface

    return preface(content)


def _setup(content: Any) -> str:
    from _results import described

    return described(content.get("setup", content))


TABLES = {
    "llm-setup": Table("llm.json", _llm("preface")),
    "llm-labels": Table("llm.json", _llm("labels_table")),
    "llm-aims": Table("llm.json", _llm("direct_table")),
    "llm-texts": Table("llm.json", _llm("texts_table")),
    "llm-processes": Table("llm.json", _llm("process_table")),
    "llm-agreement": Table("llm.json", _llm("agreement_table")),
    "vllm-setup": Table("vllm.json", _llm("preface")),
    "vllm-aims": Table("vllm.json", _llm("direct_table")),
    "long-prompts-setup": Table("long_prompts.json", _setup),
    "long-prompts": Table("long_prompts.json", _long_prompts),
    "precision-setup": Table("precision.json", _precision_setup),
    "precision": Table("precision.json", _precision),
    "encoder-setup": Table("encoder.json", _setup),
    "encoder": Table("encoder.json", _encoder),
    "encoder-sizes": Table("encoder.json", _encoder_sizes),
    "startup-setup": Table("startup.json", _setup),
    "startup": Table("startup.json", _startup),
    "million-setup": Table("million.json", _setup),
    "million": Table("million.json", _million),
    "million-tfidf": Table("million_tfidf.json", _million),
    "scale-setup": Table("scale.json", _scale("setup_line")),
    "scale-sweep-setup": Table("scale.json", _scale("sweep_line")),
    "scale-sweep": Table("scale.json", _scale("table")),
    "scale-what-if": Table("scale.json", _scale("what_if_table")),
    "scale-policies": Table("scale.json", _scale("policy_table")),
    "scale-inputs": Table("scale.json", _scale("input_table")),
    "scale-check": Table("scale.json", _scale("check_table")),
    "ray-overhead-setup": Table("ray_overhead.json", _ray_overhead_setup),
    "ray-overhead": Table("ray_overhead.json", _ray_overhead),
    "many-runs-setup": Table("many_runs.json", _many_runs_setup),
    "many-runs": Table("many_runs.json", _many_runs),
    "training-sst5": Table("training_sst5.json", _training),
    "training-banking77": Table("training_banking77.json", _training),
}


def filled(page: str, results: Path = RESULTS) -> str:
    """The page with the tables that the files in `results` give now. Raises `KeyError` for a name that is not in `TABLES`."""
    return TABLE.sub(lambda match: f"{match[1]}{made(match['name'], results)}\n{match[3]}", page)


def made(name: str, results: Path = RESULTS) -> str:
    """The Markdown of one table; of a file that is not there, a line that says so."""
    table = TABLES[name]
    path = results / table.file
    if not path.exists():
        return "" if name.endswith("-setup") else f"Not measured yet: benchmarks/results/{table.file} is not there."
    return table.made(json.loads(path.read_text(encoding="utf-8"))) or "Not measured yet."


def main() -> None:
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
        sys.stdout.write(f"written: {page.relative_to(ROOT)}\n")


if __name__ == "__main__":
    sys.path.append(str(ROOT / "benchmarks"))
    main()
