"""Panels read by confusion matrices: on approvers whose bias is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from consensus.benchmark.auto import Auto, Goal
from consensus.benchmark.auto.confusions import (
    fit_confusions,
    honest_shares,
    shares_by_confusions,
)
from consensus.benchmark.auto.search import folds_of
from consensus.benchmark.evidence import Evidence, calibration_mask, evidence_of
from consensus.benchmark.recorded import import_recorded
from consensus.benchmark.replay import ReplaySettings, replay
from consensus.benchmark.run_format.run import RecordedRun
from tests.benchmark.data_fixtures import write_recorded

CASES = 400
SEATS = (1, 1, 1, 1)


def approvals(tmp_path: Path, *, good: float = 0.4) -> RecordedRun:
    """Three who approve nearly everything: what they refuse is bad. And one who seldom does."""
    rng = np.random.default_rng(5)
    truth = rng.random(CASES) < good
    lenient = [rng.random(CASES) < np.where(truth, 0.98, 0.85) for _ in range(3)]
    strict = rng.random(CASES) < np.where(truth, 0.5, 0.05)
    said = dict(zip("abcd", (*lenient, strict), strict=True))
    cases = [
        {
            "case_id": f"c{i}",
            "label": "yes" if right else "no",
            "options": "no|yes",
            "task_kind": "approval",
        }
        for i, right in enumerate(truth)
    ]
    answers = [
        {
            "case_id": f"c{i}",
            "model": model,
            "answer": "yes" if votes[i] else "no",
            "task_kind": "approval",
        }
        for model, votes in said.items()
        for i in range(CASES)
    ]
    return import_recorded(write_recorded(tmp_path, cases, answers))


def evidence(run: RecordedRun) -> Evidence:
    return evidence_of(run, run.members).compact()


def test_what_a_lenient_approver_refuses_counts_for_more_than_what_it_approves(
    tmp_path: Path,
) -> None:
    order = evidence(approvals(tmp_path))
    fold = folds_of(order.case_ids, 4)
    shares = honest_shares("blocks", [order], SEATS, fold, balanced=False)
    assert shares is not None
    voted = order.votes.sum(axis=(1, 2)).argmax(axis=1)
    plurality = np.take_along_axis(order.credit, voted[:, None], axis=1).mean()
    assert (shares * order.credit).sum(axis=1).mean() > plurality + 0.05


def test_a_crowd_s_confusions_look_at_no_label(tmp_path: Path) -> None:
    order = evidence(approvals(tmp_path))
    turned = replace(order, credit=order.credit[:, ::-1])
    one, other = (fit_confusions("crowd", o, SEATS, balanced=False) for o in (order, turned))
    assert one == other


def test_balanced_confusions_do_not_lean_to_the_label_that_is_common(tmp_path: Path) -> None:
    order = evidence(approvals(tmp_path, good=0.12))

    def approved(balanced: bool) -> float:
        fit = fit_confusions("blocks", order, SEATS, balanced=balanced)
        return float(shares_by_confusions(fit, order, SEATS)[:, 1].mean())

    assert approved(balanced=True) > approved(balanced=False) + 0.1


def test_members_without_a_seat_are_not_read(tmp_path: Path) -> None:
    order = evidence(approvals(tmp_path))
    alone = fit_confusions("blocks", order, (0, 0, 0, 1), balanced=False)
    assert [name.partition("@")[0] for name in alone.models] == ["d"]
    shares = shares_by_confusions(alone, order, (0, 0, 0, 1))
    assert np.array_equal(shares[:, 1] == 1, order.votes[:, 3, 0, 1] == 1)


def searched(whole: Evidence) -> set[str]:
    """The kinds of confusions that a search of half of the cases chooses from."""
    half = whole.take(np.flatnonzero(calibration_mask(whole.case_ids, 0)))
    found = Auto(whole.only([3]), Goal("quality"), balanced=True).fit(half)
    assert found.model is not None
    return {kind for kind, _ in found.model.confusions}


def test_auto_has_them_among_what_it_chooses_from(tmp_path: Path) -> None:
    run = approvals(tmp_path)
    assert "blocks" in searched(evidence(run))
    settings = ReplaySettings("d", tuple("abcd"), "auto", goal="quality", calibrate=True)
    figures = replay(run, settings).figures
    voted = replay(run, replace(settings, strategy="vote", goal=None)).figures
    assert figures["balanced_accuracy"] > voted["balanced_accuracy"] + 0.05


def test_auto_leaves_them_out_where_they_say_what_the_vote_says(tmp_path: Path) -> None:
    whole = evidence(approvals(tmp_path))
    # Everybody says what the strict one says: a vote and its reading are the same decision.
    votes = np.repeat(whole.votes[:, [3]], 4, axis=1)
    assert searched(replace(whole, votes=votes, credit=votes[:, 0, 0].astype(float))) == set()
