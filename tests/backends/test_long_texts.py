"""Texts that are longer than an encoder reads: which tokens it gets, how windows are averaged, and what is counted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encoder_toy import LABELS, NEUTRAL, NOTHING, TOPICS, VALIDATION, fit, new_engine, predict, tagged
from hypothesis import given
from hypothesis import strategies as st
from tokenizer_families import FAMILIES, family

from backends._batches import Row
from backends._control_tokens import read_as_text
from backends._encoder_options import EncoderOptions
from backends._long_texts import Pieces, mean_by_text, pieces_of
from backends.encoder import Encoder
from harness.core.engine import LabelledTexts
from harness.core.errors import UserError

SHORT, LONG = "good", "the good ü kettle [SEP] is <think> great </s> " * 8
LATE = LabelledTexts([f"{'the ' * 20}{word} it" for word in ("good", "bad") * 16], [1, 0] * 16)
"""What says the label is beyond the first 12 tokens."""


def options(mode: str, **others: Any) -> EncoderOptions:
    return EncoderOptions.model_validate({"long_texts": mode, **others})


def read(tokenizer: Any, texts: Sequence[str], most: int, mode: str, **others: Any) -> list[Pieces]:
    tokens = tokenizer(list(texts), truncation=True, max_length=most, return_attention_mask=False)
    rows: list[Row] = [{name: tokens[name][index] for name in tokens} for index in range(len(texts))]
    return pieces_of(tokenizer, texts, rows, most, options(mode, **others))


def ids(pieces: Pieces) -> list[list[int]]:
    return [list(row["input_ids"]) for row in pieces.rows]


@pytest.fixture(params=[name for name in FAMILIES if FAMILIES[name]().pad_token])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    found = family(request.param)
    read_as_text(found)
    return found


@pytest.mark.parametrize("most", [8, 13, 16])
def test_windows_are_those_of_the_tokenizer_itself(tokenizer: Any, most: int) -> None:
    texts = [SHORT, LONG, ""]
    overlap = most // 4
    theirs = tokenizer(texts, truncation=True, max_length=most, stride=overlap, return_overflowing_tokens=True)
    wanted = [
        [row for row, text in zip(theirs["input_ids"], theirs["overflow_to_sample_mapping"], strict=True) if text == n]
        for n in range(3)
    ]
    ours = read(tokenizer, texts, most, "windows")
    assert [ids(pieces) for pieces in ours] == wanted
    assert all(len(values) == len(row["input_ids"]) for pieces in ours for row in pieces.rows for values in row.values())
    assert [pieces.left_out for pieces in ours] == [0, 0, 0]


@pytest.mark.parametrize("most", [8, 13, 16])
def test_head_and_tail_keep_both_ends(tokenizer: Any, most: int) -> None:
    pieces = read(tokenizer, [LONG], most, "head_tail")[0]
    (found,) = ids(pieces)
    whole = tokenizer(LONG, return_special_tokens_mask=True)
    every, head = whole["input_ids"], whole["special_tokens_mask"].index(0) + most // 4
    assert len(found) == most
    assert found == every[:head] + every[len(every) - (most - head) :]
    assert pieces.left_out == len(every) - most


@pytest.mark.slow
def test_a_tokenizer_written_in_python() -> None:
    from transformers import CanineTokenizer

    tokenizer = CanineTokenizer()
    read_as_text(tokenizer)
    text = "".join(map(chr, range(97, 117)))
    windows = ids(read(tokenizer, [text], 10, "windows", window_overlap=2)[0])
    assert ["".join(map(chr, row[1:-1])) for row in windows] == ["abcdefgh", "ghijklmn", "mnopqrst"]
    ((first, *within, last),) = ids(read(tokenizer, [text], 10, "head_tail")[0])
    assert "".join(map(chr, within)) == "abopqrst"
    assert {(row[0], row[-1]) for row in windows} == {(first, last)}


def test_of_512_tokens_128_and_382_are_read_beside_cls_and_sep() -> None:
    """The split of Sun et al. 2019."""
    tokenizer = family("bert")
    text = " ".join(["good"] * 300 + ["the"] * 400)
    (row,) = ids(read(tokenizer, [text], 512, "head_tail")[0])
    good, the = tokenizer.convert_tokens_to_ids(["good", "the"])
    assert row[1:-1] == [good] * 128 + [the] * 382


@given(length=st.integers(0, 60), most=st.integers(8, 20), overlap=st.integers(0, 5), windows=st.integers(1, 4) | st.none())
def test_every_token_is_in_a_window_or_counted(length: int, most: int, overlap: int, windows: int | None) -> None:
    tokenizer = NUMBERS
    text = " ".join(f"n{index}" for index in range(length))
    found = read(tokenizer, [text], most, "windows", window_overlap=overlap, max_windows=windows)[0]
    seen = {token for row in ids(found) for token in row[1:-1]}
    assert found.left_out == length - len(seen)
    assert all(len(row) <= most for row in ids(found))
    assert windows is not None or not found.left_out
    for before, after in zip(ids(found), ids(found)[1:], strict=False):
        assert len(set(before[1:-1]) & set(after[1:-1])) == overlap


def numbers() -> Any:
    """A token for each of 60 words."""
    from transformers import BertTokenizer

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return BertTokenizer(vocab={token: index for index, token in enumerate([*special, *(f"n{index}" for index in range(60))])})


NUMBERS = numbers()


@pytest.mark.parametrize("words", [30, 1])
def test_windows_that_never_end_are_refused(words: int) -> None:
    """Also before a text is long enough to have some."""
    with pytest.raises(UserError, match="6 of their 6 tokens"):
        read(NUMBERS, ["n1 " * words], 8, "windows", window_overlap=6)


@pytest.mark.parametrize("name", ["window_overlap", "max_windows"])
def test_options_of_windows_are_for_windows(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is for long_texts windows"):
        options("head_tail", **{name: 2})


def test_a_default_is_in_no_identity_and_another_value_is() -> None:
    assert not {"long_texts", "window_overlap", "max_windows"} & options("cut").model_dump(mode="json").keys()
    dump = options("windows", window_overlap=3).model_dump(mode="json")
    assert (dump["long_texts"], dump["window_overlap"]) == ("windows", 3)


def test_the_mean_of_each_text() -> None:
    rows = np.array([[0.2, 0.8], [0.4, 0.6], [1.0, 0.0]])
    np.testing.assert_allclose(mean_by_text(rows, [2, 1]), [[0.3, 0.7], [1, 0]])
    assert mean_by_text(rows[:0], []).shape == (0, 2)


@pytest.fixture(scope="module")
def windowed(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Encoder, dict[str, Any]]:
    engine = new_engine(bert, {"long_texts": "windows", "max_length": 12})
    report = fit(engine, tmp_path_factory.mktemp("windowed"), train=LATE, validation=LATE)
    return engine, report


@pytest.mark.slow
def test_windows_read_what_a_cut_text_has_lost(bert: Path, windowed: tuple[Encoder, dict[str, Any]], tmp_path: Path) -> None:
    engine, report = windowed
    assert (report["train_rows"], report["validation_rows"], report["train_windows"]) == (32, 32, 96)
    assert (predict(engine, LATE).argmax(1) == LATE.labels).all()
    tail = new_engine(bert, {"long_texts": "head_tail", "max_length": 12})
    fit(tail, tmp_path / "tail", train=LATE, validation=NOTHING)
    assert (predict(tail, LATE).argmax(1) == LATE.labels).all()
    cut = new_engine(bert, {"max_length": 12})
    assert "train_windows" not in fit(cut, tmp_path / "cut", train=LATE, validation=NOTHING)
    assert len(np.unique(predict(cut, LATE).argmax(1))) == 1  # all texts begin alike


@pytest.mark.slow
def test_a_prediction_is_the_mean_over_windows(windowed: tuple[Encoder, dict[str, Any]]) -> None:
    engine = windowed[0]
    texts = [LATE.texts[0], "good", "the " * 200 + "bad"]
    encoded = engine.encode(texts)
    assert [len(text.content) for text in encoded] == [3, 1, 29]
    assert [text.tokens for text in encoded] == [36, 3, 348]
    assert [text.cut for text in encoded] == [0, 0, 0]
    plain = np.stack([window_by_window(engine, text.content) for text in encoded])
    np.testing.assert_allclose(engine.predict(encoded), plain, atol=1e-6)
    np.testing.assert_allclose(np.concatenate([engine.predict([text]) for text in encoded]), plain, atol=1e-6)


def window_by_window(engine: Encoder, rows: Sequence[Row]) -> Any:
    import torch

    found = []
    for row in rows:
        with torch.inference_mode():
            logits = engine._model(**{name: torch.tensor([values]) for name, values in row.items()}).logits
        found.append(logits.softmax(-1)[0].numpy())
    return np.mean(found, axis=0)


@pytest.mark.slow
def test_no_pass_has_more_tokens_than_the_batch_may_have(
    windowed: tuple[Encoder, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, sizes = windowed[0], []
    launch = engine._launch
    monkeypatch.setattr(engine, "_launch", lambda batch: (sizes.append(batch["input_ids"].size), launch(batch))[1])
    engine.predict(engine.encode(["the " * 5000]))  # one text of more tokens than a batch
    assert max(sizes) <= engine.batch_tokens() < sum(sizes)
    sizes.clear()
    encoded = engine.encode([*LATE.texts[:3], "good", "bad it"])
    engine.predict(encoded)
    assert sum(sizes) <= len(encoded) * max(text.tokens for text in encoded)


@pytest.mark.slow
def test_saved_and_loaded_it_averages_the_same(bert: Path, windowed: tuple[Encoder, dict[str, Any]], tmp_path: Path) -> None:
    engine = windowed[0]
    engine.save(tmp_path)
    other = new_engine(bert, {"long_texts": "windows", "max_length": 12})
    other.load(tmp_path, LABELS)
    np.testing.assert_array_equal(predict(other, LATE), predict(engine, LATE))


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnx", "onnx-int8"])
def test_runtimes_average_too(runtime: str, bert: Path, windowed: tuple[Encoder, dict[str, Any]], tmp_path: Path) -> None:
    from encoder_toy import validation_scorer

    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    engine = windowed[0]
    engine.save(tmp_path / "model")
    quick = new_engine(bert, {"long_texts": "windows", "max_length": 12, "predict": {"runtime": runtime, "max_drop": 0.1}})
    quick.load(tmp_path / "model", LABELS)
    quick.optimize(tmp_path, LATE, validation_scorer(LATE))
    np.testing.assert_allclose(predict(quick, LATE), predict(engine, LATE), atol=1e-4 if runtime == "onnx" else 0.05)


@pytest.mark.slow
def test_several_labels_are_averaged_each(bert: Path, tmp_path: Path) -> None:
    rows = tagged(32, 0)
    texts = LabelledTexts([f"{text} {' '.join(NEUTRAL[3:]) * 5}" for text in rows.texts], rows.labels)
    engine = new_engine(bert, {"long_texts": "windows", "max_length": 10}, epochs=1)
    fit(engine, tmp_path, train=texts, validation=texts, labels=TOPICS)
    found = predict(engine, texts)
    assert found.shape == (32, 3)
    assert len(engine.encode(texts.texts)[0].content) > 1
    assert not np.allclose(found.sum(1), 1)


@pytest.mark.slow
def test_short_texts_are_read_as_if_they_were_cut(bert: Path, tmp_path: Path) -> None:
    engines = [new_engine(bert, {"long_texts": mode}, epochs=1) for mode in ("cut", "head_tail", "windows")]
    for number, engine in enumerate(engines):
        fit(engine, tmp_path / str(number))
    cut, *others = (predict(engine, VALIDATION) for engine in engines)
    for other in others:
        np.testing.assert_array_equal(other, cut)
