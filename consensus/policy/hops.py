"""Whether a question takes several steps, or brings no material: a rule on its text, no call.

Escalation for such questions is a published habit; a cheap rule for them is a guess at a question's
shape and is no measure of its difficulty. ``design/engine.md`` says how often it is right. The
rules know English, and look at what is asked (a subject, a conversation's last message), never at
the criteria or the options.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

from consensus.tasks import Generate, Task

__all__ = ["MAX_BARE_WORDS", "Sign", "hop_signs", "is_multi_hop", "is_open_domain"]

Sign: TypeAlias = Literal["questions", "sequence", "comparison", "reference", "chain"]
"""Several questions; one thing and then another; a comparison of parts; another document or place
in one; an attribute of an attribute."""

MAX_BARE_WORDS = 60
"""A text longer than this is taken to bring material with its question."""

_QUESTION = re.compile(r"\?(?=[\s\"'”’)\]]|$)")
_VERB = (
    r"(?:calculate|compute|determine|find|explain|identify|estimate|compare|describe|state|list|"
    r"decide|derive|name|say|tell|give|summari[sz]e|justify|check)"
)
_SIGNS: dict[Sign, re.Pattern[str]] = {
    "sequence": re.compile(
        r"\b(?:and then|after that|in turn|followed by|"
        r"based on (?:that|this|your) (?:answer|result)|"
        rf"(?:and|then)(?: also)? {_VERB})\b",
        re.IGNORECASE,
    ),
    "comparison": re.compile(
        r"\b(?:compared? (?:to|with|the)|differences? between|(?:more|less|fewer|\w+er) than "
        r"(?:that|those|both|either|the \w+ (?:of|in|from))|which of (?:the|these) two|"
        r"respectively)\b",
        re.IGNORECASE,
    ),
    "reference": re.compile(
        r"\b(?:see|according to|under|per|in|with|to|from|of) (?:the |its |our |your |their )?"
        r"(?:(?:attached|enclosed|other|previous|earlier|second|linked|referenced|related) "
        r"(?:\w+ )?(?:document|contract|policy|report|article|file|page|e-?mail|message|ticket|"
        r"table|letter|agreement|invoice|study|paper|passage)s?|(?:appendix|annex|exhibit|schedule|"
        r"section|clause|article|table|figure|chapter|footnote) [0-9A-Z][\w.]*)",
        re.IGNORECASE,
    ),
    "chain": re.compile(
        r"\b(?:the|whose|what|which) \w+ of (?:the )?\w+(?: \w+)? "
        r"(?:of (?:the|a)|who|whose|whom|where|in which|that (?:was|were|is|has|had)) ",
        re.IGNORECASE,
    ),
}
_ASKS = re.compile(
    r"^\W*(?:who|whom|whose|what|which|when|where|why|how|is|are|was|were|do|does|did|can|could|"
    r"should|would|will|has|have|name|list|give|explain|describe|tell)\b",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?:;])\s+|\n+")
_ORDERS = re.compile(rf"^\W*(?:\(?[a-z0-9]\)\s*)?(?:please )?{_VERB}\b", re.IGNORECASE)
_MATERIAL = re.compile(
    r"\n\s*\n|```|^\s*(?:[-*•>]|\d+[.)])\s|\"[^\"]{60,}\"|“[^”]{60,}”|"
    r"\b(?:passage|context|abstract|transcript|document|excerpt|"
    r"following (?:text|message|letter))\s*:",
    re.IGNORECASE | re.MULTILINE,
)


def hop_signs(task: Task) -> tuple[Sign, ...]:
    """The signs that a question takes several steps, in a fixed order; none is the usual case."""
    text = _asked(task)
    asking = _asking(text)
    found: list[Sign] = ["questions"] if len(_QUESTION.findall(text)) > 1 else []
    for sign, pattern in _SIGNS.items():
        if pattern.search(text if sign == "reference" else asking):
            found.append(sign)
    return tuple(found)


def is_multi_hop(task: Task) -> bool:
    """Whether there is any sign of several steps."""
    return bool(hop_signs(task))


def is_open_domain(task: Task) -> bool:
    """Whether a short question stands alone, so that its answer must come from what a model knows.

    It asks, in at most ``MAX_BARE_WORDS`` words, and quotes, lists or encloses nothing; of a
    conversation every message but standing instructions counts.
    """
    text = _asked(task)
    if isinstance(task, Generate) and sum(m.role != "system" for m in task.messages) > 1:
        return False
    asks = _QUESTION.search(text) is not None or _ASKS.match(text) is not None
    return asks and len(text.split()) <= MAX_BARE_WORDS and _MATERIAL.search(text) is None


def _asking(text: str) -> str:
    """The sentences that ask or tell to do something: a story's own comparisons say nothing."""
    sentences = _SENTENCE.split(text)
    return "\n".join(s for s in sentences if s.rstrip(" \"'”’)").endswith("?") or _ORDERS.match(s))


def _asked(task: Task) -> str:
    if isinstance(task, Generate):
        return task.messages[-1].content
    return task.texts()[0]
