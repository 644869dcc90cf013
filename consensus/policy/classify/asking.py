"""Asking the policy's classifier, whichever it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from consensus.ballots import Failure
from consensus.errors import DataError, RunError
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
    name_of,
    read_by_file,
    unanswered_class,
)
from consensus.policy.classify.embedding import embed_aside, embed_one
from consensus.policy.classify.linear import Classifier, classifier_of
from consensus.policy.classify.text import text_of
from consensus.policy.table import PolicyTable
from consensus.tasks import Task

__all__ = ["CLASSIFIER_SEAT", "InForce", "asked_models", "classify"]

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

    A file of kind ``tfidf`` answers at once; one of kind ``embedding`` once it has the text's
    vector; a model is asked once, plainly. Trouble of a call is no exception: no class is named
    then, and the default row holds.

    Raises:
        PolicyError: the classifier's file cannot be used.
    """
    declared = rules.table.classifier
    if declared is None:
        return None
    made = classifier_of(rules.table)
    if made is not None and made.data.kind == "embedding":
        return await _by_vector(rules, made, task, context)
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
        return unanswered_class(f"model {declared.model}", said.failure, said.cost.pico_usd)
    by = f"model {said.served_model or declared.model}"
    threshold = declared.threshold or MODEL_THRESHOLD
    if said.distribution:
        return by_probabilities(said.distribution, threshold, by, said.cost.pico_usd)
    # A confidence that a model states is no probability before it is calibrated.
    answer = str(said.answer)
    return Classified(answer, answer, None, threshold, by, said.cost.pico_usd)


def asked_models(table: PolicyTable) -> tuple[str, ...]:
    """The models that the classifier calls: one, or none.

    Raises:
        PolicyError: its file cannot be used.
    """
    if table.classifier is None:
        return ()
    made = classifier_of(table)
    model = table.classifier.model if made is None else made.model
    return () if model is None else (model,)


async def _by_vector(
    rules: InForce, made: Classifier, task: Task, context: CallContext
) -> Classified:
    """By the text's embedding. A vector of another model than the training's names no class."""
    by, text, cost = name_of(made), text_of(task), 0
    try:
        if made.model is None:
            vector = await embed_aside(str(made.data.embedder), text)
        else:
            context = replace(context, seat=CLASSIFIER_SEAT)
            vector, served, cost = await embed_one(rules.gateway, made.model, text, context)
            if made.data.served not in (None, served):
                why = f"{served} answered; it was trained on {made.data.served}"
                return unanswered_class(by, why, cost)
        seen = made.of_vector(vector)
    except RunError as error:
        cost = sum(call.cost_pico for call in error.calls)
        return unanswered_class(by, f"{made.model}: {error.failure}", cost)
    except DataError as error:
        return unanswered_class(by, error.message, cost)
    declared = rules.table.classifier
    threshold = declared.threshold if declared is not None else None
    return by_probabilities(seen, made.data.threshold if threshold is None else threshold, by, cost)
