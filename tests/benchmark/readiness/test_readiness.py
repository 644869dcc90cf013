from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from consensus import Approve
from consensus.benchmark.proposals.identity import type_sha256
from consensus.benchmark.readiness import ITEMS, Ground, readiness
from consensus.benchmark.readiness.seen import Seen, look
from consensus.benchmark.suites import load_suite
from consensus.models.prices import PriceBook
from consensus.panel.book import load_prompts
from consensus.policy.audit import Audit, load_audit
from consensus.policy.certifying import route_sha256
from consensus.policy.load import load_policy
from consensus.policy.oracles import oracle_of
from consensus.policy.table import PolicyTable
from tests.benchmark.suite_fixtures import opened, suite_folder
from tests.engine_fixtures import engine_of
from tests.policy.audit.audits import audit_of, task_text

POLICY = """
version = 1
[tiers]
small = ["scripted/a", "scripted/b"]
[defaults]
strategy = "single"
tier = "small"
[prices."scripted/a"]
input = 1.0
output = 5.0
max_input_tokens = 8000
[prices."scripted/b"]
input = 1.0
output = 5.0
[certificates]
medium = { floor = 0.95, delta = 0.05 }
[oracles.refunds]
kind = "exact"
[tasks.refund]
kind = "approve"
oracle = "refunds"
"""
TODAY = datetime.now(UTC).date()


async def measured(folder: Path) -> Path:
    """A complete run of a suite whose type and oracle are the audit's."""
    suite_folder(folder)
    with await opened(folder) as run:
        await run.go()
    return folder / "run"


def certified(folder: Path, ran: Path, /, **changes: Any) -> PolicyTable:
    """The policy with a row that has earned its certificate on that run."""
    path = folder / "project.toml"
    path.write_text(POLICY, encoding="utf-8")
    table = load_policy(path)
    fields: dict[str, Any] = {
        "status": "certified",
        "n": 100,
        "passes": 100,
        "bound": 0.97,
        "floor": 0.95,
        "delta": 0.05,
        "method": "clopper-pearson",
        "route": route_sha256(table, "refund"),
        "oracle": oracle_of(table, "refunds").sha256,
        "prompts": load_prompts(None).sha256,
        "suite": type_sha256(load_suite(ran / "suite"), "refund"),
        "run": str(ran),
        "date": TODAY,
    }
    fields |= changes
    rows = ["[tasks.refund.certificate]"]
    rows += [
        f"{key} = {value}" if isinstance(value, date) else f"{key} = {json.dumps(value)}"
        for key, value in fields.items()
    ]
    rows += ["[tasks.refund.profile]", "n = 100", "usd_per_decision = 0.001"]
    path.write_text(POLICY + "\n".join(rows) + "\n", encoding="utf-8")
    return load_policy(path)


def ground(folder: Path, table: PolicyTable | None = None, **changes: Any) -> Ground:
    policy = table or PolicyTable()
    made = Ground(
        audit_of(folder, task_text("refund")),
        policy,
        load_prompts(None),
        PriceBook(overrides=policy.price_overrides()),
        TODAY,
    )
    return replace(made, **changes)


def item(number: int, at: Ground):  # type: ignore[no-untyped-def]
    return readiness(at).items[number - 1]


def test_there_are_ten_items_and_an_empty_project_has_none_closed(tmp_path: Path) -> None:
    found = readiness(
        Ground(
            Audit(),
            PolicyTable(),
            load_prompts(None),
            PriceBook(),
            TODAY,
            problem=("there is no audit", "consensus audit init"),
        )
    )
    assert len(ITEMS) == len(found.items) == 10
    assert not any(each.closed for each in found.items)
    assert {each.close[0] for each in found.items} == {"consensus audit init"}


def test_a_sound_audit_is_enough_for_the_first_item(tmp_path: Path) -> None:
    assert item(1, ground(tmp_path)).closed


def test_an_audit_with_an_error_leaves_the_first_item_open(tmp_path: Path) -> None:
    audit = audit_of(tmp_path, task_text("refund", owner='""'))
    found = item(1, ground(tmp_path, audit=audit))
    assert not found.closed
    assert "nobody answers" in found.missing[0]


def test_an_oracle_of_the_policy_is_proved_by_its_hash_and_place(tmp_path: Path) -> None:
    path = tmp_path / "project.toml"
    path.write_text(POLICY, encoding="utf-8")
    found = item(2, ground(tmp_path, load_policy(path)))
    assert found.closed
    assert "exact" in found.evidence[0]
    assert "project.toml:" in found.evidence[0]


