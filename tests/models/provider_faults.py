"""The faults that both clients must translate alike, and what a leak would look like."""

from __future__ import annotations

import traceback
from typing import Any

from consensus.errors import FailureClass, ProviderError
from consensus.models.protocol import Part, Request, Turn
from tests.loopback import Reply

KEY = "sk-PLANTED-0123456789abcdef"
JUDGED = "JUDGED: the customer is Ada Lovelace"
BALLOT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "rationale": {"type": "string"},
        "answer": {"enum": ["approve", "reject"]},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
    },
    "required": ["rationale", "answer", "confidence"],
    "additionalProperties": False,
}

Fault = tuple[Reply, FailureClass, bool, int | None]

_STATUSES: tuple[tuple[int, FailureClass, bool], ...] = (
    (400, "bad_request", False),
    (401, "auth", False),
    (403, "auth", False),
    (404, "not_found", False),
    (408, "timeout", True),
    (413, "request_too_large", False),
    (422, "bad_request", False),
    (429, "rate_limited", True),
    (500, "server_error", True),
    (503, "overloaded", True),
    (529, "overloaded", True),
)
FAULTS: dict[str, Fault] = {
    **{
        str(status): (Reply(status=status, retry_after=7), failure, retryable, status)
        for status, failure, retryable in _STATUSES
    },
    "cut-before": (Reply(cut="before"), "connection", True, None),
    "cut-body": (Reply(cut="body"), "connection", True, None),
    "broken-json": (Reply(raw='{"id": "x", "content": ['), "malformed_response", True, None),
    "not-json": (Reply(raw="<html>", content_type="text/html"), "malformed_response", True, None),
    "wrong-type": (Reply(content_type="text/plain", raw="ok"), "malformed_response", True, None),
    "no-message": (Reply(raw="{}"), "malformed_response", True, None),
    "a-list": (Reply(raw="[]"), "malformed_response", True, None),
    "nothing": (Reply(raw=""), "malformed_response", True, None),
    "html-503": (
        Reply(status=503, raw=f"<html>{JUDGED} {KEY}", content_type="text/html"),
        "overloaded",
        True,
        503,
    ),
    "slow": (Reply(latency_s=5), "timeout", True, None),
}


def ask(model: str, **changes: Any) -> Request:
    """A ballot on one subject, with a marked prefix."""
    parts = (Part("The rules. " * 500, cache=True), Part(JUDGED))
    fields: dict[str, Any] = {
        "system": "You are a judge.",
        "turns": (Turn("user", parts),),
        "output_schema": BALLOT,
        "max_output_tokens": 200,
    }
    return Request(model, **{**fields, **changes})


def assert_tells_nothing(error: ProviderError) -> None:
    """Neither the key nor the judged text is anywhere in what would be printed or pickled."""
    printed = "".join(traceback.format_exception(error))
    told = f"{printed}{error!r}{error.__dict__}"
    assert KEY not in told
    assert "Ada Lovelace" not in told
    assert error.__cause__ is None
    assert error.__context__ is None
