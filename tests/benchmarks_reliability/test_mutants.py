from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any, cast

import pytest

from benchmarks.reliability import mutation
from benchmarks.reliability._mutants import Mutant, mutants_of, mutated
from benchmarks.reliability._mutation_runs import Swapping
from consensus.aggregation import votes

SOURCE = '''"""Words."""
LIMIT: int = 3
def least(x: int = 1) -> int:
    """Words."""
    if x < LIMIT and not x:
        raise ValueError(f"{x + 1} is wrong")
    return min(x, 2)
'''


@pytest.fixture
def found(tmp_path: Path) -> list[Mutant]:
    path = tmp_path / "least.py"
    path.write_text(SOURCE)
    return mutants_of(path, "least.py")


@pytest.fixture
def swapping() -> Iterator[Swapping]:
    """Every function of a file gets its own code back."""

    class Session:
        items: tuple[Any, ...] = ()

    made = Swapping(cast("pytest.Session", Session()))
    gc.unfreeze()
    kept: list[tuple[FunctionType, Any]] = [
        (one, one.__code__) for one in made.functions[str(votes.__file__)]
    ]
    yield made
    for function, code in kept:
        function.__code__ = code


def test_each_edit_is_another_program_on_the_same_lines(found: list[Mutant]) -> None:
    told = {(m.line, m.before, m.after) for m in found}
    assert (5, "x < LIMIT", "x <= LIMIT") in told
    assert (7, "min(x, 2)", "max(x, 2)") in told
    assert (2, "3", "4") in told
    for one in found:
        tree = mutated(SOURCE, one)
        assert compile(tree, "least.py", "exec") != compile(SOURCE, "least.py", "exec")


def test_words_for_people_are_left_alone(found: list[Mutant]) -> None:
    assert not [m for m in found if m.line in (1, 4, 6)]


def test_a_living_function_gets_the_code_of_a_mutant(swapping: Swapping) -> None:
    path = mutation.ROOT / "consensus/aggregation/votes.py"
    every = mutants_of(path, "consensus/aggregation/votes.py")
    none = next(m for m in every if m.before.startswith("return canonical_sum(share"))
    assert votes.half_votes([[True, True]]).tolist() == [0.5, 0.5]
    assert swapping.swap(none)
    assert votes.half_votes([[True, True]]) is None


def test_what_runs_at_import_is_not_swapped(swapping: Swapping) -> None:
    path = mutation.ROOT / "consensus/aggregation/votes.py"
    every = mutants_of(path, "consensus/aggregation/votes.py")
    default = next(m for m in every if (m.before, m.after) == ("False", "True"))
    assert not swapping.swap(default)


def test_a_sample_is_the_same_each_time_and_of_other_edits_with_another_seed() -> None:
    first, again, other = (mutation.sample(40, seed, None) for seed in (7, 7, 8))
    assert first == again
    assert set(first) != set(other)