def test_an_oracle_that_nobody_declares_is_open(tmp_path: Path) -> None:
    found = item(2, ground(tmp_path))
    assert found.missing == ['refund: "refunds" is declared nowhere']
    assert found.close == ["[oracles.refunds] in strategies/"]


async def test_a_living_certificate_closes_the_profiling(tmp_path: Path) -> None:
    run = await measured(tmp_path)
    found = item(3, ground(tmp_path, certified(tmp_path, run)))
    assert found.closed, found.missing
    assert "certified, 100 of 100" in found.evidence[0]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"date": TODAY - timedelta(days=91)}, "it is 91 days old, and holds for 90"),
        ({"route": "0" * 64}, "the row was changed"),
        ({"oracle": "0" * 64}, "the oracle was changed"),
        ({"prompts": "0" * 64}, "the prompts are not those it was measured with"),
        ({"suite": "0" * 64}, "no run of its cases is there"),
        ({"run": "elsewhere"}, "no run of its cases is there"),
        ({"status": "uncertifiable", "bound": 0.9, "needs": 40}, "uncertifiable, 40 more cases"),
        ({"floor": 0.9, "bound": 0.93}, "its bound of 0.93 is below the 0.95"),
    ],
)
async def test_a_certificate_that_does_not_hold_leaves_it_open(
    tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    run = await measured(tmp_path)
    found = item(3, ground(tmp_path, certified(tmp_path, run, **changes)))
    assert not found.closed
    assert why in found.missing[0]


async def test_a_model_that_is_served_otherwise_by_now_leaves_it_open(tmp_path: Path) -> None:
    run = await measured(tmp_path)
    table = certified(tmp_path, run)
    path = tmp_path / "project.toml"
    served = '[tasks.refund.certificate.served]\n"scripted/a" = ["a-2026-01"]\n'
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("[tasks.refund.profile]", f"{served}[tasks.refund.profile]"))
    table = load_policy(path)
    seen = Seen(1, 0, 0, {"refund": (1, 0.1)}, {"scripted/a": "a-2026-09"})
    found = item(3, ground(tmp_path, table, ledger=seen))
    assert "scripted/a is served by a-2026-09 now" in found.missing[0]
    assert item(3, ground(tmp_path, table)).closed


async def test_a_run_that_is_named_elsewhere_is_found_by_its_cases(tmp_path: Path) -> None:
    run = await measured(tmp_path)
    at = ground(tmp_path, certified(tmp_path, run, run="moved"), runs=(run,))
    assert item(3, at).closed


async def test_a_run_that_is_not_complete_proves_nothing(tmp_path: Path) -> None:
    run = await measured(tmp_path)
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    (run / "manifest.json").write_text(json.dumps({**manifest, "state": "partial"}))
    found = item(3, ground(tmp_path, certified(tmp_path, run)))
    assert "its run is not complete" in found.missing[0]


def projection(folder: Path, **changes: Any) -> Path:
    path = folder / "project.toml"
    path.write_text(POLICY, encoding="utf-8")
    data: dict[str, Any] = {
        "format": "consensus-projection/1",
        "policy_version": load_policy(path).version_hash,
        "total": {"after_usd": 12.5},
        "types": [{"name": "refund", "source": "profile"}],
    }
    file = folder / "projection.json"
    file.write_text(json.dumps(data | changes), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({}, None),
        ({"policy_version": "0123456789abcdef"}, "not of this one"),
        ({"types": []}, "does not have refund"),
        ({"types": [{"name": "refund", "source": "assumed"}]}, "assumed, not measured: refund"),
        ({"format": "other/1"}, "is no projection"),
        ({"total": None}, "is no projection"),
    ],
)
def test_a_projection_must_be_of_this_policy_and_measured(
    tmp_path: Path, changes: dict[str, Any], missing: str | None
) -> None:
    file = projection(tmp_path, **changes)
    found = item(4, ground(tmp_path, load_policy(tmp_path / "project.toml"), projection=file))
    assert found.closed == (missing is None)
    assert missing is None or missing in found.missing[0]


