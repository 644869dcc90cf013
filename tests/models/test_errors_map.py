"""Statuses, kinds and waits, translated; nothing of a provider's prose is repeated."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.errors import FailureClass
from consensus.models.errors_map import (
    KINDS,
    provider_error,
    rate_headers,
    retry_after_s,
    status_failure,
)

PLANTED = "sk-ant-PLANTED-0123456789"


@pytest.mark.parametrize(
    ("status", "failure", "retryable"),
    [
        (400, "bad_request", False),
        (401, "auth", False),
        (402, "auth", False),
        (403, "auth", False),
        (404, "not_found", False),
        (408, "timeout", True),
        (409, "server_error", True),
        (413, "request_too_large", False),
        (418, "bad_request", False),
        (422, "bad_request", False),
        (429, "rate_limited", True),
        (500, "server_error", True),
        (501, "server_error", False),
        (502, "server_error", True),
        (503, "overloaded", True),
        (504, "timeout", True),
        (520, "server_error", True),
        (529, "overloaded", True),
    ],
)
def test_each_status_has_a_class(status: int, failure: FailureClass, retryable: bool) -> None:
    assert status_failure(status) == (failure, retryable)


@pytest.mark.parametrize(
    ("status", "kind", "failure", "retryable"),
    [
        (429, "insufficient_quota", "rate_limited", False),
        (400, "context_length_exceeded", "request_too_large", False),
        (400, "content_filter", "refusal", False),
        (400, "model_not_found", "not_found", False),
        (500, "overloaded_error", "overloaded", True),
    ],
)
def test_the_providers_own_kind_says_more_than_the_status(
    status: int, kind: str, failure: FailureClass, retryable: bool
) -> None:
    error = provider_error("openai", model="openai/x", status=status, kinds=("server_error", kind))
    assert (error.failure, error.retryable) == (failure, retryable)
    assert str(error) == f"openai answered {status} ({kind})"


def test_a_prompt_that_is_too_long_is_recognised_by_the_prose_alone() -> None:
    error = provider_error(
        "anthropic",
        model="m",
        status=400,
        kinds=("invalid_request_error",),
        prose=f"Prompt is too long: 1 > 0 tokens. {PLANTED}",
    )
    assert error.failure == "request_too_large"
    assert PLANTED not in str(error)


@given(st.text() | st.integers() | st.none())
def test_an_undocumented_kind_is_never_repeated(kind: object) -> None:
    error = provider_error("openai", model="m", status=400, kinds=(kind, PLANTED), prose=PLANTED)
    assert str(error) in {"openai answered 400", *(f"openai answered 400 ({k})" for k in KINDS)}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "Sun, 22 Nov 2026 00:00:30 GMT"}, 30.0),
        ({"retry-after": "Sat, 21 Nov 2026 00:00:00 GMT"}, 0.0),
        ({"retry-after-ms": "soon", "retry-after": "2"}, 2.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({}, None),
    ],
)
def test_a_wait_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, now=1_795_305_600.0) == seconds


def test_a_date_to_wait_for_is_counted_from_the_responses_own_date_not_by_our_clock() -> None:
    headers = {
        "date": "Sun, 22 Nov 2026 00:00:00 GMT",
        "retry-after": "Sun, 22 Nov 2026 00:00:02 GMT",
    }
    assert retry_after_s(headers, now=1_795_305_600.0 - 86_400.0) == 2.0


@given(st.text())
def test_no_header_makes_the_reader_fail(value: str) -> None:
    seconds = retry_after_s({"retry-after": value})
    assert seconds is None or seconds >= 0


def test_only_rate_limits_are_kept_of_the_headers() -> None:
    kept = rate_headers(
        {"X-RateLimit-Remaining-Tokens": "5", "anthropic-ratelimit-x": "1", "set-cookie": "secret"}
    )
    assert kept == {"x-ratelimit-remaining-tokens": "5", "anthropic-ratelimit-x": "1"}
