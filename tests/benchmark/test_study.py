"""The study: what it asks, what it writes, and what it leaves alone."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from consensus.benchmark import study as study_module
from consensus.benchmark.replay import ReplaySettings
from consensus.benchmark.studies.declared import SHIPPED, command_of
from consensus.benchmark.study import (
    STUDIES,
    Row,
    Single,
    Study,
    Table,
    data_folder,
    replace_sections,
    select,
    write_study,
)
from consensus.cli.bench import app
from consensus.errors import DataError
from tests.benchmark.data_fixtures import (
    recorded_data_folder,
    simple_answers,
    simple_cases,
    write_recorded,
)

# b is right on all that it answered, which is 9 of 10; a is right on 6 of 10.
CASES = simple_cases("ABCABCABCA")
ANSWERS = simple_answers(top="ABCABCABAB", a="ABCABCBCAB", b="ABCABCABC_", c="ABCABAAAAB")
VOTE = ReplaySettings("top", ("a", "b", "c"))
LEARNED = ReplaySettings("top", ("a", "b"), "weighted", calibrate=True, splits=2)


def single(model: str, published: float) -> Single:
    whole = ReplaySettings(model, (model,), "single", sample=0)
    complete = ReplaySettings(model, (model,), "single", sample=0, complete=True)
    return Single(model, complete, whole, published)


TINY = Study(
    "tiny",
    "tiny_data",
    "A tiny study",
    singles=(single("a", 0.6), single("b", 0.9), single("c", 0.123)),
    tables=(Table("Panels", (Row("vote", VOTE), Row("weighted (learned)", LEARNED))),),
)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_recorded(tmp_path / "data" / "tiny_data", CASES, ANSWERS)
    monkeypatch.setattr(study_module, "STUDIES", (TINY,))
    monkeypatch.setenv("CONSENSUS_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments])


def cells(text: str, number: int) -> list[str]:
    """The cells of the row with this number."""
    (line,) = (line for line in text.splitlines() if line.startswith(f"| {number} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def commands(text: str) -> list[str]:
    return re.findall(r"^\d+\. `(.*)`$", text, re.MULTILINE)


def test_the_command_writes_what_it_measured(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "RESULTS.md"
    done = run("study", "--out", str(out))
    assert done.exit_code == 0, done.output
    text = out.read_text()
    assert cells(text, 1)[1:] == ["a", "10", "0.600", "10", "0.600", "0.600", "yes"]
    assert cells(text, 4)[1:5] == ["vote", "a, b, c", "top", "10"]
    assert "## A tiny study" in text


def test_a_published_figure_that_holds_only_on_all_cases_is_said_to(
    data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "RESULTS.md"
    write_study(data, out, [TINY])
    assert cells(out.read_text(), 2)[1:] == [
        *("b", "9", "1.000", "10", "0.900", "0.900", "yes, on all cases")
    ]


def test_a_published_figure_that_does_not_hold_is_said_not_to(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "RESULTS.md"
    write_study(data, out, [TINY])
    assert cells(out.read_text(), 3)[-1].startswith("no (")


def test_a_table_without_rulings_has_no_verdicts(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "RESULTS.md"
    rows = (Row("vote", VOTE),)
    write_study(
        data, out, [Study("bare", "tiny_data", "t", tables=(Table("p", rows, ruled=False),))]
    )
    assert "verdict |" not in out.read_text()
    write_study(data, out, [Study("bare", "tiny_data", "t", tables=(Table("p", rows),))])
    assert "verdict |" in out.read_text()


def test_every_command_repeats_its_row(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "RESULTS.md"
    write_study(data, out, [TINY])
    text = out.read_text()
    said = commands(text)
    assert len(said) == 5
    for number in (4, 5):
        line = said[number - 1].replace("$CONSENSUS_DATA", str(data))
        words = shlex.split(line)
        assert words[:2] == ["consensus", "bench"]
        done = run(*words[2:], "--json")
        assert done.exit_code == 0, done.output
        figures = json.loads(done.stdout)
        row = cells(text, number)
        assert row[5].startswith(f"{figures['accuracy']:.3f} (")
        assert row[-1] == figures["verdict"]["sentence"]


def test_a_second_run_writes_the_same_bytes(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "RESULTS.md"
    write_study(data, out, [TINY])
    first = out.read_bytes()
    write_study(data, out, [TINY])
    assert out.read_bytes() == first


def test_the_date_is_only_there_when_given(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "RESULTS.md"
    assert run("study", "--out", str(out)).exit_code == 0
    assert "2031-01-02" not in out.read_text()
    assert run("study", "--out", str(out), "--date", "2031-01-02").exit_code == 0
    assert "2031-01-02" in out.read_text()


def test_sections_of_other_writers_are_kept_as_they_are(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "RESULTS.md"
    other = "<!-- study:live -->\nmine | own\n<!-- /study:live -->"
    out.write_text(f"{other}\n\n<!-- study:tiny -->\nold\n<!-- /study:tiny -->\n\nlast words\n")
    write_study(data, out, [TINY])
    text = out.read_text()
    assert text.startswith(f"{other}\n\n<!-- study:tiny -->\n## A tiny study")
    assert "old\n" not in text
    assert "\n\nlast words\n" in text


def test_a_section_that_never_closes_is_an_error_and_nothing_is_written(
    data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "RESULTS.md"
    out.write_text("<!-- study:tiny -->\nold\n")
    with pytest.raises(DataError, match="open and close once"):
        write_study(data, out, [TINY])
    assert out.read_text() == "<!-- study:tiny -->\nold\n"


def test_a_section_that_closes_before_it_opens_is_an_error() -> None:
    with pytest.raises(DataError, match="closes before"):
        replace_sections("<!-- /study:x --> <!-- study:x -->", {"x": "new"}, where="R.md")


def test_a_missing_data_set_is_named(data: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="tiny_data"):
        write_study(tmp_path / "empty", tmp_path / "RESULTS.md", [TINY])


def test_a_missing_folder_of_data_sets_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        data_folder(tmp_path / "nowhere")


def test_the_environment_names_the_folder(data: Path) -> None:
    assert data_folder(None) == data


def test_an_unknown_section_is_an_error_that_lists_them() -> None:
    with pytest.raises(DataError, match="rb2"):
        select(["rb3"])


def test_searches_run_only_when_asked_for() -> None:
    assert "rb2-auto" not in [study.name for study in select([])]
    assert "rb2-auto" in [study.name for study in select([], auto=True)]
    assert [study.name for study in select(["rb2"], auto=True)] == ["rb2", "rb2-auto"]


def test_a_command_names_every_setting_that_is_not_the_default() -> None:
    settings = ReplaySettings(
        *("f", ("a", "b c"), "auto", 4, "base", True, 0, "budget:1", True, 5),
        draws=9,
        seed=3,
        split_seed=2,
        objective="balanced",
    )
    assert command_of("d", settings) == (
        "consensus bench replay --frontier f --panel 'a,b c' --strategy auto --seats 4 "
        "--variant base --sample 0 --goal budget:1 --splits 5 --split-seed 2 --draws 9 --seed 3 "
        '--objective balanced --complete --calibrate half --data "$CONSENSUS_DATA/d"'
    )


RECORDED = [study for study in STUDIES if study.folder and not study.folder.startswith(SHIPPED)]


def test_all_five_data_sets_are_asked() -> None:
    assert {study.folder for study in RECORDED} == {
        *("rb2_judges_dev", "medagents", "mmlu_pro", "prd_vicuna80", "iclr_review")
    }


def test_every_data_set_has_its_searches() -> None:
    searched = {study.folder for study in STUDIES if study.searches}
    assert searched == {study.folder for study in RECORDED}
    for study in STUDIES:
        if study.searches:
            assert select([study.name.removesuffix("-auto")], auto=True)[-1] == study


def test_searches_are_means_over_twenty_splits() -> None:
    rows = [row for study in STUDIES if study.searches for t in study.tables for row in t.rows]
    assert rows
    assert {(row.settings.splits, row.settings.calibrate) for row in rows} == {(20, True)}


def test_a_new_section_goes_after_the_one_before_it() -> None:
    old = "<!-- study:a -->\n1\n<!-- /study:a -->\n\n<!-- study:c -->\n3\n<!-- /study:c -->\n"
    new = replace_sections(old, {"b": "2"}, where="R.md", order=("a", "b", "c"))
    assert [int(digit) for digit in re.findall(r"^\d$", new, re.MULTILINE)] == [1, 2, 3]
    last = replace_sections(old, {"b": "2"}, where="R.md")
    assert [int(digit) for digit in re.findall(r"^\d$", last, re.MULTILINE)] == [1, 3, 2]


def test_a_section_may_be_written_without_any_data(tmp_path: Path) -> None:
    out = tmp_path / "RESULTS.md"
    write_study(tmp_path, out, [Study("own", "", "t", writer=lambda run: f"no data: {run}")])
    assert "<!-- study:own -->\nno data: None\n<!-- /study:own -->" in out.read_text()


def test_a_section_written_from_a_run_is_given_it(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "RESULTS.md"
    said = Study(
        "own", "tiny_data", "t", writer=lambda run: f"{len(run.cases) if run else 0} cases"
    )
    write_study(data, out, [said])
    assert "10 cases" in out.read_text()


def test_what_another_writer_adds_meanwhile_is_kept(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "RESULTS.md"
    out.write_text("first words\n")

    def slow(_: object) -> str:
        out.write_text("first words\n\nadded meanwhile\n")
        return "mine"

    write_study(data, out, [Study("own", "", "t", writer=slow)])
    text = out.read_text()
    assert "added meanwhile" in text
    assert "mine" in text


@pytest.mark.needs("recorded-data")
def test_the_approvers_figures_agree_with_those_published(tmp_path: Path) -> None:
    out = tmp_path / "RESULTS.md"
    write_study(recorded_data_folder(), out, select(["iclr"]))
    text = out.read_text()
    for number in range(1, 5):
        row = cells(text, number)
        assert row[7] == "yes"
        assert float(row[8]) == pytest.approx(float(row[9]), abs=5.1e-4)
