"""Which workers of one port live: a few bytes of memory that their supervisor writes."""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from typing import Final, NamedTuple

__all__ = ["DOWN", "SERVING", "STARTING", "Board", "Place"]

DOWN: Final = 0
STARTING: Final = 1
SERVING: Final = 2

_PLACE = struct.Struct("<qq")


class Place(NamedTuple):
    """One worker's: its process, and what it is doing (``DOWN``, ``STARTING``, ``SERVING``)."""

    pid: int
    state: int


class Board:
    """A place for each worker, in memory that all of them see.

    A place is written by the supervisor, and by the worker that stands in it; both write whole.

    Args:
        fd: the file behind it; it stays open.
        places: how many there are.
    """

    def __init__(self, fd: int, places: int) -> None:
        self.fd, self.places = fd, places
        self._memory = mmap.mmap(fd, _PLACE.size * places)

    @classmethod
    def make(cls, places: int) -> Board:
        """A new one, all of whose places are empty."""
        with tempfile.TemporaryFile() as file:
            file.truncate(_PLACE.size * places)
            return cls(os.dup(file.fileno()), places)

    def close(self) -> None:
        """Let go of the memory; others keep theirs."""
        self._memory.close()
        os.close(self.fd)

    def __getitem__(self, slot: int) -> Place:
        return Place(*_PLACE.unpack_from(self._memory, _PLACE.size * slot))

    def put(self, slot: int, pid: int, state: int) -> None:
        """Say who stands in a place and what it does."""
        _PLACE.pack_into(self._memory, _PLACE.size * slot, pid, state)

    @property
    def live(self) -> int:
        """How many workers serve now."""
        return sum(self[slot].state == SERVING for slot in range(self.places))
