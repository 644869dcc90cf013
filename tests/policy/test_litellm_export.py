"""The policy as a LiteLLM configuration: what is in it, and what LiteLLM's router makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from consensus.cli.main import app
from consensus.errors import PolicyError
from consensus.policy.litellm_export import LiteLLMExport, export_litellm
from consensus.policy.load import load_policy
from tests.loopback.replies import Reply
from tests.loopback.server import LoopbackProvider

POLICY = """
version = 1
[tiers]
small = ["openai/gpt-5.4-nano", "openai/gpt-5.4-mini"]
frontier = ["openai/gpt-5.4"]
[providers.openai]
max_attempts = 1
timeout_s = 20
api_key_env = "TEAM_KEY"
[prices."openai/gpt-5.4-nano"]
input = 0.2
output = 1.25
max_input_tokens = 2000
max_output_tokens = 500
[defaults]
tier = "frontier"
[tasks.triage]
kind = "choose"
owner = "support"
consequence = "low"
tier = "small"
fallback = ["openai/gpt-5.4-mini"]
escalate_to = ["frontier"]
max_output_tokens = 64
deadline_s = 5
[tasks.refund]
kind = "approve"
strategy = "vote"
tier = "small"
losses = { false_approve = 20 }
"""

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def exported(folder: Path, policy: str = POLICY) -> LiteLLMExport:
    file = folder / "policy.toml"
    file.write_text(policy, encoding="utf-8")
    return export_litellm(load_policy(file))


def entry(made: LiteLLMExport, name: str) -> dict[str, Any]:
    (found,) = (e for e in made.config["model_list"] if e["model_name"] == name)
    assert isinstance(found, dict)
    return found


def test_every_task_type_tier_and_fallback_is_a_group(tmp_path: Path) -> None:
    made = exported(tmp_path)
    groups = {e["model_name"]: e["litellm_params"]["model"] for e in made.config["model_list"]}
    assert groups == {
        "triage": "openai/gpt-5.4-nano",
        "refund": "openai/gpt-5.4-nano",
        "default": "openai/gpt-5.4",
        "small": "openai/gpt-5.4-nano",
        "frontier": "openai/gpt-5.4",
        "openai/gpt-5.4-mini": "openai/gpt-5.4-mini",
        "openai/gpt-5.4": "openai/gpt-5.4",
    }
    assert made.config["router_settings"]["fallbacks"] == [{"triage": ["openai/gpt-5.4-mini"]}]
    assert made.config["router_settings"]["num_retries"] == 0


def test_a_key_is_a_reference_and_never_a_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEAM_KEY", "sk-very-secret")
    made = exported(tmp_path)
    assert entry(made, "triage")["litellm_params"]["api_key"] == "os.environ/TEAM_KEY"
    assert "sk-very-secret" not in made.to_yaml()


def test_prices_deadline_and_output_limit_go_along(tmp_path: Path) -> None:
    params = entry(exported(tmp_path), "triage")["litellm_params"]
    assert params["input_cost_per_token"] == pytest.approx(0.2e-6)
    assert params["output_cost_per_token"] == pytest.approx(1.25e-6)
    assert (params["timeout"], params["max_tokens"]) == (5, 64)


def test_the_window_guard_goes_along_as_the_input_that_it_lets_pass(tmp_path: Path) -> None:
    info = entry(exported(tmp_path), "triage")["model_info"]
    assert info["max_input_tokens"] == int(0.8 * 2000) - 64


def test_the_task_type_is_on_every_entry_for_who_attributes_cost(tmp_path: Path) -> None:
    made = entry(exported(tmp_path), "triage")
    assert made["litellm_params"]["tags"] == ["task_type:triage", "consequence:low"]
    assert made["model_info"]["owner"] == "support"


def test_what_a_router_cannot_do_is_said_in_comments(tmp_path: Path) -> None:
    made = exported(tmp_path)
    text = made.to_yaml()
    assert "#   - panels (one call of openai/gpt-5.4-nano instead): refund\n" in text
    assert "#   - losses: refund\n" in text
    assert any("escalation to frontier" in line and "triage" in line for line in made.left_out)
    assert yaml.safe_load(text) == made.config


def test_a_row_on_local_models_is_left_out_and_named(tmp_path: Path) -> None:
    more = '[tasks.here]\nkind = "approve"\nmodels = ["local/x"]\n'
    made = exported(tmp_path, POLICY + more)
    assert "here" not in {e["model_name"] for e in made.config["model_list"]}
    assert "here: local/x runs inside consensus" in made.left_out


def test_a_policy_of_local_models_alone_is_refused(tmp_path: Path) -> None:
    policy = '[tiers]\nsmall = ["local/x"]\n[defaults]\ntier = "small"\n'
    with pytest.raises(PolicyError, match="through LiteLLM"):
        exported(tmp_path, policy)


def test_the_command_writes_a_file_that_yaml_reads(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(POLICY, encoding="utf-8")
    out = tmp_path / "router.yaml"
    arguments = ["policy", "export", str(tmp_path / "policy.toml"), "--litellm", "-o", str(out)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert set(yaml.safe_load(out.read_text(encoding="utf-8"))) == {"model_list", "router_settings"}


# -- LiteLLM's own router ------------------------------------------------------------------------


@pytest.fixture
def router(tmp_path: Path, loopback_env: LoopbackProvider, monkeypatch: pytest.MonkeyPatch) -> Any:
    """LiteLLM's router with the file that we write, against the provider on loopback."""
    monkeypatch.setenv("TEAM_KEY", "sk-loopback-team")
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    address = f'[providers.openai]\nbase_url = "{loopback_env.url}/v1"\n'
    made = exported(tmp_path, POLICY.replace("[providers.openai]\n", address))
    (tmp_path / "router.yaml").write_text(made.to_yaml(), encoding="utf-8")
    config = yaml.safe_load((tmp_path / "router.yaml").read_text(encoding="utf-8"))
    import litellm

    return litellm.Router(model_list=config["model_list"], **config["router_settings"])


