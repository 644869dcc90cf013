"""The six kinds of judgement task.

Every task is frozen and validated when it is made: whoever holds one can ask it.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from consensus.errors import TaskError

__all__ = [
    "KINDS",
    "MAX_TASK_BYTES",
    "Approve",
    "Choose",
    "Compare",
    "Generate",
    "Kind",
    "Message",
    "Rank",
    "Score",
    "Task",
    "parse_task",
]

Kind = Literal["approve", "choose", "compare", "rank", "score", "generate"]
KINDS: tuple[Kind, ...] = get_args(Kind)

MAX_TASK_BYTES = 4_000_000
"""The most UTF-8 bytes of text in one task: about a million tokens, the widest window sold."""

TYPE_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,127}$"


def _as_text(value: object) -> object:
    """Let structured material (a dict, a list) stand for its JSON text."""
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, indent=2)
    return value


def _no_lone_surrogates(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError("holds a lone surrogate, which is not text") from error
    return value


Text = Annotated[str, BeforeValidator(_as_text)]


class _Base(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    if not TYPE_CHECKING:  # the type checker sees the fields; the caller gets one clear line

        def __init__(self, **data):
            try:
                super().__init__(**data)
            except ValidationError as error:
                raise TaskError(f"{type(self).__name__}: {describe(error)}") from None

    type: str = Field(pattern=TYPE_PATTERN, description="the name the policy table knows")
    id: str | None = Field(default=None, max_length=512, description="the caller's own name for it")

    @model_validator(mode="after")
    def _bounded(self) -> _Base:
        size = 0
        for text in self.texts():
            _no_lone_surrogates(text)
            size += len(text.encode())
        if size > MAX_TASK_BYTES:
            raise ValueError(
                f"holds {size:,} bytes of text; the most a task may hold is {MAX_TASK_BYTES:,}"
            )
        return self

    def texts(self) -> tuple[str, ...]:
        """Every piece of judged text in this task."""
        raise NotImplementedError

    @property
    def options(self) -> tuple[str, ...]:
        """The closed set of answers; empty where the answer is open."""
        return ()


def _nonblank(value: str) -> str:
    if not value.strip():
        raise ValueError("is blank")
    return value


def _distinct(values: tuple[str, ...], what: str) -> tuple[str, ...]:
    if len(values) < 2:
        raise ValueError(f"needs at least two {what}, has {len(values)}")
    seen: dict[str, str] = {}
    for value in values:
        if not value.strip():
            raise ValueError(f"holds a blank {what[:-1]}")
        key = " ".join(value.split()).casefold()
        if key in seen:
            raise ValueError(f"holds {value!r} twice")
        seen[key] = value
    return values


def _is_false(value: object) -> bool:
    return value is False


class Approve(_Base):
    """Approve or reject a subject by stated criteria."""

    OPTIONS: ClassVar[tuple[str, ...]] = ("approve", "reject")

    kind: Literal["approve"] = "approve"
    subject: Text
    criteria: str = ""

    _check = field_validator("subject")(_nonblank)

    def texts(self) -> tuple[str, ...]:
        """Every piece of judged text in this task."""
        return (self.subject, self.criteria)

    @property
    def options(self) -> tuple[str, ...]:
        """``approve`` and ``reject``."""
        return self.OPTIONS


class Choose(_Base):
    """Choose one label of a closed set; classification too.

    ``judged_options``: the options are texts of others, to be judged themselves (replies,
    candidates), and not labels of yours. Each is then shown as data, behind a fence and under a
    number, however short it is.
    """

    kind: Literal["choose"] = "choose"
    subject: Text
    labels: tuple[str, ...] = Field(alias="options")
    criteria: str = ""
    judged_options: bool = Field(default=False, exclude_if=_is_false)

    _check = field_validator("subject")(_nonblank)

    @field_validator("labels")
    @classmethod
    def _labels(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _distinct(value, "options")

    def texts(self) -> tuple[str, ...]:
        """Every piece of judged text in this task."""
        return (self.subject, self.criteria, *self.labels)

    @property
    def options(self) -> tuple[str, ...]:
        """The labels, as given."""
        return self.labels


class Compare(_Base):
    """Say which of two candidates is better, or that neither is."""

    OPTIONS: ClassVar[tuple[str, ...]] = ("A", "B", "tie")

    kind: Literal["compare"] = "compare"
    subject: Text = ""
    a: Text
    b: Text
    criteria: str = ""

    _check = field_validator("a", "b")(_nonblank)

    def texts(self) -> tuple[str, ...]:
        """Every piece of judged text in this task."""
        return (self.subject, self.criteria, self.a, self.b)

    @property
    def options(self) -> tuple[str, ...]:
        """``A``, ``B`` and ``tie``."""
        return self.OPTIONS


class Rank(_Base):
    """Order items, best first."""

    kind: Literal["rank"] = "rank"
    subject: Text = ""
    items: tuple[Text, ...]
    top: int | None = Field(
        default=None, ge=1, description="only the best so many are wanted, as a set"
    )
    criteria: str = ""

    @field_validator("items")
    @classmethod
    def _items(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _distinct(value, "items")

    @model_validator(mode="after")
    def _some(self) -> Rank:
        if self.top is not None and self.top >= len(self.items):
            raise ValueError(f"top = {self.top} of {len(self.items)} items leaves nothing out")
        return self

    def texts(self) -> tuple[str, ...]:
        """Every piece of judged text in this task."""
        return (self.subject, self.criteria, *self.items)

    @property
    def options(self) -> tuple[str, ...]:
        """The items: the posterior is over which of them comes first."""
        return self.items


class Score(_Base):
    """Give a number on a scale."""

    kind: Literal["score"] = "score"
    subject: Text
    scale: tuple[float, float]
    criteria: str = ""

    _check = field_validator("subject")(_nonblank)

    @field_validator("scale")
    @classmethod
    def _scale(cls, value: tuple[float, float]) -> tuple[float, float]:
        low, high = value
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"must be two finite numbers, low before high, not ({low}, {high})")
        return value

    def texts(self) -> tuple[str, ...]:
        """Every piece of judged text in this task."""
        return (self.subject, self.criteria)


class Message(BaseModel):
    """One turn of a conversation to be continued."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Literal["system", "user", "assistant"]
    content: str


