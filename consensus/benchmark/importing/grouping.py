"""Which calls of a log are of one task type: same system prompt, template and form of answer.

A guess, for a person to review. Calls are first put together by their system prompt with its
numbers and ids taken out. Within one system prompt, word triples that many prompts share are taken
for template; prompts with (nearly) the same template are of one type.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from consensus.benchmark.importing.exchange import Exchange

__all__ = ["Group", "GuessedKind", "approving", "find_groups", "guess_kind"]

GuessedKind = Literal["approve", "choose", "compare", "rank", "score", "generate", "skip"]

MAX_GROUPS = 500
"""More types than that are no types: the rest goes into the nearest."""

_VARIABLE = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\b[0-9a-f]{16,}\b|\d+"
)
_WORD = re.compile(r"\w+")
_WORDS = 400
"""Words at each end of a prompt that are looked at: templates stand at the ends."""

_ALIKE = 0.7
"""The share of the smaller template that two prompts of one type have in common."""
_SHARED = 0.25
"""A triple in this share of a system prompt's calls belongs to a template."""
_SHARED_BARE = 0.05
"""The same, where the system prompt says too little to tell types by."""
_SAYS_LITTLE = 100
"""Characters of a system prompt such as "You are a helpful assistant."."""
_NO_TEMPLATE = 4
"""Fewer shared triples than these are chance."""

_LABEL_CHARS = 60
_MAX_LABELS = 20
_MOST = 0.95
"""So much of a group must be of one form."""

_APPROVE = frozenset({"approve", "approved", "accept", "accepted", "allow", "allowed"})
_REJECT = frozenset({"reject", "rejected", "deny", "denied", "block", "blocked", "refuse"})
_FIELDS = ("label", "decision", "verdict", "answer", "category", "class", "intent", "sentiment")
_SCALES = ((0.0, 1.0), (1.0, 5.0), (0.0, 5.0), (1.0, 10.0), (0.0, 10.0), (0.0, 100.0))


@dataclass(slots=True)
class Group:
    """Calls that look like one task type.

    Attributes:
        key: stable for the same log: what a reviewed sheet refers to.
        members: indices of its exchanges.
        name, kind, labels, scale, answer_field: the guess, or what the reviewer made of it.
        why: what the guess rests on.
    own: its rows are tasks already: a reviewer may rename or skip it, and nothing else.
    """

    key: str
    members: list[int] = field(default_factory=list)
    name: str = ""
    kind: GuessedKind = "generate"
    labels: tuple[str, ...] = ()
    scale: tuple[float, float] | None = None
    answer_field: str | None = None
    criteria: str | None = None
    why: str = ""
    own: bool = False


def find_groups(exchanges: Sequence[Exchange]) -> list[Group]:
    """Groups of exchanges with a guess for each, the largest first."""
    named: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for index, exchange in enumerate(exchanges):
        if exchange.task:
            named["own", exchange.task_type or "", str(exchange.task["kind"])].append(index)
        elif exchange.task_type:
            named["named", exchange.task_type].append(index)
        else:
            named["system", skeleton(exchange.system)].append(index)
    groups: list[Group] = []
    for name, members in named.items():
        if name[0] == "system":
            groups += _by_template(exchanges, name[1], members)
        else:
            given = re.sub(r"[^A-Za-z0-9_.\-]+", "_", name[1]).strip("_.-")[:128]
            groups.append(Group(_key(*name), members, given, own=name[0] == "own"))
    groups.sort(key=lambda g: (-len(g.members), g.members[0]))
    if len(groups) > MAX_GROUPS:
        for group in groups[MAX_GROUPS:]:
            groups[MAX_GROUPS - 1].members += group.members
        del groups[MAX_GROUPS:]
    for number, group in enumerate(groups, 1):
        group.name = group.name or f"type_{number:02d}"
        guess_kind(group, exchanges)
    return groups


def skeleton(text: str) -> str:
    """A text without what changes from call to call: numbers, ids, spacing."""
    return " ".join(_VARIABLE.sub("#", text.lower()).split())


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode(errors="replace")).hexdigest()[:10]


def _triples(text: str) -> frozenset[str]:
    words = _WORD.findall(skeleton(text[:20_000]))
    if len(words) > 2 * _WORDS:
        words = words[:_WORDS] + words[-_WORDS:]
    return frozenset(" ".join(words[i : i + 3]) for i in range(max(0, len(words) - 2)))


