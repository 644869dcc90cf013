"""Deciding through the providers' batch endpoints: half the price, within a day (design/batch.md).

Decisions run as they always do; only their calls wait until they are a batch. So a batch is one
wave of every decision: all seats of a panel at once. Who has to ask again (a repair, a round of
debate, the next hop) does so in the next batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from consensus.errors import PolicyError
from consensus.models.batch import BatchClient, BatchSettings, Event, Journal
from consensus.models.batch.anthropic import AnthropicBatches
from consensus.models.batch.desk import Listener
from consensus.models.batch.openai import OpenAIBatches
from consensus.models.breaker import BreakerSettings
from consensus.models.factory import ClientFactory, ProviderSettings
from consensus.models.gateway import Gateway
from consensus.models.prices import PriceBook
from consensus.models.protocol import CallSink, ModelClient
from consensus.models.sharing import Sharing
from consensus.models.tape import Tape
from consensus.policy.resolve import Hop
from consensus.policy.route import Route

__all__ = ["PROVIDERS", "BatchSettings", "Batching", "Event"]

PROVIDERS: Final = ("anthropic", "openai")
"""Providers whose batch endpoint is used; the models of all others are called live."""

_LONGEST_S: Final = 14 * 86_400.0
"""The timeout of a call that may wait for several batches, each of a day."""

_AT_ONCE: Final = 10_000_000
"""Places in the queue of a provider that is asked in batches: it has limits of its own there."""


class Batching:
    """How an engine (or a benchmark run) asks in batches.

    Args:
        journal: the file that says what was submitted. Whoever decides the same file again with the
            same journal, after whatever ended the last run, takes up the batches under way. It
            belongs to one job: no two processes may use it at once.
        settings: sizes and waits.
        tell: told what becomes of batches.

    One object serves one engine.
    """

    def __init__(
        self,
        journal: str | Path,
        *,
        settings: BatchSettings | None = None,
        tell: Listener | None = None,
    ) -> None:
        self.journal = Path(journal)
        self.settings = settings or BatchSettings()
        self._tell = tell

    def gateway(
        self,
        settings: Mapping[str, ProviderSettings],
        prices: PriceBook,
        *,
        clients: Mapping[str, ModelClient] | None = None,
        sink: CallSink | None = None,
        tape: Tape | None = None,
        sharing: Sharing | None = None,
    ) -> Gateway:
        """A gateway whose calls of these providers go out in batches.

        Breakers stay closed: what failed together in one batch says nothing of the next one.
        Of what is shared, the budget holds for batches too, and the limits for models that are
        called live: a batch is one request to its provider, which has limits of its own there.

        Raises:
            DataError: the journal cannot be read.
        """
        journal = Journal(self.journal)
        told = dict(settings)
        made: dict[str, ModelClient] = dict(clients or {})
        for provider in PROVIDERS:
            if provider in made:
                continue  # the caller's own transport knows no batches
            own = told.get(provider) or ProviderSettings()
            try:
                client = _client(provider, own, prices, journal, self.settings, self._tell)
            except PolicyError:
                continue  # its key is missing: said by its first call, if there is one
            made[provider] = client
            told[provider] = replace(
                own,
                requests_per_minute=None,
                tokens_per_minute=None,
                concurrency=_AT_ONCE,
                timeout_s=_LONGEST_S,
                max_attempts=self.settings.in_batches + 2,
            )
        return Gateway(
            ClientFactory(told, prices, overrides=made),
            prices,
            sink=sink,
            tape=tape,
            breaker=BreakerSettings(lasting_s=_LONGEST_S),
            sharing=None if sharing is None else sharing.but_own(PROVIDERS),
        )

    def planned(self, way: Route) -> Route:
        """A route without what presumes that answers come at once: stopping rules, a deadline."""
        reasons = []
        if any(hop.spec.waves or hop.spec.stop for hop in (*way.hops, *way.others)):
            reasons.append("batch: all seats are asked at once; the row's stopping rule is off")
        row = way.row
        if row.deadline_s is not None:
            reasons.append(f"batch: the row's deadline of {row.deadline_s:g} s is off")
            row = row.model_copy(update={"deadline_s": None})
        return replace(
            way,
            row=row,
            hops=tuple(map(_at_once, way.hops)),
            others=tuple(map(_at_once, way.others)),
            reasons=(*way.reasons, *reasons),
        )


def _at_once(hop: Hop) -> Hop:
    return replace(
        hop, spec=hop.spec.model_copy(update={"waves": (), "stop": None, "hedge_after_s": None})
    )


def _client(
    provider: str,
    own: ProviderSettings,
    prices: PriceBook,
    journal: Journal,
    settings: BatchSettings,
    tell: Listener | None,
) -> BatchClient:
    """A provider's batch client; its SDK is loaded by the first call."""
    api: AnthropicBatches | OpenAIBatches
    kind = AnthropicBatches if provider == "anthropic" else OpenAIBatches
    api = kind(
        api_key=own.api_key(provider),
        base_url=own.base_url,
        concurrency=own.at_once(provider),
        prices=prices,
    )
    return BatchClient(provider, api, api, journal, settings, tell)
