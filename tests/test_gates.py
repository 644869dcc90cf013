"""Gates, triggers and an oracle's acceptance over the whole path, on scripted models."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consensus import Approve, Choose, Generate
from consensus.assembly import conclude_receipt
from consensus.errors import PolicyError
from consensus.ledger.receipts import Receipt, replay
from consensus.ledger.verify import verify
from consensus.models.protocol import Request
from consensus.models.scripted import Reply
from tests.engine_fixtures import engine_of

TASK = Approve(type="t", subject="Refund of 40 EUR.", criteria="At most 50 EUR.")

GATE = """
[oracles.limit]
kind = "python"
file = "gate.py"
function = "limit"
"""

ROW = """
[tasks.t]
strategy = "single"
tier = "small"
gate = "limit"
escalate_to = ["frontier"]
"""

GRADED = """
[oracles.quality]
kind = "rubric"
grader = "scripted/grader"
floor = 4.0
"""


def gate_file(folder: Path, body: str, *, parameters: str = "answer, reference, task") -> None:
    (folder / "gate.py").write_text(f"def limit({parameters}):\n    {body}\n", encoding="utf-8")


def by_model(**said: Any) -> Any:
    """Answers by model name; a grader's by its marks."""

    def answer(request: Request) -> Any:
        found = said[request.model.removeprefix("scripted/")]
        return found(request) if callable(found) else found

    return answer


def marks(value: int) -> Reply:
    text = f'{{"reason": "r", "correctness": {value}, "completeness": {value}, "format": {value}}}'
    return Reply(text=text)


async def decided(
    folder: Path, rows: str, behaviour: Any, task: Any = TASK
) -> tuple[Any, Any, Receipt]:
    """A decision with its client and receipt; the receipt replays, and its calls add up."""
    engine, client = engine_of(folder, rows, behaviour)
    async with engine:
        decision = await engine.decide(task)
        assert engine.ledger is not None
        receipt = engine.ledger.receipt(str(decision.receipt_id))
        assert replay(receipt, conclude_receipt).differences == ()
        assert verify(engine.ledger).problems == ()
    return decision, client, receipt


# -- the gate --------------------------------------------------------------------------------------


async def test_an_outcome_that_the_gate_passes_acts(tmp_path: Path) -> None:
    gate_file(tmp_path, 'return "40 EUR" in task["subject"] and answer == "approve"')
    decision, client, receipt = await decided(tmp_path, GATE + ROW, by_model(a="approve"))
    assert (decision.action, decision.outcome, client.calls) == ("act", "approve", 1)
    assert "single: oracle limit accepts it, score 1.000" in decision.reasons
    assert [j.passed for j in receipt.hops[0].judgements] == [True]


async def test_an_outcome_that_the_gate_refuses_is_sent_on_and_another_acts(
    tmp_path: Path,
) -> None:
    gate_file(tmp_path, 'return answer == "reject"')
    said = by_model(a="approve", f="reject")
    rows = GATE + ROW + "cold_start = { accuracy = 0.6, stronger_accuracy = 0.99 }\n"
    decision, _, _ = await decided(tmp_path, rows, said)
    assert (decision.action, decision.outcome) == ("act", "reject")
    assert decision.route == ("single", "frontier")
    assert "single: oracle limit does not accept it, score 0.000" in decision.reasons


async def test_after_the_last_hop_a_refused_outcome_goes_to_a_person(tmp_path: Path) -> None:
    gate_file(tmp_path, "return False")
    decision, client, _ = await decided(tmp_path, GATE + ROW, by_model(a="approve", f="approve"))
    assert (decision.action, decision.outcome) == ("escalate", None)
    assert decision.route == ("single", "frontier")
    assert decision.reasons[-1] == "the gate (limit) is not passed"
    assert client.calls == 2


