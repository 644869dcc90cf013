"""What processes that share no store keep to: each its part of every limit."""

from __future__ import annotations

from pathlib import Path

import pytest

from consensus.engine import Engine
from consensus.errors import PolicyError
from consensus.models.factory import ProviderSettings
from consensus.models.sharing import Divided
from tests.engine_fixtures import MODELS, policy_file


@pytest.mark.parametrize("processes", [2, 3, 4, 7])
def test_the_parts_of_all_processes_never_pass_a_limit(processes: int) -> None:
    settings = ProviderSettings(
        requests_per_minute=100, tokens_per_minute=90_000, concurrency=10, window_s=5
    )
    part = Divided(processes).limits("openai", settings)
    assert part.concurrency is not None
    assert part.requests_per_minute is not None
    assert part.tokens_per_minute is not None
    assert processes * part.concurrency <= 10
    assert processes * part.requests_per_minute <= 100 + 1e-9
    assert processes * part.tokens_per_minute <= 90_000 + 1e-6


def test_a_limit_with_no_part_for_each_names_the_provider_and_the_way_out() -> None:
    with pytest.raises(PolicyError, match=r"providers\.openai.*3.*4 processes") as caught:
        Divided(4).limits("openai", ProviderSettings(concurrency=3))
    assert "[limits] shared" in str(caught.value)


def test_a_model_on_this_machine_keeps_its_own_limits() -> None:
    part = Divided(4).limits("scripted", ProviderSettings(concurrency=8))
    assert part.concurrency == 8


def test_one_process_has_it_all() -> None:
    assert Divided.among(1) is None
    assert Divided.among(2) is not None


def test_where_batches_are_asked_a_provider_keeps_its_own_limits() -> None:
    shared = Divided(4)
    batched = shared.but_own(["openai"])
    settings = ProviderSettings(concurrency=8)
    assert batched.limits("openai", settings).concurrency == 8
    assert batched.limits("anthropic", settings).concurrency == 2
    assert shared.limits("openai", settings).concurrency == 2


async def test_an_engine_of_several_gives_its_gateway_a_part(tmp_path: Path) -> None:
    file = policy_file(tmp_path, "", head=MODELS)
    async with (
        Engine(file, ledger=False, processes=4) as engine,
        engine.pinned() as setup,
    ):
        lane = setup.gateway._lanes["openai/gpt-5.4-nano"]
        assert lane.limits.concurrency == 25
