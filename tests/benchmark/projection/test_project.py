from __future__ import annotations

import json
from dataclasses import fields

import numpy as np
import pytest

from consensus.benchmark.projection import (
    Classifier,
    Flow,
    FrontierCost,
    Leg,
    Measurement,
    Projection,
    Tokens,
    WhatIf,
    parse_what_if,
    project,
    projection_json,
    projection_table,
    traffic_of,
)
from consensus.benchmark.projection.breakeven import cascade_break_even, classifier_break_even
from consensus.errors import DeclarationError, PolicyError, PriceError
from tests.benchmark.projection.traffic import PRICES, audit, policy

CASCADE = """\
[tasks.t]
tier = "small"
escalate_to = ["frontier"]
owner = "team"
"""

PROFILE = """\
[tasks.t.profile]
n = 200
escalations = 20
usd_per_decision = 0.004
usd_sd = 0.004
calls_per_decision = 1.1
input_tokens = 1100
cached_tokens = 100
output_tokens = 220
reasoning_tokens = 20
latency_p50_s = 1.0
latency_p95_s = 4.0
frontier_n = 200
frontier_agreed = 180
frontier_usd = 0.02
"""


def one(rows: str = CASCADE + PROFILE, **given: object) -> Projection:
    task = {"monthly_volume": 10_000, **given}
    return project(policy(rows), traffic_of(audit(t=task)))


def test_an_unmeasured_row_is_expected_tokens_at_list_prices_and_said_to_be_assumed() -> None:
    found = one("[tasks.t]\n")
    (line,) = found.types
    assert line.source == "assumed"
    assert line.after == pytest.approx(10_000 * (1_000 * 1 + 100 * 4) / 1e6)
    assert line.before == pytest.approx(10_000 * (1_000 * 10 + 100 * 50) / 1e6)
    assert line.interval is None
    assert found.total.interval is None
    assert found.total.assumed_share == 1
    assert not line.before_measured
    assert "1 of 1 task types are assumed" in found.notes[0]


def test_every_seat_of_an_unmeasured_panel_is_paid() -> None:
    single = one("[tasks.t]\n").total.after
    panel = one('[tasks.t]\nstrategy = "vote"\nseats = 5\n').total.after
    assert panel == pytest.approx(5 * single)


def test_a_measured_row_costs_what_was_measured() -> None:
    (line,) = one().types
    assert line.source == "profile"
    assert line.after == pytest.approx(40.0)
    assert line.before == pytest.approx(200.0)
    assert line.before_measured
    assert line.assumed_share == 0
    assert line.change == pytest.approx(-0.8)


def test_the_interval_of_a_profile_is_that_of_its_mean() -> None:
    (line,) = one().types
    assert line.interval is not None
    half = 1.96 * 0.004 / np.sqrt(200) * 10_000
    assert line.interval.low == pytest.approx(40 - half, rel=0.05)
    assert line.interval.high == pytest.approx(40 + half, rel=0.05)


def test_without_a_deviation_the_interval_is_that_of_the_escalation_rate() -> None:
    rows = CASCADE + PROFILE.replace("usd_sd = 0.004\n", "")
    (line,) = project(policy(rows), traffic_of(audit(t={}))).types
    assert line.interval is not None
    assert line.interval.low < line.after < line.interval.high


@pytest.mark.parametrize("rows", ["[tasks.t]\n", CASCADE, CASCADE + PROFILE])
def test_classes_of_tokens_and_roles_each_add_up_to_the_cost(rows: str) -> None:
    (line,) = one(rows).types
    assert line.parts.total == pytest.approx(line.after)
    roles = line.roles.to_json()
    assert sum(value or 0.0 for value in roles.values()) == pytest.approx(line.after)


def test_losers_of_a_cascade_are_the_first_steps_of_what_escalated() -> None:
    (line,) = one().types
    first = line.roles.settled + line.roles.losers
    assert line.roles.losers == pytest.approx(0.1 * first)
    assert line.roles.escalations > 0


def test_mixed_totals_say_how_much_of_them_is_assumed() -> None:
    flows = traffic_of(audit(t={"monthly_volume": 1_000}, u={"monthly_volume": 1_000}))
    found = project(policy(CASCADE + PROFILE + "[tasks.u]\n"), flows)
    assumed = next(line for line in found.types if line.name == "u").after
    assert found.total.assumed_share == pytest.approx(assumed / found.total.after)
    assert found.total.interval is not None
    assert found.total.source is None


