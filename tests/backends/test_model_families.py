"""The causal LM engine on architectures that see a row differently: sliding windows, ALiBi, states, learned positions.

The tree of choices, padding and shared prefixes must change nothing on any of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from oracles import (
    CHATS,
    DIGITS,
    MIXED,
    SCALE,
    chats_of,
    generate,
    loaded,
    oracle_choice,
    oracle_scores,
    oracle_text,
    prompt_ids,
    score,
)
from tiny_models import FAMILIES, write_family

from backends.causal_lm import CausalLM

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, CausalLM]]:
    root = tmp_path_factory.mktemp("families")
    found = {name: loaded(write_family(root / name, name)) for name in FAMILIES}
    yield found
    for engine in found.values():
        engine.close()


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("choices", [SCALE, MIXED], ids=["scale", "mixed"])
def test_scores_are_those_of_plain_forward_passes(name: str, choices: list[str], families: dict[str, CausalLM]) -> None:
    engine = families[name]
    chats = [*CHATS, *chats_of(["bad " * 60])]
    found = score(engine, chats, choices)
    np.testing.assert_allclose(found, oracle_scores(engine, chats, choices), atol=1e-4)
    one_by_one = np.concatenate([score(engine, [chat], choices) for chat in chats])
    np.testing.assert_allclose(found, one_by_one, atol=1e-4)
    np.testing.assert_allclose(score(engine, chats[::-1], choices)[::-1], one_by_one, atol=1e-4)
    assert np.ptp(found, axis=0).min() > 1e-2  # rows differ, so that a mixed-up row would show


@pytest.mark.parametrize("name", FAMILIES)
def test_constrained_answers_follow_the_greedy_path(name: str, families: dict[str, CausalLM]) -> None:
    engine = families[name]
    for choices in (SCALE, MIXED):
        answers = generate(engine, CHATS, 1, choices)
        assert [answer.text for answer in answers] == [oracle_choice(engine, chat, choices) for chat in CHATS]


# Free text and answers of one token need no tree, so that these hold for every family.


@pytest.mark.parametrize("name", FAMILIES)
def test_free_text_is_that_of_greedy_decoding(name: str, families: dict[str, CausalLM]) -> None:
    engine = families[name]
    assert [answer.text for answer in generate(engine, CHATS, 8, None)] == [oracle_text(engine, chat, 8) for chat in CHATS]


@pytest.mark.parametrize("name", FAMILIES)
def test_answers_of_one_token(name: str, families: dict[str, CausalLM]) -> None:
    engine = families[name]
    np.testing.assert_allclose(score(engine, CHATS, DIGITS), oracle_scores(engine, CHATS, DIGITS), atol=1e-4)


def filled(engine: CausalLM, room: int) -> Sequence[str]:
    """A text that leaves `room` tokens of the context."""
    texts = ("7" * length for length in range(256))
    return [next(text for text in texts if len(prompt_ids(engine, chats_of([text])[0])) == 256 - room)]


@pytest.mark.parametrize("name", ["llama", "gpt2", "opt", "gemma2, wide window"])
def test_up_to_the_end_of_the_context(name: str, families: dict[str, CausalLM]) -> None:
    """The tree's tokens together would exceed it, none of the answers does."""
    engine = families[name]
    tree = engine.encode(CHATS[:1], MIXED)[0].content.tree
    assert len(tree) > tree.longest
    fits = [*chats_of(filled(engine, tree.longest)), CHATS[1]]
    np.testing.assert_allclose(score(engine, fits, MIXED), oracle_scores(engine, fits, MIXED), atol=1e-4)
    over = [*chats_of(filled(engine, tree.longest - 1)), CHATS[1]]
    assert np.isnan(score(engine, over, MIXED)).all(1).tolist() == [True, False]


def test_which_can_be_computed_at_once(families: dict[str, CausalLM]) -> None:
    """The others are right too, but slower: a list to be changed on purpose only."""
    at_once = {name for name, engine in families.items() if engine._masks_freely(100)}
    assert at_once >= {"llama", "qwen2", "gemma2, wide window", "gpt2", "opt"}
    assert not at_once & {"gemma2, narrow window", "bloom", "lfm2", "mamba"}


def test_a_family_is_built_as_it_says(tmp_path: Path, families: dict[str, CausalLM]) -> None:
    assert {name: type(engine._model).__name__ for name, engine in families.items()}.keys() == FAMILIES.keys()
    assert families["gemma2, wide window"]._window == 200
    assert families["gemma2, narrow window"]._window == 24
    assert [name for name, engine in families.items() if engine._stateful] == ["lfm2", "mamba"]
    assert [name for name, engine in families.items() if not engine._takes_positions] == ["bloom", "mamba", "falcon, alibi"]
