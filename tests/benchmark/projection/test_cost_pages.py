"""The cost pages: whole, escaped, readable in a real browser at both widths and in both lights."""

from __future__ import annotations

from pathlib import Path

import pytest

from consensus.benchmark.projection import (
    Flow,
    Projection,
    WhatIf,
    project,
    render_costs,
    render_projection,
    traffic_of,
)
from consensus.ledger import Ledger
from consensus.ledger.attribution import attribute
from consensus.models.rates import from_policy
from tests.benchmark.projection.test_project import CASCADE, PROFILE
from tests.benchmark.projection.traffic import audit, policy
from tests.benchmark.test_report_page import look, served
from tests.ledger.test_attribution import wild

__all__ = ["served"]

LONG = "a_very_long_task_type_with_no_break_at_all_" + "x" * 60
EVIL = "<script>alert(1)</script>"


def projection() -> Projection:
    tasks = {
        name: {"complexity": level, "monthly_volume": 12_345, "owner": EVIL}
        for name, level in (("t", "low"), (LONG, "medium"), ("u", "high"))
    }
    return project(policy(CASCADE + PROFILE), traffic_of(audit(**tasks)))


def costs(folder: Path) -> str:
    price = from_policy("x/opus", "x/opus", {"input": 4, "output": 20})
    with Ledger(folder / "ledger.db") as book:
        wild(book, 1)
        return render_costs(attribute(book, by=["type", "served"], frontier=("x/opus", price)))


def test_a_page_has_the_figures_of_the_projection() -> None:
    found = projection()
    page = render_projection(found)
    assert f"${found.total.after:,.2f}" in page
    assert f"${found.total.before:,.2f}" in page
    assert "2 of 3 task types are assumed" in page
    assert EVIL not in page


def test_a_page_says_what_was_assumed_to_be_otherwise_and_what_holds_without_it() -> None:
    flows = [Flow("t", "low", "", 10_000)]
    table = policy(CASCADE + PROFILE)
    base = project(table, flows)
    page = render_projection(project(table, flows, what_if=WhatIf(factor=2)), base)
    assert "volume × 2" in page
    assert f"${base.total.after:,.2f} a month instead of" in page


def test_equal_projections_give_equal_bytes() -> None:
    assert render_projection(projection()) == render_projection(projection())


def test_a_page_of_an_empty_ledger_is_whole(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.db") as book:
        page = render_costs(attribute(book))
    assert page.endswith("</html>\n")
    assert "$0 paid" in page


def test_a_saving_below_zero_has_its_sign_before_the_dollar() -> None:
    rows = '[tasks.t]\nstrategy = "vote"\nseats = 9\ntier = "mid"\n'
    page = render_projection(project(policy(rows), [Flow("t", "low", "", 10_000)]))
    assert "−$" in page
    assert "$-" not in page
    assert "more" in page


@pytest.mark.needs("browser")
@pytest.mark.parametrize(("width", "theme"), [(390, "dark"), (1280, "light")])
@pytest.mark.parametrize("which", ["projection", "costs"])
def test_a_page_is_readable_at_both_widths_and_in_both_lights(
    served: tuple[Path, object], tmp_path: Path, width: int, theme: str, which: str
) -> None:
    html = render_projection(projection()) if which == "projection" else costs(tmp_path)
    page, console = look(served, html, width=width, theme=theme)  # type: ignore[arg-type]
    assert console == ""
    assert page["overflow"] <= 0
    assert page["outside"] == 0
    assert page["verdictSeen"]
    assert page["verdictTop"] < 400
    assert page["scripts"] == 0
    assert page["contrast"] >= 4.5
