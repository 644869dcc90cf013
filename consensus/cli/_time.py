"""Moments as the command line writes them."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

import typer

__all__ = ["moment"]

_AGE = re.compile(r"(\d{1,6})([mhdw])")
_SECONDS = {"m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def moment(text: str | None, option: str = "--since") -> float | None:
    """A day, a time or an age as seconds since 1970; without a zone it is UTC.

    Raises:
        typer.BadParameter: it is none of these.
    """
    if text is None:
        return None
    if match := _AGE.fullmatch(text):
        return time.time() - int(match[1]) * _SECONDS[match[2]]
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{option} {text!r} is no time: write 2026-11-22, 2026-11-22T08:30, 90m, 24h or 7d"
        ) from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
