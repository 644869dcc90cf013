"""A row measured as the engine would serve it, from recorded answers.

Routes come from the policy's own rules, panels from the engine's own dealing of framings and
orders, ballots pass through the engine's own orchestrators and conclusion. Only the call is not
made: a seat gets the answer that was recorded. So a candidate's figures are those of its row, not
of a formula that resembles it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from consensus.assembly import conclude_hops
from consensus.ballots import Answer, Ballot, Failure
from consensus.benchmark.proposals.recording import NOBODY, Recording, SeatAnswer
from consensus.errors import SuiteError
from consensus.oracles import Rubric
from consensus.orchestrators.checks import Check, Judgement, answer_sha256
from consensus.orchestrators.concluding import answers_agree, propose
from consensus.orchestrators.registry import ORCHESTRATORS
from consensus.orchestrators.spec import HopRecord, StrategySpec
from consensus.orchestrators.stopping import wave_sizes
from consensus.orchestrators.vote import FIRST_WAVES
from consensus.panel.answers import asks_scores
from consensus.panel.asking import Cut
from consensus.panel.book import PromptBook
from consensus.panel.seats import Seat, build_panel
from consensus.policy.oracles import oracle_of
from consensus.policy.route import Hop, Route, route
from consensus.policy.table import PolicyTable
from consensus.tasks import Score, Task

__all__ = ["NotRecordedError", "Served", "serve"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class NotRecordedError(Exception):
    """The row needs an answer that the run does not hold; the message says which."""


@dataclass(frozen=True)
class Served:
    """What a row did on n cases.

    Attributes:
        credit: how right the outcome is; 0 where it did not act.
        acted: whether it acted on an outcome.
        gated: whether the gate refused an outcome on the way.
        hops: how many were run.
        calls, usd, latency_s: of the decision; usd NaN where unknown.
        tokens: (n, 4) input, read from a cache, output, reasoning.
        outcomes: None where it did not act.
        step_latency_s: (n, steps) of each hop; NaN where it was not needed.
    """

    credit: Floats
    acted: Bools
    gated: Bools
    hops: NDArray[np.int64]
    calls: Floats
    usd: Floats
    latency_s: Floats
    tokens: Floats
    outcomes: tuple[Answer | None, ...]
    step_latency_s: Floats

    def __len__(self) -> int:
        return len(self.credit)

    def take(self, rows: NDArray[np.int64]) -> Served:
        """Some of the cases."""
        return Served(
            self.credit[rows],
            self.acted[rows],
            self.gated[rows],
            self.hops[rows],
            self.calls[rows],
            self.usd[rows],
            self.latency_s[rows],
            self.tokens[rows],
            tuple(self.outcomes[i] for i in rows.tolist()),
            self.step_latency_s[rows],
        )

    def step_p95_s(self) -> list[float]:
        """The 95th percentile of each hop's seconds, where it ran; empty where one is not known."""
        found = []
        for seconds in self.step_latency_s.T:
            ran = seconds[np.isfinite(seconds)]
            if not ran.size or not ran.any():
                return []
            found.append(float(np.quantile(ran, 0.95)))
        return found

    def agreement(self, other: Served, tasks: Sequence[Task]) -> Bools:
        """(n,) whether both acted, on answers that say the same."""
        return np.array(
            [
                a is not None
                and b is not None
                and answers_agree(task.kind, a, b, scale=_scale(task))
                for a, b, task in zip(self.outcomes, other.outcomes, tasks, strict=True)
            ],
            dtype=bool,
        )


@dataclass(frozen=True, slots=True)
class _Walked:
    """One case: what came of it, and which recorded answers were paid for, hop by hop."""

    outcome: Answer | None
    gated: bool
    hops: tuple[tuple[StrategySpec, tuple[SeatAnswer, ...]], ...]


class _Session:
    """One hop's panel, whose seats have answered already."""

    def __init__(self, panel: Sequence[Seat], given: Sequence[SeatAnswer]) -> None:
        self.panel = panel
        self.by_seat = {seat.index: answer for seat, answer in zip(panel, given, strict=True)}
        self.asked: list[SeatAnswer] = []

    async def ask(self, seat: Seat, cut: Cut | None = None) -> Ballot | Failure:
        answer = self.by_seat[seat.index]
        self.asked.append(answer)
        return answer.as_seat(seat)

    def first(self, seats: Sequence[Seat]) -> Sequence[Seat]:
        return ()

    async def ask_again(
        self, seat: Seat, own: Ballot, others: Sequence[Ballot], turn: int
    ) -> Ballot | Failure:
        raise NotRecordedError("no seat's answer in a debate was recorded")

    async def choose(
        self, seat: Seat, candidates: Sequence[Answer], number: int
    ) -> tuple[int, Ballot] | Failure:
        raise NotRecordedError("no judge's choice among candidates was recorded")

    async def compare(
        self, seat: Seat, shown_first: int, shown_second: int, number: int
    ) -> Ballot | Failure:
        raise NotRecordedError("no comparison of two items of a ranking was recorded")

    async def judge(self, candidate: Ballot) -> Judgement | None:
        return None


