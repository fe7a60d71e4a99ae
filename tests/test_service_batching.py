"""The choice of batch sizes."""

from __future__ import annotations

from itertools import combinations_with_replacement

from hypothesis import given
from hypothesis import strategies as st

from service.batching import BatchSizes
from service.engines.engine import Cost


def sizes(seconds: dict[int, float]) -> BatchSizes:
    return BatchSizes(Cost("vision", batch, cost) for batch, cost in seconds.items())


def calls(batch_sizes: BatchSizes, crops: int) -> list[int]:
    """The sizes that a queue is worked off in when nothing more arrives."""
    chosen = []
    while crops > 0:
        chosen.append(batch_sizes.next(crops))
        crops -= chosen[-1]
    return chosen


def test_a_lone_crop_takes_the_cheapest_graph() -> None:
    assert sizes({1: 1.0, 4: 2.0, 16: 6.0}).next(1) == 1


def test_seven_crops_are_split_where_padding_costs_more() -> None:
    assert calls(sizes({1: 1.0, 4: 2.0, 16: 9.0}), 7) == [4, 4]


def test_seven_crops_are_padded_where_that_costs_less() -> None:
    assert calls(sizes({1: 1.0, 4: 3.5, 16: 4.0}), 7) == [16]


def test_a_batch_that_is_no_faster_than_single_calls_is_not_used() -> None:
    assert calls(sizes({1: 1.0, 4: 4.5}), 4) == [1, 1, 1, 1]


def test_a_long_queue_is_served_at_the_largest_size() -> None:
    assert sizes({1: 1.0, 4: 2.0, 16: 6.0}).next(1000) == 16


@given(
    st.dictionaries(st.sampled_from([1, 2, 3, 5, 8]), st.floats(0.1, 10), min_size=1),
    st.integers(min_value=1, max_value=8),
)
def test_no_other_choice_is_cheaper(seconds: dict[int, float], crops: int) -> None:
    crops = min(crops, max(seconds))
    chosen = sum(seconds[size] for size in calls(sizes(seconds), crops))
    least = min(
        sum(seconds[size] for size in choice)
        for count in range(1, crops + 1)
        for choice in combinations_with_replacement(seconds, count)
        if sum(choice) >= crops
    )
    assert chosen <= least + 1e-9
