from __future__ import annotations

import os
from pathlib import Path

import pytest

from consensus.errors import PolicyError
from consensus.policy.sources import MAX_FILE_BYTES, read_sources
from tests.policy.books import write


def test_the_files_of_a_folder_are_merged(tmp_path: Path) -> None:
    write(tmp_path, 'version = 1\n[tiers]\nsmall = ["x/a"]\n', "a.toml")
    write(tmp_path, 'version = 1\n[tiers]\nbig = ["x/b"]\n[tasks.t]\ntier = "big"\n', "b.toml")
    merged = read_sources(tmp_path)
    assert merged.data["tiers"] == {"small": ["x/a"], "big": ["x/b"]}
    assert str(merged.places["tasks", "t", "tier"]) == f"{tmp_path / 'b.toml'}:5"


def test_only_toml_files_of_the_folder_itself_are_read(tmp_path: Path) -> None:
    write(tmp_path, "version = 1\n", "a.toml")
    write(tmp_path, "nonsense", "policy.schema.json")
    write(tmp_path, "nonsense", ".#a.toml")
    (tmp_path / "deeper").mkdir()
    write(tmp_path / "deeper", "nonsense", "b.toml")
    assert read_sources(tmp_path).files == [str(tmp_path / "a.toml")]


@pytest.mark.parametrize(
    ("first", "second", "key"),
    [
        ("[tasks.x]\nseats = 1\n", "\n[tasks.x]\nseats = 2\n", "tasks.x"),
        ("[tasks.x]\nseats = 1\n", "\n[tasks.x.stop]\nrule = 'margin'\n", "tasks.x"),
        ('[tiers]\nsmall = ["x/a"]\n', '[tiers]\nsmall = ["x/b"]\n', "tiers.small"),
        ("[defaults]\nseats = 3\n", "\n[defaults]\nquorum = 2\n", "defaults"),
        ('[prices."x/a"]\ninput = 1\n', '\n[prices."x/a"]\noutput = 1\n', 'prices."x/a"'),
        ("version = 1\n", "version = 2\n", "version"),
    ],
)
def test_a_name_given_in_two_files_names_both_places(
    tmp_path: Path, first: str, second: str, key: str
) -> None:
    one, two = write(tmp_path, first, "a.toml"), write(tmp_path, second, "b.toml")
    with pytest.raises(PolicyError) as caught:
        read_sources(tmp_path)
    message = str(caught.value)
    assert f"{key} is given twice" in message
    assert f"{one}:" in message
    assert f"{two}:{1 if second.startswith('version') else 2}" in message


@pytest.mark.parametrize(
    ("text", "first", "second"),
    [
        ("[tasks.x]\nseats = 1\n\n[tasks.x]\nseats = 2\n", 1, 4),
        ("[defaults]\nseats = 1\ntier = 'a'\nseats = 2\n", 2, 4),
    ],
)
def test_a_name_given_twice_in_one_file_names_both_lines(
    tmp_path: Path, text: str, first: int, second: int
) -> None:
    file = write(tmp_path, text)
    with pytest.raises(PolicyError, match=f"on lines {first} and {second}") as caught:
        read_sources(file)
    assert caught.value.where == f"{file}:{second}"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a = 1\nb = \n", 2),
        ("a = 1\n\n[tasks.x\n", 3),
        ('a = "unterminated\nb = 1\n', 1),
        ("a = [1,\n2\n", 2),
        ("a = 1\nb = { c = 1\n", 2),
    ],
)
def test_broken_toml_is_refused_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    file = write(tmp_path, text)
    with pytest.raises(PolicyError, match="is not TOML") as caught:
        read_sources(file)
    assert caught.value.where == f"{file}:{line}"


def test_a_file_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_bytes(b"version = 1\nx = '\xff'\n")
    with pytest.raises(PolicyError, match="not UTF-8") as caught:
        read_sources(file)
    assert caught.value.where == f"{file}:2"


def test_windows_line_ends_count_as_one_line(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_bytes(b"version = 1\r\n[tiers]\r\nsmall = []\r\n")
    assert read_sources(file).places["tiers", "small"].line == 3


def test_a_file_over_the_size_bound_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, "#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(PolicyError, match="larger than 1,048,576 bytes"):
        read_sources(file)


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "a = " + "{a=" * 50_000])
def test_huge_nesting_is_refused_and_does_not_crash(tmp_path: Path, text: str) -> None:
    with pytest.raises(PolicyError, match=r"nested too deeply|not TOML"):
        read_sources(write(tmp_path, text))


def test_a_key_of_thousands_of_parts_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="more than 64 parts"):
        read_sources(write(tmp_path, "\n" + ".".join(["a"] * 100_000) + " = 1"))


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.toml")
    with pytest.raises(PolicyError, match="not a regular file"):
        read_sources(tmp_path)


def test_a_dangling_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.toml").symlink_to(tmp_path / "gone.toml")
    with pytest.raises(PolicyError, match="not a regular file"):
        read_sources(tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"holds no \*\.toml"):
        read_sources(tmp_path)


def test_a_path_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="no such file or folder"):
        read_sources(tmp_path / "nowhere")


def test_a_table_of_names_that_is_a_number_does_not_crash_the_merge(tmp_path: Path) -> None:
    write(tmp_path, "tasks = 3\n", "a.toml")
    write(tmp_path, "[tasks.x]\nseats = 1\n", "b.toml")
    with pytest.raises(PolicyError, match="tasks is given twice"):
        read_sources(tmp_path)
