"""One-token ballots over an API: from a provider's first-token alternatives to the choices.

A provider lists only the likeliest first tokens, and cannot be asked what follows one of them, so
this says less than a local model can, and says so: a beginning that fits several choices (``re``
of *refund* and *reject*, ``1`` of *1* and *10*) counts for none of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

__all__ = ["AMBIGUOUS", "ChoiceMass", "read_first_token"]

AMBIGUOUS = 0.01
"""The mass that may sit on beginnings which fit several choices before nothing is claimed."""

_DECORATION = " \t\r\n\"'`*([{<«“”‘’_▁Ġ"
_SETTLED_LENGTH = 3


class ChoiceMass(NamedTuple):
    """``probabilities``: one per choice, in their order, summing to one; None where they cannot be
    told. ``coverage``: the mass that the model put on all choices together."""

    probabilities: tuple[float, ...] | None
    coverage: float


def read_first_token(
    choices: Sequence[str], alternatives: Iterable[tuple[str, float]]
) -> ChoiceMass:
    """The probability of each choice: the sum over the first tokens that begin it.

    Args:
        choices: the words, distinct once case and surrounding blanks are put aside.
        alternatives: (token, natural logarithm of its probability) of the answer's first token;
            the token that was taken may be listed twice.

    Leading blanks and quotes of a token and all case are put aside. A token that is a choice and
    begins others (``1`` of *1* and *10*) counts for itself where each of those is listed as a token
    of its own: then that token would have been taken. A beginning shorter than three
    characters, and than half the choice, is not taken for it: ``A`` may become *A refund* as well
    as *Approve*. A choice that no listed token begins gets what it can have at most: the least
    listed probability, or its part of the mass that is not listed. ``probabilities`` is None if no
    choice has a token, or if more than :data:`AMBIGUOUS` sits on beginnings that fit several.
    """
    words = [" ".join(choice.split()).casefold() for choice in choices]
    listed: dict[str, float] = {}
    for token, logprob in alternatives:
        if logprob <= 0.0 and not math.isnan(logprob):
            listed[token] = math.exp(logprob)
    whole = {_bare(token) for token in listed}
    mass = [0.0] * len(words)
    ambiguous = 0.0
    for token, probability in listed.items():
        text = _bare(token)
        begun = [i for i, word in enumerate(words) if text and word.startswith(text)]
        if len(begun) > 1 and text in words and all(words[i] in whole for i in begun):
            begun = [words.index(text)]
        if len(begun) > 1:
            ambiguous += probability
        elif begun and _settles(text, words[begun[0]]):
            mass[begun[0]] += probability
    coverage = min(1.0, math.fsum(mass) + ambiguous)
    if ambiguous > AMBIGUOUS or not any(mass):
        return ChoiceMass(None, coverage)
    unlisted = [i for i, m in enumerate(mass) if m == 0.0]
    if unlisted:
        rest = max(0.0, 1.0 - math.fsum(listed.values())) / len(unlisted)
        ceiling = min(rest, *listed.values())
        for i in unlisted:
            mass[i] = ceiling
    total = math.fsum(mass)
    return ChoiceMass(tuple(m / total for m in mass), coverage)


def _bare(token: str) -> str:
    return token.lstrip(_DECORATION).rstrip(" \t\r\n\"'`*.,:;!)]}").casefold()


def _settles(text: str, word: str) -> bool:
    return len(text) >= min(_SETTLED_LENGTH, len(word)) or 2 * len(text) >= len(word)
