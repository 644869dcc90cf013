"""Training a content classifier, and measuring it on cases that it has not seen.

Everything that is reported comes from held-out folds: each fold's probabilities from a fit on the
other folds, its temperature and its threshold from the other folds' held-out probabilities. The
final classifier is fitted on all cases; its temperature and threshold come from all held-out
probabilities, which no reported figure uses. Nothing is tuned: the penalty is fixed.

scikit-learn (the extra ``classify``) is needed here and nowhere else.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from consensus.ballots import PICO
from consensus.errors import DataError, MissingExtraError
from consensus.policy.classify.embedding import Embedded, embed_plainly
from consensus.policy.classify.linear import (
    NEVER,
    Classifier,
    ClassifierData,
    TrainingFacts,
    softmax,
    tfidf,
)
from consensus.policy.classify.text import clipped, words_of
from consensus.statistics.intervals import beta_lcb, clopper_pearson, wilson

__all__ = ["HeldOut", "Labelled", "held_out", "threshold_for", "train"]

PENALTY = 10.0
"""scikit-learn's C. Fixed: a grid over so few cases would be tuned on what is reported."""

MAX_WORDS = 20_000
DIGITS = 6
"""Significant digits of a stored coefficient: far below what changes a probability's third."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Labelled:
    """Texts with their classes.

    Attributes:
        source: where they come from, for the record; and its hash.
        by: what the classes are: ``type``, ``complexity`` or ``tag``.
    """

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    source: str = ""
    source_sha256: str = ""
    by: str = "type"


def train(
    cases: Labelled,
    *,
    kind: Literal["tfidf", "embedding"] = "tfidf",
    embedder: str | None = None,
    embedded: Embedded | None = None,
    target: float = 0.9,
    delta: float = 0.1,
    folds: int = 5,
    seed: int = 0,
) -> Classifier:
    """Train a classifier, measure it, and set the threshold below which it names no class.

    Args:
        cases: at least two classes, each at least ``folds`` times.
        kind: ``tfidf``, or ``embedding`` with the name of an embedder.
        embedded: the texts' vectors, which a model was asked for; an embedder that is no model is
            asked here.
        target: accuracy that the named classes shall have.
        delta: chance that they have not; see :func:`threshold_for`.
        folds: parts that are held out in turn.
        seed: of the parting.

    Raises:
        DataError: too few cases of a class.
        MissingExtraError: scikit-learn is not installed.
    """
    if kind == "embedding" and embedded is None:
        embedded = _embedded(cases, embedder)
    held = held_out(cases, embedded=embedded, folds=folds, seed=seed)
    classes, right, scores = held.classes, held.right, held.scores
    facts = _measured(scores, right, held.parts, classes, target, delta)
    heat = _temperature(scores, right)
    top, hit = _leaders(scores, right, heat)
    features = _features(cases.texts, embedded)
    final = _fit(features, np.ones(len(right), bool), right, len(classes))
    data = ClassifierData(
        kind=kind,
        classes=classes,
        threshold=threshold_for(top, hit, target=target, delta=delta),
        temperature=round(heat, DIGITS),
        embedder=embedder,
        served=embedded.served if embedded is not None else None,
        vocabulary=final.vocabulary,
        idf=_short(final.idf),
        coefficients=tuple(_short(row) for row in final.coefficients),
        intercepts=_short(final.intercepts),
        trained=facts.model_copy(
            update={
                "source": cases.source,
                "source_sha256": cases.source_sha256,
                "by": cases.by,
                "folds": folds,
                "date": datetime.now(UTC).date().isoformat(),
            }
        ),
    )
    took = {
        "latency_ms": _latency(Classifier(data), cases.texts, embedded),
        "usd_per_query": 0.0
        if embedded is None
        else embedded.cost_pico / PICO / len(embedded.vectors),
    }
    timed = data.trained.model_copy(update=took)
    made = Classifier(data.model_copy(update={"trained": timed}))
    return replace(made, sha256=hashlib.sha256(made.to_bytes()).hexdigest())


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What folds said of the cases that they had not seen.

    Attributes:
        classes: c of them, sorted.
        right: each case's class, (n,), as a place in ``classes``.
        scores: of each class, (n, c), before any temperature.
        parts: the fold that held each case out, (n,).
    """

    classes: tuple[str, ...]
    right: npt.NDArray[np.int64]
    scores: Floats
    parts: npt.NDArray[np.int64]

    @property
    def hits(self) -> npt.NDArray[np.bool_]:
        """Whether each case's likeliest class is its own."""
        return np.asarray(self.scores.argmax(axis=1) == self.right)

    def leaders(self) -> Floats:
        """Each case's highest probability, at a temperature from the other folds."""
        top = np.zeros(len(self.right))
        for part in np.unique(self.parts):
            mine, others = self.parts == part, self.parts != part
            heat = _temperature(self.scores[others], self.right[others])
            top[mine] = _leaders(self.scores[mine], self.right[mine], heat)[0]
        return top


