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
    from harness.errors import BenchError as BenchError
    from harness.errors import RunError as RunError
    from harness.errors import UserError as UserError
    from harness.frames import load_predictions as load_predictions
    from harness.frames import load_runs as load_runs
    from harness.metrics import evaluate_predictions as evaluate_predictions
    from harness.parsers import ParserSpec as ParserSpec
    from harness.parsers import make_parser as make_parser
    from harness.plan import Plan as Plan
    from harness.plan import Request as Request
    from harness.plan import make_plan as make_plan
    from harness.rows import load_examples as load_examples
    from harness.runner import EngineSlot as EngineSlot
    from harness.runner import Result as Result
    from harness.runner import run as run
    from harness.store import Store as Store
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
    "load_predictions": "frames",
    "load_runs": "frames",
    "evaluate_predictions": "metrics",
    "ParserSpec": "parsers",
    "make_parser": "parsers",
    "Plan": "plan",
    "Request": "plan",
    "make_plan": "plan",
    "load_examples": "rows",
    "EngineSlot": "runner",
    "Result": "runner",
    "run": "runner",
    "Store": "store",
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
