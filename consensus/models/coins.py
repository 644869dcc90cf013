"""A coin that is a hash: the same key always falls the same way, on every machine.

Draws that must be repeatable (which strategy of a mixture, which decision a stronger route sees
too, which one a person looks at) are made so. Different draws take different salts, or one would
tell about the other.
"""

from __future__ import annotations

import hashlib

__all__ = ["LOOKED_AT", "coin", "drawn"]

LOOKED_AT = "look-0"
"""The salt of draws of decisions to be looked at again, by a stronger route or by a person. One
salt for both: a person who looks at a share then looks at decisions that the stronger route, given
as large a share, has answered too."""


def coin(key: str, *, salt: str) -> float:
    """A number in [0, 1) from sha256(``SALT:KEY``): its first 8 bytes, big-endian, over 2⁶⁴."""
    digest = hashlib.sha256(f"{salt}:{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2.0**64


def drawn(receipt_id: str, share: float) -> bool:
    """Whether a decision belongs to the share that is looked at; a larger share holds a smaller."""
    return coin(receipt_id, salt=LOOKED_AT) < share
