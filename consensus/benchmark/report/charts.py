"""Charts as inline SVG, drawn here: no script, no font, no network.

Colours come from the page's CSS variables, so a chart follows light and dark. Each chart is drawn
for a given width, and the page shows the one that fits: text is never scaled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from typing import Any

from consensus.benchmark.report.words import share, usd

__all__ = ["NARROW", "WIDE", "cost_accuracy", "risk_coverage", "seats_accuracy"]

WIDE, NARROW = 1072, 342
"""Widths in CSS pixels: of the page's column on a desk, and of a telephone's."""

HEIGHT = {WIDE: 400, NARROW: 300}
NAMED = 18
"""So many points have a name or a number beside them."""

LETTER = 6.9
"""Width of an average letter at 12 px: generous, since fonts differ."""

Box = tuple[float, float, float, float]


@dataclass
class Frame:
    """A plot area with its axes, in pixels; ``parts`` are drawn in order."""

    width: int
    x: tuple[float, float]
    y: tuple[float, float]
    log_x: bool = False
    title: str = ""
    parts: list[str] = field(default_factory=list)
    taken: list[Box] = field(default_factory=list)

    left: float = 50
    right: float = 14
    top: float = 14
    bottom: float = 46

    @property
    def height(self) -> int:
        """Pixels."""
        return HEIGHT[self.width]

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixels of a point, rounded so that equal reports are equal bytes."""
        low, high = self.x
        part = math.log(x / low) / math.log(high / low) if self.log_x else (x - low) / (high - low)
        across = self.left + part * (self.width - self.left - self.right)
        down = (self.y[1] - y) / (self.y[1] - self.y[0])
        return round(across, 1), round(self.top + down * (self.height - self.top - self.bottom), 1)

    def axes(
        self,
        x_ticks: Sequence[float],
        y_ticks: Sequence[float],
        x_text: Callable[[float], str],
        y_text: Callable[[float], str],
        x_name: str,
    ) -> None:
        """Grid, ticks and the name of the horizontal axis; the vertical one is the caption's."""
        x_end, y_end = self.width - self.right, self.height - self.bottom
        for value in y_ticks:
            _, y = self.at(self.x[0], value)
            self.parts.append(
                f'<line class="grid" x1="{self.left}" x2="{x_end}" y1="{y}" y2="{y}"/>'
            )
            self.parts.append(
                f'<text x="{self.left - 6}" y="{y + 4}" text-anchor="end">{y_text(value)}</text>'
            )
        for value in x_ticks:
            x, _ = self.at(value, self.y[0])
            self.parts.append(
                f'<line class="tick" x1="{x}" x2="{x}" y1="{y_end}" y2="{y_end + 5}"/>'
            )
            text = x_text(value)
            # A label at the very end would be cut off.
            anchor = "end" if x + LETTER * len(text) / 2 > self.width - 4 else "middle"
            self.parts.append(
                f'<text x="{x}" y="{y_end + 18}" text-anchor="{anchor}">{text}</text>'
            )
        self.parts.append(
            f'<line class="axis" x1="{self.left}" x2="{x_end}" y1="{y_end}" y2="{y_end}"/>'
        )
        middle = round((self.left + x_end) / 2, 1)
        self.parts.append(
            f'<text class="name" x="{middle}" y="{self.height - 8}" text-anchor="middle">'
            f"{escape(x_name)}</text>"
        )

    def line(self, points: Sequence[tuple[float, float]], css: str) -> None:
        """Straight pieces between points of the data."""
        if len(points) > 1:
            text = " ".join(f"{x},{y}" for x, y in (self.at(*point) for point in points))
            self.parts.append(f'<polyline class="{css}" points="{text}"/>')

    def band(self, xs: Sequence[float], lows: Sequence[float], highs: Sequence[float]) -> None:
        """The area between two lines."""
        edge = [*zip(xs, highs, strict=True), *zip(xs[::-1], lows[::-1], strict=True)]
        text = " ".join(f"{x},{y}" for x, y in (self.at(*point) for point in edge))
        self.parts.append(f'<polygon class="band" points="{text}"/>')

    def label(self, point: tuple[float, float], text: str, css: str = "") -> bool:
        """Put a text beside a point where nothing else stands; False if there is no room."""
        x, y = point
        width = LETTER * len(text)
        for dx, dy, anchor in _PLACES:
            start = {"start": x + dx, "end": x + dx - width, "middle": x + dx - width / 2}[anchor]
            box = (start, y + dy - 10, start + width, y + dy + 4)
            inside = (
                box[0] >= self.left + 2
                and box[2] <= self.width - 2
                and box[1] >= 0
                and box[3] <= self.height - self.bottom - 1
            )
            if inside and not any(_overlap(box, other) for other in self.taken):
                self.taken.append(box)
                self.parts.append(
                    f'<text class="{css}" x="{round(x + dx, 1)}" y="{round(y + dy, 1)}" '
                    f'text-anchor="{anchor}">{escape(text)}</text>'
                )
                return True
        return False

    def svg(self, description: str) -> str:
        """The finished drawing."""
        size = f'width="{self.width}" height="{self.height}"'
        return (
            f'<svg {size} viewBox="0 0 {self.width} {self.height}" role="img" '
            f'aria-label="{escape(description)}">{"".join(self.parts)}</svg>'
        )


