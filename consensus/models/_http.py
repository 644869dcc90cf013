"""The SDKs' HTTP, over aiohttp: a transport that does no more than these calls need.

``httpx`` (OpenAI's SDK) and ``httpx2`` (Anthropic's) are one interface twice, so the transport is
made for whichever module it is given. It reads whole answers, which is all that is asked for here,
and costs about a third of what the SDKs' own transports do.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

__all__ = ["CONNECT_TIMEOUT_S", "aiohttp_client"]

CONNECT_TIMEOUT_S = 30.0
"""Seconds to open a connection. The call as a whole is timed by the client that makes it.

Not less: where thousands of decisions begin at once on a busy machine, the event loop is away for
ten or twenty seconds, and connections that stood were given up (and the breaker opened)."""

_KEEPALIVE_S = 60.0


def aiohttp_client(module: ModuleType, *, concurrency: int) -> Any:
    """An ``AsyncClient`` of ``httpx`` or ``httpx2`` with a pool for so many calls at once.

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
            self.proxies: dict[str, dict[str, Any]] = {}

        def proxy(self, host: str, url: URL) -> dict[str, Any]:
            # Left to aiohttp (trust_env), the environment is read anew for every request, in two
            # hops to another thread that cost more than the request itself.
            known = self.proxies.get(host)
            if known is None:
                try:
                    proxy, auth = get_env_proxy_for_url(url)
                    known = {"proxy": proxy, "proxy_auth": auth}
                except LookupError:
                    known = {}
                self.proxies[host] = known
            return known

        async def handle_async_request(self, request: Any) -> Any:
            if self.session is None:
                self.session = aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(
                        limit=concurrency,
                        keepalive_timeout=_KEEPALIVE_S,
                        ssl=module.create_ssl_context() if request.url.scheme == "https" else True,
                    ),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    auto_decompress=False,
                )
            url = URL(str(request.url), encoded=True)
            try:
                async with self.session.request(
                    request.method,
                    url,
                    headers=request.headers.multi_items(),
                    data=request.content or None,
                    timeout=timeout,
                    allow_redirects=False,
                    **self.proxy(request.url.host, url),
                ) as response:
                    body = await response.read()
            except aiohttp.ServerTimeoutError as error:
                raise module.ConnectTimeout(type(error).__name__, request=request) from error
            except aiohttp.ClientError as error:
                raise module.NetworkError(type(error).__name__, request=request) from error
            return module.Response(
                response.status,
                headers=response.raw_headers,
                content=body,
                request=request,
                extensions={"http_version": b"HTTP/1.1"},
            )

        async def aclose(self) -> None:
            session, self.session = self.session, None
            if session is not None:
                await session.close()

    return module.AsyncClient(transport=Transport(), timeout=None, follow_redirects=True)
