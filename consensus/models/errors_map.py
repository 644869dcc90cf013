"""Providers' failures, translated in one place.

A message holds the provider's name, the status and the kind of error *if it is one of the kinds
that providers document*, and nothing else: their prose quotes keys ("Incorrect API key provided:
sk-…") and input, and an unknown kind could be anything a proxy felt like writing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from consensus.ballots import Usage
from consensus.errors import FailureClass, ProviderError

__all__ = ["KINDS", "provider_error", "rate_headers", "retry_after_s", "status_failure"]

KINDS = frozenset(
    {
        # Anthropic's error.type
        "api_error",
        "authentication_error",
        "billing_error",
        "conflict_error",
        "invalid_request_error",
        "not_found_error",
        "overloaded_error",
        "permission_error",
        "rate_limit_error",
        "request_too_large",
        "timeout_error",
        # OpenAI's error.code and error.type, and those of its imitators
        "billing_hard_limit_reached",
        "content_filter",
        "content_policy_violation",
        "context_length_exceeded",
        "insufficient_quota",
        "invalid_api_key",
        "invalid_json_schema",
        "invalid_value",
        "model_not_found",
        "rate_limit_exceeded",
        "requests",
        "server_error",
        "service_unavailable",
        "tokens",
        "unsupported_parameter",
        "unsupported_value",
    }
)
"""The kinds of error that a message may repeat."""

_BY_STATUS: Mapping[int, tuple[FailureClass, bool]] = {
    400: ("bad_request", False),
    401: ("auth", False),
    402: ("auth", False),
    403: ("auth", False),
    404: ("not_found", False),
    408: ("timeout", True),
    409: ("server_error", True),
    413: ("request_too_large", False),
    422: ("bad_request", False),
    425: ("server_error", True),
    429: ("rate_limited", True),
    499: ("connection", True),
    500: ("server_error", True),
    501: ("server_error", False),
    502: ("server_error", True),
    503: ("overloaded", True),
    504: ("timeout", True),
    529: ("overloaded", True),
}
# What a provider's own kind of error says better than its status.
_BY_KIND: Mapping[str, tuple[FailureClass, bool]] = {
    "billing_hard_limit_reached": ("rate_limited", False),
    "content_filter": ("refusal", False),
    "content_policy_violation": ("refusal", False),
    "context_length_exceeded": ("request_too_large", False),
    "insufficient_quota": ("rate_limited", False),
    "model_not_found": ("not_found", False),
    "overloaded_error": ("overloaded", True),
    "request_too_large": ("request_too_large", False),
}
_SAYS_TOO_LONG = ("prompt is too long", "maximum context length", "context window")


def status_failure(status: int, kind: str | None = None) -> tuple[FailureClass, bool]:
    """The failure class of an HTTP status, and whether the same request may be sent again.

    Statuses that nobody documents: 5xx is a retryable server error, anything else a bad request.
    """
    if kind is not None and kind in _BY_KIND:
        return _BY_KIND[kind]
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return ("server_error", True) if status >= 500 else ("bad_request", False)


def provider_error(
    provider: str,
    *,
    model: str,
    status: int | None = None,
    kinds: tuple[object, ...] = (),
    prose: object = None,
    headers: Mapping[str, str] | None = None,
    failure: FailureClass | None = None,
    retryable: bool | None = None,
    what: str | None = None,
    usage: Usage | None = None,
    served_model: str | None = None,
    request_id: str | None = None,
    unbilled: bool = False,
) -> ProviderError:
    """One translated failure.

    Args:
        provider: who was asked, as the message names it.
        model: the model that was asked.
        status: the HTTP status, where there was one.
        kinds: the provider's own codes and types, the most telling first; unknown ones are dropped.
        prose: the provider's message; looked at for "prompt is too long", never repeated.
        headers: the response's, for ``retry-after``.
        failure, retryable: override what status and kinds say.
        what: the end of the message (ours, never the provider's) where there is no status.
        usage, served_model, request_id: what is known of an attempt that was billed.
        unbilled: nobody answered, and nothing is billed either.
    """
    known = [kind for kind in kinds if isinstance(kind, str) and kind in KINDS]
    telling = next((kind for kind in known if kind in _BY_KIND), known[0] if known else None)
    class_, again = status_failure(status or 500, telling)
    if class_ == "bad_request" and isinstance(prose, str):
        text = prose.casefold()
        if any(sign in text for sign in _SAYS_TOO_LONG):
            class_, again = "request_too_large", False
    if failure is not None:
        class_, again = failure, bool(retryable)
    elif retryable is not None:
        again = retryable
    if what is None:
        what = f"answered {status}" if status is not None else "did not answer"
        if telling is not None:
            what += f" ({telling})"
    return ProviderError(
        f"{provider} {what}",
        failure=class_,
        retryable=again,
        retry_after_s=retry_after_s(headers or {}),
        status=status,
        model=model,
        usage=usage,
        served_model=served_model,
        request_id=request_id,
        unbilled=unbilled,
    )


def retry_after_s(headers: Mapping[str, str], *, now: float | None = None) -> float | None:
    """The wait that a response asks for, in seconds; never negative.

    ``retry-after-ms`` goes before ``retry-after``, which is seconds or an HTTP date. What is
    neither is no wish at all. A date is counted from the response's own ``date``: the provider's
    clock against itself, for ours may be wrong. ``now`` (Unix time) is for a response without one.
    """
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        value = _header(headers, name)
        if value is None:
            continue
        try:
            seconds = float(value) * unit
        except ValueError:
            seconds = _moment(value) - _said_at(headers, now)
        if math.isfinite(seconds):
            return max(0.0, seconds)
    return None


def rate_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that say what is left of a provider's limits, by lower-case name."""
    kept = {}
    for name, value in headers.items():
        lower = name.lower()
        if lower.startswith(("anthropic-ratelimit-", "x-ratelimit-", "retry-after")):
            kept[lower] = value
    return kept


def _said_at(headers: Mapping[str, str], now: float | None) -> float:
    said = _moment(_header(headers, "date") or "")
    if math.isfinite(said):
        return said
    return time.time() if now is None else now


def _moment(value: str) -> float:
    """An HTTP date in Unix time; not a number where it is none."""
    try:
        return parsedate_to_datetime(value).timestamp()
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _header(headers: Mapping[str, str], name: str) -> str | None:
    value = headers.get(name)
    if value is None:
        value = next((v for k, v in headers.items() if k.lower() == name), None)
    return value
