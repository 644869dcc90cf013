from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from consensus.ballots import Cost
from consensus.cli import ledger as command
from consensus.cli.ledger import replay as replaying
from consensus.decisions import Frontier
from consensus.errors import LedgerError
from consensus.ledger import Ledger
from consensus.ledger.page import clean, safe_json
from consensus.tasks import Approve
from tests.ledger.records import call, conclude, receipt_of

PAINT = "\x1b[2J\x1b[31mAPPROVED\x1b[0m\r\x9b31m\u202e[bold red]x[/] :smile: \x07"
RECEIPT = "01HZ0000000000000000000001"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger with one decision: two ballots, a failed seat with two attempts, a frontier."""
    place = tmp_path / "own.db"
    records = [
        call(RECEIPT, seat=0),
        call(RECEIPT, seat=1),
        call(RECEIPT, seat=2, text=None),
        call(RECEIPT, seat=9, purpose="frontier", served_model="anthropic/claude-opus-5-5"),
    ]
    frontier = Frontier(
        model="anthropic/claude-opus-5-5",
        served_model="anthropic/claude-opus-5-5",
        outcome="reject",
        agrees=False,
        cost=Cost(pico_usd=123_456_789),
        latency_s=1.5,
    )
    task = Approve(type="refund_approval", id="t-1", subject=f"Unused.\n{PAINT}", criteria="Rule.")
    with Ledger(place) as book:
        for record in records:
            book.record_here(record)
        book.keep_here(
            receipt_of(records, receipt_id=RECEIPT, task=task, frontier=frontier, hops=2)
        )
    return place


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(command.app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout


def test_show_is_a_page_with_the_decision_its_ballots_calls_and_totals(path: Path) -> None:
    page = run("show", RECEIPT, "--ledger", path)
    for part in (
        "ACT  approve",
        RECEIPT,
        "refund_approval",
        "criteria: Rule.",
        "the row refund_approval",
        "openai/gpt-5.4-nano-2026-03-05",
        "failed: overloaded",
        "overloaded 529",
        "it was unused",
        "frontier anthropic/claude-opus-5-5",
        "reject (disagrees",
        "246,913,578 pico-dollars",
        "1,050 tokens in",
    ):
        assert part in page, part


def test_show_takes_the_beginning_of_an_id(path: Path) -> None:
    assert RECEIPT in run("show", RECEIPT[:10] + RECEIPT[10:20], "--ledger", path)


def test_show_never_lets_judged_text_paint_the_terminal(path: Path) -> None:
    page = run("show", RECEIPT, "--ledger", path)
    assert all(character.isprintable() or character == "\n" for character in page)
    assert "\\x1b[31mAPPROVED" in page
    assert "[bold red]x[/] :smile:" in page


def test_shown_json_holds_everything_and_no_control_characters(path: Path) -> None:
    text = run("show", RECEIPT, "--ledger", path, "--json")
    assert all(character.isprintable() or character == "\n" for character in text)
    data = json.loads(text)
    assert data["task"]["subject"].endswith(PAINT)
    assert data["decision"]["cost"]["pico_usd"] == 246_913_578
    assert len(data["calls"]) == 4
    assert data["calls"][0]["text"].startswith('{"answer"')


def test_an_unknown_receipt_is_one_clear_error(path: Path) -> None:
    with pytest.raises(LedgerError, match="no receipt '01HZNOTHERE'"):
        run("show", "01HZNOTHERE", "--ledger", path)


def test_without_a_ledger_there_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="there is no ledger here"):
        run("list", "--ledger", tmp_path / "nothing.db")
    assert not (tmp_path / "nothing.db").exists()


def test_replay_says_that_the_bytes_are_the_same(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "_conclude", conclude)
    assert "the same decision, byte for byte" in run("replay", RECEIPT, "--ledger", path)
    data = json.loads(run("replay", RECEIPT, "--ledger", path, "--json"))
    assert data["identical"] is True
    assert data["decision"]["outcome"] == "approve"


def test_replay_names_what_differs_and_fails(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        replaying,
        "_conclude",
        lambda receipt: conclude(receipt).model_copy(update={"agreement": 0.125}),
    )
    text = run("replay", RECEIPT, "--ledger", path, code=1)
    assert "another decision" in text
    assert "  agreement" in text
    data = json.loads(run("replay", RECEIPT, "--ledger", path, "--json", code=1))
    assert (data["identical"], data["differences"]) == (False, ["agreement"])


def test_list_shows_no_judged_text(path: Path) -> None:
    text = run("list", "--ledger", path)
    assert RECEIPT in text
    assert "refund_approval" in text
    assert "Unused" not in text
    assert "Unused" not in run("list", "--ledger", path, "--json")


def test_list_filters(path: Path) -> None:
    def listed(*arguments: str) -> int:
        return len(json.loads(run("list", "--ledger", path, "--json", *arguments)))

    assert listed() == 1
    assert listed("--type", "refund_approval", "--action", "act", "--since", "1h") == 1
    assert listed("--type", "other") == 0
    assert listed("--action", "escalate") == 0
    assert listed("--since", "2999-01-01") == 0


@pytest.mark.parametrize(
    "arguments", [("--action", "maybe"), ("--since", "soon"), ("--limit", "0")]
)
def test_a_wrong_option_is_a_usage_error(path: Path, arguments: tuple[str, str]) -> None:
    run("list", "--ledger", path, *arguments, code=2)


def test_stats_sum_up_by_type_and_served_model(path: Path) -> None:
    (one,) = json.loads(run("stats", "--ledger", path, "--json"))
    assert one["task_type"] == "refund_approval"
    assert (one["decisions"], one["acted"], one["escalations"]) == (1, 1, 1)
    assert one["cost"]["usd"] == pytest.approx(246_913_578e-12, abs=1e-18)
    nano = next(m for m in one["models"] if m["served_model"].endswith("2026-03-05"))
    assert (nano["calls"], nano["usage"]["input"], nano["usage"]["cache_read"]) == (2, 1000, 40)
    text = run("stats", "--ledger", path)
    assert "openai/gpt-5.4-nano-2026-03-05" in text
    assert "1 asked a stronger route" in text


def test_verify_says_that_it_is_sound(path: Path) -> None:
    assert "sound; 1 decisions, 4 calls, 0 unfinished" in run("verify", "--ledger", path)
    assert json.loads(run("verify", "--ledger", path, "--json"))["ok"] is True


def test_verify_names_what_does_not_add_up_and_fails(path: Path) -> None:
    with Ledger(path) as book:
        book.record_here(call(RECEIPT, seat=3, cost_pico=1))
    text = run("verify", "--ledger", path, code=1)
    assert "the decision cost 246913578 pico-dollars, its calls 246913579" in text
    assert "NOT sound" in text


def test_path_prefers_the_option_then_the_variable_then_the_policy_then_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    policy = tmp_path / "strategies"
    policy.mkdir()
    (policy / "broken.toml").write_text("this is [not TOML")
    (policy / "policy.toml").write_text('version = 1\n[ledger]\npath = "from-policy.db"\n')
    monkeypatch.setenv("CONSENSUS_LEDGER", "from-variable.db")
    assert run("path", "--ledger", "from-option.db") == f"{tmp_path}/from-option.db\n"
    assert run("path") == f"{tmp_path}/from-variable.db\n"
    monkeypatch.delenv("CONSENSUS_LEDGER")
    assert run("path") == f"{tmp_path}/from-policy.db\n"
    assert run("path", "--policy", policy / "policy.toml") == f"{tmp_path}/from-policy.db\n"
    (policy / "policy.toml").unlink()
    assert run("path") == f"{tmp_path}/.consensus/ledger.db\n"
    assert json.loads(run("path", "--json"))["exists"] is False


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ünïcode 漢字", "plain ünïcode 漢字"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\tb\nc", "a b c"),
        ("\u202eevil", "\\u202eevil"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_is_not_a_visible_character_is_written_as_an_escape(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_safe_json_reads_back_as_the_same_data() -> None:
    data = {"a": "".join(map(chr, range(0x3000))) + "\ud800\u2028\ufeff漢"}
    text = safe_json(data)
    assert json.loads(text) == data
    assert "漢" in text
    assert "\x9b" not in text


def test_a_long_task_is_shown_whole(path: Path) -> None:
    task = Approve(type="refund_approval", subject="line\n" * 2_000)
    with Ledger(path) as book:
        book.keep_here(receipt_of([call("long-one")], receipt_id="long-one", task=task))
    assert run("show", "long-one", "--ledger", path).count("line\n") >= 2_000
