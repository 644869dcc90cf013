"""The audit's TOML, typed and frozen: one table a task type, nothing computed but shares.

What a person has not found out yet may be empty (owner, oracle, what happens on a wrong answer):
such an audit loads, and :func:`consensus.policy.audit.check.check_audit` says what it lacks.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, PrivateAttr, ValidationError, model_validator

from consensus.errors import PolicyError
from consensus.policy._lines import KeyPath
from consensus.policy._types import Amount, Count, FileName, Name, Share, Strict
from consensus.policy.findings import Finding, from_validation, suggest
from consensus.policy.rows import Consequence
from consensus.policy.sources import read_sources
from consensus.policy.table import Place
from consensus.tasks import Kind

__all__ = [
    "AUDIT_FILE",
    "Audit",
    "AuditTask",
    "Category",
    "Complexity",
    "Latency",
    "Lengths",
    "load_audit",
    "parse_audit",
]

AUDIT_FILE = "audit.toml"
"""Stands in the project's root, beside ``strategies/``."""

Complexity: TypeAlias = Literal["low", "medium", "high"]
Part: TypeAlias = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Texts: TypeAlias = Annotated[tuple[str, ...], Field(strict=False)]


class Lengths(Strict):
    """How many tokens, at the median and near the top."""

    p50: Count = Field(description="Tokens that half of the traffic stays within.")
    p95: Count = Field(description="Tokens that 95 % of the traffic stays within.")

    @model_validator(mode="after")
    def _ordered(self) -> Lengths:
        if self.p95 < self.p50:
            raise ValueError(f"p95 ({self.p95}) is below p50 ({self.p50})")
        return self


class Latency(Strict):
    """How long an answer may take."""

    p95_s: Amount = Field(description="Seconds within which 95 % must be answered.")
    interactive: bool = Field(default=False, description="Whether a person waits for the answer.")


class Category(Strict):
    """A part of a task type's traffic that differs from the rest."""

    share: Share = Field(description="Its share of this task type's traffic, 0 to 1.")
    description: str = Field(default="", description="What sets these cases apart.")


class AuditTask(Strict):
    """One task type: what is asked, how often, what is acceptable, what an error does."""

    description: str = Field(default="", description="What is asked, in a sentence or two.")
    owner: str = Field(default="", description="Team or person who answers for its quality.")
    kind: Kind = Field(description="approve, choose, compare, rank, score or generate.")
    complexity: Complexity = Field(description="How hard the question is to answer.")
    consequence: Consequence = Field(
        description="How bad a wrong answer is. Another question than how hard it is to answer."
    )
    on_wrong: str = Field(default="", description="What happens on a wrong answer, and to whom.")
    oracle: str = Field(
        default="", description="Name of the oracle: the executable definition of acceptable."
    )
    gate: str | None = Field(
        default=None, description="Oracle that must pass before the downstream action fires."
    )
    structured: bool = Field(
        description="true: a closed set, a number or a schema. false: open text."
    )
    monthly_volume: Annotated[int, Field(ge=0)] = Field(description="Requests a month.")
    adversarial_share: Part = Field(
        default=0.0, description="Share of inputs that try to mislead the model, 0 to 1."
    )
    input_tokens: Lengths = Field(description="Length of a request, instructions included.")
    output_tokens: Lengths = Field(description="Length of an answer, reasoning included.")
    latency: Latency | None = Field(default=None, description="How long an answer may take.")
    categories: dict[Name, Category] = Field(
        default={}, description="Parts of the traffic; their shares sum to 1."
    )
    prior_data: bool = Field(
        default=False, description="true: real cases exist already, so fewer new ones are needed."
    )
    criteria: str | None = Field(default=None, description="Criteria that the tasks carry.")
    options: Annotated[tuple[str, ...], Field(strict=False, min_length=2)] | None = Field(
        default=None, description="Options of a choose task."
    )
    scale: Annotated[tuple[float, ...], Field(strict=False, min_length=2, max_length=2)] | None = (
        Field(default=None, description="Scale of a score task: lowest, highest.")
    )
    output_schema: dict[str, Any] | None = Field(
        default=None, alias="schema", description="JSON Schema of a generate task's answer."
    )
    examples: Texts = Field(
        default=(), description="Inputs as they really arrive; the pattern for synthetic cases."
    )
    sources: Texts = Field(
        default=(), description="Where inputs come from: systems, forms, documents."
    )
    suite: FileName | None = Field(
        default=None, description="Folder of its suite, relative to this file."
    )
    floor: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None, description="Quality asked for, in place of its consequence's."
    )
    delta: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None, description="Chance of a false certificate, in place of its consequence's."
    )


