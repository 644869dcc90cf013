"""Folders from strangers: looking at one runs nothing of his, leads nowhere else, and ends."""

from __future__ import annotations

import ast
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from consensus import strangers
from consensus.benchmark.importing.reading import read_logs
from consensus.benchmark.recorded import load_run
from consensus.benchmark.replay_pairs import recorded_rankings
from consensus.benchmark.run_format.report import ImportReport
from consensus.benchmark.run_format.run import RecordedRun
from consensus.benchmark.suites import load_suite
from consensus.errors import ConsensusError, DataError, PolicyError, PromptError, SuiteError
from consensus.jobs import count_lines, read_tasks
from consensus.models.tape import Tape
from consensus.orchestrators.calibration import load_calibration
from consensus.panel._documents import read_document
from consensus.policy import load_policy
from consensus.policy.audit.model import load_audit
from consensus.policy.classify.linear import load_classifier
from tests.policy.books import Book

PACKAGE = Path(__file__).parents[1] / "consensus"
POLICY = '[tiers]\nsmall = ["x/a"]\n[tasks.t]\nkind = "approve"\ntier = "small"\n'


# -- no code runs ----------------------------------------------------------------------------------

RUNS_CODE = {"eval", "exec", "compile", "__import__", "execfile"}
LOADERS = {"pickle", "dill", "joblib", "shelve", "marshal", "cloudpickle"}
MAY: dict[str, set[str]] = {
    "oracles/python.py": {"exec", "compile"},  # the user named it: kind = "python"
}


def _called(tree: ast.AST) -> set[str]:
    """Names of what a module calls without a dot, and of the loaders that it imports."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            found |= {node.func.id} & RUNS_CODE
        elif isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names} & LOADERS
        elif isinstance(node, ast.ImportFrom):
            found |= {(node.module or "").partition(".")[0]} & LOADERS
    return found


def test_no_module_can_run_what_a_file_holds_but_the_oracle_that_the_user_names() -> None:
    found = {}
    for file in PACKAGE.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        if any(word in text for word in RUNS_CODE | LOADERS) and (
            called := _called(ast.parse(text))
        ):
            found[str(file.relative_to(PACKAGE))] = called
    assert found == MAY


@pytest.mark.parametrize(
    "said",
    [
        "!!python/object/apply:os.system ['touch {ran}']",
        "!!python/object/new:subprocess.Popen [['touch', '{ran}']]",
        "!!python/name:os.system",
        "!!python/module:os",
    ],
)
def test_yaml_that_names_python_is_refused_and_not_run(tmp_path: Path, said: str) -> None:
    ran, file = tmp_path / "ran", tmp_path / "x.md"
    file.write_text(f"---\nname: {said.format(ran=ran)}\n---\nWords.\n")
    with pytest.raises(PromptError, match="is not YAML"):
        read_document(file, file="x.md")
    assert not ran.exists()


def test_looking_at_a_policy_runs_neither_its_oracle_nor_its_alarm(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (tmp_path / "own.py").write_text(f"open({str(ran)!r}, 'w')\ndef f(a, r): return True\n")
    (tmp_path / "p.toml").write_text(
        f'{POLICY}oracle = "o"\n[oracles.o]\nkind = "python"\nfile = "own.py"\nfunction = "f"\n'
        f'[alarms]\ncommand = ["touch", "{ran}"]\n'
    )
    table = load_policy(tmp_path, prices=Book())
    assert table.alarms.command == ("touch", str(ran))
    assert not ran.exists()


def test_looking_at_a_suite_does_not_run_its_oracle(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (tmp_path / "own.py").write_text(f"open({str(ran)!r}, 'w')\ndef f(a, r): return True\n")
    (tmp_path / "suite.toml").write_text(
        'version = 1\nname = "s"\n[types.t]\nkind = "approve"\n[types.t.oracle]\n'
        'kind = "python"\nfile = "own.py"\nfunction = "f"\n'
    )
    (tmp_path / "cases.jsonl").write_text('{"id": "a", "type": "t", "subject": "x"}\n')
    load_suite(tmp_path)
    assert not ran.exists()


# -- no path leads out -----------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A policy's folder, beside it what is none of its business, and in it a link to that."""
    made = tmp_path / "strategies"
    made.mkdir()
    secret = tmp_path / "secret.json"
    secret.write_text('{"password": "hunter2"}')
    (made / "link.json").symlink_to(secret)
    (made / "oracle.py").symlink_to(secret)
    return made


