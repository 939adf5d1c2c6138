"""What a record says of the machine: enough to judge a timing, nothing that names its owner."""

from __future__ import annotations

import getpass
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.core import machine


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch, as it looks on a machine with a GPU."""
    cuda = SimpleNamespace(
        is_available=lambda: True, get_device_name=lambda: "Imaginary 9000", max_memory_allocated=lambda: 3 * 2**20
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))


def test_the_machine_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    found = machine.describe_machine()
    assert found.system
    assert found.cpu
    assert found.cores is not None
    assert found.cores >= 1
    assert found.memory_gib is not None
    assert found.gpu is None
    memory = machine.peak_memory()
    assert memory.gpu is None
    assert 10 < (memory.host or 0) < 1024 * found.memory_gib


@pytest.mark.usefixtures("gpu")
def test_the_machine_with_a_gpu() -> None:
    assert machine.describe_machine().gpu == "Imaginary 9000"
    assert machine.peak_memory().gpu == 3


@pytest.mark.slow
def test_torch_is_not_loaded_for_a_description() -> None:
    code = (
        "import sys; from harness.core import machine as m;"
        "m.describe_machine(), m.peak_memory(), m.library_versions(), m.load_average();"
        "assert not {'torch', 'transformers', 'sklearn', 'pandas'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], timeout=60).returncode == 0


def test_nothing_names_the_owner() -> None:
    described = [machine.describe_machine().as_json(), machine.peak_memory().as_json()]
    said = json.dumps([*described, machine.library_versions(), machine.load_average()])
    names = [platform.node(), getpass.getuser(), str(Path.home()), str(Path.cwd())]
    assert not [name for name in names if len(name) > 2 and f'"{name}' in said]
    assert "/home" not in said


def test_versions_of_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "LIBRARIES", ("numpy", "no-such-library"))
    found = machine.library_versions()
    assert set(found) == {"python", "numpy"}
    assert found["python"] == platform.python_version()


def test_the_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (1.234, 2.0, 3.0))
    assert machine.load_average() == 1.23
    monkeypatch.delattr(os, "getloadavg")
    assert machine.load_average() is None


def test_the_processor_where_proc_does_not_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "exists", lambda self: False)
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert machine.describe_machine().cpu == "arm64"


def processor(monkeypatch: pytest.MonkeyPatch, one_dnn: bool = True, **capabilities: bool) -> None:
    """torch, as it describes a processor."""
    cpu = SimpleNamespace(get_capabilities=lambda: {"architecture": "x", **capabilities})
    backends = SimpleNamespace(mkldnn=SimpleNamespace(is_available=lambda: one_dnn))
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cpu=cpu, backends=backends))


def test_instructions_for_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = machine.bf16_instructions.__wrapped__  # type: ignore[attr-defined] # conftest.py replaces it
    processor(monkeypatch, avx512_f=True, avx512_bf16=True, amx_bf16=False)
    assert asked() == "avx512_bf16"
    processor(monkeypatch, avx512_bf16=True, amx_bf16=True)
    assert asked() == "amx_bf16"
    processor(monkeypatch, neon=True, bf16=True)
    assert asked() == "bf16"
    processor(monkeypatch, avx512_f=True, avx512_bf16=False)  # which oneDNN's own test calls supported
    assert asked() == ""
    processor(monkeypatch, one_dnn=False, bf16=True)
    assert asked() == ""
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cpu=SimpleNamespace()))  # an earlier version
    assert asked() == ""
    monkeypatch.setitem(sys.modules, "torch", None)  # not installed
    assert asked() == ""
