"""Charts over time: their points, lines and gaps are where they belong."""

from __future__ import annotations

import re

import pytest

from consensus.server.page.charts import (
    Reference,
    money_over_time,
    rate_over_time,
    spent_over_time,
)

DAY = 86_400
STARTS = [20_000 * DAY + i * DAY for i in range(5)]
LINES = [Reference(0.1, "profile 10.0 %", "line"), Reference(0.115, "alarm 11.5 %", "alarm")]


def circles(svg: str) -> list[tuple[float, float]]:
    return [
        (float(x), float(y))
        for x, y in re.findall(r'<circle[^>]* cx="([\d.]+)" cy="([\d.]+)"', svg)
    ]


def test_a_gap_breaks_the_line_and_has_no_point() -> None:
    rates = [0.1, 0.2, None, 0.3, 0.2]
    svg = rate_over_time(STARTS, DAY, rates, [None] * 5, [], "d")
    assert svg is not None
    assert len(circles(svg)) == 4
    assert svg.count('class="curve"') == 2


def test_a_higher_rate_is_drawn_higher() -> None:
    svg = rate_over_time(STARTS, DAY, [0.1, 0.4, 0.2, 0.0, 1.0], [None] * 5, [], "d")
    assert svg is not None
    heights = [y for _, y in circles(svg)]
    assert heights[4] < heights[1] < heights[2] < heights[0] < heights[3]


def test_the_alarm_line_is_above_the_profiles_and_their_names_do_not_overlap() -> None:
    svg = rate_over_time(STARTS, DAY, [0.1] * 5, [(0.05, 0.2)] * 5, LINES, "d")
    assert svg is not None
    line, alarm = (
        float(re.search(rf'<polyline class="{css}" points="[\d.]+,([\d.]+)', svg)[1])  # type: ignore[index]
        for css in ("line", "alarm")
    )
    assert alarm < line
    named = {
        css: float(y)
        for css, y in re.findall(r'<text class="halo (\w+)-name"[^>]* y="([\d.]+)"', svg)
    }
    assert named["line"] - named["alarm"] >= 12


@pytest.mark.parametrize("high", [1.0, 0.4, 0.003])
def test_everything_drawn_is_within_the_drawing(high: float) -> None:
    lines = [Reference(high / 2, "profile", "line"), Reference(high / 2 * 1.15, "alarm", "alarm")]
    svg = rate_over_time(STARTS, DAY, [high, 0, high, 0, high], [(0, high)] * 5, lines, "d")
    assert svg is not None
    width, height = map(int, re.search(r'viewBox="0 0 (\d+) (\d+)"', svg).groups())  # type: ignore[union-attr]
    for x, y in circles(svg):
        assert 0 < x < width
        assert 0 < y < height
    for y in re.findall(r'<text[^>]* y="([\d.]+)"', svg):
        assert 10 <= float(y) <= height


@pytest.mark.parametrize(
    ("value", "unit"),
    [(0.5, "dollars"), (0.0004, "thousandths of a dollar"), (3e-7, "millionths of a dollar")],
)
def test_money_is_written_in_a_unit_of_few_digits(value: float, unit: str) -> None:
    svg = money_over_time(STARTS, DAY, [value] * 5, [], "d")
    assert svg is not None
    assert f">{unit}, per day<" in svg


def test_nothing_is_drawn_where_nothing_was_counted() -> None:
    assert rate_over_time(STARTS, DAY, [None] * 5, [None] * 5, LINES, "d") is None
    assert money_over_time([], DAY, [], [], "d") is None
    assert money_over_time(STARTS, DAY, [0.0, None, 0.0, 0.0, 0.0], [], "d") is None
    assert spent_over_time(STARTS, DAY, [], 342, "d") is None


def test_a_stack_is_as_high_as_its_parts() -> None:
    svg = spent_over_time(STARTS, DAY, [("a", [1, 2, 3, 4, 5]), ("b", [5, 4, 3, 2, 1])], 342, "d")
    assert svg is not None
    bars = re.findall(r'<rect class="s(\d)"[^>]* y="([\d.]+)"[^>]* height="([\d.]+)"', svg)
    assert len(bars) == 10
    for place in range(5):
        (_, low_y, low_h), (_, top_y, top_h) = bars[2 * place : 2 * place + 2]
        assert float(top_y) + float(top_h) == pytest.approx(float(low_y), abs=0.2)
        assert float(low_h) + float(top_h) == pytest.approx(
            float(bars[0][2]) + float(bars[1][2]), abs=0.3
        )


def test_a_name_cannot_leave_its_title() -> None:
    svg = spent_over_time(STARTS, DAY, [("<b>\u202ex", [1.0] * 5)], 342, "a <b>")
    assert svg is not None
    assert "<b>" not in svg
    assert "\u202e" not in svg


@pytest.mark.parametrize(
    ("step", "said"), [(60, "per minute"), (3_600, "per hour"), (7 * DAY, "per 7 days")]
)
def test_the_axis_says_how_long_a_bucket_is(step: int, said: str) -> None:
    svg = rate_over_time([0, step], step, [0.1, 0.2], [None, None], [], "d")
    assert svg is not None
    assert f">{said}<" in svg
