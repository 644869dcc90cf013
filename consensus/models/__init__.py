"""How a model is called: clients, limits, retries, prices, tape.

Nothing heavy is imported here: each name is loaded at its first use, each provider's SDK at its
first call.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from consensus.models.breaker import Breaker, BreakerSettings
    from consensus.models.factory import ClientFactory, ProviderSettings, provider_of
    from consensus.models.gateway import CallContext, Gateway
    from consensus.models.hashing import request_key
    from consensus.models.ids import new_id
    from consensus.models.limits import ProviderLimits
    from consensus.models.prices import ModelPrice, PriceBook
    from consensus.models.protocol import (
        Budget,
        CallRecord,
        CallSink,
        Completion,
        Deadline,
        ModelClient,
        Part,
        Request,
        Turn,
    )
    from consensus.models.retry import RetryPolicy
    from consensus.models.scripted import Reply, ScriptedClient
    from consensus.models.tape import (
        CompletionSource,
        Paid,
        Tape,
        completion_from_json,
        completion_to_json,
    )

__all__ = [
    "Breaker",
    "BreakerSettings",
    "Budget",
    "CallContext",
    "CallRecord",
    "CallSink",
    "ClientFactory",
    "Completion",
    "CompletionSource",
    "Deadline",
    "Gateway",
    "ModelClient",
    "ModelPrice",
    "Paid",
    "Part",
    "PriceBook",
    "ProviderLimits",
    "ProviderSettings",
    "Reply",
    "Request",
    "RetryPolicy",
    "ScriptedClient",
    "Tape",
    "Turn",
    "completion_from_json",
    "completion_to_json",
    "new_id",
    "provider_of",
    "request_key",
]

_HOMES = {
    "breaker": ("Breaker", "BreakerSettings"),
    "factory": ("ClientFactory", "ProviderSettings", "provider_of"),
    "gateway": ("CallContext", "Gateway"),
    "ids": ("new_id",),
    "limits": ("ProviderLimits",),
    "prices": ("ModelPrice", "PriceBook"),
    "protocol": (
        "Budget",
        "CallRecord",
        "CallSink",
        "Completion",
        "Deadline",
        "ModelClient",
        "Part",
        "Request",
        "Turn",
    ),
    "retry": ("RetryPolicy",),
    "scripted": ("Reply", "ScriptedClient"),
    "tape": (
        "CompletionSource",
        "Paid",
        "Tape",
        "completion_from_json",
        "completion_to_json",
    ),
    "hashing": ("request_key",),
}
_LAZY = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"consensus.models.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'consensus.models' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
