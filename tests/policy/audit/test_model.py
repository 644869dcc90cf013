from __future__ import annotations

from pathlib import Path

import pytest

from consensus.errors import PolicyError
from consensus.policy.audit import load_audit
from tests.policy.audit.audits import audit_file, audit_of, task_text


def test_a_share_is_the_part_of_the_monthly_traffic(tmp_path: Path) -> None:
    audit = audit_of(tmp_path, task_text("a", monthly_volume="300"), task_text("b"))
    assert audit.share("a") == pytest.approx(300 / 1300)
    assert audit.share("a") + audit.share("b") == pytest.approx(1)


def test_shares_of_an_audit_without_traffic_are_zero(tmp_path: Path) -> None:
    assert audit_of(tmp_path, task_text("a", monthly_volume="0")).share("a") == 0


def test_an_unknown_task_type_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r'no task type "refunt".*did you mean "refund"'):
        audit_of(tmp_path).share("refunt")


def test_a_key_knows_its_line(tmp_path: Path) -> None:
    place = audit_of(tmp_path).place("tasks", "refund", "owner")
    assert place is not None
    assert (Path(place.file).name, place.line) == ("audit.toml", 4)


def test_paths_are_seen_from_the_folder_of_the_audit(tmp_path: Path) -> None:
    assert audit_of(tmp_path).root == tmp_path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"consequence": '"grave"'}, r"audit.toml:7: tasks.refund.consequence: must be 'low'"),
        ({"complexity": '"irreversible"'}, r"tasks.refund.complexity: must be 'low'"),
        ({"monthly_volume": "-1"}, r"tasks.refund.monthly_volume"),
        ({"adversarial_share": "1.5"}, r"tasks.refund.adversarial_share"),
        ({"input_tokens": "{ p50 = 9, p95 = 3 }"}, r"p95 \(3\) is below p50 \(9\)"),
        ({"floor": "1.0"}, r"tasks.refund.floor"),
        ({"structured": '"yes"'}, r"tasks.refund.structured: must be true or false"),
        ({"ovner": '"x"'}, r'tasks.refund.ovner: is not a key of this table .*"owner"'),
    ],
)
def test_what_is_not_of_the_format_is_refused_with_its_line(
    tmp_path: Path, change: dict[str, str], message: str
) -> None:
    with pytest.raises(PolicyError, match=message):
        audit_of(tmp_path, task_text("refund", **change))


def test_what_nobody_has_found_out_yet_may_be_missing(tmp_path: Path) -> None:
    text = task_text("refund", ("owner", "oracle", "on_wrong", "description"))
    task = audit_of(tmp_path, text).tasks["refund"]
    assert (task.owner, task.oracle, task.on_wrong) == ("", "", "")


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="consensus audit init"):
        load_audit(tmp_path / "audit.toml")


def test_a_folder_of_files_is_one_audit(tmp_path: Path) -> None:
    audit_file(tmp_path, task_text("a"), name="a.toml")
    audit_file(tmp_path, task_text("b"), name="b.toml")
    assert sorted(load_audit(tmp_path).tasks) == ["a", "b"]
