"""A calibration file: strict, small, the same after a round trip; a stranger's is one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.errors import DataError
from consensus.orchestrators.calibration import (
    MAX_CALIBRATION_BYTES,
    Calibration,
    load_calibration,
)
from tests.orchestrators.calibrations import FITS, MODELS, calibration, judges


@pytest.mark.parametrize("family", sorted(FITS))
def test_a_file_gives_back_what_was_written(family: str, tmp_path: Path) -> None:
    made = calibration(family)
    assert load_calibration(made.save(tmp_path / "c.json")) == made


def test_judges_of_scores_round_trip_too(tmp_path: Path) -> None:
    assert load_calibration(judges().save(tmp_path / "c.json")) == judges()


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    calibration().save(path)
    assert load_calibration(path).cases == 100
    calibration(cases=1000).save(path)
    assert load_calibration(path).cases == 1000


def change(**keys: Any) -> dict[str, Any]:
    return {**json.loads(calibration().to_json()), **keys}


def without(key: str) -> dict[str, Any]:
    return {k: v for k, v in change().items() if k != key}


def in_fit(**keys: Any) -> dict[str, Any]:
    return change(fit={**change()["fit"], **keys})


def in_stage(**keys: Any) -> dict[str, Any]:
    data = change()
    data["stages"][0] |= keys
    return data


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (without("format"), "format"),
        (change(format=2), "format"),
        (change(surprise=1), "surprise"),
        (change(kind="rank"), "kind"),
        (change(options=None), "fixed options"),
        (change(options=["approve", "approve"]), "twice"),
        (change(models=[]), "models"),
        (change(models=["scripted/a", "scripted/a"]), "twice"),
        (change(seats=[1]), "seats has 1"),
        (change(cases=0), "cases"),
        (change(cases="100"), "cases"),
        (change(fit={"family": "magic"}), "fit"),
        (in_fit(accuracy=[0.7]), "fit.accuracy has 1 entries for 2"),
        (in_fit(accuracy=[0.7, 1.5]), "fit.blocks.accuracy.1"),
        (in_fit(within=[0.7, 1.0]), "fit.blocks.within.1"),
        (in_fit(confusion=[[[0.5, 0.5]], [[0.5, 0.5]]]), "shape (2, 2, 2)"),
        (in_fit(confusion=[[[0.5, 0.4], [0.5, 0.5]]] * 2), "sum to 1"),
        (in_fit(confusion=None), "exactly where options are fixed"),
        (in_fit(prior=[0.9, 0.3]), "sum to 1"),
        (in_stage(temperature=0), "stages.0.temperature"),
        (in_stage(misses=[0.5, 0.1]), "ascending"),
        (in_stage(misses=[2.0]), "stages.0.misses.0"),
        (in_stage(models=["scripted/z"]), "different parts"),
        (change(stages=[]), "whole panel"),
        (change(data_sha256="xyz"), "data_sha256"),
        (change(fitted_on="yesterday"), "fitted_on"),
        (change(kind="score", options=None), "not for tasks of kind score"),
        ([1, 2], "an object"),
    ],
)
def test_what_is_wrong_is_one_line_with_file_and_key(data: Any, said: str, tmp_path: Path) -> None:
    path = tmp_path / "stranger.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        load_calibration(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert said in message
    assert "\n" not in message
    assert len(message) < 600 + len(str(path))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[" * 100_000,
        "null",
        "\x00",
        calibration().to_json().replace("1.25", "NaN"),
        calibration().to_json().replace("1.25", "Infinity"),
        calibration().to_json().replace("1.25", "1e999"),
    ],
)
def test_no_text_is_more_than_an_error(text: str, tmp_path: Path) -> None:
    path = tmp_path / "stranger.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"stranger\.json"):
        load_calibration(path)


@given(st.binary(max_size=200))
def test_no_bytes_are_more_than_an_error(tmp_path_factory: Any, content: bytes) -> None:
    path = tmp_path_factory.mktemp("c") / "c.json"
    path.write_bytes(content)
    with pytest.raises(DataError):
        load_calibration(path)


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_bytes(b" " * (MAX_CALIBRATION_BYTES + 1))
    with pytest.raises(DataError, match="larger than"):
        load_calibration(path)


def test_a_folder_a_missing_file_and_no_path_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.json", "a\x00b"):
        with pytest.raises(DataError):
            load_calibration(path)


def test_a_stacked_row_of_another_width_is_refused() -> None:
    made = calibration("stacked")
    data = json.loads(made.to_json())
    data["fit"]["weights"][1] = [1.0]
    with pytest.raises(ValueError, match="1 of 5 numbers"):
        Calibration.model_validate(data)


def test_what_a_receipt_carries_is_small_and_has_the_quantile_of_its_alpha() -> None:
    whole = calibration()
    slim = whole.at(0.1)
    assert len(slim.to_json()) < 2000 < len(whole.to_json())
    assert slim.alpha == 0.1
    assert [stage.quantile for stage in slim.stages] == [whole.stages[0].misses[90]] * 3
    assert whole.at(0.001).stages[0].quantile is None


def test_the_stage_of_those_who_answered() -> None:
    four = (*MODELS, "scripted/c", "scripted/d")
    data = json.loads(calibration("weighted").to_json())
    data |= {"models": four, "seats": [1, 1, 1, 1]}
    data["fit"]["maps"] += [{"a": 0.0, "b": 0.0, "base": 0.5}] * 2
    data["stages"] = [{"models": part, "cases": 9} for part in (four, MODELS[:1], MODELS)]
    found = Calibration.model_validate(data)
    assert found.stage(four) == (0, True)
    assert found.stage(MODELS) == (2, True)
    assert found.stage(four[:3]) == (2, False)
    assert found.stage(("scripted/a", "scripted/c")) == (1, False)
    assert found.stage(("scripted/c",)) == (0, False)
