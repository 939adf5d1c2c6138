"""How large models are: from the record, else of the packaged ones, and in words."""

from __future__ import annotations

from typing import Any

import pytest
from boards import entry, packaged, prompt, with_changes

from harness.records.entries import Entry
from harness.records.sizes import prompted_sizes, size, size_of


def made(
    model: str | dict[str, str] | None,
    parameters: int | None = None,
    *,
    prompted: bool = True,
    name: str = "llm",
    **changes: Any,
) -> Entry:
    asked = {"prompt": prompt(), "train": None} if prompted else {}
    named = model if isinstance(model, dict) else {"model": model}
    base = entry(name, backend={"name": name, "engine": "toy", **named}, **asked, **changes)
    return with_changes(base, checkpoint={"parameters": parameters})


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (134_515_008, "135M"),
        (117_653_760, "118M"),
        (22_713_216, "23M"),
        (7_241_732_096, "7.2B"),
        (9_960_000_000, "10B"),
        (999_400_000, "999M"),
        (999_999_999, "1.0B"),
        (1_500_000, "1.5M"),
        (30_000, "30K"),
        (950, "950"),
        (1_040_000_000_000, "1.0T"),
    ],
)
def test_words(count: int, said: str) -> None:
    assert size(count) == f"{said} parameters"


def test_the_record_tells_else_the_packaged_model() -> None:
    assert size_of(made(packaged("smollm2"), 5)) == "5 parameters"
    assert size_of(made(packaged("smollm2"))) == "135M parameters"
    assert size_of(made(packaged("e5-small"), prompted=False)) == "118M parameters"
    assert size_of(made(packaged("minilm"), prompted=False)) == "23M parameters"
    assert size_of(made("packaged:gone")) == size_of(made("gpt-4o")) == size_of(made(None)) == size_of(entry("old")) == ""


def test_what_a_reader_must_know_of_the_prompted_models() -> None:
    small, large, served = made(packaged("smollm2")), made("org/large", 7_240_000_000), made("gpt-4o")
    fine_tuned = made(packaged("e5-small"), prompted=False)
    assert prompted_sizes([fine_tuned]) == prompted_sizes([]) == ""
    assert prompted_sizes([fine_tuned, small]) == "The only prompted model has 135M parameters."
    quantised = made(packaged("smollm2"), name="llm-4bit")
    assert prompted_sizes([small, quantised, fine_tuned]) == "The only prompted model has 135M parameters.", "one model, twice"
    assert prompted_sizes([served]) == "The only prompted model, llm, is of unknown size."
    assert prompted_sizes([small, large]) == "The largest of the 2 prompted models has 7.2B parameters."
    assert prompted_sizes([served, made("gpt-5")]) == "The sizes of the 2 prompted models are unknown."
    assert prompted_sizes([small, large, served]) == (
        "Of the 3 prompted models the size of 1 is unknown; the largest of the others has 7.2B parameters."
    )
