"""What a classifier reads of a task, and the words it sees in it.

Criteria, options, schemas and system messages are left out: they are the product's own words, the
same for every task of a type, so a classifier that reads them learns its suite's templates by heart
and knows nothing of a task that comes without them.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from itertools import pairwise

from consensus.tasks import Approve, Choose, Compare, Generate, Rank, Score, Task

__all__ = ["MAX_CHARS", "text_of", "words_of"]

MAX_CHARS = 8_000
"""Characters that are read: the beginning and the end of what is longer. Whoever stuffs a text with
words can fill these and no more, and a model's call has a price that is known beforehand."""

_HEAD = 3 / 4
_WORD = re.compile(r"\w+")
_LONGEST_WORD = 40


def text_of(task: Task, limit: int = MAX_CHARS) -> str:
    """The judged text of a task, at most ``limit`` characters of it."""
    parts: tuple[str, ...]
    match task:
        case Approve() | Choose() | Score():
            parts = (task.subject,)
        case Compare():
            parts = (task.subject, task.a, task.b)
        case Rank():
            parts = (task.subject, *task.items)
        case Generate():
            parts = tuple(m.content for m in task.messages if m.role != "system")
    return clipped("\n".join(part for part in parts if part), limit)


def clipped(text: str, limit: int = MAX_CHARS) -> str:
    """The first three quarters and the last quarter of ``limit``; the text, if it is shorter."""
    if len(text) <= limit:
        return text
    head = int(limit * _HEAD)
    return f"{text[:head]}\n{text[len(text) - (limit - head - 1) :]}"


def words_of(text: str) -> Counter[str]:
    """Words and pairs of neighbours with their counts, by one spelling (NFKC, no case)."""
    plain = unicodedata.normalize("NFKC", text[: 2 * MAX_CHARS]).casefold()
    words = [word[:_LONGEST_WORD] for word in _WORD.findall(plain)]
    found = Counter(words)
    found.update(f"{a} {b}" for a, b in pairwise(words))
    return found
