"""``consensus bench replay`` as it is typed."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from consensus.cli.bench import app
from consensus.errors import DataError
from tests.benchmark.data_fixtures import simple_answers, simple_cases, write_recorded


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    labels = "ABCABCABCABCABCABCABC"
    return write_recorded(
        tmp_path,
        simple_cases(labels),
        simple_answers(f=labels, a=labels[:18] + "CCA", b="A" * 21),
        prices={"f": {"call": 0.01}, "a": {"call": 0.001}, "b": {"call": 0.001}},
    )


def run(folder: Path, *arguments: str) -> None:
    app(["replay", "--data", str(folder), "--frontier", "f", *arguments], standalone_mode=False)


def test_json_is_one_document_with_every_published_key(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(folder, "--panel", "a,b", "--strategy", "vote", "--json")
    output = capsys.readouterr()
    figures = json.loads(output.out)
    assert figures["n"] == 21
    assert figures["cost_ratio"] == pytest.approx(0.2)
    assert figures["latency_p50"] is None
    assert figures["chosen"] is None
    assert set(figures["controls"]) == {
        "best_single",
        "all_frontier",
        "shuffled",
        "majority",
        "oracle",
    }
    assert figures["verdict"]["ruling"] == "does not pay"
    assert output.err == ""


def test_auto_tells_what_it_chose(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(
        folder, "--panel", "a,b,f", "--strategy", "auto", "--goal", "budget:0.5",
        "--calibrate", "half", "--splits", "2", "--split-seed", "1", "--json",
    )  # fmt: skip
    figures = json.loads(capsys.readouterr().out)
    assert len(figures["chosen"]) == 2
    assert figures["chosen"][0]["goal"] == "budget:0.5"


@pytest.mark.parametrize("more", [("--strategy", "auto"), ("--splits", "2")])
def test_auto_and_splits_take_a_half_to_learn_from_and_say_so(
    folder: Path, more: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    run(folder, "--panel", "a,b,f", *more, "--json")
    implied = capsys.readouterr()
    run(folder, "--panel", "a,b,f", *more, "--calibrate", "half", "--json")
    said = capsys.readouterr()
    assert json.loads(implied.out) == json.loads(said.out)
    assert "--calibrate half" in implied.err
    assert said.err == ""


def test_without_json_a_person_can_read_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(folder, "--panel", "a", "--strategy", "single")
    shown = capsys.readouterr().out
    assert "21 cases" in shown
    assert "85.7 %" in shown
    assert "of the frontier's" in shown
    assert "best_single (a@base)" in shown
    assert "not known" in shown


def test_broken_rows_are_a_warning_and_strictly_an_error(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "answers.csv.gz"
    text = gzip.decompress(path.read_bytes()) + b"zz,choice,A,A|B|C,a,base,0,A,,,\r\n"
    path.write_bytes(gzip.compress(text))
    run(folder, "--panel", "a", "--json")
    output = capsys.readouterr()
    assert json.loads(output.out)["n"] == 21
    assert "1 broken rows" in output.err
    assert "answers.csv.gz:65" in output.err
    with pytest.raises(DataError, match="not in cases"):
        run(folder, "--panel", "a", "--strict")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--panel", "a", "--calibrate", "all"), "--calibrate"),
        (("--panel", "a", "--objective", "f1"), "--objective"),
        (("--panel", "a,zz"), "one of a, b, f"),
        (("--panel", "a", "--strategy", "magic"), "one of single, vote"),
        (("--panel", ","), "names no model"),
    ],
)
def test_a_wrong_option_is_one_clear_line(
    folder: Path, arguments: tuple[str, ...], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        run(folder, *arguments)
    assert "\n" not in str(caught.value)


@pytest.fixture
def rankings(tmp_path: Path) -> Path:
    """Three rankings of four items, compared both ways by a perfect judge and by one of chance."""
    items = ("w", "x", "y", "z")
    rows = ["case_id,task_kind,label,options,model,variant,sample_idx,answer"]
    for number in range(3):
        for i, one in enumerate(items):
            for j in range(i + 1, 4):
                for sample in (0, 1):
                    case = f"q{number}/{one}__{items[j]}"
                    chance = 1 + (number + i + j + sample) % 2
                    rows += [
                        f"{case},pairwise,1,1|2|tie,good,v,{sample},1",
                        f"{case},pairwise,1,1|2|tie,chance,v,{sample},{chance}",
                    ]
    merit = {item: 4 - place for place, item in enumerate(items)}
    with gzip.open(tmp_path / "answers.csv.gz", "wt") as stream:
        stream.write("\n".join(rows) + "\n")
    with gzip.open(tmp_path / "rankings.jsonl.gz", "wt") as stream:
        for number in range(3):
            stream.write(json.dumps({"case_id": f"q{number}", "human_net_wins": merit}) + "\n")
    return tmp_path


PAIRS = ("--strategy", "pairs", "--seats", "8", "--draws", "2")


def test_recorded_rankings_are_replayed_by_pairs(
    rankings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app(
        [
            *("replay", "--data", str(rankings), "--frontier", "chance"),
            *("--panel", "good", *PAIRS, "--json"),
        ],
        standalone_mode=False,
    )
    found = json.loads(capsys.readouterr().out)
    assert (found["strategy"], found["n"], found["seats"]) == ("pairs", 3, 8)
    assert found["tau"] == pytest.approx(1.0)
    assert found["calls_per_case"] <= 8
    assert found["frontier"]["tau"] < 1.0


def test_a_judge_that_compared_nothing_is_named(rankings: Path) -> None:
    with pytest.raises(DataError, match="compared nothing"):
        app(
            ["replay", "--data", str(rankings), "--frontier", "good", "--panel", "no", *PAIRS],
            standalone_mode=False,
        )


def test_a_lead_that_was_fitted_is_printed_as_the_key_of_a_policy(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(
        folder,
        *("--panel", "f,a,b", "--strategy", "adaptive:votes:level=1.5", "--calibrate", "half"),
    )
    said = " ".join(capsys.readouterr().out.split())
    assert 'in a policy: stop = { rule = "lead", evidence = "votes", spread = ' in said
    assert "level = 1.5 }" in said


def test_several_settings_are_a_table_and_a_list(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    several = ("--panel", "a,b", "--strategy", "vote", "--strategy", "adaptive", "--seats", "1,2")
    run(folder, *several)
    assert capsys.readouterr().out.count("adaptive") == 2
    run(folder, *several, "--json")
    found = json.loads(capsys.readouterr().out)["replays"]
    assert [one["strategy"]["seats"] for one in found] == [1, 2, 1, 2]
    run(folder, "--panel", "a,b", "--seats", "2", "--json")
    alone = json.loads(capsys.readouterr().out)
    assert alone == found[1]


def test_acting_and_pairs_can_be_read_by_a_person(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(folder, "--panel", "a,b", "--alpha", "0.4", "--against", "adaptive")
    shown = capsys.readouterr().out
    assert "acted upon: " in shown
    assert "wrong among them" in shown
    assert "against adaptive" in shown
    with pytest.raises(DataError, match="single is one model"):
        run(folder, "--panel", "a,b", "--against", "single")


def test_a_cascade_tells_its_break_even(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(
        folder, "--panel", "a,f", "--strategy", "cascade:1+2", "--goal", "budget:1",
        "--calibrate", "half",
    )  # fmt: skip
    shown = " ".join(capsys.readouterr().out.split())
    assert "asking the last model at once would cost the same at 90.0 %" in shown


def test_best_of_n_needs_candidates_with_authors(folder: Path) -> None:
    with pytest.raises(DataError, match="holds no candidates with their authors"):
        run(folder, "--panel", "a", "--strategy", "best_of_n")
