"""What binds every test: no real network, no real waiting, honest skips."""

from __future__ import annotations

import ipaddress
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ("tests.loopback.fixtures", "tests.servers.fixtures")

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
os.environ.setdefault("CONSENSUS_DATA", str(ROOT.parent / "shared" / "data"))

settings.register_profile(
    "default", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
# The same examples each time: what CI says of a commit must not depend on the day.
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "default")

_connect = socket.socket.connect


def _loopback_only(self: socket.socket, address: Any) -> None:
    if self.family in (socket.AF_INET, socket.AF_INET6):
        host = address[0]
        try:
            local = ipaddress.ip_address(host).is_loopback
        except ValueError:
            local = host == "localhost"
        if not local:
            raise RuntimeError(f"a test tried to reach {host}: only loopback is allowed")
    _connect(self, address)


@pytest.fixture(autouse=True)
def _no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing leaves this machine, except where a test fetches a model through a registry."""
    if request.node.get_closest_marker("needs") is None:
        monkeypatch.setattr(socket.socket, "connect", _loopback_only)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees a developer's keys, endpoints or ledger."""
    for name in list(os.environ):
        ours = name.startswith("CONSENSUS_") and name not in {"CONSENSUS_DATA", "CONSENSUS_MODELS"}
        if ours or name.endswith(("_API_KEY", "_BASE_URL", "_API_BASE")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CONSENSUS_LEDGER", str(tmp_path / "ledger.db"))


TOGETHER = {
    "tests/cluster/": "ray",
    "tests/server/page/test_clicking.py": "browser",
    "tests/server/test_workers.py": "workers",
}
"""Tests that share what takes seconds to start: one process of a parallel run has them all."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    class Together(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return next((at for start, at in TOGETHER.items() if nodeid.startswith(start)), nodeid)

    return Together(config, log)


def absent(part: str) -> str | None:
    """Why a part is missing here, or None."""
    if part == "recorded-data":
        folder = Path(os.environ["CONSENSUS_DATA"])
        return None if folder.is_dir() else f"no recorded answers at {folder}"
    if part == "local-model":
        from importlib.util import find_spec

        return None if find_spec("xllamacpp") else "xllamacpp is not installed"
    if part == "browser":
        from shutil import which

        return None if which("chromium") else "chromium is not installed"
    if part == "ray":
        from importlib.util import find_spec

        return None if find_spec("ray") else "ray is not installed"
    if part in ("postgres", "redis"):
        from importlib.util import find_spec

        from tests.servers.real import binary

        sql = part == "postgres"
        driver, program = ("psycopg", "postgres") if sql else ("redis", "redis-server")
        if find_spec(driver) is None:
            return f"the driver {driver} is not installed"
        return None if binary(program) else f"{program} is not installed"
    return f"unknown part {part!r}"


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        for part in mark.args:
            why = absent(part)
            if why is None:
                continue
            if os.environ.get("CI") == "true":
                pytest.fail(f"CI must have every part: {why}", pytrace=False)
            pytest.skip(why)


@pytest.fixture(autouse=True)
def _no_backoff(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries do not wait, except where waiting is what is tested."""
    if request.node.get_closest_marker("waits") is not None:
        return
    import asyncio

    from consensus.models import retry

    sleep = asyncio.sleep

    async def at_once(seconds: float) -> None:
        await sleep(0)

    monkeypatch.setattr(retry, "sleep", at_once)
