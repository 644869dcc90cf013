"""Asking the policy's classifier, whichever it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from consensus.ballots import Failure
from consensus.models.context import CallContext
from consensus.panel.asking import Caller, ask
from consensus.panel.book import PromptBook
from consensus.panel.framings import PLAIN
from consensus.panel.seats import build_panel
from consensus.policy.classify.deciding import (
    MODEL_THRESHOLD,
    Classified,
    by_probabilities,
    class_question,
    read_by_file,
    unanswered_class,
)
from consensus.policy.table import PolicyTable
from consensus.tasks import Task

__all__ = ["CLASSIFIER_SEAT", "InForce", "classify"]

CLASSIFIER_SEAT = 2_000_000
"""Its place beside the panel: never that of a seat, nor the frontier's."""


class InForce(Protocol):
    """What a decision goes by."""

    @property
    def table(self) -> PolicyTable:
        """The policy."""
        ...

    @property
    def book(self) -> PromptBook:
        """The prompts."""
        ...

    @property
    def gateway(self) -> Caller:
        """The way to a model."""
        ...


async def classify(rules: InForce, task: Task, context: CallContext) -> Classified | None:
    """What the policy's classifier says of a task; None where the policy has none.

    A trained file answers at once. A model is asked once, plainly; its trouble is no exception: no
    class is named then, and the default row holds.

    Raises:
        PolicyError: the classifier's file cannot be used.
    """
    declared = rules.table.classifier
    if declared is None:
        return None
    if declared.model is None:
        return read_by_file(rules.table, task)
    question = class_question(declared, task)
    seat = build_panel(
        question,
        models=(declared.model,),
        seats=1,
        framings=(PLAIN,),
        book=rules.book,
        ballot="auto",
        temperature=0.0,
        first_seat=CLASSIFIER_SEAT,
    )[0]
    said = await ask(
        question, seat, rules.gateway, replace(context, purpose="classify"), rules.book
    )
    if isinstance(said, Failure):
        return unanswered_class(declared, said.failure, said.cost.pico_usd)
    by = f"model {said.served_model or declared.model}"
    threshold = declared.threshold or MODEL_THRESHOLD
    if said.distribution:
        return by_probabilities(said.distribution, threshold, by, said.cost.pico_usd)
    # A confidence that a model states is no probability before it is calibrated.
    answer = str(said.answer)
    return Classified(answer, answer, None, threshold, by, said.cost.pico_usd)
