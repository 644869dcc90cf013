"""Panels that stop early, by any rule, at a level that a calibration half chooses.

Asked for as ``adaptive:RULE`` with options: ``adaptive:beta:level=0.95`` is Adaptive-Consistency as
published, ``adaptive:scores:calls=4`` asks at most four ballots a case on average,
``adaptive:scores:same=0.98`` (the default) decides as all seats would on 98 % of the cases, and
``adaptive:scores:gain=0.95`` keeps 95 % of what all seats gain over one. ``same`` and ``calls``
need no labels; ``gain`` does, and a gain of a few points over a few hundred cases is a noisy thing
to choose by.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consensus.aggregation import stop_replay
from consensus.aggregation.calibration import monotone
from consensus.benchmark.evidence import Evidence
from consensus.benchmark.stopping_rules import EDGE, RULES, StopRule, Walks, describe_rule
from consensus.benchmark.strategy import Outcome, leaders, seat_counts
from consensus.errors import DataError

__all__ = ["PREFIX", "Stopping", "parse_stopping", "walks_of"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

PREFIX = "adaptive:"
_NEEDS_FIT = ("odds", "prior", "value", "votes", "scores", "both")
_LEVELS = 80
_ORDERS = 16
_ROWS = 40_000


def walks_of(part: Evidence, order: Sequence[tuple[int, int]]) -> Walks:
    """The ballots of (member, sample) seats, in that order."""
    members = np.array([m for m, _ in order], dtype=np.int64)
    samples = np.array([s for _, s in order], dtype=np.int64)
    scores = None
    if part.scores is not None:
        given = part.scores[:, members, samples].astype(float)
        known = np.isfinite(given)
        count = np.maximum(known.sum(axis=-1, keepdims=True), 1)
        mean = np.where(known, given, 0.0).sum(axis=-1, keepdims=True) / count
        scores = np.where(known, given, mean)
    return Walks(part.votes[:, members, samples].astype(float), scores, part.valid)


@dataclass(frozen=True)
class Stopping:
    """Seats asked in turn until a rule says stop.

    Attributes:
        rule_name: a name of :data:`~consensus.benchmark.stopping_rules.RULES`.
        seats: all that may be asked; None: one a member.
        level: the rule's; None: chosen by ``calls``, else ``gain``, else ``same``.
        calls: the most calls a case on average.
        gain: the share of the whole panel's gain over one ballot that must be kept.
        same: the share of cases that must be decided as the whole panel decides them.
        waves: sizes of the waves; the last one repeats.
        rule: as fitted; None before.
        chosen: the level in use; None before.
        name: what it was asked for by.
    """

    rule_name: str
    seats: int | None = None
    level: float | None = None
    calls: float | None = None
    gain: float | None = None
    same: float = 0.98
    waves: tuple[int, ...] = (1,)
    rule: StopRule | None = None
    chosen: float | None = None
    name: str = "adaptive"

    @property
    def fitted(self) -> bool:
        """Whether it can run."""
        return self.rule is not None and self.chosen is not None

    def fit(self, train: Evidence) -> Stopping:
        """Fit the rule, and choose the level where none was given."""
        counts = seat_counts(self.seats, train)
        order = _order(counts)
        rule = RULES[self.rule_name]()
        if train.scores is None and self.rule_name in ("scores", "both"):
            raise DataError("the recording has no scores", where=f"--strategy {self.name}")
        rule = rule.fit(walks_of(train, order), train.credit)
        if self.level is not None:
            return replace(self, rule=rule, chosen=self.level)
        walks = _join([walks_of(part, order) for part in _orders(train, _ORDERS, seed=0)])
        truth = np.tile(train.credit, (len(walks.votes) // len(train), 1))
        chosen = _choose(rule, walks, truth, self._ends(len(order)), self)
        return replace(self, rule=rule, chosen=chosen)

    def runs(self, evidence: Evidence, *, draws: int, seed: int) -> Iterator[Outcome]:
        """One outcome a sample order."""
        if self.rule is None or self.chosen is None:
            raise DataError(
                f'"{self.name}" learns from labelled cases',
                where="--strategy",
                fix="add --calibrate half",
            )
        order = _order(seat_counts(self.seats, evidence))
        parts = list(_orders(evidence, draws, seed=seed))
        # All orders at once: rules look each state up once, and orders share most of theirs.
        step = max(1, _ROWS // max(1, len(evidence)))
        for start in range(0, len(parts), step):
            some = parts[start : start + step]
            each = [walks_of(part, order) for part in some]
            stops = self.rule.stops(_join(each), self.chosen)
            last = _first_stop(stops, self._ends(len(order)))
            lasts = last.reshape(len(some), len(evidence))
            for part, walks, row in zip(some, each, lasts, strict=True):
                yield self._outcome(part, order, self.rule.totals(walks), row)

    def _outcome(
        self,
        part: Evidence,
        order: Sequence[tuple[int, int]],
        totals: Floats,
        last: NDArray[np.int64],
    ) -> Outcome:
        walks = walks_of(part, order)
        ends = self._ends(len(order))
        rows = np.arange(len(part))
        shares = leaders(totals[rows, last], part.valid)
        shares = shares * (walks.tally[rows, last].sum(axis=1) > 0)[:, None]
        members, samples = (np.array(column) for column in zip(*order, strict=True))
        asked = np.arange(len(order)) <= last[:, None]
        latency = np.zeros(len(part))
        for start, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True):
            slowest = part.latency[:, members[start:end], samples[start:end]].max(axis=1)
            latency += np.where(last >= start, slowest, 0.0)
        cost = part.cost[:, members, samples]
        return Outcome(
            shares,
            (part.present[:, members, samples] & asked).sum(axis=1).astype(float),
            np.where(asked, cost, 0.0).sum(axis=1),
            latency,
            last >= ends[0],
        )

    def _ends(self, seats: int) -> NDArray[np.int64]:
        return stop_replay.wave_ends(seats, self.waves)

    def describe(self) -> dict[str, Any]:
        """What it is, with what was fitted and chosen."""
        fitted = {} if self.rule is None else describe_rule(self.rule)
        level = self.level if self.chosen is None else self.chosen
        return {
            "strategy": self.name,
            "seats": self.seats,
            "waves": list(self.waves),
            "level": None if level is None or not np.isfinite(level) else round(level, 6),
            **fitted,
            **self._as_policy(level),
        }

    def _as_policy(self, level: float | None) -> dict[str, Any]:
        """The key ``stop`` of a policy's row that stops where this does; none for other rules."""
        spread = getattr(self.rule, "spread", None)
        if spread is None or level is None or not 0 < level < np.inf:
            return {}
        stop = {"rule": "lead", "evidence": self.rule_name, "spread": round(spread, 4)}
        return {"stop": {**stop, "level": round(level, 4)}}


