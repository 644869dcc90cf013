from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from consensus.engine import Engine
from consensus.errors import PolicyError
from consensus.models.prices import PriceBook
from consensus.oracles import JsonSchema, PythonOracle, Rubric
from consensus.policy import check, load_policy, parse_policy, route_type
from consensus.policy.estimate import GRADE_TOKENS, PROMPT_TOKENS, TYPICAL_INPUT, estimate
from consensus.policy.oracles import gate_name, graders, oracle_of, prepare_oracles, scored_by
from consensus.policy.table import PolicyTable
from tests.policy.books import TIERS, Book, table_of, write

CODE = "def ok(answer, reference):\n    return True\n"

ALL = """
[oracles.shape]
kind = "json_schema"
schema = { type = "object" }
[oracles.code]
kind = "python"
file = "mine/checks.py"
function = "ok"
[oracles.same]
kind = "exact"
[oracles.marks]
kind = "rubric"
grader = "x/grader"
"""


def table(folder: Path, rows: str = "", *, code: str = CODE) -> PolicyTable:
    (folder / "mine").mkdir(exist_ok=True)
    (folder / "mine" / "checks.py").write_text(code, encoding="utf-8")
    return table_of(folder, TIERS + ALL + rows)


def errors(found: PolicyTable) -> list[tuple[str, str]]:
    findings = check(found, prices=Book(), today=date(2026, 11, 22))
    return [(f.code, f.message) for f in findings if f.level == "error"]


def test_an_oracle_is_made_as_a_suite_makes_it(tmp_path: Path) -> None:
    found = table(tmp_path)
    made = [type(oracle_of(found, name)) for name in ("shape", "code", "marks")]
    assert made == [JsonSchema, PythonOracle, Rubric]


def test_an_oracle_is_made_once_a_table(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("")
    body = f"p = __import__('pathlib').Path({str(log)!r})\np.write_text(p.read_text() + 'x')\n"
    found = table(tmp_path, code=body + CODE)
    assert oracle_of(found, "code") is oracle_of(found, "code")
    prepare_oracles(found)
    assert oracle_of(found, "code").judge("x").passed
    assert log.read_text() == "x"


def test_a_changed_file_is_read_again_by_the_next_table(tmp_path: Path) -> None:
    first = oracle_of(table(tmp_path), "code")
    second = oracle_of(table(tmp_path, code=CODE.replace("True", "False")), "code")
    assert (first.judge("x").passed, second.judge("x").passed) == (True, False)
    assert first.sha256 != second.sha256


def test_files_are_those_beside_the_file_that_declares_the_oracle(tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    other.mkdir()
    table(other)
    parsed, _ = parse_policy(write(other, TIERS + ALL))
    assert parsed is not None
    assert isinstance(oracle_of(parsed, "code"), PythonOracle)


def test_one_oracle_may_not_be_declared_twice(tmp_path: Path) -> None:
    write(tmp_path, TIERS + '[oracles.a]\nkind = "exact"\n', "a.toml")
    write(tmp_path, '[oracles.a]\nkind = "exact"\n', "b.toml")
    with pytest.raises(PolicyError, match=r"b.toml:1: oracles.a is given twice.*a.toml:7"):
        parse_policy(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('kind = "jsonschema"', r'oracles.o: is of no kind.*did you mean "json_schema"'),
        ('file = "x"', "oracles.o: has no kind"),
        ('kind = "rubric"\ngrador = "x/y"', "oracles.o.grad.r"),
        ('kind = "rubric"\ngrader = 3', "oracles.o.grader: must be a string"),
        ('kind = "python"\nfile = "none.py"\nfunction = "f"', "none.py: cannot be read"),
        ('kind = "python"\nfile = "../x.py"\nfunction = "f"', "lies outside its folder"),
        ('kind = "python"\nfile = "bad.py"\nfunction = "f"', r"bad.py:1: does not parse: Syntax"),
        ('kind = "python"\nfile = "good.py"\nfunction = "g"', r"good.py: has no function 'g'"),
        ('kind = "json_schema"\nschema = { type = 3 }', "no JSON Schema"),
        ('kind = "rubric"\ngrader = "x/y"\nfloor = 9.0', "from 1 to 5"),
    ],
)
def test_a_wrong_oracle_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "bad.py").write_text("def f(:\n")
    (tmp_path / "good.py").write_text("def f(a, r): ...\n")
    file = write(tmp_path, f"{TIERS}[oracles.o]\n{text}\n")
    with pytest.raises(PolicyError, match=rf"policy.toml:\d+: .*{said}"):
        load_policy(file, prices=Book())


def test_an_unknown_name_is_told_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match='did you mean "shape"'):
        oracle_of(table(tmp_path), "shap")


