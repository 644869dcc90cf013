"""Best of n: who judges what, by a pick and by scores; library, policy row, receipt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from consensus import Generate
from consensus.ballots import Ballot
from consensus.models.protocol import Request
from consensus.orchestrators.concluding import conclude
from consensus.orchestrators.spec import HopRecord, StrategySpec
from consensus.policy.check import check
from consensus.policy.load import load_policy
from tests.engine_fixtures import policy_file
from tests.orchestrators.test_live_strategies import decided

ROW = """
[tasks.t]
kind = "generate"
strategy = "best_of_n"
models = ["scripted/a", "scripted/b", "scripted/f"]
seats = 3
"""
SCORED = ROW + 'ballot = "scores"\n'
WRITE = Generate(type="t", messages=[{"role": "user", "content": "Write a line."}])


class Writers:
    """Models that write a line each, and judge the lines of others as they are told to."""

    def __init__(
        self,
        points: Mapping[str, Mapping[str, int]],
        lines: Mapping[str, str] | None = None,
        *,
        scoring: bool = True,
    ) -> None:
        self.points = points
        self.scoring = scoring
        self.lines = lines or {name: f"line by {name}" for name in "abf"}
        self.shown: list[tuple[str, list[str]]] = []

    def __call__(self, request: Request) -> Any:
        me = request.model[-1]
        text = "\n".join(turn.text for turn in request.turns)
        places = {
            line: text.rindex(line) for line in dict.fromkeys(self.lines.values()) if line in text
        }
        if not places:
            return self.lines[me]
        seen = sorted(places, key=lambda line: places[line])
        self.shown.append((me, seen))
        given = self.points[me]
        if not self.scoring:
            return str(1 + max(range(len(seen)), key=lambda n: given.get(seen[n][-1], 0)))
        return {
            "rationale": "r",
            "scores": {str(n): given[line[-1]] for n, line in enumerate(seen, 1)},
        }


SPLIT = {"a": {"b": 6, "f": 7}, "b": {"a": 3, "f": 2}, "f": {"a": 1, "b": 9}}


async def test_scores_decide_where_picks_are_split(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "s").mkdir()
    picked, _ = await decided(tmp_path / "p", ROW, Writers(SPLIT, scoring=False), WRITE)
    assert (picked.action, len(picked.tied)) == ("escalate", 3)
    row = SCORED + "min_agreement = 0.3\n"
    scored, _ = await decided(tmp_path / "s", row, Writers(SPLIT), WRITE)
    assert (scored.action, scored.outcome) == ("act", "line by b")
    assert any("judges' whole scores: candidate-1 leads by" in r for r in scored.reasons)
    assert scored.posterior["candidate-1"] == scored.probability == max(scored.posterior.values())


async def test_judges_scores_are_kept_by_candidate_and_never_of_their_own(tmp_path: Path) -> None:
    decision, _ = await decided(tmp_path, SCORED, Writers(SPLIT), WRITE)
    judges = [b for b in decision.ballots if b.role == "judge"]
    assert [b.scores for b in judges] == [
        {"candidate-1": 6, "candidate-2": 7},
        {"candidate-0": 3, "candidate-2": 2},
        {"candidate-0": 1, "candidate-1": 9},
    ]


@pytest.mark.parametrize("row", [ROW, SCORED])
async def test_a_judge_does_not_see_its_own_words_from_another_either(
    row: str, tmp_path: Path
) -> None:
    lines = {"a": "line by a", "b": "line by b", "f": "line by f", "g": "line by b"}
    models = '"scripted/a", "scripted/b", "scripted/f", "scripted/g"'
    row = row.replace('"scripted/a", "scripted/b", "scripted/f"', models).replace("3", "4")
    said = {name: {"a": 5, "b": 9, "f": 2} for name in "abfg"}
    writers = Writers(said, lines, scoring="ballot" in row)
    await decided(tmp_path, row, writers, WRITE, head=HEAD)
    assert {me: set(seen) for me, seen in writers.shown} == {
        "a": {"line by b", "line by f"},
        "b": {"line by a", "line by f"},
        "g": {"line by a", "line by f"},
        "f": {"line by a", "line by b"},
    }


HEAD = """version = 1
[prices."scripted/*"]
input = 1.0
output = 5.0
[tiers]
small = ["scripted/a", "scripted/b"]
frontier = ["scripted/f"]
[defaults]
tier = "small"
"""


async def test_judges_see_the_candidates_in_different_orders(tmp_path: Path) -> None:
    writers = Writers({name: {"a": 5, "b": 5, "f": 5} for name in "abf"})
    row = SCORED.replace("seats = 3", "seats = 6")
    await decided(tmp_path, row, writers, WRITE)
    orders = {me: {tuple(seen) for who, seen in writers.shown if who == me} for me in "abf"}
    assert all(len(found) == 2 for found in orders.values())


async def test_equal_scores_are_a_tie_and_go_to_a_person(tmp_path: Path) -> None:
    same = {name: {"a": 5, "b": 5, "f": 5} for name in "abf"}
    decision, _ = await decided(tmp_path, SCORED, Writers(same), WRITE)
    assert decision.action == "escalate"
    assert len(decision.tied) == 3


async def test_two_models_that_judge_one_another_compare_nothing(tmp_path: Path) -> None:
    names = ("alder one", "birch one", "alder two", "birch two")
    lines = iter(names)

    def answer(request: Request) -> Any:
        text = "\n".join(turn.text for turn in request.turns)
        seen = sorted((name for name in names if name in text), key=text.rfind)
        if not seen:
            return next(lines)
        points = {str(at): 9 if name.endswith("one") else 3 for at, name in enumerate(seen, 1)}
        return {"rationale": "r", "scores": points}

    row = SCORED.replace(', "scripted/f"', "").replace("seats = 3", "seats = 4")
    decision, _ = await decided(tmp_path, row, answer, WRITE)
    assert decision.action == "escalate"
    assert len(decision.tied) == 2
    assert any("2 groups of candidates that nobody compared" in r for r in decision.reasons)


async def test_a_row_may_count_the_first_places_of_scored_candidates(tmp_path: Path) -> None:
    said = {"a": {"b": 8, "f": 8}, "b": {"a": 3, "f": 2}, "f": {"a": 1, "b": 9}}
    row = SCORED + 'aggregator = "majority"\nmin_agreement = 0.3\n'
    decision, _ = await decided(tmp_path, row, Writers(said), WRITE)
    assert decision.outcome == "line by b"
    assert decision.posterior == pytest.approx(
        {"candidate-0": 1 / 3, "candidate-1": 0.5, "candidate-2": 1 / 6}
    )


def test_the_order_of_ballots_changes_nothing() -> None:
    spec = StrategySpec(
        name="b", orchestrator="best_of_n", aggregator="scores", models=("m/a", "m/b", "m/c"),
        seats=3, ballot="scores", min_agreement=0.3,
    )  # fmt: skip
    ballots = [
        *(Ballot(seat=i, model=f"m/{n}", framing="plain", answer=n, role="candidate")
          for i, n in enumerate("abc")),
        Ballot(seat=10, model="m/a", framing="plain", answer="c", role="judge",
               scores={"candidate-1": 6, "candidate-2": 7}),
        Ballot(seat=11, model="m/b", framing="plain", answer="a", role="judge",
               scores={"candidate-0": 3, "candidate-2": 2}),
        Ballot(seat=12, model="m/c", framing="plain", answer="b", role="judge",
               scores={"candidate-0": 1, "candidate-1": 9}),
    ]  # fmt: skip

    def concluded(order: list[Ballot]) -> Any:
        return conclude("generate", (), [HopRecord(name="b", spec=spec, ballots=tuple(order))])

    assert concluded(ballots) == concluded(ballots[::-1])
    assert concluded(ballots).outcome == "b"


@pytest.mark.parametrize("row", [ROW, SCORED])
def test_policy_check_finds_no_fault_in_either(row: str, tmp_path: Path) -> None:
    found = check(load_policy(policy_file(tmp_path, row), strict=False))
    assert [f.message for f in found if f.level == "error"] == []