class Generate(_Base):
    """Write a text, or an object that a JSON Schema accepts."""

    kind: Literal["generate"] = "generate"
    messages: tuple[Message, ...] = Field(min_length=1)
    output_schema: dict[str, Any] | None = Field(default=None, alias="schema")

    @field_validator("messages")
    @classmethod
    def _asks(cls, value: tuple[Message, ...]) -> tuple[Message, ...]:
        if value[-1].role != "user":
            raise ValueError("must end with a user's message")
        if any(m.role == "system" for m in value[1:]):
            raise ValueError("may hold a system message only in first place")
        return value

    @field_validator("output_schema")
    @classmethod
    def _schema(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None:
            from jsonschema import Draft202012Validator, SchemaError

            try:
                Draft202012Validator.check_schema(value)
            except SchemaError as error:
                raise ValueError(f"is not a JSON Schema: {error.message}") from error
        return value

    def texts(self) -> tuple[str, ...]:
        """Every piece of judged text in this task."""
        return tuple(m.content for m in self.messages)


Task: TypeAlias = Approve | Choose | Compare | Rank | Score | Generate

_ADAPTER: TypeAdapter[Task] = TypeAdapter(Annotated[Task, Field(discriminator="kind")])


def parse_task(data: object, *, where: str | None = None) -> Task:
    """Make a task of a mapping with ``kind`` and the constructor's fields.

    Raises:
        TaskError: naming the field and what was expected; never the judged text.
    """
    if not isinstance(data, dict):
        raise TaskError(f"a task is an object, not {type(data).__name__}", where=where)
    kind = data.get("kind")
    if kind is None:
        raise TaskError('has no "kind"', where=where, fix=f"one of {', '.join(KINDS)}")
    if kind not in KINDS:
        raise TaskError(f'unknown kind "{kind}"', where=where, fix=f"one of {', '.join(KINDS)}")
    try:
        return _ADAPTER.validate_python(data)
    except TaskError as error:
        raise TaskError(error.message, where=where, fix=error.fix) from None
    except ValidationError as error:
        raise TaskError(describe(error), where=where) from None


def describe(error: ValidationError) -> str:
    """One line for a validation error: the fields and what is wrong, without their values."""
    parts = []
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        path = [str(p) for p in item["loc"] if p not in KINDS]
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "model_type":  # pydantic names the class, which nobody outside knows
            message = "must be an object"
        parts.append(f'"{".".join(path)}": {message}' if path else message)
    return "; ".join(parts)
