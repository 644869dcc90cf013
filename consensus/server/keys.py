"""Who may call: keys by their hashes, with task types and budgets (design/server.md).

::

    [keys.3fa9c1d2]
    name = "billing service"
    sha256 = "9f86d081884c7d65…"
    types = ["refund_approval", "triage"]    # or ["*"]
    usd_per_day = 5.0
    usd_per_month = 100.0
    metrics = false                          # may read /metrics
    reviews = ["refund_approval"]            # may see and label what all callers had decided

The key itself is printed once, when it is made, and kept nowhere.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import secrets
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from consensus.errors import DataError
from consensus.models.ids import new_id
from consensus.strangers import parse_toml, read_bounded
from consensus.tasks import TYPE_PATTERN, describe

__all__ = ["DEFAULT_KEYS", "ApiKey", "Caller", "KeyRing", "load_keys", "new_key", "revoke_key"]

DEFAULT_KEYS = Path(".consensus/keys.toml")
LOOK_AGAIN_S = 1.0
SEPARATOR = "-"
_NAME = r"^[0-9a-f]{8}$"
_Type = Annotated[str, Field(pattern=rf"{TYPE_PATTERN}|^\*$")]

log = logging.getLogger("consensus.server")


class ApiKey(BaseModel):
    """One key: its hash and what it may do. ``key_id`` begins the ids of all its decisions."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    key_id: str = Field(pattern=_NAME)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    name: str = Field(default="", max_length=200)
    types: tuple[_Type, ...]
    usd_per_day: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    usd_per_month: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    metrics: bool = False
    reviews: tuple[_Type, ...] = ()
    created: str = ""

    @model_validator(mode="after")
    def _of_use(self) -> Self:
        if not (self.types or self.reviews or self.metrics):
            raise ValueError("types: none is named, nor may it review or read metrics")
        return self

    @property
    def has_budget(self) -> bool:
        """Whether its spending is bounded."""
        return self.usd_per_day is not None or self.usd_per_month is not None

    def may(self, task_type: str) -> bool:
        """Whether it may have tasks of this type decided."""
        return "*" in self.types or task_type in self.types

    def may_review(self, task_type: str) -> bool:
        """Whether it may see and label what other callers had decided of this type."""
        return "*" in self.reviews or task_type in self.reviews


class Caller:
    """Who sent a request: the holder of a key, or anyone on this machine (``key`` is None)."""

    __slots__ = ("key",)

    def __init__(self, key: ApiKey | None) -> None:
        self.key = key

    @property
    def name(self) -> str:
        """For the access log."""
        return "-" if self.key is None else self.key.key_id

    def may(self, task_type: str) -> bool:
        """Whether it may have tasks of this type decided."""
        return self.key is None or self.key.may(task_type)

    def may_read_metrics(self) -> bool:
        """Whether it may see what all callers do."""
        return self.key is None or self.key.metrics

    def may_review(self, task_type: str) -> bool:
        """Whether it may see and label what any caller had decided of this type."""
        return self.key is None or self.key.may_review(task_type)

    @property
    def reviews(self) -> tuple[str, ...] | None:
        """The task types that it reviews; None: all of them."""
        if self.key is None or "*" in self.key.reviews:
            return None
        return tuple(sorted(set(self.key.reviews)))

    def decision_id(self) -> str:
        """An id for its next decision, by which its spending and its receipts are found."""
        return new_id() if self.key is None else f"{self.key.key_id}{SEPARATOR}{new_id()}"

    def owns(self, receipt_id: str) -> bool:
        """Whether a receipt is its own."""
        return self.key is None or receipt_id.startswith(self.key.key_id + SEPARATOR)


MAX_KEYS_BYTES = 16_000_000


def load_keys(path: Path) -> dict[str, ApiKey]:
    """The keys of a file, by id.

    Raises:
        DataError: one line with the file, the key's id and what was expected.
    """
    if not path.exists():
        raise DataError(
            "there is no such file of keys",
            where=str(path),
            fix="consensus serve keys new --types TYPE",
        )
    try:
        data = parse_toml(read_bounded(path, MAX_KEYS_BYTES))
    except ValueError as error:  # not TOML, not UTF-8; neither message quotes a value
        raise DataError(f"is not a file of keys: {error}", where=str(path)) from None
    tables = data.get("keys", {})
    if set(data) - {"keys"} or not isinstance(tables, dict):
        raise DataError("holds something other than [keys.ID] tables", where=str(path))
    found = {}
    for name, table in tables.items():
        try:
            found[name] = ApiKey.model_validate({"key_id": name, **table})
        except (ValidationError, TypeError) as error:
            said = describe(error) if isinstance(error, ValidationError) else "is not a table"
            raise DataError(said, where=f"{path}: keys.{name}") from None
    return found


