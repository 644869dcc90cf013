from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from consensus.errors import PolicyError
from consensus.models.factory import ProviderSettings
from consensus.policy import PolicyTable, load_policy
from consensus.policy.rows import CONDITIONS, DefaultsRow, TaskRow, When
from consensus.policy.settings import Price
from tests.policy.books import CONTRACT, Book, table_of, write

SECRET = "sk-ant-api03-planted-0123456789abcdef"


def test_the_contract_loads_as_written(tmp_path: Path) -> None:
    table = load_policy(write(tmp_path, CONTRACT), prices=Book())
    row = table.tasks["refund_approval"]
    assert (row.kind, row.consequence, row.strategy, row.tier) == (
        "approve",
        "high",
        "vote",
        "small",
    )
    assert (row.seats, row.quorum, row.max_usd, row.deadline_s) == (5, 4, 0.05, 20)
    assert row.losses is not None
    assert (row.losses.false_approve, row.losses.false_reject) == (20, 1)
    assert row.escalate_to == ("frontier",)
    assert table.providers["openai"].base_url == "http://127.0.0.1:8080/v1"
    assert table.price_overrides() == {"openai/in-house": {"input": 0.10, "output": 0.40}}


def test_the_contract_loads_with_the_real_price_map(tmp_path: Path) -> None:
    assert load_policy(write(tmp_path, CONTRACT)).tasks["refund_approval"].seats == 5


def test_provider_settings_become_the_clients_settings(tmp_path: Path) -> None:
    settings = table_of(tmp_path, CONTRACT).provider_settings()["openai"]
    assert (settings.requests_per_minute, settings.concurrency) == (600, 100)
    assert settings.cooldown_s == ProviderSettings().cooldown_s


@pytest.mark.parametrize(
    "line",
    [
        f'api_key = "{SECRET}"',
        f'key = "{SECRET}"',
        f'api_key_env = "{SECRET}"',
        f'base_url = "https://user:{SECRET}@example.test/v1"',
        f'base_url = "https://example.test/v1?key={SECRET}"',
        f'auth_token = "{SECRET}"',
    ],
)
def test_a_key_in_the_file_is_refused_and_never_printed(tmp_path: Path, line: str) -> None:
    file = write(tmp_path, f"[providers.anthropic]\n{line}\n")
    with pytest.raises(PolicyError) as caught:
        load_policy(file)
    assert caught.value.where == f"{file}:2"
    assert "api_key_env" in str(caught.value)
    assert SECRET not in f"{caught.value}{caught.value!r}{caught.value.__cause__!r}"
    assert SECRET not in repr(caught.value.__context__)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('seats = "5"', "seats"),
        ("seats = 5.0", "seats"),
        ("seats = true", "seats"),
        ("seats = 0", "seats"),
        ("max_usd = 0", "max_usd"),
        ("max_usd = inf", "max_usd"),
        ("deadline_s = nan", "deadline_s"),
        ("alpha = 1", "alpha"),
        ("context_guard = 1.1", "context_guard"),
        ("floor = 1.01", "floor"),
        ("losses = { false_approve = 0 }", "losses.false_approve"),
        ('losses = { false_approve = "20" }', "losses.false_approve"),
        ('kind = "aprove"', "kind"),
        ('consequence = "severe"', "consequence"),
        ('options = ["one"]', "options"),
        ('options = ["a", " A "]', "options"),
        ("scale = [5, 1]", "scale"),
        ("scale = [1, 2, 3]", "scale"),
        ("framings = []", "framings"),
        ('models = ["a b"]', "models"),
        ("unheard_of = 1", "unheard_of"),
    ],
)
def test_a_value_of_the_wrong_type_or_range_is_refused_with_its_key_and_line(
    tmp_path: Path, text: str, key: str
) -> None:
    file = write(tmp_path, f"[tasks.x]\n# note\n{text}\n")
    with pytest.raises(PolicyError) as caught:
        load_policy(file, strict=False)
    assert caught.value.where == f"{file}:3"
    assert str(caught.value).split(": ", 1)[1].startswith(f"tasks.x.{key}")


def test_tier_and_models_in_one_table_are_refused() -> None:
    with pytest.raises(ValidationError, match="keep one"):
        TaskRow(tier="small", models=("x/a",))


