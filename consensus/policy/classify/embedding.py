"""Sentence embeddings on this machine, for the classifier of kind ``embedding``.

An embedder is named ``PROVIDER:WHAT`` in the classifier's file. None is shipped: they come in by
the entry point group ``consensus.embedders`` (a callable of what stands after the colon that
returns an :class:`Embedder`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.metadata import entry_points
from typing import Protocol

from consensus.errors import PolicyError

__all__ = ["ENTRY_POINTS", "Embedder", "embedder_of"]

ENTRY_POINTS = "consensus.embedders"


class Embedder(Protocol):
    """Makes vectors of texts."""

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """One vector a text, of length one, all of the same dimension."""
        ...


@lru_cache(maxsize=4)
def embedder_of(name: str) -> Embedder:
    """The embedder of this name, loaded once a process.

    Raises:
        PolicyError: nobody has registered it.
    """
    provider, _, what = name.partition(":")
    for point in entry_points(group=ENTRY_POINTS, name=provider):
        make: Callable[[str], Embedder] = point.load()
        return make(what)
    raise PolicyError(
        f'no embedder "{provider}" is installed',
        where="classifier",
        fix=f'install a package with an entry point "{provider}" in the group {ENTRY_POINTS}, '
        'or train one of kind "tfidf"',
    )