class Audit(Strict):
    """Every task type of a product: the merged TOML of one file or folder."""

    version: Literal[1] = Field(default=1, description="Version of this format.")
    system: str = Field(default="", description="What the product is, in a sentence.")
    tasks: dict[Name, AuditTask] = Field(default={}, description="One table a task type.")

    _places: Mapping[KeyPath, Place] = PrivateAttr(default_factory=dict)
    _source: str = PrivateAttr(default="Audit")

    @property
    def monthly_volume(self) -> int:
        """Requests a month over all task types."""
        return sum(task.monthly_volume for task in self.tasks.values())

    def share(self, name: str) -> float:
        """A task type's share of the monthly traffic, 0 to 1; 0 where there is no traffic at all.

        Raises:
            PolicyError: if the audit has no such task type.
        """
        volume = self.task(name).monthly_volume
        total = self.monthly_volume
        return volume / total if total else 0.0

    def task(self, name: str) -> AuditTask:
        """One task type.

        Raises:
            PolicyError: if the audit has no such task type.
        """
        try:
            return self.tasks[name]
        except KeyError:
            raise PolicyError(
                f'has no task type "{name}"',
                where=self._source,
                fix=suggest(name, list(self.tasks)) or f"add [tasks.{name}]",
            ) from None

    @property
    def source(self) -> str:
        """Where the audit was read from."""
        return self._source

    @property
    def root(self) -> Path:
        """The folder that its paths are relative to."""
        path = Path(self._source)
        return path if path.is_dir() else path.parent

    def place(self, *path: str | int) -> Place | None:
        """Where a key stands, or the nearest key around it; None for an audit made in Python."""
        for end in range(len(path), 0, -1):
            found = self._places.get(path[:end])
            if found is not None:
                return found
        return None

    def located(self, places: Mapping[KeyPath, Place], source: str) -> Audit:
        """This audit, knowing where its keys stand."""
        audit = self.model_copy()
        audit._places = dict(places)
        audit._source = source
        return audit


def parse_audit(path: str | Path) -> tuple[Audit | None, list[Finding]]:
    """Read a file, or every ``*.toml`` of a folder; the audit, or what is wrong with its shape.

    Raises:
        PolicyError: if it cannot be read or is not TOML, or a name is given twice.
    """
    sources = read_sources(Path(path).expanduser())
    try:
        audit = Audit.model_validate(sources.data)
    except ValidationError as error:
        label = sources.files[0] if len(sources.files) == 1 else sources.label
        return None, from_validation(error, sources.data, sources.places, label, root=Audit)
    return audit.located(sources.places, sources.label), []


def load_audit(path: str | Path = AUDIT_FILE) -> Audit:
    """Read an audit; what it lacks is for ``consensus audit check``.

    Raises:
        PolicyError: one line with ``file:line``, the key and the fix.
    """
    if not Path(path).expanduser().exists():
        raise PolicyError("no such file", where=str(path), fix="consensus audit init writes one")
    audit, findings = parse_audit(path)
    if audit is None:
        ordered = sorted(
            findings, key=lambda f: (f.message == "is missing", f.file or "", f.line or 0)
        )
        raise ordered[0].as_error(more=len(ordered) - 1)
    return audit
