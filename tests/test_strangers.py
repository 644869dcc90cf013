from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.errors import DataError, PolicyError
from consensus.strangers import (
    inside,
    numbered_lines,
    open_bounded,
    parse_json,
    parse_toml,
    read_bounded,
)


@pytest.mark.parametrize("name", ["a.txt", "a.gz"])
def test_a_file_is_read_whole_packed_or_not(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(gzip.compress(b"text") if name == "a.gz" else b"text")
    assert read_bounded(file, 4) == b"text"


@pytest.mark.parametrize("name", ["a.txt", "a.gz"])
def test_a_file_that_holds_more_than_it_may_is_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(gzip.compress(b"text!") if name == "a.gz" else b"text!")
    with pytest.raises(DataError, match=r"is longer than 4 bytes"):
        read_bounded(file, 4)


def test_a_gzip_bomb_is_never_unpacked_beyond_its_bound(tmp_path: Path) -> None:
    file = tmp_path / "bomb.gz"
    with gzip.open(file, "wb", compresslevel=1) as stream:
        for _ in range(64):
            stream.write(bytes(1 << 20))
    with open_bounded(file, 1 << 20) as stream:
        assert len(stream.read(1 << 20)) == 1 << 20
        with pytest.raises(DataError, match="is longer than"):
            stream.read(1)


@pytest.mark.parametrize(
    "damage",
    [
        lambda packed: packed[:-9],
        lambda packed: packed[:12] + b"\xff" * 9 + packed[21:],
        lambda packed: b"\x1f\x8b" + packed[2:4] + bytes(30),
        lambda packed: b"not gzip at all",
    ],
)
def test_a_damaged_gzip_is_one_clear_error(tmp_path: Path, damage: Any) -> None:
    file = tmp_path / "a.gz"
    file.write_bytes(damage(gzip.compress(b"some text " * 99)))
    with pytest.raises(DataError, match="cannot be read whole"):
        read_bounded(file, 1 << 20)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(DataError, match="is not a regular file"):
        read_bounded(pipe, 9)


def test_a_device_is_refused() -> None:
    with pytest.raises(DataError, match="is not a regular file"):
        read_bounded(Path("/dev/zero"), 9)


@pytest.mark.parametrize("name", ["none", "a\0b", "x" * 5000])
def test_a_name_that_is_no_file_is_one_clear_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"cannot be read|is no path"):
        read_bounded(tmp_path / name, 9)


def test_lines_come_with_their_numbers_and_blank_ones_do_not_come(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"one\n\n  \nfour")
    assert list(numbered_lines(file)) == [(1, b"one\n"), (4, b"four")]


def test_a_line_that_never_ends_is_passed_over_and_the_next_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"x" * 5000 + b"\nshort\n")
    assert list(numbered_lines(file, line=10)) == [(1, None), (2, b"short\n")]


@pytest.mark.parametrize("text", [b"[" * 200_000, b'{"a":' * 200_000])
def test_json_that_is_nested_too_deeply_is_no_json(text: bytes) -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json(text)


@pytest.mark.parametrize(
    "text",
    [
        b"a = " + b"[" * 200_000,
        b"a = " + b"{a=" * 100_000,
        b".".join([b"a"] * 30_000) + b" = 1",
        b"a = 1979-13-99",
        b"\xff",
        b"a = 0x" + b"f" * 1_000_000,  # one word, which the search for long keys must not try again
    ],
)
def test_toml_that_would_take_the_process_down_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any of its subclasses, and nothing else
        str(parse_toml(text))  # a number of a million digits has no text


@given(st.binary(max_size=200))
def test_any_bytes_are_toml_or_a_value_error(data: bytes) -> None:
    try:
        assert isinstance(parse_toml(data), dict)
    except ValueError:
        return


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "policy"
    (made / "sub").mkdir(parents=True)
    (tmp_path / "outside.json").write_text("{}")
    (made / "own.json").write_text("{}")
    (made / "link.json").symlink_to(tmp_path / "outside.json")
    (made / "near.json").symlink_to("own.json")
    (made / "loop").symlink_to("loop")
    return made


@pytest.mark.parametrize("name", ["own.json", "./own.json", "near.json", "not-yet.json"])
def test_a_name_inside_its_folder_is_taken(folder: Path, name: str) -> None:
    assert inside(folder, name).is_relative_to(folder.resolve())


@pytest.mark.parametrize(
    "name", ["../outside.json", "/etc/passwd", "link.json", "sub/../own.json", "a\0", "loop"]
)
def test_a_name_that_leads_out_of_its_folder_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(PolicyError, match=r"lies outside its folder|is no path of a file"):
        inside(folder, name, error=PolicyError)
