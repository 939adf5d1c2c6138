"""`bench doctor`: what this machine can run, and what to install for the rest."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from typing import TYPE_CHECKING, Any

import typer

from harness.cli.amounts import size
from harness.cli.options import Json, catalog, plain, print_json, print_table

if TYPE_CHECKING:
    from harness.specs.backend_specs import BackendSpec
    from harness.specs.tasks import TaskSpec

HUB_SECONDS = 5.0
AT_HAND, ONCE = "nothing: the model is on this machine", "from the hub, once"

BEYOND = {"ray": "ray", "slurm": "submitit", "s3": "s3fs"}
"""Extra -> its library, of what goes beyond one machine."""


def doctor_command(as_json: Json = False) -> None:
    """Show what this machine can run, and what to install for the rest.

    --json prints an object with machine (python, processor, bf16, gpu, libraries, executors, storage, cache, hub), backends
    (backend, engine, runs, needs, extra) and tasks (task, runs, needs, extra).
    """
    from harness.core.cache_folder import cache_dir
    from harness.core.errors import install_command
    from harness.models.cache import contents

    known = catalog()
    hub = _hub()
    machine = {**_machine(), "hub": hub or "can be reached"}
    backends = [_row("backend", name, lambda name: _backend(known.backend(name), hub)) for name in known.names("backend")]
    tasks = [_row("task", name, lambda name: _task(known.task(name), hub)) for name in known.names("task")]
    if as_json:
        print_json({"machine": machine, "backends": backends, "tasks": tasks})
        return
    for key, value in machine.items():
        more = f" ({size(sum(item.size for item in contents(cache_dir())))}; see `bench cache`)" if key == "cache" else ""
        typer.echo(plain(f"{key}: {value}{more}"))
    for rows in (backends, tasks):
        typer.echo("")
        names = [name for name in rows[0] if name != "extra"]
        columns = ["runs here" if name == "runs" else name for name in names]
        cells = [[{True: "yes", False: "no"}.get(row[name], str(row[name])) for name in names] for row in rows]
        print_table(columns, cells, text=["needs"], optional=["engine"])
    extras = sorted({row["extra"] for row in (*backends, *tasks)} - {None} | set(filter(_missing, BEYOND)))
    if extras:
        typer.echo("\nTo install an extra:")
    for extra in extras:
        typer.echo(plain(f"  {extra}: {install_command(extra)}"))


def _hub() -> str:
    """Why the hub can't be used; empty where it can."""
    if importlib.util.find_spec("huggingface_hub") is None:
        return "can't be used: huggingface_hub is not installed"
    import threading

    import huggingface_hub
    from huggingface_hub.constants import ENDPOINT

    if huggingface_hub.is_offline_mode():
        return "not used: HF_HUB_OFFLINE is set"
    answers: list[int] = []

    def ask() -> None:
        try:
            answers.append(huggingface_hub.get_session().head(ENDPOINT, timeout=HUB_SECONDS).status_code)
        except Exception:  # the HTTP library's own; which library it is depends on the version
            return

    asking = threading.Thread(target=ask, daemon=True)  # the name server has no timeout: it must not hold up the exit
    asking.start()
    asking.join(HUB_SECONDS)
    return "" if answers else "can't be reached"


def _machine() -> dict[str, str]:
    from harness.core.cache_folder import cache_dir
    from harness.core.machine import describe_machine, library_versions

    trouble = ""
    if importlib.util.find_spec("torch"):
        try:
            import torch  # noqa: F401 - without it nobody can say whether a GPU is usable
        except Exception as error:  # a half-installed torch fails in many ways, and that is what a doctor is asked about
            trouble = f" (torch can't be imported: {error})"
    described = describe_machine()
    versions = library_versions()
    return {
        "python": platform.python_version(),
        "processor": f"{described.cpu}, {described.cores} cores, {described.memory_gib} GiB",
        "bf16": _bf16(),
        "gpu": described.gpu or f"none that torch can use{trouble}",
        "libraries": ", ".join(f"{name} {number}" for name, number in versions.items() if name != "python"),
        "executors": _executors(),
        "storage": _storage(),
        "cache": str(cache_dir()),
    }


def _executors() -> str:
    """Who can carry out runs from this machine."""
    import shutil

    ray, slurm = _missing("ray"), _missing("slurm")
    if not slurm and shutil.which("sbatch") is None:
        slurm = 'no sbatch here: only cluster = "local"'
    return ", ".join(["local", f"ray ({ray})" if ray else "ray", f"slurm ({slurm})" if slurm else "slurm"])


def _storage() -> str:
    """Which URLs --results can name."""
    s3 = _missing("s3")
    return ", ".join(["folders", f"s3:// ({s3})" if s3 else "s3://", "others: docs/records.md"])


