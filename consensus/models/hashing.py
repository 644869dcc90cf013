"""The content hash of a request: what tapes and ledgers find an answer by.

Most of a request is like the one before it: the seats of a task begin alike, and those of a row end
alike. Both parts are remembered, so that hashing a call costs a microsecond or two.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from consensus.models.protocol import Request

if TYPE_CHECKING:
    from hashlib import _Hash as HASH

__all__ = ["canonical_request", "request_digest", "request_key"]

_quoted = json.encoder.encode_basestring_ascii
_CANONICAL: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def canonical_request(request: Request) -> bytes:
    """Everything of a request that affects its answer, spelt in one way, in ASCII.

    Cache marks are left out: they change the price, not the answer. The order of a schema's
    properties is kept: models write them in that order. Never shorter than the UTF-8 text that is
    sent, so its length too is an upper bound on the tokens.
    """
    temperature = request.temperature
    document = (
        "consensus/request/1",
        request.model,
        request.system,
        [(turn.role, [part.text for part in turn.parts]) for turn in request.turns],
        request.output_schema,
        request.choices,
        request.max_output_tokens,
        None if temperature is None else float(temperature),
        request.seed,
        request.sample,
    )
    return _CANONICAL.encode(document).encode("ascii")


def request_key(request: Request) -> str:
    """The content hash of a request: sha256 of :func:`canonical_request`, in hex.

    Stable across processes, machines and versions of this library: what a tape or a ledger is
    searched by.
    """
    return request_digest(request)[0]


def request_digest(request: Request) -> tuple[str, int]:
    """The :func:`request_key`, and the length of the canonical request in bytes.

    The seats of one task begin alike (system prompt and first part), so the hash of that beginning
    is remembered for the requests that follow, and only the rest of each is spelt and hashed.
    """
    first, *turns = request.turns or (None,)
    if first is None or not first.parts:
        canonical = canonical_request(request)
        return sha256(canonical).hexdigest(), len(canonical)
    begun, size = _BEGINNINGS.of(request.model, request.system, first.role, first.parts[0].text)
    if not turns and len(first.parts) == 2:  # nearly all: what differs is the framing alone
        rest = _ending(request, first.parts[1].text)
    else:
        pieces = [f",{_quoted(part.text)}" for part in first.parts[1:]]
        pieces.append("]]")
        for turn in turns:
            texts = ",".join(_quoted(part.text) for part in turn.parts)
            pieces.append(f",[{_quoted(turn.role)},[{texts}]]")
        rest = ("".join(pieces) + _settings(request)).encode("ascii")
    whole = begun.copy()
    whole.update(rest)
    return whole.hexdigest(), size + len(rest)


def _settings(request: Request) -> str:
    """How a request ends: what is asked besides the conversation."""
    temperature = request.temperature
    settings = (
        request.output_schema,
        request.choices,
        request.max_output_tokens,
        None if temperature is None else float(temperature),
        request.seed,
        request.sample,
    )
    return "]," + _CANONICAL.encode(settings)[1:]


def _ending(request: Request, last: str) -> bytes:
    """What follows the shared part of a request, which is alike for every task of a row."""
    schema = request.output_schema
    key = (
        last,
        id(schema),
        request.choices,
        request.max_output_tokens,
        request.temperature,
        request.seed,
        request.sample,
    )
    found = _ENDINGS.get(key)
    if found is None or found[0] is not schema:
        found = (schema, f",{_quoted(last)}]]{_settings(request)}".encode("ascii"))
        if len(last) <= _LONGEST_ENDING:
            if len(_ENDINGS) >= _MOST_ENDINGS:
                _ENDINGS.clear()
            _ENDINGS[key] = found
    return found[1]


_MOST_ENDINGS: Final = 1024
_LONGEST_ENDING: Final = 8_000
_ENDINGS: Final[dict[tuple[Any, ...], tuple[object, bytes]]] = {}
"""By what they follow from; each holds its schema, whose identity is part of the key."""


class _Beginnings:
    """Hashes of what requests begin with, the latest of them, with a bound on the text held."""

    def __init__(self, most_chars: int) -> None:
        self._known: dict[tuple[str, str, str, str], tuple[HASH, int]] = {}
        self._chars = 0
        self._most_chars = most_chars

    def of(self, model: str, system: str, role: str, text: str) -> tuple[HASH, int]:
        """The hash so far, to be copied before it is gone on with; and the bytes behind it."""
        key = (model, system, role, text)
        found = self._known.get(key)
        if found is None:
            spelt = (
                f'["consensus/request/1",{_quoted(model)},{_quoted(system)},'
                f"[[{_quoted(role)},[{_quoted(text)}"
            ).encode("ascii")
            found = (sha256(spelt), len(spelt))
            if self._chars > self._most_chars:  # all are forgotten: no lock, nothing to go wrong
                self._known, self._chars = {}, 0
            self._known[key] = found
            self._chars += len(system) + len(text)
        return found


_BEGINNINGS: Final = _Beginnings(most_chars=8_000_000)
