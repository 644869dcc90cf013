"""The metrics of several workers as one: whoever is asked answers for all.

Every second each worker writes its own series into a file that the others read, so a scrape sees
its own worker as it is and the others as they were a second ago. What a dead worker had counted is
kept: a counter never goes back. All series add up; where only one worker has a series (the watch),
the sum is that one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consensus.server.board import Board

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["Gathered", "bury", "merged"]

EVERY_S = 1.0
DEAD = "dead.prom"
_SUMS = frozenset({"counter", "histogram", "summary"})


class Gathered:
    """One worker's series, and those of the others.

    Args:
        folder: where the workers' files lie, one for each process.
        registry: this worker's own series.
        board: who lives.
    """

    def __init__(self, folder: Path, registry: CollectorRegistry, board: Board) -> None:
        self._folder, self._registry, self._board = folder, registry, board

    async def run(self) -> None:
        """Show this worker's series to the others, every second, until cancelled."""
        try:
            while True:
                self.publish()
                await asyncio.sleep(EVERY_S)
        finally:
            with contextlib.suppress(OSError):
                self.publish()

    def publish(self) -> None:
        """Write this worker's series."""
        from prometheus_client import generate_latest

        _write(_file_of(self._folder, os.getpid()), generate_latest(self._registry))

    def text(self) -> bytes:
        """The series of all workers, in Prometheus' text format."""
        from prometheus_client import generate_latest

        own = os.getpid()
        pids = {self._board[slot].pid for slot in range(self._board.places)} - {own, 0}
        others = [_read(_file_of(self._folder, pid)) for pid in sorted(pids)]
        return merged(
            [generate_latest(self._registry).decode(), *others, _read(self._folder / DEAD)]
        )


def bury(folder: Path, pid: int) -> None:
    """Keep what a worker that ended had counted; what it had under way is no more."""
    file = _file_of(folder, pid)
    if file.exists():
        _write(folder / DEAD, merged([_read(folder / DEAD), _read(file)], _SUMS))
        file.unlink()


def merged(texts: Iterable[str], kinds: frozenset[str] | None = None) -> bytes:
    """Several processes' series added up; only families of these kinds, where they are named."""
    from prometheus_client.parser import text_string_to_metric_families

    heads: dict[str, Any] = {}
    sums: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for text in texts:
        for family in text_string_to_metric_families(text):
            if kinds is not None and family.type not in kinds:
                continue
            heads.setdefault(family.name, family)
            own = sums.setdefault(family.name, {})
            for sample in family.samples:
                key = sample.name, tuple(sorted(sample.labels.items()))
                if sample.name.endswith("_created"):
                    own[key] = min(own.get(key, sample.value), sample.value)
                else:
                    own[key] = own.get(key, 0.0) + sample.value
    return "".join(_shown(heads[name], sums[name]) for name in sorted(heads)).encode()


def _shown(family: Any, samples: dict[tuple[str, tuple[tuple[str, str], ...]], float]) -> str:
    name = f"{family.name}_total" if family.type == "counter" else family.name
    said = family.documentation.replace("\\", r"\\").replace("\n", r"\n")
    lines = [f"# HELP {name} {said}", f"# TYPE {name} {family.type}"]
    for (sample, labels), value in samples.items():
        inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
        lines.append(f"{sample}{{{inner}}} {value!r}" if inner else f"{sample} {value!r}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _file_of(folder: Path, pid: int) -> Path:
    return folder / f"{pid}.prom"


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def _write(file: Path, text: bytes) -> None:
    partial = file.with_suffix(".partial")
    partial.write_bytes(text)
    partial.replace(file)
