"""What is remembered of torch, where it is wrong."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.core import torch_facts
from harness.core.cache_folder import cache_dir
from harness.core.errors import RunError
from harness.core.torch_facts import TorchFacts, check_facts

REMEMBERED, TRUE = (TorchFacts(gpu=gpu, gpu_bf16=gpu, cpu_bf16="") for gpu in (True, False))


@pytest.mark.parametrize("read_only", [False, True])
def test_remembered_facts_that_torch_denies_are_forgotten(read_only: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    file = cache_dir() / "known" / "torch-0.json"
    file.parent.mkdir(parents=True)
    file.write_text(REMEMBERED.model_dump_json())

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr(torch_facts, "asked", lambda torch: TRUE)
    monkeypatch.setattr(torch_facts, "_used", REMEMBERED)
    with monkeypatch.context() as patch:
        if read_only:
            patch.setattr(Path, "unlink", refuse)
        with pytest.raises(RunError):
            check_facts(SimpleNamespace())
    assert file.exists() == read_only
    check_facts(SimpleNamespace())  # told once
