"""The shipped suite is sound, broad, and gives nothing away by label, position or length."""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import pytest

from consensus.benchmark.cases import Case
from consensus.benchmark.suites import Suite, examine_suite, load_suite
from consensus.tasks import KINDS, Approve, Compare, Generate, Rank

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "suites" / "judgement"


@cache
def suite() -> Suite:
    return load_suite(FOLDER)


def by_type(kind: str) -> dict[str, list[Case]]:
    found: dict[str, list[Case]] = defaultdict(list)
    for case in suite().cases:
        if case.task.kind == kind:
            found[case.type].append(case)
    return found


def own_words(case: Case) -> int:
    criteria = getattr(case.task, "criteria", "")
    return len(" ".join(case.task.texts()).split()) - len(criteria.split())


def test_it_loads_without_problem_or_remark() -> None:
    found, problems = examine_suite(FOLDER)
    assert problems == []
    assert found is not None
    assert found.remarks() == []


def test_it_has_enough_cases_of_every_kind_and_complexity() -> None:
    cases = suite().cases
    assert len(cases) >= 160
    kinds = Counter(case.task.kind for case in cases)
    assert set(kinds) == set(KINDS)
    assert min(kinds.values()) >= 20
    levels = Counter(case.complexity for case in cases)
    assert set(levels) == {"low", "medium", "high"}
    assert min(levels.values()) >= 50


def test_misleading_cases_are_of_many_sorts_and_every_type() -> None:
    misleading = [case for case in suite().cases if "adversarial" in case.tags]
    assert len(misleading) >= 24
    sorts = {"instruction", "fake-turn", "fake-ballots", "emotion", "length", "swapped-labels"}
    assert {tag for case in misleading for tag in case.tags} == sorts | {"adversarial"}
    assert {case.type for case in misleading} == set(suite().types)


def test_cases_are_short_and_none_is_there_twice() -> None:
    lengths = sorted(len(" ".join(case.task.texts()).split()) for case in suite().cases)
    assert lengths[-1] < 200
    assert lengths[len(lengths) * 9 // 10] < 120
    texts = Counter(case.task.texts() for case in suite().cases)
    assert max(texts.values()) == 1


@pytest.mark.parametrize("kind", ["approve", "choose", "score"])
def test_labels_are_balanced_within_every_type(kind: str) -> None:
    for name, cases in by_type(kind).items():
        counts = Counter(case.reference for case in cases)
        options = cases[0].task.options or tuple(counts)
        assert set(counts) == set(options), name
        assert max(counts.values()) - min(counts.values()) <= 2, name


def test_neither_side_of_a_comparison_is_favoured() -> None:
    for name, cases in by_type("compare").items():
        counts = Counter(str(case.reference) for case in cases)
        assert abs(counts["A"] - counts["B"]) <= 1, name
        assert counts["tie"] >= 2, name


def test_no_order_is_shown_as_its_label_and_the_first_item_stands_anywhere() -> None:
    for name, cases in by_type("rank").items():
        places: Counter[int] = Counter()
        for case in cases:
            assert isinstance(case.task, Rank)
            assert list(case.task.items) != case.reference, case.id
            places[case.task.items.index(case.reference[0])] += 1
        assert max(places.values()) <= 0.5 * len(cases), name


def test_length_does_not_give_an_approval_away() -> None:
    for name, cases in by_type("approve").items():
        assert all(isinstance(case.task, Approve) for case in cases)
        yes = [own_words(case) for case in cases if case.reference == "approve"]
        no = [own_words(case) for case in cases if case.reference == "reject"]
        longer = sum((a > b) + 0.5 * (a == b) for a in yes for b in no) / (len(yes) * len(no))
        assert 0.3 <= longer <= 0.7, name


def test_the_longer_candidate_is_right_about_as_often_as_the_shorter() -> None:
    for name, cases in by_type("compare").items():
        decided = [case for case in cases if case.reference != "tie"]
        right = 0
        for case in decided:
            assert isinstance(case.task, Compare)
            longer = "A" if len(case.task.a) > len(case.task.b) else "B"
            right += longer == case.reference
        assert 0.3 <= right / len(decided) <= 0.7, name


def test_misleading_approvals_push_both_ways() -> None:
    labels = Counter(
        case.reference
        for cases in by_type("approve").values()
        for case in cases
        if "adversarial" in case.tags
    )
    assert min(labels["approve"], labels["reject"]) >= 0.35 * labels.total()


def test_every_object_asked_for_satisfies_its_own_schema() -> None:
    from jsonschema import Draft202012Validator

    for cases in by_type("generate").values():
        for case in cases:
            assert isinstance(case.task, Generate)
            assert case.task.output_schema is not None
            Draft202012Validator(case.task.output_schema).validate(case.reference)
