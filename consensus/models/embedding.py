"""An embedding as a call like any other: the gateway's limits, budget, record and tape hold for it.

A request for one has the text as its only turn and reserves no output; that tells it from every
other request. The answer's ``text`` is the vector: little-endian 32-bit floats in base64.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Sequence

from consensus.errors import ProviderError
from consensus.models.protocol import Completion, Part, Request, Turn

__all__ = ["embedding_request", "is_embedding", "packed", "vector_of"]

MOST_DIMENSIONS = 65_536


def embedding_request(model: str, text: str) -> Request:
    """What a model is asked for the vector of a text. Nobody embeds nothing, so it says so then."""
    turn = Turn("user", (Part(text or "(no text)"),))
    return Request(model=model, system="", turns=(turn,), max_output_tokens=0)


def is_embedding(request: Request) -> bool:
    """Whether a request asks for a vector and not for words."""
    return request.max_output_tokens == 0


def packed(vector: Sequence[float]) -> str:
    """A vector as a completion's text."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def vector_of(completion: Completion) -> tuple[float, ...]:
    """The vector of a completion, scaled to length one.

    Raises:
        ProviderError: it is none, or has no length.
    """
    try:
        raw = base64.b64decode(completion.text, validate=True)
        values = struct.unpack(f"<{len(raw) // 4}f", raw)
    except (binascii.Error, ValueError, struct.error):
        values = ()
    length = math.sqrt(math.fsum(value * value for value in values))
    if not 0 < len(values) <= MOST_DIMENSIONS or not (math.isfinite(length) and length > 0):
        raise ProviderError(
            "the answer is no embedding",
            failure="malformed_response",
            model=completion.served_model,
        )
    return tuple(value / length for value in values)
