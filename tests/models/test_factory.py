"""From a model's name to its client."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

from consensus.errors import PolicyError
from consensus.models import factory as factories
from consensus.models.anthropic_client import AnthropicClient
from consensus.models.factory import ClientFactory, ProviderSettings, provider_of
from consensus.models.litellm_client import LiteLLMClient
from consensus.models.local import LocalClient
from consensus.models.openai_client import OpenAIClient
from consensus.models.prices import PriceBook
from consensus.models.protocol import Part, Request, Turn
from consensus.models.scripted import ScriptedClient


def test_the_provider_is_what_stands_before_the_first_slash() -> None:
    assert provider_of("openrouter/anthropic/claude") == "openrouter"


@pytest.mark.parametrize("name", ["gpt-5.4", "", "/x", "openai/"])
def test_a_name_without_a_provider_is_refused(name: str) -> None:
    with pytest.raises(PolicyError, match="provider/model"):
        provider_of(name)


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("anthropic/claude-opus-5-5", AnthropicClient),
        ("local/qwen2.5-coder-0.5b-instruct", LocalClient),
        ("scripted/a", ScriptedClient),
        ("openai/gpt-5.4-nano", OpenAIClient),
        ("gemini/whatever", LiteLLMClient),
        ("openrouter/anthropic/claude", LiteLLMClient),
    ],
)
async def test_each_provider_has_its_client(model: str, kind: type) -> None:
    clients = ClientFactory()
    assert type(clients.client(model)) is kind
    await clients.aclose()


async def test_models_of_one_provider_share_one_client() -> None:
    clients = ClientFactory()
    one = clients.client("scripted/a")
    assert one is clients.client("scripted/b")
    assert one is not clients.client("openai/b")
    await clients.aclose()


def test_a_client_may_be_given() -> None:
    own = ScriptedClient()
    clients = ClientFactory(overrides={"openai": own})
    assert clients.client("openai/gpt-5.4") is own


def test_the_settings_reach_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    class Spy(ScriptedClient):
        def __init__(self, **options: Any) -> None:
            given.update(options)
            super().__init__()

    monkeypatch.setenv("TEAM_KEY", "sk-planted")
    monkeypatch.setattr("consensus.models.openai_client.OpenAIClient", Spy)
    prices = PriceBook()
    settings = ProviderSettings("http://127.0.0.1:1/v1", "TEAM_KEY", concurrency=7)
    clients = ClientFactory({"openai": settings}, prices)
    clients.client("openai/x")
    assert given == {
        "provider": "openai",
        "api_key": "sk-planted",
        "base_url": "http://127.0.0.1:1/v1",
        "concurrency": 7,
        "prices": prices,
    }
    assert "sk-planted" not in repr(settings)


def test_a_key_whose_variable_is_not_set_is_one_clear_line() -> None:
    clients = ClientFactory({"anthropic": ProviderSettings(api_key_env="TEAM_KEY")})
    with pytest.raises(PolicyError, match=r"\[providers.anthropic\] api_key_env: .*TEAM_KEY"):
        clients.client("anthropic/x")


async def test_a_scripted_provider_may_name_its_file_of_rules(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('[[rules]]\nanswer = "from the file"\n')
    clients = ClientFactory({"scripted": ProviderSettings(base_url=str(tmp_path / "r.toml"))})
    asked = Request("scripted/a", "", (Turn("user", (Part("?"),)),))
    completion = await clients.client("scripted/a").complete(asked, timeout_s=1)
    assert completion.text == "from the file"


def test_a_package_may_register_a_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("acme", "tests.models.test_factory:registered", "consensus.clients")
    monkeypatch.setattr(
        "importlib.metadata.entry_points", lambda **by: EntryPoints([point]).select(**by)
    )
    assert isinstance(ClientFactory().client("acme/x"), ScriptedClient)


def registered(name: str, settings: ProviderSettings, prices: PriceBook) -> ScriptedClient:
    assert name == "acme"
    return ScriptedClient()


def test_local_models_are_asked_one_at_a_time_and_given_longer() -> None:
    settings = ClientFactory().settings("local")
    assert (settings.at_once("local"), settings.at_once("openai")) == (1, 100)
    assert settings.timeout("local") > settings.timeout("openai")
    assert settings.limits("local").concurrency == 1
    assert ProviderSettings(concurrency=4).at_once("local") == 4


def test_limits_are_made_of_settings() -> None:
    settings = ProviderSettings(requests_per_minute=60, tokens_per_minute=900, concurrency=3)
    limits = ClientFactory({"openai": settings}).limits()["openai"]
    assert (limits.requests_per_minute, limits.tokens_per_minute, limits.concurrency) == (
        60,
        900,
        3,
    )
    assert limits.name == "openai"


@pytest.mark.parametrize(
    "wrong",
    [
        {"requests_per_minute": 0},
        {"tokens_per_minute": -1},
        {"concurrency": 0},
        {"timeout_s": 0},
        {"timeout_s": float("nan")},
        {"max_attempts": 0},
        {"cooldown_s": -1},
    ],
    ids=str,
)
def test_senseless_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(PolicyError, match=next(iter(wrong))):
        ProviderSettings(**wrong)


async def test_every_client_is_closed_though_one_fails_to() -> None:
    class Stubborn(ScriptedClient):
        async def aclose(self) -> None:
            raise RuntimeError("no")

    good = [ScriptedClient(), ScriptedClient()]
    clients = ClientFactory(overrides={"a": good[0], "b": Stubborn(), "c": good[1]})
    with pytest.raises(RuntimeError, match="no"):
        await clients.aclose()
    assert all(client.closed for client in good)


def test_the_table_of_clients_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        factories.BUILDERS["x"] = factories._litellm  # type: ignore[index]


HEAVY = ("litellm", "anthropic", "scipy", "sqlalchemy", "sklearn", "jinja2", "xllamacpp", "numpy")


def test_importing_every_module_of_calls_loads_nothing_heavy() -> None:
    code = f"""
import sys
import consensus.models, consensus.models.gateway, consensus.models.scripted
from consensus.models import *
print([name for name in {HEAVY} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_the_package_says_it_exports_is_there() -> None:
    import consensus.models as models

    for name in models.__all__:
        assert getattr(models, name) is not None
    assert sorted(models._LAZY) == models.__all__ == dir(models)
    with pytest.raises(AttributeError):
        _ = models.nothing_of_this_name
