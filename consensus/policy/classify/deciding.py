"""From a probability to a row: when a class is asked for, and what is done with the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from consensus.errors import PolicyError
from consensus.policy.classify.linear import Classifier, classifier_of
from consensus.policy.classify.text import text_of
from consensus.policy.settings import ClassifierTable
from consensus.policy.table import PolicyTable
from consensus.tasks import Approve, Choose, Compare, Rank, Score, Task

__all__ = [
    "AUTO",
    "MODEL_THRESHOLD",
    "Classified",
    "by_probabilities",
    "class_question",
    "name_of",
    "needs_class",
    "read_by_file",
    "retyped",
    "unanswered_class",
]

AUTO = "auto"
"""The type of a task that the classifier shall name."""

MODEL_THRESHOLD = 0.5
"""Of a model that gives probabilities. One that only names a class is taken at its word."""


@dataclass(frozen=True, slots=True)
class Classified:
    """What a classifier said of a task.

    Attributes:
        label: the class; None where no class reached the threshold, so that the default row holds.
        best: the likeliest class, whether it was named or not; "" where nothing was said.
        probability: of ``best``; None for a model that gives none.
        threshold: that it was held against.
        by: the classifier, in words.
        cost_pico: what was paid to ask.
    """

    label: str | None
    best: str
    probability: float | None
    threshold: float
    by: str
    cost_pico: int = 0
    failure: str | None = None

    @property
    def reason(self) -> str:
        """For the decision's reasons."""
        if self.failure is not None:
            return f"classifier {self.by}: no class ({self.failure})"
        if self.probability is None:
            return f"classifier {self.by}: {self.best}"
        sign = "≥" if self.label is not None else "<"
        said = f"classifier {self.by}: {self.best} at {self.probability:.3f} {sign} "
        if self.label is None and self.threshold > 1:
            return f"{said}any threshold: it was never good enough to name a class"
        return f"{said}{self.threshold:.3f}" + ("" if self.label else ", so no class")


def needs_class(table: PolicyTable, task: Task) -> bool:
    """Whether this task's route depends on what it is about."""
    if table.classifier is None:
        return False
    if task.type == AUTO and AUTO not in table.tasks:
        return True
    row = table.tasks.get(task.type)
    rules = (row.when if row is not None else None) or table.defaults.when or ()
    return any(rule.category is not None for rule in rules)


def read_by_file(table: PolicyTable, task: Task) -> Classified | None:
    """What the policy's trained classifier says; None where a model is to be asked.

    Raises:
        PolicyError: its file cannot be used.
    """
    made = classifier_of(table)
    if made is None or table.classifier is None:
        return None
    threshold = table.classifier.threshold
    return by_probabilities(
        made.probabilities(text_of(task)),
        made.data.threshold if threshold is None else threshold,
        name_of(made),
    )


def by_probabilities(
    probabilities: Mapping[str, float], threshold: float, by: str, cost_pico: int = 0
) -> Classified:
    """The likeliest class, if it reaches the threshold and stands alone."""
    top = max(probabilities.values())
    best = [name for name, p in probabilities.items() if p == top]
    label = best[0] if len(best) == 1 and top >= threshold else None
    return Classified(label, best[0], top, threshold, by, cost_pico)


def unanswered_class(by: str, failure: str, cost_pico: int) -> Classified:
    """A classifier that was asked and gave no class."""
    return Classified(None, "", None, 0.0, by, cost_pico, failure)


def name_of(made: Classifier) -> str:
    """A trained classifier in a decision's reasons."""
    return f"{made.data.kind} {made.sha256[:8]}"


def class_question(declared: ClassifierTable, task: Task) -> Choose:
    """What a model is asked: which class a task belongs to, by a bounded part of its text.

    Raises:
        PolicyError: the classifier is of no model.
    """
    if not declared.classes:
        raise PolicyError("has no classes", where="classifier", fix="add [classifier.classes]")
    told = "\n".join(f"- {name}: {what or name}" for name, what in declared.classes.items())
    return Choose(
        type=AUTO,
        subject=text_of(task) or "(no text)",
        options=tuple(declared.classes),
        criteria=f"Which class does the text belong to?\n{told}",
    )


def retyped(table: PolicyTable, task: Task, seen: Classified) -> tuple[Task, str]:
    """The task under the type that its class names, and why; as it is where none is named.

    A row of another kind cannot take it. A row's criteria stand in for those that it lacks.
    """
    if task.type != AUTO or AUTO in table.tasks or seen.label is None:
        return task, ""
    row = table.tasks.get(seen.label)
    if row is None:
        return task, f'no row for class "{seen.label}"'
    if row.kind not in (None, task.kind):
        where = table.cite("tasks", seen.label)
        return task, f"{where} is for tasks of kind {row.kind}, not {task.kind}"
    changed: dict[str, object] = {"type": seen.label}
    if isinstance(task, Approve | Choose | Compare | Rank | Score):
        changed["criteria"] = task.criteria or row.criteria or ""
    return task.model_copy(update=changed), ""
