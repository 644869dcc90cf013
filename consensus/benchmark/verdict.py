"""One sentence by rule: pays, does not pay, or not enough cases (needs n more).

The rule, in this order; ``epsilon`` is the loss that still counts as parity:

1. A single model that costs no more and is at least as accurate: *does not pay*, use that model.
2. Better than the frontier (lower end of the difference above 0), and not beaten by shuffled
   routing: *pays*.
3. As good (lower end ≥ −epsilon) and cheaper: *pays*.
4. Worse (upper end < −epsilon), and no better than shuffled routing at its price: *does not pay*.
5. Worse, but cheaper and better than shuffled routing: *pays* as a saving, not as parity.
6. As good and not cheaper (upper end ≤ epsilon): *does not pay*.
7. Otherwise the interval is too wide: *not enough cases*, and how many more would show parity (a
   cheaper strategy) or superiority (one that is not cheaper) if the difference seen is the truth.

A dearer way to ask one model (a debate with itself, a longer prompt) that would pay by rule 2 is
then held, in pairs, against every cheaper recorded way to ask that model: where one is not shown to
be worse, it *does not pay* (:func:`consensus.benchmark.replay.replay`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from consensus.statistics import Interval, cases_for_parity

__all__ = ["Verdict", "verdict"]

Ruling = Literal["pays", "does not pay", "not enough cases"]


class Verdict(NamedTuple):
    """A ruling with its sentence; ``more_cases`` only where cases are missing."""

    ruling: Ruling
    sentence: str
    more_cases: int | None = None


def verdict(
    figures: Mapping[str, Any],
    controls: Mapping[str, Mapping[str, Any]],
    interval: Interval,
    *,
    n: int,
    name: str,
    variance: float,
    epsilon: float = 0.01,
) -> Verdict:
    """Rule on a strategy against one frontier call.

    Args:
        figures: as :func:`consensus.benchmark.measure.figures` gives them.
        controls: as :func:`consensus.benchmark.controls.control_figures` gives them.
        interval: of the difference to the frontier, 95 %.
        n: evaluated cases.
        name: of the strategy.
        variance: of the per-case difference.
        epsilon: the loss that still counts as parity, as a share.
    """
    accuracy, difference = figures["accuracy"], figures["difference"]
    ratio = figures["cost_ratio"]
    cheaper = ratio is not None and ratio < 1
    price = "at unknown cost" if ratio is None else f"at {ratio:.2f} of its cost"
    stand = (
        f"{name} is right on {accuracy:.1%} against the frontier's "
        f"{figures['frontier_accuracy']:.1%} ({100 * difference:+.1f} points, 95 % "
        f"{100 * interval.low:+.1f} to {100 * interval.high:+.1f}, n = {n:,}) {price}"
    )
    single = controls["best_single"]
    if name != "single" and _dominated(accuracy, figures["cost_per_case"], single):
        return Verdict(
            "does not pay",
            f"does not pay: {stand}; {single.get('model', 'one model')} alone is right on "
            f"{single['accuracy']:.1%} and costs no more",
        )
    shuffled = controls["shuffled"]["accuracy"]
    beats_coin = shuffled is None or accuracy > shuffled
    # A single model may itself be what the coin falls on: it is no reason against it.
    unbeaten = beats_coin or name == "single"
    coin = "" if shuffled is None else f"; shuffled routing at this cost: {shuffled:.1%}"
    if interval.low > 0 and unbeaten:
        return Verdict("pays", f"pays: {stand}{coin}")
    if interval.low >= -epsilon and cheaper and unbeaten:
        return Verdict("pays", f"pays: as good within {100 * epsilon:g} point: {stand}{coin}")
    if interval.high < -epsilon:
        if cheaper and shuffled is not None and beats_coin:
            return Verdict("pays", f"pays as a saving, not as parity: {stand}{coin}")
        return Verdict("does not pay", f"does not pay: {stand}{coin}")
    if interval.high <= epsilon and not cheaper:
        return Verdict("does not pay", f"does not pay: no better, and not cheaper: {stand}{coin}")
    more = _more_cases(difference + (epsilon if cheaper else 0.0), variance, n)
    needs = "more cases alone will not settle it" if more is None else f"needs {more:,} more"
    return Verdict("not enough cases", f"not enough cases ({needs}): {stand}{coin}", more)


def _dominated(accuracy: float, cost: float | None, single: Mapping[str, Any]) -> bool:
    if single["accuracy"] < accuracy:
        return False
    # A panel makes at least as many calls as one of its members: unknown costs do not save it.
    return cost is None or single["cost_per_case"] is None or single["cost_per_case"] <= cost


def _more_cases(margin: float, variance: float, n: int) -> int | None:
    """Cases still missing until a 95 % interval clears ``margin``, with 80 % power."""
    needed = cases_for_parity(max(variance, 1 / (n + 1)), epsilon=abs(margin), alpha=0.025)
    return None if needed is None else max(1, needed - n)
