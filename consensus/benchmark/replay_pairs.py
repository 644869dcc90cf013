"""Rankings by pairs over recorded comparisons: the live orchestrator on a recorded panel.

Cases of two candidates that belong to one ranking (``q01/a__b``, ``q01/a__c`` …) are put together
again, and the live :func:`consensus.orchestrators.pairs.pairs` asks them as it would ask models:
both orders, the next pair by expected information, as many comparisons as it may. Beside it stands
the control: as many comparisons of pairs drawn at random. Nearness is Kendall's τ-b to a reference.
"""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from consensus.ballots import Answer, Ballot, Failure
from consensus.errors import DataError
from consensus.orchestrators.checks import Judgement
from consensus.orchestrators.pairs import pairs
from consensus.orchestrators.ranking import fit_strengths, wins_of
from consensus.orchestrators.spec import ColdStart, StrategySpec
from consensus.panel.asking import Cut
from consensus.panel.seats import Seat
from consensus.statistics import paired_bootstrap
from consensus.strangers import numbered_lines, open_bounded, parse_json
from consensus.tasks import Rank

__all__ = ["PairsReplay", "RecordedRanking", "recorded_rankings", "replay_pairs", "tau_b"]

Said = Mapping[tuple[str, str, str], str]
"""(judge, shown first, shown second) → the better item, or "" for a tie."""


@dataclass(frozen=True)
class RecordedRanking:
    """One ranking: its items, what judges said of their pairs, and how good the items are.

    Attributes:
        items: names.
        said: both orders of every pair, as far as they were recorded.
        merit: item → reference value, higher is better; equals are tied.
    """

    items: tuple[str, ...]
    said: Said
    merit: Mapping[str, float]


class PairsReplay(NamedTuple):
    """Mean τ-b over the rankings, at one bound on comparisons.

    Attributes:
        seats: the bound; ``calls``: comparisons made, on average, by ``active``.
        active, random: mean τ-b of the orchestrator's order, and of as many random comparisons.
        difference_ci95: of active less random, over rankings.
    """

    seats: int
    calls: float
    active: float
    random: float
    difference_ci95: tuple[float, float]


@dataclass
class _Recorded:
    """A session whose only answers are recorded comparisons; a missing one is a failed seat."""

    ranking: RecordedRanking
    panel: Sequence[Seat]

    async def compare(
        self, seat: Seat, shown_first: int, shown_second: int, number: int
    ) -> Ballot | Failure:
        return self.recorded(seat, shown_first, shown_second, number)

    def recorded(
        self, seat: Seat, shown_first: int, shown_second: int, number: int
    ) -> Ballot | Failure:
        one, other = self.ranking.items[shown_first], self.ranking.items[shown_second]
        about: dict[str, Any] = {
            "seat": number,
            "model": seat.model,
            "framing": seat.framing,
            "order": (shown_first, shown_second),
        }
        better = self.ranking.said.get((seat.model, one, other))
        if better is None:
            return Failure(**about, failure="unreadable")
        answer: Answer = [[one, other]]
        if better:
            answer = (one, other) if better == one else (other, one)
        return Ballot(**about, answer=answer)

    async def ask(self, seat: Seat, cut: Cut | None = None) -> Ballot | Failure:
        raise NotImplementedError("a recording of pairs has no whole lists")

    def first(self, seats: Sequence[Seat]) -> Sequence[Seat]:
        return ()

    async def ask_again(
        self, seat: Seat, own: Ballot, others: Sequence[Ballot], turn: int
    ) -> Ballot | Failure:
        raise NotImplementedError("a recording of pairs has no debate")

    async def choose(
        self, seat: Seat, candidates: Sequence[Answer], number: int
    ) -> tuple[int, Ballot] | Failure:
        raise NotImplementedError("a recording of pairs has no candidates")

    async def judge(self, candidate: Ballot) -> Judgement | None:
        return None