def serve(recording: Recording, table: PolicyTable, book: PromptBook) -> Served:
    """Run the row of the recording's task type over all of its cases.

    Raises:
        NotRecordedError: the row asks a model, or more samples of one, than the run has.
        PolicyError: the row cannot be followed.
    """
    return asyncio.run(_serve(recording, table, book))


async def _serve(recording: Recording, table: PolicyTable, book: PromptBook) -> Served:
    walker = _Walker(recording, table, book)
    walked = [await walker.walk(case) for case in range(len(recording))]
    n = len(walked)
    return Served(
        credit=np.array(
            [
                0.0 if w.outcome is None else recording.worth(i, w.outcome)
                for i, w in enumerate(walked)
            ]
        ),
        acted=np.array([w.outcome is not None for w in walked], dtype=bool),
        gated=np.array([w.gated for w in walked], dtype=bool),
        hops=np.array([len(w.hops) for w in walked], dtype=np.int64),
        calls=np.array([float(sum(len(seats) for _, seats in w.hops)) for w in walked]),
        usd=np.array(
            [sum(s.usd for _, seats in w.hops for s in seats) for w in walked], dtype=float
        ),
        latency_s=np.array([sum(_latency(*hop) for hop in w.hops) for w in walked], dtype=float),
        tokens=np.array(
            [np.sum([s.tokens for _, seats in w.hops for s in seats], axis=0) for w in walked]
        ).reshape(n, 4),
        outcomes=tuple(w.outcome for w in walked),
        step_latency_s=_by_step(walked, walker.steps),
    )


def _by_step(walked: Sequence[_Walked], steps: int) -> Floats:
    found = np.full((len(walked), steps), np.nan)
    for place, one in enumerate(walked):
        for step, hop in enumerate(one.hops):
            found[place, step] = _latency(*hop)
    return found


