"""Our prices against litellm's own calculator, over its whole map; and where it has been wrong.

Four differences are meant: litellm assumes cached reads at half price for Fireworks where the map
has no price for them, ignores fees per request, bills by the clock where there are off-peak prices,
and loses the region of Bedrock's Converse models in GovCloud. We take the dear side in all four.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from consensus.ballots import Cost, Usage
from consensus.errors import PriceError
from consensus.models.price_map import load_map
from consensus.models.prices import PriceBook

# litellm's own imports warn.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*`ReadOnly` qualifier:UserWarning"),
]

HAIKU = "anthropic/claude-haiku-5-5"
BOOK = PriceBook()


def theirs(name: str, provider: str, usage: Usage) -> float:
    """litellm's cost in pico-dollars."""
    from litellm.litellm_core_utils.llm_cost_calc.utils import generic_cost_per_token
    from litellm.types.utils import (
        CacheCreationTokenDetails,
        CompletionTokensDetailsWrapper,
        PromptTokensDetailsWrapper,
    )
    from litellm.types.utils import Usage as LiteLLMUsage

    written = usage.cache_write + usage.cache_write_1h
    details = PromptTokensDetailsWrapper(
        cached_tokens=usage.cache_read,
        cache_creation_tokens=written,
        cache_creation_token_details=CacheCreationTokenDetails(
            ephemeral_5m_input_tokens=usage.cache_write,
            ephemeral_1h_input_tokens=usage.cache_write_1h,
        ),
    )
    asked = LiteLLMUsage(
        prompt_tokens=usage.total_input,
        completion_tokens=usage.output,
        total_tokens=usage.total_input + usage.output,
        prompt_tokens_details=details,
        completion_tokens_details=CompletionTokensDetailsWrapper(reasoning_tokens=usage.reasoning),
    )
    parts = generic_cost_per_token(model=name, usage=asked, custom_llm_provider=provider)
    return float(sum(parts)) * 1e12


def comparable(entry: dict[str, Any]) -> bool:
    """Whether litellm means to charge what the map says."""
    provider = str(entry.get("litellm_provider"))
    return (
        entry.get("mode") == "chat"
        and provider != "fireworks_ai"
        and not provider.startswith(("vertex_ai-", "amazon"))  # its lookup refuses these names
        and "input_cost_per_request" not in entry
        and "off_peak_pricing" not in entry
    )


@pytest.mark.parametrize("long", [False, True], ids=["short", "long"])
def test_every_chat_model_of_the_map_costs_the_same(long: bool) -> None:
    rng = random.Random(2026)
    compared = 0
    for key, entry in load_map().entries.items():
        provider = str(entry.get("litellm_provider"))
        name = key if "/" in key else f"{provider}/{key}"
        governmental = provider == "bedrock_converse" and key.startswith("bedrock/us-gov-")
        if governmental or not comparable(dict(entry)) or not BOOK.knows(name):
            continue
        usage = Usage(
            input=rng.randrange(1, 5000) + (300_000 if long else 0),
            cache_read=rng.randrange(5000),
            cache_write=rng.randrange(5000),
            cache_write_1h=rng.randrange(5000),
            output=rng.randrange(100, 5000),
            reasoning=rng.randrange(100),
        )
        try:
            # By the name's own prefix: under ``bedrock_converse`` its lookup forgets the region.
            prefix, rest = name.split("/", 1)
            expected = theirs(rest, prefix if prefix == "bedrock" else provider, usage)
        except Exception as error:
            if "isn't mapped" in str(error):
                continue
            raise
        assert BOOK.price(name).cost_pico(usage) == pytest.approx(expected, rel=1e-9, abs=2), name
        compared += 1
    assert compared > 2000


@pytest.mark.parametrize("model", ["openai/gpt-5.4", HAIKU, "gemini/gemini-2.5-pro"])
def test_whole_completions_cost_the_same(model: str) -> None:
    import litellm

    cost = litellm.completion_cost(
        completion_response={
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": model.split("/", 1)[1],
            "choices": [],
            "usage": {
                "prompt_tokens": 4000,
                "completion_tokens": 250,
                "total_tokens": 4250,
                "prompt_tokens_details": {"cached_tokens": 3000},
            },
        },
        model=model,
    )
    ours = BOOK.price(model).cost_pico(Usage(input=1000, cache_read=3000, output=250))
    assert ours == pytest.approx(cost * 1e12, rel=1e-9)


class TestBugsThatOthersHad:
    def test_cached_tokens_are_not_charged_twice(self) -> None:
        # Read as part of prompt_tokens and again as cached tokens (litellm 6215, 14874).
        price = BOOK.price("openai/gpt-5.4")
        assert price.cost_pico(Usage(input=40, cache_read=60)) == 40 * 2_500_000 + 60 * 250_000

    def test_cached_tokens_are_not_free(self) -> None:
        # Writes and reads dropped from the bill (litellm 5443, 11364).
        price = BOOK.price(HAIKU)
        assert price.cost_pico(Usage(cache_write=1000)) == 125_000_000
        assert price.cost_pico(Usage(cache_read=1000)) == 10_000_000

    def test_long_context_prices_are_not_ignored(self) -> None:
        # litellm 30135.
        price = BOOK.price(HAIKU)
        assert price.cost_pico(Usage(input=100_001)) == 100_001 * 500_000
        assert price.cost_pico(Usage(input=100_000)) == 100_000 * 100_000

    def test_long_context_batches_have_their_own_price(self) -> None:
        price = BOOK.price(HAIKU)
        assert price.cost_pico(Usage(input=100_001), batch=True) == 100_001 * 250_000

    def test_the_served_model_has_its_own_price(self) -> None:
        usage = Usage(input=1000, output=1000)
        asked, served = BOOK.price("openai/gpt-5.4"), BOOK.price("openai/gpt-5.4-nano-2026-03-17")
        assert served.cost_pico(usage) == 1_450_000_000 != asked.cost_pico(usage)

    def test_a_parents_total_is_the_sum_of_its_children_exactly(self) -> None:
        price = BOOK.price("openai/gpt-5.4-nano")
        costs = [price.cost_pico(Usage(input=n, cache_read=n * 7, output=n)) for n in range(1000)]
        total = Cost.total(Cost(pico_usd=cost) for cost in costs)
        assert total.pico_usd == sum(costs)
        assert total.pico_usd == price.cost_pico(
            Usage(input=499_500, cache_read=499_500 * 7, output=499_500)
        )

    def test_an_unknown_model_is_not_silently_free(self) -> None:
        with pytest.raises(PriceError):
            BOOK.price("openai/gpt-unheard-of")
