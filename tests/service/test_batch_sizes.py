"""The choice of batch sizes."""

from __future__ import annotations

from itertools import combinations_with_replacement

from hypothesis import given
from hypothesis import strategies as st

from service.engines.engine import Cost
from service.reading.batch_sizes import BatchSizes


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


def run(batch_sizes: BatchSizes, seconds: dict[int, float], times: int, waiting: int = 1000) -> list[int]:
    """What is chosen while so many crops wait, call after call, and each call takes what it really takes."""
    chosen = []
    for _ in range(times):
        chosen.append(batch_sizes.next(waiting))
        batch_sizes.note(chosen[-1], seconds[chosen[-1]])
    return chosen


def test_a_size_that_was_measured_in_a_bad_moment_is_tried_again_and_then_kept() -> None:
    true = {1: 1.0, 4: 2.0, 16: 6.0}
    chosen = run(sizes({1: 1.0, 4: 2.0, 16: 40.0}), true, times=1500)
    assert chosen[0] == 4
    assert chosen[-100:].count(16) > 95


def test_all_sizes_recover_from_a_start_in_which_only_single_crops_were_quick() -> None:
    true = {1: 1.0, 4: 2.0, 16: 6.0}
    chosen = run(sizes({1: 1.0, 4: 9.0, 16: 60.0}), true, times=1500)
    assert chosen[0] == 1
    assert chosen[-100:].count(16) > 95


def test_one_slow_call_among_many_changes_nothing() -> None:
    batch_sizes = sizes({1: 1.0, 4: 2.0, 16: 6.0})
    batch_sizes.note(16, 600.0)
    assert batch_sizes.next(1000) == 16


def test_a_size_that_has_become_slower_for_good_is_left() -> None:
    batch_sizes = sizes({1: 1.0, 4: 2.0, 16: 6.0})
    assert run(batch_sizes, {1: 1.0, 4: 2.0, 16: 60.0}, times=500)[-100:].count(4) > 95


def test_trying_dearer_sizes_again_is_rare() -> None:
    true = {1: 1.0, 4: 3.5, 16: 6.0}
    chosen = run(sizes(true), true, times=1000)
    assert chosen.count(16) > 980


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


def test_a_batch_size_that_is_compiled_later_is_used_from_then_on() -> None:
    batch_sizes = sizes({1: 0.01})
    assert calls(batch_sizes, 5) == [1] * 5
    batch_sizes.add(16, 0.02)
    assert calls(batch_sizes, 5) == [16]
