from __future__ import annotations

from pathlib import Path
from typing import Any

import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.errors import PolicyError
from consensus.policy import load_policy
from consensus.policy.rows import DefaultsRow, StrategyTable, TaskRow
from consensus.policy.table import PolicyTable
from tests.policy.books import CONTRACT, Book


def loads_or_says_why(file: Path) -> None:
    said = None
    try:
        load_policy(file, prices=Book())
    except PolicyError as error:
        said = str(error)
    assert said is None or (said.startswith(str(file)) and said.isprintable())


@settings(max_examples=120)
@given(
    at=st.integers(0, len(CONTRACT)),
    length=st.integers(0, 30),
    text=st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(list('"[]{}=.#\n')),
)
def test_a_damaged_file_loads_or_is_refused_in_one_line(
    tmp_path_factory: Any, at: int, length: int, text: str
) -> None:
    file = tmp_path_factory.getbasetemp() / "damaged.toml"
    file.write_text(CONTRACT[:at] + text + CONTRACT[at + length :], encoding="utf-8", newline="")
    loads_or_says_why(file)


_KEYS = st.sampled_from(
    sorted(
        {
            *PolicyTable.model_fields,
            *TaskRow.model_fields,
            *StrategyTable.model_fields,
            *DefaultsRow.model_fields,
            "x",
            "small",
            "two\nlines",
            "x" * 300,
        }
    )
)
_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.integers(-2, 7)
    | st.floats()
    | st.booleans()
    | st.sampled_from(["small", "x", "vote", "approve", "high", "x/a", "", "a b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=14,
)


@settings(max_examples=150)
@given(data=st.dictionaries(_KEYS, _VALUES, max_size=5))
def test_any_values_at_any_keys_load_or_are_refused_in_one_line(
    tmp_path_factory: Any, data: dict[str, Any]
) -> None:
    file = tmp_path_factory.getbasetemp() / "made_up.toml"
    file.write_text(tomlkit.dumps(data), encoding="utf-8")
    loads_or_says_why(file)


_ROWS = st.fixed_dictionaries(
    {},
    optional={
        "strategy": st.sampled_from(["single", "vote", "s"]),
        "tier": st.sampled_from(["small", "mid", "none"]),
        "seats": st.integers(1, 9),
        "quorum": st.integers(1, 9),
        "min_agreement": st.sampled_from([0.3, 0.5, 0.8, 1.0]),
        "veto": st.integers(1, 9),
        "escalate_to": st.lists(st.sampled_from(["small", "mid", "s", "r", "x/q"]), max_size=3),
        "fallback": st.lists(st.sampled_from(["small", "x/a", "x/q"]), max_size=2),
        "consequence": st.sampled_from(["low", "high", "irreversible"]),
        "losses": st.just({"false_approve": 3}),
        "framings": st.lists(st.sampled_from(["plain", "sceptic"]), min_size=1, max_size=2),
    },
)


@settings(max_examples=150)
@given(task=_ROWS, defaults=_ROWS, strategy=_ROWS, other=_ROWS)
def test_a_table_that_loads_has_a_route_for_every_type(
    tmp_path_factory: Any, task: Any, defaults: Any, strategy: Any, other: Any
) -> None:
    from consensus.policy import route_type

    for named in (strategy, other):
        named.pop("strategy", None)
        named.pop("consequence", None)
        named["orchestrator"] = "vote"
    file = tmp_path_factory.getbasetemp() / "rows.toml"
    data = {
        "tiers": {"small": ["x/a", "x/b"], "mid": ["x/m"]},
        "defaults": {"tier": "small", **defaults},
        "strategies": {"s": strategy, "r": other},
        "tasks": {"t": task},
    }
    file.write_text(tomlkit.dumps(data), encoding="utf-8")
    try:
        table = load_policy(file, prices=Book())
    except PolicyError:
        return
    for task_type in ("t", "unknown"):
        way = route_type(table, task_type)
        for hop in way.hops:
            assert 1 <= hop.spec.quorum <= hop.spec.seats
            assert hop.models
        assert len({hop.name for hop in way.hops}) == len(way.hops)
