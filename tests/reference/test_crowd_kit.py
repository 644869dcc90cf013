"""Same data, same answers: crowd-kit."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from consensus.aggregation._numerics import IntArray
from consensus.aggregation.dawid_skene import dawid_skene
from consensus.aggregation.votes import plurality, tally


def crowd(cases: int, seats: int, options: int, seed: int, missing: float) -> IntArray:
    """Votes of seats of different skill; every case has one at least."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, options, cases)
    skill = rng.uniform(0.4, 0.95, seats)
    wrong = (truth[:, None] + rng.integers(1, options, (cases, seats))) % options
    votes = np.where(rng.random((cases, seats)) < skill, truth[:, None], wrong)
    votes[rng.random(votes.shape) < missing] = -1
    return np.asarray(votes[(votes >= 0).any(axis=1)])


def frame(votes: IntArray) -> object:
    import pandas as pd

    case, seat = np.nonzero(votes >= 0)
    return pd.DataFrame({"task": case, "worker": seat, "label": votes[case, seat]})


@pytest.fixture(autouse=True)
def _quiet() -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("seed", range(4))
def test_majorities_agree_wherever_there_is_one_winner(seed: int) -> None:
    from crowdkit.aggregation import MajorityVote

    votes = crowd(500, 6, 4, seed, missing=0.2)
    theirs = MajorityVote().fit_predict(frame(votes)).sort_index().to_numpy()
    ours = plurality(tally(votes, 4)).credit
    single = (ours > 0).sum(axis=1) == 1
    assert 300 < single.sum() < 500
    assert (ours.argmax(axis=1)[single] == theirs[single]).all()
    # Where votes are equal, theirs is one of ours.
    assert (ours[np.arange(len(votes)), theirs] > 0).all()


@pytest.mark.parametrize(("options", "missing"), [(2, 0.0), (3, 0.3), (5, 0.1)])
def test_dawid_skene_has_crowd_kits_posterior_after_as_many_steps(
    options: int, missing: float
) -> None:
    from crowdkit.aggregation import DawidSkene

    votes = crowd(400, 7, options, options, missing)
    ours = dawid_skene(votes, options)
    model = DawidSkene(n_iter=ours.steps, tol=-1.0).fit(frame(votes))
    theirs = model.probas_.sort_index()[list(range(options))].to_numpy()
    np.testing.assert_allclose(ours.posterior, theirs, atol=1e-7)


def test_dawid_skene_has_crowd_kits_confusion_matrices() -> None:
    from crowdkit.aggregation import DawidSkene

    votes = crowd(600, 5, 3, 9, 0.0)
    ours = dawid_skene(votes, 3)
    model = DawidSkene(n_iter=ours.steps, tol=-1.0).fit(frame(votes))
    theirs = model.errors_.sort_index()[[0, 1, 2]].to_numpy().reshape(5, 3, 3)
    # crowd-kit's rows are (worker, said), its columns the truth.
    np.testing.assert_allclose(ours.confusion, np.swapaxes(theirs, 1, 2), atol=1e-6)
