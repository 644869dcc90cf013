"""From ballots to a conclusion: pure, without clock or I/O (design/engine.md).

The engine, ``ledger replay`` and the benchmark call the same :func:`conclude`, so a receipt's
ballots give the receipt's decision, byte for byte. Nothing here depends on the order in which
ballots stand: they are sorted, counted, and summed exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from consensus.aggregation.conformal import prediction_sets
from consensus.ballots import Answer, Failure
from consensus.decisions import Action
from consensus.errors import FailureClass
from consensus.orchestrators.checks import (
    NOT_ACCEPTED,
    answer_sha256,
    find_judgement,
    judgement_sentence,
    unmet_sentence,
)
from consensus.orchestrators.leading import (
    SCORE_TOLERANCE,
    Leader,
    canonical_answer,
    find_leader,
)
from consensus.orchestrators.spec import Acceptance, HopRecord, StrategySpec
from consensus.tasks import Kind

__all__ = ["Conclusion", "answers_agree", "conclude", "propose"]


class Conclusion(BaseModel):
    """What follows from the ballots, before cost and time are added."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    action: Action
    outcome: Answer | None = None
    posterior: dict[str, float] = {}
    probability: float | None = None
    agreement: float = 0.0
    tied: tuple[str, ...] = ()
    calibrated: bool = False
    reasons: tuple[str, ...] = ()


def conclude(
    kind: Kind,
    options: Sequence[str],
    hops: Sequence[HopRecord],
    *,
    scale: tuple[float, float] | None = None,
    top: int | None = None,
) -> Conclusion:
    """Conclude over all hops that were run, the last of which has the say.

    What :func:`propose` would act upon acts only if every check of the last hop is met by a
    judgement of that very outcome.

    Args:
        kind: the task's kind.
        options: its closed set of answers (items, for a ranking); empty where open.
        hops: in the order in which they were run; at least one.
        scale: of a score.
        top: of a ranking whose best so many are wanted, as a set.
    """
    drawn = propose(kind, options, hops, scale=scale, top=top)
    if not hops[-1].checks and not any(hop.judgements for hop in hops):
        return drawn
    told = (judgement_sentence(h.name, j) for h in hops for j in h.judgements if j.of == "outcome")
    reasons = [*drawn.reasons, *told]
    if drawn.outcome is None:
        return drawn.model_copy(update={"reasons": tuple(reasons)})
    objections = _unmet(hops[-1], drawn.outcome)
    update: dict[str, object] = {"reasons": (*reasons, *objections)}
    if objections:
        update |= {"action": "escalate", "outcome": None}
    return drawn.model_copy(update=update)


def _unmet(hop: HopRecord, outcome: Answer) -> list[str]:
    """Why the hop's checks forbid this outcome; empty where all are met."""
    name = answer_sha256(outcome)
    found = [(check, find_judgement(hop.judgements, check.oracle, name)) for check in hop.checks]
    unmet = [(check, said) for check, said in found if said is None or not said.meets(check.floor)]
    if any(said is not None for _, said in unmet):  # who was not asked after a refusal is no news
        unmet = [(check, said) for check, said in unmet if said is not None]
    return [unmet_sentence(check, said) for check, said in unmet]


