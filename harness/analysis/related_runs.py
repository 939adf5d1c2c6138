"""The run of the same model on validation rows: what may be tuned (a temperature, a threshold) is tuned there.

And the commands that make what a record lacks: that run, or its latency.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from harness.records.entries import read_entry, read_intact
from harness.records.store import Store


def matching_validation_run(store: Store, run_id: str) -> str | None:
    """The finished run of the same model, seed and prompt on validation rows; of several that with the most rows."""
    wanted = _model(store.manifest(run_id))
    slug = run_id.rpartition(".")[0]  # ids of twins differ in their digits alone; a thousand records need no reading
    twins = []
    for name in store.ids():
        if name.rpartition(".")[0] == slug and name != run_id:
            manifests = read_intact([store.root / name], lambda path: read_entry(store, path.name).manifest)
            twins += [
                (manifest["n"], name)
                for manifest in manifests
                if manifest["identity"]["split"] == "validation" and _model(manifest) == wanted
            ]
    return max(twins, default=(0, None))[1]


def _model(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The identity without its rows, and without the validation rows that an engine was offered and did not look at."""
    identity = {key: value for key, value in manifest["identity"].items() if key not in ("split", "rows")}
    # Of an imported run this names the file, which is another one for other rows.
    identity["backend"] = {key: value for key, value in identity["backend"].items() if key != "samples_sha256"}
    train = identity["train"]
    if train is not None and "validation_rows" not in (manifest["training"] or {}):
        identity["train"] = {key: value for key, value in train.items() if not key.startswith("validation")}
    return identity


def is_outdated(manifest: Mapping[str, Any]) -> bool:
    """Whether an earlier version of bench made the record, so that no new run can be its twin (nor a new speed record its own):
    another version is recorded, other options of the engine than it has today, or thresholds tuned by another rule."""
    from harness.core.record import RESULT_VERSION, TRAINING_VERSION

    identity = manifest["identity"]
    train = identity["train"]
    trained_before = train is not None and train.get("version") != TRAINING_VERSION
    return bool(
        identity["version"] != RESULT_VERSION
        or trained_before
        or _has_other_options(identity["backend"])
        or _tuned_by_another_rule(manifest)
    )


def _tuned_by_another_rule(manifest: Mapping[str, Any]) -> bool:
    from harness.running.thresholds import DEFAULT, RULE

    identity, thresholds = manifest["identity"], (manifest.get("training") or {}).get("thresholds") or []
    given = identity["backend"].get("options", {}).get("threshold")
    return bool(thresholds) and given is None and set(thresholds) != {DEFAULT} and identity["train"].get("thresholds") != RULE


def _has_other_options(backend: Mapping[str, Any]) -> bool:
    from harness.core.errors import UserError
    from harness.specs.backend_specs import engine_class

    try:
        known = engine_class(backend["engine"]).Options.model_fields
    except UserError:  # not installed here: nothing is known of it
        return False
    return set(backend["options"]) != set(known)


def chose_checkpoint(manifest: Mapping[str, Any]) -> bool:
    """Whether validation rows in this run's language took part in choosing the checkpoint of its model."""
    train, training = manifest["identity"]["train"], manifest["training"] or {}
    if train is None or not training.get("best") or not training.get("validation_rows"):
        return False
    return manifest["identity"]["lang"] in train.get("validation_langs", train["langs"])


def validation_command(manifest: Mapping[str, Any]) -> str:
    """The command that makes the validation twin, from all that the record tells; for an outdated record two commands, the
    first of which makes the run itself anew.

    It can't tell of `--data`, of a folder that `--model` named, and of what `--continue-from` named.
    """
    if "imported" in manifest:
        identity, told = manifest["identity"], manifest["imported"]
        asked = {"task": identity["task"], "lang": identity["lang"], "backend": identity["backend"]["name"]}
        words = [f"--{key} {shlex.quote(value)}" for key, value in {**asked, "filter": told["filter"]}.items()]
        return f"bench results import lm-eval FILE {' '.join(words)} --split validation"
    command = f"bench run {run_options(manifest)}{own_model(manifest)}"
    return f"{_anew(manifest)}{command} --split validation"


