"""The data of the page: all of the records that it shows, as they are, and the same bytes each time."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import boards
import pytest
from boards import NAMES, SCORE, TRAIN, prompt, record

from harness.analysis.pricing import cost_of, missing_price
from harness.core.errors import DamagedRecord
from harness.core.plain import plain
from harness.core.types import LabelKind
from harness.records import predictions
from harness.records.entries import read_entries, read_entry
from harness.records.latency import LatencyRecord, write_latency
from harness.records.store import Store
from harness.reports.page import answers, details, html
from harness.reports.page.budget import WHOLE, Budget
from harness.reports.page.data import PREDICTIONS, UNKNOWN_COST, payload
from harness.reports.tables import read_tables
from harness.specs.prices import Prices, load_prices
from harness.specs.reported import Figure, Reported

TRUTH = [0, 1, 2, 0, 1, 2, 0, 1, 2, 0] * 3
GOOD = [0, 1, 2, 0, 1, 2, 0, 1, 0, None] * 3
BAD = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1] * 3
MACHINE = {"cores": 2, "cpu": "Made-Up 9000", "gpu": None}
BACKEND = {"name": "enc", "engine": "encoder", "model": "org/enc", "device": "cpu", "options": {"max_length": 64}}
MANIFEST: dict[str, Any] = {
    "n": 30,
    "machine": MACHINE,
    "tokens": {"prompt": 0, "new": 0},
    "timing": {"rows_per_second": 10.0, "seconds": 3.0, "load_average": 2.5},
    "training": {"seconds": 360.0, "train_rows": 9, "validation_rows": 4},
    "finished": "2026-01-01T00:00:00+00:00",
    "settings": {"max_length": 64},
}
PRICES = 'hardware: {desk: {cpu: "9000", usd_per_core_hour: 0.05, date: 2026-01-02, source: my invoice}}\n'
HOSTILE = ["<script>alert(1)</script>", "a|b", '"quoted"', "</script>", "{{ 7*7 }}", "$x$", "日本語", "\u202eשלום", "__proto__"]


@pytest.fixture
def prices(tmp_path: Path) -> Prices:
    (tmp_path / "prices.yaml").write_text(PRICES)
    return load_prices(tmp_path)


def shown(
    store: Store, prices: Prices | None = None, reported: Sequence[Reported] = (), budget: Budget = WHOLE
) -> dict[str, Any]:
    """The payload, through strict JSON."""
    tables = read_tables(store, read_entries(store))
    found = payload(store, store.root.parent, tables, prices or load_prices(store.root), reported, budget=budget)
    back: dict[str, Any] = json.loads(json.dumps(found.dump(), allow_nan=False))
    return back


def encoder(store: Store, backend: Mapping[str, Any] = BACKEND, manifest: Mapping[str, Any] = MANIFEST) -> str:
    """A trained run whose record says all that records say of a backend."""
    name = record(store, str(backend["name"]), GOOD, TRUTH, manifest=manifest)
    written = store.manifest(name)
    boards.write_json(store.root / name / "run.json", {**written, "identity": {**written["identity"], "backend": backend}})
    return name


def test_truncated_texts_are_shown_from_1_percent_on(store: Store) -> None:
    few = {"texts": 0, "share": 0.005, "tokens_lost_share": 0.001}
    encoder(store, manifest={**MANIFEST, "cut": few})
    assert "truncated" not in only(shown(store))
    encoder(store, {**BACKEND, "name": "short"}, {**MANIFEST, "cut": {"texts": 6, "share": 0.2, "tokens_lost_share": 0.05}})
    ((one, other),) = (table["places"] for table in shown(store)["tables"])
    assert {one["truncated"], other["truncated"]} == {0.2, 0.005}
    assert {one["notes"]["truncated"], other["notes"]["truncated"]} == {
        "5.0% of all tokens are lost",
        "0.1% of all tokens are lost",
    }


def only(found: Mapping[str, Any]) -> dict[str, Any]:
    """The place of the only run."""
    ((place,),) = (table["places"] for table in found["tables"])
    return dict(place)


def test_nothing_yet(store: Store) -> None:
    found = shown(store)
    assert (found["tables"], found["runs"], found["rowsets"], found["matrices"], found["curves"]) == ([], {}, {}, [], [])


def test_places_that_would_read_alike_say_what_differs(store: Store) -> None:
    changes = {"revision": "1" * 40}, {"model": "a-model"}, {"model": "a-model-of-another-day"}
    for number, change in enumerate(changes):
        name = encoder(store, {**BACKEND, **change})
        (store.root / name).rename(store.root / f"{name}{number}")
    names = [(place["backend"], place["how"].split(", ")[-1]) for place in shown(store)["tables"][0]["places"]]
    assert len(set(names)) == 3, names


def test_a_run_is_shown_as_it_is(store: Store) -> None:
    name = encoder(store)
    metrics = store.metrics(name)
    found = shown(store)
    (table,), place, run = found["tables"], only(found), found["runs"][name]
    assert {key: table[key] for key in ("task", "lang", "n", "multilabel", "metric", "size")} == {
        "task": "toy",
        "lang": "en",
        "n": 30,
        "multilabel": False,
        "metric": "accuracy",
        "size": "30 rows",
    }
    assert (table["labels"], table["headline"], table["few"]) == (list(NAMES), metrics["headline"], "only 30 rows")
    assert table["outdated"] is False
    assert set(place["values"]) == set(metrics["values"])
    for metric, value in metrics["values"].items():
        assert place["values"][metric] == pytest.approx([value[key] for key in ("value", "low", "high")], rel=1e-5)
    assert (place["unparsed"], place.get("failed"), place["rate"], place["labelled"]) == (0.1, None, 10.0, 13)
    assert (place["made"], place["engine"], place["train_count"], place["train_langs"]) == ("trained", "encoder", 9, "en")
    assert (place["machine"], place["load"], place["busy"]) == ("Made-Up 9000, 2 cores", 2.5, True)
    assert place["finished"] == "2026-01-01"
    facts = dict(place["facts"])
    assert (facts["model"], facts["validation languages"], facts["rows/s"]) == ("org/enc", "en", "10.0†")
    assert facts["finished"] == "2026-01-01T00:00:00+00:00"
    assert not {"prompt", "decoding", "few-shot examples"} & set(facts)
    assert (run["settings"], run["confusion"]) == ([["max_length", "64"]], metrics["confusion"])
    assert run["per_class"][0] == ["bad", 0.75, 0.75, 0.75, 12]
    assert (store.root.parent / run["record"]).is_file()


def test_a_run_says_what_its_weights_are(store: Store) -> None:
    checkpoint = {"parameters": 22_713_216, "stored": "bfloat16", "base": "org/enc"}
    encoder(store, {**BACKEND, "dtype": "float32"}, {**MANIFEST, "checkpoint": checkpoint})
    place = only(shown(store))
    facts = dict(place["facts"])
    assert place["weights"] == "23M, bf16 → fp32"
    assert [facts[name] for name in ("base model", "weights stored in", "weights used in")] == [
        "org/enc",
        "bfloat16",
        "float32",
    ]


def test_a_prompted_run_says_how_it_was_asked(store: Store) -> None:
    asked = prompt("fewshot", ["a", "b"], variant="ja", decoding="free", calibration="batch")
    record(store, "llm", GOOD, TRUTH, prompt=asked, manifest={**MANIFEST, "training": None})
    place = only(shown(store))
    facts = dict(place["facts"])
    assert (place["made"], place.get("train_count"), place.get("train_langs"), place["labelled"]) == ("prompted", None, None, 2)
    assert (facts["prompt"], facts["decoding"], facts["few-shot examples"]) == ("fewshot.ja", "free", "2")


def test_seeds_share_a_place_and_each_has_its_answers(store: Store) -> None:
    names = [
        record(store, "enc", [*TRUTH[:right], *(2 - t if t != 1 else 0 for t in TRUTH[right:])], TRUTH, seed=seed)
        for seed, right in enumerate((24, 12, 18))
    ]
    found = shown(store)
    place = only(found)
    assert (place["runs"], place["seeds"], place["run"]) == (names, [0, 1, 2], names[2])
    assert place["over_seeds"] == [0.4, 0.6, 0.8]
    assert place["by_seed"]["accuracy"] == [0.8, 0.4, 0.6]
    assert place["values"]["accuracy"][0] == 0.6
    assert sorted(found["runs"]) == sorted(names)
    assert len({run["answers"] for run in found["runs"].values()}) == 3
    record(store, "other", BAD, TRUTH)
    assert ["over_seeds" not in place for place in shown(store)["tables"][0]["places"]] == [False, True]


def test_ranks_are_those_of_the_table(store: Store) -> None:
    for backend, given in (("good", TRUTH), ("fair", GOOD[:10] + TRUTH[10:]), ("bad", BAD)):
        record(store, backend, given, TRUTH)
    places = shown(store)["tables"][0]["places"]
    assert [(place.get("rank"), place["tied"], place["backend"]) for place in places] == [
        (1, True, "good"),
        (1, True, "fair"),
        (None, False, "bad"),
    ]


def test_costs_are_those_of_bench_cost_in_its_words(store: Store, prices: Prices) -> None:
    name = encoder(store)
    place, cost = only(shown(store, prices)), cost_of(read_entry(store, name), prices, PREDICTIONS, 0)
    assert cost is not None
    assert place["notes"]["cost"] == cost.basis
    inference, training = 0.1 / 3600 * 0.1 * 1000, 0.1 / 10 / 1000  # 0.1 s a row; 360 s once, for 1,000 of a million rows
    assert place["cost"] == pytest.approx(inference + training, rel=1e-5)
    assert place["texts"]["cost"] == "$0.0028"
    assert dict(place["facts"])["cost per 1,000 rows"] == "$0.0028†: inference $0.0028, training $0.000010"


def test_the_front_is_of_quality_and_cost_or_speed(store: Store, prices: Prices) -> None:
    """Of all entries, and of each kind; what has no price is on no front of cost."""
    slow = {**MANIFEST, "timing": {**MANIFEST["timing"], "rows_per_second": 1.0, "seconds": 30.0}}
    encoder(store)
    encoder(store, {**BACKEND, "name": "slow"}, slow)
    record(store, "llm", TRUTH, TRUTH, prompt=prompt(), manifest={**MANIFEST, "training": None})
    (table,) = shown(store, prices)["tables"]
    numbers = {place["backend"]: str(number) for number, place in enumerate(table["places"])}
    cost, rate = table["panels"]
    assert (cost["axis"], rate["axis"], rate["machine"]) == ("cost", "rate", "Made-Up 9000, 2 cores")
    assert cost["fronts"]["accuracy"] == {"": {numbers["enc"]: "enc"}, "trained": {numbers["enc"]: "enc"}}
    assert rate["fronts"]["accuracy"] == {
        "": {numbers["llm"]: "llm"},
        "prompted": {numbers["llm"]: "llm"},
        "trained": {numbers["enc"]: "enc"},
    }


def test_a_missing_price_says_why(store: Store, prices: Prices) -> None:
    manifest = {**MANIFEST, "machine": {**MACHINE, "gpu": "Unheard-of GPU"}}
    name = encoder(store, {**BACKEND, "device": "cuda"}, manifest)
    place = only(shown(store, prices))
    assert ("cost" in place, place["texts"]) == (False, {})
    assert place["notes"]["cost"] == missing_price(store.record(name), prices)
    assert place["machine"] == "Unheard-of GPU"


def test_records_that_lack_what_later_ones_have(store: Store) -> None:
    record(store, "old", GOOD, TRUTH)  # no machine, tokens, training, settings or day
    found = shown(store)
    place, (run,) = only(found), found["runs"].values()
    assert not {"cost", "labelled", "load", "finished", "p95_ms", "weights"} & set(place)
    assert (place["notes"]["cost"], place["machine"], place["busy"]) == (UNKNOWN_COST, "unknown", False)
    assert not {"evaluations", "evaluations_of", "best_step", "bins"} & set(run), "there were no probabilities, for one"
    assert run["settings"] == []


def test_labels_of_a_continued_model_are_not_known(store: Store) -> None:
    """Its record holds those of the last training alone."""
    train = {**TRAIN, "continued_from": {"key": "k", "langs": ["fr"]}}
    record(store, "enc", GOOD, TRUTH, train=train, manifest=MANIFEST)
    place = only(shown(store))
    assert (place["train_count"], "labelled" in place) == (9, False)


def test_one_core_is_no_cores(store: Store) -> None:
    encoder(store, manifest={**MANIFEST, "machine": {**MACHINE, "cores": 1}})
    assert only(shown(store))["machine"] == "Made-Up 9000, 1 core"


def test_languages_side_by_side_are_those_of_the_markdown(store: Store) -> None:
    """One line for a model of each language; lines in the Markdown's order, whatever one word in a run's description says."""
    for lang in ("en", "fr"):
        for name, given in (("bad", BAD), ("good", TRUTH)):
            record(store, name, given, TRUTH, lang=lang, train={**TRAIN, "langs": [lang]}, rows=lang.ljust(64, "0"))
    record(store, "alone", GOOD, TRUTH, lang="de", split="validation")
    found = shown(store)
    (section,) = found["sections"]
    tables = {table["key"]: table for table in found["tables"]}
    assert [tables[key]["lang"] for key in section["tables"]] == ["en", "fr"]
    own = "trained on 9 of its own language"
    assert [(line["backend"], line["how"]) for line in section["lines"]] == [("good", own), ("bad", own)]
    first = [tables[key]["places"][0]["run"] for key in section["tables"]]
    assert section["lines"][0]["runs"] == first
    text = boards.board_text(read_tables(store, read_entries(store)))
    assert text.index("| good | trained on 9 of its own") < text.index("| bad | trained on 9 of its own")


@pytest.mark.slow
def test_no_key_is_there_that_no_script_reads(store: Store, many_kinds: None) -> None:
    scripts = "\n".join(path.read_text(encoding="utf-8") for path in html.PARTS.iterdir())
    found = shown(store)
    matrix, prompts = found["matrices"][0], found["tables"][0]["prompts"]
    shapes = [found, matrix, *found["tables"], *found["runs"].values(), *found["rowsets"].values(), *found["sections"]]
    shapes += [prompts, prompts["table"], *found["columns"], *(place for table in found["tables"] for place in table["places"])]
    shapes += [panel for table in found["tables"] for panel in table["panels"]]
    columns = {column["key"] for column in found["columns"]}  # a script reads these by their key
    keys = {key for shape in shapes for key in shape} - columns
    assert {key for key in keys if not re.search(rf"\b{key}\b", scripts)} == set()


@pytest.fixture
def many_kinds(store: Store) -> None:
    """Two languages, trained in one and the other, and two prompts."""
    for lang in ("en", "fr"):
        same: dict[str, Any] = {"lang": lang, "rows": lang.ljust(64, "0")}
        for on in ("en", "fr"):
            record(store, "enc", GOOD, TRUTH, train={**TRAIN, "langs": [on]}, **same)
        for name in ("strict", "chatty"):
            record(store, "llm", BAD, TRUTH, prompt=prompt(name), **same)


def test_calibration_bins(store: Store) -> None:
    name = record(store, "enc", BAD, TRUTH, probabilities=lambda i: (0.1, 0.7, 0.2))
    (found,) = store.metrics(name)["calibration_bins"]
    ((low, high, confidence, accuracy, count),) = shown(store)["runs"][name]["bins"]
    assert (low, high) == pytest.approx((found["low"], found["high"]), rel=1e-5)
    assert (confidence, accuracy, count) == (0.7, 0.3, 30)


def test_latency_is_what_was_measured_of_the_same_backend(store: Store) -> None:
    name = encoder(store)
    identity = store.manifest(name)["identity"]
    speed = {"identity": identity, "machine": {**MACHINE, "cpu": "Elsewhere"}, "threads": 1, "settings": {}, "n": 200}
    speed |= {"finished": "2026-01-01", "p50_ms": 1.5, "p95_ms": 2.25, "rows_per_second": 100.0}
    options = {**identity["backend"], "options": {"max_length": 512}}
    others = {"other.x": {"identity": {**identity, "lang": "fr"}}, "longer.x": {"identity": {**identity, "backend": options}}}
    for run_id, changes in {name: {}, **others}.items():
        write_latency(store.root.parent, run_id, LatencyRecord.model_validate({**speed, **changes}))
    place = only(shown(store))
    basis = "200 rows, one at a time, on Elsewhere, 2 cores"
    assert (place["p95_ms"], place["notes"]["p95_ms"]) == (2.25, basis)
    assert dict(place["facts"])["latency of one row"] == f"50% within 1.5 ms, 95% within 2.2 ms ({basis})"


def test_what_the_validation_rows_said(store: Store) -> None:
    said = [{"epoch": i / 10, "step": i, "loss": 1 / (1 + i), "accuracy": 0.5} for i in range(30)]
    training = {**MANIFEST["training"], "evaluations": said, "best": {"step": 8, "accuracy": 0.5}}
    name = record(store, "enc", GOOD, TRUTH, manifest={**MANIFEST, "training": training})
    run = shown(store)["runs"][name]
    assert [one["step"] for one in run["evaluations"]] == list(range(30))
    assert run["evaluations"][2] == {"epoch": 0.2, "step": 2, "loss": 0.333333, "accuracy": 0.5}
    assert ("evaluations_of" in run, run["best_step"]) == (False, 8)
    run = shown(store, budget=Budget(evaluations=10))["runs"][name]
    steps = [one["step"] for one in run["evaluations"]]
    assert (len(steps), steps[0], steps[-1], run["evaluations_of"]) == (11, 0, 29, 30)
    assert max(b - a for a, b in pairwise(steps)) <= 4
    assert 8 in steps, "what was kept"


def test_several_labels_a_row(store: Store) -> None:
    truth = [(0,), (0, 1), (), (2,)]
    name = record(store, "enc", [(0,), (0,), None, (1, 2)], truth, kind=LabelKind.MULTILABEL)
    record(store, "other", [(0,)] * 4, truth, kind=LabelKind.MULTILABEL)
    found = shown(store)
    (table,), run = found["tables"], found["runs"][name]
    assert (table["multilabel"], table["metric"], "answers" in run, found["rowsets"]) == (True, "micro_f1", False, {})
    # [[tn, fp], [fn, tp]]; the unread row has no label, so it counts as if all had been given
    assert run["confusion"] == [[[1, 1], [0, 2]], [[1, 2], [1, 0]], [[2, 1], [0, 1]]]


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(boards, "NAMES", tuple(f"label {i}" for i in range(63)))
    return 63


@pytest.mark.slow
def test_many_labels_show_their_most_frequent_mistakes(store: Store, many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = [i % many for i in range(4 * many)]
    given = [1 if i in (0, many, 2 * many) else None if i == 5 else 7 if i == 6 else t for i, t in enumerate(truth)]
    name = record(store, "enc", given, truth, kind=LabelKind.NOMINAL)
    record(store, "other", truth, truth, kind=LabelKind.NOMINAL)
    found = shown(store)
    run = found["runs"][name]
    assert ("confusion" in run, run["mistakes"], run["mistakes_left_out"]) == (False, [[0, 1, 3], [5, 63, 1], [6, 7, 1]], 0)
    assert ("answers" in run, found["rowsets"]) == (False, {}), "there are not as many letters"
    monkeypatch.setattr(details, "MISTAKES", 1)
    run = shown(store)["runs"][name]
    assert (run["mistakes"], run["mistakes_left_out"]) == ([[0, 1, 3]], 2)


def test_prompts_of_one_model(store: Store) -> None:
    wordings: dict[str, list[list[int | None]]] = {"strict": [GOOD], "chatty": [[*BAD], [*TRUTH]]}
    for name, runs in wordings.items():
        for seed, given in enumerate(runs):
            record(store, "llm", given, TRUTH, prompt=prompt(name, shots=["s"] * (len(runs) - 1)), seed=seed)
    (table,) = shown(store)["tables"]
    by_name = {one["prompt"]: one for one in table["prompts"]["rows"]}
    strict, chatty = by_name["strict"], by_name["chatty"]
    (middle,) = (place for place in table["places"] if place["how"].startswith("strict"))
    assert [strict["low"], strict["high"]] == middle["values"]["accuracy"][1:], "the interval of the only run"
    assert (strict["value"], strict["unparsed"], strict["seeds"]) == (0.8, 0.1, 1)
    assert (chatty["value"], chatty["low"], chatty["high"], chatty["seeds"]) == (0.65, 0.3, 1.0, 2)
    assert table["prompts"]["table"]["lines"][0][4:6] == ["0.650 – 0.650 – 0.800", "0.150"]


def test_reported_figures_keep_their_source(store: Store) -> None:
    figures = [Figure(model="m", task="toy", metric="accuracy", value=0.5, n=100, lang="en", note="careful")]
    (found,) = shown(store, reported=[Reported(name="paper", source="A. Uthor 2020", note="old", figures=figures)])["reported"]
    (line,) = found.pop("lines")
    assert found == {"name": "paper", "source": "A. Uthor 2020", "note": "old"}
    assert line == ["m", "toy", "en", "", "n = 100", "accuracy", "0.500 [0.398, 0.602]", "careful"]


@pytest.mark.slow
def test_names_of_any_kind_change_nothing_but_their_place(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "NAMES", tuple(HOSTILE[:3]))
    ids = [f"{HOSTILE[i % 9]}{i}" for i in range(30)]
    for name in HOSTILE:
        asked = {"prompt": {**SCORE, "name": name}} if name > "a" else {"train": {**TRAIN, "langs": [name]}}
        manifest = {**MANIFEST, "machine": {**MACHINE, "cpu": name}, "settings": {name: name}}
        record(store, name, GOOD, TRUTH, ids=ids, task=HOSTILE[0], lang=HOSTILE[7], manifest=manifest, **asked)
    found = shown(store)
    (table,) = found["tables"]
    shown_as = [plain(name) for name in HOSTILE]
    assert (table["task"], table["lang"], table["labels"]) == (shown_as[0], shown_as[7], shown_as[:3])
    assert sorted(place["backend"] for place in table["places"]) == sorted(shown_as)
    assert sorted(key for run in found["runs"].values() for key, _ in run["settings"]) == sorted(shown_as)
    assert found["rowsets"][table["key"]]["ids"] == [plain(name) for name in sorted(ids)]
    for run in found["runs"].values():
        assert re.fullmatch(r"runs/[\w.%-]+/run\.json", run["record"], re.ASCII), "a link that any browser reads alike"
        assert (store.root.parent / unquote(run["record"])).is_file()


def test_the_same_records_give_the_same_bytes_wherever_they_lie(store: Store, tmp_path: Path) -> None:
    for seed in range(2):
        record(store, "enc", GOOD, TRUTH, seed=seed, manifest=MANIFEST, probabilities=lambda i: (0.2, 0.3, 0.5))
    for name in ("strict", "chatty"):
        record(store, "llm", BAD, TRUTH, prompt=prompt(name))
    moved = tmp_path / "elsewhere" / "results"
    shutil.copytree(store.root.parent, moved)
    texts = [json.dumps(shown(Store(root))) for root in (store.root, moved / "runs")]
    assert texts[0] == texts[1]
    assert str(tmp_path) not in texts[0]


def test_every_prediction_file_is_read_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [record(store, backend, GOOD, TRUTH) for backend in ("a", "b")] + [record(store, "c", [0], [0])]
    tables = read_tables(store, read_entries(store))
    seen: list[Path] = []

    def counted(paths: Sequence[Path], schema: Any) -> Any:
        seen.extend(paths)
        return predictions.read_tables(paths, schema)

    monkeypatch.setattr(answers, "read_tables", counted)
    payload(store, store.root.parent, tables, load_prices(store.root))
    assert sorted(path.parent.name for path in seen) == sorted(names)


def test_a_damaged_record_is_named(store: Store) -> None:
    name = record(store, "enc", GOOD, TRUTH)
    metrics = store.metrics(name)
    del metrics["values"]["weighted_f1"]["low"]
    boards.write_json(store.root / name / "metrics.json", metrics)
    with pytest.raises(DamagedRecord, match=rf"{name}/metrics.json is damaged \(values.weighted_f1.low"):
        read_entry(store, name)
