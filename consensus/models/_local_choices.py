"""From next-token probabilities to a distribution over a closed set of words.

A model does not answer with a *word* but with tokens: ``Approve`` may be one token, or ``Appro``
and ``ve``, with or without a space, in capitals or in quotes. So the words are matched as text,
and a beginning that fits several words (``ref`` of *refund* and *refuse*, ``1`` of *1* and *10*)
is forced and the model asked for what follows, until no mass worth a step is undecided.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

__all__ = ["ChoiceReading", "Token", "read_choices"]

_DECORATION = " \t\r\n\"'`*([{<«“”‘’.:>-_#"
_SETTLED_LENGTH = 3
"""Characters after which a beginning that only one word has is taken for that word: ``A`` may
become *A refund* as well as *Approve*; ``App`` may not."""


class Token(NamedTuple):
    """One possible next token: its id, its bytes (none: the end of the answer), its probability.

    Bytes, because one character may take several tokens.
    """

    id: int
    data: bytes
    probability: float


class ChoiceReading(NamedTuple):
    """A distribution over the choices.

    ``probabilities`` sums to one, in the order of the choices; None where the model put no mass on
    any of them. ``coverage`` is the mass it put on all of them together. ``steps`` counts the
    next-token evaluations that it took.
    """

    probabilities: tuple[float, ...] | None
    coverage: float
    steps: int


NextTokens = Callable[[tuple[int, ...]], Sequence[Token]]


def read_choices(
    choices: Sequence[str],
    next_tokens: NextTokens,
    *,
    negligible: float = 0.01,
    max_steps: int | None = None,
) -> ChoiceReading:
    """Measure how probable each choice is as the beginning of the answer.

    Args:
        choices: the words, distinct once case and surrounding blanks are put aside.
        next_tokens: the likeliest next tokens after a forced beginning (token ids), with their
            probabilities; it need not list the whole vocabulary.
        negligible: an undecided beginning with less than this share of the mass found so far is
            not asked about; its mass is shared equally by the words it may still become.
        max_steps: the most evaluations; by default two per choice, and at least four.

    A word that none of the listed tokens begins gets what an unlisted token can have at most: the
    least listed probability, or all that is not listed.

    Raises:
        ValueError: choices that cannot be told apart.
    """
    words = _words(choices)
    limit = max(4, 2 * len(words)) if max_steps is None else max_steps
    settled = [0.0] * len(words)
    shared = [0.0] * len(words)
    floor = 0.0
    steps = 0
    # Heap entries: -mass, the path (also the tie-break), its bytes, the words it may become.
    heap: list[tuple[float, tuple[int, ...], bytes, tuple[int, ...]]] = [
        (-1.0, (), b"", tuple(range(len(words))))
    ]
    while heap:
        negative, path, data, fitting = heapq.heappop(heap)
        mass = -negative
        found = sum(settled) + sum(shared) + mass - sum(entry[0] for entry in heap)
        if path and (mass < negligible * found or steps >= limit):
            for index in fitting:
                shared[index] += mass / len(fitting)
            continue
        listed = next_tokens(path)
        steps += 1
        if not path:
            unlisted = max(0.0, 1.0 - sum(token.probability for token in listed))
            floor = min((token.probability for token in listed), default=0.0)
            floor = min(floor, unlisted)
        for token in listed:
            if token.probability <= 0.0:
                continue
            longer = data + token.data
            now = mass * token.probability
            verdict = _verdict(words, longer, ended=not token.data)
            if isinstance(verdict, int):
                settled[verdict] += now
            elif verdict:
                heapq.heappush(heap, (-now, (*path, token.id), longer, verdict))
    masses = [a + b for a, b in zip(settled, shared, strict=True)]
    coverage = min(1.0, sum(masses))
    if coverage <= 0.0:
        return ChoiceReading(None, 0.0, steps)
    masses = [mass or floor for mass in masses]
    total = sum(masses)
    return ChoiceReading(tuple(mass / total for mass in masses), coverage, steps)


def _words(choices: Iterable[str]) -> tuple[str, ...]:
    """Spell the choices as alike as they can be while staying distinct."""
    given = tuple(choices)
    for spell in (_loose, _strict):
        words = tuple(spell(choice) for choice in given)
        if all(words) and len(set(words)) == len(words):
            return words
    raise ValueError("the choices cannot be told apart once case and blanks are put aside")


def _loose(text: str) -> str:
    return _strict(text.replace("_", " ").replace("-", " ").lstrip(_DECORATION))


def _strict(text: str) -> str:
    return " ".join(text.split()).casefold()


def _verdict(words: Sequence[str], data: bytes, *, ended: bool) -> int | tuple[int, ...]:
    """Say which word a beginning is (its index), which it may still become, or () for none."""
    seen = _seen(words, data.decode(errors="ignore"))
    if ended:
        return words.index(seen.strip()) if seen.strip() in words else ()
    if not seen:
        return tuple(range(len(words)))
    open_to = tuple(i for i, word in enumerate(words) if word.startswith(seen))
    if len(open_to) == 1:
        word = words[open_to[0]]
        if len(seen) >= min(_SETTLED_LENGTH, len(word)):
            return open_to[0]
    if open_to:
        return open_to
    # Not the beginning of a word: perhaps a whole word and something after it ("reject.").
    whole = [i for i, word in enumerate(words) if _is_word_then_more(word, seen)]
    return max(whole, key=lambda i: len(words[i])) if whole else ()


def _seen(words: Sequence[str], text: str) -> str:
    """Spell what the model wrote as the choices are spelled; a blank or line's end behind stays."""
    loose = not any("_" in word or "-" in word or word[0] in _DECORATION for word in words)
    if loose:
        text = text.replace("_", " ").replace("-", " ").lstrip(_DECORATION)
    line, ended, _ = text.lstrip().partition("\n")
    if ended:
        return _strict(line) + "\n"
    blank = " " if line[-1:].isspace() else ""
    return _strict(line) + blank


def _is_word_then_more(word: str, seen: str) -> bool:
    return seen.startswith(word) and len(seen) > len(word) and not seen[len(word)].isalnum()
