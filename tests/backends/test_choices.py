"""The tree of the answers' tokens against brute force, and where an answer begins another one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import CHATML, MISTRAL_V02, byte_level_tokenizer, sentencepiece_tokenizer

from backends._chat import ChatEncoder, ChoiceTree, Tokens
from harness.core.arrays import FloatArray

USER = {"role": "user", "content": "Review: the kettle works"}
CLOSING = 9


def begins(one: Sequence[object], other: Sequence[object]) -> bool:
    return one != other and other[: len(one)] == one


paths = st.lists(st.integers(0, 3), min_size=1, max_size=4).map(tuple)
prefix_free = st.lists(paths, min_size=1, max_size=7, unique=True).map(
    lambda found: [(*path, CLOSING) for path in found] if any(begins(a, b) for a in found for b in found) else found
)


@given(prefix_free)
def test_nodes_and_edges_are_all_that_a_choice_can_meet(choices: list[Tokens]) -> None:
    tree = ChoiceTree(choices)
    assert tree.choices == tuple(choices)
    assert set(tree.nodes) == {choice[:length] for choice in choices for length in range(len(choice))}
    assert len(tree.nodes) == len(set(tree.nodes)) == len(tree) + 1
    assert tree.nodes[0] == ()
    assert all(tree.nodes.index(node[:-1]) < at for at, node in enumerate(tree.nodes) if node)  # read after its parent
    met = [(*tree.nodes[at], token) for at, token in tree.edges]
    assert set(met) == {choice[: length + 1] for choice in choices for length in range(len(choice))}
    assert len(met) == len(set(met))
    assert [at for at, _ in tree.edges] == sorted(at for at, _ in tree.edges)
    assert tree.longest == max(len(choice) for choice in choices)


@given(prefix_free)
def test_what_may_follow(choices: list[Tokens]) -> None:
    tree = ChoiceTree(choices)
    for node in tree.nodes:
        assert tree.following(node) == sorted({choice[len(node)] for choice in choices if begins(node, choice)})
    assert all(tree.following(choice) == [] for choice in choices)


def random_edges(tree: ChoiceTree, rows: int, seed: int) -> FloatArray:
    return -np.random.default_rng(seed).exponential(size=(rows, len(tree.edges)))


@given(prefix_free, st.integers(0, 2**16))
def test_log_p_is_the_sum_along_the_path(choices: list[Tokens], seed: int) -> None:
    tree = ChoiceTree(choices)
    edges = random_edges(tree, 3, seed)
    expected = [
        [
            sum(row[tree.edges.index((tree.nodes.index(choice[:i]), choice[i]))] for i in range(len(choice)))
            for choice in choices
        ]
        for row in edges
    ]
    np.testing.assert_allclose(tree.log_p(edges), expected, rtol=1e-12)


@given(prefix_free, st.integers(0, 2**16))
def test_greedy_takes_the_likeliest_token_at_every_step(choices: list[Tokens], seed: int) -> None:
    tree = ChoiceTree(choices)
    edges = random_edges(tree, 1, seed)[0]
    log_p = {(*tree.nodes[at], token): edges[i] for i, (at, token) in enumerate(tree.edges)}
    path: Tokens = ()
    while path not in choices:
        path = max(((*path, choice[len(path)]) for choice in choices if begins(path, choice)), key=lambda step: log_p[step])
    assert choices[tree.greedy(edges)] == path


def test_greedy_is_not_the_most_probable_choice() -> None:
    """Token by token 1 wins, though as a whole (0,) is likelier than (1, 0) and (1, 1): what generation does."""
    tree = ChoiceTree([(0,), (1, 0), (1, 1)])
    edges = np.log([0.4, 0.6, 0.5, 0.5])
    assert tree.edges == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert tree.choices[tree.greedy(edges)] == (1, 0)
    assert int(np.argmax(tree.log_p(edges[None])[0])) == 0


SCALE = [str(number) for number in range(11)]


@pytest.mark.parametrize(
    ("make", "end", "one"),
    [
        (lambda: byte_level_tokenizer(CHATML), "<|im_end|>", "1"),
        (lambda: sentencepiece_tokenizer(MISTRAL_V02), "</s>", "▁1"),
        (lambda: sentencepiece_tokenizer(None), "</s>", "1"),
    ],
    ids=["byte-level", "sentencepiece", "no template"],
)
def test_where_a_choice_begins_another_all_are_closed(make: Any, end: str, one: str) -> None:
    tokenizer = make()
    chat = ChatEncoder(tokenizer)

    def pieces(choices: list[str]) -> list[list[str]]:
        (encoded,) = chat.encode([[USER]], choices)
        assert encoded.tokens == len(encoded.content.ids) + len(encoded.content.tree)
        return [tokenizer.convert_ids_to_tokens(choice) for choice in encoded.content.tree.choices]

    closed = pieces(SCALE)
    assert all(choice[-1] == end and choice.count(end) == 1 for choice in closed)
    assert (closed[1], closed[10]) == ([one, end], [one, "0", end])
    assert not any(begins(a, b) for a in closed for b in closed)
    assert pieces(SCALE[:5]) == [choice[:-1] for choice in closed[:5]]  # nothing to close


def test_rows_with_the_same_answers_share_a_tree() -> None:
    chat = ChatEncoder(byte_level_tokenizer(CHATML))
    encoded = chat.encode([[USER], [{**USER, "content": "bad lid"}]], SCALE)
    again = chat.encode([[USER]], SCALE)
    assert len({id(prompt.content.tree) for prompt in [*encoded, *again]}) == 1
    assert chat.encode([[USER]], SCALE[:3])[0].content.tree is not encoded[0].content.tree
