from __future__ import annotations

import pytest
from pydantic import ValidationError

from consensus.policy.watch_settings import ALARM_RATIO, AlarmSettings, WatchSettings, Webhook


def test_everything_is_watched_and_logged_unless_said_otherwise() -> None:
    assert "escalation" in WatchSettings().on
    alarms = AlarmSettings()
    assert alarms.escalation_ratio == ALARM_RATIO == 1.15
    assert alarms.log
    assert alarms.tells("escalation")


def test_a_muted_monitor_is_not_told() -> None:
    assert not AlarmSettings(mute=("cost",)).tells("cost")


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "needs one of url and url_env"),
        ({"url": "https://a.example", "url_env": "HOOK"}, "needs one of"),
        ({"url": "http://a.example/x"}, "must be https"),
        ({"url": "ftp://a.example/x"}, "http or https"),
        ({"url": "https://user:pw@a.example/x"}, "no user, password or query"),
        ({"url": "https://a.example/x?token=1"}, "no user, password or query"),
        ({"url_env": "sk-not-a-name"}, "NAME of an environment variable"),
        ({"url_env": "HOOK", "secret_env": "s3cret"}, "NAME of an environment variable"),
    ],
)
def test_a_webhook_that_cannot_be_right_is_refused(fields: dict[str, str], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Webhook(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("url", ["https://a.example/x", "http://127.0.0.1:9/x", "http://[::1]/x"])
def test_https_and_loopback_are_taken(url: str) -> None:
    assert Webhook(url=url).url == url


@pytest.mark.parametrize("fields", [{"ratio": 1.0}, {"alpha": 0.5}, {"alpha": 0.0}, {"on": []}])
def test_a_watch_that_would_cry_always_or_never_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        WatchSettings(**fields)  # type: ignore[arg-type]