@pytest.mark.parametrize(
    "body",
    ["raise ValueError('x')", "return None", "return 7", "return 'yes'", "return float('nan')"],
)
async def test_a_gate_without_a_verdict_is_not_passed(tmp_path: Path, body: str) -> None:
    gate_file(tmp_path, body)
    decision, _, _ = await decided(tmp_path, GATE + ROW, by_model(a="approve", f="approve"))
    assert decision.action == "escalate"
    assert "the gate (limit) has no verdict, and without one nothing acts" in decision.reasons


async def test_a_gate_that_does_not_end_is_left_at_the_deadline(tmp_path: Path) -> None:
    gate_file(tmp_path, "import time; time.sleep(1.5); return True")
    rows = GATE + ROW + "deadline_s = 0.4\n"
    decision, _, _ = await decided(tmp_path, rows, by_model(a="approve", f="approve"))
    assert decision.action == "escalate"
    assert decision.partial


async def test_a_waiting_gate_does_not_hold_up_other_decisions(tmp_path: Path) -> None:
    gate_file(tmp_path, "import time; time.sleep(0.3); return True")
    engine, _ = engine_of(tmp_path, GATE + ROW, by_model(a="approve"), ledger=False)
    async with engine:
        await engine.decide(TASK)
        started = asyncio.get_running_loop().time()
        decisions = await asyncio.gather(*(engine.decide(TASK) for _ in range(4)))
        assert asyncio.get_running_loop().time() - started < 1.0
    assert {decision.action for decision in decisions} == {"act"}


async def test_an_oracle_of_code_is_the_gate_of_a_row_that_names_no_other(tmp_path: Path) -> None:
    gate_file(tmp_path, "return False")
    row = ROW.replace("gate =", "oracle =")
    decision, _, _ = await decided(tmp_path, GATE + row, by_model(a="approve", f="approve"))
    assert decision.action == "escalate"


async def test_a_schema_is_a_gate_of_generated_text(tmp_path: Path) -> None:
    rows = """
[oracles.shape]
kind = "json_schema"
schema = { type = "object", required = ["total"] }
[tasks.t]
gate = "shape"
escalate_to = ["frontier"]
"""
    task = Generate(type="t", messages=[{"role": "user", "content": "Total as JSON"}])
    said = by_model(a=Reply(text='{"sum": 3}'), f=Reply(text='{"total": 3}'))
    decision, _, receipt = await decided(tmp_path, rows, said, task)
    assert (decision.action, decision.route) == ("act", ("single", "frontier"))
    assert [j.passed for hop in receipt.hops for j in hop.judgements] == [False, True]


async def test_what_was_judged_once_is_not_asked_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("")
    body = f"p = __import__('pathlib').Path({str(log)!r}); p.write_text(p.read_text() + 'x')"
    gate_file(tmp_path, body + "; return False")
    await decided(tmp_path, GATE + ROW, by_model(a="approve", f="approve"))
    assert log.read_text() == "x"


# -- a grader as the gate --------------------------------------------------------------------------

PRICED = '[prices."scripted/grader"]\ninput = 1\noutput = 1\n'

RUBRIC_ROW = ROW.replace('gate = "limit"', 'gate = "quality"')


async def test_a_grader_is_asked_through_the_gateway_and_paid_for(tmp_path: Path) -> None:
    said = by_model(a="approve", grader=marks(5))
    decision, client, receipt = await decided(tmp_path, PRICED + GRADED + RUBRIC_ROW, said)
    assert (decision.action, client.calls) == ("act", 2)
    judgement = receipt.hops[0].judgements[0]
    assert (judgement.passed, judgement.grader) == (True, "scripted/grader")
    assert judgement.cost.pico_usd > 0
    assert decision.cost.pico_usd == decision.ballots[0].cost.pico_usd + judgement.cost.pico_usd


async def test_no_grader_is_paid_for_what_code_refuses(tmp_path: Path) -> None:
    gate_file(tmp_path, "return False")
    row = ROW.replace("gate =", 'oracle = "quality"\ntriggers = { quality = 0.5 }\ngate =')
    said = by_model(a="approve", f="approve", grader=marks(5))
    decision, client, _ = await decided(tmp_path, GATE + GRADED + row, said)
    assert (decision.action, client.calls) == ("escalate", 2)
    assert decision.reasons[-1] == "the gate (limit) is not passed"
    assert not any("quality" in reason for reason in decision.reasons)


