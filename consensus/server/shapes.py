"""Bodies of requests and answers, as the OpenAPI document shows them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from consensus.decisions import Action
from consensus.tasks import Approve, Choose, Compare, Generate, Kind, Rank, Score

__all__ = [
    "ChatAnswer",
    "ChatMessage",
    "ChatRequest",
    "DecisionRow",
    "ErrorBody",
    "FeedbackBody",
    "KeptLabel",
    "ManyTasks",
    "Model",
    "ModelList",
    "PolicyReport",
    "QueueList",
    "Ready",
    "ReceiptBody",
    "StreamOptions",
    "TaskBody",
]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Task(RootModel[Approve | Choose | Compare | Rank | Score | Generate]):
    """A task; what its row supplies may be left out."""


class TaskBody(BaseModel):
    """A task: ``type`` and the fields of its kind; what the policy's row supplies may be left out.

    ``frontier`` names a model of one of the policy's tiers that is asked once beside the panel.
    """

    model_config = ConfigDict(extra="allow")

    type: str
    kind: Kind | None = None
    id: str | None = None
    frontier: str | None = None


class ManyTasks(BaseModel):
    """Tasks to be decided, in order. As NDJSON: a task a line."""

    tasks: list[TaskBody]


class _Usd(_Answer):
    usd: float


class DecisionRow(_Answer):
    """A decision. ``index`` counts the tasks of a stream; ``error``: why a task was not asked."""

    id: str | None
    index: int | None = None
    task_type: str
    kind: Kind
    action: Action
    outcome: Any
    probability: float | None
    posterior: dict[str, float]
    agreement: float
    tied: list[str]
    calibrated: bool
    partial: bool
    cost: _Usd
    usage: dict[str, int]
    latency_s: float
    ballots: list[dict[str, Any]]
    failures: list[dict[str, Any]]
    reasons: list[str]
    strategy: str
    route: list[str]
    policy_version: str
    receipt_id: str | None
    error: str | None
    frontier: dict[str, Any] | None = None


class FeedbackBody(BaseModel):
    """What would have been right.

    ``label`` is an answer of the task's own kind; of a ``generate`` task also true or false:
    whether its outcome is acceptable. ``probability`` is the chance that this decision had to be
    looked at.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    receipt_id: str
    label: Any
    by: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    source: Annotated[str, Field(min_length=1, max_length=64)] = "human"
    probability: Annotated[float, Field(gt=0, le=1)] | None = None


class KeptLabel(_Answer):
    """A label as it is kept; ``agrees``: whether the decision acted upon it."""

    label_id: str
    receipt_id: str
    task_type: str
    label: Any
    agrees: bool | None
    given_by: str | None
    source: str
    inclusion: float | None
    created_at: float
    superseded_at: float | None


class _Waiting(_Answer):
    receipt_id: str
    task_type: str
    task_id: str | None
    kind: Kind
    probability: float | None
    agreement: float
    created_at: float
    why: Literal["escalated", "audit"]
    inclusion: float


class QueueList(_Answer):
    """Decisions that wait for a person, the oldest first; ``more``: there may be others."""

    waiting: list[_Waiting]
    more: bool


class _Error(_Answer):
    message: str
    type: str
    param: str | None
    code: str


class ErrorBody(_Answer):
    """Why a request was refused, in the shape of OpenAI's errors."""

    error: _Error


class _TextPart(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    """One turn. Only text can be judged."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[_TextPart]
    name: str | None = None

    @property
    def text(self) -> str:
        """All of its text."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content)


class StreamOptions(BaseModel):
    """What a stream shall hold."""

    model_config = ConfigDict(extra="ignore")

    include_usage: bool = False


class ChatRequest(BaseModel):
    """OpenAI's chat completion; ``model`` is a task type.

    ``consensus`` gives fields of the task (options, items, a, b, scale, criteria, id). Other
    parameters are ruled by the policy and named in ``consensus.ignored`` of the answer; those that
    would change what is asked for (tools, several answers, audio) are refused.
    """

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    model: Annotated[str, Field(min_length=1, max_length=128)]
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    response_format: dict[str, Any] | None = None
    consensus: dict[str, Any] | None = None


class _Said(_Answer):
    role: Literal["assistant"]
    content: str | None
    refusal: str | None


class _Choice(_Answer):
    index: Literal[0]
    message: _Said
    finish_reason: Literal["stop"]
    logprobs: None


class _Usage(_Answer):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: dict[str, int]
    completion_tokens_details: dict[str, int]


class _Decided(_Answer):
    action: Action
    kind: Kind
    outcome: Any
    probability: float | None
    posterior: dict[str, float]
    agreement: float
    cost: _Usd
    reasons: list[str]
    route: list[str]
    served_models: list[str]
    receipt_id: str | None
    ignored: list[str]


class ChatAnswer(_Answer):
    """OpenAI's chat completion; ``consensus`` is the decision behind it.

    Where the decision is not ``act``, ``content`` is null and ``refusal`` says why.
    """

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: Annotated[list[_Choice], Field(min_length=1, max_length=1)]
    usage: _Usage
    consensus: _Decided


class Model(_Answer):
    """A task type, as a model of OpenAI's list."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(_Answer):
    """The task types that this caller may use."""

    object: Literal["list"]
    data: list[Model]


class _Row(_Answer):
    kind: Kind | None
    description: str | None
    owner: str | None
    consequence: str | None
    strategy: str
    seats: int
    models: list[str]
    route: list[str]
    gate: str | None
    oracle: str | None
    max_usd: float | None
    deadline_s: float | None
    certificate: dict[str, Any] | None


class PolicyReport(_Answer):
    """The table in force, as far as this caller may use it."""

    version: str
    current: bool
    error: str | None
    loaded_at: float
    reloads: int
    tasks: dict[str, _Row]


class ReceiptBody(BaseModel):
    """One decision's full record."""

    model_config = ConfigDict(extra="allow")

    receipt_id: str
    created_at: float
    policy_version: str
    task: dict[str, Any]
    hops: list[dict[str, Any]]
    decision: dict[str, Any]


class Ready(_Answer):
    """Whether new work is taken without delay, and by which table.

    ``warming``: libraries are being loaded. ``policy_current``: the table is that of the files.
    """

    ready: bool
    warming: bool
    policy: str
    policy_current: bool