_PLACES = (
    (9, 4, "start"),
    (-9, 4, "end"),
    (7, -8, "start"),
    (7, 16, "start"),
    (-7, -8, "end"),
    (-7, 16, "end"),
    (0, -12, "middle"),
    (0, 20, "middle"),
    (14, -20, "start"),
    (14, 28, "start"),
    (-14, -20, "end"),
    (-14, 28, "end"),
)


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def nice_ticks(low: float, high: float, most: int) -> list[float]:
    """At most ``most`` round numbers within ``low`` … ``high``."""
    if not high > low:
        return [low]
    raw = (high - low) / max(1, most - 1)
    base = 10.0 ** math.floor(math.log10(raw))
    for factor in (1, 2, 2.5, 5, 10, 20):
        step = factor * base
        first = math.ceil(low / step - 1e-9)
        last = math.floor(high / step + 1e-9)
        if last - first + 1 <= most:
            return [round(i * step, 12) for i in range(first, last + 1)]
    return [low, high]


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers of a logarithmic axis."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for marks in ((1, 2, 5), (1, 3), (1,)):
        found = [m * 10.0**e for e in range(first, last + 1) for m in marks]
        found = [value for value in found if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
        if 2 <= len(found) <= most:
            return found
    found = [10.0**e for e in range(first, last + 1) if low <= 10.0**e <= high]
    return found[:: math.ceil(len(found) / most)] if found else [low]


def _room(values: Sequence[float]) -> tuple[float, float]:
    """A range of shares with some air, within 0 and 1."""
    low, high = min(values), max(values)
    air = max(0.02, 0.08 * (high - low))
    return max(0.0, low - air), min(1.0, high + air)


def _percent(value: float) -> str:
    return f"{100 * value:g}%"


def cost_accuracy(
    models: Sequence[dict[str, Any]],
    strategies: Sequence[dict[str, Any]],
    hull: Sequence[Sequence[float]],
    width: int,
) -> str | None:
    """Accuracy against cost a case, with 95 % intervals and the line that coins can reach.

    Points carry their number in the table below where there is no room for a name. Where no cost
    above 0 is known, calls a case stand for it. None where there is nothing to draw.
    """
    rows = [*models, *strategies]
    key, name = "cost_per_case", "cost a case"
    if not any(row.get("cost_per_case") for row in rows):
        key, name = "calls_per_case", "calls a case (no cost above 0 is known)"
        rows = [{"calls_per_case": 1.0, **row} for row in rows]
        hull = []
    drawn = [row for row in rows if row[key] is not None]
    if not drawn:
        return None
    costs = [row[key] for row in drawn]
    log_x = min(costs) > 0 and max(costs) / min(costs) > 6
    low, high = _cost_range(costs, log_x)
    frame = Frame(
        width,
        (low, high),
        _room([v for row in drawn for v in row["ci95"]]),
        log_x=log_x,
    )
    many = 4 if width == NARROW else 8
    ticks = log_ticks(low, high, many) if log_x else nice_ticks(low, high, many)
    money = key == "cost_per_case"
    frame.axes(
        ticks,
        nice_ticks(*frame.y, 6),
        _short_usd if money else (lambda v: f"{v:g}"),
        _percent,
        name + (", logarithmic" if log_x else ""),
    )
    if hull:
        inside = _curve(hull, low, high, log_x)
        frame.line(inside, "hull")
        for a, b in pairwise(inside):
            frame.taken += _along(frame.at(*a), frame.at(*b))
    marks: list[tuple[dict[str, Any], tuple[float, float]]] = []
    for row in drawn:
        x, y = frame.at(row[key], row["accuracy"])
        _, top = frame.at(row[key], row["ci95"][1])
        _, bottom = frame.at(row[key], row["ci95"][0])
        frame.parts.append(f'<line class="whisker" x1="{x}" x2="{x}" y1="{top}" y2="{bottom}"/>')
        frame.taken += [(x - 6, y - 6, x + 6, y + 6), (x - 1.5, top, x + 1.5, bottom)]
        marks.append((row, (x, y)))
    marks.sort(key=lambda item: _rank(item[0]))
    for row, point in reversed(marks):  # what matters most is drawn over the rest
        frame.parts.append(_mark(row, point, key))
    for row, point in marks[:NAMED]:
        css = "strong" if row.get("role") in {"frontier", "top"} else ""
        short = str(row["name"]).rpartition("/")[2]
        number = str(row["number"])
        if width == NARROW or not frame.label(point, short, css):
            frame.label(point, number, css)
    return frame.svg(f"Accuracy against {name} of {len(drawn)} models and strategies")


def _cost_range(costs: Sequence[float], log_x: bool) -> tuple[float, float]:
    low, high = min(costs), max(costs)
    if log_x:
        return low / 1.35, high * 1.35
    air = 0.08 * (high - low) or 0.5 * high or 1.0
    return max(0.0, low - air), high + air


def _curve(
    hull: Sequence[Sequence[float]], low: float, high: float, log_x: bool
) -> list[tuple[float, float]]:
    """The hull's straight pieces; on a logarithmic axis they are bent, so they get more points."""
    points: list[tuple[float, float]] = []
    for (x0, y0), (x1, y1) in pairwise(hull):
        steps = 12 if log_x else 1
        points += [(x0 + (x1 - x0) * i / steps, y0 + (y1 - y0) * i / steps) for i in range(steps)]
    points.append((hull[-1][0], hull[-1][1]))
    points.append((high, hull[-1][1]))
    return [(x, y) for x, y in points if x >= low]


def _mark(row: dict[str, Any], point: tuple[float, float], key: str) -> str:
    x, y = point
    cost = usd(row[key]) if key == "cost_per_case" else f"{row[key]:g} calls"
    tip = escape(f"{row['name']}: {share(row['accuracy'])} at {cost}")
    css = f"mark {row.get('role') or 'other'}"
    if "strategy" in row:
        shape = f'<path class="{css}" d="M{x} {y - 7}L{x + 7} {y}L{x} {y + 7}L{x - 7} {y}Z">'
        return f"{shape}<title>{tip}</title></path>"
    return f'<circle class="{css}" cx="{x}" cy="{y}" r="5"><title>{tip}</title></circle>'


def _rank(row: dict[str, Any]) -> tuple[int, float]:
    """Who is named first where room is short."""
    first = {"top": 0, "frontier": 1}.get(str(row.get("role")), 3)
    if first == 3 and row.get("pareto"):
        first = 2
    return first, -float(row["accuracy"])


def _short_usd(value: float) -> str:
    if value == 0:
        return "$0"
    if value >= 0.01:
        return f"${value:g}"
    power = math.floor(math.log10(value))
    if power >= -4:
        return f"${value:.{-power}f}" if round(value / 10**power, 6).is_integer() else f"${value:g}"
    return f"${value:.8f}".rstrip("0")


def seats_accuracy(data: dict[str, Any], width: int) -> str:
    """Plurality's accuracy with 1 … N seats, its interval, and the frontier's single pass."""
    seats, right = data["seats"], data["accuracy"]
    lows = [span[0] for span in data["ci95"]]
    highs = [span[1] for span in data["ci95"]]
    frontier = data["frontier_accuracy"]
    last = max(seats[-1], 2)
    frame = Frame(width, (0.7, last + 0.3), _room([*lows, *highs, frontier]))
    step = max(1, math.ceil(last / (8 if width == NARROW else 16)))
    ticks = [float(v) for v in range(1, last + 1, step)]
    frame.axes(ticks, nice_ticks(*frame.y, 6), lambda v: f"{v:g}", _percent, "seats")
    frame.band(seats, lows, highs)
    frame.line([(frame.x[0], frontier), (frame.x[1], frontier)], "reference")
    frame.line(list(zip(seats, right, strict=True)), "curve")
    for x, y in zip(seats, right, strict=True):
        px, py = frame.at(x, y)
        tip = f"{x} {'seat' if x == 1 else 'seats'}: {share(y)}"
        frame.parts.append(
            f'<circle class="mark panel" cx="{px}" cy="{py}" r="4"><title>{tip}</title></circle>'
        )
        frame.taken.append((px - 5, py - 5, px + 5, py + 5))
    for a, b in zip(
        zip(seats, right, strict=True), zip(seats[1:], right[1:], strict=True), strict=False
    ):
        frame.taken += _along(frame.at(*a), frame.at(*b))
    _name_line(frame, frontier, f"frontier, one pass: {share(frontier)}")
    return frame.svg("Accuracy of a plurality vote against the number of seats")


def risk_coverage(data: dict[str, Any], frontier_risk: float, width: int) -> str:
    """Share of wrong decisions against the share of cases decided."""
    coverage, risk = data["coverage"], data["risk"]
    ceiling = max(0.02, *risk, frontier_risk) * 1.12
    frame = Frame(width, (0.0, 1.0), (0.0, min(1.0, ceiling)))
    many = 5 if width == NARROW else 11
    frame.axes(
        nice_ticks(0.0, 1.0, many),
        nice_ticks(*frame.y, 6),
        _percent,
        _percent,
        "cases decided (coverage)",
    )
    frame.line([(0.0, frontier_risk), (1.0, frontier_risk)], "reference")
    points = list(zip(coverage, risk, strict=True))
    frame.line(points, "curve")
    for (x, y), threshold in zip(points, data["threshold"], strict=True):
        px, py = frame.at(x, y)
        tip = f"agreement of {share(threshold, 0)} or more: {share(x)} decided, {share(y)} wrong"
        frame.parts.append(
            f'<circle class="mark panel" cx="{px}" cy="{py}" r="4"><title>{tip}</title></circle>'
        )
        frame.taken.append((px - 5, py - 5, px + 5, py + 5))
    for a, b in pairwise(points):
        frame.taken += _along(frame.at(*a), frame.at(*b))
    _name_line(frame, frontier_risk, f"frontier, all cases: {share(frontier_risk)} wrong")
    for point, threshold in list(zip(points, data["threshold"], strict=True))[
        :: _every(len(points))
    ]:
        frame.label(frame.at(*point), f"≥ {100 * threshold:.0f}%")
    return frame.svg("Share of wrong decisions against the share of cases decided")


def _every(number: int) -> int:
    return max(1, math.ceil(number / 6))


def _along(a: tuple[float, float], b: tuple[float, float]) -> list[Box]:
    """Small boxes along a line, so that no label is laid over it."""
    steps = max(1, round(math.dist(a, b) / 6))
    at = [
        (a[0] + (b[0] - a[0]) * i / steps, a[1] + (b[1] - a[1]) * i / steps)
        for i in range(steps + 1)
    ]
    return [(x - 2, y - 2, x + 2, y + 2) for x, y in at]


def _name_line(frame: Frame, value: float, text: str) -> None:
    """Name a horizontal line above or below it, at the left, the middle or the right."""
    _, y = frame.at(frame.x[1], value)
    left, right = frame.left + 6, frame.width - frame.right - 4
    width = LETTER * len(text)
    for start in (right - width, left, (left + right - width) / 2):
        for dy in (-6, 15):
            box = (start, y + dy - 10, start + width, y + dy + 3)
            clear = not any(_overlap(box, other) for other in frame.taken)
            if clear and box[1] >= 0 and box[3] <= frame.height - frame.bottom:
                frame.taken.append(box)
                frame.parts.append(
                    f'<text class="strong" x="{round(start, 1)}" y="{round(y + dy, 1)}">'
                    f"{escape(text)}</text>"
                )
                return
