from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest

from consensus.errors import PolicyError
from consensus.policy import Finding, check, load_policy
from consensus.policy.check import LOAD_CODES
from tests.policy.books import CONTRACT, TIERS, Book, Window, table_of, write

VOTE = '[tasks.t]\nstrategy = "vote"\n'


@dataclass
class Framing:
    kinds: frozenset[str]


class Prompts:
    framings: Mapping[str, Framing] = {
        "plain": Framing(frozenset({"approve", "rank"})),
        "sceptic": Framing(frozenset({"approve"})),
    }


def found(folder: Path, text: str, book: Book | None = None) -> list[Finding]:
    return check(
        table_of(folder, text), prices=book or Book(), prompts=Prompts(), today=date(2026, 11, 22)
    )


def test_the_contract_has_no_fault(tmp_path: Path) -> None:
    assert found(tmp_path, CONTRACT) == []


@pytest.mark.parametrize(
    ("text", "level", "code", "key", "line", "said"),
    [
        # names
        ('tier = "smal"', "error", "unknown-name", "tier", 8, 'did you mean "small"?'),
        ('strategy = "vot"', "error", "unknown-name", "strategy", 8, 'did you mean "vote"?'),
        (
            'escalate_to = ["mid", "fronteir"]',
            "error",
            "unknown-name",
            "escalate_to.1",
            8,
            'did you mean "frontier"?',
        ),
        ('escalate_to = ["vote"]', "error", "unknown-name", "escalate_to.0", 8, "names no models"),
        ('fallback = ["mdi"]', "error", "unknown-name", "fallback.0", 8, 'did you mean "mid"?'),
        (
            'shadow = { share = 0.1, route = "frontire" }',
            "error",
            "unknown-name",
            "shadow.route",
            8,
            'did you mean "frontier"?',
        ),
        (
            'framings = ["plain", "sceptik"]',
            "error",
            "unknown-name",
            "framings.1",
            8,
            'did you mean "sceptic"?',
        ),
        # panels
        ('strategy = "vote"\nseats = 4', "warning", "even-seats", "seats", 9, "seats = 5"),
        (
            'strategy = "vote"\nseats = 5\nmin_agreement = 0.8',
            "warning",
            "agreement",
            "min_agreement",
            10,
            "a quorum of 3 can never act",
        ),
        (
            'strategy = "vote"\nmin_agreement = 0.4',
            "warning",
            "agreement",
            "min_agreement",
            9,
            "two outcomes at once",
        ),
        ('strategy = "vote"\nveto = 6', "error", "agreement", "veto", 9, "5 seats"),
        ('strategy = "single"\nseats = 3', "warning", "quorum", "seats", 9, "only one is asked"),
        # consequence
        (
            'consequence = "irreversible"',
            "error",
            "no-gate",
            "consequence",
            8,
            "needs a gate",
        ),
        (
            'consequence = "high"',
            "warning",
            "no-losses",
            "consequence",
            8,
            "neither losses, alpha nor escalate_to",
        ),
        # oracles
        ('gate = "my_oracle"', "error", "unknown-name", "gate", 8, "add [oracles.my_oracle]"),
        ('oracle = "my_oracle"', "error", "unknown-name", "oracle", 8, "is no oracle"),
        # kinds
        ('kind = "rank"\nscale = [1, 5]', "error", "kind", "scale", 9, "kind score"),
        ('kind = "rank"\noptions = ["a", "b"]', "error", "kind", "options", 9, "kind choose"),
        ('kind = "rank"\nlosses = {}', "warning", "kind", "losses", 9, "mean nothing"),
        ('kind = "rank"\nballot = "token"', "warning", "kind", "ballot", 9, "one token"),
        (
            'kind = "rank"\nframings = ["sceptic"]',
            "error",
            "unknown-name",
            "framings",
            9,
            "does not suit",
        ),
        # circles
        ('escalate_to = ["small"]', "error", "cycle", "escalate_to.0", 8, "its own tier"),
        (
            'models = ["x/a"]\nfallback = ["x/b", "x/a"]',
            "error",
            "cycle",
            "fallback",
            9,
            "falls back to itself",
        ),
    ],
)
def test_a_fault_is_found_with_its_line_and_fix(
    tmp_path: Path, text: str, level: str, code: str, key: str, line: int, said: str
) -> None:
    faults = found(tmp_path, f"{TIERS}[tasks.t]\n{text}\n")
    hits = [f for f in faults if f.code == code]
    assert [(f.level, f.key, f.line) for f in hits] == [(level, f"tasks.t.{key}", line)]
    assert hits[0].file == str(tmp_path / "policy.toml")
    assert said in f"{hits[0].message} {hits[0].fix}"


