"""What predictions cost: prices from files, and arithmetic that a reader can repeat."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from chances import entry_of, trained_on
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.pricing import cost_of, labels_of, missing_price, tuning_labels
from harness.core.errors import SpecError, UnknownName
from harness.specs.backend_specs import BackendSpec
from harness.specs.costs import Price
from harness.specs.prices import FILE, HardwarePrice, Prices, load_prices

OWN = """\
hardware:
  desk: {cpu: EPYC, usd_per_core_hour: 0.01, date: 2026-01-02, source: my invoice}
  h100: {gpu: H100, usd_per_hour: 2, date: 2026-01-02, source: my contract}
models:
  mine: {prompt: 1, completion: 10, date: 2026-01-02, source: my contract}
"""


@pytest.fixture
def prices(tmp_path: Path) -> Prices:
    """Ours alone."""
    return load_prices(tmp_path / "nowhere")


@pytest.fixture
def own(tmp_path: Path) -> Prices:
    (tmp_path / FILE).write_text(OWN)
    return load_prices(tmp_path)


def manifest(**changes: Any) -> dict[str, Any]:
    """Of a run of 100 rows in 36 s on two cores, trained for 360 s on 80 rows and 20 validation rows."""
    record: dict[str, Any] = {
        "n": 100,
        "identity": {
            "backend": {"name": "enc", "engine": "encoder", "model": "org/enc", "device": "cpu", "options": {}},
            "train": trained_on(80),
            "prompt": None,
        },
        "training": {"seconds": 360.0, "train_rows": 80, "validation_rows": 20},
        "timing": {"seconds": 36.0, "load_average": 1.0},
        "tokens": {"prompt": 0, "new": 0},
        "cost": None,
        "machine": {"cpu": "AMD EPYC", "cores": 2, "gpu": None},
    }
    for path, value in changes.items():
        *above, last = path.split("__")
        part = record
        for key in above:
            part = part[key]
        part[last] = value
    return record


def served(**changes: Any) -> dict[str, Any]:
    """Of a run of 100 rows over an API: 20,000 prompt tokens, 500 new ones; three few-shot examples."""
    backend = {"name": "api", "engine": "openai", "model": "mine", "options": {}}
    prompt = {"shots": ["a", "b", "c"]}
    own = {"identity__backend": backend, "identity__train": None, "identity__prompt": prompt, "training": None}
    return manifest(**own, tokens={"prompt": 20_000, "new": 500}, **changes)


# Prices


def test_ours_have_a_date_a_source_and_a_price(prices: Prices) -> None:
    for entry in prices.hardware.values():
        assert entry.date >= date(2024, 1, 1)
        assert len(entry.source) > 10
        assert 0 < entry.per_hour(1) < 100
    for model in prices.built_in.models.values():
        assert model.date >= date(2024, 1, 1)
        assert 0 < model.prompt <= model.completion


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", "h100"),
        ("Tesla T4", "t4"),
        ("NVIDIA L4", "l4"),
        ("NVIDIA A10G", "a10g"),
        ("NVIDIA A100-SXM4-80GB", "a100-80gb"),
        ("NVIDIA A100-SXM4-40GB", None),  # costs less than the one of 80 GB: no price is better than a wrong one
        ("NVIDIA L40S", None),
        ("NVIDIA A10", None),
        ("NVIDIA H200", None),
    ],
)
def test_a_gpu_is_known_by_whole_words_of_its_name(prices: Prices, name: str, entry: str | None) -> None:
    found = prices.of_gpu(name)
    assert (found and found[0]) == entry


def test_the_own_file_adds_and_overrides(own: Prices, prices: Prices) -> None:
    assert own.named("h100").per_hour(1) == 2
    assert own.named("h100").source == "my contract"
    assert prices.named("h100").per_hour(1) != 2
    assert own.named("t4") == prices.named("t4")
    found = own.of_cpu("AMD EPYC")
    assert found is not None
    assert found[0] == "desk"
    other = own.of_cpu("Intel Xeon")
    assert other is not None
    assert other[0] == "cpu"
    with pytest.raises(UnknownName, match=r"no hardware price named 'h10'"):
        own.named("h10")


def test_the_own_entry_goes_before_one_of_ours_with_more_words(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("hardware: {any: {gpu: A100, usd_per_hour: 1, date: 2026-01-02, source: s}}")
    assert (load_prices(tmp_path).of_gpu("NVIDIA A100-SXM4-80GB") or ("",))[0] == "any"


def test_more_words_go_before_fewer(tmp_path: Path) -> None:
    entry = "usd_per_hour: 1, date: 2026-01-02, source: s"
    (tmp_path / FILE).write_text(f"hardware:\n  any: {{gpu: A100, {entry}}}\n  large: {{gpu: A100 80GB, {entry}}}\n")
    prices = load_prices(tmp_path)
    names = [(prices.of_gpu(f"NVIDIA A100-SXM4-{size}GB") or ("",))[0] for size in (40, 80)]
    assert names == ["any", "large"]


def test_an_entry_of_ours_that_is_replaced_is_gone(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("hardware: {h100: {gpu: H100 NVL, usd_per_hour: 1, date: 2026-01-02, source: s}}")
    prices = load_prices(tmp_path)
    assert prices.of_gpu("NVIDIA H100 NVL") == ("h100", prices.own.hardware["h100"])
    assert prices.of_gpu("NVIDIA H100 PCIe") is None


def test_the_price_of_a_model(own: Prices) -> None:
    stated = Price(prompt=5, completion=6, source="the backend")
    assert own.of_model("mine", stated) == Price(prompt=1, completion=10, source="my contract, 2026-01-02")
    assert own.of_model("gpt-4.1-mini", stated) == stated  # what a backend says of its own server, before our list
    ours = own.of_model("gpt-4.1-mini")
    assert ours is not None
    assert (ours.prompt, ours.completion) == (0.4, 1.6)
    assert own.of_model("else", stated) == stated
    assert own.of_model("else") is own.of_model(None) is None
    spec = BackendSpec(name="b", engine="openai", model="mine")
    assert own.filled(spec).price == own.of_model("mine")
    assert own.filled(spec.model_copy(update={"model": "else"})).price is None


def test_a_price_beside_a_model_is_of_no_other_model(own: Prices) -> None:
    priced = BackendSpec(name="b", engine="openai", model="m", price=Price(prompt=5, completion=6, source="s"))
    assert own.filled(priced).price == priced.price
    assert own.filled(priced, "m2").price is None
    assert own.filled(priced, "mine").price == own.of_model("mine")
    here = BackendSpec(name="b", engine="causal_lm", model="mine")
    assert own.filled(here) is here  # the same weights on this machine cost no tokens
    server = priced.model_copy(update={"model": None})
    assert own.filled(server, "m2").price == priced.price


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("hardware:\n  x: {gpu: H100, usd_per_hour: 1, date: 2026-01-02}", 2, "'hardware.x.source' is missing"),
        (
            "hardware:\n  x:\n    gpu: H100\n    usd_per_hour: -1\n    date: 2026-01-02\n    source: s",
            4,
            "greater than or equal",
        ),
        ("hardware:\n  x:\n    gpu: H100\n    usd_per_hour: .inf\n    date: 2026-01-02\n    source: s", 4, "finite"),
        ("hardware:\n  x: {gpu: H100, price: 1, date: 2026-01-02, source: s}", 2, "unknown key 'hardware.x.price'"),
        ("hardware:\n  x: {usd_per_hour: 1, date: 2026-01-02, source: s}", 2, "either `gpu` or `cpu`"),
        ("hardware:\n  x: {gpu: H100, date: 2026-01-02, source: s}", 2, "either `usd_per_hour` or `usd_per_core_hour`"),
        ("hardware:\n  x: {gpu: H100, usd_per_core_hour: 1, date: 2026-01-02, source: s}", 2, "a GPU has `usd_per_hour`"),
        ("hardware:\n  x: {gpu: '', usd_per_hour: 1, date: 2026-01-02, source: s}", 2, "contains no word"),
        ("models:\n  m:\n    prompt: 1\n    completion: .nan\n    date: 2026-01-02\n    source: s", 4, "finite"),
        ("models:\n  m: {prompt: 1, completion: 2, date: soon, source: s}", 2, "'models.m.date'"),
        ("modles: {}", 1, "unknown key 'modles'"),
    ],
)
def test_a_slip_in_a_price_file_is_named(tmp_path: Path, text: str, line: int, said: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(SpecError) as caught:
        load_prices(tmp_path)
    assert f"{FILE}:{line}: " in caught.value.message
    assert said in caught.value.message


def test_what_is_no_file_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(SpecError, match="is a folder"):
        load_prices(tmp_path)
    (tmp_path / FILE).rmdir()
    try:
        (tmp_path / FILE).symlink_to(tmp_path / "moved.yaml")
    except OSError:
        pytest.skip("links need a right that this user lacks")
    with pytest.raises(SpecError, match="is a link to a missing file"):
        load_prices(tmp_path)
    (tmp_path / "moved.yaml").write_text(OWN)
    assert "desk" in load_prices(tmp_path).hardware


# Costs


def test_time_costs_what_the_machine_does(own: Prices) -> None:
    """By hand: two cores at 1 cent are 2 cents an hour; 1,000 rows take 360 s, a tenth of an hour; so did the training."""
    cost = cost_of(entry_of(manifest()), own, predictions=10_000, labelling=0.5)
    assert cost is not None
    assert cost.inference == pytest.approx(0.002)
    assert cost.training == pytest.approx(0.002 / 10)
    assert cost.labelling == pytest.approx(100 * 0.5 / 10)
    assert cost.total == pytest.approx(0.002 + 0.0002 + 5)
    assert cost.usd == pytest.approx(50.022)
    assert cost.labels == 100
    assert not cost.under_load
    assert "360 ms per row at $0.02 per hour (desk, 2 cores; my invoice, 2026-01-02); trained for 360 s" in cost.basis


def test_tokens_cost_what_the_api_asks(own: Prices) -> None:
    """By hand: a row has 200 prompt tokens at $1 a million and 5 new ones at $10 a million."""
    cost = cost_of(entry_of(served()), own, predictions=1000, labelling=2)
    assert cost is not None
    assert cost.inference == pytest.approx(1000 * (200 * 1 + 5 * 10) / 1e6)
    assert (cost.training, cost.labelling, cost.labels) == (0, pytest.approx(6), 3)
    assert "200 prompt and 5.0 new tokens per row at $1 and $10 per million (my contract, 2026-01-02)" in cost.basis


def test_a_record_keeps_its_price_unless_the_own_file_has_another(own: Prices) -> None:
    paid = {"usd": 1.0, "prompt": 100.0, "completion": 0.0, "source": "then"}
    record = served(cost=paid, identity__backend__model="gpt-4.1-mini")
    kept = cost_of(entry_of(record), own, 1000, 0)
    assert kept is not None
    assert kept.inference == pytest.approx(1000 * 200 * 100 / 1e6)
    mine = cost_of(entry_of(served(cost=paid)), own, 1000, 0)
    assert mine is not None
    assert mine.inference == pytest.approx(0.25)


def test_a_gpu_is_priced_as_a_whole(own: Prices) -> None:
    on_gpu = {"identity__backend__device": "cuda", "machine__gpu": "NVIDIA H100 80GB HBM3"}
    cost = cost_of(entry_of(manifest(**on_gpu)), own, 1000, 0)
    assert cost is not None
    assert (cost.inference, cost.training) == (pytest.approx(0.2), pytest.approx(0.2))
    options = {"tensor_parallel_size": 2, "pipeline_parallel_size": 2}
    four = cost_of(entry_of(manifest(**on_gpu, identity__backend__options=options)), own, 1000, 0)
    assert four is not None
    assert four.inference == pytest.approx(0.8)
    processes = cost_of(entry_of(manifest(**on_gpu, identity__train__processes=2)), own, 1000, 0)
    assert processes is not None
    assert (processes.inference, processes.training) == (pytest.approx(0.2), pytest.approx(0.4))


def test_int8_runs_on_the_cpu_wherever_it_was_trained(own: Prices) -> None:
    record = manifest(
        identity__backend__device="cuda",
        machine__gpu="NVIDIA H100 PCIe",
        identity__backend__options={"predict": {"runtime": "onnx-int8"}},
    )
    cost = cost_of(entry_of(record), own, 1000, 0)
    assert cost is not None
    assert (cost.inference, cost.training) == (pytest.approx(0.002), pytest.approx(0.2))


def test_a_cpu_run_on_a_machine_with_a_gpu_is_priced_as_one(own: Prices) -> None:
    cost = cost_of(entry_of(manifest(machine__gpu="NVIDIA H100 PCIe")), own, 1000, 0)
    baseline = manifest(machine__gpu="NVIDIA H100 PCIe")
    del baseline["identity"]["backend"]["device"]  # a baseline has none
    del baseline["training"]["validation_rows"]
    assert cost is not None
    assert cost.inference == pytest.approx(0.002)
    other = cost_of(entry_of(baseline), own, 1000, 0)
    assert other is not None
    assert (other.inference, other.labels) == (cost.inference, 80)


def test_other_hardware_can_be_named(own: Prices) -> None:
    cost = cost_of(entry_of(manifest()), own, 1000, 0, hardware="h100")
    assert cost is not None
    assert cost.inference == pytest.approx(0.2)
    with pytest.raises(UnknownName):
        cost_of(entry_of(manifest()), own, 1000, 0, hardware="desks")


def test_what_has_no_price_has_no_cost_and_says_why(own: Prices) -> None:
    unknown = manifest(identity__backend__device="cuda", machine__gpu="NVIDIA B300")
    assert cost_of(entry_of(unknown), own, 1000, 0) is None
    assert (
        missing_price(entry_of(unknown).record, own)
        == "no price for NVIDIA B300: add it to `hardware:` in prices.yaml in your folder"
    )
    api = served(identity__backend__model="else")
    assert cost_of(entry_of(api), own, 1000, 0) is None
    assert (
        missing_price(entry_of(api).record, own)
        == "no price for the tokens of else: add it to `models:` in prices.yaml in your folder"
    )


def test_an_own_server_costs_its_machine(own: Prices) -> None:
    free = {"usd": 0.0, "prompt": 0.0, "completion": 0.0, "source": "your own machine"}
    record = served(identity__backend__model="llama", cost=free)
    assert cost_of(entry_of(record), own, 1000, 0) is None
    assert "--hardware" in missing_price(entry_of(record).record, own)
    cost = cost_of(entry_of(record), own, 1000, 0, hardware="h100")
    assert cost is not None
    assert cost.inference == pytest.approx(0.2)


@pytest.mark.parametrize(("load", "flagged"), [(1.0, False), (2.0, False), (2.01, True), (None, False)])
def test_a_time_that_was_measured_under_load_is_flagged(own: Prices, load: float | None, flagged: bool) -> None:
    cost = cost_of(entry_of(manifest(timing__load_average=load)), own, 1000, 0)
    assert cost is not None
    assert cost.under_load is flagged


def test_records_of_earlier_versions_have_less_in_them(own: Prices) -> None:
    record = manifest()
    del record["cost"], record["timing"]["load_average"]
    assert cost_of(entry_of(record), own, 1000, 0) is not None
    old = served()
    del old["cost"]
    assert cost_of(entry_of(old), own, 1000, 0) is not None


@pytest.mark.slow
@given(predictions=st.floats(1, 1e12), label=st.floats(0, 100), factor=st.floats(1.01, 1e3))
def test_more_predictions_never_cost_more_each_nor_less_in_all(predictions: float, label: float, factor: float) -> None:
    own, record = load_prices(Path("nowhere")), manifest()
    few, many = cost_of(entry_of(record), own, predictions, label), cost_of(entry_of(record), own, predictions * factor, label)
    assert few is not None
    assert many is not None
    assert many.total <= few.total
    assert many.usd >= few.usd * (1 - 1e-9)
    assert few.total == pytest.approx(few.inference + few.training + few.labelling)
    assert few.labelling * predictions / 1000 == pytest.approx(labels_of(entry_of(record).record) * label)


def test_the_file_reads_as_its_comment_says() -> None:
    path = Path(__file__).parents[3] / "harness" / "specs" / FILE
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert set(found) == {"hardware", "models"}
    assert all(HardwarePrice.model_validate(entry) for entry in found["hardware"].values())


def test_the_example_of_the_docs_loads(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "price.md").read_text(encoding="utf-8")
    (tmp_path / FILE).write_text(page.partition("```yaml\n")[2].partition("```")[0])
    prices = load_prices(tmp_path)
    assert set(prices.own.hardware) == {"our-server", "h100"}
    assert prices.of_model("gpt-6-luna") == Price(prompt=0.08, completion=0.4, source="our contract, 2026-11-01")


def test_labels_that_tuned_a_threshold_count_once() -> None:
    """Of 50 validation rows those are new that no training used: here one used 20, and another 5."""
    one, other = (entry_of(manifest(training__validation_rows=rows)).record for rows in (20, 5))
    prompted = entry_of(manifest(training=None, identity__train=None)).record
    assert tuning_labels([prompted], 50) == 50
    assert tuning_labels([one, prompted], 50) == tuning_labels([one, other], 50) == 30
    assert tuning_labels([one], 15) == 0
    elsewhere = entry_of(manifest(identity__train={**trained_on(80), "validation_langs": ["de"]})).record
    assert tuning_labels([elsewhere], 50) == 50
    both = entry_of(manifest(identity__train={**trained_on(80), "validation_langs": ["de", "en"]})).record
    assert tuning_labels([both], 50) == 40
