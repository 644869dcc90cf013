"""OpenAI's embeddings: a vector of which words a text has, so that like texts lie together."""

from __future__ import annotations

import base64
import hashlib
import struct
from typing import Any

from tests.loopback.asking import RequestInfo, tokens

DIMENSIONS = 64


def answer(asked: RequestInfo, served: str) -> tuple[int, dict[str, Any]]:
    """Status and body; like the API it wants a key, and words to embed."""
    if not asked.api_key:
        return 401, _error("You didn't provide an API key.", "invalid_api_key")
    given = asked.body.get("input")
    texts = [given] if isinstance(given, str) else list(given or ())
    if not texts or not all(isinstance(text, str) and text for text in texts):
        return 400, _error("'$.input' is invalid", None)
    packed = asked.body.get("encoding_format") == "base64"
    found = [vector(text) for text in texts]
    raw = [base64.b64encode(struct.pack(f"<{DIMENSIONS}f", *v)).decode() for v in found]
    total = sum(tokens(text) for text in texts)
    return 200, {
        "object": "list",
        "data": [
            {"object": "embedding", "index": i, "embedding": raw[i] if packed else found[i]}
            for i in range(len(texts))
        ],
        "model": served,
        "usage": {"prompt_tokens": total, "total_tokens": total},
    }


def vector(text: str) -> list[float]:
    """Each word adds one to the place that its hash names; scaled to length one."""
    found = [0.0] * DIMENSIONS
    for word in text.lower().split():
        found[hashlib.sha256(word.encode()).digest()[0] % DIMENSIONS] += 1.0
    length = sum(value * value for value in found) ** 0.5 or 1.0
    return [value / length for value in found]


def _error(message: str, code: str | None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "code": code}}
