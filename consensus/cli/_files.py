"""Files that commands write: whole, or not at all."""

from __future__ import annotations

import sys
from pathlib import Path

from consensus.cli._console import note

__all__ = ["write_text"]


def write_text(name: str | Path, text: str) -> None:
    """Write a file and say so on stderr; ``-`` is stdout.

    Raises:
        DataError: it cannot be written.
    """
    from consensus.errors import DataError

    if str(name) == "-":
        sys.stdout.write(text)
        return
    path = Path(name)
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text, encoding="utf-8", newline="\n")
        part.replace(path)
    except OSError as error:
        raise DataError(f"cannot be written: {error.strerror}", where=str(name)) from None
    note(f"wrote {path}")
