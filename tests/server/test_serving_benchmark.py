"""The serving benchmark, small: faults, a kill, and every promise checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.serving.checks import at_once, fullest
from benchmarks.serving.provider import FAULTS, fault_of
from benchmarks.serving.run import run
from tests.servers.real import Postgres

pytestmark = [pytest.mark.waits]


@pytest.mark.needs("postgres")
async def test_two_workers_one_of_them_killed_keep_every_promise(
    postgres_server: Postgres, tmp_path: Path
) -> None:
    outcome = await run(
        postgres_server, tmp_path, decisions=400, processes=2, at_once=32, workers=True
    )
    assert [line for line in outcome.lines if line.broken] == []
    assert all(line.checked for line in outcome.lines)


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
