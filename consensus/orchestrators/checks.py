"""What must hold of an outcome before it acts, and what was said of it: plain data for receipts.

A check that has no verdict, or one that could not be had, is not passed: nothing acts on silence.
A verdict is of one outcome, known by its hash, so that it can never stand for another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from consensus.ballots import Answer, Cost, Usage
from consensus.errors import FailureClass

__all__ = [
    "NOT_ACCEPTED",
    "Check",
    "CheckPurpose",
    "Judgement",
    "answer_sha256",
    "find_judgement",
    "judgement_sentence",
    "unmet_sentence",
]

CheckPurpose = Literal["gate", "quality", "accept"]
"""``gate``: before the caller's action. ``quality``: the row's floor for a graded oracle's score.
``accept``: a cascade's step."""


NOT_ACCEPTED = "the oracle does not accept it"
"""Message of a candidate's failure: it was written, and counts for the quorum."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Check(_Frozen):
    """One oracle's say over a hop's outcome.

    Attributes:
        purpose: why it is asked.
        oracle: its name in the policy.
        floor: the score that must be reached; None: the oracle's own idea of acceptable.
    """

    purpose: CheckPurpose
    oracle: str
    floor: float | None = Field(default=None, ge=0, le=1)


class Judgement(_Frozen):
    """What one oracle said of one answer, and what that took.

    Attributes:
        oracle, oracle_sha256: its name in the policy, and its content.
        of: an ``outcome`` that was about to act, or a ``candidate`` of best-of-n.
        answer: hash of the answer that was judged (:func:`answer_sha256`).
        passed: None where no verdict could be had; that is never a pass.
        score: in [0, 1]; None without a verdict.
        detail: why, without judged text.
        failure: what went wrong with the grader's call, where it was that.
        grader: the model that served the grading; None for code.
        calls, usage, cost, latency_s: of the grading, retries included.
    """

    oracle: str
    oracle_sha256: str
    answer: str
    of: Literal["outcome", "candidate"] = "outcome"
    passed: bool | None = None
    score: float | None = None
    detail: str = ""
    failure: FailureClass | None = None
    grader: str | None = None
    calls: tuple[str, ...] = ()
    usage: Usage = Usage()
    cost: Cost = Cost()
    latency_s: float = 0.0

    def meets(self, floor: float | None) -> bool:
        """Whether it allows an action; False without a verdict."""
        if self.passed is None or self.score is None:
            return False
        return self.passed if floor is None else self.score >= floor - 1e-9

    def again(self) -> Judgement:
        """The same verdict of an outcome, at no price: it was paid for where it was first given."""
        free = {"calls": (), "usage": Usage(), "cost": Cost(), "latency_s": 0.0}
        return self.model_copy(update={**free, "of": "outcome"})


def answer_sha256(answer: Answer) -> str:
    """The name of an answer: equal JSON, equal name."""
    text = json.dumps(answer, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    # As receipts are written: a lone surrogate is not text and becomes a question mark.
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def find_judgement(said: Iterable[Judgement], oracle: str, answer: str) -> Judgement | None:
    """The oracle's judgement of this answer; one with a verdict rather than one without."""
    found = None
    for judgement in said:
        if (judgement.oracle, judgement.answer) == (oracle, answer):
            if judgement.passed is not None:
                return judgement
            found = judgement
    return found


def judgement_sentence(hop: str, judgement: Judgement) -> str:
    """A judgement in the reasons of a decision."""
    who = f"{hop}: oracle {judgement.oracle}"
    if judgement.passed is None or judgement.score is None:
        return f"{who} gave no verdict: {judgement.failure or judgement.detail or 'no reason'}"
    detail = f" ({judgement.detail})" if judgement.detail else ""
    said = "accepts it" if judgement.passed else "does not accept it"
    return f"{who} {said}, score {judgement.score:.3f}{detail}"


_WANTED: dict[CheckPurpose, str] = {
    "gate": "the gate",
    "quality": "trigger: the quality",
    "accept": "the step's acceptance",
}


def unmet_sentence(check: Check, judgement: Judgement | None) -> str:
    """Why a check forbids the action."""
    what = f"{_WANTED[check.purpose]} ({check.oracle})"
    if judgement is None or judgement.passed is None or judgement.score is None:
        return f"{what} has no verdict, and without one nothing acts"
    if check.floor is not None:
        return f"{what} scores {judgement.score:.3f}, below its floor {check.floor:.3f}"
    return f"{what} is not passed"