def propose(
    kind: Kind,
    options: Sequence[str],
    hops: Sequence[HopRecord],
    *,
    scale: tuple[float, float] | None = None,
    top: int | None = None,
) -> Conclusion:
    """What the ballots alone would do: the outcome that the checks are then asked about.

    Arguments are those of :func:`conclude`.
    """
    reasons: list[str] = []
    voiced: list[HopRecord] = []
    escalated: list[bool] = []
    for place, hop in enumerate(hops):
        reasons.extend(_failures_named(hop))
        reasons.extend(f"{hop.name}: {note}" for note in hop.notes)
        valid = _valid(hop)
        if place < len(hops) - 1:
            reasons.extend(_triggers(hop, mute=valid < hop.spec.quorum))
        if valid >= hop.spec.quorum:
            voiced.append(hop)
            escalated.append(place > 0)
        else:
            reasons.append(
                f"{hop.name}: {valid} of {hop.spec.seats} configured seats gave a valid "
                f"ballot; the quorum is {hop.spec.quorum}, so they decide nothing"
            )
        if place < len(hops) - 1 and voiced and voiced[-1] is hop:
            reasons.extend(_sent_on(kind, options, voiced, escalated, scale, top))
    if not voiced:
        return Conclusion(
            action="abstain",
            reasons=(*reasons, "no hop reached its quorum: there is no basis for any outcome"),
        )
    spec = voiced[-1].spec
    leader = find_leader(kind, options, voiced, escalated, scale, top)
    configured = sum(hop.spec.seats for hop in voiced)
    agreement = len(leader.supporters) / configured
    shared = {
        "posterior": leader.posterior,
        "probability": leader.probability,
        "agreement": agreement,
        "tied": leader.tied,
        "calibrated": leader.cases > 0,
    }
    reasons.extend(leader.notes)
    if leader.tied:
        names = " = ".join(_name(kind, options, option) for option in leader.tied)
        reasons.append(f"a tie: {names}; the order of a list decides nothing")
        return Conclusion(action="escalate", reasons=tuple(reasons), **shared)
    if voiced[-1] is not hops[-1]:
        reasons.append(
            f"{hops[-1].name} was asked and has no voice; the hop before it did not suffice"
        )
        return Conclusion(action="escalate", reasons=tuple(reasons), **shared)
    last = voiced[-1]
    backing = sum(1 for ballot in last.ballots if ballot.seat in leader.supporters)
    objections = _objections(kind, spec, last, leader, backing)
    reasons.append(_lead_sentence(kind, leader, last, backing))
    if objections:
        return Conclusion(action="escalate", reasons=(*reasons, *objections), **shared)
    return Conclusion(action="act", outcome=leader.answer, reasons=tuple(reasons), **shared)


def _valid(hop: HopRecord) -> int:
    """Seats that gave a ballot. Candidates that an oracle refused were given too, if any stands."""
    standing = sum(ballot.role != "judge" for ballot in hop.ballots)
    refused = sum(failure.message == NOT_ACCEPTED for failure in hop.failures)
    return standing + refused if standing else 0


def _sent_on(
    kind: Kind,
    options: Sequence[str],
    voiced: Sequence[HopRecord],
    escalated: Sequence[bool],
    scale: tuple[float, float] | None,
    top: int | None,
) -> list[str]:
    """What kept the last of these hops from acting, where another was asked after it.

    Triggers are told on their own.
    """
    hop = voiced[-1]
    leader = find_leader(kind, options, voiced, escalated, scale, top)
    if leader.tied:
        return [f"{hop.name}: a tie: the next hop was asked"]
    backing = sum(1 for ballot in hop.ballots if ballot.seat in leader.supporters)
    why = [
        objection
        for objection in _objections(kind, hop.spec, hop, leader, backing)
        if not objection.startswith(_TRIGGER)
    ]
    if not why and leader.answer is not None:
        why = _unmet(hop, leader.answer)
    return [f"{hop.name}: {'; '.join(why)}: the next hop was asked"] if why else []


# -- the rule --------------------------------------------------------------------------------------

_TRIGGER = "trigger: "


def _objections(
    kind: Kind, spec: StrategySpec, hop: HopRecord, leader: Leader, backing: int
) -> list[str]:
    """Why the leader may not be acted upon; empty if it may."""
    found = [
        f"{_TRIGGER}{hop.name} gave {_TRIGGERS.get(failure, failure)}, which the row sends on"
        for failure in sorted({f.failure for f in hop.failures} & set(spec.escalate_on))
    ]
    counted = hop.counted
    share = backing / counted
    if not (kind == "rank" or leader.by_oracle) or spec.min_agreement > 0.5:
        enough = share > 0.5 if spec.min_agreement == 0.5 else share >= spec.min_agreement - 1e-12
        if not enough:
            wanted = "more than half" if spec.min_agreement == 0.5 else f"{spec.min_agreement:.0%}"
            found.append(f"{backing} of {counted} seats back it; the row asks for {wanted}")
    if spec.veto is not None:
        against = len(hop.ballots) - backing
        if kind == "approve" and leader.answer == "approve" and against >= spec.veto:
            found.append(f"{against} seats reject; {spec.veto} are a veto")
    probability = leader.probability
    if probability is not None and kind == "approve":
        losses = spec.losses
        if losses is not None and isinstance(leader.answer, str):
            threshold = losses.threshold(leader.answer)
            if probability <= threshold:
                found.append(
                    f"P({leader.answer}) = {probability:.3f} does not pass {threshold:.3f}, which "
                    f"losses {losses.false_approve:g} : {losses.false_reject:g} ask for"
                )
    if spec.accept is not None:
        found += _not_accepted(spec.accept, leader, share)
    if spec.conformal:
        found += _not_alone(spec, leader)
    elif probability is not None and spec.alpha is not None and probability < 1 - spec.alpha:
        found.append(f"P = {probability:.3f} is below 1 − α = {1 - spec.alpha:.3f}")
    return found


