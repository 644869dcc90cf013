"""What training, testing and comparing classifiers share: models that are asked, and their bill."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from consensus.models.context import CallContext
    from consensus.models.gateway import Gateway
    from consensus.panel.book import PromptBook
    from consensus.policy.classify.embedding import Embedded
    from consensus.policy.table import PolicyTable
    from consensus.tasks import Task

__all__ = ["EMBEDDER", "Asked", "ask_model", "embed"]

EMBEDDER = "local/all-minilm-l6-v2"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _InForce:
    table: PolicyTable
    book: PromptBook
    gateway: Gateway


@dataclass(frozen=True, slots=True)
class Asked:
    """What a model said of one text: a class or none, its probability if it gave one."""

    label: str | None
    probability: float | None
    seconds: float
    cpu_s: float
    cost_pico: int


def embed(name: str, texts: Sequence[str], policy: Path | None, max_usd: float | None) -> Embedded:
    """The vectors of texts: of a model by the policy's providers, or of an installed embedder.

    Raises:
        ConsensusError: nobody made them, or not for this money.
    """
    from consensus.policy.classify.embedding import embed_all, embed_plainly, is_model
    from consensus.policy.classify.text import clipped

    read = [clipped(text) for text in texts]
    if not is_model(name):
        return embed_plainly(name, read)

    async def work(held: _InForce, context: CallContext) -> Embedded:
        return await embed_all(held.gateway, name, read, context)

    return _with_gateway(policy, max_usd, work)


def ask_model(
    model: str,
    classes: dict[str, str],
    tasks: Sequence[Task],
    policy: Path | None,
    max_usd: float | None,
) -> list[Asked]:
    """What a model says of each task, as the engine would ask it.

    Raises:
        ConsensusError: the policy cannot be read, or the model cannot be asked at all.
    """
    from consensus.policy.classify import classify
    from consensus.policy.settings import ClassifierTable

    declared = ClassifierTable(kind="model", model=model, classes=classes)

    async def work(held: _InForce, context: CallContext) -> list[Asked]:
        table = held.table.model_copy(update={"classifier": declared})
        rules = _InForce(table, held.book, held.gateway)
        found = []
        for task in tasks:
            began, cpu = time.perf_counter(), time.process_time()
            seen = await classify(rules, task, context)
            assert seen is not None  # noqa: S101 - the table has a classifier
            took = time.perf_counter() - began, time.process_time() - cpu
            found.append(Asked(seen.best or None, seen.probability, *took, seen.cost_pico))
        return found

    return _with_gateway(policy, max_usd, work)


def _with_gateway(
    policy: Path | None,
    max_usd: float | None,
    work: Callable[[_InForce, CallContext], Awaitable[T]],
) -> T:
    """Do something with a gateway of the policy's providers and prices, and close it."""
    from consensus.models.context import CallContext
    from consensus.models.factory import ClientFactory
    from consensus.models.gateway import Gateway
    from consensus.models.prices import PriceBook
    from consensus.models.protocol import Budget, Deadline
    from consensus.panel.book import load_prompts
    from consensus.policy.load import load_policy

    table = load_policy(policy, strict=False)
    prices = PriceBook(overrides=table.price_overrides())
    cap = None if max_usd is None else round(max_usd * 1e12)

    async def run() -> T:
        gateway = Gateway(ClientFactory(table.provider_settings(), prices), prices)
        context = CallContext(
            decision_id="classifier",
            purpose="classify",
            task_type="classifier",
            budget=Budget(cap),
            deadline=Deadline(None),
        )
        try:
            return await work(_InForce(table, load_prompts(None), gateway), context)
        finally:
            await gateway.aclose()

    return asyncio.run(run())
