"""One table at a time: what a decision goes by, how the next one takes over, and what is watched.

A decision holds one :class:`Setup` from its beginning to its end: one table, one price book, one
book of prompts, one gateway. A new setup is made beside the old one, whole and checked, and takes
its place in one assignment; the old one is closed after the last decision that holds it. What
cannot be loaded never takes over.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from consensus.errors import ConsensusError
from consensus.models.gateway import Gateway
from consensus.models.prices import PriceBook
from consensus.panel.book import PromptBook, load_prompts
from consensus.policy.load import find_policy, find_prompts, load_policy
from consensus.policy.oracles import prepare_oracles
from consensus.policy.table import PolicyTable

__all__ = ["POLL_S", "PolicyStatus", "Rules", "Setup", "Succession", "load_rules", "watched_files"]

POLL_S = 2.0
"""Seconds between two looks at the files, where the engine is told to reload and not how often."""

MAX_WATCHED_BYTES = 64_000_000
"""Of one file. A larger one is told by its size and time alone."""

log = logging.getLogger("consensus.policy")


@dataclass(frozen=True, slots=True)
class Rules:
    """What is read from files: the table, its prices and the prompts.

    Attributes:
        digest: of every file that they were read from; "" where there is none.
    """

    table: PolicyTable
    prices: PriceBook
    book: PromptBook
    digest: str = ""


@dataclass(frozen=True, slots=True)
class PolicyStatus:
    """Which table is in force, and what became of the last attempt to put another in its place.

    Attributes:
        version: the content hash of the table in force.
        source: where it was read from.
        loaded_at: when it came into force, in seconds since 1970.
        reloads: how often a new one has taken over.
        error: why the files as they are now were refused, in one line; None where they are in
            force.
        failed_at: when they were.
    """

    version: str
    source: str
    loaded_at: float
    reloads: int = 0
    error: str | None = None
    failed_at: float | None = None

    @property
    def current(self) -> bool:
        """Whether what is in force is what the files say."""
        return self.error is None

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def load_rules(policy: str | Path | PolicyTable | None, prompts: str | Path | None) -> Rules:
    """Read and check a policy and its prompts, as the engine takes them.

    Raises:
        PolicyError, PromptError, PriceError: one line with ``file:line``, the key and the fix.
    """
    if prompts is not None:
        folder: Path | None = Path(prompts)
    else:
        folder = find_prompts(Path(policy) if isinstance(policy, str | Path) else None)
    # Taken first: a file that changes while it is read differs at the next look.
    before = {} if isinstance(policy, PolicyTable) else _digests(_said(policy, folder))
    book = load_prompts(folder)
    table = load_policy(policy, prompts=book)
    prepare_oracles(table)
    if isinstance(policy, PolicyTable):
        return Rules(table, PriceBook(overrides=table.price_overrides()), book)
    named = {path for path in watched_files(policy, folder, table) if str(path) not in before}
    digest = _digest({**before, **_digests(named)})
    return Rules(table, PriceBook(overrides=table.price_overrides()), book, digest)


def watched_files(
    policy: str | Path | None, prompts: Path | None, table: PolicyTable
) -> tuple[Path, ...]:
    """Every file that rules come from: the TOML, the prompts, and what the TOML names beside it."""
    files = set(_said(policy, prompts))
    folder = find_policy(policy)
    folder = folder if folder.is_dir() else folder.parent
    for name in _strings(table.model_dump(mode="json", exclude_none=True, by_alias=True)):
        if 0 < len(name) <= 255 and "\n" not in name and "\0" not in name:
            path = folder / name
            if "." in path.name and path.is_file():
                files.add(path)
    return tuple(sorted(files))


def _said(policy: str | Path | None, prompts: Path | None) -> Iterator[Path]:
    path = find_policy(policy)
    yield from sorted(path.glob("*.toml")) if path.is_dir() else [path]
    if prompts is not None:
        yield from (file for file in sorted(prompts.rglob("*")) if file.is_file())


def _strings(node: object) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, Mapping):
        for value in node.values():
            yield from _strings(value)
    elif isinstance(node, list):
        for value in node:
            yield from _strings(value)


def _digests(files: Any) -> dict[str, str]:
    """Each file by its content: a save within one tick of the clock changes neither time nor size.

    A file that is gone, or cannot be read, has a digest of its own.
    """
    found = {}
    for path in files:
        try:
            size = path.stat().st_size
            if size > MAX_WATCHED_BYTES:
                found[str(path)] = f"{size}:{path.stat().st_mtime_ns}"
            else:
                found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            found[str(path)] = type(error).__name__
    return found


def _digest(files: Mapping[str, str]) -> str:
    lines = "\n".join(f"{path}\t{digest}" for path, digest in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


@dataclass(slots=True, eq=False)
class Setup:
    """Rules in force and the gateway made for them.

    Attributes:
        prepared: providers whose client has loaded its library.
        held_by: how many decisions and jobs go by it now.
    """

    rules: Rules
    gateway: Gateway
    prepared: set[str] = field(default_factory=set)
    held_by: int = 0
    _retired: bool = False

    @property
    def table(self) -> PolicyTable:
        """The policy."""
        return self.rules.table

    @property
    def prices(self) -> PriceBook:
        """The price book."""
        return self.rules.prices

    @property
    def book(self) -> PromptBook:
        """The prompts."""
        return self.rules.book

    @asynccontextmanager
    async def held(self) -> AsyncIterator[Setup]:
        """Keep it open for as long as the block runs, whatever takes its place meanwhile."""
        self.held_by += 1
        try:
            yield self
        finally:
            self.held_by -= 1
            await self._close_if_done()

    async def retire(self) -> None:
        """Take it out of force: closed now, or by the last that holds it."""
        self._retired = True
        await self._close_if_done()

    async def _close_if_done(self) -> None:
        if self._retired and self.held_by == 0:
            self._retired = False
            # A caller who goes away must not leave half of the connections open.
            await asyncio.shield(asyncio.ensure_future(self.gateway.aclose()))


class Succession:
    """Which rules are in force, and how the next ones come into it.

    Args:
        policy, prompts: as the engine takes them.
        gateway: makes the first gateway; later ones are its successors.
    """

    def __init__(
        self,
        policy: str | Path | PolicyTable | None,
        prompts: str | Path | None,
        gateway: Callable[[Rules], Gateway],
    ) -> None:
        self._policy, self._prompts, self._first = policy, prompts, gateway
        self.rules = load_rules(policy, prompts)
        self._setup: Setup | None = None
        self._old: set[Setup] = set()
        self._changing = asyncio.Lock()
        self._refused: str | None = None
        self.status = PolicyStatus(
            version=self.rules.table.version_hash,
            source=self.rules.table.source,
            loaded_at=time.time(),
        )

    @property
    def setup(self) -> Setup:
        """What is in force; its gateway is made at the first use."""
        if self._setup is None:
            self._setup = Setup(self.rules, self._first(self.rules))
        return self._setup

    async def release(self) -> None:
        """Close every gateway now, whoever holds it; the next decision opens another."""
        setup, self._setup = self._setup, None
        for each in (*self._old, setup):
            if each is not None:
                await each.gateway.aclose()
        self._old.clear()

    async def changed(self) -> bool:
        """Whether the files differ from what is in force and from what was refused last."""
        if isinstance(self._policy, PolicyTable):
            return False
        digest = await asyncio.to_thread(self._digest_now)
        if digest == self.rules.digest and self._refused is not None:
            self._refused = None  # the files are again what is in force
            self.status = replace(self.status, error=None, failed_at=None)
        return digest not in (self.rules.digest, self._refused)

    async def reload(self) -> PolicyStatus:
        """Read the files and put them in force, if they are sound; say what became of it.

        Never raises for what the files say: the old table stays, and the status has the line.
        """
        if isinstance(self._policy, PolicyTable):
            return self.status
        async with self._changing:
            refused = await asyncio.to_thread(self._digest_now)
            try:
                rules = await asyncio.to_thread(load_rules, self._policy, self._prompts)
                old = self._setup
                new = old and Setup(
                    rules,
                    old.gateway.successor(rules.table.provider_settings(), rules.prices),
                    set(old.prepared),
                )
            except (ConsensusError, OSError) as error:
                self._refuse(refused, str(error))
                return self.status
            same = rules.digest == self.rules.digest
            self.rules, self._setup, self._refused = rules, new, None
            self.status = PolicyStatus(
                version=rules.table.version_hash,
                source=rules.table.source,
                loaded_at=self.status.loaded_at if same else time.time(),
                reloads=self.status.reloads + (not same),
            )
            if not same:
                log.info("policy %s in force from %s", self.status.version, self.status.source)
            self._old = {each for each in self._old if each.held_by}
            if old is not None:
                self._old.add(old)
                await old.retire()
        return self.status

    async def watch(self, every_s: float) -> None:
        """Look at the files again and again, and reload what has changed; runs until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            try:
                if await self.changed():
                    await self.reload()
            except Exception as error:  # the old table stays, and the next look may be better
                log.exception("looking at the policy failed")
                self._refuse(None, f"{type(error).__name__} while looking at the files")

    def _digest_now(self) -> str:
        policy = self._policy
        assert not isinstance(policy, PolicyTable)  # noqa: S101 - callers ask first
        if self._prompts is not None:
            folder: Path | None = Path(self._prompts)
        else:
            folder = find_prompts(Path(policy) if policy is not None else None)
        return _digest(_digests(watched_files(policy, folder, self.rules.table)))

    def _refuse(self, digest: str | None, why: str) -> None:
        self._refused = digest
        self.status = replace(self.status, error=why, failed_at=time.time())
        log.error("policy %s stays in force: %s", self.status.version, why)
