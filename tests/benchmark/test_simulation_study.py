from __future__ import annotations

import numpy as np
import pytest

from consensus.benchmark import simulation_study as sim


@pytest.mark.parametrize(("leader", "rival", "published"), [(4, 0, 0.914), (8, 2, 0.735)])
def test_the_published_posteriors_come_back_from_a_simulation(
    leader: int, rival: int, published: float
) -> None:
    found = sim.observed_posterior(leader, rival, cases=100_000)
    assert found.posterior == pytest.approx(published, abs=5e-4)
    assert found.right / found.cases == pytest.approx(published, abs=0.02)


def test_independent_seats_simulated_are_surer_than_correlated_ones() -> None:
    loose = sim.observed_posterior(3, 1, rho=0.05, cases=50_000)
    tight = sim.observed_posterior(3, 1, rho=0.6, cases=50_000)
    assert loose.right / loose.cases > tight.right / tight.cases + 0.1


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_coverage_holds_in_the_mean_over_seeds(alpha: float) -> None:
    def draw(
        cases: int, rng: np.random.Generator
    ) -> tuple[
        np.ndarray[tuple[int, ...], np.dtype[np.float64]],
        np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    ]:
        approve = rng.beta(2, 2, cases)
        truth = (rng.random(cases) < approve).astype(np.int64)
        return np.stack([1 - approve, approve], axis=-1), truth

    found = sim.conformal_coverage(alpha, draw, seeds=60)
    assert found.coverage >= 1 - alpha - 0.02
    assert found.least <= found.coverage
    assert 0 < found.acted < 1


def test_the_section_is_the_same_every_time_and_says_what_holds() -> None:
    text = sim.render_simulations()
    assert text == sim.render_simulations()
    rows = [line for line in text.splitlines() if line.startswith(("| 4–0", "| 8–2"))]
    assert len(rows) == 2
    assert all(row.endswith("| yes |") for row in rows)
    covered = [line for line in text.splitlines() if line.startswith(("| panel", "| approvals"))]
    assert len(covered) == 6
    assert all("| yes |" in line for line in covered)