def parse_stopping(text: str, seats: int | None) -> Stopping:
    """Read ``adaptive:RULE[:key=value,…]``: ``level``, ``calls``, ``gain``, ``same``, ``waves``.

    Raises:
        DataError: for an unknown rule or key, or a value that is none.
    """
    _, _, rest = text.partition(":")
    name, _, options = rest.partition(":")
    if name not in RULES:
        raise DataError(
            f'unknown stopping rule "{name}"', where="--strategy", fix=f"one of {', '.join(RULES)}"
        )
    values: dict[str, Any] = {}
    for option in filter(None, options.split(",")):
        key, _, value = option.partition("=")
        try:
            if key == "waves":
                values[key] = tuple(int(size) for size in value.split("+"))
                ok = min(values[key]) > 0
            elif key in ("level", "calls", "gain", "same"):
                values[key] = float(value)
                ok = np.isfinite(values[key]) and (key == "level" or values[key] > 0)
            else:
                raise DataError(
                    f'unknown option "{key}"', where=text, fix="level, calls, gain, same or waves"
                )
        except ValueError:
            ok = False
        if not ok:
            raise DataError(f'"{option}" has no such value', where=text, fix="calls=4, waves=3+2")
    if name == "certain":
        values.setdefault("level", 0.0)
    made = Stopping(name, seats, name=text, **values)
    if made.level is not None and name not in _NEEDS_FIT:
        return replace(made, rule=RULES[name](), chosen=made.level)
    return made


