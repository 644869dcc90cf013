"""Which written cases are of use: they can be asked, and say what none before them said.

Two texts are the same where they differ only in case, spacing and punctuation (exact), and nearly
the same where their word triples have a Jaccard similarity of at least .7 (Broder 1997): one
changed number in a short text is no second case.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from consensus.benchmark.cases import Case, CaseDefaults, check_reference, make_case
from consensus.benchmark.synthetic.batches import Asked, Candidate
from consensus.errors import SuiteError
from consensus.oracles import Oracle

__all__ = [
    "NEAR",
    "Refusal",
    "Sieve",
    "as_case",
    "case_row",
    "defaults_of",
    "normalised",
    "shingles",
    "unusable",
]

NEAR = 0.7
"""Jaccard similarity of word triples from which two cases are one."""

FEWEST_WORDS = 3

Refusal = Literal["unusable", "too short", "duplicate", "near duplicate"]

_WORD = re.compile(r"\w+")


def normalised(text: str) -> str:
    """A text without case, spacing, punctuation and compatibility forms."""
    return " ".join(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def shingles(text: str) -> frozenset[str]:
    """The word triples of a text; of a shorter one, its words together."""
    words = normalised(text).split()
    if len(words) < 3:
        return frozenset([" ".join(words)])
    return frozenset(" ".join(words[i : i + 3]) for i in range(len(words) - 2))


class Sieve:
    """Lets a case through once.

    Args:
        known: texts that are there already: cases of a suite, examples of the audit.
        near: similarity from which two texts count as one.
    """

    def __init__(self, known: Iterable[str] = (), *, near: float = NEAR) -> None:
        self.near = near
        self._exact: set[str] = set()
        self._sizes: list[int] = []
        self._where: dict[str, list[int]] = defaultdict(list)
        for text in known:
            self.add(text)

    def add(self, text: str) -> None:
        """Remember a text."""
        self._exact.add(normalised(text))
        place = len(self._sizes)
        triples = shingles(text)
        self._sizes.append(len(triples))
        for triple in triples:
            self._where[triple].append(place)

    def refuses(self, text: str) -> Refusal | None:
        """Why a text is of no use beside those that are known; None where it is."""
        if len(normalised(text).split()) < FEWEST_WORDS:
            return "too short"
        if normalised(text) in self._exact:
            return "duplicate"
        triples = shingles(text)
        shared = Counter(place for triple in triples for place in self._where.get(triple, ()))
        for place, both in shared.items():
            if both >= self.near * (len(triples) + self._sizes[place] - both):
                return "near duplicate"
        return None


def defaults_of(asked: Asked, *, complexity: Any = "medium") -> CaseDefaults:
    """What a suite's type would supply to such cases."""
    fields: dict[str, Any] = {}
    if asked.criteria is not None and asked.kind != "generate":
        fields["criteria"] = asked.criteria
    if asked.kind == "choose":
        fields["options"] = list(asked.options or ())
    if asked.kind == "score" and asked.scale is not None:
        fields["scale"] = list(asked.scale)
    if asked.kind == "generate" and asked.output_schema is not None:
        fields["schema"] = dict(asked.output_schema)
    return CaseDefaults(asked.kind, fields, complexity=complexity)


def case_row(candidate: Candidate, label: Any) -> dict[str, Any]:
    """A candidate as a line of a suite's ``cases.jsonl``."""
    row: dict[str, Any] = {"id": candidate.id, "type": candidate.task_type, **candidate.fields}
    if label is not None:
        row["label"] = label
    return row


def as_case(
    candidate: Candidate, label: Any, defaults: Mapping[str, CaseDefaults], oracle: Oracle | None
) -> Case:
    """A candidate as a case with that label.

    Raises:
        SuiteError: it cannot be asked, or the label is none.
    """
    case = make_case(case_row(candidate, label), defaults, where=candidate.id)
    if oracle is not None:
        check_reference(case, oracle)
    return case


def unusable(candidate: Candidate, asked: Asked, oracle: Oracle | None) -> str | None:
    """Why a candidate is no case with its own proposed label; None where it is one."""
    try:
        as_case(candidate, candidate.label, {candidate.task_type: defaults_of(asked)}, oracle)
    except SuiteError as error:
        return error.message
    return None
