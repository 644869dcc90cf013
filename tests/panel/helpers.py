"""What the panel's tests share: one task of each kind, completions, and the packaged book."""

from __future__ import annotations

from functools import cache
from typing import Any

from consensus.ballots import Usage
from consensus.models.protocol import Completion
from consensus.panel.book import PromptBook, load_prompts
from consensus.panel.seats import BallotForm, Seat, build_panel
from consensus.tasks import Approve, Choose, Compare, Generate, Message, Rank, Score, Task

APPROVE = Approve(
    type="t", subject="Lamp, unused, bought 5 days ago.", criteria="Refund if unused."
)
CHOOSE = Choose(type="t", subject="My card was charged twice.", options=("billing", "bug", "other"))
COMPARE = Compare(type="t", subject="2 + 2?", a="four", b="five", criteria="Correct first.")
RANK = Rank(type="t", items=("alpha", "beta", "gamma", "delta"), criteria="By the alphabet.")
SCORE = Score(type="t", subject="A short essay.", scale=(1, 10), criteria="Clarity.")
GENERATE = Generate(
    type="t",
    messages=[
        Message(role="system", content="Be brief."),
        Message(role="user", content="Say hello."),
    ],
)
TASKS: tuple[Task, ...] = (APPROVE, CHOOSE, COMPARE, RANK, SCORE, GENERATE)
JUDGED: tuple[Task, ...] = TASKS[:-1]


@cache
def book() -> PromptBook:
    return load_prompts(None)


def panel(task: Task, seats: int = 1, ballot: BallotForm = "structured", **more: Any) -> list[Seat]:
    more.setdefault("models", ("scripted/a",))
    return list(build_panel(task, seats=seats, book=book(), ballot=ballot, **more))


def said(text: str, **more: Any) -> Completion:
    return Completion(text=text, served_model="scripted/a", usage=Usage(input=10, output=5), **more)