def replay_pairs(
    rankings: Sequence[RecordedRanking],
    judges: Sequence[str],
    seats: int,
    *,
    draws: int = 20,
    seed: int = 0,
) -> PairsReplay:
    """Rank every recorded list with at most ``seats`` comparisons, both orders of a pair each.

    Args:
        rankings: at least two.
        judges: take turns, as models of a row do.
        seats: of the strategy ``pairs``.
        draws: random orders of the control.
        seed: of them, and of the interval.

    Raises:
        DataError: a judge compared nothing where others did, or there are fewer than two rankings.
    """
    known = {judge for ranking in rankings for judge, _, _ in ranking.said}
    for judge in judges:
        if known and judge not in known:
            raise DataError(
                f'"{judge}" compared nothing here',
                where="--panel, --frontier",
                fix=f"one of {', '.join(sorted(known))}",
            )
    if len(rankings) < 2:
        raise DataError("needs at least two recorded rankings", where="--data")
    spec = StrategySpec(name="pairs", orchestrator="pairs", models=tuple(judges), seats=seats)
    panel = [Seat(index=i, model=judges[i % len(judges)], framing="plain") for i in range(seats)]
    rng = np.random.default_rng(seed)
    active, random, calls = [], [], []
    for ranking in rankings:
        task = Rank(type="recorded", items=ranking.items)
        poll = asyncio.run(pairs(task, spec, _Recorded(ranking, panel)))
        calls.append(len(poll.ballots) + len(poll.failures))
        active.append(_quality(ranking, poll.ballots))
        drawn = [_drawn(ranking, judges, calls[-1] // 2, rng) for _ in range(draws)]
        random.append(float(np.mean([_quality(ranking, ballots) for ballots in drawn])))
    gap = paired_bootstrap(active, random, seed=seed)
    low, high = gap.interval
    return PairsReplay(
        seats, float(np.mean(calls)), float(np.mean(active)), float(np.mean(random)), (low, high)
    )


def recorded_rankings(folder: str | Path) -> list[RecordedRanking]:
    """The rankings of a folder of recorded answers: ``rankings.jsonl.gz`` and ``answers.csv.gz``.

    Answers are ``1``, ``2`` or ``tie`` about the case ``RANKING/ONE__OTHER``; sample 0 was shown in
    that order and sample 1 in the other (already mapped back).

    Raises:
        DataError: where a file is missing or is none of these.
    """
    place = Path(folder)
    said: dict[str, dict[tuple[str, str, str], str]] = {}
    try:
        binary = open_bounded(place / "answers.csv.gz")
        with io.TextIOWrapper(binary, encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                ranking, _, pair = (row["case_id"] or "").partition("/")
                one, _, other = pair.partition("__")
                better = {"1": one, "2": other, "tie": ""}.get(row["answer"])
                if better is not None:
                    shown = (one, other) if row["sample_idx"] == "0" else (other, one)
                    said.setdefault(ranking, {})[row["model"], *shown] = better
        lines = numbered_lines(place / "rankings.jsonl.gz")
        records = [parse_json(line or b"") for _, line in lines]
        return [
            RecordedRanking(
                tuple(sorted(record["human_net_wins"])),
                said.get(record["case_id"], {}),
                record["human_net_wins"],
            )
            for record in records
        ]
    except (KeyError, ValueError, TypeError, AttributeError, csv.Error) as error:
        why = type(error).__name__
        raise DataError(f"holds no recorded rankings ({why})", where=str(place)) from None


def tau_b(one: Sequence[float], other: Sequence[float]) -> float:
    """Kendall's τ-b of two scorings of the same items; 0 where either ties everything."""
    x, y = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    upper = np.triu_indices(len(x), 1)
    dx = np.sign(np.round(x[:, None] - x[None, :], 9))[upper]
    dy = np.sign(np.round(y[:, None] - y[None, :], 9))[upper]
    scale = float(np.sqrt((dx != 0).sum() * (dy != 0).sum()))
    return float((dx * dy).sum() / scale) if scale > 0 else 0.0


def _quality(ranking: RecordedRanking, ballots: Sequence[Ballot]) -> float:
    strengths = fit_strengths(wins_of(ranking.items, ballots), ColdStart().correlation)
    return tau_b(strengths.theta.tolist(), [ranking.merit[item] for item in ranking.items])


def _drawn(
    ranking: RecordedRanking, judges: Sequence[str], number: int, rng: np.random.Generator
) -> list[Ballot]:
    """The control: pairs of judges and items at random without repetition, both orders."""
    n = len(ranking.items)
    every = [(judge, i, j) for judge in judges for i in range(n) for j in range(i + 1, n)]
    session = _Recorded(ranking, ())
    ballots: list[Ballot] = []
    for k in rng.permutation(len(every))[:number].tolist():
        judge, i, j = every[k]
        seat = Seat(index=0, model=judge, framing="plain")
        for first, second in ((i, j), (j, i)):
            said = session.recorded(seat, first, second, len(ballots))
            if isinstance(said, Ballot):
                ballots.append(said)
    return ballots
