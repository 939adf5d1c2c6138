"""The Pareto front, against its definition."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from harness.statistics.pareto import pareto_front


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_nothing_matches_a_point_of_the_front_and_beats_it(points: Sequence[tuple[int, int, int]]) -> None:
    def beats(one: tuple[int, int, int], other: tuple[int, int, int]) -> bool:
        return one != other and all(a >= b for a, b in zip(one, other, strict=True))

    assert pareto_front(points) == [not any(beats(other, own) for other in points) for own in points]


def test_equal_points_are_both_on_it() -> None:
    assert pareto_front([(1, 2), (1, 2), (0, 1), (2, 0)]) == [True, True, False, True]
    assert pareto_front([]) == []
