from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from consensus.policy.audit import Audit, Lengths, load_audit
from consensus.policy.audit.check import check_audit
from consensus.policy.audit.draft import Known, audit_text, from_policy, merge
from consensus.policy.load import load_policy
from consensus.resources import packaged
from tests.policy.audit.audits import codes


def written(folder: Path, text: str) -> Audit:
    path = folder / "audit.toml"
    path.write_text(text, encoding="utf-8")
    return load_audit(path)


def test_the_worked_example_lacks_nothing_but_a_gate(tmp_path: Path) -> None:
    audit = written(tmp_path, audit_text())
    assert codes(check_audit(audit)) == ["no-gate"]


def test_the_head_explains_every_key(tmp_path: Path) -> None:
    from consensus.policy.audit import AuditTask

    head = audit_text().partition("version = 1")[0]
    named = {field.alias or name for name, field in AuditTask.model_fields.items()}
    assert {name for name in named if name not in head} == set()


def test_a_draft_of_the_shipped_policy_loads_and_says_what_is_missing(tmp_path: Path) -> None:
    table = load_policy(packaged("strategies"))
    audit = written(tmp_path, audit_text(from_policy(table)))
    assert list(audit.tasks) == list(table.tasks)
    assert {"owner", "oracle", "volume"} <= set(codes(check_audit(audit)))


def test_what_was_observed_replaces_what_a_row_expects() -> None:
    row = Known("a", "row", owner="x", input_tokens=Lengths(p50=1, p95=3))
    seen = Known("a", "ledger", monthly_volume=7, input_tokens=Lengths(p50=5, p95=9))
    (merged,) = merge([[row], [seen]])
    assert (merged.owner, merged.monthly_volume, merged.input_tokens) == (
        "x",
        7,
        Lengths(p50=5, p95=9),
    )
    assert merged.source == "row, ledger"


@given(st.text(max_size=60), st.lists(st.text(min_size=1, max_size=9), min_size=2, max_size=4))
def test_any_text_survives_the_draft(text: str, options: list[str]) -> None:
    import tempfile

    clean = text.encode("utf-8", "replace").decode()
    known = Known("a.b", "x", kind="choose", description=text, options=tuple(options))
    with tempfile.TemporaryDirectory() as folder:
        task = written(Path(folder), audit_text([known])).tasks["a.b"]
    assert task.description == clean