def asked_models(provider: LoopbackProvider) -> list[str]:
    return [request.model for request in provider.requests]


async def ask(router: Any, group: str, text: str = "Which team?") -> Any:
    return await router.acompletion(model=group, messages=[{"role": "user", "content": text}])


async def test_litellms_router_sends_each_task_type_to_its_tier(
    router: Any, loopback_env: LoopbackProvider
) -> None:
    for group in ("triage", "refund", "default", "frontier"):
        await ask(router, group)
    nano, big = "gpt-5.4-nano", "gpt-5.4"
    assert asked_models(loopback_env) == [nano, nano, big, big]


async def test_litellms_router_falls_back_where_the_policy_says(
    router: Any, loopback_env: LoopbackProvider
) -> None:
    def script(asked: object) -> Reply | None:
        return Reply(status=500) if "nano" in str(getattr(asked, "model", "")) else None

    loopback_env.set_script(script)
    answer = await ask(router, "triage")
    assert answer.choices[0].message.content
    assert asked_models(loopback_env)[-1] == "gpt-5.4-mini"
    assert asked_models(loopback_env)[0] == "gpt-5.4-nano"


async def test_litellms_router_sends_what_is_too_long_to_a_wider_window(
    router: Any, loopback_env: LoopbackProvider
) -> None:
    await ask(router, "triage", "A long story. " * 1500)
    assert asked_models(loopback_env)[-1] in {"gpt-5.4-mini", "gpt-5.4"}
    assert "gpt-5.4-nano" not in asked_models(loopback_env)


async def test_litellms_router_reads_the_key_from_the_environment(
    router: Any, loopback_env: LoopbackProvider
) -> None:
    await ask(router, "triage")
    (deployment,) = (d for d in router.model_list if d["model_name"] == "triage")
    assert deployment["litellm_params"]["api_key"] == "sk-loopback-team"
