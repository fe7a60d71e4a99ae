"""Thresholds of early stop: what they cost and save, and how they are chosen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.early_stop import EarlyStop, Stages, choose, outcome

# Vision and two refinements of four crops: one that vision reads rightly, one that needs one refinement, one
# that needs both, and one that the last breaks.
STAGES = Stages(
    right=np.array([[1, 1, 1], [0, 1, 1], [0, 0, 1], [1, 1, 0]], bool),
    same=np.array([[0, 1, 1], [0, 0, 1], [0, 1, 0], [0, 1, 0]], bool),
    weakest=np.array([[0.99, 0.99, 0.99], [0.6, 0.8, 0.9], [0.5, 0.7, 0.8], [0.9, 0.9, 0.4]]),
)


def test_thresholds_that_nothing_reaches_change_nothing() -> None:
    assert tuple(outcome(STAGES, 1.0, 1.0)) == (0.0, 0.0)


def test_a_crop_that_vision_is_sure_of_is_not_refined() -> None:
    lost, saved = outcome(STAGES, 0.95, 1.0)
    assert lost == 0.0
    assert saved == pytest.approx(2 / 8)


def test_a_refinement_that_changes_nothing_is_the_last_if_it_is_sure() -> None:
    lost, saved = outcome(STAGES, 1.0, 0.85)
    assert saved == pytest.approx(2 / 8)
    assert lost == -25.0  # the word that the last refinement would break


def test_a_word_that_settles_wrongly_is_lost() -> None:
    lost, _ = outcome(STAGES, 1.0, 0.65)
    assert lost == 0.0  # one gained, one lost


stages = st.integers(1, 30).flatmap(
    lambda crops: st.builds(
        lambda seed: _drawn(np.random.default_rng(seed), crops),
        st.integers(0, 2**32 - 1),
    )
)


def _drawn(rng: np.random.Generator, crops: int) -> Stages:
    same = rng.random((crops, 4)) < 0.7
    same[:, 0] = False
    right = rng.random((crops, 4)) < 0.7
    for stage in range(1, 4):
        right[:, stage] = np.where(same[:, stage], right[:, stage - 1], right[:, stage])
    return Stages(right, same, rng.random((crops, 4)))


@given(stages, st.floats(0, 20))
def test_what_is_chosen_loses_no_more_than_it_may(drawn: Stages, loss: float) -> None:
    chosen = choose(drawn, loss)
    assert outcome(drawn, chosen.vision, chosen.settled).loss <= loss
    assert chosen.crops == len(drawn.right)


@given(stages)
def test_a_larger_loss_saves_no_less(drawn: Stages) -> None:
    saved = [
        outcome(drawn, chosen.vision, chosen.settled).saved
        for chosen in (choose(drawn, 0), choose(drawn, 10))
    ]
    assert saved[0] <= saved[1]


def test_a_network_without_refinements_has_nothing_to_choose() -> None:
    vision_alone = Stages(*(part[:, :1] for part in STAGES))
    with pytest.raises(ValueError, match="without refinements"):
        choose(vision_alone, 0.1)


@pytest.mark.parametrize("vision", [0.0, 1.1, float("nan")])
def test_impossible_thresholds_are_refused(vision: float) -> None:
    with pytest.raises(ValueError, match="abinet calibrate"):
        EarlyStop(vision, 0.9)
