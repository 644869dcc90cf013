"""Judged text is data: it is fenced, and nothing in it can close the fence.

The fence's code is drawn from a hash of everything that is judged, and drawn again until it occurs
nowhere in it, so that no text can hold its own closing tag. It is deterministic, so that the same
task gives the same prompt bytes (prompt caches and tapes depend on that).

Characters that a person does not see but a model reads are made visible; the task itself keeps
the original.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from hashlib import blake2b

__all__ = ["Fence", "clean"]

# C0 and C1 controls but tab and newline; direction overrides; a lone or misplaced tag character;
# a run of variation selectors (one alone picks a glyph, a run hides bytes).
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202d\u202e]"
    "|\U0001f3f4[\U000e0061-\U000e007a\U000e0030-\U000e0039]{1,8}\U000e007f"
    "|[\U000e0000-\U000e007f]"
    "|[\ufe00-\ufe0f\U000e0100-\U000e01ef]{2,}"
)

# One class of characters is searched many times faster than the alternatives above.
_SUSPECT = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202d\u202e\U0001f3f4\ufe00-\ufe0f\U000e0000-\U000e01ef]"
)
_HARMLESS_ASCII = bytes([9, 10, *range(32, 127)])

# What chat templates read as the end of a turn or of the text. A space before the closing sign
# keeps it readable (HTML's </s > means what </s> means) and makes it ordinary text.
_RESERVED = re.compile(
    r"(<[|｜][^<>|｜\s]{1,64}[|｜])(?=>)"
    r"|(<(?:start|end)_of_(?:turn|text|image|audio|utterance|role))(?=>)"
    r"|(<</?SYS>)(?=>)"
    r"|(\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_RESULTS|TOOL_CALLS))(?=\])"
    r"|(</?(?:s|bos|eos|unk|pad|think|tool_call|tool_response))(?=>)",
    re.IGNORECASE,
)

_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e0fff]+"
)

_FLAG = "\U0001f3f4"


def clean(text: str) -> str:
    """Make invisible characters visible, and defuse chat templates' reserved words.

    Letters, emoji, joiners and direction marks of every script stay as they are.
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.isascii():
        suspect: object = text.encode().translate(None, _HARMLESS_ASCII)
    else:
        suspect = _SUSPECT.search(text)
    if suspect:
        text = _HIDDEN.sub(_show, text)
    if "<" in text or "[" in text:
        text = _RESERVED.sub(lambda match: match.group(0) + " ", text)
    return text


def _show(match: re.Match[str]) -> str:
    found = match.group(0)
    if found[0] == _FLAG:
        return found
    return "".join(f"‹U+{ord(character):04X}›" for character in found)


class Fence:
    """One task's fence."""

    __slots__ = ("code",)

    def __init__(self, texts: Iterable[str]) -> None:
        """Draw a code that occurs in none of ``texts``.

        Args:
            texts: everything that the prompt will hold and that somebody else may have written,
                as it will be shown.
        """
        kept = list(texts)
        digest = blake2b(digest_size=16)
        for text in kept:
            raw = text.encode()
            digest.update(len(raw).to_bytes(8, "big"))
            digest.update(raw)
        seed = digest.digest()
        plain = [_skeleton(text) for text in kept]
        draw = 0
        while True:
            self.code = blake2b(seed + draw.to_bytes(4, "big"), digest_size=4).hexdigest()
            if not any(self.code in text for text in plain):
                return
            draw += 1

    def wrap(self, name: str, text: str) -> str:
        """Put a text between this fence's tags."""
        tag = f"{name}-{self.code}"
        return f"<{tag}>\n{text}\n</{tag}>"


def _skeleton(text: str) -> str:
    """What a text looks like to a reader: widths, case and invisible characters aside."""
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _INVISIBLE.sub("", folded)