def test_a_quorum_over_the_seats_of_the_same_table_is_refused() -> None:
    with pytest.raises(ValidationError, match="quorum 6 is more than its 5 seats"):
        TaskRow(seats=5, quorum=6)


@pytest.mark.parametrize("fields", [{"input": 1.0}, {"cache_read": 1.0}, {"per_request": 1.0}])
def test_a_price_needs_input_and_output(fields: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match='both "input" and "output"'):
        Price.model_validate(fields)


def test_a_price_table_may_only_tell_the_window() -> None:
    assert Price(max_input_tokens=32_000).max_input_tokens == 32_000


def test_a_price_may_tell_long_prompts_and_abilities(tmp_path: Path) -> None:
    table = table_of(
        tmp_path,
        '[prices."x/a"]\ninput = 1\noutput = 2\ninput_above_200k = 2\nsupports_vision = true\n',
    )
    assert table.price_overrides()["x/a"] == {
        "input": 1.0,
        "output": 2.0,
        "input_above_200k": 2.0,
        "supports_vision": True,
    }


@pytest.mark.parametrize("line", ["inputt = 1", "input_above_k = 1", 'input_above_2k = "1"'])
def test_a_misspelt_price_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(PolicyError, match=r'prices\."x/a"'):
        load_policy(write(tmp_path, f'[prices."x/a"]\ninput = 1\noutput = 2\n{line}\n'))


@pytest.mark.parametrize("price", ["-1", "inf", "nan"])
def test_a_price_that_is_no_amount_is_refused(tmp_path: Path, price: str) -> None:
    with pytest.raises(PolicyError):
        load_policy(write(tmp_path, f'[prices."x/a"]\ninput = {price}\noutput = 1\n'))


def test_the_price_book_takes_every_price_that_the_table_takes(tmp_path: Path) -> None:
    from consensus.models.prices import PriceBook

    lines = [f"{name} = 1" for name in Price.model_fields]
    lines += ["batch_input_above_200k = 1", "output_above_128k = 1", "supports_vision = false"]
    table = table_of(tmp_path, '[prices."x/a"]\n' + "\n".join(lines) + "\n")
    assert PriceBook(overrides=table.price_overrides()).knows("x/a")


def test_a_rule_that_asks_nothing_or_changes_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="asks nothing"):
        When(tier="small")
    with pytest.raises(ValidationError, match="changes nothing"):
        When(min_input_tokens=5)


def test_every_condition_is_a_field_of_a_rule_and_of_no_row() -> None:
    assert set(CONDITIONS) <= set(When.model_fields)
    assert not set(CONDITIONS) & set(TaskRow.model_fields)


def test_a_row_supplies_what_its_tasks_leave_out() -> None:
    row = TaskRow(kind="choose", criteria="c", options=("a", "b"))
    assert row.task_defaults() == {"kind": "choose", "criteria": "c", "options": ("a", "b")}


def test_the_hash_ignores_files_order_and_comments(tmp_path: Path) -> None:
    whole = table_of(tmp_path, CONTRACT)
    split = tmp_path / "split"
    split.mkdir()
    tasks = CONTRACT.index("[tasks")
    write(split, CONTRACT[tasks:].replace("seats = 5", "# moved\nseats = 5"), "a.toml")
    write(split, CONTRACT[:tasks], "b.toml")
    assert load_policy(split, strict=False).version_hash == whole.version_hash
    assert load_policy(split, strict=False) == whole


@pytest.mark.parametrize(
    ("old", "new"), [("seats = 5", "seats = 7"), ("0.10", "0.11"), ("600", "601"), ("20", "21")]
)
def test_the_hash_changes_with_any_value(tmp_path: Path, old: str, new: str) -> None:
    before = table_of(tmp_path, CONTRACT).version_hash
    assert table_of(tmp_path, CONTRACT.replace(old, new, 1)).version_hash != before


def test_a_table_made_in_python_is_used_as_it_is() -> None:
    table = PolicyTable(
        tiers={"small": ("x/a",)}, defaults=DefaultsRow(tier="small"), tasks={"t": TaskRow(seats=3)}
    )
    assert load_policy(table, prices=Book()) is table


def test_a_table_made_in_python_is_checked_too() -> None:
    with pytest.raises(PolicyError, match='"nowhere" is no tier'):
        load_policy(PolicyTable(tasks={"t": TaskRow(tier="nowhere")}), prices=Book())
