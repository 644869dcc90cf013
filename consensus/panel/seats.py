"""Seats: who sits on a panel, with which framing, and in which order they see the options.

Models take turns. Every option stands in every position as equally often as the number of seats
allows (rows of a balanced Latin square, Williams 1949), over the panel and for each model. Framings
are dealt so that all are used before one is used again, and so that a framing falls neither to one
model nor to one order. Nothing is random, and a panel of nine begins with the panel of five.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import gcd, lcm
from typing import TYPE_CHECKING, Literal

from consensus.errors import TaskError
from consensus.tasks import Task

if TYPE_CHECKING:
    from consensus.panel.book import PromptBook

__all__ = ["MAX_SEATS", "BallotForm", "Seat", "balanced_order", "build_panel", "runs_here"]

BallotForm = Literal["structured", "token", "scores"]

MAX_SEATS = 10_000


@dataclass(frozen=True, slots=True)
class Seat:
    """One place on a panel.

    Attributes:
        index: its number within the decision, from 0.
        model: as LiteLLM names it.
        framing: the framing's name.
        order: which option or item stands in each position, as indices into ``task.options``;
            empty where there are none. A comparison's ``tie`` always stands last.
        ballot: ``structured`` (rationale, answer, confidence), ``token`` (one word, read as a
            distribution where the provider gives probabilities) or ``scores`` (rationale, and a
            score from 1 to 10 for every option; structured where there is no closed set).
        temperature: None for the provider's default.
        sample: how many earlier seats have the same model, framing and order.
        max_output_tokens: None for the default of the task's kind.
    """

    index: int
    model: str
    framing: str
    order: tuple[int, ...] = ()
    ballot: BallotForm = "structured"
    temperature: float | None = None
    sample: int = 0
    max_output_tokens: int | None = None


def build_panel(
    task: Task,
    *,
    models: Sequence[str],
    seats: int,
    framings: Sequence[str] = (),
    book: PromptBook,
    ballot: BallotForm | Literal["auto"] = "structured",
    temperature: float | None = None,
    first_seat: int = 0,
    max_output_tokens: int | None = None,
) -> tuple[Seat, ...]:
    """The first ``seats`` seats of the one panel that these models make.

    A smaller panel is the beginning of a larger one: for waves, build the whole and take slices.

    Args:
        task: its kind and number of options decide framings and orders.
        models: taken in turn.
        seats: how many.
        framings: names, in the order in which they are dealt; none: the book's default sequence
            for the task's kind.
        book: knows the framings.
        ballot: how the seats answer; ``auto``: by token for ``local/`` models, whose probabilities
            are always at hand, structured for all others.
        temperature: for all seats.
        first_seat: the number that the first seat bears within the decision; it changes numbers
            and nothing else, so that an escalation's first seat is plain too.
        max_output_tokens: for all seats; None for the default of the task's kind.

    Raises:
        TaskError: no model, no seat, or too many.
        PromptError: an unknown framing, or one that does not suit the task's kind.
    """
    if not models:
        raise TaskError("a panel needs at least one model")
    if not 1 <= seats <= MAX_SEATS or first_seat < 0:
        raise TaskError(f"a panel has 1 to {MAX_SEATS:,} seats, not {seats}")
    names = book.sequence(task.kind, tuple(framings))
    return _panel(
        tuple(models),
        names,
        len(task.options),
        task.kind == "compare",
        first_seat,
        seats,
        ballot,
        temperature,
        max_output_tokens,
    )


@lru_cache(maxsize=128)
def _panel(
    models: tuple[str, ...],
    framings: tuple[str, ...],
    options: int,
    tie_last: bool,
    first: int,
    count: int,
    ballot: BallotForm | Literal["auto"],
    temperature: float | None,
    max_output_tokens: int | None,
) -> tuple[Seat, ...]:
    width = options - 1 if tie_last else options
    samples: Counter[tuple[str, str, tuple[int, ...]]] = Counter()
    panel = []
    for index, framing in enumerate(_deal(models, framings, width, count)):
        model = models[index % len(models)]
        order = balanced_order(width, *_row(index, len(models), width))
        if tie_last:
            order = (*order, width)
        same = (model, framing, order)
        panel.append(
            Seat(
                index=first + index,
                model=model,
                framing=framing,
                order=order,
                ballot=_form(model, ballot),
                temperature=temperature,
                sample=samples[same],
                max_output_tokens=max_output_tokens,
            )
        )
        samples[same] += 1
    return tuple(panel)


def _form(model: str, ballot: BallotForm | Literal["auto"]) -> BallotForm:
    if ballot != "auto":
        return ballot
    return "token" if runs_here(model) else "structured"


def runs_here(model: str) -> bool:
    """Whether a model runs on this machine: its probabilities can be read, its schema is a grammar
    that holds to the letter, and every word that it writes takes the machine's time."""
    return model.startswith("local/")


def _row(index: int, models: int, width: int) -> tuple[int, bool]:
    """Which row of the square a seat sees, and whether of its mirror image.

    Rows are taken in turn; where models and rows fall into step, so that a model would see some of
    the rows only, each lap begins one row further on. Odd widths need the mirror image for balance
    between neighbours.
    """
    if width < 2:
        return 0, False
    row = (index + index // lcm(models, width) % gcd(models, width)) % width
    lap = index // models // width
    return row, width % 2 == 1 and lap % 2 == 1


def balanced_order(width: int, row: int, mirrored: bool = False) -> tuple[int, ...]:
    """One row of a balanced Latin square that begins with the identity.

    For an even width, row 1 is row 0 backwards, row 3 is row 2 backwards, and so on, and each
    option follows each other one exactly once; for an odd width that takes the mirrored rows too.

    Args:
        width: how many options there are.
        row: 0 to ``width - 1``.
        mirrored: the row read backwards.

    Returns:
        For each position, the index of the option that stands there.
    """
    if width < 2:
        return tuple(range(width))
    zigzag = [(j + 1) // 2 if j % 2 else (width - j // 2) % width for j in range(width)]
    place = {value: position for position, value in enumerate(zigzag)}
    turn = row // 2 + (row % 2) * (width // 2) if width % 2 == 0 else row
    order = tuple(place[(value + turn) % width] for value in zigzag)
    return order[::-1] if mirrored else order


def _deal(models: tuple[str, ...], framings: tuple[str, ...], width: int, count: int) -> list[str]:
    """The framing of each of the first ``count`` seats.

    Each seat gets, of the framings that were used least, the one that its model, then its order,
    then both together have seen least; then the earliest in the sequence.
    """
    used: Counter[object] = Counter()
    dealt = []
    for index in range(count):
        model = models[index % len(models)]
        row = _row(index, len(models), width)
        best = min(
            range(len(framings)),
            key=lambda f: (
                used[f],
                used[f, model],
                used[f, row],
                used[f, model, row],
                f,
            ),
        )
        used.update([best, (best, model), (best, row), (best, model, row)])
        dealt.append(framings[best])
    return dealt
