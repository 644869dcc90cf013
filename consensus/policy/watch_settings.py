"""``[watch]`` and ``[alarms]``: what is looked at in production, and who is told."""

from __future__ import annotations

import re
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, field_validator, model_validator

from consensus.policy._types import Amount, Count, NotNegative, Strict

__all__ = ["ALARM_RATIO", "AlarmSettings", "Monitor", "WatchSettings", "Webhook", "why_not_posted"]

ALARM_RATIO = 1.15
"""An excess of a rate or a mean over the profile's that counts: more than 15 %."""

Monitor: TypeAlias = Literal[
    "escalation",
    "undecided",
    "gate",
    "disagreement",
    "cost",
    "output",
    "served",
    "price",
    "deprecation",
]
"""``escalation``: tasks that needed another hop. ``undecided``: those that ended without an
outcome. ``gate``: outcomes that the gate refused. ``disagreement`` with the frontier or a shadow.
``cost`` and ``output`` tokens of a decision. ``served``: another model answers than was certified.
``price``: a model's price is not the certificate's. ``deprecation``: a model is about to go.
"""

EVERY: tuple[Monitor, ...] = (
    "escalation",
    "undecided",
    "gate",
    "disagreement",
    "cost",
    "output",
    "served",
    "price",
    "deprecation",
)

Ratio: TypeAlias = Annotated[float, Field(gt=1, allow_inf_nan=False)]

_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,127}")


class WatchSettings(Strict):
    """``[watch]``: production against the profile of each row that has one."""

    on: Annotated[tuple[Monitor, ...], Field(strict=False, min_length=1)] = Field(
        default=EVERY, description="What is watched."
    )
    ratio: Ratio = Field(
        default=ALARM_RATIO,
        description="A rate or a mean over the profile's above which an excess counts.",
    )
    alpha: Annotated[float, Field(ge=1e-6, le=0.2)] = Field(
        default=0.05,
        description="Chance allowed that one monitor of one row, as good as its profile, cries "
        "wolf within the first horizon_days; it grows no faster than in proportion.",
    )
    horizon_days: Count = Field(default=30, description="Days that alpha is meant for.")
    least: Count = Field(
        default=20, description="Decisions below which a rate or a mean raises no alarm."
    )
    deprecation_days: Count = Field(
        default=60, description="Days before a model's retirement at which it is told."
    )
    every_s: Amount = Field(
        default=60.0, description="Seconds between two looks of a running service."
    )


def why_not_posted(url: str) -> str | None:
    """Why nothing may be posted to an address; None where it may. The text has no part of it."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return "must be an http or https address"
    if not host or parts.scheme not in ("http", "https"):
        return "must be an http or https address"
    if parts.scheme == "http" and host not in ("localhost", "127.0.0.1", "::1"):
        return "must be https, except on loopback"
    return None


class Webhook(Strict):
    """Where an alarm is posted as JSON."""

    url: str | None = Field(default=None, description="Its address: https, or http on loopback.")
    url_env: str | None = Field(
        default=None,
        description="NAME of the environment variable that holds the address, where it is secret.",
    )
    secret_env: str | None = Field(
        default=None,
        description="NAME of the environment variable with the key of the HMAC-SHA256 signature.",
    )
    timeout_s: Amount = Field(default=10.0, description="Seconds one attempt may take.")
    attempts: Annotated[int, Field(ge=1, le=10)] = Field(
        default=3, description="Attempts a look; what failed is tried again at the next look."
    )

    @field_validator("url")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if why := why_not_posted(value):
            raise ValueError(why)
        from urllib.parse import urlsplit

        parts = urlsplit(value)
        if parts.username or parts.password or parts.query:
            raise ValueError("must hold no user, password or query: put a secret one into url_env")
        return value

    @field_validator("url_env", "secret_env")
    @classmethod
    def _a_name(cls, value: str | None) -> str | None:
        if value is not None and not _VARIABLE.fullmatch(value):
            raise ValueError("must be the NAME of an environment variable (capitals, digits, _)")
        return value

    @model_validator(mode="after")
    def _one(self) -> Webhook:
        if (self.url is None) == (self.url_env is None):
            raise ValueError("needs one of url and url_env")
        return self


class AlarmSettings(Strict):
    """``[alarms]``: who is told of an incident; each once."""

    escalation_ratio: Ratio = Field(
        default=ALARM_RATIO,
        description="Share of tasks that needed another hop, over the profile's, above which an "
        "excess is an alarm.",
    )
    mute: Annotated[tuple[Monitor, ...], Field(strict=False)] = Field(
        default=(), description="Incidents of these are kept, and told to nobody."
    )
    log: bool = Field(default=True, description="As a warning of the logger consensus.watch.")
    webhook: Webhook | None = Field(default=None, description="As a POST.")
    command: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] | None = Field(
        default=None,
        description="Program and arguments, run without a shell; the alarm is JSON on its input.",
    )
    command_timeout_s: Amount = Field(default=30.0, description="Seconds it may run.")
    retry_s: NotNegative = Field(
        default=300.0, description="Seconds after which a failed telling is tried again."
    )
    demote_on: Annotated[tuple[Monitor, ...], Field(strict=False)] = Field(
        default=("escalation", "gate", "disagreement", "served"),
        description="Incidents that take a row with demote back to its certified ground.",
    )

    def tells(self, monitor: str) -> bool:
        """Whether anybody is to be told of an incident of this monitor."""
        return monitor not in self.mute