def test_lines_add_up_to_groups_and_groups_to_the_total() -> None:
    tasks = {
        name: {"monthly_volume": 100 * (i + 1), "complexity": level}
        for i, (name, level) in enumerate(
            [("a", "low"), ("b", "high"), ("c", "low"), ("t", "medium")]
        )
    }
    found = project(policy(CASCADE + PROFILE), traffic_of(audit(**tasks)))
    assert [line.name for line in found.groups] == ["low", "medium", "high"]
    for name in ("monthly", "share", "before", "after", "best", "worst", "saved"):
        total = getattr(found.total, name)
        assert sum(getattr(line, name) for line in found.types) == pytest.approx(total)
        assert sum(getattr(line, name) for line in found.groups) == pytest.approx(total)


def test_best_and_worst_enclose_the_interval_and_long_requests_make_the_worst_worse() -> None:
    (usual,) = one().types
    (long,) = one(input_tokens={"p50": 1_000, "p95": 4_000}).types
    assert usual.interval is not None
    assert usual.best <= usual.interval.low
    assert usual.worst >= usual.interval.high
    assert long.worst > usual.worst
    assert long.best == pytest.approx(usual.best)
    assert long.after == usual.after


def test_at_worst_an_unmeasured_route_asks_everybody() -> None:
    (line,) = one(CASCADE).types
    assert line.best == pytest.approx(line.after)
    assert line.worst == pytest.approx(line.after + line.before)


def test_a_price_moves_measured_dollars_by_the_share_of_its_tokens() -> None:
    flows = traffic_of(audit(t={"monthly_volume": 10_000}))
    rows = '[tasks.t]\ntier = "small"\nescalate_to = []\n' + PROFILE.replace(
        "escalations = 20", "escalations = 0"
    )
    halved = project(policy(rows), flows, what_if=WhatIf(prices={"x/small": (0.5, 2.0)}))
    assert halved.total.after == pytest.approx(20.0)
    assert halved.total.before == pytest.approx(200.0)


def test_a_price_of_the_frontier_moves_before_and_the_escalations() -> None:
    flows = traffic_of(audit(t={"monthly_volume": 10_000}))
    found = project(policy(CASCADE + PROFILE), flows, what_if=WhatIf(prices={"x/front": (20, 100)}))
    assert found.total.before == pytest.approx(400.0)
    usual = project(policy(CASCADE + PROFILE), flows).total.roles
    assert found.total.roles.escalations == pytest.approx(2 * usual.escalations)
    assert found.total.roles.settled == pytest.approx(usual.settled)


def test_a_certificates_prices_are_those_at_which_its_dollars_were_paid() -> None:
    certificate = f"""\
[tasks.t.certificate]
status = "certified"
n = 200
passes = 199.0
bound = 0.97
floor = 0.95
delta = 0.05
method = "clopper-pearson"
route = "{"0" * 64}"
oracle = "{"0" * 64}"
prompts = "{"0" * 64}"
suite = "{"0" * 64}"
date = 2026-10-01
[tasks.t.certificate.prices."x/small"]
input = 2.0
output = 8.0
"""
    rows = '[tasks.t]\ntier = "small"\n' + PROFILE.replace("escalations = 20", "escalations = 0")
    found = project(policy(rows + certificate), traffic_of(audit(t={"monthly_volume": 10_000})))
    assert found.total.after == pytest.approx(20.0)


def test_a_cache_makes_input_cheaper_and_leaves_output_alone() -> None:
    flows = traffic_of(audit(t={"monthly_volume": 10_000}))
    rows = '[tasks.t]\ntier = "small"\n'
    plain = project(policy(rows), flows).total.parts
    cached = project(policy(rows), flows, what_if=WhatIf(cached=0.5)).total.parts
    assert cached.input == pytest.approx(plain.input / 2)
    assert cached.cached == pytest.approx(plain.input / 2 * 0.1)
    assert cached.output == pytest.approx(plain.output)


def test_volumes_scale_everything() -> None:
    flows = traffic_of(audit(t={"monthly_volume": 10_000}))
    table = policy(CASCADE + PROFILE)
    doubled = project(table, flows, what_if=parse_what_if(["x2"])).total
    named = project(table, flows, what_if=parse_what_if(["t=20000"])).total
    assert doubled.after == pytest.approx(80)
    assert named.after == pytest.approx(80)


@pytest.mark.parametrize("text", ["x2", "2x", "×2", "2×", "X2.0", "* 2"])
def test_twice_the_volume_can_be_written_in_many_ways(text: str) -> None:
    assert parse_what_if([text]).factor == 2