def test_a_shadow_needs_a_price_as_every_hop_does(tmp_path: Path) -> None:
    row = '[tasks.t]\nshadow = { share = 0.1, route = "x/dear" }\n'
    assert found(tmp_path, TIERS + row) == []
    (fault,) = found(tmp_path, TIERS + row, Book(unpriced=("x/dear",)))
    assert (fault.code, fault.key, fault.line) == ("no-price", "tasks.t.shadow.route", 8)


def test_a_tier_without_models_is_an_error(tmp_path: Path) -> None:
    (fault,) = found(tmp_path, '[tiers]\nsmall = []\n[defaults]\ntier = "small"\n')
    assert (fault.code, fault.key, fault.line) == ("no-models", "tiers.small", 2)


def test_a_row_without_models_is_an_error(tmp_path: Path) -> None:
    faults = found(tmp_path, '[tiers]\nsmall = ["x/a"]\n[tasks.t]\nseats = 3\n')
    assert [(f.level, f.code, f.line) for f in faults] == [
        ("warning", "no-defaults", None),
        ("error", "no-models", 3),
    ]


def test_a_strategy_may_not_have_the_name_of_a_built_in_one(tmp_path: Path) -> None:
    faults = found(tmp_path, TIERS + '[strategies.vote]\norchestrator = "vote"\n')
    assert [(f.code, f.line) for f in faults] == [("unknown-name", 7)]


def test_a_tier_and_a_strategy_may_not_share_a_name(tmp_path: Path) -> None:
    faults = found(tmp_path, TIERS + '[strategies.mid]\norchestrator = "vote"\n')
    assert [(f.code, f.key) for f in faults] == [("unknown-name", "tiers.mid")]


def test_a_circle_of_strategies_is_found(tmp_path: Path) -> None:
    text = (
        TIERS
        + '[strategies.a]\norchestrator = "single"\nescalate_to = ["b"]\n'
        + '[strategies.b]\norchestrator = "single"\nescalate_to = ["a"]\n'
        + '[tasks.t]\nstrategy = "a"\n'
    )
    faults = [f for f in found(tmp_path, text) if f.code == "cycle"]
    assert [f.key for f in faults] == ["strategies.a.escalate_to"]
    assert "a → b → a" in faults[0].message


def test_an_inherited_quorum_over_the_rows_seats_is_found(tmp_path: Path) -> None:
    faults = found(tmp_path, TIERS + "seats = 5\nquorum = 4\n" + VOTE + "seats = 3\n")
    assert [(f.level, f.code, f.key, f.line) for f in faults] == [
        ("error", "quorum", "defaults.quorum", 8)
    ]


def test_an_orchestrator_that_is_not_there_yet_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from consensus.orchestrators import registry

    monkeypatch.delitem(registry.ORCHESTRATORS, "vote")
    faults = found(tmp_path, TIERS + VOTE)
    assert [(f.code, f.key, f.line) for f in faults] == [("unknown-name", "tasks.t.strategy", 8)]


def test_a_rule_of_a_row_is_checked_too(tmp_path: Path) -> None:
    text = f"{TIERS}{VOTE}[[tasks.t.when]]\nstructured = true\nseats = 4\n"
    assert [(f.code, f.key, f.line) for f in found(tmp_path, text)] == [
        ("even-seats", "tasks.t.when.0.seats", 11)
    ]


def test_a_fallback_into_a_smaller_window_is_an_error(tmp_path: Path) -> None:
    book = Book(windows={"x/tiny": Window(max_input=8_000)})
    faults = found(tmp_path, TIERS + '[tasks.t]\nfallback = ["x/m1", "x/tiny"]\n', book)
    assert [(f.level, f.code, f.key, f.line) for f in faults] == [
        ("error", "window", "tasks.t.fallback", 8)
    ]
    assert "8,000" in faults[0].message


def test_an_answer_longer_than_the_model_writes_is_an_error(tmp_path: Path) -> None:
    faults = found(tmp_path, TIERS + "[tasks.t]\nmax_output_tokens = 9_000\n")
    assert [(f.level, f.code, f.line) for f in faults] == [("error", "window", 8)]