WAYS_OUT = ("../secret.json", "link.json", "/etc/hostname", "x/../../secret.json")


@pytest.mark.parametrize("name", WAYS_OUT)
def test_a_calibration_outside_the_policys_folder_is_not_read(project: Path, name: str) -> None:
    (project / "p.toml").write_text(f'{POLICY}calibration = "{name}"\n')
    with pytest.raises(PolicyError, match="lies outside its folder"):
        load_policy(project, prices=Book())


@pytest.mark.parametrize("name", WAYS_OUT)
def test_a_classifier_outside_the_policys_folder_is_not_read(project: Path, name: str) -> None:
    (project / "p.toml").write_text(f'{POLICY}[classifier]\nkind = "tfidf"\nfile = "{name}"\n')
    with pytest.raises(PolicyError, match="lies outside its folder"):
        load_policy(project, prices=Book())


@pytest.mark.parametrize("name", [*WAYS_OUT, "oracle.py"])
@pytest.mark.parametrize(
    "oracle",
    [
        'kind = "python"\nfunction = "f"',
        'kind = "json_schema"',
        'kind = "rubric"\ngrader = "x/g"',
    ],
)
def test_an_oracle_outside_the_suites_folder_is_not_read(
    project: Path, name: str, oracle: str
) -> None:
    (project / "suite.toml").write_text(
        'version = 1\nname = "s"\n[types.t]\nkind = "approve"\n[types.t.oracle]\n'
        f'{oracle}\nfile = "{name}"\n'
    )
    (project / "cases.jsonl").write_text('{"id": "a", "type": "t", "subject": "x"}\n')
    with pytest.raises(SuiteError, match="lies outside its folder"):
        load_suite(project)


# -- nothing takes the process down ----------------------------------------------------------------


def _packed(file: Path, content: bytes) -> Path:
    file.write_bytes(gzip.compress(content, 1))
    return file


def _run(folder: Path) -> Path:
    (folder / "manifest.json").write_text('{"format": 1, "name": "r"}')
    (folder / "cases.jsonl").write_text('{"case_id": "a", "label": "A", "options": ["A", "B"]}\n')
    return folder


def _cases(folder: Path, bomb: bytes) -> object:
    _packed(folder / "cases.jsonl.gz", bomb)
    (folder / "answers.csv").write_text("case_id\n")
    return load_run(folder)


def _answers(folder: Path, bomb: bytes) -> object:
    case = b'{"case_id": "c", "label": "A", "options": "A|B"}\n'
    _packed(folder / "cases.jsonl.gz", case)
    _packed(
        folder / "answers.csv.gz",
        b"case_id,label,options,model,variant,sample_idx,answer\n" + bomb,
    )
    return load_run(folder)


def _run_answers(folder: Path, bomb: bytes) -> object:
    _packed(_run(folder) / "answers.jsonl.gz", bomb)
    return RecordedRun.load(folder)


def _rankings(folder: Path, bomb: bytes) -> object:
    _packed(folder / "answers.csv.gz", b"case_id,answer,sample_idx,model\n")
    _packed(folder / "rankings.jsonl.gz", bomb)
    return recorded_rankings(folder)


def _pairs(folder: Path, bomb: bytes) -> object:
    _packed(folder / "answers.csv.gz", b"case_id\n" + bomb)
    return recorded_rankings(folder)


def _logs(folder: Path, bomb: bytes) -> object:
    from consensus.benchmark.importing import reading

    bounded = reading.MAX_FILE_BYTES
    try:
        reading.MAX_FILE_BYTES = strangers.MAX_EXPANDED_BYTES
        return read_logs([_packed(folder / "logs.jsonl.gz", bomb)], ImportReport())
    finally:
        reading.MAX_FILE_BYTES = bounded


