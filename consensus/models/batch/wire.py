"""What a provider's batch endpoint must be able to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from consensus.models.protocol import Completion, Request

__all__ = ["BatchApi", "BatchState", "Item", "Outcome", "part"]


def part(holder: object, name: str) -> dict[str, Any]:
    """An object inside what an API sent; empty where there is none."""
    found = holder.get(name) if isinstance(holder, dict) else None
    return found if isinstance(found, dict) else {}


@dataclass(frozen=True, slots=True)
class Item:
    """One request in a batch, as it is sent. ``size`` is in bytes, as the provider counts them."""

    custom_id: str
    model: str
    body: Mapping[str, Any]
    size: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an item.

    ``data`` is what the API says of it, for :meth:`BatchApi.read`. An item of an ended batch that
    the API says nothing of is ``expired``.
    """

    kind: Literal["answered", "errored", "expired", "canceled"]
    batch_id: str
    data: Any = None


@dataclass(frozen=True, slots=True)
class BatchState:
    """How far a batch is. ``failed`` says why none of it was begun: a kind of error, or None.

    ``again`` says whether the same batch may be submitted once more, later.
    """

    ended: bool
    total: int
    done: int = 0
    failed: str | None = None
    again: bool = False


class BatchApi(Protocol):
    """One provider's batch endpoint. Every failure of its own is a ``ProviderError``."""

    most_items: int
    most_bytes: int
    one_model: bool
    """Whether all items of a batch must be for one model."""

    tells_marks: bool
    """Whether a batch carries the mark that it was submitted with; else it is told by its ids."""

    async def item(self, custom_id: str, request: Request) -> Item:
        """A request as it is sent."""
        ...

    async def submit(self, items: Sequence[Item], mark: str) -> str:
        """Begin a batch; the provider's id of it."""
        ...

    async def candidates(self, mark: str, since: float, count: int) -> list[str]:
        """Batches begun since then (seconds since the epoch) that may have been begun by ``mark``.

        Where ``tells_marks``, those that were; else those of as many items.
        """
        ...

    async def state(self, batch_id: str) -> BatchState:
        """How far it is."""
        ...

    async def results(self, batch_id: str) -> dict[str, Outcome]:
        """What became of the items of a batch that has ended, by id."""
        ...

    def read(self, request: Request, outcome: Outcome) -> Completion:
        """An item's answer.

        Raises:
            ProviderError: it has none.
        """
        ...

    async def aclose(self) -> None:
        """Let go of connections."""
        ...
