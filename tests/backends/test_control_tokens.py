"""Texts that spell out control tokens, by ids: no such token comes from a text, and all other texts keep their ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_models import SENTENCES
from tokenizer_families import FAMILIES, PLAIN, WORDS, family

from backends._chat import ChatEncoder
from backends._control_tokens import control_tokens, read_as_text

NO_CONTROL = [
    *SENTENCES, "", " ", "the kettle", "great kettle!", "für mich", "a < b > c [d] {e} |f|", "GREAT", "1 </ 2 />", "日本語 🙂",
    "x\n\ny", "tab\tand  two spaces ", "<b>bold</b><br>", "[]", "<>", "<", "im_end|>", "\u200b", "é e\u0301",
]  # fmt: skip
PIECES = [
    "<", "|", ">", "[", "]", "/", "s", "im_end|>", "<|im_", "SEP", "[sep]", "＜/s＞", "［SEP］", "<S>", "▁", " ", "\n", "good",
    "great", "kettle", "\u200b", "</", "_of_turn>", "<start",
]  # fmt: skip


@pytest.fixture(scope="module")
def untouched() -> dict[str, Any]:
    return {name: family(name) for name in FAMILIES}


@pytest.fixture(scope="module")
def readers() -> dict[str, Any]:
    found = {name: family(name) for name in FAMILIES}
    for tokenizer in found.values():
        read_as_text(tokenizer)
    return found


@pytest.fixture(scope="module")
def encoders() -> dict[str, ChatEncoder]:
    return {name: ChatEncoder(family(name)) for name in FAMILIES}


CHATTING = [name for name in FAMILIES if name not in ("bert", "electra")]
"""Those that have an end of text."""


def ids_of(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text)["input_ids"]
    return ids


def controls(tokenizer: Any, ids: list[int]) -> list[int]:
    """Of `ids`, those of control tokens. The token for what is unknown may come from any text."""
    control = set(tokenizer.convert_tokens_to_ids(list(control_tokens(tokenizer))))
    own = tokenizer.unk_token_id
    return [token for token in ids if token in control and (token != own or own == tokenizer.eos_token_id)]


def texts_of(tokenizer: Any) -> st.SearchStrategy[str]:
    pieces = [*control_tokens(tokenizer), *PIECES]
    return st.lists(st.sampled_from(pieces), max_size=6).map("".join)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_text_alone_yields_no_control_token(name: str, readers: dict[str, Any], untouched: dict[str, Any]) -> None:
    """One by one, and with the characters that are there in any case."""
    for token in control_tokens(untouched[name]):
        if token == untouched[name].unk_token:
            continue  # what is unknown may be in any text
        texts = [token, f"good {token} bad", f"good{token}bad", token * 2, f" {token} "]
        none = controls(untouched[name], ids_of(untouched[name], "good"))
        assert [controls(untouched[name], ids_of(readers[name], text)) for text in texts] == [none] * len(texts), token
        assert any(controls(untouched[name], ids_of(untouched[name], text)) != none for text in texts)  # what it is about


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_yields_a_control_token(
    name: str, readers: dict[str, Any], untouched: dict[str, Any], data: st.DataObject
) -> None:
    text = data.draw(texts_of(untouched[name]))
    tokenizer = untouched[name]
    assert controls(tokenizer, ids_of(readers[name], text)) == controls(tokenizer, ids_of(tokenizer, "good"))


@pytest.mark.parametrize("name", FAMILIES)
def test_other_texts_keep_their_ids(name: str, readers: dict[str, Any], untouched: dict[str, Any]) -> None:
    for text in NO_CONTROL:
        assert ids_of(readers[name], text) == ids_of(untouched[name], text), text
    words = untouched[name].convert_tokens_to_ids(WORDS)
    assert set(words) & set(ids_of(readers[name], "great kettle"))


@pytest.mark.slow
@pytest.mark.parametrize("name", CHATTING)
@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_chat_has_the_control_tokens_of_its_template(
    name: str, encoders: dict[str, ChatEncoder], untouched: dict[str, Any], data: st.DataObject
) -> None:
    """In the user's turn, in the system's and in few-shot examples; with and without answers to choose from."""
    chat, tokenizer = encoders[name], untouched[name]
    texts = [data.draw(texts_of(tokenizer)) for _ in range(4)]
    roles = data.draw(st.sampled_from([["user"], ["system", "user"], ["system", "user", "assistant", "user"]]))
    choices = data.draw(st.sampled_from([None, ["0", "1", "10"], ["good", "very good"]]))

    def ids(contents: list[str]) -> list[int]:
        messages = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=False)]
        found: list[int] = chat.encode([messages], choices)[0].content.ids
        return found

    assert controls(tokenizer, ids(texts)) == controls(tokenizer, ids(["good"] * 4))


@pytest.mark.parametrize("name", CHATTING)
def test_other_chats_have_the_ids_of_the_plain_template(
    name: str, encoders: dict[str, ChatEncoder], untouched: dict[str, Any]
) -> None:
    tokenizer = untouched[name]
    for text in NO_CONTROL:
        messages = [{"role": "user", "content": text}]
        plain = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        assert encoders[name].encode([messages], None)[0].content.ids == plain, text


@pytest.mark.parametrize("name", CHATTING)
def test_innocent_prompts_need_no_second_tokenizer(name: str) -> None:
    """With a template, and without: then the tokenizer adds its own tokens."""
    for template in (None, family(name).chat_template):
        tokenizer = family(name)
        tokenizer.chat_template = template
        chat = ChatEncoder(tokenizer)
        chat.encode([[{"role": "user", "content": text}] for text in ("good kettle", "the good")], ["0", "1"])
        assert chat._disarmed is None
        prompt = chat.encode([[{"role": "user", "content": "</s> <think> <|endoftext|> [SEP]"}]], None)[0].content.ids
        assert chat._disarmed is not None
        assert len(controls(tokenizer, prompt)) == len(
            controls(tokenizer, chat.tokens([chat.marked([{"role": "user", "content": "x"}])])[0])
        )


@pytest.mark.parametrize("name", ["gpt2", "qwen2", "llama3", "tekken", "chatml", "gemma"])
def test_the_characters_reach_the_model(name: str, encoders: dict[str, ChatEncoder], untouched: dict[str, Any]) -> None:
    """Nothing is put into the text, nor is anything taken from it."""
    tokenizer = untouched[name]
    text = "great" + "".join(f"{token}," for token in control_tokens(tokenizer)) + "<|im_<|im_end|>end|> kettle"
    messages = [{"role": "user", "content": text}]
    assert text in encoders[name].render(messages)
    assert text in tokenizer.decode(encoders[name].encode([messages], None)[0].content.ids)


def test_a_saved_tokenizer_that_is_read_again_is_changed_once(tmp_path: Path) -> None:
    from backends.encoder import _read_tokenizer as read_tokenizer

    family("xlm-roberta").save_pretrained(tmp_path / "0")
    for again in range(3):
        (tmp_path / str(again) / "config.json").write_text('{"model_type": "xlm-roberta"}')
        tokenizer = read_tokenizer(tmp_path / str(again))
        tokenizer.save_pretrained(tmp_path / str(again + 1))
    sizes = [(tmp_path / str(again) / "tokenizer.json").stat().st_size for again in (1, 2, 3)]
    assert len(set(sizes)) == 1


@pytest.mark.slow
def test_tokenizers_written_in_python(tmp_path: Path) -> None:
    from transformers import BertJapaneseTokenizer, ByT5Tokenizer, CanineTokenizer

    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", *"SEPMASKCLD[]"]))
    for make in (ByT5Tokenizer, CanineTokenizer, lambda: BertJapaneseTokenizer(vocabulary, word_tokenizer_type="basic")):
        plain, tokenizer = make(), make()
        for one in (plain, tokenizer):
            assert not one.is_fast
            one.add_tokens(WORDS)
        read_as_text(tokenizer)
        for token in control_tokens(plain):
            found = controls(plain, ids_of(tokenizer, f"good {token}{token} bad"))
            assert found == controls(plain, ids_of(plain, "good bad")), token
        for text in NO_CONTROL:
            assert ids_of(tokenizer, text) == ids_of(plain, text)


def test_a_chat_through_a_tokenizer_written_in_python() -> None:
    from transformers import ByT5Tokenizer

    tokenizer = ByT5Tokenizer()
    tokenizer.chat_template = PLAIN
    chat = ChatEncoder(tokenizer)

    def ids(text: str) -> list[int]:
        found: list[int] = chat.encode([[{"role": "user", "content": text}]], None)[0].content.ids
        return controls(tokenizer, found)

    assert ids("a </s> <pad> b") == ids("/s") == ids("good")
