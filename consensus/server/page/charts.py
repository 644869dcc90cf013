"""The page's charts over time, drawn as the report's are: inline SVG, classes, no style attribute.

A Content-Security-Policy that allows no inline style leaves only classes: ``s0`` … ``s5`` are the
colours of a stack, ``line``, ``alarm`` and ``band`` those of a rate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from itertools import groupby

from consensus.benchmark.report.charts import LETTER, NARROW, WIDE, Frame, nice_ticks
from consensus.benchmark.report.words import count, share, usd
from consensus.ledger.page import clean

__all__ = ["COLOURS", "Reference", "money_over_time", "rate_over_time", "spent_over_time"]

DAY = 86_400
COLOURS = 6
"""Of a stack: the dearest task types have their own, the rest share the last."""
DOTS = 40
"""Points up to which each has its mark."""


@dataclass
class Small(Frame):
    """A plot for a card: as wide as a telephone, and lower than a chart of its own."""

    tall: int = 176
    left: float = 46
    bottom: float = 40

    @property
    def height(self) -> int:
        """Pixels."""
        return self.tall


@dataclass(frozen=True, slots=True)
class Reference:
    """A horizontal line with its name; ``css`` is ``line`` or ``alarm``."""

    value: float
    text: str
    css: str


def rate_over_time(
    starts: Sequence[int],
    step: int,
    rates: Sequence[float | None],
    bands: Sequence[Sequence[float] | None],
    references: Sequence[Reference],
    description: str,
) -> str | None:
    """A share per bucket with its 95 % interval; None where nothing was counted."""
    known = [(place, rate) for place, rate in enumerate(rates) if rate is not None]
    if not known:
        return None
    tops = [band[1] for band in bands if band is not None] if len(known) <= 3 else []
    high = max(0.05, *(rate for _, rate in known), *(line.value for line in references), *tops)
    frame = _frame(len(starts), (0.0, min(1.0, high * 1.18)))
    _axes(frame, starts, step, lambda value: f"{100 * value:g}%", "")
    _bands(frame, bands)
    _references(frame, references)
    _curve(frame, rates)
    _marks(frame, known, lambda place, rate: f"{_when(starts[place], step)}: {share(rate)}")
    return frame.svg(description)


def money_over_time(
    starts: Sequence[int],
    step: int,
    values: Sequence[float | None],
    references: Sequence[Reference],
    description: str,
) -> str | None:
    """Dollars per bucket, each on its own; None where nothing cost anything."""
    known = [(place, value) for place, value in enumerate(values) if value is not None]
    high = max([0.0, *(value for _, value in known), *(line.value for line in references)])
    if not known or not high:
        return None
    scale, unit = _unit(high)
    frame = _frame(len(starts), (0.0, high * scale * 1.18))
    _axes(frame, starts, step, lambda value: f"{value:g}", unit)
    _references(frame, [Reference(line.value * scale, line.text, line.css) for line in references])
    _curve(frame, [None if value is None else value * scale for value in values])
    _marks(
        frame,
        [(place, value * scale) for place, value in known],
        lambda place, value: f"{_when(starts[place], step)}: {usd(value / scale)}",
    )
    return frame.svg(description)


def spent_over_time(
    starts: Sequence[int],
    step: int,
    stacks: Sequence[tuple[str, Sequence[float]]],
    width: int,
    description: str,
) -> str | None:
    """Dollars spent per bucket, stacked by name from the ground up; None where there is nothing.

    At most :data:`COLOURS` stacks.
    """
    totals = [sum(values[place] for _, values in stacks) for place in range(len(starts))]
    if not any(totals):
        return None
    scale, unit = _unit(max(totals))
    frame = Small(
        width,
        (-0.5, max(len(starts), 2) - 0.5),
        (0.0, max(totals) * scale * 1.08),
        tall=240 if width == WIDE else 210,
        left=54,
    )
    _axes(frame, starts, step, lambda value: f"{value:g}", unit)
    across = (frame.width - frame.left - frame.right) / max(len(starts), 2)
    thick = round(min(48.0, max(1.0, across * 0.78)), 1)
    for place, start in enumerate(starts):
        base = 0.0
        for colour, (name, values) in enumerate(stacks):
            value = values[place] * scale
            if not value:
                continue
            x, top = frame.at(place, base + value)
            _, bottom = frame.at(place, base)
            tip = f"{_when(start, step)} · {clean(name)}: {usd(values[place])}"
            frame.parts.append(
                f'<rect class="s{colour}" x="{round(x - thick / 2, 1)}" y="{top}" '
                f'width="{thick}" height="{round(max(bottom - top, 0.6), 1)}">'
                f"<title>{escape(tip)}</title></rect>"
            )
            base += value
    return frame.svg(description)


def _frame(buckets: int, y: tuple[float, float]) -> Small:
    return Small(NARROW, (-0.5, max(buckets, 2) - 0.5), y)


def _axes(
    frame: Frame, starts: Sequence[int], step: int, y_text: Callable[[float], str], unit: str
) -> None:
    room = frame.width - frame.left - frame.right
    label = len(_tick(starts[0], step)) * LETTER + 18
    many = max(1, min(len(starts), int(room / label)))
    every = -(-len(starts) // many)
    ticks = [float(place) for place in range(0, len(starts), every)]
    frame.axes(
        ticks,
        nice_ticks(*frame.y, 4),
        lambda place: _tick(starts[round(place)], step),
        y_text,
        ", ".join(part for part in (unit, _bucket(step)) if part),
    )


def _bands(frame: Frame, bands: Sequence[Sequence[float] | None]) -> None:
    """A whisker for a bucket on its own, an area for a run of them."""
    top = frame.y[1]
    for known, run in groupby(enumerate(bands), key=lambda item: item[1] is not None):
        pieces = [(place, band) for place, band in run if band is not None]
        if not known:
            continue
        if len(pieces) == 1:
            place, band = pieces[0]
            x, low = frame.at(place, band[0])
            _, high = frame.at(place, min(band[1], top))
            frame.parts.append(f'<line class="whisker" x1="{x}" x2="{x}" y1="{low}" y2="{high}"/>')
            continue
        frame.band(
            [place for place, _ in pieces],
            [band[0] for _, band in pieces],
            [min(band[1], top) for _, band in pieces],
        )


def _references(frame: Frame, references: Sequence[Reference]) -> None:
    """Lines with their names: the higher above its line, the lower below its own."""
    ordered = sorted(references, key=lambda line: -line.value)
    for place, line in enumerate(ordered):
        frame.line([(frame.x[0], line.value), (frame.x[1], line.value)], line.css)
        _, y = frame.at(frame.x[1], line.value)
        floor = frame.height - frame.bottom
        below = (place > 0 and y + 16 < floor) or y < frame.top + 12
        frame.parts.append(
            f'<text class="halo {line.css}-name" x="{frame.width - frame.right - 2}" '
            f'y="{round(y + (14 if below else -5), 1)}" text-anchor="end">'
            f"{escape(line.text)}</text>"
        )


def _curve(frame: Frame, values: Sequence[float | None]) -> None:
    for known, run in groupby(enumerate(values), key=lambda item: item[1] is not None):
        if known:
            frame.line([(place, value) for place, value in run if value is not None], "curve")


def _marks(
    frame: Frame, known: Sequence[tuple[int, float]], tip: Callable[[int, float], str]
) -> None:
    size = 4 if len(known) <= DOTS else 2
    for place, value in known:
        x, y = frame.at(place, value)
        frame.parts.append(
            f'<circle class="mark panel" cx="{x}" cy="{y}" r="{size}">'
            f"<title>{escape(tip(place, value))}</title></circle>"
        )


def _unit(high: float) -> tuple[float, str]:
    """What to multiply dollars by so that an axis has few digits, and what that is called."""
    if high >= 0.01:
        return 1.0, "dollars"
    if high >= 1e-5:
        return 1e3, "thousandths of a dollar"
    return 1e6, "millionths of a dollar"


def _bucket(step: int) -> str:
    if step < 3_600:
        return f"per {count(step // 60)} min" if step > 60 else "per minute"
    if step < DAY:
        return f"per {count(step // 3_600)} h" if step > 3_600 else "per hour"
    return f"per {count(step // DAY)} days" if step > DAY else "per day"


def _tick(start: int, step: int) -> str:
    form = "%m-%d" if step >= DAY else "%H:%M" if step < 3_600 else "%d %H:%M"
    return datetime.fromtimestamp(start, UTC).strftime(form)


def _when(start: int, step: int) -> str:
    form = "%Y-%m-%d" if step >= DAY else "%Y-%m-%d %H:%M"
    return datetime.fromtimestamp(start, UTC).strftime(form)