@pytest.mark.parametrize(
    "grader", [marks(2), Reply(text="fine, I think"), Reply(failure="auth"), Reply(text="{}")]
)
async def test_low_marks_no_marks_and_no_grader_all_stop(tmp_path: Path, grader: Reply) -> None:
    said = by_model(a="approve", f="approve", grader=grader)
    decision, _, _ = await decided(tmp_path, GRADED + RUBRIC_ROW, said)
    assert decision.action == "escalate"


async def test_a_grader_that_the_budget_cannot_pay_is_no_pass_and_the_decision_partial(
    tmp_path: Path,
) -> None:
    row = RUBRIC_ROW.replace('escalate_to = ["frontier"]', "max_usd = 0.0000009")
    said = by_model(a="approve", grader=marks(5))
    decision, client, receipt = await decided(tmp_path, PRICED + GRADED + row, said)
    assert (decision.action, decision.partial, client.calls) == ("escalate", True, 1)
    assert receipt.hops[0].judgements[0].failure == "budget"


async def test_a_grader_served_as_the_model_that_answered_gives_no_verdict(tmp_path: Path) -> None:
    said = by_model(
        a=Reply(answer="approve", served_model="scripted/grader"),
        f=Reply(answer="approve", served_model="scripted/grader"),
        grader=marks(5),
    )
    decision, client, _ = await decided(tmp_path, GRADED + RUBRIC_ROW, said)
    assert (decision.action, client.calls) == ("escalate", 2)


def test_a_grader_on_its_own_panel_is_refused_when_the_policy_loads(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"policy.toml:\d+.*nobody grades its own work"):
        engine_of(tmp_path, GRADED.replace('grader"', 'f"') + RUBRIC_ROW)


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ('[tasks.t]\nconsequence = "irreversible"\n', "needs a gate"),
        ('[tasks.t]\ngate = "limit"\n', "is no oracle"),
        ('[oracles.x]\nkind = "exact"\n[tasks.t]\ngate = "x"\n', "compares with a label"),
        (
            '[oracles.x]\nkind = "exact"\n[tasks.t]\noracle = "x"\nconsequence = "irreversible"\n',
            "needs a gate",
        ),
        (GRADED + '[tasks.t]\noracle = "quality"\nconsequence = "irreversible"\n', "needs a gate"),
        (GATE, r"gate\.py.*cannot be read"),
        ('[oracles.x]\nkind = "python"\nfile = "../x.py"\nfunction = "f"\n', "outside"),
        ("[tasks.t.triggers]\nquality = 0.5\n", "no oracle that can give one"),
    ],
)
def test_a_gate_that_could_not_act_is_refused_with_its_line(
    tmp_path: Path, rows: str, said: str
) -> None:
    with pytest.raises(PolicyError, match=rf"policy.toml:\d+.*{said}"):
        engine_of(tmp_path, rows)


async def test_an_irreversible_row_with_a_gate_that_can_act_is_taken(tmp_path: Path) -> None:
    gate_file(tmp_path, "return True")
    rows = GATE + ROW + 'consequence = "irreversible"\n'
    decision, _, _ = await decided(tmp_path, rows, by_model(a="approve"))
    assert decision.action == "act"


# -- an oracle's acceptance, and its score ---------------------------------------------------------

SCORED = GATE + "graded = true\nfloor = 0.9\n"


async def test_a_cascade_stops_where_the_oracle_accepts(tmp_path: Path) -> None:
    gate_file(tmp_path, 'return 1.0 if answer == "reject" else 0.2')
    row = ROW.replace("single", "cascade").replace("gate =", "oracle =")
    row += 'cascade = { accept = "oracle" }\ncold_start = { stronger_accuracy = 0.99 }\n'
    first, _, _ = await decided(tmp_path, SCORED + row, by_model(a="reject"))
    assert (first.outcome, first.route) == ("reject", ("cascade",))