@pytest.mark.parametrize("text", ["", "two", "x", "t=", "=3", "t=-1", "t=nan"])
def test_a_volume_that_is_none_is_one_clear_error(text: str) -> None:
    with pytest.raises(DeclarationError, match="--volume"):
        parse_what_if([text])


@pytest.mark.parametrize("text", ["m", "m=1", "m=1,2,3", "=1,2", "m=a,b", "m=-1,2"])
def test_a_price_that_is_none_is_one_clear_error(text: str) -> None:
    with pytest.raises(DeclarationError, match="--price"):
        parse_what_if(prices=[text])


def test_a_what_if_that_touches_nothing_is_an_error() -> None:
    flows = traffic_of(audit(t={}))
    with pytest.raises(DeclarationError, match="no route uses"):
        project(policy(CASCADE), flows, what_if=WhatIf(prices={"x/typo": (1, 1)}))
    with pytest.raises(DeclarationError, match="no task type"):
        project(policy(CASCADE), flows, what_if=WhatIf(volumes={"typo": 1}))


def test_without_a_frontier_there_is_nothing_to_compare_with() -> None:
    table = policy(head=PRICES.replace('frontier = ["x/front"]\n', ""))
    with pytest.raises(PolicyError, match="names no frontier"):
        project(table, traffic_of(audit(t={})))
    found = project(table, traffic_of(audit(t={})), frontier="x/front")
    assert found.frontier == "x/front"


def test_an_unpriced_frontier_is_an_error_and_not_a_zero() -> None:
    with pytest.raises(PriceError, match="x/nobody"):
        project(policy(CASCADE), traffic_of(audit(t={})), frontier="x/nobody")


def test_resampled_cases_pair_the_route_with_the_frontier() -> None:
    rng = np.random.default_rng(1)
    frontier = rng.gamma(2.0, 0.01, size=400)
    measured = Measurement(
        source="run",
        n=400,
        legs=(Leg("x/small", 1, Tokens(input=1_000, output=100)),),
        usd=float(frontier.mean() / 2),
        costs=frontier / 2,
        frontier=FrontierCost(float(frontier.mean()), 400, frontier),
    )
    (line,) = project(
        policy("[tasks.t]\n"), [Flow("t", "low", "", 1_000)], measurements={"t": measured}
    ).types
    assert line.interval is not None
    assert line.saved_interval is not None
    # Half of each case is saved, so what is saved varies as the route does, not more.
    width = line.interval.high - line.interval.low
    assert line.saved_interval.high - line.saved_interval.low == pytest.approx(width, rel=1e-6)
    assert line.interval.low < line.after < line.interval.high


def test_the_bootstrap_covers_the_true_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    table, flow = policy("[tasks.t]\n"), Flow("t", "low", "", 1.0)
    hits = 0
    for i in range(200):
        costs = rng.exponential(0.01, size=100)
        measured = Measurement(
            "run", 100, (Leg("x/small", 1, Tokens(1_000, 0, 100)),), float(costs.mean()),
            costs=costs,
        )  # fmt: skip
        found = project(table, [flow], measurements={"t": measured}, draws=300, seed=i)
        span = found.total.interval
        assert span is not None
        hits += span.low <= 0.01 <= span.high
    assert 178 <= hits <= 199  # 95 % nominal; a skewed mean of 100 loses a little


def test_a_profile_s_frontier_brings_its_own_deviation_and_time() -> None:
    known = PROFILE + "frontier_usd_sd = 0.02\nfrontier_latency_p50_s = 3.0\n"
    (bare,), (line,) = one().types, one(CASCADE + known).types
    assert line.frontier_latency_s == pytest.approx(3.0)
    assert line.interval == bare.interval
    assert bare.saved_interval is not None
    assert line.saved_interval is not None
    narrow = bare.saved_interval.high - bare.saved_interval.low
    wide = line.saved_interval.high - line.saved_interval.low
    # Deviations of .004 and .02 over 200 cases: independent, so the squares add.
    assert wide / narrow == pytest.approx((1 + 5**2) ** 0.5, rel=0.1)


MIXED = """\
[strategies.plain]
orchestrator = "single"
[strategies.strong]
orchestrator = "single"
models = ["x/front"]
[tasks.t]
mix = [{ share = 0.6, strategy = "plain" }, { share = 0.4, strategy = "strong" }]
"""


def test_a_mixture_says_what_of_it_is_only_its_first_strategy() -> None:
    (line,) = one(MIXED + PROFILE).types
    assert line.route == "mixture: x/small and others"
    assert line.after == pytest.approx(10_000 * 0.004)
    assert line.notes[0].endswith("are the first strategy's")
    (assumed,) = one(MIXED).types
    assert "so are its assumed dollars" in assumed.notes[0]


