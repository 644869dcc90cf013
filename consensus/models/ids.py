"""Short ids that sort by time and cost about a microsecond.

26 characters of Crockford's base 32, laid out as a ULID: 48 bits of milliseconds since 1970, then
80 bits that are random at the first id of a millisecond and count up from there. Ids of one
process are therefore strictly increasing, also where the wall clock is set back a little. A clock
that was far ahead and is put right is followed: ids say when things began, and what is spent on a
day is counted by them.
"""

from __future__ import annotations

import os
import threading
import time

__all__ = ["FOLLOWED_MS", "ID_LENGTH", "new_id"]

ID_LENGTH = 26
FOLLOWED_MS = 60_000
"""Milliseconds: a clock that steps back further than this is followed."""
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = tuple(a + b for a in _ALPHABET for b in _ALPHABET)
_LOW = (1 << 70) - 1


class _State:
    __slots__ = ("head", "last", "millisecond")

    def __init__(self) -> None:
        self.last = 0
        self.millisecond = -1
        self.head = (-1, "")


_lock = threading.Lock()
_state = _State()


def _after_fork() -> None:
    # A child must neither share the count nor inherit a lock that is held.
    global _lock, _state
    _lock, _state = threading.Lock(), _State()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork)


def new_id() -> str:
    """A new id: unique, 26 characters, later ids of this process sort after earlier ones."""
    with _lock:
        state = _state
        millisecond = time.time_ns() // 1_000_000
        if millisecond > state.millisecond or millisecond < state.millisecond - FOLLOWED_MS:
            state.millisecond = millisecond
            # The top random bit stays 0, so counting up can never carry into the time.
            value = (millisecond << 80) | (int.from_bytes(os.urandom(10)) >> 1)
        else:
            value = state.last + 1
        state.last = value
        high = value >> 70
        if high != state.head[0]:
            state.head = (
                high,
                _PAIRS[high >> 50 & 1023]
                + _PAIRS[high >> 40 & 1023]
                + _PAIRS[high >> 30 & 1023]
                + _PAIRS[high >> 20 & 1023]
                + _PAIRS[high >> 10 & 1023]
                + _PAIRS[high & 1023],
            )
        head = state.head[1]
    low = value & _LOW
    return (
        head
        + _PAIRS[low >> 60]
        + _PAIRS[low >> 50 & 1023]
        + _PAIRS[low >> 40 & 1023]
        + _PAIRS[low >> 30 & 1023]
        + _PAIRS[low >> 20 & 1023]
        + _PAIRS[low >> 10 & 1023]
        + _PAIRS[low & 1023]
    )
