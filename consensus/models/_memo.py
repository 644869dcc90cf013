"""What follows from an object that is passed around and never changed: worked out once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["ByIdentity"]

K = TypeVar("K")
V = TypeVar("V")


class ByIdentity(Generic[K, V]):
    """Values by the very object they follow from, which need not be hashable.

    Objects are kept alive as long as their value is, so that no identity is taken over. When there
    are ``most``, all are forgotten: no order to keep, nothing to go wrong.

    Args:
        make: from an object to its value.
        most: objects that are remembered.
    """

    __slots__ = ("_known", "_make", "_most")

    def __init__(self, make: Callable[[K], V], *, most: int = 256) -> None:
        self._make = make
        self._most = most
        self._known: dict[int, tuple[K, V]] = {}

    def __getitem__(self, it: K) -> V:
        found = self._known.get(id(it))
        if found is None:
            if len(self._known) >= self._most:
                self._known.clear()
            found = self._known[id(it)] = (it, self._make(it))
        return found[1]
