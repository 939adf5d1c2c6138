"""The JSON schemas: every file that comes with bench fits its own, a wrong one does not, and schemas/ is not stale."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from harness.records.store import Store
from harness.specs.schemas import FORMS, Form, schema_of, schema_text, undescribed

ROOT = Path(__file__).resolve().parents[3]
FILES: dict[Form, str] = {
    "task": "tasks/*.yaml",
    "backend": "backends/*.yaml",
    "recipe": "recipes/*.yaml",
    "reported": "results/reported/*.yaml",
    "prices": "harness/specs/prices.yaml",
    "prompt": "prompts/*.j2",
}
EVERY = [(form, path) for form, pattern in FILES.items() for path in sorted(ROOT.glob(pattern))]


def as_json(value: Any) -> Any:
    """As an editor sees it: keys are words, a day is the text that stands there."""
    if isinstance(value, dict):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_json(item) for item in value]
    return value.isoformat() if isinstance(value, datetime.date) else value


def read(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    return as_json(yaml.safe_load(text.split("---\n")[1] if path.suffix == ".j2" else text))


def validator(form: Form) -> jsonschema.Draft7Validator:
    schema = schema_of(form)
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


@pytest.mark.parametrize(("form", "path"), EVERY, ids=[f"{form}-{path.stem}" for form, path in EVERY])
def test_every_built_in_fits(form: Form, path: Path) -> None:
    assert [error.message for error in validator(form).iter_errors(read(path))] == []


def test_all_yaml_forms_have_files_to_test_them() -> None:
    assert {form for form, _ in EVERY} == set(FORMS) - {"bench", "options", "record"}


@pytest.mark.slow
def test_records_and_their_options_fit() -> None:
    store = Store(ROOT / "results" / "runs")
    for name in store.ids()[::7]:
        record = store.record(name)
        whole = {**record.manifest(), "metrics": record.metrics.as_json()}
        assert [error.message for error in validator("record").iter_errors(whole)] == []
        assert validator("options").is_valid(record.options.model_dump(mode="json"))
    assert not validator("options").is_valid({"backend": "b", "seed": -1})


def test_a_project_file_fits() -> None:
    assert validator("bench").is_valid({"lang": ["en", "ja"], "seed": 1, "set": {"train.lr": 1e-5}, "quiet": True})
    assert not validator("bench").is_valid({"language": "en"})


@pytest.mark.parametrize("form", FILES)
def test_a_wrong_key_and_a_missing_one_are_refused(form: Form) -> None:
    good = next(read(path) for name, path in EVERY if name == form)
    checker = validator(form)
    assert not checker.is_valid({**good, "lables": 1})
    for key in schema_of(form).get("required", []):
        assert not checker.is_valid({name: value for name, value in good.items() if name != key}), key


def test_what_is_inside_is_checked_too() -> None:
    task = {
        "description": "d",
        "source": {"files": {"all": "a.csv"}},
        "labels": {"kind": "ordinal", "names": ["a", "b"]},
        "languages": ["en"],
        "published": 2020,
    }
    assert validator("task").is_valid(task)
    assert not validator("task").is_valid({**task, "labels": {"kind": "ordinary"}})
    assert not validator("task").is_valid({**task, "name": "x"})  # told by the file's name
    backend = {"engine": "encoder", "model": "packaged:minilm", "options": {"train": {"lr": 0.1}}}
    assert validator("backend").is_valid(backend)
    assert not validator("backend").is_valid({**backend, "options": {"train": {"rl": 0.1}}})
    assert validator("backend").is_valid({**backend, "engine": "of a plugin", "options": {"rl": 1}})
    prompt = {"description": "d", "parser": "integer"}
    assert validator("prompt").is_valid(prompt)
    assert not validator("prompt").is_valid({**prompt, "parser": "number"})
    assert validator("recipe").is_valid(
        {"description": "d", "runs": [{"name": "a", "task": "t", "backend": ["b"], "seed": [1, 2]}]}
    )


@pytest.mark.parametrize("form", FORMS)
def test_the_files_in_the_repository_are_not_stale(form: Form) -> None:
    assert (ROOT / "schemas" / f"{form}.json").read_text(encoding="utf-8") == schema_text(form), "bench schema writes them"


@pytest.mark.parametrize("form", [form for form in FORMS if form != "record"])
def test_what_a_user_writes_is_described(form: Form) -> None:
    assert undescribed(form) == []
