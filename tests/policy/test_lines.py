from __future__ import annotations

import tomllib
from typing import Any

import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from consensus.policy._lines import KeyPath, index_lines


@pytest.mark.parametrize(
    ("text", "path", "line"),
    [
        ("a = 1\nb = 2\n", ("b",), 2),
        ("# note\n\n[t]\nx = 1\n", ("t", "x"), 4),
        ("[t]\n[t.u]\nx = 1\n", ("t", "u", "x"), 3),
        ("a.b.c = 1\na.b.d = 2\n", ("a", "b", "d"), 2),
        ('["a.b"]\n"c d" = 1\n', ("a.b", "c d"), 2),
        ("'lit'.x = 1\n", ("lit", "x"), 1),
        ('"\\u00e9" = 1\n', ("é",), 1),
        ("t = { a = 1, b = { c = 2 } }\n", ("t", "b", "c"), 1),
        ("l = [\n  1,\n  # note\n  2,\n]\nz = 3\n", ("l", 1), 4),
        ("l = [\n  1,\n]\nz = 3\n", ("z",), 4),
        ('s = """\n[fake]\nx = 1\n"""\ny = 2\n', ("y",), 5),
        ("s = '''\n[fake]\n'''\ny = 2\n", ("y",), 4),
        ('s = """a""""\ny = 2\n', ("y",), 2),
        ('s = "a # b"  # c\ny = 2\n', ("y",), 2),
        ('s = "\\"[x]"\ny = 2\n', ("y",), 2),
        ("[[t]]\na = 1\n[[t]]\na = 2\n", ("t", 1, "a"), 4),
        ("[[t]]\n[t.u]\na = 1\n[[t]]\n[t.u]\na = 2\n", ("t", 1, "u", "a"), 6),
        ("d = 1979-05-27T07:32:00Z\ny = 2\n", ("y",), 2),
        ("l = [{ a = 1 },\n { a = 2 }]\n", ("l", 1, "a"), 2),
        ("[ t . u ]\n x = 1\n", ("t", "u", "x"), 2),
    ],
)
def test_a_key_is_found_on_its_line(text: str, path: KeyPath, line: int) -> None:
    tomllib.loads(text)
    assert index_lines(text).said[path] == line


def test_an_unknown_path_has_the_line_of_the_nearest_table() -> None:
    assert index_lines("a = 1\n[t]\nx = 1\n").line(("t", "missing", "deeper")) == 2


def test_a_table_that_a_dotted_header_implies_has_a_line() -> None:
    assert index_lines("\n[tasks.x.stop]\nrule = 1\n").line(("tasks", "x")) == 2


def test_a_key_that_stands_twice_is_known_with_both_lines() -> None:
    found = index_lines("a = 1\nb = 2\na = 3\n").duplicates
    assert [(d.path, d.first, d.second) for d in found] == [(("a",), 1, 3)]


def test_an_index_of_broken_text_ends_where_the_trouble_starts() -> None:
    index = index_lines("a = 1\nb ? 2\nc = 3\n")
    assert index.said[("a",)] == 1
    assert ("c",) not in index.said


def test_deep_nesting_does_not_crash_the_index() -> None:
    assert index_lines("a = " + "[" * 50_000).said[("a",)] == 1


_CHARACTERS = st.characters(codec="utf-8")
_KEYS = st.text(_CHARACTERS, min_size=1, max_size=6)
_SCALARS: st.SearchStrategy[Any] = st.integers(-99, 99) | st.booleans() | st.text(_CHARACTERS)
_TREES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=12,
)


def _paths(data: Any, path: KeyPath = ()) -> list[KeyPath]:
    if isinstance(data, dict):
        return [p for k, v in data.items() for p in [(*path, k), *_paths(v, (*path, k))]]
    if isinstance(data, list):
        return [p for i, v in enumerate(data) for p in [(*path, i), *_paths(v, (*path, i))]]
    return []


@given(st.dictionaries(_KEYS, _TREES, max_size=4))
def test_every_key_of_any_document_has_a_line(data: dict[str, Any]) -> None:
    text = tomlkit.dumps(data).replace("\r\n", "\n")
    try:
        read = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return  # the writer's trouble with rare characters, not the index's
    index = index_lines(text)
    known = index.said | index.implied
    assert not index.duplicates
    assert [path for path in _paths(read) if path not in known] == []
