"""The scripted model: a fake that ships with the package, for users' tests and for our own.

It answers as ``scripted/NAME``. What it says comes from a function, from a file of rules, or, left
alone, from the hash of the request: the same request gets the same answer in every process. It
gives valid JSON where a schema is asked for, probabilities where one-token ballots are, usage
(a token is four bytes), latency and every class of failure.

A file of rules (TOML or JSON) is parsed and validated, never executed. The first rule that fits a
request answers it::

    [[rules]]
    model = "scripted/strict"          # optional: exactly this model
    contains = "unused"                # optional: this text is in the prompt
    matches = "bought (1|2)\\\\d days ago"  # optional: this regular expression is found in it
    times = 2                          # optional: only for so many requests
    answer = "approve"                 # placed in the schema, or the most likely choice …
    confidence = 0.9
    latency_s = 0.3

    [[rules]]
    failure = "rate_limited"           # … or a failure, with its class
    retry_after_s = 1
"""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from consensus.ballots import Usage
from consensus.errors import DataError, FailureClass, ProviderError
from consensus.models._filling import Dice, fill
from consensus.models.hashing import request_key
from consensus.models.protocol import Completion, Request
from consensus.strangers import parse_json, parse_toml, read_bounded
from consensus.tasks import describe

__all__ = ["RETRYABLE", "Behaviour", "Reply", "Rule", "ScriptedClient", "load_rules"]

RETRYABLE: Final[frozenset[FailureClass]] = frozenset(
    {"timeout", "connection", "rate_limited", "overloaded", "server_error", "malformed_response"}
)
"""The failures that a scripted model reports as worth another attempt."""

Finish = Literal["stop", "length", "refusal", "tool", "other"]


@dataclass(frozen=True, slots=True)
class Reply:
    """What a scripted model does with one request. All None: an answer by the request's hash.

    Attributes:
        answer: put in its place in the schema, or made the likeliest choice, or said as it is.
        text: said word for word, whatever was asked for.
        confidence: of a structured answer's ``confidence``; of a choice, its probability.
        probabilities: by choice; the rest share what is left.
        failure: fail with this class instead.
        status, retry_after_s: of the failure.
        latency_s: seconds before the reply; the client's own where None.
        usage, served_model, finish: where they shall differ.
    """

    answer: object = None
    text: str | None = None
    confidence: float | None = None
    probabilities: Mapping[str, float] | None = None
    failure: FailureClass | None = None
    status: int | None = None
    retry_after_s: float | None = None
    latency_s: float | None = None
    usage: Usage | None = None
    served_model: str | None = None
    finish: Finish = "stop"


Said: TypeAlias = (
    str | float | Sequence[Any] | Mapping[str, Any] | Reply | Completion | BaseException | None
)
Behaviour: TypeAlias = Callable[[Request], Said | Awaitable[Said]]
"""From a request to an answer, a Reply, a whole Completion, or an exception (returned or raised).
None leaves it to the hash."""


