"""The SDKs' HTTP, over aiohttp: a transport that does no more than these calls need.

``httpx`` (OpenAI's SDK) and ``httpx2`` (Anthropic's) are one interface twice, so the transport is
made for whichever module it is given. It reads whole answers, which is all that is asked for here,
and costs about a third of what the SDKs' own transports do.

Two thirds of what is left is the SDK making the same request again with another body. So a
:class:`Way` lets the SDK make the first one, keeps its URL and headers, and sends the next ones
itself; whatever is not a plain success goes back to the SDK, which says what it means.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from yarl import URL

__all__ = ["CONNECT_TIMEOUT_S", "Answer", "Way", "aiohttp_client", "aiohttp_transport", "over"]

CONNECT_TIMEOUT_S = 30.0
"""Seconds to open a connection. The call as a whole is timed by the client that makes it.

Not less: where thousands of decisions begin at once on a busy machine, the event loop is away for
ten or twenty seconds, and connections that stood were given up (and the breaker opened)."""

_KEEPALIVE_S = 60.0
_OWN_HEADERS = frozenset({"content-length", "transfer-encoding"})
"""Of a request's headers, those that go with its body."""

RawHeaders = tuple[tuple[bytes, bytes], ...]


class Answer(NamedTuple):
    """A response that has been read whole; header names are looked up in any case."""

    headers: Mapping[str, str]
    content: bytes


class _Passing:
    """One request on its way through an SDK: who wants to learn from it, what answers it."""

    __slots__ = ("answered", "way")

    def __init__(self, way: Way, answered: tuple[int, RawHeaders, bytes] | None) -> None:
        self.way = way
        self.answered = answered


_PASSING: ContextVar[_Passing | None] = ContextVar("consensus_passing", default=None)


class Way:
    """One endpoint of a provider, as its SDK goes to it.

    Args:
        transport: the SDK's, from :func:`aiohttp_transport`.
        fixed: whether all credentials are: only then are they used again. Those that are renewed
            are left to the SDK each time.
    """

    def __init__(self, transport: Any, *, fixed: bool) -> None:
        self._transport = transport
        self._fixed = fixed
        self._request: tuple[URL, Any] | None = None

    async def post(self, content: bytes, through_sdk: Callable[[], Awaitable[Any]]) -> Answer:
        """Post a body.

        Args:
            content: the body.
            through_sdk: posts the same body by the SDK, and returns its response or raises its
                error.
        """
        answered = None
        if self._request is not None:
            status, headers, raw, body = await self._transport.send(*self._request, content)
            if 200 <= status < 300 and "content-encoding" not in headers:
                return Answer(headers, body)
            if status in {401, 403}:
                self._request = None
            answered = (status, raw, body)
        token = _PASSING.set(_Passing(self, answered))
        try:
            response = await through_sdk()
        finally:
            _PASSING.reset(token)
        return Answer(response.headers, response.content)

    def learn(self, url: URL, headers: list[tuple[str, str]]) -> None:
        """Keep how the SDK made a request that was answered."""
        from multidict import CIMultiDict, CIMultiDictProxy

        if self._fixed:
            kept = CIMultiDict((k, v) for k, v in headers if k.lower() not in _OWN_HEADERS)
            self._request = (url, CIMultiDictProxy(kept))


def aiohttp_client(module: ModuleType, *, concurrency: int) -> Any:
    """An ``AsyncClient`` of ``httpx`` or ``httpx2`` over an :func:`aiohttp_transport`."""
    return over(module, aiohttp_transport(module, concurrency=concurrency))


def over(module: ModuleType, transport: Any) -> Any:
    """An ``AsyncClient`` over this transport, without timeouts of its own."""
    return module.AsyncClient(transport=transport, timeout=None, follow_redirects=True)


def aiohttp_transport(module: ModuleType, *, concurrency: int) -> Any:
    """An ``AsyncBaseTransport`` of ``httpx`` or ``httpx2`` with a pool for so many calls at once.

    The proxies of the environment (``HTTPS_PROXY``, ``NO_PROXY``) are honoured. It belongs to the
    event loop of its first request.
    """
    import aiohttp
    from aiohttp.helpers import get_env_proxy_for_url
    from yarl import URL

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)

    class Transport(module.AsyncBaseTransport):  # type: ignore[misc, name-defined]
        """Sends a request through aiohttp and reads the whole answer."""

        session: aiohttp.ClientSession | None = None

        def __init__(self) -> None:
            self.proxies: dict[str | None, dict[str, Any]] = {}

        def proxy(self, url: URL) -> dict[str, Any]:
            # Left to aiohttp (trust_env), the environment is read anew for every request, in two
            # hops to another thread that cost more than the request itself.
            known = self.proxies.get(url.host)
            if known is None:
                try:
                    proxy, auth = get_env_proxy_for_url(url)
                    known = {"proxy": proxy, "proxy_auth": auth}
                except LookupError:
                    known = {}
                self.proxies[url.host] = known
            return known

        def opened(self, url: URL) -> aiohttp.ClientSession:
            if self.session is None:
                self.session = aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(
                        limit=concurrency,
                        keepalive_timeout=_KEEPALIVE_S,
                        ssl=module.create_ssl_context() if url.scheme == "https" else True,
                    ),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    auto_decompress=False,
                )
            return self.session

        async def send(
            self, url: URL, headers: Any, content: bytes | None, method: str = "POST"
        ) -> tuple[int, Mapping[str, str], RawHeaders, bytes]:
            """One request: status, headers (by name, and as they came) and body."""
            try:
                async with self.opened(url).request(
                    method,
                    url,
                    headers=headers,
                    data=content or None,
                    timeout=timeout,
                    allow_redirects=False,
                    **self.proxy(url),
                ) as response:
                    body = await response.read()
            except aiohttp.ServerTimeoutError as error:
                raise module.ConnectTimeout(type(error).__name__) from error
            except aiohttp.ClientConnectorError as error:
                raise module.ConnectError(type(error).__name__) from error
            except aiohttp.ClientError as error:
                raise module.NetworkError(type(error).__name__) from error
            return response.status, response.headers, response.raw_headers, body

        async def handle_async_request(self, request: Any) -> Any:
            passing = _PASSING.get()
            if passing is not None and passing.answered is not None:
                (status, raw, body), passing.answered = passing.answered, None
            else:
                url = URL(str(request.url), encoded=True)
                headers = request.headers.multi_items()
                try:
                    status, _, raw, body = await self.send(
                        url, headers, request.content, request.method
                    )
                except module.TransportError as error:
                    error.request = request
                    raise
                if passing is not None and 200 <= status < 300 and request.method == "POST":
                    passing.way.learn(url, headers)
            return module.Response(
                status,
                headers=raw,
                content=body,
                request=request,
                extensions={"http_version": b"HTTP/1.1"},
            )

        async def aclose(self) -> None:
            session, self.session = self.session, None
            if session is not None:
                await session.close()

    return Transport()
