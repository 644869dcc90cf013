"""The live ranking by pairs, over recorded and simulated comparisons."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from consensus.benchmark.replay_pairs import (
    RecordedRanking,
    recorded_rankings,
    replay_pairs,
    tau_b,
)
from consensus.errors import DataError
from tests.benchmark.data_fixtures import recorded_data_folder


def simulated(rankings: int, items: int, sharp: float, seed: int = 0) -> list[RecordedRanking]:
    """A judge ``j`` who prefers i to j with probability σ(sharp · (merit i − merit j))."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(rankings):
        names = tuple(f"i{k}" for k in range(items))
        merit = rng.normal(size=items) * 1.5
        said = {}
        for i in range(items):
            for j in range(items):
                if i != j:
                    wins = rng.random() < 1 / (1 + np.exp(-sharp * (merit[i] - merit[j])))
                    said["j", names[i], names[j]] = names[i] if wins else names[j]
        found.append(RecordedRanking(names, said, dict(zip(names, merit.tolist(), strict=True))))
    return found


def test_pairs_that_tell_most_beat_pairs_at_random_on_many_items() -> None:
    found = replay_pairs(simulated(16, 12, 2.0), ["j"], 44, draws=20)
    assert found.calls <= 44
    assert found.active > found.random
    assert found.difference_ci95[0] > 0


def test_a_judge_without_noise_is_followed() -> None:
    found = replay_pairs(simulated(4, 5, 50.0), ["j"], 20, draws=1)
    assert found.active == pytest.approx(1.0)


def test_comparisons_that_were_not_recorded_are_failed_seats() -> None:
    ranking = simulated(2, 4, 5.0)
    silent = [RecordedRanking(one.items, {}, one.merit) for one in ranking]
    found = replay_pairs(silent, ["j"], 12, draws=1)
    assert (found.active, found.random) == (0.0, 0.0)
    assert found.calls <= 12


def test_tau_b_by_hand() -> None:
    assert tau_b([3, 2, 1], [30, 20, 10]) == 1.0
    assert tau_b([1, 2, 3], [3, 2, 1]) == -1.0
    assert tau_b([1, 1, 2], [1, 2, 3]) == pytest.approx(2 / np.sqrt(2 * 3))
    assert tau_b([1, 1, 1], [1, 2, 3]) == 0.0


def test_a_folder_without_rankings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        recorded_rankings(tmp_path)


@pytest.mark.needs("recorded-data")
def test_the_recorded_rankings_are_read_whole() -> None:
    found = recorded_rankings(recorded_data_folder() / "prd_vicuna80")
    assert len(found) == 80
    assert {len(ranking.items) for ranking in found} == {5}
    both = [(j, b, a) in ranking.said for ranking in found for j, a, b in ranking.said]
    assert np.mean(both) > 0.95
