"""A little of the long run that cancels: a few moments of each shape; and it sees what is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.reliability._cancelling import SHAPES, cancelled_over
from consensus.models.limits import Permit

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="counts sockets in /proc"
)


@pytest.mark.parametrize("name", SHAPES)
async def test_nothing_is_left_of_a_decision_that_is_cancelled_at_a_random_moment(
    tmp_path: Path, name: str
) -> None:
    tally = await cancelled_over(SHAPES[name], tmp_path, 4, seed=f"test {name}", ledger=True)
    assert tally.running >= 2
    assert tally.left == []


async def test_what_is_left_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def kept(self: Permit, tokens: int | None = None) -> None:
        """A place that is never given back."""

    monkeypatch.setattr(Permit, "unused", kept)
    monkeypatch.setattr(Permit, "done", kept)
    shape = SHAPES["vote"]
    monkeypatch.setattr("benchmarks.reliability._cancelling.HEAD", ROOMY)
    tally = await cancelled_over(shape, tmp_path, 2, seed="left", ledger=False)
    assert any("places" in what for what in tally.left)


ROOMY = """version = 1
[providers.scripted]
concurrency = 10000
[tiers]
small = ["scripted/a"]
[defaults]
tier = "small"
[prices."scripted/a"]
input = 3
output = 15
"""
