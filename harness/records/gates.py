"""What the sanity gates of a run found, as lines of text. The checks: `harness.running.gates`."""

from __future__ import annotations

from collections.abc import Iterable

from harness.core.record import Gate, GateOutcome

_WORDS = {GateOutcome.WARNED: "warning", GateOutcome.FAILED: "failed gate, passed over by --no-gate"}


def gate_lines(gates: Iterable[Gate], *, has_finding: bool = False) -> list[str]:
    """What a reader must know. Passed gates have no line, nor has `one_label` where the run has a finding, which says it."""
    reported = [gate for gate in gates if gate.outcome in _WORDS and not (has_finding and gate.name == "one_label")]
    return [f"{_WORDS[gate.outcome]} ({gate.name}): {gate.message}" for gate in reported]
