"""One decision for one caller, from its right to ask to its count in the metrics."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from consensus.decisions import Decision
from consensus.engine import Engine
from consensus.errors import ConsensusError, DeclarationError, TaskError
from consensus.jobs import complete
from consensus.ledger.jobs import PaidCalls
from consensus.policy.classify import AUTO
from consensus.policy.table import PolicyTable
from consensus.server.board import Board
from consensus.server.errors import ApiError, refuse
from consensus.server.gate import Gate
from consensus.server.hangup import ended
from consensus.server.keys import Caller, KeyRing
from consensus.server.metrics import ServerMetrics
from consensus.server.repeats import Named, Repeats
from consensus.server.settings import ServerSettings
from consensus.server.spending import Accounts
from consensus.tasks import Task, parse_task

__all__ = ["Answered", "Service"]

log = logging.getLogger("consensus.server")


class Answered(NamedTuple):
    """A decision, and whether it is one that was made before, for the same request."""

    decision: Decision
    again: bool


class Service:
    """What all routes share.

    Args:
        engine: decides; not closed by the service.
        settings: how much is taken at once.
        keys: who may call; None: whoever reaches the server.

    Raises:
        DeclarationError: keys have budgets, and the engine keeps no ledger to hold them against.
    """

    def __init__(
        self,
        engine: Engine,
        settings: ServerSettings | None = None,
        *,
        keys: KeyRing | None = None,
    ) -> None:
        self.engine = engine
        self.settings = settings or ServerSettings()
        self.keys = keys
        counted = engine.telemetry.metrics
        self.metrics = ServerMetrics(None if counted is None else counted.registry)
        self.gate = Gate(
            at_once=self.settings.at_once,
            waiting=self.settings.waiting,
            streams=self.settings.streams,
        )
        self.metrics.waiting.set_function(lambda: self.gate.queued)
        self._accounts: Accounts | None = None
        self._repeats = None if engine.ledger is None else Repeats(engine.ledger)
        if engine.ledger is not None:
            every_s = self.settings.read_spending_s
            self._accounts = Accounts(engine.ledger, read_again_s=every_s)
        bounded = keys is not None and any(key.has_budget for key in keys.keys().values())
        if keys is not None and bounded and self._accounts is None:
            raise DeclarationError("keys with budgets need a ledger", where=str(keys.path))
        self.draining = False
        self.warming = False
        self.board: Board | None = None
        self._deciding: dict[asyncio.Task[Decision], str] = {}

    @property
    def table(self) -> PolicyTable:
        """The policy in force."""
        return self.engine.table

    def knows(self, task_type: str) -> bool:
        """Whether a task type has a row, or is left to the classifier."""
        table = self.engine.table
        return task_type in table.tasks or (task_type == AUTO and table.classifier is not None)

    def caller(self, token: str | None) -> Caller:
        """Who this is.

        Raises:
            ApiError: 401.
        """
        if self.keys is None:
            return Caller(None)
        key = self.keys.find(token) if token else None
        if key is None:
            said = "a key is needed: Authorization: Bearer ck_…" if not token else "unknown key"
            raise ApiError(401, "invalid_api_key", said, headers={"www-authenticate": "Bearer"})
        return Caller(key)

    def permit(self, caller: Caller, task_type: str) -> None:
        """Refuse a task type that a key is not for.

        Raises:
            ApiError: 403.
        """
        if not caller.may(task_type):
            raise ApiError(
                403, "task_type_not_allowed", "this key is not for this task type", param="type"
            )

    def task_of(self, given: object) -> Task:
        """A request's task, with what its row supplies.

        Raises:
            TaskError: naming the field and what was expected.
        """
        named = given.get("type") if isinstance(given, dict) else None
        if isinstance(given, dict) and not isinstance(named, str):
            raise TaskError('has no "type"', fix="the name of a row of the policy")
        row = self.table.tasks.get(str(named))
        supplied = {} if row is None else row.task_defaults()
        return parse_task(complete(given, str(named), supplied))

    def check_frontier(self, model: object) -> str | None:
        """A model to ask beside a decision must be one that the policy names in a tier.

        Raises:
            TaskError: it is not.
        """
        if model is None:
            return None
        known = {name for tier in self.table.tiers.values() for name in tier}
        if not isinstance(model, str) or model not in known:
            raise TaskError('"frontier" is a model that no tier of the policy names')
        return model

    async def decide(
        self,
        caller: Caller,
        task: Task,
        *,
        decision_id: str,
        frontier: str | None = None,
        bounded: bool = True,
        request: Named | None = None,
        anew: Callable[[Decision], bool] = lambda _: False,
    ) -> Answered:
        """Decide a task for a caller. Cancelling it leaves nothing running.

        Args:
            decision_id: of :meth:`Caller.decision_id`.
            bounded: refuse where too many decisions wait already.
            request: the name under which it may be sent again.
            anew: decisions that are made anew when they are asked for again.

        Raises:
            ApiError: 403, 429, or 503 where the server shuts down; of a named request also 400, 409
                and 422.
            DeclarationError, LedgerError: as :meth:`Engine.decide`.
        """
        self.permit(caller, task.type)
        self.check_open()
        if request is None:
            unpaid = PaidCalls()
            decision = await self._admitted(caller, task, decision_id, frontier, bounded, unpaid)
            return Answered(decision, again=False)
        if self._repeats is None:
            raise refuse("an Idempotency-Key needs a ledger", param="Idempotency-Key")
        async with self._repeats.claimed(request, decision_id, anew=anew) as claim:
            if claim.made is not None:
                return Answered(claim.made, again=True)
            decision = await self._admitted(
                caller, task, claim.decision_id, frontier, bounded, claim.paid
            )
        return Answered(decision, again=False)

    async def _admitted(
        self,
        caller: Caller,
        task: Task,
        decision_id: str,
        frontier: str | None,
        bounded: bool,
        paid: PaidCalls,
    ) -> Decision:
        """Decide it within the caller's budget, when there is a place."""
        await self._check_budget(caller)
        async with self.gate.place(bounded=bounded):
            self.check_open()
            await self._check_budget(caller)  # those before it in the queue have spent meanwhile
            decision = await self._decide(caller, task, decision_id, frontier, paid)
        if caller.key is not None and self._accounts is not None:
            beside = decision.frontier.cost.pico_usd if decision.frontier else 0
            self._accounts.settle(caller.key, decision.cost.pico_usd + beside)
        return decision

    async def _check_budget(self, caller: Caller) -> None:
        if caller.key is not None and self._accounts is not None:
            await self._accounts.check(caller.key)

    async def _decide(
        self,
        caller: Caller,
        task: Task,
        decision_id: str,
        frontier: str | None,
        paid: PaidCalls,
    ) -> Decision:
        deciding = asyncio.create_task(
            self.engine.decide_row(task, frontier=frontier, decision_id=decision_id, paid=paid)
        )
        self._deciding[deciding] = decision_id
        try:
            await asyncio.wait((deciding,))
            if not deciding.cancelled():
                return deciding.result()
        finally:
            whole = deciding.done() and not deciding.cancelled() and not deciding.exception()
            if not whole:
                await ended(deciding)
                if caller.key is not None and self._accounts is not None:
                    self._accounts.doubt(caller.key)
            if not deciding.done() or deciding.cancelled():
                self.metrics.abandoned.labels("shutdown" if self.draining else "hang_up").inc()
            del self._deciding[deciding]
        log.warning("decision %s was cut short; its calls are on the ledger", decision_id)
        raise ApiError(
            503,
            "shutting_down",
            f"the server went down before decision {decision_id} was made; what was paid for it "
            "is on the ledger",
            headers={"retry-after": "5", "x-consensus-decision": decision_id},
        )

    def check_open(self) -> None:
        """Refuse new work while the server goes down.

        Raises:
            ApiError: 503.
        """
        if self.draining:
            raise ApiError(
                503, "shutting_down", "the server is going down", headers={"retry-after": "5"}
            )

    @property
    def in_flight(self) -> int:
        """Decisions under way."""
        return len(self._deciding)

    async def warm(self) -> None:
        """Load what the policy's rows need now, and not while a caller waits; then be ready."""
        self.warming = True
        try:
            await self.engine.warm()
        except ConsensusError as error:
            log.warning("not everything could be loaded: %s", error)  # the first call says it
        finally:
            self.warming = False

    async def aclose(self) -> None:
        """Let go of what this process holds of the ledger. The engine stays open."""
        if self._repeats is not None:
            await self._repeats.aclose()

    def cut(self) -> None:
        """End what is still in flight; its callers are told so."""
        for deciding in tuple(self._deciding):
            deciding.cancel()

    def health(self) -> dict[str, Any]:
        """That this process is alive; of several workers on a port, how many are."""
        if self.board is None:
            return {"status": "ok"}
        return {"status": "ok", "workers": {"live": self.board.live, "of": self.board.places}}

    def ready(self) -> dict[str, Any]:
        """Whether new work is taken, and by which table."""
        status = self.engine.policy_status
        return {
            "ready": not (self.draining or self.warming),
            "warming": self.warming,
            "policy": status.version,
            "policy_current": status.current,
        }
