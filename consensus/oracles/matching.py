"""Oracles that compare an answer with a reference: exact, label, numeric."""

from __future__ import annotations

import string
import unicodedata
from dataclasses import asdict, dataclass, field
from typing import Literal

from consensus.errors import SuiteError
from consensus.oracles.verdicts import (
    Json,
    Verdict,
    content_hash,
    finite,
    missing_reference,
    verdict,
)

__all__ = ["Exact", "Label", "Normalisation", "Numeric", "normalise"]

Normalisation = Literal["unicode", "space", "case", "punctuation", "articles"]

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = frozenset({"a", "an", "the"})


def normalise(value: Json, steps: tuple[Normalisation, ...]) -> Json:
    """Apply the declared steps to a text (NFKC, folded space, folded case …); leave the rest alone.

    They are applied in the order unicode, case, punctuation, articles, space, whatever the order
    in which they were declared.
    """
    if isinstance(value, list | tuple):
        return [normalise(item, steps) for item in value]
    if not isinstance(value, str):
        return value
    text = value
    if "unicode" in steps:
        text = unicodedata.normalize("NFKC", text)
    if "case" in steps:
        text = text.casefold()
    if "punctuation" in steps:
        text = text.translate(_PUNCTUATION)
    if "articles" in steps:
        text = " ".join(word for word in text.split() if word.casefold() not in _ARTICLES)
    if "space" in steps:
        text = " ".join(text.split())
    return text


@dataclass(frozen=True)
class Exact:
    """Equal to the reference (or to one of several) after the declared normalisation.

    A reference of the form ``{"any_of": […]}`` accepts any of its values.
    """

    normalisation: tuple[Normalisation, ...] = ()
    name: str = "exact"
    graded: bool = field(default=False, init=False)
    needs_reference: bool = field(default=True, init=False)

    @property
    def sha256(self) -> str:
        """Content hash."""
        return content_hash("exact", 1, {"normalisation": sorted(self.normalisation)})

    def judge(self, answer: Json, reference: Json = None) -> Verdict:
        """Judge one answer."""
        if reference is None:
            raise missing_reference(self.name)
        wanted = (
            reference["any_of"]
            if isinstance(reference, dict) and set(reference) == {"any_of"}
            else [reference]
        )
        given = normalise(answer, self.normalisation)
        ok = any(_same(given, normalise(value, self.normalisation)) for value in wanted)
        return verdict(ok, "equal" if ok else "differs from the reference")


@dataclass(frozen=True)
class Label:
    """One of a closed set, and the right one. Outside the set is wrong, and said to be."""

    labels: tuple[str, ...]
    name: str = "label"
    graded: bool = field(default=False, init=False)
    needs_reference: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        if len(set(self.labels)) < 2:
            raise SuiteError("a label oracle needs at least two different labels")

    @property
    def sha256(self) -> str:
        """Content hash."""
        return content_hash("label", 1, {"labels": sorted(self.labels)})

    def judge(self, answer: Json, reference: Json = None) -> Verdict:
        """Judge one answer."""
        if reference is None:
            raise missing_reference(self.name)
        if reference not in self.labels:
            raise SuiteError(f"the reference {reference!r} is not one of the oracle's labels")
        if answer not in self.labels:
            return verdict(False, "label outside the set")
        return verdict(answer == reference, "right" if answer == reference else "wrong label")


@dataclass(frozen=True)
class Numeric:
    """A number within ``absolute`` or ``relative`` tolerance of the reference."""

    absolute: float = 0.0
    relative: float = 0.0
    name: str = "numeric"
    graded: bool = field(default=False, init=False)
    needs_reference: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        if not (self.absolute >= 0 and self.relative >= 0):
            raise SuiteError("a numeric oracle's tolerances must be numbers from 0 up")

    @property
    def sha256(self) -> str:
        """Content hash."""
        settings = {k: v for k, v in asdict(self).items() if k in {"absolute", "relative"}}
        return content_hash("numeric", 1, settings)

    def judge(self, answer: Json, reference: Json = None) -> Verdict:
        """Judge one answer."""
        wanted = finite(reference)
        if wanted is None:
            raise missing_reference(self.name)
        given = finite(answer)
        if given is None:
            return verdict(False, "not a number")
        off = abs(given - wanted)
        ok = off <= max(self.absolute, self.relative * abs(wanted)) + 1e-12
        return verdict(ok, f"off by {off:g}")


def _same(a: Json, b: Json) -> bool:
    """Equal as JSON: 1 and 1.0 are, 1 and true are not."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)
