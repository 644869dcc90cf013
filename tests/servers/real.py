"""PostgreSQL and Redis as Debian packages them, started on loopback for tests that need them."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

USER = "consensus"
PASSWORD = "hunter2-of-the-test"


def binary(name: str) -> str | None:
    """Where a program of PostgreSQL or Redis lies; Debian keeps the former out of the path."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return shutil.which(name, path=os.pathsep.join([*map(str, places), os.environ["PATH"]]))


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def private_folder(name: str) -> Iterator[tuple[Path, str | None]]:
    """A folder for a server, and who is to run it: PostgreSQL refuses to run as root."""
    folder = Path(tempfile.mkdtemp(prefix=f"consensus-{name}-"))
    user = None
    if os.getuid() == 0:
        user = name if name in {entry.pw_name for entry in pwd.getpwall()} else "nobody"
        shutil.chown(folder, user)
    try:
        yield folder, user
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Postgres:
    """A running server."""

    port: int
    process: subprocess.Popen[bytes]
    command: list[str]
    user: str | None

    def url(self, database: str, *, password: str = PASSWORD) -> str:
        return f"postgresql://{USER}:{password}@127.0.0.1:{self.port}/{database}"

    def wait(self) -> None:
        import psycopg

        end = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=5).close()
            except psycopg.OperationalError:
                assert time.monotonic() < end, "PostgreSQL did not start"
                assert self.process.poll() is None, "PostgreSQL ended at once"
                time.sleep(0.05)
            else:
                return

    def run(self, statement: str) -> None:
        """Run a statement outside every transaction."""
        import psycopg

        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())

    def restart(self, how: int) -> None:
        """End the server with a signal and start it again on the same data."""
        self.process.send_signal(how)
        self.process.wait(60)
        self.process = _start(self.command, self.user)
        self.wait()


def _start(command: list[str], user: str | None) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command, user=user, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/"
    )


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server with an empty cluster."""
    initdb, server = binary("initdb"), binary("postgres")
    assert initdb
    assert server
    with private_folder("postgres") as (folder, user):
        secret = folder / "password"
        secret.write_text(PASSWORD)
        if user is not None:
            shutil.chown(secret, user)
        subprocess.run(
            [
                *(initdb, "-D", str(folder / "data"), "-U", USER, "--auth=scram-sha-256"),
                # A language's order is what a user's server has; ids must not depend on it.
                *("--pwfile", str(secret), "--no-sync", "-E", "UTF8", "--locale=C.UTF-8"),
                *("--locale-provider=icu", "--icu-locale=en-US"),
            ],
            user=user,
            check=True,
            capture_output=True,
            cwd="/",
        )
        port = free_port()
        command = [
            *(server, "-D", str(folder / "data"), "-p", str(port), "-h", "127.0.0.1"),
            *("-k", str(folder), "-c", "shared_buffers=16MB", "-c", "max_connections=60"),
        ]
        found = Postgres(port, _start(command, user), command, user)
        try:
            found.wait()
            yield found
        finally:
            found.process.send_signal(2)
            found.process.wait(60)


@dataclass
class Redis:
    """A running server."""

    port: int
    command: list[str]
    user: str | None
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        import redis as client

        self.process = _start(self.command, self.user)
        end = time.monotonic() + 30
        while True:
            try:
                with client.Redis.from_url(self.url) as connection:
                    connection.ping()
                    return
            except client.ConnectionError:
                assert time.monotonic() < end, "Redis did not start"
                time.sleep(0.05)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(60)


@contextmanager
def redis() -> Iterator[Redis]:
    """A Redis server with nothing in it, kept in memory only."""
    server = binary("redis-server")
    assert server
    with private_folder("redis") as (folder, user):
        port = free_port()
        command = [
            *(server, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)),
            *("--save", "", "--appendonly", "no", "--requirepass", PASSWORD),
        ]
        found = Redis(port, command, user)
        try:
            found.start()
            yield found
        finally:
            found.stop()