async def test_a_cascade_goes_on_where_the_oracles_score_is_below_the_step(tmp_path: Path) -> None:
    code = "def limit(answer, reference):\n    return 0.5\n\ndef yes(*given):\n    return True\n"
    (tmp_path / "gate.py").write_text(code)
    row = """
[oracles.yes]
kind = "python"
file = "gate.py"
function = "yes"
[tasks.t]
strategy = "cascade"
tier = "small"
escalate_to = ["frontier"]
oracle = "limit"
gate = "yes"
cascade = { accept = "oracle", thresholds = [0.8] }
"""
    decision, _, _ = await decided(tmp_path, SCORED + row, by_model(a="reject", f="reject"))
    assert (decision.outcome, decision.route) == ("reject", ("cascade", "frontier"))


async def test_a_score_below_the_quality_floor_sends_the_task_on(tmp_path: Path) -> None:
    gate_file(tmp_path, "return 0.5", parameters="answer, reference")
    row = ROW.replace("gate =", "oracle =") + "triggers = { quality = 0.6 }\n"
    rows = SCORED.replace("floor = 0.9", "floor = 0.4") + row
    decision, _, _ = await decided(tmp_path, rows, by_model(a="approve", f="approve"))
    assert (decision.action, decision.route) == ("escalate", ("single", "frontier"))
    said = "trigger: the quality (limit) scores 0.500, below its floor 0.600"
    assert said in decision.reasons


BEST = """
[tasks.t]
strategy = "best_of_n"
tier = "small"
seats = 3
oracle = "limit"
"""
POEM = Generate(type="t", messages=[{"role": "user", "content": "A line"}])


def lines(*texts: str) -> Any:
    left = list(texts)
    return lambda request: Reply(text=left.pop(0))


async def test_best_of_n_takes_the_candidate_with_the_oracles_highest_score(tmp_path: Path) -> None:
    gate_file(tmp_path, "return min(1.0, len(answer) / 20)", parameters="answer, reference")
    rows = SCORED.replace("floor = 0.9", "floor = 0.2") + BEST
    said = lines("a short one", "a rather longer one", "no")
    decision, client, receipt = await decided(tmp_path, rows, said, POEM)
    assert (decision.action, decision.outcome) == ("act", "a rather longer one")
    assert client.calls == 3
    assert Counter(j.of for j in receipt.hops[0].judgements) == {"candidate": 3, "outcome": 1}
    assert [f.seat for f in decision.failures] == [2]


async def test_best_of_n_by_a_grader_pays_for_every_candidate(tmp_path: Path) -> None:
    def grade(request: Request) -> Reply:
        return marks(5 if "good" in request.turns[0].text else 3)

    texts = iter(["bad line", "good line", "bad line"])

    def said(request: Request) -> Reply:
        return grade(request) if request.model.endswith("grader") else Reply(text=next(texts))

    rows = GRADED + BEST.replace("limit", "quality")
    decision, client, receipt = await decided(tmp_path, PRICED + rows, said, POEM)
    assert (decision.outcome, client.calls) == ("good line", 5)
    graded = [j for j in receipt.hops[0].judgements if j.of == "candidate"]
    assert sum(j.cost.pico_usd for j in graded) > 0


# -- triggers --------------------------------------------------------------------------------------

PANEL = """
[tasks.t]
kind = "choose"
strategy = "vote"
tier = "small"
seats = 3
escalate_to = ["frontier"]
"""
CHOOSE = Choose(type="t", subject="s", options=["red", "green"])


async def test_a_label_outside_the_set_sends_a_single_call_on_and_is_said(tmp_path: Path) -> None:
    rows = '[tasks.t]\nescalate_to = ["frontier"]\n'
    said = by_model(a=Reply(text='{"answer": "blue"}'), f="green")
    decision, _, _ = await decided(tmp_path, rows, said, CHOOSE)
    assert (decision.outcome, decision.route) == ("green", ("single", "frontier"))
    found = [reason for reason in decision.reasons if reason.startswith("trigger: single gave")]
    assert len(found) == 1


