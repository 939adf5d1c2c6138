"""What the sanity gates of a run found, as its record holds it. The checks themselves: `harness.running.gates`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class GateOutcome(StrEnum):
    PASSED = "passed"
    WARNED = "warned"
    FAILED = "failed"  # in a finished record only where `--no-gate` was given


@dataclass(frozen=True, slots=True)
class Gate:
    """One check. `value`: the figure that it looked at, where there is one."""

    name: str
    outcome: GateOutcome
    message: str
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Cut:
    """Texts that a classifier did not read to their end. `share`: of all texts; `tokens_lost_share`: of all their tokens."""

    texts: int
    share: float
    tokens_lost_share: float


def read_gates(manifest: Mapping[str, Any]) -> list[Gate]:
    """None in records of earlier versions. Raises `TypeError`, `LookupError` or `ValueError` for what no version wrote."""
    return [
        Gate(found["name"], GateOutcome(found["outcome"]), found["message"], found["value"])
        for found in manifest.get("gates") or ()
    ]


def gate_lines(gates: Iterable[Any], *, has_finding: bool = False) -> list[str]:
    """What a reader must know; passed gates say nothing, and `one_label` nothing where the run has a finding, which says it."""
    words = {GateOutcome.WARNED: "warning", GateOutcome.FAILED: "failed gate, passed over by --no-gate"}
    told = [gate for gate in gates if gate.outcome in words and not (has_finding and gate.name == "one_label")]
    return [f"{words[gate.outcome]} ({gate.name}): {gate.message}" for gate in told]
