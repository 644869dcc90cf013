"""What was billed: a prompt cache that works by content, and a log of every request."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.loopback.asking import BYTES_PER_TOKEN, tokens

OPENAI_BLOCK = 128
OPENAI_MINIMUM = 1024


@dataclass
class Bill:
    """Input tokens of one request, in classes that do not overlap."""

    fresh: int = 0
    read: int = 0
    write_5m: int = 0
    write_1h: int = 0

    @property
    def total(self) -> int:
        return self.fresh + self.read + self.write_5m + self.write_1h


@dataclass(frozen=True)
class Segment:
    """A piece of a prompt; ``ttl`` is set where it ends a cached prefix."""

    text: str
    ttl: str | None = None


@dataclass
class PrefixCache:
    """Prefixes by content. A prefix can be read once the answer that wrote it has begun."""

    lifetime_s: float = 300.0
    _entries: dict[str, float] = field(default_factory=dict)

    def anthropic(
        self, model: str, segments: Iterable[Segment], minimum: int
    ) -> tuple[Bill, list[str]]:
        """Explicit breakpoints: the longest known prefix is read, the rest up to the last marker
        is written. The second value goes to :meth:`store` when the answer begins."""
        digest = hashlib.sha256(model.encode())
        size = read = last = 0
        ttl: str | None = None
        written: list[str] = []
        for segment in segments:
            raw = segment.text.encode()
            digest.update(raw)
            size += len(raw)
            if segment.ttl is None:
                continue
            count = -(-size // BYTES_PER_TOKEN)
            if count < minimum:
                continue
            key = digest.hexdigest()
            last, ttl = count, segment.ttl
            written.append(key)
            if self._alive(key):
                read = count
        bill = Bill(fresh=-(-size // BYTES_PER_TOKEN) - last, read=read)
        if ttl == "1h":
            bill.write_1h = last - read
        else:
            bill.write_5m = last - read
        return bill, written

    def openai(self, model: str, text: str) -> tuple[Bill, list[str]]:
        """Automatic: whole blocks of 128 tokens, from 1,024 on."""
        raw, total = text.encode(), tokens(text)
        digest = hashlib.sha256(model.encode())
        read, written = 0, []
        step = OPENAI_BLOCK * BYTES_PER_TOKEN
        for count in range(OPENAI_BLOCK, total + 1, OPENAI_BLOCK):
            end = count * BYTES_PER_TOKEN
            if end > len(raw):
                break
            digest.update(raw[end - step : end])
            if count >= OPENAI_MINIMUM:
                key = digest.hexdigest()
                written.append(key)
                if self._alive(key):
                    read = count
        return Bill(fresh=total - read, read=read), written

    def store(self, keys: Iterable[str]) -> None:
        """Make prefixes readable; reading one again renews it."""
        until = time.monotonic() + self.lifetime_s
        for key in keys:
            self._entries[key] = until

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()

    def _alive(self, key: str) -> bool:
        return self._entries.get(key, 0.0) > time.monotonic()


@dataclass
class Entry:
    """One request and what became of it. ``sent``: its answer left this server whole."""

    n: int
    api: str
    path: str
    model: str
    key: str
    started: float
    status: int = 0
    served_model: str = ""
    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    sent: bool = False
    ended: float = 0.0

    @property
    def paid(self) -> bool:
        """Whether an answer was billed: it was good, and it was sent whole."""
        return self.status == 200 and self.sent and self.output > 0


@dataclass
class Log:
    """Every request of a server's life."""

    entries: list[Entry] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0

    @property
    def by_key(self) -> Counter[str]:
        """How often each request was asked."""
        return Counter(entry.key for entry in self.entries)

    @property
    def paid(self) -> list[Entry]:
        """The answers that were billed."""
        return [entry for entry in self.entries if entry.paid]

    @property
    def paid_twice(self) -> dict[str, int]:
        """Requests whose answer was billed more than once."""
        counts = Counter(entry.key for entry in self.paid)
        return {key: count for key, count in counts.items() if count > 1}

    def summary(self) -> dict[str, Any]:
        """Everything, as JSON."""
        return {
            "requests": len(self.entries),
            "distinct": len(self.by_key),
            "paid": len(self.paid),
            "paid_twice": self.paid_twice,
            "most_in_flight": self.most_in_flight,
            "in_flight": self.in_flight,
            "statuses": dict(Counter(str(e.status) for e in self.entries)),
            "models": dict(Counter(e.model for e in self.entries)),
            "input": sum(e.input for e in self.entries),
            "cache_read": sum(e.cache_read for e in self.entries),
            "cache_write": sum(e.cache_write for e in self.entries),
            "output": sum(e.output for e in self.entries),
            "entries": [asdict(e) for e in self.entries],
        }
