from __future__ import annotations

import numpy as np
import pytest

from consensus.aggregation import stop_replay as replay
from consensus.aggregation import stopping
from consensus.aggregation.stop_value import plain_losses
from consensus.aggregation.votes import plurality, tally


def panel(cases: int = 400, seats: int = 9, p: float = 0.75, seed: int = 11) -> np.ndarray:
    rng = np.random.default_rng(seed)
    votes = np.where(rng.random((cases, seats)) < p, 0, rng.integers(1, 4, (cases, seats)))
    return np.where(rng.random((cases, seats)) < 0.05, -1, votes)


RULES = {
    "certain": replay.certain_rule(),
    "ahead": replay.ahead_rule(3),
    "odds": replay.odds_rule(0.75, 0.1),
    "beta": replay.beta_rule(),
    "prior": replay.prior_rule(stopping.TypePrior(np.array([[0.7, 0.2, 0.1]]), np.array([1.0]))),
    "value": replay.value_rule(plain_losses(4), 0.01, p=0.75, rho=0.1, horizon=3),
    "sprt": replay.sprt_rule(),
    "mixture": replay.mixture_sprt_rule(),
}


def test_waves_repeat_their_last_size() -> None:
    assert replay.wave_ends(8, (3, 2)).tolist() == [3, 5, 7, 8]
    assert replay.wave_ends(2, (3, 2)).tolist() == [2]


@pytest.mark.parametrize("name", RULES)
def test_the_replay_stops_where_the_live_rule_first_says_so(name: str) -> None:
    votes = panel(cases=60)
    rule = RULES[name]
    stopped = replay.stop_times(votes, 4, rule)
    for case, calls in zip(votes, stopped.calls, strict=True):
        said = [
            bool(rule(tally(case[:t], 4)[None], np.array([float(len(case) - t)])))
            for t in range(1, len(case))
        ]
        expected = said.index(True) + 1 if True in said else len(case)
        assert calls == expected


def test_stopping_when_certain_never_changes_the_panels_winner() -> None:
    votes = panel()
    stopped = replay.stop_times(votes, 4, RULES["certain"])
    early = plurality(stopped.counts.sum(axis=1)).winner
    full = plurality(tally(votes, 4)).winner
    np.testing.assert_array_equal(early[stopped.early], full[stopped.early])
    assert stopped.early.any()


def test_a_failed_call_is_counted_as_a_call() -> None:
    stopped = replay.stop_times([[-1, 0, 0, 0, 1]], 2, replay.ahead_rule(2))
    assert stopped.calls.tolist() == [3]
    assert stopped.counts.tolist() == [[[2.0, 0.0]]]


def test_nothing_stops_inside_a_wave() -> None:
    stopped = replay.stop_times(panel(), 4, replay.ahead_rule(2), waves=(3, 2))
    assert set(stopped.calls.tolist()) <= {3, 5, 7, 9}


def test_blocks_are_kept_apart() -> None:
    stopped = replay.stop_times([[0, 0, 1]], 2, replay.ahead_rule(9), blocks=[0, 1, 1])
    np.testing.assert_array_equal(stopped.counts, [[[1, 0], [1, 1]]])
    assert not stopped.early[0]


def test_the_remaining_seats_are_told_by_block() -> None:
    seen: list[list[float]] = []

    def rule(counts: np.ndarray, remaining: np.ndarray) -> np.ndarray:
        seen.append(remaining[0].tolist())
        return np.zeros(counts.shape[0], dtype=bool)

    replay.stop_times([[0, 0, 1]], 2, rule, blocks=[0, 1, 1])
    assert seen == [[0.0, 2.0], [0.0, 1.0]]


def test_early_consistency_stops_at_the_first_unanimous_window() -> None:
    votes = [[0, 1, 2, 2, 2, 2], [0, 0, 1, 1, 1, 1], [0, -1, 0, 1, 1, 0]]
    stopped = replay.window_stop_times(votes, 3, window=2)
    assert stopped.calls.tolist() == [4, 2, 6]
    assert stopped.counts[0, 0].tolist() == [1, 1, 2]


def test_a_missing_vote_breaks_a_window() -> None:
    assert not replay.window_agrees([-1, -1], 2)
    assert replay.window_agrees([1, 0, 2, 2], 2)


def test_an_unknown_answer_is_refused() -> None:
    with pytest.raises(ValueError, match="−1 … 1"):
        replay.stop_times([[0, 2]], 2, replay.ahead_rule(2))


def test_counts_have_a_place_for_each_block_and_no_more() -> None:
    found = replay.stop_times(panel(5, 4), 4, replay.certain_rule(), blocks=[0, 0, 1, 1])
    assert found.counts.shape == (5, 2, 4)


def test_before_the_first_whole_window_nothing_agrees() -> None:
    assert replay.window_agrees([0, 0], 3).shape == ()
    assert not replay.window_agrees([0, 0], 3)


def test_where_no_seat_is_asked_there_is_one_block_without_votes() -> None:
    found = replay.stop_times(np.zeros((3, 0), dtype=np.int64), 2, replay.certain_rule())
    assert found.counts.tolist() == [[[0.0, 0.0]]] * 3
