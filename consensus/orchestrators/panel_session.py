"""What an orchestrator's seats are asked through: one hop's panel over the gateway."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from consensus.ballots import Answer, Ballot, Failure
from consensus.models.gateway import CallContext, Gateway
from consensus.models.prices import PriceBook
from consensus.oracles import Oracle
from consensus.orchestrators.checks import Judgement
from consensus.orchestrators.judging import judge_answer, served_by
from consensus.panel.asking import Cut, ask
from consensus.panel.book import PromptBook
from consensus.panel.exchange import candidates_task, debate_request
from consensus.panel.rendering import render
from consensus.panel.seats import Seat, build_panel
from consensus.tasks import Compare, Generate, Rank, Task

__all__ = ["BYTES_PER_TOKEN", "GRADER_SEATS", "PanelSession"]

BYTES_PER_TOKEN = 4
"""UTF-8 bytes in a token of English text: for rules and estimates, never for the window guard."""

CACHE_MINIMUM = 1024
"""Tokens of the shortest cached prefix where the price map names none."""

GRADER_SEATS = 600_000
"""A grader's place on the ledger is this plus the seat of what it judges: never that of a seat."""


@dataclass(slots=True)
class PanelSession:
    """One hop's panel, its prompts and its purse.

    ``oracle`` is what the row's candidates are judged by, with its name in the policy.
    """

    task: Task
    panel: Sequence[Seat]
    book: PromptBook
    gateway: Gateway
    context: CallContext
    oracle: tuple[str, Oracle] | None = None

    async def ask(self, seat: Seat, cut: Cut | None = None) -> Ballot | Failure:
        """Put the task to one seat."""
        return await ask(self.task, seat, self.gateway, self.context, self.book, cut=cut)

    def first(self, seats: Sequence[Seat]) -> Sequence[Seat]:
        """One seat of each model whose long shared prefix its provider would cache.

        A prefix can be read only once the answer that wrote it has begun: seats that start together
        would all pay for writing it. Five seats on a long text cost a quarter so.
        """
        by_model: dict[str, list[Seat]] = {}
        for seat in seats:
            by_model.setdefault(seat.model, []).append(seat)
        prices = self.gateway.prices
        return [
            group[0]
            for model, group in by_model.items()
            if len(group) > 1
            and prices.supports(model, "supports_prompt_caching")
            and _prefix_tokens(self.task, group[0], self.book) >= _cache_minimum(prices, model)
        ]

    async def ask_again(
        self, seat: Seat, own: Ballot, others: Sequence[Ballot], turn: int
    ) -> Ballot | Failure:
        """Put the task to a seat that has read what the others said."""
        request = debate_request(self.task, seat, self.book, own=own, others=others, turn=turn)
        context = replace(self.context, purpose="debate")
        return await ask(self.task, seat, self.gateway, context, self.book, request=request)

    async def choose(
        self, seat: Seat, candidates: Sequence[Answer], number: int
    ) -> tuple[int, Ballot] | Failure:
        """Let a seat choose the best of several answers; its place among them, and its ballot.

        Orders differ from model to model and from one seat of a model to the next, so that no place
        is the first for all. A judge is asked itself or not at all: whoever stood in for it might
        have written one of them.
        """
        assert isinstance(self.task, Generate)  # noqa: S101 - only its answers are candidates
        question = candidates_task(self.task, candidates, self.book)
        scoring = seat.ballot == "scores"
        models = list(dict.fromkeys(s.model for s in self.panel))
        lap = sum(s.model == seat.model and s.index < seat.index for s in self.panel)
        judge = build_panel(
            question,
            models=(seat.model,),
            seats=models.index(seat.model) + lap + 1,
            framings=("plain",),
            book=self.book,
            ballot="scores" if scoring else "structured",
            temperature=seat.temperature,
        )[-1]
        context = replace(self.context, fallbacks=())
        said = await ask(question, replace(judge, index=number), self.gateway, context, self.book)
        if isinstance(said, Failure):
            return said
        if not scoring or said.scores is None:
            return question.options.index(str(said.answer)), said
        points = {str(at): said.scores[option] for at, option in enumerate(question.options)}
        best = max(points, key=lambda at: points[at])
        return int(best), said.model_copy(update={"scores": points})

    async def compare(
        self, seat: Seat, shown_first: int, shown_second: int, number: int
    ) -> Ballot | Failure:
        """Let a seat compare two items of a ranking, shown in this order."""
        assert isinstance(self.task, Rank)  # noqa: S101 - only its items are compared
        one, other = self.task.items[shown_first], self.task.items[shown_second]
        question = Compare(
            type=self.task.type,
            id=self.task.id,
            subject=self.task.subject,
            a=one,
            b=other,
            criteria=self.task.criteria,
        )
        asked = build_panel(
            question,
            models=(seat.model,),
            seats=1,
            framings=("plain",),
            book=self.book,
            ballot=seat.ballot,
            temperature=seat.temperature,
            first_seat=number,
            max_output_tokens=seat.max_output_tokens,
        )[0]
        said = await ask(
            question, replace(asked, order=(0, 1, 2)), self.gateway, self.context, self.book
        )
        shown = (shown_first, shown_second)
        if isinstance(said, Failure):
            return said.model_copy(update={"order": shown})
        words: dict[str, Answer] = {"A": (one, other), "B": (other, one), "tie": [[one, other]]}
        update = {"answer": words[str(said.answer)], "order": shown, "distribution": None}
        return said.model_copy(update=update)

    async def judge(self, candidate: Ballot) -> Judgement | None:
        """The row's oracle on a candidate; None without one."""
        if self.oracle is None:
            return None
        name, oracle = self.oracle
        said = await judge_answer(
            name,
            oracle,
            self.task,
            candidate.answer,
            answered_by=served_by([candidate]),
            caller=self.gateway,
            context=replace(self.context, seat=GRADER_SEATS + candidate.seat, fallbacks=()),
        )
        return said.model_copy(update={"of": "candidate"})


def _prefix_tokens(task: Task, seat: Seat, book: PromptBook) -> int:
    """Tokens, at four bytes each, that every seat of the task begins with."""
    request = render(task, seat, book)
    size = len(request.system.encode())
    for part in request.turns[0].parts:
        size += len(part.text.encode())
        if part.cache:
            return size // BYTES_PER_TOKEN
    return 0


def _cache_minimum(prices: PriceBook, model: str) -> int:
    """The shortest prefix, in tokens, that the model's provider caches."""
    least = prices.fact(model, "prompt_cache_min_tokens")
    return least if isinstance(least, int) else CACHE_MINIMUM