def speed_command(manifest: Mapping[str, Any], limit: int | None = None) -> str:
    """The command that measures the latency of what the run did, of at most `limit` texts; as `validation_command`."""
    of_texts = "" if limit is None else f" --limit {limit}"
    return f"{_anew(manifest)}bench analyze latency {run_options(manifest, for_speed=True)}{own_model(manifest)}{of_texts}"


def _anew(manifest: Mapping[str, Any]) -> str:
    return f"{run_command(manifest)} && " if is_outdated(manifest) else ""


def run_command(manifest: Mapping[str, Any]) -> str:
    """The command that makes the run, as far as the record tells; PATH and DIR stand for places on somebody's machine."""
    identity, limit = manifest["identity"], manifest.get("limit")
    given = (manifest.get("rows_from") or {}).get("source") == "data"
    parts = [
        f"bench run {run_options(manifest)}{own_model(manifest)}",
        *(["--continue-from RUN"] if "continued_from" in (identity["train"] or {}) else []),
        *(["--data DIR"] if given else []),
        *([] if identity["split"] == "test" else [f"--split {identity['split']}"]),
        *([] if limit is None else [f"--limit {limit}"]),
    ]
    return " ".join(parts)


def own_model(manifest: Mapping[str, Any]) -> str:
    """` --model NAME` for a run that was given one; PATH stands for a folder."""
    return f" --model {model_argument(manifest['identity']['backend'])}" if manifest.get("model_given") else ""


def model_argument(backend: Mapping[str, Any]) -> str:
    model, revision = str(backend["model"]), backend.get("revision") or ""
    named = f"{model.partition('@')[0]}@{revision}" if len(revision) == 40 else model
    # A folder has a revision, too, the digest of its files, but its path is not told. A server's model has none.
    return shlex.quote(named) if not revision or "/" in named or ":" in named else "PATH"


def run_options(manifest: Mapping[str, Any], *, for_speed: bool = False) -> str:
    """What a calibration or a decision makes of the scores takes no time, so `bench analyze latency` has no such options."""
    identity = manifest["identity"]
    options: list[tuple[str, Any]] = [(key, identity[key]) for key in ("task", "lang")]
    options += [("backend", identity["backend"]["name"])]
    prompt, train = identity["prompt"], identity["train"]
    if prompt is not None:
        options += [("prompt", prompt["name"]), ("decoding", prompt["decoding"])]
        options += [(key, prompt[key]) for key in ("calibration", "decision") if key in prompt and not for_speed]
    if train is not None:
        options += _training_options(train, manifest["training"] or {}, identity["lang"])
        options += [("decision", identity["decision"])] if "decision" in identity and not for_speed else []
    options += [("set", f"{key}={_plain(value)}") for key, value in (manifest.get("settings") or {}).items()]
    options += [("seed", identity["seed"])] if identity["seed"] else []
    words = [f"--{key} {shlex.quote(str(value))}" for key, value in options]
    return " ".join([*words, *(["--draw"] if train is not None and train.get("drawn") else [])])


def _training_options(train: Mapping[str, Any], training: Mapping[str, Any], lang: str) -> list[tuple[str, Any]]:
    """A limit is per language; where it was none, naming the number of rows there are means the same."""
    langs = train["langs"]
    validated = train.get("validation_langs", langs)
    options: list[tuple[str, Any]] = [("train-lang", ",".join(langs))] if langs != [lang] else []
    options += [("validation-lang", ",".join(validated))] if validated != langs else []
    if train["train_count"] % len(langs) == 0:
        options.append(("train-limit", train["train_count"] // len(langs)))
    rows = training.get("validation_rows")
    if rows is not None and rows % len(validated) == 0:
        options.append(("validation-limit", rows // len(validated)))
    return options


def _plain(value: Any) -> str:
    """As YAML reads it again."""
    import json

    return value if isinstance(value, str) else json.dumps(value)
