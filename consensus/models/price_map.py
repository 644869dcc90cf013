"""litellm's price map, read as a file: where it is, what it holds, under which key a model stands.

litellm is located and never imported: its import takes seconds, reading the file milliseconds.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from importlib import metadata, util
from pathlib import Path
from typing import Any

from consensus.errors import PriceError

__all__ = ["MAP_NAME", "PriceMap", "find_map", "litellm_providers", "load_map", "name_candidates"]

MAP_NAME = "model_prices_and_context_window_backup.json"
"""The map that litellm carries in its wheel."""

_DATE_SUFFIX = re.compile(r"[-@](?:20\d{6}|20\d\d-\d\d-\d\d)$")

# litellm files some models of a provider under a sister's name.
_SISTERS: Mapping[str, tuple[str, ...]] = {
    "openai": ("openai", "text-completion-openai"),
    "bedrock": ("bedrock", "bedrock_converse", "bedrock_mantle"),
    "cohere": ("cohere", "cohere_chat"),
}


_PROVIDERS_NAME = "provider_endpoints_support_backup.json"


@dataclass(frozen=True, slots=True)
class PriceMap:
    """One parsed price map.

    Attributes:
        entries: map key → litellm's own fields.
        path: the file.
        sha256: of the file's bytes.
        date: the file's modification date (UTC): with an installed package, the day of its install.
        litellm_version: of the package the file came with; None for a file of the caller's own.
    """

    entries: Mapping[str, Mapping[str, Any]]
    path: Path
    sha256: str
    date: date
    litellm_version: str | None

    def find(self, model: str) -> tuple[str, Mapping[str, Any]] | None:
        """The key and entry of a model, or None. The rules are those of :func:`name_candidates`."""
        provider, slash, _ = model.partition("/")
        for name in name_candidates(model):
            entry = self.entries.get(name)
            if entry is None or name == "sample_spec":
                continue
            if slash and not name.startswith(f"{provider}/") and not _serves(provider, entry):
                continue
            return name, entry
        return None


def name_candidates(model: str) -> tuple[str, ...]:
    """The map keys under which a model may stand, in the order they are tried; never fuzzy.

    For ``provider/name``: the whole name; ``name`` alone (it counts only if the map says that this
    provider serves it, so ``groq/gpt-5.4`` never gets OpenAI's price); then both again without one
    trailing date (``-20251001``, ``-2026-03-05`` or ``@20251001``). A name without a provider is
    tried as it is, then without its date. A date is only ever taken off, never added.
    """
    names = [model]
    _, slash, rest = model.partition("/")
    if slash:
        names.append(rest)
    for name in tuple(names):
        undated = _DATE_SUFFIX.sub("", name)
        if undated != name:
            names.append(undated)
    return tuple(names)


def _serves(provider: str, entry: Mapping[str, Any]) -> bool:
    owner = str(entry.get("litellm_provider", ""))
    if provider == "vertex_ai":
        return owner == provider or owner.startswith("vertex_ai-")
    return owner in _SISTERS.get(provider, (provider,))


@lru_cache(maxsize=1)
def find_map() -> Path:
    """Where the installed litellm keeps its map, found without importing it, once a process.

    Raises:
        PriceError: litellm is not installed, or its wheel holds no map.
    """
    spec = util.find_spec("litellm")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / MAP_NAME
        if path.is_file():
            return path
    raise PriceError(
        "litellm's price map was not found",
        fix="install litellm, or give every model its own [prices] table",
    )


@lru_cache(maxsize=1)
def litellm_providers() -> frozenset[str]:
    """The providers that the installed litellm names, in its map or in its table of endpoints."""
    owners = {str(entry.get("litellm_provider")) for entry in load_map().entries.values()}
    try:
        table = json.loads((find_map().parent / _PROVIDERS_NAME).read_bytes())
        return frozenset(owners | set(table["providers"]))
    except (OSError, ValueError, KeyError, TypeError):  # another version of litellm may have none
        return frozenset(owners)


def load_map(path: Path | None = None) -> PriceMap:
    """Read a map; litellm's own unless told. A file is parsed once a process.

    Raises:
        PriceError: the file is missing or is not a price map.
    """
    chosen = path or find_map()
    try:
        stamp = chosen.stat().st_mtime_ns
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise PriceError(f"cannot be read: {reason}", where=str(chosen)) from None
    return _load(chosen, stamp, path is None)


@lru_cache(maxsize=4)
def _load(path: Path, stamp: int, packaged: bool) -> PriceMap:
    raw = path.read_bytes()
    try:
        entries = json.loads(raw)
    except ValueError as error:
        raise PriceError(f"is not JSON: {error}", where=str(path)) from None
    if not isinstance(entries, dict) or not all(isinstance(e, dict) for e in entries.values()):
        raise PriceError("is not an object of models", where=str(path))
    return PriceMap(
        entries=entries,
        path=path,
        sha256=hashlib.sha256(raw).hexdigest(),
        date=datetime.fromtimestamp(stamp / 1e9, tz=UTC).date(),
        litellm_version=metadata.version("litellm") if packaged else None,
    )
