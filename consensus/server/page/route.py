"""The page, served: read at most once in a while however many look, and nothing without a key.

A browser that comes without a key gets a page that asks for one and holds nothing else. The page's
own script then sends it in the header that every other route takes.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from dataclasses import dataclass, field
from typing import Any, Literal
from weakref import WeakKeyDictionary

from starlette.requests import Request
from starlette.responses import Response

from consensus.errors import DataError, LedgerError
from consensus.ledger.store import Ledger
from consensus.server.errors import ApiError, no_such_receipt
from consensus.server.keys import Caller
from consensus.server.page.data import look_up
from consensus.server.page.html import page_csp, render_locked, render_page, render_receipt
from consensus.server.page.reading import current_of, read_page, read_review
from consensus.server.reading import may_judge
from consensus.server.service import Service

__all__ = ["LIVE_S", "show_page"]

LIVE_S = 5.0
"""Seconds between two looks of an open page."""

STRETCH_S = 30 * 86_400
"""A served page shows the last thirty days."""

PATIENCE = 5
"""A reading is kept for so many times the seconds that it took: a sixth of a core at the most."""


_For = tuple[str, ...] | None | Literal["all"]
"""Whose page: ``all`` that is decided, or what a reviewer of these types settles."""


@dataclass(slots=True)
class _Reading:
    html: str
    tag: str
    until: float


@dataclass(slots=True)
class _Keeper:
    """The latest readings, by whose they are, and one at a time."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    last: dict[_For, _Reading] = field(default_factory=dict)

    async def page(self, service: Service, ledger: Ledger, for_: _For) -> _Reading:
        """The page as it is, or as it was a moment ago."""
        async with self.lock:
            began = time.monotonic()
            self.last = {name: one for name, one in self.last.items() if began < one.until}
            found = self.last.get(for_)
            if found is None:
                html, tag = await asyncio.to_thread(_read, service, ledger, for_)
                ended = time.monotonic()
                fresh = max(LIVE_S / 2, PATIENCE * (ended - began))
                found = self.last[for_] = _Reading(html, tag, ended + fresh)
            return found


_keepers: WeakKeyDictionary[Service, _Keeper] = WeakKeyDictionary()
"""Each service's own; gone with it."""


async def show_page(service: Service, _caller: Caller, request: Request) -> Response:
    """Show what is decided, as a page for a browser.

    The route is public, since a browser that opens it can send no key yet: a caller without one
    gets a form, and 401.
    """
    try:
        caller = service.caller(_token(request))
    except ApiError as error:
        return _html(render_locked(), status=error.status)
    whole = caller.may_read_metrics()
    if not whole and caller.reviews == ():
        raise ApiError(403, "page_not_allowed", "this key may not see what all callers do")
    ledger = service.engine.ledger
    if not isinstance(ledger, Ledger):
        raise ApiError(404, "no_ledger", "nothing is kept here: the engine has no ledger")
    wanted = request.query_params.get("receipt")
    if wanted is not None:
        text = "text" in request.query_params
        if (text or not whole) and not await may_judge(service, caller, wanted):
            raise no_such_receipt()  # as the API says it
        return await _one(service, ledger, wanted, text=text)
    reading = await _keepers.setdefault(service, _Keeper()).page(
        service, ledger, "all" if whole else caller.reviews
    )
    if request.headers.get("if-none-match") == reading.tag:
        return _html("", status=304, tag=reading.tag)
    return _html(reading.html, tag=reading.tag)


async def _one(service: Service, ledger: Ledger, wanted: str, *, text: bool) -> Response:
    def look() -> dict[str, Any]:
        return look_up(ledger, ledger.receipt(wanted), service.engine.book, text=text)

    try:
        view = await asyncio.to_thread(look)
    except (DataError, LedgerError):
        raise no_such_receipt() from None
    return _html(render_receipt(view))


def _read(service: Service, ledger: Ledger, for_: _For) -> tuple[str, str]:
    table, book, since = service.table, service.engine.book, time.time() - STRETCH_S
    if for_ == "all":
        data = read_page(
            ledger,
            table,
            since=since,
            current=current_of(table, ledger, service.engine.prices),
            book=book,
            prices=service.engine.prices,
        )
    else:
        data = read_review(ledger, table, for_, since=since, book=book)
    data["since"] = data["since"][:10]
    known = {name: value for name, value in data.items() if name != "made"}
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
    return render_page(data, live_s=LIVE_S), f'"{digest[:32]}"'


def _html(text: str, *, status: int = 200, tag: str | None = None) -> Response:
    headers = {"content-security-policy": f"{page_csp(live=True)}; frame-ancestors 'none'"}
    if tag is not None:
        headers["etag"] = tag
    return Response(text, status, headers, media_type="text/html; charset=utf-8")


def _token(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None
