"""What a run asks: every case, of every model, under every framing, so many times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from consensus.benchmark.cases import Case
from consensus.benchmark.suites import Suite
from consensus.errors import DataError, SuiteError
from consensus.panel.book import PromptBook
from consensus.panel.seats import MAX_SEATS, BallotForm, Seat, balanced_order

__all__ = ["Job", "Plan", "make_jobs"]


@dataclass(frozen=True, slots=True)
class Plan:
    """The part of a run that the user chooses.

    Attributes:
        models: in the order given, each once.
        framings: names; or how many of the default sequence of each kind.
        samples: how often each model answers each case under each framing. Later samples see the
            options in other orders, and are independent calls.
        ballot: ``structured``, ``token``, ``scores``, or ``auto`` (by token for ``local/`` models).
        temperature: None for each provider's default.
        max_output_tokens: None for the default of the kind.
    """

    models: tuple[str, ...]
    framings: tuple[str, ...] | int = ("plain",)
    samples: int = 1
    ballot: BallotForm | Literal["auto"] = "auto"
    temperature: float | None = None
    max_output_tokens: int | None = None

    def __post_init__(self) -> None:
        if not self.models:
            raise DataError("a run needs at least one model", fix="--models or --tiers")
        if len(set(self.models)) != len(self.models):
            raise DataError("a model is named twice")
        if not 1 <= self.samples <= MAX_SEATS:
            raise DataError(f"samples must lie from 1 to {MAX_SEATS:,}, not {self.samples}")
        if isinstance(self.framings, int) and self.framings < 1:
            raise DataError(f"so many framings are none: {self.framings}")

    def union(self, earlier: Plan) -> Plan:
        """This plan and what the same run folder was asked for before.

        Raises:
            DataError: they ask in different ways, so that their answers are not of one run.
        """
        for name in ("ballot", "temperature", "max_output_tokens"):
            if getattr(self, name) != getattr(earlier, name):
                raise DataError(
                    f"this run was begun with {name} = {getattr(earlier, name)}, not "
                    f"{getattr(self, name)}",
                    fix="name another folder with --out",
                )
        return Plan(
            tuple(dict.fromkeys([*earlier.models, *self.models])),
            self._all_framings(earlier),
            max(self.samples, earlier.samples),
            self.ballot,
            self.temperature,
            self.max_output_tokens,
        )

    def _all_framings(self, earlier: Plan) -> tuple[str, ...] | int:
        mine, theirs = self.framings, earlier.framings
        if isinstance(mine, int) and isinstance(theirs, int):
            return max(mine, theirs)
        if isinstance(mine, tuple) and isinstance(theirs, tuple):
            return tuple(dict.fromkeys([*theirs, *mine]))
        raise DataError(
            "this run was begun with framings by name and is continued by number, or the reverse",
            fix="name framings as before, or another folder with --out",
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_json`."""
        framings = data["framings"]
        return cls(
            tuple(data["models"]),
            framings if isinstance(framings, int) else tuple(framings),
            data["samples"],
            data["ballot"],
            data["temperature"],
            data["max_output_tokens"],
        )


@dataclass(frozen=True, slots=True)
class Job:
    """One answer to be had: a case put to a seat. ``sample`` counts from 0."""

    index: int
    case: Case
    seat: Seat
    sample: int

    @property
    def model(self) -> str:
        """Who is asked."""
        return self.seat.model

    @property
    def variant(self) -> str:
        """How: the framing's name, which is the run format's variant."""
        return self.seat.framing


def make_jobs(suite: Suite, plan: Plan, book: PromptBook) -> list[Job]:
    """All jobs, by case, then model, framing and sample.

    Raises:
        PromptError: an unknown framing.
        SuiteError: none of the framings suits a kind that the suite holds.
    """
    by_kind = {
        kind: _framings(plan.framings, kind, book)
        for kind in dict.fromkeys(case.task.kind for case in suite.cases)
    }
    jobs: list[Job] = []
    for case in suite.cases:
        width = len(case.task.options)
        tie_last = case.task.kind == "compare"
        place = 0
        for model in plan.models:
            seen: Counter[tuple[str, tuple[int, ...]]] = Counter()
            for turn, framing in enumerate(by_kind[case.task.kind]):
                for sample in range(plan.samples):
                    order = _order(width, turn + sample, tie_last=tie_last)
                    seat = Seat(
                        index=place,
                        model=model,
                        framing=framing,
                        order=order,
                        ballot=_ballot(plan, model),
                        temperature=plan.temperature,
                        sample=seen[framing, order],
                        max_output_tokens=plan.max_output_tokens,
                    )
                    seen[framing, order] += 1
                    jobs.append(Job(len(jobs), case, seat, sample))
                    place += 1
    return jobs


def _framings(wanted: Sequence[str] | int, kind: Any, book: PromptBook) -> tuple[str, ...]:
    if isinstance(wanted, int):
        return book.sequence(kind)[:wanted]
    suited = tuple(name for name in wanted if kind in book.framing(name).kinds)
    if not suited:
        raise SuiteError(
            f"none of the framings {', '.join(wanted)} suits the suite's tasks of kind {kind}",
            fix=f"add one of {', '.join(f.name for f in book.framings_for(kind))}",
        )
    return suited


def _order(width: int, turn: int, *, tie_last: bool) -> tuple[int, ...]:
    """Another row of the balanced square each turn; its mirror image on every other lap."""
    size = width - 1 if tie_last else width
    if size < 2:
        return tuple(range(width))
    mirrored = size % 2 == 1 and turn // size % 2 == 1
    order = balanced_order(size, turn % size, mirrored)
    return (*order, size) if tie_last else order


def _ballot(plan: Plan, model: str) -> BallotForm:
    if plan.ballot != "auto":
        return plan.ballot
    return "token" if model.startswith("local/") else "structured"
