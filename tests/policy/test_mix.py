from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus import Approve
from consensus.errors import PolicyError
from consensus.policy import load_policy, route, route_type
from consensus.policy.mix import coin, coin_of, toss
from consensus.policy.rows import Mixed
from tests.policy.books import TIERS, table_of

MIXED = (
    TIERS
    + """
[strategies.panel]
orchestrator = "vote"
tier = "small"
seats = 3
[strategies.one]
orchestrator = "single"
tier = "frontier"
[tasks.t]
mix = [{ share = 0.3, strategy = "panel" }, { share = 0.7, strategy = "one" }]
"""
)


def one(strategy: str, share: float) -> str:
    return f'{{ share = {share}, strategy = "{strategy}" }}, '


def task(name: str | None, subject: str = "May it?") -> Approve:
    return Approve(type="t", id=name, subject=subject)


def test_a_task_always_falls_on_the_same_strategy(tmp_path: Path) -> None:
    table = table_of(tmp_path, MIXED)
    again = table_of(tmp_path, MIXED)
    for number in range(20):
        same = task(f"case-{number}")
        assert route(table, same).hops[0].name == route(again, same).hops[0].name


def test_shares_are_kept_over_many_tasks(tmp_path: Path) -> None:
    table = table_of(tmp_path, MIXED)
    names = [route(table, task(f"case-{n}")).hops[0].name for n in range(2000)]
    assert abs(names.count("panel") / 2000 - 0.3) < 0.03


def test_the_reasons_say_the_mix_and_where_the_hash_fell(tmp_path: Path) -> None:
    way = route(table_of(tmp_path, MIXED), task("x"))
    name = way.hops[0].name
    assert way.reasons[-1] == f"mix panel 30.0%, one 70.0%: the hash of the task fell on {name}"


def test_the_coin_is_the_published_hash() -> None:
    digest = hashlib.sha256(b"mix-0:case-7").digest()
    assert coin("case-7") == int.from_bytes(digest[:8], "big") / 2**64


def test_without_an_id_the_content_decides() -> None:
    assert coin_of(task(None, "a")) == coin_of(task(None, "a"))
    assert coin_of(task(None, "a")) != coin_of(task(None, "b"))


def test_the_coin_does_not_lean_with_the_halves_of_a_split() -> None:
    ids = [f"case-{n}" for n in range(4000)]
    first_half = [coin(i) for i in ids if hashlib.sha256(f"0:{i}".encode()).digest()[0] < 0x80]
    assert abs(sum(first_half) / len(first_half) - 0.5) < 0.02


@given(
    st.lists(st.integers(1, 20), min_size=2, max_size=6),
    st.floats(0, 1, exclude_max=True, allow_nan=False),
)
def test_every_coin_falls_inside_its_share(weights: list[int], thrown: float) -> None:
    total = sum(weights)
    mix = [Mixed(share=w / total, strategy=f"s{i}") for i, w in enumerate(weights)]
    place = toss(mix, thrown)
    assert sum(weights[:place]) / total <= thrown + 1e-9
    assert thrown <= sum(weights[: place + 1]) / total + 1e-9


def test_a_type_as_a_whole_names_every_model_of_its_mix(tmp_path: Path) -> None:
    way = route_type(table_of(tmp_path, MIXED), "t")
    assert {"x/s1", "x/s2", "x/f"} <= set(way.models)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (one("panel", 0.3) + one("one", 0.3), "0.6"),
        (one("panel", 0.5) + one("one", 0.5) + "STRATEGY", "keep one"),
        (one("one", 0.5) + one("one", 0.5), "twice"),
        (one("onee", 0.5) + one("one", 0.5), "is no strategy"),
    ],
)
def test_a_mix_that_cannot_be_served_is_refused(tmp_path: Path, row: str, said: str) -> None:
    extra = 'strategy = "panel"\n' if "STRATEGY" in row else ""
    listed = row.removesuffix("STRATEGY")
    text = f"{MIXED[: MIXED.index('mix = ')]}{extra}mix = [{listed}]\n"
    text = text.replace("x/", "scripted/")
    (tmp_path / "policy.toml").write_text("version = 1\n" + text, encoding="utf-8")
    with pytest.raises(PolicyError, match=said):
        load_policy(tmp_path)


def test_a_rule_that_names_a_strategy_puts_the_mix_aside(tmp_path: Path) -> None:
    rule = '[[tasks.t.when]]\nmin_input_tokens = 50\nstrategy = "one"\n'
    table = table_of(tmp_path, MIXED + rule)
    long = [route(table, task(f"n{n}", "word " * 100)).hops[0].name for n in range(10)]
    assert set(long) == {"one"}
