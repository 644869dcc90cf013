"""Seats that see what others wrote: a debate's next round, and candidates put to a panel.

What another model wrote is as little to be trusted as what is judged (it may quote it), so it is
cleaned and fenced in the same way.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b

from consensus.ballots import Answer, Ballot
from consensus.models.protocol import Part, Request, Turn
from consensus.panel.answers import asks_scores, is_token_ballot, score_words, shown_answer
from consensus.panel.book import PromptBook
from consensus.panel.fencing import Fence, clean
from consensus.panel.rendering import answer_form, render
from consensus.panel.seats import Seat
from consensus.tasks import Choose, Generate, Task

__all__ = ["candidate_text", "candidates_task", "debate_request"]


def debate_request(
    task: Task,
    seat: Seat,
    book: PromptBook,
    *,
    own: Ballot,
    others: Sequence[Ballot],
    turn: int = 1,
) -> Request:
    """The request that lets a seat think again, having seen what others answered.

    The others are anonymous, and in an order that depends on the seat and the turn and on nothing
    that they wrote. Their answers are put in this seat's own words. Send it with
    ``ask(..., request=...)``.

    Args:
        task: what is asked.
        seat: who thinks again.
        book: the prompts.
        own: what this seat answered.
        others: what the other seats answered; at least one.
        turn: which round of the debate this is, from 1.
    """
    first = render(task, seat, book)
    mine = clean(_own_words(task, seat, own))
    shuffled = sorted(others, key=lambda ballot: _draw(seat.index, turn, ballot.seat))
    texts = [_position(task, seat, ballot) for ballot in shuffled]
    fence = Fence([*(clean(text) for text in task.texts()), mine, *texts])
    answers = "\n\n".join(fence.wrap(f"judge-{n}", text) for n, text in enumerate(texts, 1))
    form = "" if isinstance(task, Generate) else answer_form(task, seat, book)
    text = book.debate.render(answers=answers, form=form)
    turns = (*first.turns, Turn("assistant", (Part(mine),)), Turn("user", (Part(text),)))
    return replace(first, turns=turns)


def candidates_task(task: Generate, candidates: Sequence[Answer], book: PromptBook) -> Choose:
    """The question which of several candidates is the best answer to a conversation.

    Args:
        task: what the candidates answer.
        candidates: at least two, no two alike (capitals and blanks aside).
        book: the prompts.

    Returns:
        A task of the same type whose options are :func:`candidate_text` of each, in their order.

    Raises:
        TaskError: too few candidates, or two that are alike.
    """
    messages = [{"role": m.role, "content": m.content} for m in task.messages]
    system = messages.pop(0)["content"] if messages[0]["role"] == "system" else ""
    return Choose(
        type=task.type,
        id=task.id,
        subject=book.candidates_subject.render(system=system, messages=messages),
        options=tuple(candidate_text(candidate) for candidate in candidates),
        criteria=book.candidates_criteria.render(),
        judged_options=True,
    )


def candidate_text(candidate: Answer) -> str:
    """A candidate as it is shown: a text as it is, anything else as JSON."""
    if isinstance(candidate, str):
        return candidate
    return json.dumps(candidate, ensure_ascii=False, indent=1)


def _own_words(task: Task, seat: Seat, own: Ballot) -> str:
    """The seat's earlier answer, in the form in which it was asked for."""
    answer = shown_answer(task, seat, own.answer)
    if isinstance(task, Generate):
        return candidate_text(own.answer)
    if is_token_ballot(task, seat):
        return str(answer)
    if asks_scores(task, seat) and own.scores is not None:
        words = score_words(task, seat)
        points = {
            word: own.scores[task.options[index]]
            for word, index in zip(words, seat.order, strict=False)
        }
        return json.dumps({"rationale": own.rationale, "scores": points}, ensure_ascii=False)
    said = {"answer": answer}
    if seat.ballot == "structured":
        said = {"rationale": own.rationale, "answer": answer}
        if own.confidence is not None:
            said["confidence"] = own.confidence
    return json.dumps(said, ensure_ascii=False)


def _position(task: Task, seat: Seat, ballot: Ballot) -> str:
    """Another seat's answer and reason, in this seat's words."""
    answer = shown_answer(task, seat, ballot.answer)
    text = answer if isinstance(answer, str) else candidate_text(answer)
    lines = f"answer: {clean(text)}"
    return f"{lines}\nreason: {clean(ballot.rationale)}" if ballot.rationale else lines


def _draw(seat: int, turn: int, other: int) -> bytes:
    return blake2b(f"{seat}/{turn}/{other}".encode(), digest_size=8).digest()