@pytest.mark.parametrize(
    ("row", "gate", "judge"),
    [
        ("", None, None),
        ('gate = "marks"', "marks", "marks"),
        ('oracle = "code"', "code", "code"),
        ('oracle = "marks"', None, "marks"),
        ('oracle = "same"', None, None),
        ('oracle = "same"\ngate = "shape"', "shape", "shape"),
        ('oracle = "marks"\ngate = "code"', "code", "marks"),
    ],
)
def test_which_oracle_gates_and_which_scores(
    tmp_path: Path, row: str, gate: str | None, judge: str | None
) -> None:
    found = table(tmp_path, f"[tasks.t]\n{row}\n")
    made = route_type(found, "t").row
    assert (gate_name(found, made), scored_by(found, made)) == (gate, judge)


def test_every_hop_carries_the_gate_and_the_quality_floor(tmp_path: Path) -> None:
    row = '[tasks.t]\ngate = "shape"\noracle = "marks"\nescalate_to = ["mid", "frontier"]\n'
    way = route_type(table(tmp_path, row + "triggers = { quality = 0.5 }\n"), "t")
    wanted = [("gate", "shape", None), ("quality", "marks", 0.5)]
    for hop in way.hops:
        assert [(c.purpose, c.oracle, c.floor) for c in hop.checks] == wanted
    assert graders(table(tmp_path), way) == ("x/grader",)


def test_failures_are_sent_on_by_every_hop_but_the_last(tmp_path: Path) -> None:
    row = '[tasks.t]\nescalate_to = ["mid"]\ntriggers = { on = ["schema"] }\n'
    hops = route_type(table(tmp_path, row), "t").hops
    assert [hop.spec.escalate_on for hop in hops] == [("schema",), ()]


def test_a_cascade_by_oracle_checks_its_steps_and_not_its_last(tmp_path: Path) -> None:
    row = '[tasks.t]\nstrategy = "cascade"\nescalate_to = ["frontier"]\noracle = "marks"\n'
    for more, floor in (("", None), (", thresholds = [0.7]", 0.7)):
        way = route_type(table(tmp_path, row + f'cascade = {{ accept = "oracle"{more} }}\n'), "t")
        assert [(c.purpose, c.floor) for c in way.hops[0].checks] == [("accept", floor)]
        assert way.hops[1].checks == ()
        assert way.hops[0].spec.accept is None


def test_a_cascade_by_an_oracle_that_needs_a_label_is_refused(tmp_path: Path) -> None:
    row = '[tasks.t]\nstrategy = "cascade"\nescalate_to = ["frontier"]\noracle = "same"\n'
    found = errors(table(tmp_path, row + 'cascade = { accept = "oracle" }\n'))
    assert [code for code, _ in found] == ["cascade"]


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ('gate = "same"', "gate"),
        ('consequence = "irreversible"\noracle = "same"', "no-gate"),
        ('consequence = "irreversible"\noracle = "marks"', "no-gate"),
        ("triggers = { quality = 0.5 }", "gate"),
        ('models = ["x/grader"]\ngate = "marks"', "gate"),
        ('gate = "marks"\nescalate_to = ["x/grader"]', "gate"),
        ('gate = "marks"\nfallback = ["x/grader-20260101"]', "gate"),
    ],
)
def test_what_could_not_act_is_an_error(tmp_path: Path, row: str, code: str) -> None:
    assert code in [each for each, _ in errors(table(tmp_path, f"[tasks.t]\n{row}\n"))]


@pytest.mark.parametrize(
    "row",
    [
        'consequence = "irreversible"\ngate = "marks"\nalpha = 0.1',
        'consequence = "irreversible"\noracle = "code"\nalpha = 0.1',
        'oracle = "same"',
        'oracle = "marks"\nmodels = ["x/grader"]',
    ],
)
def test_what_can_act_and_what_is_for_suites_only_is_no_error(tmp_path: Path, row: str) -> None:
    assert errors(table(tmp_path, f"[tasks.t]\n{row}\n")) == []


def test_a_grader_without_a_price_is_refused_where_a_row_asks_it(tmp_path: Path) -> None:
    asked = table(tmp_path, '[tasks.t]\ngate = "marks"\n')
    unasked = table(tmp_path, '[tasks.t]\noracle = "marks"\n')
    book: Any = Book(unpriced=("x/grader",))
    for found, wanted in ((asked, ["oracles.marks.grader"]), (unasked, [])):
        findings = check(found, prices=book, today=date(2026, 11, 22))
        assert [f.key for f in findings if f.code == "no-price"] == wanted


# -- latency ---------------------------------------------------------------------------------------


