"""Which of several routes has earned a task type, and with what evidence.

The routes come in an order fixed on other cases (calibration), the strongest first. Each is tested
at the full delta, and the first that fails ends it (fixed-sequence testing): so the chance that
the route chosen is worse than the floor is at most delta, however many were looked at.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from consensus.orchestrators.checks import Check
from consensus.policy.certificate import CertificateStatus
from consensus.policy.consequences import Bars
from consensus.policy.resolve import Hop, hops_of, resolve, row_path
from consensus.policy.rows import DefaultsRow
from consensus.policy.table import PolicyTable
from consensus.statistics import (
    RateBound,
    cases_for_floor,
    cases_to_certify,
    floor_p_value,
    learn_then_test,
    rate_bound,
)

__all__ = [
    "Evidence",
    "Ruling",
    "certify",
    "clears",
    "evidence_of",
    "evidence_of_labels",
    "hop_text",
    "hop_texts",
    "route_sha256",
]


class Evidence(NamedTuple):
    """What evaluation cases say of one route against one bar.

    Attributes:
        n, passes: cases, and how many were acceptable (ties count their share).
        bound, method: lower bound of the pass rate at delta.
        needs: more cases until the floor could be cleared with four chances in five, if the rate
            seen is the true one; 0 where it is cleared, or where no number would do.
        hopeless: whether no number of cases would do at the rate seen.
    """

    n: int
    passes: float
    bound: float
    method: str
    needs: int
    hopeless: bool

    @property
    def rate(self) -> float:
        """Share of acceptable answers; 0 without a case."""
        return self.passes / self.n if self.n else 0.0


class Ruling(NamedTuple):
    """The route that may serve.

    Attributes:
        status: see :data:`~consensus.policy.certificate.CertificateStatus`. ``uncertifiable`` and
            ``failed`` choose no route.
        chosen: its place in the sequence; None where none may serve.
        tested: how many routes of the sequence were looked at.
        evidence: of every route, in the order given.
        hoped: the cheapest route that more cases could still certify; None if there is none.
    """

    status: CertificateStatus
    chosen: int | None
    tested: int
    evidence: tuple[Evidence, ...]
    hoped: int | None


def evidence_of(credits_: ArrayLike, bar: Bars) -> Evidence:
    """One route's evidence against a bar."""
    values = np.asarray(credits_, dtype=float)
    n, passes = int(values.size), float(values.sum())
    bound: RateBound = rate_bound(values, delta=bar.delta)
    if bound.bound >= bar.floor:
        return Evidence(n, passes, bound.bound, bound.method, 0, False)
    least = cases_for_floor(bar.floor, delta=bar.delta)
    rate = passes / n if n else 1.0
    wanted = cases_to_certify(min(rate, 1.0), bar.floor, delta=bar.delta, seen=n)
    if wanted is None:
        # Too few cases to rule anything out are not yet a failure.
        return Evidence(n, passes, bound.bound, bound.method, max(0, least - n), n >= least)
    return Evidence(n, passes, bound.bound, bound.method, max(1, wanted - n), False)


def evidence_of_labels(
    rate: float, bound: float, bar: Bars, *, known: int, effective: float, method: str
) -> Evidence:
    """What weighted labels of production say of the route that serves, against a bar.

    Args:
        rate: estimated share of acceptable answers, weights counted.
        bound: its lower bound at the bar's delta.
        bar: what must be cleared.
        known: decisions that were looked at; ``needs`` is in such decisions.
        effective: as many cases of equal weight say as much.
        method: how the bound was made.
    """
    rate = min(max(rate, 0.0), 1.0)
    if bound >= bar.floor:
        return Evidence(known, rate * known, bound, method, 0, False)
    share = effective / known if known else 1.0
    least = cases_for_floor(bar.floor, delta=bar.delta)
    seen = int(effective)
    wanted = cases_to_certify(rate, bar.floor, delta=bar.delta, seen=seen)
    more = (least if wanted is None else wanted) - seen
    hopeless = wanted is None and seen >= least
    needs = 0 if hopeless else max(1, math.ceil(more / share))
    return Evidence(known, rate * known, bound, method, needs, hopeless)


