"""How good a classifier is on cases that it was not trained on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from consensus.errors import DataError
from consensus.policy.classify.deciding import by_probabilities
from consensus.policy.classify.embedding import Embedded
from consensus.policy.classify.linear import Classifier
from consensus.statistics.intervals import Interval, clopper_pearson, wilson

if TYPE_CHECKING:
    from consensus.policy.classify.training import Labelled

__all__ = ["Tested", "measure"]


@dataclass(frozen=True, slots=True)
class Tested:
    """What labelled cases say of a classifier; intervals are of 95 %.

    Attributes:
        accuracy: share of cases whose likeliest class is right, sure or not.
        coverage: share that got a class.
        accepted_accuracy: share of those whose class is right; None where there are none.
        unknown: labels of the cases that the classifier cannot name.
        seen_before: whether it was trained on these very cases.
    """

    cases: int
    accuracy: float
    accuracy_interval: Interval
    coverage: float
    accepted: int
    accepted_accuracy: float | None
    accepted_interval: Interval
    unknown: tuple[str, ...]
    seen_before: bool

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            **asdict(self),
            "accuracy_interval": [self.accuracy_interval.low, self.accuracy_interval.high],
            "accepted_interval": [self.accepted_interval.low, self.accepted_interval.high],
            "unknown": list(self.unknown),
        }


def measure(made: Classifier, cases: Labelled, embedded: Embedded | None = None) -> Tested:
    """Ask a classifier about labelled cases, at its own threshold.

    Args:
        made: who is asked.
        cases: with their classes.
        embedded: the texts' vectors, where a model makes them.

    Raises:
        DataError: the vectors are not those that it was trained on.
    """
    if embedded is not None and made.data.served not in (None, embedded.served):
        raise DataError(
            f"{embedded.served} made the vectors; it was trained on {made.data.served}",
            fix="train it again",
        )
    right = accepted = well = 0
    for place, (text, label) in enumerate(zip(cases.texts, cases.labels, strict=True)):
        if embedded is None:
            found = made.probabilities(text)
        else:
            found = made.of_vector(embedded.vectors[place])
        seen = by_probabilities(found, made.data.threshold, made.data.kind)
        right += seen.best == label
        accepted += seen.label is not None
        well += seen.label == label
    n = len(cases.labels)
    facts = made.data.trained
    return Tested(
        cases=n,
        accuracy=right / n,
        accuracy_interval=wilson(right, n),
        coverage=accepted / n,
        accepted=accepted,
        accepted_accuracy=well / accepted if accepted else None,
        accepted_interval=clopper_pearson(well, accepted) if accepted else Interval(0.0, 1.0),
        unknown=tuple(sorted(set(cases.labels) - set(made.classes))),
        seen_before=bool(cases.source_sha256) and cases.source_sha256 == facts.source_sha256,
    )