class KeyRing:
    """The keys in force, read again when their file changes.

    Args:
        path: the file. One that is missing later, or broken at the first load, opens nothing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._state = _state(path)
        self._keys = load_keys(path)
        self._look_at = time.monotonic() + LOOK_AGAIN_S

    def keys(self) -> dict[str, ApiKey]:
        """The keys in force now."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_AGAIN_S
            self._look()
        return self._keys

    def find(self, token: str) -> ApiKey | None:
        """The key that this is; every key is compared, in a time that tells nothing."""
        return _matching(self.keys().values(), token)

    def _look(self) -> None:
        state = _state(self.path)
        if state == self._state:
            return
        self._state = state
        if state is None:
            self._keys = {}
            log.error("keys: %s is gone; nobody may call", self.path)
            return
        try:
            self._keys = load_keys(self.path)
        except DataError as error:
            log.error("keys: the last good ones stay in force: %s", error)
        else:
            log.info("keys: %d in force", len(self._keys))


def _matching(keys: Iterable[ApiKey], token: str) -> ApiKey | None:
    digest = _digest(token)
    found: ApiKey | None = None
    for key in keys:
        if hmac.compare_digest(key.sha256, digest):
            found = key
    return found


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        seen = path.stat()
    except OSError:
        return None
    return seen.st_ino, seen.st_mtime_ns, seen.st_size


def new_key(
    path: Path,
    *,
    name: str = "",
    types: Iterable[str],
    usd_per_day: float | None = None,
    usd_per_month: float | None = None,
    metrics: bool = False,
    reviews: Iterable[str] = (),
) -> tuple[ApiKey, str]:
    """Make a key, add it to the file, and give it back with its secret, which is kept nowhere.

    Raises:
        DataError: the file cannot be read or written, or a type is no type.
    """
    keys = load_keys(path) if path.exists() else {}
    key_id = next(i for i in iter(lambda: secrets.token_hex(4), None) if i not in keys)
    token = f"ck_{key_id}_{secrets.token_urlsafe(32)}"
    try:
        key = ApiKey(
            key_id=key_id,
            sha256=_digest(token),
            name=name,
            types=tuple(types),
            usd_per_day=usd_per_day,
            usd_per_month=usd_per_month,
            metrics=metrics,
            reviews=tuple(reviews),
            created=datetime.now(UTC).date().isoformat(),
        )
    except ValidationError as error:
        raise DataError(describe(error), where="the new key") from None
    _write(path, {**keys, key_id: key})
    return key, token


def revoke_key(path: Path, key_id: str) -> ApiKey:
    """Take a key out of the file; a running server refuses it within a second.

    Raises:
        DataError: there is no such key.
    """
    keys = load_keys(path)
    if key_id not in keys:
        known = ", ".join(keys) or "none"
        raise DataError(f'has no key "{key_id}"', where=str(path), fix=f"it has {known}")
    key = keys.pop(key_id)
    _write(path, keys)
    return key


def _write(path: Path, keys: dict[str, ApiKey]) -> None:
    import tomlkit

    document = tomlkit.document()
    document.add(tomlkit.comment("Keys of consensus serve, by their hashes. Never in the policy."))
    table = tomlkit.table(is_super_table=True)
    for key_id, key in keys.items():
        row = tomlkit.table()
        for field, value in key.model_dump(exclude={"key_id"}, exclude_none=True).items():
            row.add(field, list(value) if isinstance(value, tuple) else value)
        table.add(key_id, row)
    document.add("keys", table)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        if not path.parent.exists():
            path.parent.mkdir(mode=0o700, parents=True)
            if path.parent.name == ".consensus":
                (path.parent / ".gitignore").write_text("*\n")
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(tomlkit.dumps(document))
        partial.replace(path)
    except OSError as error:
        raise DataError(f"cannot be written: {error.strerror}", where=str(path)) from None
