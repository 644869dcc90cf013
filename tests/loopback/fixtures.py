"""Fixtures for any test: ``from tests.loopback.fixtures import *`` in a conftest."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.loopback.server import LoopbackProvider

__all__ = ["loopback", "loopback_env", "loopback_thread"]


@pytest.fixture
async def loopback() -> AsyncIterator[LoopbackProvider]:
    """A provider in this test's event loop; ``set_script`` changes what it does."""
    async with LoopbackProvider() as provider:
        yield provider


@pytest.fixture
def loopback_env(loopback: LoopbackProvider, monkeypatch: pytest.MonkeyPatch) -> LoopbackProvider:
    """The same, with the SDKs' environment variables pointing at it."""
    for name, value in loopback.environment.items():
        monkeypatch.setenv(name, value)
    return loopback


@pytest.fixture
def loopback_thread() -> Iterator[LoopbackProvider]:
    """A provider in a thread of its own: for code that is not async, and for other processes."""
    provider = LoopbackProvider().start()
    try:
        yield provider
    finally:
        provider.stop()
