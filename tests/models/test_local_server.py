"""LiteLLM against a real OpenAI-compatible server on loopback: llama.cpp, the smallest model."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from consensus.errors import ProviderError
from consensus.models.protocol import Part, Request, Turn
from tests.models.local_fixtures import local_model

if TYPE_CHECKING:
    from consensus.models.litellm_client import LiteLLMClient

pytestmark = pytest.mark.needs("local-model")

KEY = "sk-loopback-test"
QUESTION = "Should the refund be approved? Answer with one word, approve or reject."


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(local_model())
    params.n_ctx = 4096
    params.n_parallel = 2
    params.cache_ram_mib = 0
    params.verbosity = -1
    params.ui = False
    params.hostnames = ["127.0.0.1"]
    params.api_keys = [KEY]
    server = xllamacpp.Server(params)
    yield f"{server.listening_address}/v1"
    del server


def client(base_url: str, key: str = KEY) -> LiteLLMClient:
    from consensus.models.litellm_client import LiteLLMClient
    from consensus.models.prices import PriceBook

    prices = PriceBook({"openai/tiny": {"input": 0.0, "output": 0.0, "max_input_tokens": 4096}})
    return LiteLLMClient(api_key=key, base_url=base_url, prices=prices)


def request(question: str = QUESTION, **changed: Any) -> Request:
    turns = (Turn("user", (Part("The kettle was never used.", cache=True), Part(question))),)
    return Request(**{"model": "openai/tiny", "system": "You judge.", "turns": turns, **changed})


async def test_a_chat_completion_has_text_tokens_and_a_served_model(base_url: str) -> None:
    async with aclosing(client(base_url)) as litellm:
        completion = await litellm.complete(request(max_output_tokens=8), timeout_s=60)
    assert completion.text
    assert completion.usage.total_input > 20
    assert 0 < completion.usage.output <= 8
    assert completion.served_model.startswith("openai/")
    assert completion.finish in {"stop", "length"}


async def test_a_json_schema_is_enforced_by_the_server(base_url: str) -> None:
    schema = {
        "type": "object",
        "properties": {"answer": {"type": "string", "enum": ["approve", "reject"]}},
        "required": ["answer"],
        "additionalProperties": False,
    }
    asked = request("As JSON.", output_schema=schema, max_output_tokens=40)
    async with aclosing(client(base_url)) as litellm:
        completion = await litellm.complete(asked, timeout_s=60)
    assert json.loads(completion.text)["answer"] in {"approve", "reject"}


async def test_log_probabilities_become_a_ballot(base_url: str) -> None:
    """Which words the smallest model begins with is its affair: ask for those it lists."""
    question = "Say yes or no. Answer with one word: yes or no."
    asked = request(question, choices=("yes", "no"), max_output_tokens=4)
    async with aclosing(client(base_url)) as litellm:
        completion = await litellm.complete(asked, timeout_s=60)
    assert completion.choice_probabilities is not None
    assert math.fsum(completion.choice_probabilities) == pytest.approx(1.0)
    assert completion.coverage is not None
    assert completion.coverage > 0


async def test_a_wrong_key_is_an_authentication_failure_without_the_key(base_url: str) -> None:
    async with aclosing(client(base_url, key="sk-wrong-key")) as litellm:
        with pytest.raises(ProviderError) as caught:
            await litellm.complete(request(max_output_tokens=4), timeout_s=60)
    assert caught.value.failure == "auth"
    assert not caught.value.retryable
    assert "sk-wrong-key" not in str(caught.value)
