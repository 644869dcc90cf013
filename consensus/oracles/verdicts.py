"""What every oracle says, and what every oracle is."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from consensus.errors import SuiteError

__all__ = ["Json", "Oracle", "Verdict", "content_hash", "missing_reference", "verdict"]

Json: TypeAlias = Any
"""A JSON value: an answer or a reference."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One answer judged.

    Attributes:
        score: in [0, 1]; 0 or 1 unless the oracle is graded.
        passed: whether the answer is acceptable.
        detail: why, in a few words; quotes no judged text.
    """

    score: float
    passed: bool
    detail: str = ""


class Oracle(Protocol):
    """The executable definition of an acceptable answer (design/oracles.md)."""

    @property
    def name(self) -> str:
        """Its kind, or the name it was declared under."""
        ...

    @property
    def sha256(self) -> str:
        """Content hash of everything that can change a verdict."""
        ...

    @property
    def graded(self) -> bool:
        """Whether scores may lie strictly between 0 and 1."""
        ...

    @property
    def needs_reference(self) -> bool:
        """Whether it compares with a label; without one it cannot judge."""
        ...

    def judge(self, answer: Json, reference: Json = None) -> Verdict:
        """Judge one answer.

        Raises:
            SuiteError: the reference is missing or of the wrong form.
        """
        ...


def verdict(ok: bool, detail: str = "") -> Verdict:
    """A 0/1 verdict."""
    return Verdict(1.0 if ok else 0.0, ok, detail)


def content_hash(kind: str, version: int, settings: Mapping[str, Any], source: bytes = b"") -> str:
    """SHA-256 over an oracle's kind, implementation version, settings and source."""
    head = json.dumps([kind, version, settings], sort_keys=True, ensure_ascii=False, default=list)
    return hashlib.sha256(head.encode() + b"\0" + source).hexdigest()


def missing_reference(name: str) -> SuiteError:
    """The error of an oracle that has nothing to compare with."""
    return SuiteError(
        f"oracle {name!r} compares with a reference, and this case has none",
        fix='give the case a "label" or "reference"',
    )


def finite(value: Json) -> float | None:
    """A number, or None for anything else (a bool is no number, neither is a NaN)."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            value = float(value.strip().replace(",", ""))
        except ValueError:
            return None
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    return None