def latency(folder: Path, row: str) -> list[tuple[str, str]]:
    found = check(table_of(folder, f"{TIERS}[tasks.t]\n{row}\n"), prices=Book())
    return [(f.level, f.key) for f in found if f.code in ("latency", "cascade")]


CASCADE = 'strategy = "cascade"\nescalate_to = ["mid", "frontier"]\n'


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ("cascade = { p95_s = [1.0, 2.0, 3.0] }\nlatency_need = { p95_s = 6.0 }", []),
        (
            "cascade = { p95_s = [1.0, 2.0, 3.1] }\nlatency_need = { p95_s = 6.0 }",
            [("error", "tasks.t.latency_need")],
        ),
        (
            "latency_need = { p95_s = 6.0, interactive = true }",
            [("warning", "tasks.t.latency_need")],
        ),
        (
            "cascade = { p95_s = [1.0, 2.0, 3.1] }\ndeadline_s = 5.0",
            [("warning", "tasks.t.deadline_s")],
        ),
        ("cascade = { p95_s = [1.0, 2.0] }", [("error", "tasks.t.cascade.p95_s")]),
        (
            (
                "latency_need = { p95_s = 6.0 }\n"
                "profile = { n = 10, usd_per_decision = 0.1, latency_p95_s = 7.0 }"
            ),
            [("error", "tasks.t.latency_need")],
        ),
        (
            (
                "latency_need = { p95_s = 8.0 }\n"
                "profile = { n = 10, usd_per_decision = 0.1, latency_p95_s = 7.0 }"
            ),
            [],
        ),
    ],
)
def test_hops_in_turn_are_held_against_the_time_that_callers_have(
    tmp_path: Path, row: str, found: list[tuple[str, str]]
) -> None:
    assert latency(tmp_path, CASCADE + row) == found


def test_one_call_for_a_person_who_waits_is_no_warning(tmp_path: Path) -> None:
    assert latency(tmp_path, "latency_need = { p95_s = 6.0, interactive = true }") == []


def test_fast_asks_all_seats_at_once_whatever_waves_says(tmp_path: Path) -> None:
    row = '[tasks.t]\nstrategy = "vote"\nwaves = [3, 2]\nstop = {}\n'
    for more, waves in (("", (3, 2)), ('latency = "fast"\n', ())):
        spec = route_type(table_of(tmp_path, TIERS + row + more), "t").hops[0].spec
        assert spec.waves == waves
        assert spec.stop is not None


# -- what a grader costs ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "calls"),
    [
        ('gate = "marks"', 1),
        ('oracle = "marks"', 0),
        ('gate = "code"', 0),
        ('oracle = "marks"\nstrategy = "best_of_n"\nseats = 4', 4),
        ('oracle = "marks"\ngate = "marks"\nstrategy = "best_of_n"\nseats = 4', 4),
    ],
)
def test_a_graders_calls_are_in_the_estimate(tmp_path: Path, row: str, calls: int) -> None:
    models = [f"x/{name}" for name in ("s1", "s2", "s3", "m1", "m2", "f", "grader")]
    prices = "".join(f'[prices."{m}"]\ninput = 1\noutput = 1\n' for m in models)
    found = table(tmp_path, f"{prices}[tasks.t]\n{row}\n")
    book = PriceBook(overrides=found.price_overrides())
    (hop,) = estimate(found, route_type(found, "t"), book).hops
    assert hop.graders == ({"x/grader": calls} if calls else {})
    plain = sum(hop.seats.values()) * (TYPICAL_INPUT + PROMPT_TOKENS + 150)
    more = calls * (TYPICAL_INPUT + PROMPT_TOKENS + 150 + GRADE_TOKENS)
    assert hop.usd == pytest.approx((plain + more) / 1e6)


CODE_ORACLE = 'version = 1\n[oracles.o]\nkind = "python"\nfile = "code.py"\nfunction = "f"\n'


def test_reading_a_policy_runs_nothing_of_it_and_an_engine_does(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (tmp_path / "code.py").write_text(
        f"open({str(ran)!r}, 'w').close()\ndef f(answer, reference): return True\n"
    )
    (tmp_path / "policy.toml").write_text(CODE_ORACLE)
    load_policy(tmp_path / "policy.toml")
    assert not ran.exists()
    Engine(tmp_path / "policy.toml", ledger=False)
    assert ran.exists()


def test_code_that_does_not_import_is_refused_when_an_engine_is_made(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("import no_such_module\ndef f(answer, reference): ...\n")
    (tmp_path / "policy.toml").write_text(CODE_ORACLE)
    with pytest.raises(PolicyError) as caught:
        Engine(tmp_path / "policy.toml", ledger=False)
    assert str(caught.value.where).endswith("policy.toml:2")
    assert "code.py: does not import: ModuleNotFoundError" in caught.value.message
