"""Real servers as fixtures: one of each for a whole run, an empty place in it for each test."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from tests.servers import real

_numbers = count()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[real.Postgres]:
    with real.postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: real.Postgres) -> Iterator[str]:
    """An empty database of its own."""
    name = f"ledger_{next(_numbers)}"
    postgres_server.run(f"CREATE DATABASE {name}")
    yield postgres_server.url(name)
    postgres_server.run(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def redis_server() -> Iterator[real.Redis]:
    with real.redis() as server:
        yield server