def _order(counts: Sequence[int]) -> list[tuple[int, int]]:
    return [(m, s) for s in range(max(counts)) for m in range(len(counts)) if s < counts[m]]


def _first_stop(stops: Bools, ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """(R,) index of the last ballot: where it first stops at the end of a wave, else the last."""
    at = stops[:, ends - 1]
    at[:, -1] = True
    return np.asarray(ends[at.argmax(axis=1)] - 1)


def _orders(evidence: Evidence, draws: int, *, seed: int) -> Iterator[Evidence]:
    """Sample orders; as recorded where there is but one sample."""
    if int(evidence.present.shape[2]) == 1:
        yield evidence
        return
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        yield evidence.shuffled(rng)


def _join(walks: Sequence[Walks]) -> Walks:
    scores = [walk.scores for walk in walks if walk.scores is not None]
    return Walks(
        np.concatenate([walk.votes for walk in walks]),
        np.concatenate(scores) if scores else None,
        np.concatenate([walk.valid for walk in walks]),
    )


def _choose(
    rule: StopRule,
    walks: Walks,
    truth: Floats,
    ends: NDArray[np.int64],
    wish: Stopping,
) -> float:
    """The level: with most calls up to ``calls``, else with fewest that keep ``gain`` or ``same``.

    What is kept is made monotone in calls first: a lucky dip of a curve is no level to rely on.
    """
    shares = _shares(rule.totals(walks), walks.valid)
    if wish.gain is None:
        # Decided alike: the overlap of the shares, so that equal ties agree.
        worth = np.minimum(shares, shares[:, -1:]).sum(axis=-1)
        needed = wish.same
    else:
        worth = (shares * truth[:, None, :]).sum(axis=-1)
        plain = (_shares(walks.tally, walks.valid) * truth[:, None, :]).sum(axis=-1).mean(axis=0)
        needed = float(plain[0] + wish.gain * (plain[-1] - plain[0]))
    sure = rule.sureness(walks)
    levels = _levels(rule, sure)
    spent, right = np.zeros(len(levels)), np.zeros(len(levels))
    rows = np.arange(len(truth))
    for i, level in enumerate(levels):
        stops = rule.stops(walks, level) if sure is None else sure >= level - EDGE
        last = _first_stop(stops, ends)
        spent[i] = (last + 1).mean()
        right[i] = worth[rows, last].mean()
    order = np.argsort(spent, kind="stable")
    if wish.calls is not None:
        within = [i for i in order.tolist() if spent[i] <= wish.calls + EDGE]
        return levels[within[-1] if within else int(order[0])]
    smooth = monotone(right[order], np.ones(len(order)))
    enough = np.flatnonzero(smooth >= needed - EDGE)
    return levels[int(order[enough[0]] if enough.size else order[-1])]


def _levels(rule: StopRule, sure: Floats | None) -> list[float]:
    if sure is None or rule.levels is not None:
        return list(rule.levels or (0.0,))
    before = sure[:, :-1].ravel()
    before = before[np.isfinite(before)]
    if not before.size:
        return [float("inf")]
    grid = np.unique(np.quantile(before, np.linspace(0, 1, _LEVELS)))
    return [*grid.tolist(), float("inf")]


def _shares(totals: Floats, valid: Bools) -> Floats:
    """(R, T, K) the decision if it stopped after each ballot."""
    width = totals.shape[-1]
    wide = np.broadcast_to(valid[:, None, :], totals.shape).reshape(-1, width)
    return leaders(totals.reshape(-1, width), wide).reshape(totals.shape)