def test_equal_seeds_give_equal_projections() -> None:
    assert one() == one()


def test_tokens_unlike_the_audits_are_remarked_upon() -> None:
    (line,) = one(input_tokens={"p50": 5_000, "p95": 5_000}).types
    assert any("the audit expects 5,000" in note for note in line.notes)
    (alike,) = one(
        input_tokens={"p50": 1_000, "p95": 1_000}, output_tokens={"p50": 200, "p95": 200}
    ).types
    assert alike.notes == ()


def test_a_latency_that_is_missed_is_remarked_upon() -> None:
    (line,) = one(latency={"p95_s": 2.0}).types
    assert any("2 s are asked for" in note for note in line.notes)


def test_a_cascade_pays_up_to_one_minus_its_first_step_over_the_second() -> None:
    found = cascade_break_even(0.002, 0.01, check=0.001, rate=0.3, interval=(0.25, 0.36))
    assert found.break_even == pytest.approx(0.7)
    assert found.ruling == "pays"
    at_limit = 0.002 + 0.001 + 0.7 * 0.01
    assert at_limit == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("interval", "ruling"),
    [((0.8, 0.9), "does not pay"), ((0.6, 0.8), "open"), (None, "open")],
)
def test_a_cascade_is_ruled_by_the_whole_interval(
    interval: tuple[float, float] | None, ruling: str
) -> None:
    assert cascade_break_even(0.003, 0.01, rate=0.7, interval=interval).ruling == ruling


def test_a_first_step_dearer_than_the_second_never_pays() -> None:
    assert cascade_break_even(0.02, 0.01, rate=0.0, interval=(0.0, 0.01)).ruling == "does not pay"


def test_a_classifier_pays_where_its_fixed_cost_is_earned() -> None:
    found = classifier_break_even(100.0, 50.0, 10_000, Classifier(0.002, 30.0))
    assert found is not None
    assert found.saving_per_query == pytest.approx(0.005)
    assert found.volume == pytest.approx(10_000)
    assert found.fixed_at_10k == pytest.approx(30.0)


def test_a_classifier_dearer_than_what_it_saves_never_pays() -> None:
    found = classifier_break_even(100.0, 99.0, 10_000, Classifier(0.002, 30.0))
    assert found is not None
    assert found.volume is None
    assert classifier_break_even(0, 0, 0, Classifier()) is None


def test_the_json_is_finite_and_the_sheet_has_a_cell_for_every_head() -> None:
    found = one()
    text = json.dumps(projection_json(found), allow_nan=False)
    assert json.loads(text)["total"]["after_usd"] == pytest.approx(40)
    heads, rows = projection_table(found)
    assert all(len(row) == len(heads) for row in rows)
    assert [row[0] for row in rows] == ["type", "group", "total"]
    assert rows[-1][heads.index("saved_usd_year")] == pytest.approx(12 * 160)


def test_no_traffic_at_all_is_no_crash() -> None:
    found = one(monthly_volume=0)
    assert found.total.after == 0
    assert found.classifier is None
    json.dumps(projection_json(found), allow_nan=False)


def test_tokens_add_and_scale_class_by_class() -> None:
    total = Tokens(1, 2, 3, 4) + Tokens(1, 1, 1, 1) * 2
    assert [getattr(total, field.name) for field in fields(total)] == [3, 4, 5, 6]
    assert (total.prompt, total.answer) == (7, 11)


def test_dollars_without_tokens_stand_and_say_that_no_price_moves_them() -> None:
    bare = PROFILE.replace("input_tokens = 1100", "input_tokens = 0")
    for name in ("cached_tokens = 100", "output_tokens = 220", "reasoning_tokens = 20"):
        bare = bare.replace(name + "\n", "")
    bare = bare.replace("frontier_n = 200\n", "frontier_n = 0\n").replace(
        "frontier_agreed = 180\n", ""
    )
    (line,) = one(CASCADE + bare).types
    assert line.after == pytest.approx(40.0)
    assert line.parts.other == pytest.approx(40.0)
    assert line.before == pytest.approx(10_000 * (1_000 * 10 + 100 * 50) / 1e6)
    assert not line.before_measured
    assert any("no tokens were recorded" in note for note in line.notes)


def test_the_frontier_against_itself_saves_exactly_nothing() -> None:
    for volume in (3, 7, 1_234_567):
        (line,) = one('[tasks.t]\ntier = "frontier"\n', monthly_volume=volume).types
        assert line.saved == 0