def certify(
    sequence: Sequence[ArrayLike], bar: Bars, *, cheaper: int | None = None, grid: bool = False
) -> Ruling:
    """Choose the last route of a sequence that its evidence allows.

    Args:
        sequence: credits of each route on the same evaluation cases; the strongest first, the
            cheapest last, in an order that these cases had no part in.
        bar: what must be cleared.
        cheaper: routes from this place on are cheaper than the frontier: only they may serve
            provisionally. None: all.
        grid: test all of them by Learn-then-Test, at the price of splitting delta, in place of the
            fixed sequence.
    """
    evidence = tuple(evidence_of(values, bar) for values in sequence)
    passed = _passed(sequence, bar.floor, bar.delta, grid=grid)
    if any(passed):
        chosen = max(place for place, good in enumerate(passed) if good)
        return Ruling("certified", chosen, _tested(passed, grid=grid), evidence, None)
    hoped = max((i for i, e in enumerate(evidence) if not e.hopeless), default=None)
    if bar.provisional is not None:
        lower = _passed(sequence, bar.provisional, bar.delta, grid=grid)
        start = cheaper or 0
        good = [place for place, ok in enumerate(lower) if ok and place >= start]
        if good:
            return Ruling("provisional", good[-1], _tested(lower, grid=grid), evidence, hoped)
    status: CertificateStatus = "failed" if hoped is None else "uncertifiable"
    return Ruling(status, None, 1 if sequence else 0, evidence, hoped)


def _passed(
    sequence: Sequence[ArrayLike], floor: float, delta: float, *, grid: bool
) -> tuple[bool, ...]:
    if grid:
        p_values = [floor_p_value(values, floor, delta=delta) for values in sequence]
        return learn_then_test(p_values, delta=delta)
    return clears([rate_bound(values, delta=delta).bound for values in sequence], floor)


def clears(bounds: Sequence[float], floor: float) -> tuple[bool, ...]:
    """Fixed-sequence testing by the bounds themselves: what is shown and what is tested is one.

    A route clears the floor if its own bound does, and that of every route before it.
    """
    passed: list[bool] = []
    for bound in bounds:
        passed.append(bound >= floor and all(passed))
    return tuple(passed)


def _tested(passed: Sequence[bool], *, grid: bool) -> int:
    return len(passed) if grid else min(len(passed), sum(passed) + 1)


# -- what a certificate is of ----------------------------------------------------------------------

_ANSWERS_DO_NOT_DEPEND_ON = {"name", "context_guard", "hedge_after_s"}
_ROW_FIELDS = ("criteria", "options", "scale", "output_schema", "when", "mix", "gate")


def route_sha256(table: PolicyTable, task_type: str) -> str:
    """Hash of everything in a row that can change its answers: hops, rules, the task's defaults.

    Names of strategies, prices, caps, owner, and the certificate itself have no part in it; a
    tier's models do, wherever they are declared.

    Raises:
        PolicyError: the row cannot be followed.
    """
    row = _row(table, task_type)
    ways = [
        [_hop(hop.spec.model_dump(mode="json"), hop.checks) for hop in hops]
        for hops in _ways(table, task_type)
    ]
    own = {
        name: _json(getattr(row, name, None)) for name in _ROW_FIELDS if getattr(row, name, None)
    }
    text = json.dumps([ways, own], sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def hop_texts(table: PolicyTable, task_type: str) -> frozenset[str]:
    """:func:`hop_text` of every hop that tasks of this type can take.

    Raises:
        PolicyError: the row cannot be followed.
    """
    return frozenset(
        hop_text(hop.spec.model_dump(mode="json"), hop.checks)
        for hops in _ways(table, task_type)
        for hop in hops
    )


def hop_text(strategy: Mapping[str, Any], checks: Sequence[Check]) -> str:
    """What of a hop can change its answers, as text: of the policy's, and of a receipt's."""
    return json.dumps(_hop(strategy, checks), sort_keys=True)


def _row(table: PolicyTable, task_type: str) -> DefaultsRow:
    return table.tasks[task_type] if len(row_path(table, task_type)) == 2 else table.defaults


def _ways(table: PolicyTable, task_type: str) -> Iterator[tuple[Hop, ...]]:
    """The hops of the row itself, of each of its rules, and of each arm of a mixture."""
    rules = _row(table, task_type).when or table.defaults.when or ()
    for rule in (None, *range(len(rules))):
        for arm in range(max(1, len(resolve(table, task_type, rule).mix))):
            yield hops_of(table, resolve(table, task_type, rule, arm=arm))


def _hop(strategy: Mapping[str, Any], checks: Sequence[Check]) -> list[Any]:
    kept = {key: strategy[key] for key in strategy if key not in _ANSWERS_DO_NOT_DEPEND_ON}
    if kept.get("latency") == "normal":  # what was certified before there was another is the same
        del kept["latency"]
    return [kept, [check.model_dump(mode="json") for check in checks]]


def _json(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_json(item) for item in value]
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", exclude_none=True)
    return value if not isinstance(value, float) or math.isfinite(value) else None
