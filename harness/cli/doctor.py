"""`bench doctor`: what this machine can run, and what to install for the rest."""

from __future__ import annotations

import importlib.util
import platform
from typing import Any

import typer

from harness.cli.options import Json, catalog, print_json, print_table


def doctor_command(as_json: Json = False) -> None:
    """Say what this machine can run, and what to install for the rest."""
    report = {"machine": _machine(), "backends": [_backend(name) for name in catalog().names("backend")]}
    if as_json:
        print_json(report)
        return
    for key, value in report["machine"].items():
        typer.echo(f"{key}: {value}")
    typer.echo("")
    print_table(["backend", "engine", "runs here", "needs"], [list(map(str, row.values())) for row in report["backends"]])


def _machine() -> dict[str, Any]:
    from harness.checkpoints import cache_dir
    from harness.machine import describe_machine, library_versions

    if importlib.util.find_spec("torch"):
        import torch  # noqa: F401 - without it nobody can say whether a GPU is usable
    described = describe_machine()
    versions = library_versions()
    return {
        "python": platform.python_version(),
        "processor": f"{described['cpu']}, {described['cores']} cores, {described['memory_gib']} GiB",
        "gpu": described["gpu"] or "none that torch can use",
        "libraries": ", ".join(f"{name} {number}" for name, number in versions.items() if name != "python"),
        "cache": str(cache_dir()),
    }


def _backend(name: str) -> dict[str, Any]:
    from harness.backend_specs import engine_class
    from harness.checkpoints import PACKAGED_PREFIX
    from harness.errors import MissingExtra

    spec = catalog().backend(name)
    try:
        engine = engine_class(spec.engine)
    except MissingExtra as error:
        return {"backend": name, "engine": spec.engine, "runs": "no", "needs": error.hint}
    wanted = [*engine.libraries, *(["bitsandbytes"] if spec.options.get("quantization") == "nf4" else [])]
    missing = [library for library in wanted if importlib.util.find_spec(library) is None]
    if missing:
        return {
            "backend": name,
            "engine": spec.engine,
            "runs": "no",
            "needs": f"{', '.join(missing)}: the extra [{engine.extra}]",
        }
    if not engine.needs_model:
        source = "nothing"
    elif (spec.model or "").startswith(PACKAGED_PREFIX):
        source = "the package index, once"
    else:
        source = f"{spec.model} from the hub, once; or --model PATH"
    return {"backend": name, "engine": spec.engine, "runs": "yes", "needs": source}
