"""Walking a route: hop by hop, until an outcome may act or nobody is left (design/engine.md).

Obtaining and judging only: what follows from it is drawn by :mod:`consensus.assembly`, which replay
calls with the same records.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from consensus.assembly import conclude_hops, propose_hops
from consensus.ballots import Answer, Ballot, Failure
from consensus.models.gateway import CallContext, Gateway
from consensus.models.protocol import Budget
from consensus.oracles import Oracle
from consensus.orchestrators.checks import Check, Judgement, answer_sha256, find_judgement
from consensus.orchestrators.concluding import Conclusion
from consensus.orchestrators.failing import FailureWindow
from consensus.orchestrators.judging import judge_answer, served_by
from consensus.orchestrators.panel_session import GRADER_SEATS, PanelSession
from consensus.orchestrators.registry import ORCHESTRATORS
from consensus.orchestrators.spec import HopRecord
from consensus.orchestrators.together import together
from consensus.panel.asking import ask
from consensus.panel.book import PromptBook
from consensus.panel.seats import build_panel
from consensus.policy.oracles import grader_of, oracle_of
from consensus.policy.resolve import row_path
from consensus.policy.route import Hop, Route
from consensus.policy.table import PolicyTable
from consensus.tasks import Task

__all__ = ["InForce", "Walk", "Windows", "ask_frontier", "walk"]

GATE_SEATS = GRADER_SEATS - 100_000
"""The place on the ledger of the call that grades the outcome of hop n: this plus n."""


FRONTIER_SEAT = 1_000_000
"""The frontier's place beside the panel: never that of a seat."""


class InForce(Protocol):
    """What one decision is made with, from its beginning to its end, whatever is reloaded."""

    @property
    def table(self) -> PolicyTable:
        """The policy."""
        ...

    @property
    def book(self) -> PromptBook:
        """The prompts."""
        ...

    @property
    def gateway(self) -> Gateway:
        """The way to the models."""
        ...


@dataclass(frozen=True, slots=True)
class Walk:
    """Every hop that was run, the reasons for those that were not, and the seconds it took.

    ``conclusion`` is what follows from the hops.
    """

    hops: tuple[HopRecord, ...]
    reasons: tuple[str, ...]
    latency_s: float
    conclusion: Conclusion


class Windows:
    """The failure windows of an engine's rows: one for each hop that has one after it."""

    def __init__(self) -> None:
        self._windows: dict[tuple[object, ...], FailureWindow] = {}

    def of(self, table: PolicyTable, way: Route, hop: Hop) -> FailureWindow | None:
        """The hop's, or None where the row watches none or nobody comes after it."""
        triggers = way.row.triggers
        if triggers is None or triggers.failure_rate is None or hop is way.hops[-1]:
            return None
        key = (row_path(table, way.task_type), hop.name, hop.models, triggers.failure_rate)
        known = self._windows.get(key)
        if known is None or known.window != triggers.window:
            known = self._windows[key] = FailureWindow(triggers.failure_rate, triggers.window)
        return known


async def walk(
    task: Task,
    way: Route,
    context: CallContext,
    force: InForce,
    *,
    windows: Windows,
    started: float,
) -> Walk:
    """Run hops until one's outcome may act; with the seconds since ``started``.

    A hop whose answers could too often not be used lately is passed over, never the last one. An
    outcome that the ballots would act upon is first put to the hop's checks; one that does not meet
    them goes on to the next hop.
    """
    steps = _Steps(task, context, force)
    reasons: list[str] = []
    conclusion: Conclusion | None = None
    for hop in way.hops:
        window = windows.of(force.table, way, hop)
        steps.seats_before = steps.seats
        steps.seats += hop.seats
        if window is not None and window.passes_over():
            reasons.append(f"trigger: {hop.name}: {window.sentence()}")
            continue
        await steps.run(hop)
        ran = steps.done[-1]
        if window is not None:
            window.note(len(ran.ballots) + len(ran.failures), ran.failures)
        conclusion = conclude_hops(task, steps.done)
        if conclusion.action == "act":
            break
    assert conclusion is not None  # noqa: S101 - the last hop is never passed over
    return Walk(tuple(steps.done), tuple(reasons), time.perf_counter() - started, conclusion)


