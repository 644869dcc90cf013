"""The names under which spans and metrics are written: OpenTelemetry's GenAI conventions.

The names are those of ``opentelemetry-semantic-conventions`` 0.66b2 (schema 1.44.0), which has
handed them over to the repository ``open-telemetry/semantic-conventions-genai``; there they are
still in development. They are written out here, so that neither package nor a change of theirs is
needed to run; a test compares them with the installed package.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

__all__ = [
    "DURATION_BUCKETS_S",
    "OPERATION_DURATION",
    "SCHEMA_URL",
    "SEMCONV_VERSION",
    "TOKEN_BUCKETS",
    "TOKEN_USAGE",
    "WORKFLOW_DURATION",
    "provider_name",
]

SEMCONV_VERSION: Final = "0.66b2"
"""The version of ``opentelemetry-semantic-conventions`` whose names these are."""

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"

OPERATION_NAME: Final = "gen_ai.operation.name"
PROVIDER_NAME: Final = "gen_ai.provider.name"
WORKFLOW_NAME: Final = "gen_ai.workflow.name"
OUTPUT_TYPE: Final = "gen_ai.output.type"
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
REQUEST_SEED: Final = "gen_ai.request.seed"
REQUEST_TEMPERATURE: Final = "gen_ai.request.temperature"
RESPONSE_FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
RESPONSE_ID: Final = "gen_ai.response.id"
RESPONSE_MODEL: Final = "gen_ai.response.model"
TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105 - a name, no secret
USAGE_INPUT: Final = "gen_ai.usage.input_tokens"
USAGE_OUTPUT: Final = "gen_ai.usage.output_tokens"
USAGE_CACHE_READ: Final = "gen_ai.usage.cache_read.input_tokens"
USAGE_CACHE_WRITE: Final = "gen_ai.usage.cache_creation.input_tokens"
USAGE_REASONING: Final = "gen_ai.usage.reasoning.output_tokens"
SYSTEM_INSTRUCTIONS: Final = "gen_ai.system_instructions"
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
ERROR_TYPE: Final = "error.type"

CHAT: Final = "chat"
INVOKE_WORKFLOW: Final = "invoke_workflow"

TOKEN_USAGE: Final = "gen_ai.client.token.usage"  # noqa: S105
OPERATION_DURATION: Final = "gen_ai.client.operation.duration"
WORKFLOW_DURATION: Final = "gen_ai.workflow.duration"

TOKEN_BUCKETS: Final = tuple(4.0**power for power in range(14))
"""From the conventions: 1, 4, 16 … 67,108,864 tokens."""

DURATION_BUCKETS_S: Final = tuple(0.01 * 2**power for power in range(14))
"""From the conventions: .01, .02, .04 … 81.92 seconds."""

CAPTURE_CONTENT: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
"""The variable with which GenAI instrumentations are told to write content."""

CAPTURE_VALUES: Final = frozenset({"true", "1", "span_only", "span_and_event"})

_PROVIDERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "azure": "azure.ai.openai",
        "azure_ai": "azure.ai.inference",
        "bedrock": "aws.bedrock",
        "gemini": "gcp.gemini",
        "mistral": "mistral_ai",
        "moonshot": "moonshot_ai",
        "vertex_ai": "gcp.vertex_ai",
        "watsonx": "ibm.watsonx.ai",
        "xai": "x_ai",
    }
)


def provider_name(model: str) -> tuple[str, str]:
    """A model's provider as the conventions name it, and its name at that provider.

    A provider that the conventions do not list keeps LiteLLM's name for it.
    """
    provider, slash, name = model.partition("/")
    if not slash:
        return "openai", model
    return _PROVIDERS.get(provider, provider), name
