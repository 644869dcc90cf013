from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from consensus.errors import PolicyError, PriceError
from consensus.policy import load_policy, validate_prices
from consensus.policy.load import find_policy, find_prompts
from consensus.resources import packaged
from tests.policy.books import TIERS, Book, table_of, write


def test_nothing_named_means_the_projects_strategies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "strategies").mkdir()
    write(tmp_path / "strategies", TIERS)
    monkeypatch.chdir(tmp_path)
    table = load_policy(prices=Book())
    assert set(table.tiers) == {"small", "mid", "frontier"}
    assert table.cite("tiers", "mid") == "tiers.mid (strategies/policy.toml:3)"


def test_without_a_project_the_shipped_defaults_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_policy() == packaged("strategies")


def test_a_strategies_folder_without_toml_is_not_a_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    assert find_policy() == packaged("strategies")


def test_a_project_that_is_broken_is_not_replaced_by_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "strategies").mkdir()
    write(tmp_path / "strategies", "[tiers\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PolicyError, match=r"strategies/policy\.toml:1"):
        load_policy()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[tasks.x]\nseat = 5\n",
            'tasks.x.seat: is not a key of this table (did you mean "seats"?',
        ),
        ("[task.x]\nseats = 5\n", 'task: is not a key of this table (did you mean "tasks"?'),
        ("[tasks.x.losses]\nfalse_aprove = 1\n", 'did you mean "false_approve"?'),
        ('[tasks.x]\nkind = "aprove"\n', 'did you mean "approve"?'),
        ('[tasks.x]\nconsequence = "hihg"\n', 'did you mean "high"?'),
        ('[strategies.s]\nstrategy = "vote"\n', 'a named strategy says orchestrator = "…"'),
        ("[strategies.s]\nseats = 5\n", "strategies.s.orchestrator: is missing"),
        ("[tasks]\nx = 3\n", "tasks.x: must be a table"),
        ("version = 2\n", "version: must be 1"),
        ("tiers = 3\n", "tiers: must be a table"),
        ("[tiers]\nsmall = 'x/a'\n", "tiers.small: must be a list"),
        ('[tiers]\n"a b" = ["x/a"]\n', "must be a name"),
        ("[[tasks.x.when]]\nmin_input_token = 1\n", 'did you mean "min_input_tokens"?'),
    ],
)
def test_a_mistake_is_one_line_with_the_key_and_the_fix(
    tmp_path: Path, text: str, message: str
) -> None:
    file = write(tmp_path, text)
    with pytest.raises(PolicyError) as caught:
        load_policy(file, strict=False)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{file}:")
    assert "\n" not in str(caught.value)


def test_the_first_of_several_mistakes_is_told_and_the_others_counted(tmp_path: Path) -> None:
    file = write(tmp_path, "[tasks.x]\nseats = 0\nquorum = 0\nveto = 0\n")
    with pytest.raises(PolicyError, match="and 2 more: consensus policy check") as caught:
        load_policy(file)
    assert caught.value.where == f"{file}:2"


def test_an_unknown_price_is_an_error_at_load_that_names_the_models_line(tmp_path: Path) -> None:
    file = write(tmp_path, TIERS)
    with pytest.raises(PriceError) as caught:
        load_policy(file, prices=Book(unpriced=("x/s1",)))
    assert isinstance(caught.value, PolicyError)
    assert caught.value.where == f"{file}:2"
    assert '[prices."x/s1"]' in str(caught.value)


def test_a_misspelt_model_is_an_error_with_the_real_price_map(tmp_path: Path) -> None:
    file = write(tmp_path, '[defaults]\nmodels = ["openai/gpt-5.4-nanno"]\n')
    with pytest.raises(PriceError, match=r"gpt-5\.4-nanno"):
        load_policy(file)


def test_only_models_that_a_row_can_reach_need_a_price(tmp_path: Path) -> None:
    file = write(tmp_path, TIERS)
    assert load_policy(file, prices=Book(unpriced=("x/m1", "x/f"))).tiers["mid"]


@pytest.mark.parametrize(
    "line",
    [
        'models = ["x/gone"]',
        'fallback = ["x/gone"]',
        'escalate_to = ["x/gone"]',
        'escalate_to = ["other"]',
        'fallback = ["other"]',
    ],
)
def test_every_way_to_reach_a_model_needs_its_price(tmp_path: Path, line: str) -> None:
    text = f"{TIERS}[tasks.t]\n{line}\n".replace("[tiers]", '[tiers]\nother = ["x/gone"]')
    with pytest.raises(PriceError, match="x/gone"):
        load_policy(write(tmp_path, text), prices=Book(unpriced=("x/gone",)))


def test_prices_can_be_validated_against_a_later_book(tmp_path: Path) -> None:
    table = table_of(tmp_path, TIERS)
    validate_prices(table, Book())
    with pytest.raises(PriceError, match="x/s2"):
        validate_prices(
            table_of(tmp_path, TIERS + '[tasks.t]\nstrategy = "vote"\n'), Book(unpriced=("x/s2",))
        )


def test_a_model_without_a_provider_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r'"gpt-5\.4" has no provider'):
        load_policy(write(tmp_path, '[defaults]\nmodels = ["gpt-5.4"]\n'), prices=Book())


def test_without_strict_only_the_shape_counts(tmp_path: Path) -> None:
    file = write(tmp_path, '[tasks.t]\ntier = "nowhere"\n')
    assert load_policy(file, strict=False).tasks["t"].tier == "nowhere"


def test_prompts_are_found_beside_the_policy(tmp_path: Path) -> None:
    (tmp_path / "prompts" / "framings").mkdir(parents=True)
    assert find_prompts(tmp_path / "strategies") == tmp_path / "prompts"


def test_no_prompts_of_the_projects_own_means_the_shipped_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_prompts(tmp_path / "strategies") is None


def test_importing_the_room_loads_nothing_heavy() -> None:
    heavy = ("litellm", "anthropic", "scipy", "sqlalchemy", "sklearn", "jinja2", "numpy")
    code = f"import sys, consensus.policy; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
