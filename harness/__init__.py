"""bench as a library: what the command line does, step by step.

    from pathlib import Path
    import harness

    catalog = harness.Catalog(Path.cwd())
    plan = harness.make_plan(harness.RunOptions(task="reviews_demo", backend="tfidf", lang="en"), catalog)
    result = harness.run(plan, harness.Store(Path("results/runs")))
    print(result.metrics.values["accuracy"])

What was run before is there as pandas frames (`harness.load_runs()`, `harness.load_predictions()`; docs/notebooks.md).

Names are imported when they are first used, so `import harness` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.core.errors import BenchError as BenchError
    from harness.core.errors import RunError as RunError
    from harness.core.errors import UserError as UserError
    from harness.core.options import RunOptions as RunOptions
    from harness.core.types import Example as Example
    from harness.core.types import LabelKind as LabelKind
    from harness.core.types import LabelSpace as LabelSpace
    from harness.core.types import Prediction as Prediction
    from harness.core.types import Status as Status
    from harness.data.rows import load_examples as load_examples
    from harness.parsing.parsers import make_parser as make_parser
    from harness.records.frames import load_predictions as load_predictions
    from harness.records.frames import load_runs as load_runs
    from harness.records.store import Store as Store
    from harness.running.plan import Plan as Plan
    from harness.running.plan import make_plan as make_plan
    from harness.running.runner import EngineSlot as EngineSlot
    from harness.running.runner import Result as Result
    from harness.running.runner import run as run
    from harness.specs.catalog import Catalog as Catalog
    from harness.specs.parser_spec import ParserSpec as ParserSpec
    from harness.statistics.metrics import evaluate_predictions as evaluate_predictions

_HOME = {
    "Catalog": "specs.catalog",
    "BenchError": "core.errors",
    "RunError": "core.errors",
    "UserError": "core.errors",
    "load_predictions": "records.frames",
    "load_runs": "records.frames",
    "evaluate_predictions": "statistics.metrics",
    "ParserSpec": "parsing.parsers",
    "make_parser": "parsing.parsers",
    "Plan": "running.plan",
    "RunOptions": "core.options",
    "make_plan": "running.plan",
    "load_examples": "data.rows",
    "EngineSlot": "running.runner",
    "Result": "running.runner",
    "run": "running.runner",
    "Store": "records.store",
    "Example": "core.types",
    "LabelKind": "core.types",
    "LabelSpace": "core.types",
    "Prediction": "core.types",
    "Status": "core.types",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"harness.{_HOME[name]}"), name)
    raise AttributeError(f"module 'harness' has no attribute {name!r}")