async def ask_frontier(
    force: InForce, task: Task, context: CallContext, model: str
) -> Ballot | Failure:
    """One plain call of the frontier model, as a team without an engine would make it."""
    seat = build_panel(
        task,
        models=(model,),
        seats=1,
        framings=("plain",),
        book=force.book,
        ballot="auto",
        temperature=None,
        first_seat=FRONTIER_SEAT,
    )[0]
    beside = replace(context, purpose="frontier", budget=Budget(None))
    return await ask(task, seat, force.gateway, beside, force.book)


@dataclass(slots=True)
class _Steps:
    """The walk so far."""

    task: Task
    context: CallContext
    force: InForce
    done: list[HopRecord] = field(default_factory=list)
    seats: int = 0
    seats_before: int = 0

    async def run(self, hop: Hop) -> None:
        """Ask the hop's panel, then the oracles about what it would do."""
        spec, force = hop.spec, self.force
        panel = build_panel(
            self.task,
            models=spec.models,
            seats=spec.seats,
            framings=spec.framings,
            book=force.book,
            ballot=spec.ballot,
            temperature=spec.temperature,
            first_seat=self.seats_before,
            max_output_tokens=spec.max_output_tokens,
        )
        own = replace(
            self.context,
            context_guard=spec.context_guard,
            fallbacks=spec.fallbacks,
            hedge_after_s=spec.hedge_after_s,
        )
        judge = None if hop.oracle is None else (hop.oracle, oracle_of(force.table, hop.oracle))
        session = PanelSession(self.task, panel, force.book, force.gateway, own, judge)
        poll = await ORCHESTRATORS[spec.orchestrator](self.task, spec, session)
        ran = HopRecord(
            name=hop.name,
            spec=spec,
            ballots=poll.ballots,
            failures=poll.failures,
            notes=poll.notes,
            checks=hop.checks,
            judgements=poll.judgements,
        )
        self.done.append(ran)
        outcome = propose_hops(self.task, self.done).outcome if hop.checks else None
        if outcome is not None:
            said = await self._judge(hop, outcome)
            judgements = (*ran.judgements, *said)
            self.done[-1] = ran.model_copy(update={"judgements": judgements})

    async def _judge(self, hop: Hop, outcome: Answer) -> Sequence[Judgement]:
        """What the oracles of the hop's checks say of the outcome; each is asked once a decision.

        Code first: what it refuses, no grader is paid to look at.
        """
        asked = {check.oracle: oracle_of(self.force.table, check.oracle) for check in hop.checks}
        code = [name for name, oracle in asked.items() if grader_of(oracle) is None]
        said = await together(self._say(hop, name, asked[name], outcome) for name in code)
        if not all(_meets(judgement, hop.checks) for judgement in said):
            return said
        graders = [name for name in asked if name not in code]
        return [*said, *await together(self._say(hop, n, asked[n], outcome) for n in graders)]

    async def _say(self, hop: Hop, name: str, oracle: Oracle, outcome: Answer) -> Judgement:
        earlier = (judgement for hop in self.done for judgement in hop.judgements)
        found = find_judgement(earlier, name, answer_sha256(outcome))
        if found is not None and found.passed is not None:
            return found.again()
        return await judge_answer(
            name,
            oracle,
            self.task,
            outcome,
            answered_by=self._behind(outcome),
            caller=self.force.gateway,
            context=replace(
                self.context,
                seat=GATE_SEATS + len(self.done),
                context_guard=hop.spec.context_guard,
                fallbacks=(),
            ),
        )

    def _behind(self, outcome: Answer) -> tuple[str, ...]:
        """The models that gave this outcome; all that were heard, where it is nobody's own."""
        heard = [ballot for hop in self.done for ballot in hop.ballots if ballot.role != "judge"]
        own = [ballot for ballot in heard if ballot.answer == outcome]
        return served_by(own or heard)


def _meets(judgement: Judgement, checks: Sequence[Check]) -> bool:
    own = (check for check in checks if check.oracle == judgement.oracle)
    return all(judgement.meets(check.floor) for check in own)