def held_out(
    cases: Labelled, *, embedded: Embedded | None = None, folds: int = 5, seed: int = 0
) -> HeldOut:
    """Score every case by a fit on the folds without it; every class is spread over all folds.

    Args:
        cases: at least two classes, each at least ``folds`` times.
        embedded: the texts' vectors; None for their words.
        folds: parts that are held out in turn; the same for all that is given one ``seed``.
        seed: of the parting.

    Raises:
        DataError: too few cases of a class.
        MissingExtraError: scikit-learn is not installed.
    """
    classes = tuple(sorted(set(cases.labels)))
    _enough(cases, classes, folds)
    right = np.array([classes.index(label) for label in cases.labels])
    features = _features(cases.texts, embedded)
    parts = _parts(right, folds, seed)
    scores = np.zeros((len(right), len(classes)))
    for part in range(folds):
        held = parts == part
        scores[held] = _fit(features, ~held, right, len(classes)).scores(features, held)
    return HeldOut(classes, right, scores, parts)


def threshold_for(top: Floats, hit: npt.NDArray[np.bool_], *, target: float, delta: float) -> float:
    """The lowest threshold at which the accuracy of what is named is shown to reach ``target``.

    Thresholds are tried from the strictest down, in a fixed sequence: the first whose one-sided
    ``1 - delta`` Clopper–Pearson bound misses the target ends it, so the chance that the answer is
    too low is at most ``delta`` whatever number was tried (fixed-sequence testing). The strictest
    ones rest on too few cases to show anything, so the sequence starts at as many cases as a
    faultless record needs. :data:`~consensus.policy.classify.linear.NEVER` where none holds.

    Args:
        top: the leader's probability of each held-out case.
        hit: whether the leader was right.
    """
    order = np.argsort(-top, kind="stable")
    least = math.ceil(math.log(delta) / math.log(target))
    found = NEVER
    right = 0
    for place, case in enumerate(order, start=1):
        right += int(hit[case])
        last_of_ties = place == len(order) or top[order[place]] < top[case]
        if place < least or not last_of_ties:
            continue
        if beta_lcb(right, place, delta=delta) < target:
            break
        # Rounded down, so that the case at which it was shown is among those that are named.
        found = math.floor(float(top[case]) * 1e6) / 1e6
    return found


def _enough(cases: Labelled, classes: Sequence[str], folds: int) -> None:
    if folds < 2:
        raise DataError(f"at least two folds are needed, not {folds}")
    if len(classes) < 2:
        raise DataError("at least two classes are needed", where=cases.source or None)
    rare = [f"{name} ({n})" for name, n in Counter(cases.labels).items() if n < folds]
    if rare:
        raise DataError(
            f"fewer than {folds} cases of {', '.join(sorted(rare))}",
            where=cases.source or None,
            fix="add cases, or leave the class out",
        )


def _embedded(cases: Labelled, embedder: str | None) -> Embedded:
    if embedder is None:
        raise DataError('a classifier of kind "embedding" needs an embedder')
    return embed_plainly(embedder, [clipped(text) for text in cases.texts])


def _features(texts: Sequence[str], embedded: Embedded | None) -> list[Any]:
    """Word counts of each text, or its vector."""
    if embedded is None:
        return [words_of(clipped(text)) for text in texts]
    return [np.asarray(vector, dtype=float) for vector in embedded.vectors]