class _Walker:
    """Walks a row's hops, as the engine does; cases that look alike are walked once."""

    def __init__(self, recording: Recording, table: PolicyTable, book: PromptBook) -> None:
        self.recording, self.table, self.book = recording, table, book
        self.steps = 0
        self._known: dict[object, _Walked] = {}

    async def walk(self, case: int) -> _Walked:
        task = self.recording.tasks[case]
        way = route(self.table, task)
        self.steps = max(self.steps, len(way.hops))
        panels = self._panels(task, way)
        given = self._given(case, panels)
        key = None
        if task.kind in ("approve", "choose", "compare") and not _prices_matter(way):
            counted = _only_counts(way)
            said = tuple(
                tuple(
                    (s.answer, s.failure, s.scores)
                    if counted
                    else (s.answer, s.failure, s.scores, s.confidence, s.source, s.distribution)
                    for s in seats
                )
                for seats in given
            )
            key = (id(way.hops), task.options, said)
            known = self._known.get(key)
            if known is not None:
                return self._paid(known, panels, given)
        walked = await self._run(task, way, panels, given)
        if key is not None:
            self._known[key] = walked
        return walked

    def _panels(self, task: Task, way: Route) -> list[tuple[Seat, ...]]:
        panels: list[tuple[Seat, ...]] = []
        seats = 0
        for hop in way.hops:
            spec = hop.spec
            panels.append(
                build_panel(
                    task,
                    models=spec.models,
                    seats=spec.seats,
                    framings=spec.framings,
                    book=self.book,
                    ballot=spec.ballot,
                    temperature=spec.temperature,
                    first_seat=seats,
                    max_output_tokens=spec.max_output_tokens,
                )
            )
            seats += spec.seats
        return panels

    def _given(self, case: int, panels: Sequence[Sequence[Seat]]) -> list[tuple[SeatAnswer, ...]]:
        """Which recorded answer each seat gets: in its own order of the options if there is one."""
        task = self.recording.tasks[case]
        used: dict[tuple[str, str], set[int]] = {}
        given = []
        for panel in panels:
            hop = []
            for seat in panel:
                self._check_form(task, seat)
                samples = self.recording.given(case, seat.model, seat.framing)
                name = (seat.model, seat.framing if self.recording.framings is not None else "")
                taken = used.setdefault(name, set())
                free = [i for i in range(len(samples)) if i not in taken]
                if not free:
                    self._refuse(seat, len(taken) + 1)
                    hop.append(NOBODY)
                    continue
                same = [i for i in free if samples[i].order == seat.order]
                place = (same or free)[0]
                taken.add(place)
                hop.append(samples[place])
            given.append(tuple(hop))
        return given

    def _check_form(self, task: Task, seat: Seat) -> None:
        """A vote says nothing of the other options: scores that nobody gave are not invented."""
        recording = self.recording
        asked = asks_scores(task, seat) and seat.model in recording.models
        if asked and seat.model not in recording.scored:
            raise NotRecordedError(
                f"{seat.model} was not asked for a score of each option (bench run --ballot scores)"
            )

    def _refuse(self, seat: Seat, wanted: int) -> None:
        """A single case without an answer is a failed seat; a model without enough is no route."""
        recording = self.recording
        if seat.model not in recording.models:
            raise NotRecordedError(f"{seat.model} did not answer these cases")
        if recording.framings is not None and seat.framing not in recording.framings:
            raise NotRecordedError(f"{seat.model} was not asked under the framing {seat.framing}")
        if wanted > recording.depth[seat.model]:
            have = recording.depth[seat.model]
            raise NotRecordedError(
                f"{seat.model} has {have} answers to a case; {wanted} are needed"
            )

    async def _run(
        self,
        task: Task,
        way: Route,
        panels: Sequence[tuple[Seat, ...]],
        given: Sequence[tuple[SeatAnswer, ...]],
    ) -> _Walked:
        done: list[HopRecord] = []
        paid: list[tuple[StrategySpec, tuple[SeatAnswer, ...]]] = []
        refused = False
        for hop, panel, answers in zip(way.hops, panels, given, strict=True):
            session = _Session(panel, answers)
            poll = await ORCHESTRATORS[hop.spec.orchestrator](task, hop.spec, session)
            record = HopRecord.model_construct(
                name=hop.name,
                spec=hop.spec,
                ballots=poll.ballots,
                failures=poll.failures,
                notes=poll.notes,
                checks=self._checks(hop),
                judgements=poll.judgements,
            )
            paid.append((hop.spec, tuple(session.asked)))
            if record.checks:
                drawn = propose(task.kind, task.options, [*done, record], scale=_scale(task))
                if drawn.outcome is not None:
                    said = tuple(self._judge(check, drawn.outcome) for check in record.checks)
                    record = record.model_copy(update={"judgements": (*record.judgements, *said)})
                    refused |= any(
                        check.purpose == "gate" and not judgement.meets(check.floor)
                        for check, judgement in zip(record.checks, said, strict=True)
                    )
            done.append(record)
            conclusion = conclude_hops(task, done)
            if conclusion.action == "act":
                return _Walked(conclusion.outcome, refused, tuple(paid))
        return _Walked(None, refused, tuple(paid))

    def _checks(self, hop: Hop) -> tuple[Check, ...]:
        """What can be asked again for nothing: code. A grader's gate is watched in production."""
        kept = []
        for check in hop.checks:
            if not isinstance(oracle_of(self.table, check.oracle), Rubric):
                kept.append(check)
            elif check.purpose != "gate":
                raise NotRecordedError(
                    f"the verdicts of the grader {check.oracle} are not recorded"
                )
        return tuple(kept)

    def _judge(self, check: Check, outcome: Answer) -> Judgement:
        oracle = oracle_of(self.table, check.oracle)
        common = {
            "oracle": check.oracle,
            "oracle_sha256": oracle.sha256,
            "answer": answer_sha256(outcome),
        }
        try:
            verdict = oracle.judge(outcome)
        except SuiteError as error:
            return Judgement(**common, detail=error.message)
        return Judgement(**common, passed=verdict.passed, score=verdict.score)

    @staticmethod
    def _paid(
        known: _Walked, panels: Sequence[tuple[Seat, ...]], given: Sequence[tuple[SeatAnswer, ...]]
    ) -> _Walked:
        """The same walk over seats that said the same and cost something else."""
        hops = tuple(
            (spec, answers[: len(asked)])
            for (spec, asked), answers in zip(known.hops, given, strict=False)
        )
        return replace(known, hops=hops)


def _scale(task: Task) -> tuple[float, float] | None:
    return task.scale if isinstance(task, Score) else None


def _prices_matter(way: Route) -> bool:
    return any(h.spec.stop is not None and h.spec.stop.rule == "value" for h in way.hops)


def _only_counts(way: Route) -> bool:
    """Whether nothing but the options voted for plays a part."""
    return all(h.spec.aggregator == "majority" and h.spec.calibration is None for h in way.hops)


def _latency(spec: StrategySpec, seats: Sequence[SeatAnswer]) -> float:
    """The slowest of what ran side by side, wave after wave."""
    if not (spec.waves or spec.stop):
        return max((s.latency_s for s in seats), default=0.0)
    total, start = 0.0, 0
    for size in wave_sizes(spec.waves or FIRST_WAVES, spec.seats):
        wave = seats[start : start + size]
        if not wave:
            break
        total += max(s.latency_s for s in wave)
        start += size
    return total
