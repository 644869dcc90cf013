"""An order from ballots that order: whole lists, the best few, or single comparisons.

Lists go to Kemeny's rule; a hop of comparisons (``pairs``) to Bradley and Terry's model. What a
reader must know is said beside it: cycles in the majority, ties, whether the best ``top`` items are
settled, and how much answers follow the order in which items were shown. Items are judged text, so
sentences number them as the task lists them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from consensus.aggregation.kemeny import kemeny_consensus
from consensus.aggregation.paired import Strengths, bradley_terry
from consensus.aggregation.posteriors import block_posterior
from consensus.aggregation.rankings import cycles, pairwise, top_k
from consensus.aggregation.top_set import first_probabilities, top_probability
from consensus.ballots import Ballot
from consensus.orchestrators.spec import HopRecord
from consensus.statistics.intervals import wilson

__all__ = [
    "RIDGE",
    "Ranked",
    "compare_position",
    "fit_strengths",
    "position_note",
    "read_ranking",
    "wins_of",
]

Floats = npt.NDArray[np.float64]

RIDGE = 0.1
"""Precision of the prior on strengths: log-odds between two items of about ±4.5 are usual."""

MOST_SETS = 200
"""Different sets of best items that a posterior tells apart; further ones share the rest."""

FEWEST_SHOWN = 4
"""Ballots below which nothing is said of positions."""


class Ranked(NamedTuple):
    """A reading of ballots that order items.

    Attributes:
        order: every item, best first; with ``top`` the best only. None where ties leave it open.
        tied: the items that are tied where it is open.
        first: item → probability of being the best; None where votes are to be counted for it.
        probability: of the best ``top`` being these; None without ``top`` and without comparisons.
        supporters: seats whose ballot agrees.
        notes: what a reader must know.
    """

    order: tuple[str, ...] | None
    tied: tuple[str, ...]
    first: dict[str, float] | None
    probability: float | None
    supporters: frozenset[int]
    notes: tuple[str, ...]


def read_ranking(items: Sequence[str], hops: Sequence[HopRecord], top: int | None) -> Ranked:
    """What the ballots of these hops make of the items.

    Args:
        items: as the task lists them.
        hops: with at least one ballot that orders; the last one's assumptions hold.
        top: only the best so many are wanted, as a set; None: the whole order.
    """
    if top is not None and top >= len(items):
        top = None
    ballots = [b for hop in hops for b in hop.ballots if isinstance(b.answer, tuple | list)]
    compared = any(hop.spec.orchestrator == "pairs" for hop in hops)
    wins = wins_of(items, ballots, top)
    notes = [*_cycle_notes(wins), *position_note(items, ballots)]
    strengths: Strengths | None = None
    if compared:
        strengths = fit_strengths(wins, hops[-1].spec.cold_start.correlation)
        groups = strengths.groups
        if not strengths.linked:
            notes.append("the comparisons do not tie all items together: their order is open")
            groups = [tuple(range(len(items)))]
    else:
        groups = list(kemeny_consensus(wins).groups)
    order, tied = _settle(items, groups, top, notes)
    best = order if order is None or top is None else order[:top]
    first = probability = None
    if strengths is not None:
        first = dict(zip(items, first_probabilities(strengths).tolist(), strict=True))
        if best is not None:
            chosen = [items.index(item) for item in (best if top is not None else best[:1])]
            probability = top_probability(strengths, chosen)
    elif top is not None and best is not None:
        probability = _set_probability(items, ballots, best, hops[-1])
    return Ranked(best, tied, first, probability, _supporters(ballots, best, top), tuple(notes))


def wins_of(items: Sequence[str], ballots: Sequence[Ballot], top: int | None = None) -> Floats:
    """(items, items) how many ballots put one item before another; equals count half for each.

    A list that leaves items out says nothing of them; where the best ``top`` were asked for, a list
    of at least so many puts what it leaves out below.
    """
    place = {item: i for i, item in enumerate(items)}
    short: list[list[list[int]]] = []
    whole: list[list[list[int]]] = []
    for ballot in ballots:
        order = _order(ballot, place)
        listed = sum(map(len, order))
        few = top is not None and len(ballot.answer) > 2 and top <= listed < len(items)  # type: ignore[arg-type] # lists only
        (short if few else whole).append(order)
    wins = np.zeros((len(items), len(items)))
    if whole:
        wins += pairwise(whole, len(items))
    if short:
        wins += pairwise(short, len(items), unlisted="below")
    for order in (*whole, *short):
        for group in order:
            for i in group:
                for j in group:
                    wins[i, j] += 0.5 * (i != j)
    return wins


def fit_strengths(wins: Floats, correlation: float) -> Strengths:
    """Bradley–Terry strengths; n comparisons of one pair count as n/(1+(n−1)ρ).

    Seats err together on a pair as they do on a case: the same two items asked again, in the other
    order or of another model, tell less than another pair would.
    """
    times = wins + wins.T
    return bradley_terry(wins / (1.0 + np.maximum(times - 1.0, 0.0) * correlation), ridge=RIDGE)


def position_note(items: Sequence[str], ballots: Sequence[Ballot]) -> list[str]:
    """How much the answers follow the order in which items were shown, with an interval.

    Of comparisons: how often the item shown first won. Of lists: the mean of Kendall's τ between
    the order shown and the order given, over ballots; 0 is none where orders are balanced.
    """
    place = {item: i for i, item in enumerate(items)}
    firsts, taus = [], []
    for ballot in ballots:
        order = _order(ballot, place)
        shown = [i for i in ballot.order if 0 <= i < len(items)]
        if len(shown) == 2 and len(order) == 2:
            firsts.append(order[0][0] == shown[0])
        elif len(shown) == len(items) and len(order) == len(items) > 2:
            taus.append(_kendall(shown, [group[0] for group in order]))
    notes = []
    if len(firsts) >= FEWEST_SHOWN:
        low, high = wilson(sum(firsts), len(firsts))
        notes.append(
            f"position: the item shown first won {sum(firsts)} of {len(firsts)} comparisons "
            f"(95 %: {low:.2f} to {high:.2f}; .5 is no effect)"
        )
    if len(taus) >= FEWEST_SHOWN:
        mean, spread = float(np.mean(np.sort(taus))), float(np.std(np.sort(taus), ddof=1))
        half = 1.96 * spread / math.sqrt(len(taus))
        notes.append(
            f"position: lists follow the order shown with a mean Kendall τ of {mean:+.2f} "
            f"± {half:.2f} ({len(taus)} ballots; 0 is no effect)"
        )
    return notes


def compare_position(options: Sequence[str], hops: Sequence[HopRecord]) -> list[str]:
    """The same for a panel that compares two candidates: ballots for ``A`` or ``B``, ties aside."""
    firsts = [
        ballot.answer == options[ballot.order[0]]
        for hop in hops
        for ballot in hop.ballots
        if ballot.order and ballot.answer in options[:2]
    ]
    if len(firsts) < FEWEST_SHOWN:
        return []
    low, high = wilson(sum(firsts), len(firsts))
    note = (
        f"position: {sum(firsts)} of {len(firsts)} ballots chose the candidate shown first "
        f"(95 %: {low:.2f} to {high:.2f}; .5 is no effect)"
    )
    return [note]


def _order(ballot: Ballot, place: dict[str, int]) -> list[list[int]]:
    """A ballot as groups of item numbers, best first; a list inside is a group of equals."""
    found = []
    for entry in ballot.answer if isinstance(ballot.answer, tuple | list) else ():
        group = [entry] if isinstance(entry, str) else list(entry)
        found.append([place[item] for item in group])
    return found


def _kendall(one: Sequence[int], other: Sequence[int]) -> float:
    at = {item: position for position, item in enumerate(other)}
    n = len(one)
    agree = sum(1 if at[one[i]] < at[one[j]] else -1 for i in range(n) for j in range(i + 1, n))
    return agree / (n * (n - 1) / 2)


def _cycle_notes(wins: Floats) -> list[str]:
    found = cycles(wins)
    if not found:
        return []
    i, j, k = (number + 1 for number in found[0])
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return [f"a cycle: most put item {i} before {j}, {j} before {k}, and {k} before {i}{more}"]


def _settle(
    items: Sequence[str], groups: Sequence[Sequence[int]], top: int | None, notes: list[str]
) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """The order that the groups leave, or the items that are tied where it matters.

    Within the best ``top``, ties matter to nobody who asked for a set: such items stand by their
    text, so that no list's order decides.
    """
    if top is None:
        open_ = {i for group in groups if len(group) > 1 for i in group}
        if open_:
            return None, tuple(item for i, item in enumerate(items) if i in open_)
        return tuple(items[group[0]] for group in groups), ()
    cut = top_k(groups, top)
    if cut.tied:
        notes.append(
            f"the best {top} are open: {len(cut.certain)} are certain, "
            f"{cut.places} of {len(cut.tied)} tied items would complete them"
        )
        return None, tuple(items[i] for i in sorted(cut.tied))
    best: list[str] = []
    for group in groups:
        if len(best) >= top:
            break
        if len(group) > 1:
            numbers = " = ".join(f"item {i + 1}" for i in sorted(group))
            notes.append(f"within the best {top}: {numbers}, in no order")
        best.extend(sorted(items[i] for i in group))
    return tuple(best), ()


def _supporters(
    ballots: Sequence[Ballot], best: tuple[str, ...] | None, top: int | None
) -> frozenset[int]:
    """Seats that agree: the same best item (or set); of comparisons, the same winner."""
    if best is None:
        return frozenset()
    place = {item: i for i, item in enumerate(best)}
    found = set()
    for ballot in ballots:
        answer = ballot.answer
        if not isinstance(answer, tuple) or not answer:
            continue
        if len(answer) == 2 and len(ballot.order) == 2:
            upper, lower = (place.get(item, len(best)) for item in answer)
            agrees = upper < lower or (upper == lower == len(best))
        elif top is not None:
            agrees = set(answer[:top]) == set(best)
        else:
            agrees = answer[0] == best[0]
        if agrees:
            found.add(ballot.seat)
    return frozenset(found)


def _set_probability(
    items: Sequence[str], ballots: Sequence[Ballot], best: tuple[str, ...], hop: HopRecord
) -> float:
    """Cold-start posterior of one set of best items among all the sets that there could be."""
    size = len(best)
    said = Counter(
        frozenset(b.answer[:size])
        for b in ballots
        if isinstance(b.answer, tuple) and len(b.answer) >= size
    )
    wanted = frozenset(best)
    sets = [wanted, *(chosen for chosen in said if chosen != wanted)]
    width = max(min(math.comb(len(items), size), MOST_SETS), len(sets), 2)
    counts = np.zeros((1, width))
    counts[0, : len(sets)] = [said[chosen] for chosen in sets]
    cold = hop.spec.cold_start
    return float(block_posterior(counts, cold.accuracy, cold.correlation)[0])
