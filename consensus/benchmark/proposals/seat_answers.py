"""One recorded answer, as a seat would bring it home: a run's rows read back for the engine."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from consensus.ballots import PICO, Answer, Ballot, ConfidenceSource, Cost, Failure, Usage
from consensus.benchmark.run_format.run import RecordedRun
from consensus.errors import FailureClass
from consensus.models.prices import PriceBook
from consensus.panel.answers import TIE_MARGIN
from consensus.panel.seats import Seat
from consensus.strangers import numbered_lines, parse_json
from consensus.tasks import Task

__all__ = ["NOBODY", "SeatAnswer", "answers_of", "details_of"]

_FAILURES: Mapping[str, FailureClass | None] = {"": None} | {
    name: name for name in get_args(FailureClass)
}


@dataclass(frozen=True, slots=True)
class SeatAnswer:
    """One recorded answer, as a seat would bring it home.

    Attributes:
        answer: None for a failure, whose class is ``failure``.
        scores: of each of the task's options; only a seat that is asked for scores brings them.
        order: of the options as that seat saw them; empty where it is not known.
        usd: at today's price of the model; NaN where unknown.
        tokens: input (cached included), read from a cache, output, reasoning; NaN where unknown.
    """

    answer: Answer | None
    failure: FailureClass | None
    confidence: float | None
    source: ConfidenceSource | None
    distribution: tuple[tuple[str, float], ...] | None
    scores: tuple[tuple[str, float], ...] | None
    order: tuple[int, ...]
    usd: float
    latency_s: float
    tokens: tuple[float, float, float, float]

    def as_seat(self, seat: Seat) -> Ballot | Failure:
        """The ballot or failure that this seat returns.

        Where it scores the options, its answer is the highest, and several that are scored alike
        are all of them the answer, as :func:`~consensus.panel.parsing.read_ballot` reads them.
        """
        common: dict[str, Any] = {
            "seat": seat.index,
            "model": seat.model,
            "framing": seat.framing,
            "order": seat.order,
            "cost": Cost(pico_usd=0 if math.isnan(self.usd) else round(self.usd * PICO)),
            "latency_s": 0.0 if math.isnan(self.latency_s) else self.latency_s,
        }
        if self.answer is None:
            return Failure.model_construct(
                **common,
                failure=self.failure or "unreadable",
                message="",
                served_model=None,
                calls=(),
                usage=Usage(),
            )
        scores = self.scores if seat.ballot == "scores" else None
        return Ballot.model_construct(
            **common,
            answer=self.answer if scores is None else _highest(scores),
            confidence=self.confidence,
            confidence_source=self.source,
            distribution=None if self.distribution is None else dict(self.distribution),
            scores=None if scores is None else dict(scores),
            rationale="",
            earlier=(),
            role="ballot",
            served_model=None,
            calls=(),
            usage=Usage(),
        )


def _highest(scores: Sequence[tuple[str, float]]) -> Answer:
    most = max(score for _, score in scores)
    leaders = tuple(option for option, score in scores if score == most)
    return leaders[0] if len(leaders) == 1 else leaders


NOBODY = SeatAnswer(None, "unreadable", None, None, None, None, (), 0.0, 0.0, (0.0, 0.0, 0.0, 0.0))
"""A case that this model was never asked: no answer, and nothing paid."""


def answers_of(
    run: RecordedRun,
    chosen: Mapping[str, Mapping[str, int]],
    details: Mapping[tuple[str, str, str, int], Mapping[str, Any]],
    tasks: Sequence[Task],
    called: Mapping[str, str],
    prices: PriceBook,
    *,
    framed: bool,
) -> dict[tuple[str, str], tuple[tuple[SeatAnswer, ...], ...]]:
    """(model, framing or "") → for each case its answers by sample.

    Args:
        run: cut down to the cases of ``tasks``, in their order.
        chosen: model → (framing, or "" for somebody else's prompts) → its member's index.
        details: of :func:`details_of`.
        tasks: the cases as tasks.
        called: recorded name → the policy's, for models and options.
        prices: today's.
        framed: whether the members' variants are framings of the engine.
    """
    recorded = run.cost()
    found: dict[tuple[str, str], tuple[tuple[SeatAnswer, ...], ...]] = {}
    for model, members in chosen.items():
        name = called.get(model, model)
        for framing, member in members.items():
            cases: list[list[tuple[int, SeatAnswer]]] = [[] for _ in tasks]
            for row in np.flatnonzero(run.rows.member == member).tolist():
                case = int(run.rows.case[row])
                sample = int(run.rows.sample[row])
                variant = run.members[member].variant
                line = details.get((run.cases.ids[case], model, variant, sample), {})
                usd = _usd(run, row, line, name, prices, float(recorded[row]))
                cases[case].append((sample, _seat_answer(run, row, line, tasks[case], called, usd)))
            found[name, framing if framed else ""] = tuple(
                tuple(answer for _, answer in sorted(each, key=lambda pair: pair[0]))
                for each in cases
            )
    return found


def _seat_answer(
    run: RecordedRun,
    row: int,
    line: Mapping[str, Any],
    task: Task,
    called: Mapping[str, str],
    usd: float,
) -> SeatAnswer:
    rows = run.rows
    case = int(rows.case[row])
    options = [called.get(name, name) for name in run.cases.options[case]]
    failure = _FAILURES.get(rows.failure_classes[rows.failure[row]], "unreadable")
    answer: Answer | None = None
    if failure is None:
        answer = _said(run, row, line, task, options)
        failure = None if answer is not None else "unreadable"
    confidence = float(rows.confidence[row])
    source: ConfidenceSource | None = line.get("confidence_source") or (
        None if math.isnan(confidence) else "stated"
    )
    usage = line.get("usage") or {}
    total = float(rows.prompt_tokens[row])
    return SeatAnswer(
        answer,
        failure,
        confidence if 0 <= confidence <= 1 else None,
        source if 0 <= confidence <= 1 else None,
        _distribution(run, row, options, task),
        _scores(run, row, line, options, task),
        tuple(line.get("order") or ()),
        usd,
        float(rows.latency_s[row]),
        (
            total,
            float(usage.get("cache_read", 0)) if line else float("nan"),
            float(rows.completion_tokens[row]),
            float(usage.get("reasoning", 0)) if line else float("nan"),
        ),
    )


def _said(
    run: RecordedRun, row: int, line: Mapping[str, Any], task: Task, options: Sequence[str]
) -> Answer | None:
    """The one answer that a seat gives. A vote split between options is read by a fixed coin."""
    votes = run.rows.votes[row]
    named = np.flatnonzero(votes > 0)
    if not named.size:
        return None
    place = int(named[0])
    if named.size > 1:
        case_id = run.cases.ids[int(run.rows.case[row])]
        key = f"{case_id}:{int(run.rows.member[row])}:{int(run.rows.sample[row])}"
        # By name, so that the order of the options decides nothing.
        ordered = sorted(named.tolist(), key=lambda k: options[k])
        shares = np.cumsum([float(votes[k]) for k in ordered])
        thrown = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2.0**64
        place = ordered[min(int(np.searchsorted(shares, thrown, side="right")), len(ordered) - 1)]
    if task.kind == "score":
        return float(line.get("value", options[place]))
    if task.kind == "rank":
        value = line.get("value")
        return (
            tuple(value)
            if value
            else tuple(task.options[int(n) - 1] for n in options[place].split(">"))
        )
    if task.kind == "generate":
        text: Answer = line.get("value", options[place])
        return text
    return options[place]


def _distribution(
    run: RecordedRun, row: int, options: Sequence[str], task: Task
) -> tuple[tuple[str, float], ...] | None:
    """Scores that are probabilities of the options; other scores are no distribution."""
    if run.rows.scores is None or task.kind not in ("approve", "choose", "compare"):
        return None
    scores = run.rows.scores[row, : len(options)].astype(float)
    if not np.all(np.isfinite(scores)) or scores.min() < 0 or abs(scores.sum() - 1) > 1e-3:
        return None
    shares = scores / scores.sum()
    return tuple(zip(options, shares.tolist(), strict=True))


def _scores(
    run: RecordedRun, row: int, line: Mapping[str, Any], options: Sequence[str], task: Task
) -> tuple[tuple[str, float], ...] | None:
    """A score of each option, in the task's order; None where they are probabilities, or some lack.

    A live run's own line has them to the last digit, a run's columns in single precision. Two
    candidates that were scored without ``tie`` get it where a ballot of scores has it.
    """
    if run.rows.scores is None or _distribution(run, row, options, task) is not None:
        return None
    given = line.get("scores")
    if not isinstance(given, list) or len(given) != len(options):
        given = run.rows.scores[row, : len(options)].tolist()
    at = {name: math.nan if x is None else float(x) for name, x in zip(options, given, strict=True)}
    if task.kind == "compare" and "tie" not in at:
        at["tie"] = math.fsum(at.values()) / 2 + TIE_MARGIN
    if task.kind not in ("approve", "choose", "compare") or set(at) != set(task.options):
        return None
    if not all(math.isfinite(score) for score in at.values()):
        return None
    return tuple((option, at[option]) for option in task.options)


def _usd(
    run: RecordedRun,
    row: int,
    line: Mapping[str, Any],
    name: str,
    prices: PriceBook,
    recorded: float,
) -> float:
    """Dollars of an answer at today's prices; as recorded where tokens or price are not known."""
    prompt, completion = float(run.rows.prompt_tokens[row]), float(run.rows.completion_tokens[row])
    if name.startswith("scripted/") or not prices.knows(name):
        return recorded
    if line.get("usage"):
        return prices.price(name).cost_pico(Usage(**line["usage"])) / PICO
    if not (math.isnan(prompt) or math.isnan(completion)):
        usage = Usage(input=round(prompt), output=round(completion))
        return prices.price(name).cost_pico(usage) / PICO
    return recorded


def details_of(folder: Path, cases: set[str]) -> dict[tuple[str, str, str, int], Mapping[str, Any]]:
    """A live run's own answer lines: usage by class, values of open answers, orders."""
    path = folder / "answers.jsonl"
    if not (folder / "run.json").exists() or not path.exists():
        return {}
    found = {}
    for _, raw in numbered_lines(path):
        try:
            line = parse_json(raw or b"")
            if line["case"] in cases:
                key = (line["case"], line["model"], line.get("variant") or "",
                       int(line.get("sample") or 0))  # fmt: skip
                found[key] = line
        except (ValueError, KeyError, TypeError, OverflowError):
            continue  # counted and named when the run was read
    return found