class Rule(BaseModel):
    """One rule of a file: which requests it fits, and the reply to them."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    model: str | None = None
    contains: str | None = None
    matches: str | None = None
    times: int | None = Field(default=None, ge=1)
    answer: str | float | list[Any] | dict[str, Any] | None = None
    text: str | None = None
    confidence: float | None = Field(default=None, ge=0, le=1)
    probabilities: dict[str, float] | None = None
    failure: FailureClass | None = None
    status: int | None = None
    retry_after_s: float | None = Field(default=None, ge=0)
    latency_s: float | None = Field(default=None, ge=0)
    usage: Usage | None = None
    served_model: str | None = None
    finish: Finish = "stop"

    @model_validator(mode="after")
    def _sound(self) -> Rule:
        if self.matches is not None:
            try:
                re.compile(self.matches)
            except re.error as error:
                raise ValueError(f"matches is not a regular expression: {error}") from None
        if sum(x is not None for x in (self.answer, self.text, self.failure)) > 1:
            raise ValueError("gives more than one of answer, text and failure")
        if any(not 0 <= p <= 1 for p in (self.probabilities or {}).values()):
            raise ValueError("probabilities lie from 0 to 1")
        return self

    def fits(self, request: Request, prompt: str) -> bool:
        """Whether this rule is about that request."""
        return (
            (self.model is None or self.model == request.model)
            and (self.contains is None or self.contains in prompt)
            and (self.matches is None or re.search(self.matches, prompt) is not None)
        )

    def reply(self) -> Reply:
        """What it says."""
        names = self.model_dump(exclude={"model", "contains", "matches", "times", "usage"})
        return Reply(**names, usage=self.usage)


MAX_RULES_BYTES = 16_000_000


class _Rules(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    version: Literal[1] = 1
    rules: tuple[Rule, ...]


def load_rules(path: str | Path) -> tuple[Rule, ...]:
    """Read a file of rules, ``.toml`` or ``.json``.

    Raises:
        DataError: naming the file, the key and what was expected.
    """
    where = str(path)
    try:
        raw = read_bounded(Path(path), MAX_RULES_BYTES)
        data = parse_json(raw) if where.endswith(".json") else parse_toml(raw)
        return _Rules.model_validate(data).rules
    except ValidationError as error:
        raise DataError(describe(error), where=where) from None
    except UnicodeDecodeError:
        raise DataError("the rules cannot be read: not UTF-8", where=where) from None
    except ValueError as error:
        raise DataError(f"the rules cannot be parsed: {error}", where=where) from None


class ScriptedClient:
    """A :class:`~consensus.models.protocol.ModelClient` that does what it is told.

    Args:
        behaviour: a function, or rules; None: every answer follows from its request's hash.
        latency_s: seconds that every call takes.
        keep: how many of the latest requests are kept in ``requests``.

    Attributes:
        requests: the latest requests, oldest first.
        calls: how many there were in all.
        in_flight, peak: calls under way now, and at most so far.
        closed: whether :meth:`aclose` was called.
    """

    def __init__(
        self,
        behaviour: Behaviour | Sequence[Rule] | None = None,
        *,
        latency_s: float = 0.0,
        keep: int = 10_000,
    ) -> None:
        self._behaviour = behaviour if callable(behaviour) else None
        self._rules = [] if behaviour is None or callable(behaviour) else list(behaviour)
        self._used = [0] * len(self._rules)
        self.latency_s = latency_s
        self.requests: deque[Request] = deque(maxlen=keep)
        self.calls = 0
        self.in_flight = 0
        self.peak = 0
        self.closed = False

    @classmethod
    def answering(cls, answers: Mapping[str, Said], **options: Any) -> Self:
        """A client that answers by model: ``answering({"scripted/a": "approve"})``.

        A tuple is a sequence of replies, one a request, the last of which is repeated; a list is
        an answer (a ranking). A model that is not named answers by hash.
        """
        seen = dict.fromkeys(answers, 0)

        def answer(request: Request) -> Said:
            said = answers.get(request.model)
            if not isinstance(said, tuple):
                return said
            index = min(seen[request.model], len(said) - 1)
            seen[request.model] += 1
            reply: Said = said[index]
            return reply

        return cls(answer, **options)

    @classmethod
    def from_file(cls, path: str | Path, **options: Any) -> Self:
        """A client that follows a file of rules.

        Raises:
            DataError: naming the file, the key and what was expected.
        """
        return cls(load_rules(path), **options)

    async def complete(self, request: Request, *, timeout_s: float) -> Completion:
        """Answer one request.

        Raises:
            ProviderError: the failure that the script asks for, or ``timeout``.
        """
        self.requests.append(request)
        self.calls += 1
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            said = await self._say(request)
            latency = self.latency_s
            if isinstance(said, Reply) and said.latency_s is not None:
                latency = said.latency_s
            if latency > 0:
                await asyncio.sleep(min(latency, timeout_s))
            if latency > timeout_s:
                raise ProviderError(
                    f"{request.model}: no answer within {timeout_s:.3g} s",
                    failure="timeout",
                    retryable=True,
                    model=request.model,
                )
            if isinstance(said, BaseException):
                raise said
            if isinstance(said, Completion):
                return said
            return _completion(request, said if isinstance(said, Reply) else Reply(said), latency)
        finally:
            self.in_flight -= 1

    async def count_tokens(self, request: Request) -> int:
        """A token is four bytes: that is this model's tokenizer."""
        return _tokens(request.input_bytes())

    async def aclose(self) -> None:
        """Nothing is held."""
        self.closed = True

    async def _say(self, request: Request) -> Said:
        if self._behaviour is not None:
            said = self._behaviour(request)
            return await said if inspect.isawaitable(said) else said
        if self._rules:
            prompt = "\n\n".join((request.system, *(turn.text for turn in request.turns)))
            for index, rule in enumerate(self._rules):
                if rule.times is not None and self._used[index] >= rule.times:
                    continue
                if rule.fits(request, prompt):
                    self._used[index] += 1
                    return rule.reply()
        return None


