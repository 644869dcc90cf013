"""A Ray cluster of two CPUs, for the whole session; a PostgreSQL and a Redis that it knows."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import absent
from tests.servers import real

KEY = "sk-ant-planted-for-workers"
LIMITS = {"redis": "CONSENSUS_TEST_LIMITS", "postgres": "CONSENSUS_TEST_LIMITS_TABLE"}
"""By the kind of store, the variable that names it."""


@dataclass(frozen=True, slots=True)
class RayUp:
    """A cluster that is up; the servers are named in its processes' environment."""

    address: str
    logs: Path
    ledger: str
    limits: dict[str, str]


@pytest.fixture(scope="session")
def ray_cluster(request: pytest.FixtureRequest) -> Iterator[RayUp]:
    """Ray is up, and its processes have a key in their environment."""
    from consensus.cluster.connecting import connected, ray_of

    ledger, limits = "", {}
    with ExitStack() as up, pytest.MonkeyPatch.context() as patch:
        # Ray's own warnings, on import and while it starts and ends; a test's are errors as ever.
        warned = up.enter_context(ExitStack())
        if not (absent("postgres") or absent("redis")):
            server: real.Postgres = request.getfixturevalue("postgres_server")
            server.run("CREATE DATABASE workers")
            ledger = server.url("workers")
            server.run("CREATE DATABASE limits")
            limits = {
                LIMITS["redis"]: up.enter_context(real.redis()).url,
                LIMITS["postgres"]: server.url("limits"),
            }
            patch.setenv("CONSENSUS_LEDGER", ledger)
            for name, url in limits.items():
                patch.setenv(name, url)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            patch.setenv("ANTHROPIC_API_KEY", KEY)
            patch.delenv("RAY_ADDRESS", raising=False)
            warned.enter_context(connected(2))
        context = ray_of().get_runtime_context()
        logs = Path("/tmp/ray") / context.get_session_name()
        yield RayUp(context.gcs_address, logs, ledger, limits)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warned.close()
            del context
            gc.collect()  # file handles and processes that Ray leaves to the collector