def _parts(right: npt.NDArray[np.int64], folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Each case's fold; every class is spread evenly over them."""
    dice = np.random.default_rng(seed)
    parts = np.zeros(len(right), dtype=np.int64)
    for label in np.unique(right):
        places = dice.permutation(np.flatnonzero(right == label))
        parts[places] = (np.arange(len(places)) + dice.integers(folds)) % folds
    return parts


@dataclass(frozen=True, slots=True)
class _Fit:
    vocabulary: tuple[str, ...]
    idf: Floats
    coefficients: Floats
    intercepts: Floats

    def scores(self, features: Sequence[Any], chosen: npt.NDArray[np.bool_]) -> Floats:
        matrix = _matrix([features[i] for i in np.flatnonzero(chosen)], self.vocabulary, self.idf)
        scores: Floats = np.asarray(matrix @ self.coefficients.T) + self.intercepts
        return scores


def _fit(
    features: Sequence[Any],
    chosen: npt.NDArray[np.bool_],
    right: npt.NDArray[np.int64],
    classes: int,
) -> _Fit:
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise MissingExtraError(
            "training a classifier needs scikit-learn",
            fix='pip install "consensus-engine[classify]"',
        ) from None
    known = [features[i] for i in np.flatnonzero(chosen)]
    vocabulary, idf = _vocabulary(known)
    matrix = _matrix(known, vocabulary, idf)
    model = LogisticRegression(C=PENALTY, max_iter=1000)
    model.fit(matrix, right[chosen])
    found = np.asarray(model.coef_, dtype=float), np.asarray(model.intercept_, dtype=float)
    if classes == 2:  # scikit-learn gives the second class's log-odds alone
        found = np.vstack([-found[0] / 2, found[0] / 2]), np.hstack([-found[1] / 2, found[1] / 2])
    return _Fit(vocabulary, idf, *found)


def _vocabulary(known: Sequence[Any]) -> tuple[tuple[str, ...], Floats]:
    """Words in at least two texts with ``idf = ln((1 + n) / (1 + df)) + 1``; none for vectors."""
    if known and not isinstance(known[0], Counter):
        return (), np.zeros(0)
    seen = Counter(word for counts in known for word in counts)
    kept = [(word, n) for word, n in seen.items() if n > 1] or list(seen.items())
    kept = sorted(sorted(kept, key=lambda item: (-item[1], item[0]))[:MAX_WORDS])
    idf = np.array([math.log((1 + len(known)) / (1 + n)) + 1 for _, n in kept])
    return tuple(word for word, _ in kept), idf


def _matrix(known: Sequence[Any], vocabulary: Sequence[str], idf: Floats) -> Any:
    if known and not isinstance(known[0], Counter):
        return np.vstack(known)
    from scipy.sparse import csr_matrix

    place = {word: index for index, word in enumerate(vocabulary)}
    weight = dict(zip(vocabulary, map(float, idf), strict=True))
    rows, columns, values = [], [], []
    for row, counts in enumerate(known):
        for word, value in tfidf(counts, weight).items():
            rows.append(row)
            columns.append(place[word])
            values.append(value)
    return csr_matrix((values, (rows, columns)), shape=(len(known), len(vocabulary)))


def _temperature(scores: Floats, right: npt.NDArray[np.int64]) -> float:
    """The temperature of least log loss, found on a logarithmic grid of 121 from 0.1 to 10."""
    grid = np.exp(np.linspace(math.log(0.1), math.log(10), 121))
    losses = [_log_loss(scores, right, float(heat)) for heat in grid]
    return float(grid[int(np.argmin(losses))])


def _log_loss(scores: Floats, right: npt.NDArray[np.int64], heat: float) -> float:
    shifted = scores / heat
    shifted = shifted - shifted.max(axis=1, keepdims=True)
    total = np.log(np.exp(shifted).sum(axis=1))
    return float(np.mean(total - shifted[np.arange(len(right)), right]))


def _leaders(
    scores: Floats, right: npt.NDArray[np.int64], heat: float
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    top = np.array([max(softmax(list(row), heat)) for row in scores])
    return top, scores.argmax(axis=1) == right


def _measured(
    scores: Floats,
    right: npt.NDArray[np.int64],
    parts: npt.NDArray[np.int64],
    classes: Sequence[str],
    target: float,
    delta: float,
) -> TrainingFacts:
    """What held-out cases say; of each fold by temperature and threshold from the other folds."""
    n = len(right)
    hit = scores.argmax(axis=1) == right
    accuracy = wilson(int(hit.sum()), n)
    named = np.zeros(n, dtype=bool)
    losses = np.zeros(n)
    for part in np.unique(parts):
        held, rest = parts == part, parts != part
        heat = _temperature(scores[rest], right[rest])
        bar = threshold_for(*_leaders(scores[rest], right[rest], heat), target=target, delta=delta)
        named[held] = _leaders(scores[held], right[held], heat)[0] >= bar
        losses[held] = _log_loss(scores[held], right[held], heat)
    accepted, well = int(named.sum()), int((named & hit).sum())
    among = clopper_pearson(well, accepted) if accepted else None
    return TrainingFacts(
        cases=n,
        folds=len(np.unique(parts)),
        accuracy=float(hit.mean()),
        accuracy_low=accuracy.low,
        accuracy_high=accuracy.high,
        majority=float(np.bincount(right).max() / n),
        log_loss=float(losses.mean()),
        target=target,
        delta=delta,
        coverage=accepted / n,
        accepted=accepted,
        accepted_accuracy=well / accepted if accepted else None,
        accepted_low=among.low if among else 0.0,
        accepted_high=among.high if among else 1.0,
        by_class={
            name: (int(hit[right == place].sum()), int((right == place).sum()))
            for place, name in enumerate(classes)
        },
    )


def _latency(
    made: Classifier, texts: Sequence[str], embedded: Embedded | None
) -> tuple[float, float]:
    """Median and 95th percentile of one query in milliseconds, on this machine."""
    if embedded is not None:
        took = [1000 * seconds for seconds in embedded.seconds]
    else:
        made.probabilities(texts[0])
        took = []
        for text in texts[:500]:
            began = time.perf_counter()
            made.probabilities(text)
            took.append(1000 * (time.perf_counter() - began))
    return round(float(np.median(took)), 4), round(float(np.quantile(took, 0.95)), 4)


def _short(values: Any) -> tuple[float, ...]:
    return tuple(float(f"{value:.{DIGITS}g}") for value in np.asarray(values, dtype=float))
