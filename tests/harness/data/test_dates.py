"""Dates of rows and models: what may be written, and what follows from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.errors import SpecError
from harness.core.record import Dates
from harness.data.dates import dates_of
from harness.specs.backend_specs import BackendSpec, load_backend
from harness.specs.tasks import TaskSpec, load_task

TASK = """\
description: d
source: {bundled: reviews_demo}
labels: {kind: nominal, names: [a, b]}
languages: [en]
"""


def task(folder: Path, published: str = "") -> TaskSpec:
    (folder / "task.yaml").write_text(TASK + (f"published: {published}\n" if published else ""))
    return load_task(folder / "task.yaml")


def backend(folder: Path, cutoff: str = "") -> BackendSpec:
    (folder / "model.yaml").write_text("engine: openai\nmodel: m\n" + (f"training_cutoff: {cutoff}\n" if cutoff else ""))
    return load_backend(folder / "model.yaml")


@pytest.mark.parametrize("text", ["2020", "'2020'", "2020-10", "2020-10-06", "'2020-10-06'"])
def test_a_year_a_month_or_a_day(tmp_path: Path, text: str) -> None:
    assert task(tmp_path, text).published == text.strip("'")
    assert backend(tmp_path, text).training_cutoff == text.strip("'")


@pytest.mark.parametrize(
    "text", ["20", "2020-13", "'2020-02-30'", "October 2020", "true", "20.5", "2020-1", "'0000'", "[2020]"]
)
def test_no_date(tmp_path: Path, text: str) -> None:
    with pytest.raises(SpecError, match=r"task\.yaml:5: 'published'"):
        task(tmp_path, text)
    with pytest.raises(SpecError, match=r"model\.yaml:3: 'training_cutoff'"):
        backend(tmp_path, text)


@pytest.mark.parametrize(
    ("published", "cutoff", "may"),
    [
        ("2020-10", "2024-06", True),
        ("2020-10", "2018", False),
        ("2020-10", "2020", True),  # the model's may be December
        ("2020", "2020-01", True),
        ("2020-10", "2020-10", True),
        ("2020-10-06", "2020-10-05", False),
        ("2020-10-06", "2020-10-06", True),
        ("2021", "2020-12-31", False),
    ],
)
def test_what_may_have_been_read(tmp_path: Path, published: str, cutoff: str, may: bool) -> None:
    assert dates_of(task(tmp_path, published).published, backend(tmp_path, cutoff).training_cutoff) == Dates(
        published=published, training_cutoff=cutoff, may_have_read=may
    )


def test_where_a_date_is_not_known_nothing_is_said(tmp_path: Path) -> None:
    assert dates_of(task(tmp_path).published, "2024") is None
    assert dates_of("2020", backend(tmp_path).training_cutoff) is None
