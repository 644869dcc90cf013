"""What the serving benchmark counts with; `make bench-serving` runs it whole."""

from __future__ import annotations

import pytest

from benchmarks.serving.checks import at_once, fullest
from benchmarks.serving.provider import FAULTS, fault_of


def test_the_fullest_stretch_is_found_wherever_it_lies() -> None:
    times = [0.0, 0.9, 1.0, 1.5, 1.99, 5.0]
    assert fullest(times, [1.0] * 6, 1.0) == 3
    assert fullest(times, [1.0, 1.0, 7.0, 1.0, 1.0, 8.0], 1.0) == 9
    assert fullest([], [], 1.0) == 0


def test_spans_that_only_touch_do_not_overlap() -> None:
    assert at_once([(0.0, 1.0), (1.0, 2.0), (0.5, 1.5)]) == 2
    assert at_once([]) == 0


def test_faults_come_as_often_as_they_are_said_to() -> None:
    drawn = [fault_of(n, 1) for n in range(20_000)]
    for name, (share, _) in FAULTS.items():
        assert drawn.count(name) == pytest.approx(share * 20_000, rel=0.5)
