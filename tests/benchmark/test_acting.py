"""Acting over replayed decisions: the rule of a policy row, and what it costs."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consensus.benchmark.acting import Acting, parse_losses
from consensus.benchmark.recorded import import_recorded
from consensus.benchmark.replay import ReplaySettings, replay
from consensus.benchmark.replay_row import replay_row
from consensus.benchmark.run_format.run import RecordedRun
from consensus.errors import DataError
from consensus.orchestrators.concluding import conclude
from consensus.orchestrators.spec import Losses
from consensus.panel.book import load_prompts
from consensus.policy.load import load_policy
from tests.benchmark.data_fixtures import write_recorded
from tests.benchmark.fit_fixtures import recorded, simulated
from tests.orchestrators.ballot_box import OPTIONS, hop

NAMES = {"a": "approve", "r": "reject", "-": None}
RULES: tuple[dict[str, Any], ...] = (
    {},
    {"losses": Losses(false_approve=20)},
    {"losses": Losses(false_reject=9)},
    {"veto": 1},
    {"veto": 2, "losses": Losses(false_approve=3)},
    {"alpha": 0.2},
    {"min_agreement": 0.8},
)


def approvals(folder: Path, votes: list[str], truth: str = "a") -> RecordedRun:
    """A case for each string of votes, a seat a letter; the frontier approves everything."""
    about = {"task_kind": "approval", "label": NAMES[truth], "options": "approve|reject"}
    cases = [{"case_id": f"c{i}", **about} for i in range(len(votes))]
    said = [{"f": "a", **{f"m{s}": v for s, v in enumerate(letters)}} for letters in votes]
    answers = [
        {"case_id": f"c{i}", "model": model, **about, "answer": NAMES[letter] or ""}
        for i, by_model in enumerate(said)
        for model, letter in by_model.items()
    ]
    return import_recorded(write_recorded(folder, cases, answers))


def acting(run: RecordedRun, seats: int, strategy: str = "vote", **rule: Any) -> dict[str, Any]:
    panel = tuple(f"m{s}" for s in range(seats))
    settings = ReplaySettings("f", panel, strategy, acting=Acting(**rule))
    found: dict[str, Any] = replay(run, settings).figures["acting"]
    return found


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_replayed_vote_acts_where_the_live_conclusion_acts(
    tmp_path: Path, rule: dict[str, Any]
) -> None:
    votes = ["".join(letters) for letters in product("ar-", repeat=3)]
    live = [
        conclude("approve", OPTIONS, [hop([NAMES[letter] for letter in letters], **rule)])
        for letters in votes
    ]
    acted = sum(one.action == "act" for one in live)
    wrong = sum(one.outcome == "reject" for one in live)
    found = acting(approvals(tmp_path, votes), 3, **rule)
    assert found["coverage"] == pytest.approx(acted / len(votes))
    assert found["false_reject_rate"] == pytest.approx(wrong / len(votes))
    assert found["false_approve_rate"] == 0


def test_losses_weigh_each_direction_and_leave_out_what_is_not_acted_upon(tmp_path: Path) -> None:
    run = approvals(tmp_path, ["aaa", "rrr", "ara", "aaa"], truth="r")
    found = acting(run, 3, losses=Losses(false_approve=5, false_reject=2))
    assert found["coverage"] == 0.75  # two of three approvals do not pass 5/7
    assert found["loss_per_case"] == pytest.approx(2 * 5 / 4)
    assert found["majority"]["loss_per_case"] == pytest.approx(3 * 5 / 4)
    assert found["frontier"]["loss_per_case"] == pytest.approx(5.0)
    assert found["selective_risk"] == pytest.approx(2 / 3)
    assert found["review_break_even"] == pytest.approx(5.0)


def test_acting_always_breaks_a_tie_by_a_coin(tmp_path: Path) -> None:
    found = acting(approvals(tmp_path, ["ar", "ar"]), 2, losses=Losses(false_reject=4))
    assert found["coverage"] == 0
    assert found["selective_risk"] is None
    assert found["majority"]["loss_per_case"] == pytest.approx(0.5 * 4)


def test_prediction_sets_cover_what_they_promise_and_are_told_with_the_error_of_the_acted() -> None:
    run = simulated(800, seats=2, bias={"m/b": 0.3})
    settings = ReplaySettings(
        *("m/a", ("m/a", "m/b", "m/c"), "live:blocks"),
        calibrate=True,
        splits=3,
        acting=Acting(alpha=0.2, conformal=True),
    )
    found = replay(run, settings).figures["acting"]
    assert found["set_coverage"] > 0.8 - 0.03
    assert 0 < found["coverage"] < 1
    assert found["selective_risk"] > 0


def tied_scores(cases: int) -> RecordedRun:
    """Two judges score three options 1 to 4, so that every other ballot ties; ties are harder."""
    rng = np.random.default_rng(3)
    records: list[Any] = []
    lines: list[dict[str, Any]] = []
    for i in range(cases):
        right = int(rng.integers(3))
        names = ("A", "B", "C")
        about = {"case_id": f"c{i}", "task_kind": "choose", "task_type": "t"}
        records.append((f"c{i}", {**about, "label": names[right], "options": list(names)}, names))
        hard = rng.random() < 0.5
        for model in ("m/a", "m/b"):
            scores = rng.integers(1, 3 if hard else 4, size=3).astype(float)
            scores[right] += 0.0 if hard else 2.0
            top = [names[k] for k in np.flatnonzero(scores == scores.max())]
            lines.append(
                {
                    "case": f"c{i}",
                    "model": model,
                    "variant": "plain",
                    "sample": 0,
                    "answer": "/".join(top),
                    "scores": scores.tolist(),
                }
            )
    return recorded(records, lines)


@pytest.mark.parametrize("strategy", ["softmax", "stacked"])
def test_ballots_that_tie_are_calibrated_on_too(strategy: str) -> None:
    settings = ReplaySettings(
        *("m/a", ("m/a", "m/b"), strategy),
        calibrate=True,
        splits=3,
        acting=Acting(alpha=0.1, conformal=True),
    )
    found = replay(tied_scores(600), settings).figures["acting"]
    assert found["set_coverage"] > 0.9 - 0.03


def test_a_policy_row_replayed_is_the_same_rule_by_flags(tmp_path: Path) -> None:
    votes = ["".join(letters) for letters in product("ar-", repeat=3)]
    run = approvals(tmp_path / "data", votes)
    policy = tmp_path / "policy.toml"
    policy.write_text(
        'version = 1\n[tiers]\nall = ["recorded/m0", "recorded/m1", "recorded/m2"]\n'
        '[defaults]\nstrategy = "single"\ntier = "all"\n'
        '[tasks.paper]\nkind = "approve"\nstrategy = "vote"\nseats = 3\nveto = 1\n'
        "losses = { false_approve = 5, false_reject = 1 }\n"
        '[tasks.talk]\nkind = "approve"\nstrategy = "debate"\nseats = 3\n'
    )
    table, book = load_policy(policy, strict=False), load_prompts(None)
    row = replay_row(run, table, "paper", frontier="f", folder=tmp_path / "data", book=book)
    flags = acting(run, 3, losses=Losses(false_approve=5), veto=1)
    for name in ("coverage", "selective_risk", "loss_per_case", "false_reject_rate"):
        assert row["acting"][name] == pytest.approx(flags[name])
    assert row["frontier_accuracy"] == 1.0
    with pytest.raises(DataError, match="a recorded debate is a variant of its model"):
        replay_row(run, table, "talk", frontier="f", folder=tmp_path / "data", book=book)
    with pytest.raises(DataError, match='no row "other"'):
        replay_row(run, table, "other", frontier="f", folder=tmp_path / "data", book=book)


def test_a_rule_that_cannot_be_followed_is_one_clear_line(tmp_path: Path) -> None:
    run = simulated(40, options=("A", "B", "C"), kind="choose")
    ask = ReplaySettings("m/a", ("m/a", "m/b", "m/c"), acting=Acting(losses=Losses()))
    with pytest.raises(DataError, match="is for approvals"):
        replay(run, ask)
    votes = approvals(tmp_path, ["aaa", "rrr"])
    with pytest.raises(DataError, match="needs the error that is allowed"):
        acting(votes, 3, conformal=True)
    with pytest.raises(DataError, match="no calibrated prediction sets"):
        acting(votes, 3, alpha=0.1, conformal=True)


@pytest.mark.parametrize(
    ("strategy", "instead"),
    [
        ("auto", "live:blocks"),
        ("stack", "stacked"),
        ("scores", "softmax"),
        ("adaptive:beta", "--row TYPE"),
        ("cascade:1+2", "--row TYPE"),
        ("debate", "vote"),
    ],
)
def test_what_gives_no_probability_is_refused_before_it_runs_with_what_to_use_instead(
    tmp_path: Path, strategy: str, instead: str
) -> None:
    run = approvals(tmp_path, ["aaa", "rrr"])
    settings = ReplaySettings("f", ("a", "b", "c"), strategy, calibrate=True, acting=Acting(veto=1))
    with pytest.raises(DataError, match="by which one could act") as refused:
        replay(run, settings)
    assert refused.value.where == "--veto"
    assert instead in str(refused.value.fix)


def test_losses_are_read_by_name() -> None:
    assert parse_losses("false_approve=20, false_reject=2") == Losses(
        false_approve=20, false_reject=2
    )
    for wrong in ("20", "false_approve=x", "false_approve=-1", "other=2"):
        with pytest.raises(DataError, match="names no losses"):
            parse_losses(wrong)
