"""A client whose calls go out in batches."""

from __future__ import annotations

import time
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING

from consensus.errors import ProviderError
from consensus.models.batch.desk import BatchSettings, Desk, Listener
from consensus.models.batch.journal import Journal
from consensus.models.batch.wire import BatchApi
from consensus.models.placed import PlacedClient
from consensus.models.protocol import Completion, ModelClient, Request

if TYPE_CHECKING:
    from consensus.models.context import CallContext

__all__ = ["BatchClient", "item_name"]


def item_name(ctx: CallContext, key: str) -> str:
    """A call's name in every batch that it is ever put into: who asks, and what.

    Of letters, digits and a hyphen, and short enough for every provider's ``custom_id``.
    """
    place = f"{ctx.decision_id}\n{ctx.seat}\n{ctx.purpose}\n{key}"
    return "c" + sha256(place.encode()).hexdigest()[:40]


class BatchClient(PlacedClient):
    """Calls one provider's models in batches; a :class:`~consensus.models.protocol.ModelClient`.

    A call that has been in a batch, in this process or in one before it, takes its answer from
    there. One that failed in as many batches as ``settings.in_batches`` says is made by itself, at
    the standard price.

    Args:
        provider: whose models.
        live: for what cannot wait for a batch.
        api: the provider's batch endpoint.
        journal: what was submitted.
        settings: sizes and waits.
        tell: told what becomes of batches.
    """

    def __init__(
        self,
        provider: str,
        live: ModelClient,
        api: BatchApi,
        journal: Journal,
        settings: BatchSettings,
        tell: Listener | None = None,
    ) -> None:
        self._live = live
        self._api = api
        self._journal = journal
        self._settings = settings
        self._desk = Desk(provider, api, journal, settings, tell)

    async def prepare(self) -> None:
        """What the live client has to prepare."""
        prepare = getattr(self._live, "prepare", None)
        if prepare is not None:
            await prepare()

    async def complete(self, request: Request, *, timeout_s: float) -> Completion:
        """Send one request by itself: nobody has said for whom it is."""
        return await self._live.complete(request, timeout_s=timeout_s)

    async def complete_for(
        self, request: Request, ctx: CallContext, key: str, *, timeout_s: float
    ) -> Completion:
        """Put one request into the next batch, or take what its batch has brought.

        Raises:
            ProviderError: it failed, expired or was canceled there; all of these may be retried but
                a request that the provider refused.
        """
        if ctx.purpose == "shadow":  # nobody waits for it, so nobody would be there a day later
            alone = min(timeout_s, self._settings.alone_s)
            return await self._live.complete(request, timeout_s=alone)
        name = item_name(ctx, key)
        for turn in range(self._settings.in_batches):
            custom_id = f"{name}-{turn}"
            if not self._journal.has_failed(custom_id):
                break
        else:
            alone = min(timeout_s, self._settings.alone_s)
            return await self._live.complete(request, timeout_s=alone)
        started = time.perf_counter()
        outcome = await self._desk.outcome(custom_id, request)
        try:
            completion = self._api.read(request, outcome)
        except ProviderError:
            self._journal.failed(custom_id)
            raise
        taken = time.perf_counter() - started
        return replace(completion, batch=outcome.batch_id, latency_s=taken)

    async def count_tokens(self, request: Request) -> int:
        """The live client's count."""
        return await self._live.count_tokens(request)

    async def aclose(self) -> None:
        """Stop waiting, and close both ways to the provider. Batches go on there."""
        await self._desk.aclose()
        self._journal.close()
        await self._live.aclose()
