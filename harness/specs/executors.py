"""Settings of the engines that carry out runs elsewhere: tables of bench.toml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from harness.specs.yamlspec import Spec


class NeedSpec(Spec):
    """What each run of a backend needs, in place of what its engine says."""

    gpus: float | None = Field(default=None, ge=0, allow_inf_nan=False, description="GPUs; a fraction shares one: 0.25")
    cpus: float | None = Field(default=None, gt=0, allow_inf_nan=False, description="CPU cores")
    memory_gib: float | None = Field(default=None, gt=0, allow_inf_nan=False, description="memory in GiB")


Needs = Mapping[str, NeedSpec]
"""By backend."""


class RaySettings(Spec):
    """For `--executor ray`."""

    address: str | None = Field(default=None, description="of the cluster: `auto` or HOST:PORT; default: a local one")
    runtime_env: dict[str, Any] = Field(default={}, description="Ray's runtime environment: packages, image, variables")


class SlurmSettings(Spec):
    """For `--executor slurm`."""

    cluster: Literal["slurm", "local"] = Field(
        default="slurm", description="`local` starts the workers as processes of this machine, without SLURM: to try it"
    )
    partition: str | None = Field(default=None, description="partition")
    account: str | None = Field(default=None, description="account that is charged")
    time: str | None = Field(
        default=None,
        description="time limit of a worker: minutes, or H:MM:SS; default: 4:00:00. A worker that reaches it is queued again",
    )
    gpus: int | None = Field(default=None, ge=0, description="GPUs of a worker; default: what its runs need")
    cpus: int | None = Field(default=None, ge=1, description="CPU cores of a worker; default: what its runs need")
    memory_gib: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="memory of a worker in GiB; default: what its runs need"
    )
    setup: list[str] = Field(
        default=[], description="shell commands before a worker starts: module load ..., source .venv/bin/activate"
    )
    parameters: dict[str, Any] = Field(
        default={}, description="other options of sbatch by their names: qos, constraint, nodelist, ..."
    )


class ExecutorTables(Spec):
    """The tables of bench.toml that no option sets."""

    ray: RaySettings = Field(default=RaySettings(), description="of `--executor ray`")
    slurm: SlurmSettings = Field(default=SlurmSettings(), description="of `--executor slurm`")
    needs: dict[str, NeedSpec] = Field(default={}, description="what each run of a backend needs, by backend")
