"""Each study that needs no other process, once, in the smallest size that says anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.speed import limiter, memory, replay, waiting
from benchmarks.speed.calls import TEN, own_us, ratio
from benchmarks.speed.environments import LABELS, PEERS
from benchmarks.speed.rounds import Figures
from benchmarks.speed.shared import SEATS, panel_requests


async def test_a_panel_has_ten_requests_that_hold_the_case() -> None:
    requests = await panel_requests("anthropic/claude-haiku-5-5", 17)
    assert len(requests) == SEATS
    assert all("Case 17." in request.turns[0].text for request in requests)


async def test_the_queue_keeps_its_order_and_its_rate() -> None:
    found = await limiter.run("ours", 150, 0.6)
    assert found["moved"] == 0
    assert found["most"] <= limiter.RATE


async def test_a_stream_leaves_ten_points() -> None:
    found = await memory.run(20, ledger=False)
    assert len(found["curve"]) == memory.POINTS


def test_synthetic_answers_are_five_models_with_five_samples(tmp_path: Path) -> None:
    run = replay.synthetic(4, tmp_path)
    assert run.models() == replay.NAMES
    assert len(run.rows) == 4 * replay.MODELS * replay.SAMPLES


def test_every_latency_row_is_one_that_the_policy_takes(tmp_path: Path) -> None:
    known, unknown = waiting._known(tmp_path)
    assert unknown == []
    assert list(known) == list(waiting.ROWS)


def test_ratios_are_taken_within_a_round() -> None:
    measured = {
        "ours, Anthropic": {TEN: Figures([11.0, 22.0], [1.0, 1.0])},
        "client underneath, Anthropic": {TEN: Figures([10.0, 20.0], [1.0, 1.0])},
    }
    names = "ours, Anthropic", "client underneath, Anthropic"
    assert ratio(measured, TEN, *names) == pytest.approx(1.1)
    assert own_us(measured, TEN, *names) == pytest.approx(150.0)


@pytest.mark.parametrize("name", LABELS)
def test_a_peer_has_exact_pins_and_a_script(name: str) -> None:
    pins = (PEERS / name / "requirements.txt").read_text("utf-8").split()
    assert pins
    assert all(pin.count("==") == 1 and "://" not in pin for pin in pins)
    assert (PEERS / name / "run.py").is_file()
