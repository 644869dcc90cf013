"""A real model for tests: the smallest of the catalogue, fetched as a user would fetch it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from consensus.models.catalogue import models_folder, pull
from consensus.models.local import LocalClient

TINY = "smollm2-135m-instruct"

FOLDER = models_folder()
"""Read before any test puts its own folder in the environment."""


@cache
def local_model(name: str = TINY) -> Path:
    """The model's file in the cache folder; the first test that asks has it fetched."""
    return pull(name, FOLDER)


@pytest.fixture(scope="module")
def local_client() -> Iterator[LocalClient]:
    """A client whose model is loaded once for a module's tests."""
    local_model()
    client = LocalClient(folder=FOLDER)
    yield client
    asyncio.run(client.aclose())
