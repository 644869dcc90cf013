"""What the mathematics promises, checked by simulation: a section of the study's Markdown.

Nothing recorded is read. Panels whose errors correlate are drawn from the beta-binomial
distribution: a case's seats are right with a probability that is itself drawn, with mean p and so
that two seats' errors correlate by ρ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from consensus.aggregation.conformal import act_report, conformal_quantile, prediction_sets
from consensus.aggregation.posteriors import block_posterior
from consensus.statistics import clopper_pearson

__all__ = [
    "Coverage",
    "Draw",
    "Observed",
    "conformal_coverage",
    "observed_posterior",
    "render_simulations",
]

Draw = Callable[[int, np.random.Generator], tuple[NDArray[np.float64], NDArray[np.int64]]]
"""Cases and a generator → posteriors (cases, K) and truths (cases,)."""

_P, _RHO = 0.8, 0.44
_CLAIMED = {(4, 0): 0.914, (3, 1): None, (8, 2): 0.735, (9, 0): None, (6, 4): None}
_MAJORITIES = {1: 0.80, 3: 0.82, 9: 0.83, 101: 0.84}


class Observed(NamedTuple):
    """How often the leader was right when the votes came out in one way.

    Attributes:
        posterior: what :func:`block_posterior` says.
        cases: simulated cases that came out so.
        right: of them, those whose leader was right.
    """

    posterior: float
    cases: int
    right: int


class Coverage(NamedTuple):
    """Conformal sets over many seeds: means, and the worst seed's coverage."""

    coverage: float
    least: float
    acted: float
    error_among_acted: float


def observed_posterior(
    leader: int,
    rival: int,
    *,
    p: float = _P,
    rho: float = _RHO,
    cases: int = 400_000,
    seed: int = 1,
) -> Observed:
    """Simulate panels, and count the cases that ended ``leader`` to ``rival``."""
    right = _right_seats(cases, leader + rival, p, rho, np.random.default_rng(seed))
    hit, miss = int((right == leader).sum()), int((right == rival).sum())
    claimed = float(block_posterior([[leader, rival]], p, rho)[0])
    return Observed(claimed, hit + miss, hit)


def conformal_coverage(
    alpha: float, draw: Draw, *, calibration: int = 200, later: int = 500, seeds: int = 200
) -> Coverage:
    """Split conformal sets, calibrated and judged anew for every seed."""
    covered, acted, wrong = [], [], []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        quantile = conformal_quantile(*draw(calibration, rng), alpha)
        posterior, truth = draw(later, rng)
        sets = prediction_sets(posterior, quantile)
        report = act_report(sets, truth)
        covered.append(report.coverage)
        acted.append(float((sets.sum(axis=1) == 1).mean()))
        wrong.append(report.error_among_acted)
    return Coverage(
        float(np.mean(covered)),
        float(np.min(covered)),
        float(np.mean(acted)),
        float(np.nanmean(wrong)),
    )


def render_simulations() -> str:
    """Run the simulations, and write their section."""
    rows = []
    for (leader, rival), said in _CLAIMED.items():
        found = observed_posterior(leader, rival)
        share = found.right / found.cases
        low, high = clopper_pearson(found.right, found.cases)
        off = found.posterior - share
        cells = [
            f"{leader}–{rival}",
            "–" if said is None else f"{said:.3f}",
            f"{found.posterior:.3f}",
            f"{share:.3f} ({low:.3f} to {high:.3f})",
            f"{found.cases:,}",
            f"{100 * off:+.1f}",
            "yes" if abs(off) <= 0.02 else "no",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    majorities = []
    for seats, said in _MAJORITIES.items():
        right = _right_seats(200_000, seats, _P, _RHO, np.random.default_rng(2))
        majorities.append(f"| {seats} | {said:.2f} | {(right > seats / 2).mean():.3f} |")
    covers = []
    for name, draw in _DRAWS.items():
        for alpha in (0.05, 0.1, 0.2):
            c = conformal_coverage(alpha, draw)
            holds = "yes" if c.coverage >= 1 - alpha - 0.02 else "no"
            covers.append(
                f"| {name} | {alpha:g} | {c.coverage:.3f} | {c.least:.3f} | {holds} | "
                f"{c.acted:.3f} | {c.error_among_acted:.3f} |"
            )
    return (
        f"""## Simulations

Panels of two options, seats right with p = {_P:g}, errors correlated by ρ = {_RHO:g}
(beta-binomial), 400,000 cases a row. **published**: the figure in the literature, where there is
one.

| votes | published | posterior | leader right (95 %) | cases | off, points | within 2 |
| --- | --- | --- | --- | --- | --- | --- |
"""
        + "\n".join(rows)
        + """

| seats | published | majority right |
| --- | --- | --- |
"""
        + "\n".join(majorities)
        + """

Conformal sets: 200 calibration cases and 500 later ones, 200 seeds. *panel*: the posterior of five
seats with p = 0.8 and ρ = 0.3. *approvals*: a perfectly calibrated P(approve), drawn from
Beta(3, 1). Coverage is of the sets; what is acted on are the sets of one option, and their error is
another thing that α does not bound.

| cases | α | coverage, mean | least seed | ≥ 1 − α − .02 | acted | error among acted |
| --- | --- | --- | --- | --- | --- | --- |
"""
        + "\n".join(covers)
        + """

`consensus bench study --only simulation` repeats this section."""
    )


def _right_seats(
    cases: int, seats: int, p: float, rho: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    strength = 1 / rho - 1
    return rng.binomial(seats, rng.beta(strength * p, strength * (1 - p), cases))


def _panel(cases: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Posteriors of panels of five, and the truth."""
    truth = rng.integers(0, 2, cases)
    right = _right_seats(cases, 5, _P, 0.3, rng)
    counts = np.stack([right, 5 - right], axis=-1).astype(float)
    counts[truth == 1] = counts[truth == 1][:, ::-1]
    return block_posterior(counts[:, None, :], _P, 0.3), truth


def _approvals(
    cases: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Calibrated posteriors over (reject, approve), and the truth."""
    approve = rng.beta(3, 1, cases)
    truth = (rng.random(cases) < approve).astype(np.int64)
    return np.stack([1 - approve, approve], axis=-1), truth


_DRAWS: Mapping[str, Draw] = {"panel": _panel, "approvals": _approvals}