def _missing(extra: str) -> str:
    return "" if importlib.util.find_spec(BEYOND[extra]) else f"needs the extra {extra}"


def _bf16() -> str:
    """Whether the processor computes in bfloat16, and so what the precision `auto` is on it."""
    from harness.core.machine import bf16_instructions

    if "torch" not in sys.modules:
        return "not known without torch"
    found = bf16_instructions()
    if found:
        return f"the processor has {found}: `auto` is bfloat16 on it"
    return "the processor has no instructions for it that torch uses: `auto` is float32 on it"


def _row(kind: str, name: str, diagnose: Any) -> dict[str, Any]:
    """A backend or task whose file is faulty, or whose library is missing, is a finding and no reason to stop."""
    from harness.core.errors import BenchError

    try:
        return {kind: name, **diagnose(name)}
    except BenchError as error:
        engine = {"engine": "-"} if kind == "backend" else {}
        return {kind: name, **engine, "runs": False, "needs": " ".join(str(error).split()), "extra": None}


def _backend(spec: BackendSpec, hub: str) -> dict[str, Any]:
    from harness.models.checkpoints import PACKAGED_PREFIX
    from harness.specs.backend_specs import engine_class, validated_options

    engine = engine_class(spec.engine)
    wanted = [*engine.libraries, *(["bitsandbytes"] if spec.options.get("quantization") == "nf4" else [])]
    missing = [library for library in wanted if importlib.util.find_spec(library) is None]
    if missing:
        return {"engine": spec.engine, "runs": False, "needs": _libraries(missing, engine.extra), "extra": engine.extra}
    if engine.model_is == "nothing":
        runs, needs = True, "nothing"
    elif engine.model_is == "name":
        runs, needs = _server(validated_options(spec))
    elif spec.model is None:
        runs, needs = False, "--model PATH, as it names no model"
    elif spec.model.startswith(PACKAGED_PREFIX):
        runs, needs = True, _packaged(spec.model.removeprefix(PACKAGED_PREFIX))
    else:
        runs, needs = _hub_model(spec, hub)
    return {"engine": spec.engine, "runs": runs, "needs": needs, "extra": None}


def _libraries(missing: list[str], extra: str) -> str:
    return f"{', '.join(missing)} (extra {extra})"


def _server(options: Any) -> tuple[bool, str]:
    """Whether there is a key for it; the server itself is not asked."""
    # As records hold it: a path may be a secret.
    key, address = options.api_key_env, options.model_dump().get("base_url")
    if key is None:
        return True, f"a server at {address}"
    there = bool(os.environ.get(key))
    return there, f"{address}, with the key in ${key}" + ("" if there else " (not set)")


def _packaged(name: str) -> str:
    from harness.core.cache_folder import cache_dir
    from harness.models.packaged import packaged_model

    folder = cache_dir() / "models" / f"{name}-{packaged_model(name).revision[:8]}"
    return AT_HAND if folder.is_dir() else f"packaged:{name} from the package index, once"


def _hub_model(spec: BackendSpec, hub: str) -> tuple[bool, str]:
    """Whether the weights can be had, without fetching any."""
    from pathlib import Path

    assert spec.model is not None
    path = Path(spec.model).expanduser()
    if spec.model.startswith((".", "/", "~")) or path.is_dir():
        return path.is_dir(), AT_HAND if path.is_dir() else f"the folder {path}, which does not exist"
    if importlib.util.find_spec("huggingface_hub") is not None:
        from huggingface_hub import try_to_load_from_cache

        name, _, revision = spec.model.partition("@")
        if isinstance(try_to_load_from_cache(name, "config.json", revision=revision or spec.revision), str):
            return True, AT_HAND
    return not hub, f"{spec.model} {ONCE if not hub else f'(the hub {hub})'}; or --model PATH"


def _task(spec: TaskSpec, hub: str) -> dict[str, Any]:
    if spec.source.hub is None:
        files = spec.source.files
        named = [files.folder, files.all, files.train, files.validation, files.test] if files else []
        paths = [spec.folder / files.in_language(path, spec.languages[0]) for path in named if path and files]
        missing = [str(path) for path in paths if not path.exists()]
        needs = f"{', '.join(missing)}; or --data DIR" if missing else "nothing"
        return {"runs": not missing, "needs": needs, "extra": None}
    if importlib.util.find_spec("datasets") is None:
        return {"runs": False, "needs": f"{_libraries(['datasets'], 'data')}; or --data DIR", "extra": "data"}
    needs = f"{spec.source.hub.id} {ONCE if not hub else f'(the hub {hub})'}; or --data DIR"
    return {"runs": not hub, "needs": needs, "extra": None}
