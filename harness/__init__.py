"""bench as a library: what the command line does, step by step.

    from pathlib import Path
    import harness

    catalog = harness.Catalog(Path.cwd())
    plan = harness.make_plan(harness.Request(task="reviews_demo", backend="tfidf", lang="en"), catalog)
    result = harness.run(plan, harness.Store(Path("results/runs")))
    print(result.metrics["values"]["accuracy"])

What was run before is there as pandas frames (`harness.load_runs()`, `harness.load_predictions()`; docs/notebooks.md).

Names are imported when they are first used, so `import harness` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.catalog import Catalog as Catalog
    from harness.data.rows import load_examples as load_examples
    from harness.errors import BenchError as BenchError
    from harness.errors import RunError as RunError
    from harness.errors import UserError as UserError
    from harness.parsing.parsers import ParserSpec as ParserSpec
    from harness.parsing.parsers import make_parser as make_parser
    from harness.records.frames import load_predictions as load_predictions
    from harness.records.frames import load_runs as load_runs
    from harness.records.store import Store as Store
    from harness.running.plan import Plan as Plan
    from harness.running.plan import Request as Request
    from harness.running.plan import make_plan as make_plan
    from harness.running.runner import EngineSlot as EngineSlot
    from harness.running.runner import Result as Result
    from harness.running.runner import run as run
    from harness.statistics.metrics import evaluate_predictions as evaluate_predictions
    from harness.types import Example as Example
    from harness.types import LabelKind as LabelKind
    from harness.types import LabelSpace as LabelSpace
    from harness.types import Prediction as Prediction
    from harness.types import Status as Status

_HOME = {
    "Catalog": "catalog",
    "BenchError": "errors",
    "RunError": "errors",
    "UserError": "errors",
    "load_predictions": "records.frames",
    "load_runs": "records.frames",
    "evaluate_predictions": "statistics.metrics",
    "ParserSpec": "parsing.parsers",
    "make_parser": "parsing.parsers",
    "Plan": "running.plan",
    "Request": "running.plan",
    "make_plan": "running.plan",
    "load_examples": "data.rows",
    "EngineSlot": "running.runner",
    "Result": "running.runner",
    "run": "running.runner",
    "Store": "records.store",
    "Example": "types",
    "LabelKind": "types",
    "LabelSpace": "types",
    "Prediction": "types",
    "Status": "types",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"harness.{_HOME[name]}"), name)
    raise AttributeError(f"module 'harness' has no attribute {name!r}")