def _completion(request: Request, reply: Reply, latency_s: float) -> Completion:
    if reply.failure is not None:
        raise ProviderError(
            f"{request.model}: scripted failure {reply.failure}",
            failure=reply.failure,
            retryable=reply.failure in RETRYABLE,
            retry_after_s=reply.retry_after_s,
            status=reply.status,
            model=request.model,
            usage=reply.usage,
        )
    dice = Dice(request_key(request))
    probabilities = None
    if reply.text is not None:
        text = reply.text
    elif request.choices:
        text, probabilities = _choice(request.choices, reply, dice)
    elif request.output_schema is not None:
        text = _structured(request.output_schema, reply, dice)
    elif reply.answer is None:
        text = f"scripted answer {dice.roll(10**6):06d}"
    else:
        text = _spelt(reply.answer)
    usage = reply.usage or Usage(
        input=_tokens(request.input_bytes()), output=_tokens(len(text.encode()))
    )
    return Completion(
        text=text,
        served_model=reply.served_model or request.model,
        usage=usage,
        finish=reply.finish,
        latency_s=latency_s,
        choice_probabilities=probabilities,
        coverage=None if probabilities is None else 1.0,
    )


def _structured(schema: Mapping[str, Any], reply: Reply, dice: Dice) -> str:
    answer = reply.answer
    if isinstance(answer, Mapping):
        return json.dumps(answer, ensure_ascii=False)
    named = {} if reply.confidence is None else {"confidence": reply.confidence}
    value, placed = fill(schema, dice, answer, named)
    if answer is not None and not placed:
        # An answer that the schema has no place for is said as it is: so do real models.
        return _spelt(answer)
    return json.dumps(value, ensure_ascii=False)


def _choice(
    choices: tuple[str, ...], reply: Reply, dice: Dice
) -> tuple[str, tuple[float, ...] | None]:
    """The text of a one-token ballot, and the probabilities of its choices."""
    given = dict(reply.probabilities or {})
    if not given and reply.answer is not None:
        answer = _spelt(reply.answer)
        if answer not in choices:
            return answer, None
        given = {answer: 0.9 if reply.confidence is None else reply.confidence}
    if given:
        left = max(0.0, 1.0 - sum(given.get(choice, 0.0) for choice in choices))
        others = [choice for choice in choices if choice not in given]
        weights = [given.get(c, left / len(others) if others else 0.0) for c in choices]
    else:
        weights = [1.0 + dice.roll(1000) for _ in choices]
    total = sum(weights)
    if total <= 0:
        return choices[0], None
    shares = tuple(weight / total for weight in weights)
    return choices[shares.index(max(shares))], shares


def _spelt(answer: object) -> str:
    return answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)


def _tokens(size: int) -> int:
    return max(1, -(-size // 4))
