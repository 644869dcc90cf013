"""The HTTP API and the endpoint that speaks OpenAI's protocol (design/server.md).

Needs the extra ``serve`` (starlette, uvicorn, prometheus-client). ``import consensus.server`` loads
none of them; :mod:`consensus.server.app` and :mod:`consensus.server.running` do.
"""

from __future__ import annotations

__all__: list[str] = []
