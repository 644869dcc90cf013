"""Where the ledger lies: a file on this machine, or a PostgreSQL server."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from consensus.errors import DataError
from consensus.models.environment import url_from
from consensus.strangers import parse_toml, read_bounded

__all__ = ["DEFAULT_PATH", "LedgerServer", "ledger_path"]

MAX_POLICY_BYTES = 1 << 20
DEFAULT_PATH = ".consensus/ledger.db"

_EXAMPLE = "postgresql://USER:PASSWORD@HOST/DATABASE"
_URL = re.compile(r"postgres(?:ql)?(?:\+psycopg)?:/+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LedgerServer:
    """A ledger on a server, to be used where a path is: as text it has no user and no password."""

    url: str = field(repr=False)

    def __str__(self) -> str:
        try:
            parts = urlsplit(self.url)
            port = f":{parts.port}" if parts.port else ""
        except ValueError:
            return "postgresql://"
        return f"postgresql://{parts.hostname or ''}{port}{parts.path}"

    def exists(self) -> bool:
        """Whether it is there is for the server to say, when it is asked."""
        return True

    def absolute(self) -> Self:
        """It is the same from every folder."""
        return self


def ledger_path(
    option: str | Path | None = None,
    *,
    policy: str | Path | None = None,
    declared: str | Callable[[], str | None] | None = None,
) -> Path | LedgerServer:
    """The first of: the option, ``CONSENSUS_LEDGER``, the policy's ``[ledger]``, the default.

    The policy's is ``url_env``, the name of a variable with a URL, or ``path``. Relative paths are
    seen from the current folder. A URL ``postgresql://…`` names a server.

    Args:
        option: what the command line says.
        policy: a policy's folder or file, whose ``[ledger]`` is read; None: ``strategies``.
        declared: what the ``[ledger]`` of a policy that is loaded already says, in place of
            ``policy``; a function is asked only if nothing stronger names a place.

    Raises:
        PolicyError: ``url_env`` names a variable that is not set.
    """
    if option is not None:
        return _place(option)
    if named := os.environ.get("CONSENSUS_LEDGER"):
        return _place(named)
    said = declared() if callable(declared) else declared
    return _place(said or _declared(Path(policy or "strategies")) or DEFAULT_PATH)


def _place(given: str | Path) -> Path | LedgerServer:
    text = str(given)
    found = _URL.match(text)
    if found is None:
        return Path(given)
    if isinstance(given, Path) and not text[found.end() - 2 :].startswith("//"):
        # A path has no double slash; a URL that came as one gets it back.
        slashes = "///" if "?host=" in text else "//"
        text = f"{found[0].rstrip('/')}{slashes}{text[found.end() :]}"
    return LedgerServer(text)


def _declared(policy: Path) -> str | None:
    """The policy's ``[ledger]``. A policy that cannot be read does not hide its ledger."""
    files = sorted(policy.glob("*.toml")) if policy.is_dir() else [policy]
    for file in files:
        try:
            table = parse_toml(read_bounded(file, MAX_POLICY_BYTES)).get("ledger", {})
            variable, path = table.get("url_env"), table.get("path")
        except (DataError, ValueError, AttributeError):
            continue
        if isinstance(variable, str) and variable:
            return url_from(variable, where="[ledger] url_env", example=_EXAMPLE)
        if isinstance(path, str) and path:
            return path
    return None
