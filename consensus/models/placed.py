"""Clients that must know for whom an attempt is made, and not only what is asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from consensus.models.protocol import Completion, Request

if TYPE_CHECKING:
    from consensus.models.context import CallContext

__all__ = ["PlacedClient"]


class PlacedClient(ABC):
    """A :class:`~consensus.models.protocol.ModelClient` that is told an attempt's place.

    A base class and not a protocol, so that the gateway's question costs nothing: a client that
    happens to have such a method is not meant.
    """

    @abstractmethod
    async def complete_for(
        self, request: Request, ctx: CallContext, key: str, *, timeout_s: float
    ) -> Completion:
        """As ``complete``; ``key`` is the request's content hash.

        Equal place and key are the same question of the same seat of the same decision, in this
        process or in one that takes a job up again.
        """
        ...