@pytest.mark.parametrize("read", [_cases, _answers, _run_answers, _rankings, _pairs, _logs])
@pytest.mark.parametrize("filling", [b"\n", b"x", b"{}\n"])
def test_a_gzip_bomb_is_one_clear_error(
    tmp_path: Path,
    read: Callable[[Path, bytes], object],
    filling: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(strangers, "MAX_EXPANDED_BYTES", 1 << 16)
    with pytest.raises(ConsensusError) as caught:
        read(tmp_path, filling * ((3 << 16) // len(filling)))
    assert str(caught.value).isprintable()


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("name", "text", "read"),
    [
        ("p.toml", f"a = {DEEP}", load_policy),
        ("p.toml", "a." * 30_000 + "b = 1", load_policy),
        ("p.toml", "a" * 900_000, load_policy),
        ("audit.toml", f"a = {DEEP}", load_audit),
        ("audit.toml", "a" * 900_000, load_audit),
        ("c.json", DEEP, load_calibration),
        ("c.json", '{"a":' * 100_000, load_calibration),
        ("c.json", DEEP, load_classifier),
        ("suite.toml", f"a = {DEEP}", lambda path: load_suite(path.parent)),
        ("suite.toml", "a." * 30_000 + "b = 1", lambda path: load_suite(path.parent)),
        ("suite.toml", "a" * 900_000, lambda path: load_suite(path.parent)),
        ("x.md", f"---\nname: {DEEP}\n---\n", lambda path: read_document(path, file="x.md")),
        ("x.md", f"---\nname: {'[' * 3000}\n---\n", lambda path: read_document(path, file="x.md")),
    ],
)
def test_nesting_and_endless_words_are_one_clear_error(
    tmp_path: Path, name: str, text: str, read: Callable[[Path], object]
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConsensusError) as caught:
        read(tmp_path / name)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("name", ["suite.toml", "cases.jsonl"])
def test_a_pipe_in_a_suites_folder_is_not_waited_for(tmp_path: Path, name: str) -> None:
    import os

    (tmp_path / "suite.toml").write_text('version = 1\nname = "s"\n[types.t]\nkind = "approve"\n')
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(SuiteError, match="is not a regular file"):
        load_suite(tmp_path)


def test_a_task_line_that_never_ends_is_an_error_of_that_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consensus.jobs.MAX_LINE_BYTES", 100)
    file = tmp_path / "t.jsonl"
    file.write_bytes(b'{"subject": "' + b"x" * 500 + b'"}\n{"subject": "short"}\n')
    first, second = read_tasks(file, task_type="t", row={"kind": "approve"})
    assert "more than 100 bytes" in str(first.error)
    assert second.task is not None
    assert count_lines(file) == 2


def test_a_tape_of_strange_lines_is_opened_and_gives_nothing(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    key = "0" * 64
    row: dict[str, Any] = {"key": key, "completion": {"text": 1}}
    file.write_text(f"{DEEP}\n{json.dumps(row)}\n\x00\n")
    with Tape(file, "replay") as tape, pytest.raises(DataError):
        tape.lookup(key)


def test_a_table_wider_than_memory_is_refused_before_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consensus.benchmark.run_format.columns.MAX_CELLS", 1000)
    folder = _run(tmp_path)
    wide = {"case_id": "w", "label": "0", "options": [str(k) for k in range(500)]}
    rows = [wide, *({"case_id": f"c{k}", "label": "A", "options": ["A", "B"]} for k in range(9))]
    (folder / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "answers.jsonl").write_text("")
    with pytest.raises(DataError, match="more than fit a table"):
        RecordedRun.load(folder)


def test_a_parquet_value_stored_once_for_many_rows_is_read_in_small_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    import pyarrow as pa

    import consensus.parquet as ours

    file = tmp_path / "t.parquet"
    pq.write_table(pa.table({"subject": ["x" * 100_000] * 200}), file)
    monkeypatch.setattr(ours, "MAX_BATCH_BYTES", 300_000)
    with ours._opened(file) as opened:
        assert ours._at_once(opened.metadata) in (1, 2)
    assert len(list(ours.read_rows(file))) == 200
