"""A policy on its way to another machine: its files, and the hashes that must come out there."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from consensus.errors import DataError, PolicyError
from consensus.models.prices import PriceBook
from consensus.panel.book import PromptBook, load_prompts
from consensus.policy.load import find_policy, find_prompts, load_policy
from consensus.policy.table import PolicyTable

__all__ = ["Ruled", "Shipment", "pack"]

MAX_BYTES = 64 << 20
"""The most that is shipped."""


class Ruled(Protocol):
    """What goes by a policy: an engine, a benchmark run."""

    @property
    def table(self) -> PolicyTable:
        """The policy."""

    @property
    def book(self) -> PromptBook:
        """The prompts."""

    @property
    def prices(self) -> PriceBook:
        """The prices."""


@dataclass(frozen=True, slots=True)
class Rules:
    """A policy that was read, with its prompts and prices."""

    table: PolicyTable
    book: PromptBook
    prices: PriceBook


@dataclass(frozen=True, slots=True)
class Shipment:
    """The files of a policy and its prompts, by their path below one folder."""

    files: dict[str, bytes]
    policy: str
    version_hash: str
    book_sha256: str
    prices_sha256: str

    def unpack(self, folder: Path) -> tuple[Path, Path | None]:
        """Write the files below a folder; the policy's place there, and that of its prompts."""
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        prompts = folder / "prompts"
        return folder / self.policy, prompts if prompts.is_dir() else None

    def read(self, folder: Path) -> Rules:
        """Write the files below a folder, read the policy there, check it.

        Raises:
            PolicyError: as :meth:`check`.
        """
        policy, prompts = self.unpack(folder)
        table = load_policy(policy)
        book = load_prompts(prompts)
        rules = Rules(table, book, PriceBook(overrides=table.price_overrides()))
        self.check(rules)
        return rules

    def check(self, ruled: Ruled) -> None:
        """See that what was made of these files is the driver's, to the hash.

        Raises:
            PolicyError: table, prompts or prices are others than the driver's.
        """
        for what, here, there in (
            ("policy", ruled.table.version_hash, self.version_hash),
            ("prompts", ruled.book.sha256, self.book_sha256),
            ("prices", ruled.prices.sha256, self.prices_sha256),
        ):
            if here != there:
                raise PolicyError(
                    f"the {what} of a worker have the hash {here[:16]}, the driver's {there[:16]}",
                    fix="install the same version of consensus-engine on every machine",
                )


def pack(ruled: Ruled, policy: str | Path | None) -> Shipment:
    """The files that this policy was read from.

    Shipped are the tables, every file below their folder that a table names, the Python beside an
    oracle, and the project's prompts.

    Raises:
        DataError: a file cannot be read, or it is all together more than 64 MB.
    """
    source = find_policy(policy)
    files: dict[str, bytes] = {}
    total = 0
    folder = source if source.is_dir() else source.parent
    paths = [("policy", folder, path) for path in _policy_files(source)]
    prompts = find_prompts(source)
    if prompts is not None:
        visible = (p for p in sorted(prompts.rglob("*")) if not p.name.startswith("."))
        paths += [("prompts", prompts, path) for path in visible if path.is_file()]
    for under, root, path in paths:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror}", where=str(path)) from None
        total += len(content)
        if total > MAX_BYTES:
            raise DataError(
                f"the policy's files are more than {MAX_BYTES >> 20} MB", where=str(path)
            )
        files[f"{under}/{path.relative_to(root).as_posix()}"] = content
    return Shipment(
        files,
        "policy" if source.is_dir() else f"policy/{source.name}",
        ruled.table.version_hash,
        ruled.book.sha256,
        ruled.prices.sha256,
    )


def _policy_files(source: Path) -> list[Path]:
    """A policy's tables, and the files of its folder that they name."""
    tables = sorted(source.glob("*.toml")) if source.is_dir() else [source]
    found = dict.fromkeys(tables)
    for table in tables:
        for text in _texts(tomllib.loads(table.read_text(encoding="utf-8"))):
            path = _below(table.parent, text)
            if path is not None:
                found[path] = None
                if path.suffix == ".py":
                    found.update(dict.fromkeys(sorted(path.parent.glob("*.py"))))
    return list(found)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)


def _below(folder: Path, text: str) -> Path | None:
    """The regular file below a folder that a text names."""
    if not text or len(text) > 500 or "\0" in text or "\n" in text:
        return None
    path = Path(os.path.normpath(folder / text))
    try:
        near = path.is_relative_to(os.path.normpath(folder))
        near = near and path.resolve().is_relative_to(folder.resolve())  # nor by a link
        return path if near and path.is_file() else None
    except (OSError, RuntimeError):
        return None
