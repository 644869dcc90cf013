"""The names that are written are those of the conventions' own package."""

from __future__ import annotations

import re
from importlib.metadata import version

import pytest
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from opentelemetry.semconv.attributes import error_attributes
from opentelemetry.semconv.schemas import Schemas

from consensus.telemetry import conventions

NAMES = sorted(
    value
    for key, value in vars(conventions).items()
    if key.isupper() and isinstance(value, str) and re.match(r"gen_ai\.|error\.", value)
)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_stands_in_the_pinned_conventions(name: str) -> None:
    modules = (gen_ai_attributes, gen_ai_metrics, error_attributes)
    known = {v for module in modules for v in vars(module).values() if isinstance(v, str)}
    # This metric came with the repository to which the conventions have moved.
    assert name in known or name == "gen_ai.workflow.duration"


def test_the_pinned_version_is_the_installed_one() -> None:
    assert version("opentelemetry-semantic-conventions") == conventions.SEMCONV_VERSION
    assert conventions.SCHEMA_URL in {schema.value for schema in Schemas}


@pytest.mark.parametrize(
    ("model", "provider", "name"),
    [
        ("anthropic/claude-haiku-5-5", "anthropic", "claude-haiku-5-5"),
        ("gemini/gemini-3-pro", "gcp.gemini", "gemini-3-pro"),
        ("xai/grok-5", "x_ai", "grok-5"),
        ("local/qwen3-0.6b", "local", "qwen3-0.6b"),
        ("openrouter/meta/llama", "openrouter", "meta/llama"),
    ],
)
def test_providers_have_the_conventions_names(model: str, provider: str, name: str) -> None:
    assert conventions.provider_name(model) == (provider, name)