def test_a_model_whose_window_is_unknown_is_a_warning_at_its_own_line(tmp_path: Path) -> None:
    book = Book(windows={"x/s1": Window(known=False)})
    faults = found(tmp_path, TIERS, book)
    assert [(f.level, f.code, f.key, f.line) for f in faults] == [
        ("warning", "window-unknown", "tiers.small.0", 2)
    ]


@pytest.mark.parametrize(
    ("day", "level"),
    [
        (date(2026, 11, 22), "error"),
        (date(2026, 1, 1), "error"),
        (date(2027, 1, 1), "warning"),
    ],
)
def test_a_retired_model_is_found_and_one_that_retires_soon(
    tmp_path: Path, day: date, level: str
) -> None:
    faults = found(tmp_path, TIERS, Book(retires={"x/s1": day}))
    assert [(f.level, f.code, f.line) for f in faults] == [(level, "retired", 2)]


def test_a_model_that_retires_next_year_is_no_finding(tmp_path: Path) -> None:
    assert found(tmp_path, TIERS, Book(retires={"x/s1": date(2027, 11, 1)})) == []


def test_a_model_that_nothing_reaches_may_be_retired(tmp_path: Path) -> None:
    assert found(tmp_path, TIERS, Book(retires={"x/m1": date(2020, 1, 1)})) == []


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://example.test", "https://", "x"])
def test_a_base_url_that_is_no_address_is_an_error(tmp_path: Path, url: str) -> None:
    faults = found(tmp_path, f'{TIERS}[providers.openai]\nbase_url = "{url}"\n')
    assert [(f.code, f.line) for f in faults] == [("shape", 8)]


def test_the_scripted_provider_may_name_a_file(tmp_path: Path) -> None:
    assert found(tmp_path, f'{TIERS}[providers.scripted]\nbase_url = "rules.json"\n') == []


def test_findings_come_in_file_order_and_once(tmp_path: Path) -> None:
    text = TIERS + '[tasks.b]\ntier = "no"\n[tasks.a]\ntier = "nope"\n[tasks.c]\ntier = "nay"\n'
    faults = found(tmp_path, text)
    assert [f.line for f in faults] == [8, 10, 12]


@pytest.mark.parametrize(
    ("text", "loads"),
    [
        ('[tasks.t]\ntier = "no"\n', False),
        ('[tasks.t]\nconsequence = "irreversible"\n', False),
        ('[tasks.t]\nstrategy = "vote"\nseats = 4\n', True),
        ("[tasks.t]\nmax_output_tokens = 9_000\n", True),
        ('[tasks.t]\nconsequence = "high"\n', True),
    ],
)
def test_what_would_decide_wrongly_is_not_loaded_and_the_rest_is(
    tmp_path: Path, text: str, loads: bool
) -> None:
    file = write(tmp_path, TIERS + text)
    if loads:
        assert load_policy(file, prices=Book()).tasks
    else:
        with pytest.raises(PolicyError, match=r"policy\.toml:8"):
            load_policy(file, prices=Book())


def test_a_retirement_does_not_stop_a_running_service(tmp_path: Path) -> None:
    assert "retired" not in LOAD_CODES
    file = write(tmp_path, TIERS)
    assert load_policy(file, prices=Book(retires={"x/s1": date(2020, 1, 1)})).tiers


def test_a_finding_is_plain_data_for_json(tmp_path: Path) -> None:
    (fault,) = found(tmp_path, TIERS + VOTE + "seats = 4\n")
    assert fault.as_dict() == {
        "level": "warning",
        "code": "even-seats",
        "key": "tasks.t.seats",
        "message": "4 seats can split evenly, and a tie is no outcome",
        "fix": "seats = 5",
        "file": str(tmp_path / "policy.toml"),
        "line": 9,
    }


def test_a_table_made_in_python_has_findings_without_a_place() -> None:
    from consensus.policy import PolicyTable, TaskRow

    table = PolicyTable(tiers={"s": ("x/a",)}, tasks={"t": TaskRow(tier="z")})
    fault = next(f for f in check(table, prices=Book()) if f.code == "unknown-name")
    assert (fault.file, fault.line, fault.where) == (None, None, None)
    assert str(fault.as_error()).startswith("tasks.t.tier: ")
