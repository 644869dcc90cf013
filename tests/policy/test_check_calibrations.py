"""Calibrations in a table: refused where they do not fit, warned of where they do not help."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from consensus.errors import PolicyError
from consensus.policy import Finding, check, load_policy
from tests.orchestrators.calibrations import calibration, judges
from tests.policy.books import Book, table_of, write

HEAD = """\
[tiers]
pair = ["scripted/a", "scripted/b"]
frontier = ["scripted/f"]
[tasks.t]
strategy = "vote"
tier = "pair"
seats = 2
"""


class Prompts:
    framings: ClassVar[dict[str, Any]] = {}
    sha256 = "a" * 64


def found(folder: Path, rows: str, prompts: Any = None) -> list[Finding]:
    findings = check(table_of(folder, HEAD + rows), prices=Book(), prompts=prompts)
    return [f for f in findings if f.code not in ("no-defaults", "even-seats")]


def test_a_fitting_calibration_has_no_fault(tmp_path: Path) -> None:
    calibration().save(tmp_path / "t.json")
    assert found(tmp_path, 'kind = "approve"\ncalibration = "t.json"\n') == []


@pytest.mark.parametrize(
    ("fields", "rows", "key", "line", "said"),
    [
        (None, 'calibration = "none.json"', "calibration", 8, "none.json: cannot be read"),
        (
            {},
            'calibration = "t.json"\naggregator = "mean"',
            "calibration",
            8,
            'calibrates "blocks"',
        ),
        (
            {},
            'kind = "score"\ncalibration = "t.json"',
            "calibration",
            9,
            "for tasks of kind approve",
        ),
        (
            {"kind": "choose", "options": ["x", "y"]},
            'kind = "choose"\noptions = ["x", "z"]\ncalibration = "t.json"',
            "calibration",
            10,
            "for the options x, y",
        ),
        ({}, "conformal = true\nalpha = 0.1", "conformal", 8, "there is none"),
        ({}, 'conformal = true\ncalibration = "t.json"', "conformal", 8, "needs the error"),
        (
            {},
            'conformal = true\nalpha = 0.001\ncalibration = "t.json"',
            "conformal",
            8,
            "α = 0.001 needs 999 calibration cases, and there are 100",
        ),
    ],
)
def test_what_cannot_hold_is_refused_with_its_line(
    fields: Any, rows: str, key: str, line: int, said: str, tmp_path: Path
) -> None:
    if fields is not None:
        calibration(**fields).save(tmp_path / "t.json")
    errors = [f for f in found(tmp_path, rows + "\n") if f.level == "error"]
    assert [(f.code, f.key, f.line) for f in errors] == [("calibration", f"tasks.t.{key}", line)]
    assert said in errors[0].message
    with pytest.raises(PolicyError, match=rf"policy\.toml:{line}"):
        load_policy(write(tmp_path, HEAD + rows + "\n"), prices=Book())


def test_of_a_calibration_for_another_kind_nothing_else_is_said(tmp_path: Path) -> None:
    calibration(seats=[3, 3]).save(tmp_path / "t.json")
    assert len(found(tmp_path, 'kind = "score"\ncalibration = "t.json"\n')) == 1


def test_a_scale_that_differs_is_refused(tmp_path: Path) -> None:
    judges().save(tmp_path / "t.json")
    rows = 'kind = "score"\nscale = [1, 5]\ncalibration = "t.json"\n'
    assert any("scores from 0 to 10" in f.message for f in found(tmp_path, rows))


def test_a_strangers_file_is_refused_and_not_quoted(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text('{"format": 1, "secret": "hunter2"}', encoding="utf-8")
    (fault,) = [f for f in found(tmp_path, 'calibration = "t.json"\n') if f.level == "error"]
    assert "is no calibration" in fault.message
    assert "hunter2" not in fault.message


@pytest.mark.parametrize(
    ("fields", "rows", "said"),
    [
        (None, 'aggregator = "blocks"', "without a calibration it is a cold start"),
        (None, 'aggregator = "weighted"', "softmax of stated confidences"),
        ({"task_type": "other"}, 'calibration = "t.json"', 'tasks of type "other"'),
        ({"prompts_sha256": "b" * 64}, 'calibration = "t.json"', "other prompts"),
        ({"seats": [2, 1]}, 'calibration = "t.json"', "scripted/a: 2, here 1"),
        (
            {},
            'calibration = "t.json"\nconformal = true\nalpha = 0.1\nescalate_to = ["frontier"]',
            "frontier asks scripted/f, which the calibration has not seen",
        ),
        ({}, 'calibration = "t.json"\nwaves = [1]', "all seats are asked at once"),
    ],
)
def test_what_does_not_help_is_warned_of(fields: Any, rows: str, said: str, tmp_path: Path) -> None:
    if fields is not None:
        calibration(**fields).save(tmp_path / "t.json")
    (warning,) = found(tmp_path, rows + "\n", Prompts())
    assert warning.level == "warning"
    assert said in warning.message


def test_seats_that_it_has_not_seen_are_named(tmp_path: Path) -> None:
    calibration().save(tmp_path / "t.json")
    rows = HEAD.replace('tier = "pair"', 'models = ["scripted/a", "scripted/new"]')
    table = table_of(tmp_path, rows + 'calibration = "t.json"\n')
    messages = [f.message for f in check(table, prices=Book())]
    assert any("has not seen scripted/new" in message for message in messages)


def test_the_path_is_relative_to_the_file_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "deep" / "strategies"
    folder.mkdir(parents=True)
    calibration().save(folder / "t.json")
    write(folder, HEAD + 'calibration = "t.json"\n')
    monkeypatch.chdir(tmp_path)
    assert load_policy("deep/strategies", prices=Book()).tasks["t"].calibration == "t.json"


def test_a_rules_own_aggregator_puts_the_rows_calibration_aside(tmp_path: Path) -> None:
    from consensus.policy.resolve import first_hop, resolve

    calibration().save(tmp_path / "t.json")
    rows = 'calibration = "t.json"\nwhen = [{ min_input_tokens = 5, aggregator = "majority" }]\n'
    table = table_of(tmp_path, HEAD + rows)
    plain, ruled = (first_hop(table, resolve(table, "t", when)).spec for when in (None, 0))
    assert (plain.aggregator, ruled.aggregator) == ("blocks", "majority")
    assert plain.calibration is not None
    assert ruled.calibration is None
