"""A rubric graded by a model: 1–5 for correctness, completeness and format.

The grader's own reliability is a measured thing, not an assumption: its marks are recorded and
priced like every other call, and a grader never marks its own work.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from consensus.errors import SuiteError, UnreadableError
from consensus.models.protocol import Completion, Part, Request, Turn
from consensus.oracles.verdicts import Json, Verdict, content_hash

__all__ = ["MARKS", "Marks", "Rubric", "same_model"]

MARKS: tuple[str, ...] = ("correctness", "completeness", "format")

Ask = Callable[[Request], Awaitable[Completion]]
"""Sends one request through the gateway, which records and prices it."""


@dataclass(frozen=True, slots=True)
class Marks:
    """A grader's marks, each from 1 to 5, and its reason."""

    correctness: int
    completeness: int
    format: int
    reason: str = ""

    @property
    def mean(self) -> float:
        """Mean of the three marks, from 1 to 5."""
        return (self.correctness + self.completeness + self.format) / 3


@dataclass(frozen=True)
class Rubric:
    """Graded by a model against a written rubric.

    Args:
        grader: the grading model; never the model that is graded.
        text: the rubric, as the system prompt.
        floor: mean mark (1–5) at which an answer is acceptable.
    """

    grader: str
    text: str
    floor: float = 4.0
    max_output_tokens: int = 600
    name: str = "rubric"
    graded: bool = field(default=True, init=False)
    needs_reference: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if not 1 <= self.floor <= 5:
            raise SuiteError(f"a rubric's floor is a mean mark from 1 to 5, not {self.floor}")
        if not self.text.strip():
            raise SuiteError("a rubric without a text")

    @property
    def sha256(self) -> str:
        """Content hash; the rubric's words and the grader are part of it."""
        settings = {"grader": self.grader, "floor": self.floor}
        return content_hash("rubric", 1, settings, self.text.encode())

    def judge(self, answer: Json, reference: Json = None) -> Verdict:
        """Refuse: grading takes a call. Use :meth:`grade`."""
        raise SuiteError(
            "a rubric is graded by a model and cannot be used where no call may be made",
            fix="use it in a benchmark run or as an asynchronous gate",
        )

    async def grade(
        self, ask: Ask, *, task: str, answer: Json, answered_by: str, reference: Json = None
    ) -> Verdict:
        """Have one answer graded.

        Raises:
            SuiteError: the grader would grade its own answer.
            UnreadableError: the grader's reply is not three marks from 1 to 5.
            ProviderError: the call failed.
        """
        if same_model(self.grader, answered_by):
            raise SuiteError(
                f"{self.grader} would grade its own answer", fix="name another model as grader"
            )
        marks = read_marks(await ask(self.request(task, answer, reference)))
        score = (marks.mean - 1) / 4
        detail = f"{marks.correctness}/{marks.completeness}/{marks.format}, mean {marks.mean:.2f}"
        return Verdict(score, marks.mean >= self.floor - 1e-9, detail)

    def request(self, task: str, answer: Json, reference: Json = None) -> Request:
        """The grading call, with everything that is judged fenced as data."""
        written = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
        parts = [("task", task)]
        if reference is not None:
            known = reference if isinstance(reference, str) else json.dumps(reference)
            parts.append(("reference", known))
        parts.append(("answer", written))
        fence = _fence([text for _, text in parts])
        body = "\n\n".join(f"<{name}-{fence}>\n{text}\n</{name}-{fence}>" for name, text in parts)
        return Request(
            model=self.grader,
            system=self.text,
            turns=(Turn("user", (Part(body), Part("Give your reason first, then the marks."))),),
            output_schema=_SCHEMA,
            max_output_tokens=self.max_output_tokens,
        )


_MARK = {"type": "integer", "enum": [1, 2, 3, 4, 5]}
_SCHEMA = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, **dict.fromkeys(MARKS, _MARK)},
    "required": ["reason", *MARKS],
    "additionalProperties": False,
}


def read_marks(completion: Completion) -> Marks:
    """Read three marks, strictly.

    Raises:
        UnreadableError: nothing else is ever turned into a score.
    """
    try:
        data = json.loads(completion.text)
    except (ValueError, RecursionError):
        raise UnreadableError("the grader's reply is not JSON", failure="unreadable") from None
    if not isinstance(data, dict):
        raise UnreadableError("the grader's reply is not an object", failure="schema")
    marks = []
    for name in MARKS:
        mark = data.get(name)
        if isinstance(mark, bool) or not isinstance(mark, int) or not 1 <= mark <= 5:
            raise UnreadableError(
                f"the grader gave no mark from 1 to 5 for {name}", failure="schema"
            )
        marks.append(mark)
    reason = data.get("reason")
    return Marks(marks[0], marks[1], marks[2], reason if isinstance(reason, str) else "")


def same_model(a: str, b: str) -> bool:
    """Same model under its plain and its dated name."""
    x, y = sorted((a.rsplit("/", 1)[-1], b.rsplit("/", 1)[-1]), key=len)
    rest = y.removeprefix(x)
    return x == y or (y.startswith(x + "-") and rest.strip("-").replace("-", "").isdigit())


def _fence(texts: list[str]) -> str:
    """A mark that occurs in none of the texts, so none can close its fence."""
    seed = "\0".join(texts)
    fence = hashlib.sha256(seed.encode(errors="replace")).hexdigest()[:12]
    while any(fence in text for text in texts):
        fence = hashlib.sha256(fence.encode()).hexdigest()[:12]
    return fence
