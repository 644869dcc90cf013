from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from consensus.benchmark.proposals.judges import CRITERIA, judging_row, namer_of
from consensus.benchmark.proposals.propose import propose
from consensus.benchmark.proposals.settings import ProposalSettings
from consensus.errors import DataError
from consensus.models.protocol import Request
from consensus.models.scripted import Reply, ScriptedClient
from consensus.panel.book import load_prompts
from consensus.policy.audit.model import Audit, AuditTask, Lengths
from consensus.policy.load import load_policy
from tests.benchmark.proposals.fixtures import run_on

LENGTHS = Lengths(p50=100, p95=200)
AUDIT = Audit(
    tasks={
        "refund": AuditTask(
            kind="approve",
            complexity="low",
            consequence="low",
            on_wrong="money is lost",
            structured=True,
            monthly_volume=1000,
            input_tokens=LENGTHS,
            output_tokens=LENGTHS,
        )
    }
)


def naming(answers: dict[str, str], seen: list[str]) -> ScriptedClient:
    def said(request: Request) -> Reply:
        seen.append("".join(part.text for turn in request.turns for part in turn.parts))
        return Reply(answer=answers[request.model])

    return ScriptedClient(said)


@pytest.mark.parametrize("by", ["consensus", "debate"])
def test_every_strategy_that_a_seat_voted_for_is_tried_and_only_those(
    tmp_path: Path, by: str
) -> None:
    run_on(tmp_path)
    seen: list[str] = []
    answers = {"scripted/cheap": "single cheap", "scripted/good": "single good"}
    namer = namer_of(by, AUDIT, clients={"scripted": naming(answers, seen)}, ledger=False)
    settings = ProposalSettings(today=date(2026, 11, 22), by=by, namer=namer)
    table = load_policy(tmp_path / "strategies")
    proposal = propose(tmp_path / "run", table, settings, book=load_prompts(None))
    named = {c.name for c in proposal.rows[0].candidates if c.source == by}
    assert named == {"single cheap", "single good"}
    assert proposal.rows[0].new["models"] == ["scripted/good"]
    assert proposal.rows[0].status == "certified"


def test_one_model_names_one_candidate_and_the_certificate_still_decides(tmp_path: Path) -> None:
    run_on(tmp_path)
    namer = namer_of(
        "single",
        AUDIT,
        clients={"scripted": naming({"scripted/best": "single cheap"}, [])},
        ledger=False,
    )
    settings = ProposalSettings(today=date(2026, 11, 22), by="single", namer=namer)
    table = load_policy(tmp_path / "strategies")
    row = propose(tmp_path / "run", table, settings, book=load_prompts(None)).rows[0]
    assert [c.name for c in row.candidates if c.source == "single"] == ["single cheap"]
    assert row.new.get("models") != ["scripted/cheap"]  # right on 70 %, and the floor is 90 %


def test_the_judges_see_the_audit_and_the_prices(tmp_path: Path) -> None:
    run_on(tmp_path)
    seen: list[str] = []
    client = naming({"scripted/best": "single good"}, seen)
    namer = namer_of("single", AUDIT, clients={"scripted": client}, ledger=False)
    settings = ProposalSettings(today=date(2026, 11, 22), by="single", namer=namer)
    propose(tmp_path / "run", load_policy(tmp_path / "strategies"), settings,
            book=load_prompts(None))  # fmt: skip
    assert "money is lost" in seen[0]
    assert "model good: $0.0" in seen[0]
    assert CRITERIA[:40] in seen[0]


def test_without_an_audit_there_is_nothing_to_judge() -> None:
    with pytest.raises(DataError, match="audit"):
        namer_of("consensus", None)


def test_another_word_is_refused() -> None:
    with pytest.raises(DataError, match="search, single, consensus, debate"):
        namer_of("guess", AUDIT)


def test_a_policys_own_row_for_judging_is_used(tmp_path: Path) -> None:
    run_on(tmp_path)
    file = tmp_path / "strategies" / "policy.toml"
    file.write_text(file.read_text() + '[tasks.strategy_proposal]\nkind = "choose"\nseats = 7\n')
    assert judging_row("consensus", load_policy(tmp_path / "strategies")).seats == 7