def _by_template(exchanges: Sequence[Exchange], system: str, members: list[int]) -> list[Group]:
    shingles = [_triples(exchanges[i].prompt) for i in members]
    seen = Counter(triple for one in shingles for triple in one)
    share = _SHARED if len(system) > _SAYS_LITTLE else _SHARED_BARE
    least = max(3, round(share * len(members)))
    frequent = {triple for triple, times in seen.items() if times >= least}
    found: list[tuple[frozenset[str], Group]] = []
    exact: dict[frozenset[str], Group] = {}
    for index, one in zip(members, shingles, strict=True):
        template = one & frequent
        if len(template) < _NO_TEMPLATE:
            template = frozenset()
        group = exact.get(template)
        if group is None:
            group = _nearest(template, found)
            if group is None:
                first = " ".join(sorted(template)[:50])
                group = Group(_key("template", system, first))
                found.append((template, group))
            exact[template] = group
        group.members.append(index)
    return [group for _, group in found]


def _nearest(template: frozenset[str], found: list[tuple[frozenset[str], Group]]) -> Group | None:
    best, most = None, _ALIKE
    for other, group in found[:MAX_GROUPS]:
        smaller = min(len(template), len(other))
        if smaller == 0:
            continue
        alike = len(template & other) / smaller
        if alike >= most:
            best, most = group, alike
    return best


# -- what the answers look like --------------------------------------------------------------------


def guess_kind(group: Group, exchanges: Sequence[Exchange]) -> None:
    """Guess a group's kind from its answers: a closed set, numbers, JSON, or free text."""
    members = [exchanges[i] for i in group.members]
    if members[0].task:
        group.kind = members[0].task["kind"]
        group.why = "says so itself"
        return
    outputs = [m.output.strip() for m in members if isinstance(m.output, str)]
    if not outputs:
        group.why = "no answer to look at"
        return
    objects = [value for value in map(parse_object, outputs) if value is not None]
    if len(objects) >= _MOST * len(outputs):
        _guess_object(group, objects)
        return
    numbers = [value for value in map(parse_number, outputs) if value is not None]
    if len(numbers) >= _MOST * len(outputs):
        group.kind, group.scale = "score", _scale(numbers)
        group.why = f"answers are numbers from {min(numbers):g} to {max(numbers):g}"
        return
    labels = _closed(outputs)
    if labels:
        _guess_labels(group, labels)
        return
    group.why = "answers are free text"


def _guess_object(group: Group, objects: list[dict[str, Any]]) -> None:
    group.why = "answers are JSON objects"
    for name in _FIELDS:
        values = [obj[name] for obj in objects if isinstance(obj.get(name), str)]
        if len(values) >= _MOST * len(objects):
            labels = _closed([value.strip() for value in values])
            if labels:
                group.answer_field = name
                _guess_labels(group, labels)
                group.why = f'answers are JSON objects whose "{name}" is one of {len(labels)}'
                return


def _guess_labels(group: Group, labels: tuple[str, ...]) -> None:
    words = {label.casefold() for label in labels}
    if len(words) == 2 and words & _APPROVE and words & _REJECT:
        group.kind = "approve"
    else:
        group.kind = "choose"
    group.labels = labels
    group.why = f"answers are one of {len(labels)} words"


def _closed(outputs: Sequence[str]) -> tuple[str, ...]:
    """The labels of a closed set, or nothing: few, short, each said more than once, nearly all."""
    counts = Counter(normal_label(text) for text in outputs)
    labels = {
        label
        for label, times in counts.items()
        if times > 1 and label and len(label) <= _LABEL_CHARS and "\n" not in label
    }
    said = sum(counts[label] for label in labels)
    if not 2 <= len(labels) <= _MAX_LABELS or len(outputs) < 2 * len(labels):
        return ()
    if said < _MOST * len(outputs):
        return ()
    spelt: dict[str, Counter[str]] = defaultdict(Counter)
    for text in outputs:
        spelt[normal_label(text)][text.strip().strip("\"'`*.")] += 1
    return tuple(sorted(spelt[label].most_common(1)[0][0] for label in labels))


def normal_label(text: str) -> str:
    """A label without capitals, quotation marks and a final stop."""
    return " ".join(text.strip().strip("\"'`*.").split()).casefold()


def parse_object(text: str) -> dict[str, Any] | None:
    """The JSON object that a text is, bare or in a code fence; else None."""
    body = text.strip()
    if body.startswith("```") and body.endswith("```"):
        body = body[3:-3].removeprefix("json").strip()
    if not body.startswith("{"):
        return None
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def parse_number(text: str) -> float | None:
    """The number that a text is, alone or as ``7/10``; else None."""
    match = re.fullmatch(r"(-?\d{1,12}(?:\.\d{1,12})?)\s*(?:/\s*\d{1,6})?\.?", text.strip())
    return float(match[1]) if match else None


def _scale(numbers: Sequence[float]) -> tuple[float, float]:
    low, high = min(numbers), max(numbers)
    for scale in _SCALES:
        if scale[0] <= low and high <= scale[1]:
            return scale
    return (low, high) if low < high else (low, low + 1)


def approving(label: str) -> bool:
    """Whether a word says yes."""
    return normal_label(label) in _APPROVE | {"yes", "true", "pass", "ok"}