def _not_alone(spec: StrategySpec, leader: Leader) -> list[str]:
    """Why the prediction set is not just the leader: split conformal, with the calibration's q̂."""
    if leader.stage is None:
        return ["no calibration covers these ballots: a prediction set cannot be drawn"]
    quantile = math.inf if leader.stage.quantile is None else leader.stage.quantile
    names = list(leader.posterior)
    inside = prediction_sets(list(leader.posterior.values()), quantile).tolist()
    held = [_short(name) for name, held in zip(names, inside, strict=True) if held]
    if len(held) == 1:
        return []
    said = f"holds {len(held)} options: {', '.join(held[:5])}" if held else "is empty"
    return [f"the prediction set at α = {spec.alpha or 0:g} {said}"]


def _not_accepted(accept: Acceptance, leader: Leader, share: float) -> list[str]:
    """Why a cascade does not stop at this step."""
    if accept.by == "oracle":
        # An oracle's acceptance is a check of the hop; what nobody judged is not accepted.
        return ["the step asks for an oracle's verdict, and there is none"]
    if accept.by == "agreement":
        value = share
    elif accept.by == "margin":
        first, second = sorted([0.0, *leader.posterior.values()])[:-3:-1]
        value = first - second
    else:
        value = leader.probability or 0.0
    if value >= accept.threshold - 1e-12:
        return []
    return [f"{accept.by} {value:.3f} is below the step's {accept.threshold:.3f}"]


def _lead_sentence(kind: Kind, leader: Leader, hop: HopRecord, backing: int) -> str:
    what = {
        "rank": "this order",
        "score": f"{leader.answer!s}",
        "generate": "this answer",
    }.get(kind, _short(str(leader.answer)))
    sentence = f"{hop.name}: {backing} of {hop.spec.seats} configured seats say {what}"
    if leader.by_oracle:
        sentence += ", the oracle's choice"
    if leader.probability is not None:
        sentence += f"; P = {leader.probability:.3f} ({_basis(leader)})"
    return sentence


def _basis(leader: Leader) -> str:
    return f"calibrated on {leader.cases:,} cases" if leader.cases else "uncalibrated"


def _failures_named(hop: HopRecord) -> list[str]:
    """Those that a stopping rule cut off are told of by its note."""
    failed = (failure for failure in hop.failures if not failure.not_needed)
    return [_failure_sentence(hop.name, failure) for failure in failed]


def _failure_sentence(name: str, failure: Failure) -> str:
    who = f"seat {failure.seat} ({failure.model}, {failure.framing})"
    return f"{name}: {who} failed: {failure.failure}"


_TRIGGERS: dict[FailureClass, str] = {
    "off_list": "a label outside the set",
    "schema": "an answer outside its schema",
    "refusal": "a refusal",
    "empty": "an empty answer",
    "truncated": "an answer that was cut off",
    "unreadable": "an answer that cannot be read",
}


def _triggers(hop: HopRecord, *, mute: bool) -> list[str]:
    """What the answers did that sent the task on: all of it where nothing was left to conclude."""
    counted = _TRIGGERS.keys() if mute else set(hop.spec.escalate_on)
    said = sorted(
        {_TRIGGERS.get(f.failure, f.failure) for f in hop.failures if f.failure in counted}
    )
    if not said:
        return []
    return [f"{_TRIGGER}{hop.name} gave {' and '.join(said)}: the next hop was asked"]


def _name(kind: Kind, options: Sequence[str], option: str) -> str:
    """An option in a sentence; a ranking's items are judged text, so they are numbered."""
    return f"item {list(options).index(option) + 1}" if kind == "rank" else _short(option)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else line[:57] + "…"


def answers_agree(
    kind: Kind, first: Answer, second: Answer, *, scale: tuple[float, float] | None = None
) -> bool:
    """Whether two answers to one task say the same (scores: within a tenth of the scale)."""
    if kind == "score" and scale is not None:
        if not isinstance(first, int | float) or not isinstance(second, int | float):
            return False
        return abs(first - second) <= SCORE_TOLERANCE * (scale[1] - scale[0]) + 1e-12
    return canonical_answer(first) == canonical_answer(second)
