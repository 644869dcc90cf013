"""Charts: inside their frame, labels apart, round ticks, nothing random."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.benchmark.report import charts, words


def row(name: str, cost: float | None, accuracy: float, **more: Any) -> dict[str, Any]:
    spread = [max(0.0, accuracy - 0.03), min(1.0, accuracy + 0.03)]
    return {"name": name, "number": 1, "cost_per_case": cost, "accuracy": accuracy,
            "ci95": spread, "role": "", "pareto": False, **more}  # fmt: skip


def boxes(svg: str) -> list[tuple[float, float, float, float]]:
    """Estimated boxes of the labels beside points (bold or plain, not axes)."""
    found = []
    for element in ET.fromstring(svg).iter("text"):  # noqa: S314
        if element.get("class") is None:
            continue
        x, y = float(element.get("x", 0)), float(element.get("y", 0))
        width = 6.0 * len(element.text or "")
        anchor = element.get("text-anchor", "start")
        left = {"start": x, "end": x - width, "middle": x - width / 2}[anchor]
        if element.get("class") != "name":
            found.append((left, y - 9, left + width, y + 3))
    return found


@given(
    st.lists(
        st.tuples(st.floats(1e-6, 10), st.floats(0, 1), st.sampled_from(["", "panel", "top"])),
        min_size=1,
        max_size=30,
    ),
    st.sampled_from([charts.WIDE, charts.NARROW]),
)
def test_every_mark_and_label_lies_inside_and_no_label_on_another(
    points: list[tuple[float, float, str]], width: int
) -> None:
    rows = [row(f"model-{i}", c, a, role=r) for i, (c, a, r) in enumerate(points)]
    svg = charts.cost_accuracy(rows, [], [], width)
    assert svg is not None
    tree = ET.fromstring(svg)  # noqa: S314
    for circle in tree.iter("circle"):
        assert 0 <= float(circle.get("cx", -1)) <= width
        assert 0 <= float(circle.get("cy", -1)) <= charts.HEIGHT[width]
    labels = boxes(svg)
    for i, a in enumerate(labels):
        assert a[0] >= 0
        assert a[2] <= width
        for b in labels[:i]:
            assert not (a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3])


def test_unknown_costs_are_not_drawn() -> None:
    svg = charts.cost_accuracy([row("a", 0.1, 0.5), row("b", None, 0.9)], [], [], charts.WIDE)
    assert svg is not None
    assert svg.count("<circle") == 1


def test_calls_stand_for_cost_where_none_is_known() -> None:
    vote = row("vote", None, 0.8, calls_per_case=3.0, strategy="vote")
    svg = charts.cost_accuracy([row("a", None, 0.5)], [vote], [], charts.WIDE)
    assert svg is not None
    assert "calls a case" in svg
    assert "3 calls" in svg


def test_free_models_are_drawn_by_calls_and_not_on_a_logarithm_of_zero() -> None:
    rows = [row("a", 0.0, 0.5), row("b", 0.0, 0.6)]
    assert "calls a case" in (charts.cost_accuracy(rows, [], [[0.0, 0.6]], charts.WIDE) or "")
    mixed = charts.cost_accuracy([rows[0], row("c", 0.5, 0.9)], [], [], charts.WIDE)
    assert "logarithmic" not in (mixed or "")


def test_names_are_escaped_in_labels_and_tips() -> None:
    svg = charts.cost_accuracy([row("<script>", 0.1, 0.5)], [], [], charts.WIDE)
    assert svg is not None
    assert "<script" not in svg
    assert "&lt;script&gt;" in svg


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 12))
def test_ticks_are_few_inside_and_evenly_spaced(low: float, size: float, most: int) -> None:
    ticks = charts.nice_ticks(low, low + size, most)
    assert len(ticks) <= max(2, most)
    gaps = {round((b - a) / size, 4) for a, b in itertools.pairwise(ticks)}
    assert len(gaps) <= 2
    assert all(low - 1e-3 * size <= tick <= low + size * 1.001 for tick in ticks)


@given(st.floats(1e-8, 1e3), st.floats(6.5, 1e6))
def test_logarithmic_ticks_lie_within_the_range(low: float, factor: float) -> None:
    ticks = charts.log_ticks(low, low * factor, 8)
    assert 1 <= len(ticks) <= 8
    assert all(low * 0.999 <= tick <= low * factor * 1.001 for tick in ticks)


def test_a_curve_over_seats_marks_every_size_and_the_frontier() -> None:
    data = {
        "seats": [1, 2, 3],
        "accuracy": [0.6, 0.6, 0.7],
        "ci95": [[0.5, 0.7], [0.5, 0.7], [0.6, 0.8]],
        "frontier_accuracy": 0.75,
    }
    for width in (charts.WIDE, charts.NARROW):
        svg = charts.seats_accuracy(data, width)
        assert svg.count("<circle") == 3
        assert "frontier, one pass: 75.0 %" in svg


def test_every_drawing_is_well_formed_and_scaled_to_its_own_width() -> None:
    risk = {"threshold": [1.0, 0.5], "coverage": [0.4, 1.0], "risk": [0.0, 0.2]}
    for width in (charts.WIDE, charts.NARROW):
        tree = ET.fromstring(charts.risk_coverage(risk, 0.1, width))  # noqa: S314
        assert tree.get("width") == str(width)
        assert not re.search(r"\d\.\d{4}", charts.risk_coverage(risk, 0.1, width))


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "unknown"), (0, "$0"), (0.000031, "$0.0000310"), (0.12345, "$0.123"), (12.5, "$12.50")],
)
def test_dollars_keep_three_digits_and_unknown_is_no_zero(value: float | None, text: str) -> None:
    assert words.usd(value) == text


def test_all_forms_of_unknown_are_one_word() -> None:
    assert {
        words.share(None), words.points(None), words.ratio(None), words.seconds(None),
        words.count(None), words.span(None), words.span([None, 1.0]),
    } == {"unknown"}  # fmt: skip
