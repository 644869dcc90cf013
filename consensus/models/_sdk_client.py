"""What the clients over a provider's SDK share: setting it up, posting through it, its errors.

The SDK does what it is good at (credentials, endpoint, headers, connections, error classes); the
body goes out and the answer comes in as bytes of our own. One attempt per call: the gateway
retries.
"""

from __future__ import annotations

import asyncio
import math
from types import ModuleType
from typing import Any, ClassVar

from pydantic_core import to_json

from consensus.errors import FailureClass, ProviderError
from consensus.models._http import Answer, Way, aiohttp_transport, over
from consensus.models.prices import PriceBook

__all__ = ["SdkClient"]


class SdkClient:
    """A client over an SDK of the family that OpenAI's and Anthropic's belong to.

    Args:
        api_key: None: whatever the SDK finds.
        base_url: None: whatever the SDK finds.
        concurrency: the size of the connection pool.
        prices: says what each model can do.
    """

    keeps_time: ClassVar[bool] = True
    """``complete`` ends when its ``timeout_s`` is over: the gateway need not time it too."""

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        concurrency: int = 100,
        prices: PriceBook,
    ) -> None:
        self._api_key = api_key or None
        self._base_url = base_url or None
        self._concurrency = concurrency
        self._prices = prices
        self._sdk: Any = None
        self._loaded: tuple[ModuleType, ModuleType] | None = None
        self._transport: Any = None
        self._ways: dict[str, Way] = {}

    async def prepare(self) -> None:
        """Import the SDK now, in a thread: over a second that no deadline should have to pay."""
        self._loaded = await asyncio.to_thread(self._modules)

    async def aclose(self) -> None:
        """Close the connections."""
        sdk, self._sdk = self._sdk, None
        self._ways.clear()
        if sdk is not None:
            await sdk.close()

    # -- of each provider --------------------------------------------------------------------------

    def _modules(self) -> tuple[ModuleType, ModuleType]:
        """The SDK and its HTTP library, imported."""
        raise NotImplementedError

    def _connect(self, http_client: Any, model: str) -> Any:
        """The SDK's client over this HTTP client."""
        raise NotImplementedError

    def _fixed(self, sdk: Any) -> bool:
        """Whether the SDK sends the same credentials with every request."""
        raise NotImplementedError

    def _failed(
        self, model: str, failure: FailureClass, what: str, *, again: bool = True
    ) -> ProviderError:
        """A failure without a status, in words of ours."""
        raise NotImplementedError

    def _translated(self, caught: Any, model: str) -> ProviderError:
        """The SDK's error about a status."""
        raise NotImplementedError

    def _undeclared(self, caught: Exception, model: str) -> ProviderError | None:
        """The SDK's complaint that it has no usable credentials; None: it is something else."""
        return None

    # -- posting -----------------------------------------------------------------------------------

    async def _post(
        self,
        path: str,
        body: dict[str, Any],
        model: str,
        timeout_s: float,
        options: Any = None,
    ) -> Answer:
        if self._loaded is None:
            self._loaded = await asyncio.to_thread(self._modules)
        sdk, http = self._loaded
        content = to_json(body)
        more = {} if options is None else {"options": options}
        error: ProviderError | None
        try:
            client = self._client(model)
            way = self._ways.get(path)
            if way is None:
                way = self._ways[path] = Way(self._transport, fixed=self._fixed(client))
            async with asyncio.timeout(timeout_s if math.isfinite(timeout_s) else None):
                await _let_others_compose()
                return await way.post(
                    content,
                    lambda: client.post(path, cast_to=http.Response, content=content, **more),
                )
        except TimeoutError:
            error = self._failed(model, "timeout", f"sent no answer within {timeout_s:.3g} s")
        except sdk.APIStatusError as caught:
            error = self._translated(caught, model)
        except (sdk.APITimeoutError, http.TimeoutException) as caught:
            error = self._failed(model, "connection", "could not be reached in time")
            error.unbilled = _unsent(caught, http)
        except (sdk.APIConnectionError, http.TransportError) as caught:
            error = self._failed(model, "connection", "closed or refused the connection")
            error.unbilled = _unsent(caught, http)
        except Exception as caught:
            error = self._undeclared(caught, model)
            if error is None:
                raise
        # Raised here and not above, so that it carries no context: the SDK's own exceptions hold
        # the request, with its key and the judged text.
        raise error

    def _client(self, model: str = "") -> Any:
        """The SDK's own client; ``model`` is whose call wants it, for messages."""
        if self._sdk is None:
            _, http = self._modules()
            self._transport = aiohttp_transport(http, concurrency=self._concurrency)
            self._sdk = self._connect(over(http, self._transport), model)
        return self._sdk


async def _let_others_compose() -> None:
    """Let the calls that began together all compose their requests before the first is sent.

    The same code for ten seats in a row stays in the processor's caches; between two sendings, it
    does not. That is worth a fifth of what a call costs besides its sending (design/speed.md).
    """
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError as error:
        error.unbilled = True  # type: ignore[attr-defined]  # nothing has been sent
        raise


def _unsent(caught: Exception, http: ModuleType) -> bool:
    """Whether there was no connection on which a request could have been sent."""
    return any(
        isinstance(link, http.ConnectError | http.ConnectTimeout)
        for link in (caught, caught.__cause__)
    )