async def test_one_seats_answer_outside_the_set_sends_a_panel_on_where_the_row_says_so(
    tmp_path: Path,
) -> None:
    outside = Reply(text='{"answer": "blue"}')
    said = by_model(a="green", b=outside, f="green")
    without, _, _ = await decided(tmp_path, PANEL, said, CHOOSE)
    assert without.route == ("vote",)
    on = PANEL + 'triggers = { on = ["off_list", "schema", "unreadable"] }\n'
    decision, _, _ = await decided(tmp_path, on, said, CHOOSE)
    assert (decision.outcome, decision.route) == ("green", ("vote", "frontier"))
    assert any(reason.startswith("trigger: vote gave") for reason in decision.reasons)


async def test_a_hop_that_fails_too_often_is_passed_over_until_it_recovers(tmp_path: Path) -> None:
    ill = True

    def said(request: Request) -> Any:
        if request.model == "scripted/f":
            return "green"
        return Reply(text="no JSON") if ill else "green"

    rows = '[tasks.t]\nescalate_to = ["frontier"]\ntriggers = { window = 20 }\n'
    engine, client = engine_of(tmp_path, rows, said)
    async with engine:
        for _ in range(20):
            assert (await engine.decide(CHOOSE)).route == ("single", "frontier")
        client.requests.clear()
        decision = await engine.decide(CHOOSE)
        assert decision.route == ("frontier",)
        assert any("20 of its last 20 answers could not be used" in r for r in decision.reasons)
        assert engine.ledger is not None
        receipt = engine.ledger.receipt(str(decision.receipt_id))
        assert replay(receipt, conclude_receipt).differences == ()
        assert {request.model for request in client.requests} == {"scripted/f"}
        ill = False
        routes = [(await engine.decide(CHOOSE)).route for _ in range(220)]
    assert routes.count(("single",)) > 20
    assert routes[-1] == ("single",)


async def test_a_row_without_triggers_watches_nothing(tmp_path: Path) -> None:
    rows = '[tasks.t]\nescalate_to = ["frontier"]\n'
    said = by_model(a=Reply(text="no JSON"), f="green")
    engine, _ = engine_of(tmp_path, rows, said, ledger=False)
    async with engine:
        routes = {(await engine.decide(CHOOSE)).route for _ in range(25)}
    assert routes == {("single", "frontier")}


# -- whatever happens ------------------------------------------------------------------------------

VERDICTS = st.sampled_from(["True", "False", "None", "1", "0", "0.5", "1 / 0", "'yes'"])


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    votes=st.lists(st.sampled_from(["approve", "reject", "none"]), min_size=3, max_size=3),
    frontier=st.sampled_from(["approve", "reject", "none"]),
    verdict=VERDICTS,
)
async def test_nothing_acts_that_the_gate_did_not_pass(
    tmp_path_factory: pytest.TempPathFactory, votes: list[str], frontier: str, verdict: str
) -> None:
    folder = tmp_path_factory.mktemp("gate")
    gate_file(folder, f"return {verdict}")
    rows = GATE + ROW.replace("single", "vote") + "seats = 3\nquorum = 2\n"
    left = list(votes)

    def said(request: Request) -> Any:
        word = frontier if request.model == "scripted/f" else left.pop(0) if left else "approve"
        return Reply(failure="auth") if word == "none" else word

    engine, _ = engine_of(folder, rows, said)
    async with engine:
        decision = await engine.decide(TASK)
        assert engine.ledger is not None
        receipt = engine.ledger.receipt(str(decision.receipt_id))
    assert replay(receipt, conclude_receipt).differences == ()
    if verdict not in ("True", "1"):
        assert decision.action != "act"
    if decision.action == "act":
        last = receipt.hops[-1].judgements
        assert last
        assert all(judgement.passed for judgement in last)