async def test_a_ledger_with_a_decision_proves_served_models_and_attribution(
    tmp_path: Path,
) -> None:
    engine, _ = engine_of(tmp_path, '[tasks.refund]\nkind = "approve"\n')
    async with engine:
        await engine.decide(Approve(type="refund", subject="kettle", criteria="Unused."))
    at = ground(tmp_path, ledger=look(tmp_path / "ledger.db"))
    assert item(5, at).closed
    assert item(6, at).closed


@pytest.mark.parametrize(
    ("seen", "number", "missing"),
    [
        (Seen(10, 1, 0, {"refund": (10, 0.1)}), 5, "1 answered calls do not"),
        (Seen(0, 0, 0, {}), 5, "no call was answered yet"),
        (Seen(10, 0, 2, {"refund": (10, 0.1)}), 6, "2 calls carry no task type"),
        (Seen(10, 0, 0, {"other": (10, 0.1)}), 6, "not one decision of refund"),
        (None, 5, "there is no ledger"),
    ],
)
def test_what_a_ledger_does_not_show_is_open(
    tmp_path: Path, seen: Seen | None, number: int, missing: str
) -> None:
    found = item(number, ground(tmp_path, ledger=seen))
    assert not found.closed
    assert missing in found.missing[0]


def test_a_ledger_that_is_not_there_shows_nothing(tmp_path: Path) -> None:
    assert look(tmp_path / "none.db") is None
    assert not (tmp_path / "none.db").exists()


def test_thresholds_must_stand_in_the_policy(tmp_path: Path) -> None:
    path = tmp_path / "project.toml"
    path.write_text(POLICY, encoding="utf-8")
    assert item(7, ground(tmp_path, load_policy(path))).closed
    without = POLICY.replace("[certificates]\nmedium = { floor = 0.95, delta = 0.05 }\n", "")
    path.write_text(without, encoding="utf-8")
    found = item(7, ground(tmp_path, load_policy(path)))
    assert found.missing == ["the floors of consequences are defaults that nobody has set"]


@pytest.mark.parametrize(
    ("old", "new", "missing"),
    [
        ("", "", None),
        ('tier = "small"\n', 'tier = "small"\ncontext_guard = 0.95\n', "allows 95% of a window"),
        ("max_input_tokens = 8000\n", "", "nobody knows the window of scripted/a"),
        (
            'small = ["scripted/a", "scripted/b"]',
            'small = ["openai/in-house"]\n[prices."openai/in-house"]\ninput = 1\noutput = 1',
            "nobody knows the window of openai/in-house",
        ),
    ],
)
def test_the_guard_stands_before_models_of_known_windows(
    tmp_path: Path, old: str, new: str, missing: str | None
) -> None:
    path = tmp_path / "project.toml"
    path.write_text(POLICY.replace(old, new, 1), encoding="utf-8")
    found = item(8, ground(tmp_path, load_policy(path)))
    assert found.closed == (missing is None), found.missing
    assert missing is None or missing in found.missing[0]


async def test_without_watch_and_alarms_the_last_two_are_open(tmp_path: Path) -> None:
    run = await measured(tmp_path)
    at = ground(tmp_path, certified(tmp_path, run))
    for number, name in ((9, "watch"), (10, "alarms")):
        assert f"[{name}]" in item(number, at).missing[0]
        assert not item(number, at).closed


@pytest.mark.parametrize(
    ("settings", "number", "missing"),
    [
        ("[watch]", 9, None),
        ('[watch]\non = ["cost"]', 9, "leaves out disagreement and escalation"),
        ("[alarms]", 10, None),
        ("[alarms]\nescalation_ratio = 1.5", 10, "until escalations are 1.5 times"),
        ('[alarms]\nmute = ["escalation"]', 10, "mutes escalations"),
        ("[alarms]\nlog = false", 10, "tells nobody"),
    ],
)
def test_what_is_watched_and_who_is_told_is_read_and_not_only_there(
    tmp_path: Path, settings: str, number: int, missing: str | None
) -> None:
    path = tmp_path / "project.toml"
    path.write_text(f"{POLICY}\n{settings}\n", encoding="utf-8")
    said = item(number, ground(tmp_path, load_policy(path))).missing
    about = [one for one in said if "profile to watch" not in one]
    assert bool(about) == (missing is not None), about
    assert missing is None or missing in about[0]


def test_a_policy_is_found_beside_the_audit_that_is_on_disk(tmp_path: Path) -> None:
    at = ground(tmp_path)
    assert load_audit(tmp_path / "audit.toml") == at.audit
    assert readiness(at).to_json()["closed"] == sum(each.closed for each in readiness(at).items)
