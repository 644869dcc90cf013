"""A trained classifier as data: read, checked, never executed; applied without scikit-learn.

Multinomial logistic regression (softmax of ``coefficients · features + intercepts``, divided by a
temperature) on TF-IDF with sublinear counts, ``(1 + ln tf) · idf``, scaled to length one, or on a
sentence embedding. A word that is repeated a hundred times weighs 5.6 of one, and the vector's
length is one whatever the text's is.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from consensus.errors import DataError, PolicyError
from consensus.policy._types import Name
from consensus.policy.classify.embedding import Vector, embed_plainly, is_model
from consensus.policy.classify.text import MAX_CHARS, clipped, words_of
from consensus.strangers import inside, parse_json, read_bounded
from consensus.tasks import describe

if TYPE_CHECKING:
    from consensus.policy.table import PolicyTable

__all__ = [
    "NEVER",
    "Classifier",
    "ClassifierData",
    "TrainingFacts",
    "classifier_of",
    "load_classifier",
    "softmax",
    "tfidf",
]

MAX_BYTES = 64_000_000
NEVER = 1.01
"""The threshold of a classifier that may name nothing: no probability reaches it."""

Finite = Annotated[float, Field(allow_inf_nan=False)]
Rate = Annotated[float, Field(ge=0, le=1)]


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class TrainingFacts(_Data):
    """What was measured when it was trained, on cases that the measured part had not seen.

    Attributes:
        cases, folds: how many, and in how many parts they were held out in turn.
        accuracy: share of held-out cases whose likeliest class is right; with its 95 % interval.
        majority: the same of always naming the commonest class.
        target: accuracy that the named classes shall have, at confidence ``1 - delta``.
        coverage: share of held-out cases that got a class, by thresholds from the other folds.
        accepted_accuracy: share of those whose class was right; None where there were none.
        latency_ms: median and 95th percentile of one query on the machine that trained it.
        usd_per_query: what one query pays for.
    """

    source: str = ""
    source_sha256: str = ""
    by: str = "type"
    cases: int
    folds: int
    accuracy: Rate
    accuracy_low: Rate
    accuracy_high: Rate
    majority: Rate
    log_loss: Finite
    target: Rate
    delta: Rate
    coverage: Rate
    accepted: int
    accepted_accuracy: Rate | None
    accepted_low: Rate
    accepted_high: Rate
    by_class: dict[str, tuple[int, int]] = {}
    latency_ms: tuple[float, float] = (0.0, 0.0)
    usd_per_query: float = 0.0
    date: str = ""


class ClassifierData(_Data):
    """The file. Rows of ``coefficients`` are classes, columns are words or dimensions.

    ``embedder`` made the vectors; ``served`` is the model that answered in its name, if it is one.
    """

    format: Literal["consensus-classifier"] = "consensus-classifier"
    version: Literal[1] = 1
    kind: Literal["tfidf", "embedding"]
    classes: tuple[Name, ...] = Field(min_length=2, max_length=1000)
    threshold: Annotated[float, Field(ge=0, le=NEVER)]
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    embedder: str | None = None
    served: str | None = None
    vocabulary: tuple[str, ...] = ()
    idf: tuple[Finite, ...] = ()
    coefficients: tuple[tuple[Finite, ...], ...]
    intercepts: tuple[Finite, ...]
    trained: TrainingFacts

    @model_validator(mode="after")
    def _shapes(self) -> ClassifierData:
        rows, columns = len(self.coefficients), {len(row) for row in self.coefficients}
        if rows != len(self.classes) or len(self.intercepts) != rows or len(columns) != 1:
            raise ValueError("has not one row of coefficients and one intercept for each class")
        if len(set(self.classes)) != rows:
            raise ValueError("has a class twice")
        if self.kind == "tfidf" and not (len(self.vocabulary) == len(self.idf) == columns.pop()):
            raise ValueError("has not one column and one idf for each word")
        if self.kind == "embedding" and not self.embedder:
            raise ValueError("does not say which embedding it was trained on")
        return self


@dataclass(frozen=True)
class Classifier:
    """A classifier that can be asked.

    Attributes:
        data: what was trained.
        sha256: of its file.
        threshold: probability from which a class is named; ``data.threshold`` or the policy's.
    """

    data: ClassifierData
    sha256: str = ""

    @property
    def classes(self) -> tuple[str, ...]:
        """What it can say."""
        return self.data.classes

    @cached_property
    def _columns(self) -> Mapping[str, tuple[float, tuple[float, ...]]]:
        """Word → idf, and its coefficient for each class."""
        data = self.data
        by_word = zip(*data.coefficients, strict=True)
        return {
            word: (idf, column)
            for word, idf, column in zip(data.vocabulary, data.idf, by_word, strict=True)
        }

    @property
    def model(self) -> str | None:
        """The model whose vectors are read; None where no call is needed."""
        name = self.data.embedder
        return name if name is not None and is_model(name) else None

    def probabilities(self, text: str) -> dict[str, float]:
        """Class → probability; sums to one. At most :data:`MAX_CHARS` of the text are read.

        Raises:
            DataError: its vectors are a model's, which has to be asked: :meth:`of_vector`.
        """
        data, text = self.data, clipped(text, MAX_CHARS)
        if data.kind == "embedding":
            return self.of_vector(embed_plainly(str(data.embedder), [text]).vectors[0])
        scores = list(data.intercepts)
        columns = self._columns
        found = [(n, columns[w]) for w, n in words_of(text).items() if w in columns]
        weights = [(1 + math.log(n)) * idf for n, (idf, _) in found]
        length = math.sqrt(math.fsum(w * w for w in weights)) or 1.0
        for weight, (_, (_, column)) in zip(weights, found, strict=True):
            for place, coefficient in enumerate(column):
                scores[place] += weight / length * coefficient
        return dict(zip(data.classes, softmax(scores, data.temperature), strict=True))

    def of_vector(self, vector: Vector) -> dict[str, float]:
        """Class → probability by a text's embedding.

        Raises:
            DataError: it has another dimension than those of the training.
        """
        data = self.data
        if len(vector) != len(data.coefficients[0]):
            raise DataError(
                f"a vector of {len(vector)} dimensions; it was trained on "
                f"{len(data.coefficients[0])}"
            )
        scores = [
            base + math.fsum(a * float(b) for a, b in zip(row, vector, strict=True))
            for base, row in zip(data.intercepts, data.coefficients, strict=True)
        ]
        return dict(zip(data.classes, softmax(scores, data.temperature), strict=True))

    def to_bytes(self) -> bytes:
        """The file."""
        plain = self.data.model_dump(mode="json", exclude_none=True)
        return (json.dumps(plain, ensure_ascii=False, separators=(",", ":")) + "\n").encode()


def softmax(scores: Sequence[float], temperature: float = 1.0) -> list[float]:
    """Probabilities of scores: ``exp(s / T)``, summing to one."""
    top = max(scores)
    raised = [math.exp((score - top) / temperature) for score in scores]
    total = math.fsum(raised)
    return [value / total for value in raised]


def tfidf(counts: Mapping[str, int], idf: Mapping[str, float]) -> dict[str, float]:
    """Words of the vocabulary → weight; the vector has length one, or no words."""
    weights = {w: (1 + math.log(n)) * idf[w] for w, n in counts.items() if w in idf}
    length = math.sqrt(math.fsum(w * w for w in weights.values())) or 1.0
    return {word: weight / length for word, weight in weights.items()}


def load_classifier(path: str | Path) -> Classifier:
    """Read a classifier.

    Raises:
        DataError: it cannot be read, or is none.
    """
    file = Path(path)
    try:
        raw = read_bounded(file, MAX_BYTES)
        data: Any = parse_json(raw)
    except ValueError:
        raise DataError("is not JSON", where=str(file)) from None
    if not isinstance(data, dict) or data.get("format") != "consensus-classifier":
        raise DataError(
            "is no classifier", where=str(file), fix="consensus policy classify train writes one"
        )
    try:
        return Classifier(ClassifierData.model_validate(data), hashlib.sha256(raw).hexdigest())
    except ValidationError as error:
        raise DataError(f"is no classifier: {describe(error)}", where=str(file)) from None


def classifier_of(table: PolicyTable) -> Classifier | None:
    """The trained classifier that a policy names, read once a table; None where it names none.

    Raises:
        PolicyError: with the place of ``classifier.file`` and what is wrong with the file.
    """
    declared = table.classifier
    if declared is None or declared.file is None:
        return None
    known = table._read.get("classifier")
    if isinstance(known, Classifier):
        return known
    place = table.place("classifier", "file")
    folder = Path(place.file).parent if place is not None else Path()
    where = table.cite("classifier", "file")
    try:
        if place is not None:
            inside(folder, declared.file)
        made = load_classifier(folder / declared.file)
    except DataError as error:
        raise PolicyError(str(error), where=where) from None
    if made.data.kind != declared.kind:
        raise PolicyError(
            f'the file holds a classifier of kind "{made.data.kind}"',
            where=where,
            fix=f'kind = "{made.data.kind}"',
        )
    table._read["classifier"] = made
    return made
