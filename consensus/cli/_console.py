"""Where things are printed: results on stdout, progress and logs on stderr."""

from __future__ import annotations

import json
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["note", "print_json", "stderr", "stdout"]


@cache
def stdout() -> Console:
    """Results. Wide enough not to fold a table where it is piped."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 160, highlight=False)


@cache
def stderr() -> Console:
    """Progress, notes, errors."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def print_json(data: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(data, ensure_ascii=False, allow_nan=False, indent=2) + "\n")


def note(text: str) -> None:
    """One line on stderr, as it is."""
    sys.stderr.write(text + "\n")
