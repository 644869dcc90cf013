"""The processes: PostgreSQL, the provider, and ``consensus serve`` four times or with workers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.serving.provider import TIMEOUT_S
from tests.servers.real import Postgres

__all__ = [
    "LIMITS",
    "Fleet",
    "Limits",
    "Provider",
    "fleet",
    "policy",
    "prepare",
    "provider",
    "until",
]

ROOT = Path(__file__).resolve().parents[2]
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a provider allows, and the part of it that the policy takes.

    A call is counted when it is admitted and reaches the provider a little later, so the policy
    leaves it room (design/shared.md).
    """

    window_s: float = 10.0
    requests: int = 800
    tokens: int = 200_000
    at_once: int = 10
    share: float = 0.9

    @property
    def table(self) -> str:
        """As keys of ``[providers.NAME]``."""
        a_minute = 60 / self.window_s * self.share
        return (
            f"window_s = {self.window_s}\n"
            f"requests_per_minute = {self.requests * a_minute:g}\n"
            f"tokens_per_minute = {self.tokens * a_minute:g}\n"
            f"concurrency = {int(self.at_once * self.share)}\n"
        )


LIMITS = Limits()


def policy(folder: Path, *, daily_usd: float, limits: Limits = LIMITS) -> Path:
    """A policy with one task type: three small seats, two of which must answer."""
    providers = "".join(
        f"[providers.{name}]\n{limits.table}timeout_s = {TIMEOUT_S}\nmax_attempts = 5\n"
        for name in ("openai", "anthropic")
    )
    text = f"""version = 1
[ledger]
url_env = "CONSENSUS_LEDGER_URL"
[limits]
shared = "postgres"
url_env = "CONSENSUS_LIMITS_URL"
daily_usd = {daily_usd!r}
lease_s = 10
{providers}
[tiers]
small = ["openai/gpt-5.4-nano", "anthropic/claude-haiku-5-5"]
[tasks.refund]
kind = "approve"
criteria = "Unused, within 30 days."
strategy = "vote"
tier = "small"
seats = 3
quorum = 2
"""
    place = folder / "policy.toml"
    place.write_text(text, encoding="utf-8")
    return place


@dataclass(slots=True)
class Provider:
    """The provider's process."""

    url: str
    log: Path
    process: subprocess.Popen[str]

    @property
    def environment(self) -> dict[str, str]:
        """What sends both SDKs there."""
        return {
            "ANTHROPIC_BASE_URL": self.url,
            "ANTHROPIC_API_KEY": "sk-ant-loopback",
            "OPENAI_BASE_URL": f"{self.url}/v1",
            "OPENAI_API_KEY": "sk-loopback",
        }

    def tell(self, line: str) -> None:
        """Say something to it, and wait until it was heard."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        self.process.stdout.readline()

    def finish(self) -> None:
        """Have the log written, and end it."""
        if self.process.poll() is None:
            self.process.communicate("done\n", timeout=120)


@contextmanager
def provider(
    folder: Path, seed: int, *, program: str = "benchmarks.serving.provider"
) -> Iterator[Provider]:
    """A provider that serves until it is finished."""
    log = folder / "provider.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", program, "--seed", str(seed), "--log", str(log)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield Provider(process.stdout.readline().strip(), log, process)
    finally:
        process.kill()
        process.wait()
        for pipe in filter(None, (process.stdin, process.stdout)):
            pipe.close()


@dataclass(slots=True)
class Fleet:
    """The serving processes.

    Attributes:
        urls: where they answer: one for workers on one port, else one each.
        servers: the commands that were started.
        cpu_s: of processes that are no more.
    """

    urls: list[str] = field(default_factory=list)
    servers: list[subprocess.Popen[str]] = field(default_factory=list)
    cpu_s: float = 0.0

    def workers(self) -> list[int]:
        """The processes that decide: the workers of a supervisor, or the servers themselves."""
        found = [child for server in self.servers for child in _children(server.pid)]
        return found or [server.pid for server in self.servers if server.poll() is None]

    def kill_one(self) -> int:
        """Kill -9 one of those that decide."""
        pid = self.workers()[0]
        if pid in {server.pid for server in self.servers}:  # a supervisor counts its dead itself
            self.cpu_s += _cpu_s(pid)
        os.kill(pid, signal.SIGKILL)
        return pid

    def cpu(self) -> float:
        """CPU seconds so far of all serving processes, dead ones included."""
        live = {server.pid for server in self.servers} | set(self.workers())
        return self.cpu_s + sum(_cpu_s(pid) for pid in live)


@contextmanager
def fleet(
    folder: Path,
    place: Path,
    database: str,
    provided: Provider,
    *,
    processes: int,
    workers: bool,
) -> Iterator[Fleet]:
    """Serve as so many processes; they end with SIGTERM and status 0, but for the killed one."""
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("CONSENSUS_")},
        **provided.environment,
        "CONSENSUS_LEDGER_URL": f"{database}?options=-csearch_path%3Dledger",
        "CONSENSUS_LIMITS_URL": f"{database}?options=-csearch_path%3Dlimits",
        "PYTHONPATH": str(ROOT),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    command = [sys.executable, "-m", "consensus.cli.main", "serve", "--policy", str(place),
               "--port", "0", "--keys", str(folder / "keys.toml"), "--quiet"]  # fmt: skip
    found = Fleet()
    try:
        for _ in range(1 if workers else processes):
            more = ["--workers", str(processes)] if workers else []
            server = subprocess.Popen(
                [*command, *more], cwd=folder, env=environment, text=True, stderr=subprocess.PIPE
            )
            found.servers.append(server)
        for number, server in enumerate(found.servers):
            found.urls.append(_url_of(server, folder / f"serve-{number}.log"))
        yield found
    finally:
        for server in found.servers:
            server.terminate()
        for server in found.servers:
            server.wait(60)
            assert server.stderr is not None
            server.stderr.close()


def _url_of(server: subprocess.Popen[str], log: Path) -> str:
    """The address in the first line it says; the rest goes into a file."""
    assert server.stderr is not None
    lines = server.stderr
    first = lines.readline()
    url = re.search(r"http://\S+", first)
    if url is None:
        raise RuntimeError(first + lines.read())

    def keep() -> None:
        with log.open("w", encoding="utf-8") as file:
            file.writelines(lines)

    threading.Thread(target=keep, daemon=True).start()
    return url[0]


def prepare(server: Postgres, name: str) -> str:
    """An empty database with a schema for the ledger and one for the limits; its URL."""
    import psycopg

    server.run(f"CREATE DATABASE {name}")
    with psycopg.connect(server.url(name), autocommit=True) as connection:
        connection.execute("CREATE SCHEMA ledger")
        connection.execute("CREATE SCHEMA limits")
    return server.url(name)


def _children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        return [int(child) for child in listed.read_text().split()]
    except FileNotFoundError:
        return []


def _cpu_s(pid: int) -> float:
    """CPU seconds of a process and of those of its children that it has waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return sum(int(value) for value in fields[11:15]) / TICKS


def until(condition, within_s: float, what: str) -> None:  # type: ignore[no-untyped-def]
    """Wait for something that a process brings about."""
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"it did not happen within {within_s:g} s: {what}")
        time.sleep(0.05)
