from __future__ import annotations

from pathlib import Path

import pytest

from consensus import Approve, Choose, Generate, Message, Rank
from consensus.errors import PolicyError, TaskError
from consensus.policy import PolicyTable, Route, estimate_tokens, load_policy, route, route_type
from tests.policy.books import CONTRACT, TIERS, Book, table_of

TASK = Approve(type="t", subject="May it?")


def first(table: PolicyTable, task_type: str = "t") -> Route:
    return route_type(table, task_type)


def test_the_contracts_row_becomes_a_panel_and_then_the_frontier(tmp_path: Path) -> None:
    table = table_of(tmp_path, CONTRACT)
    way = route(table, Approve(type="refund_approval", subject="x"))
    panel, frontier = way.hops
    assert (panel.name, panel.spec.orchestrator, panel.seats, panel.spec.quorum) == (
        "vote",
        "vote",
        5,
        4,
    )
    assert panel.seat_models() == tuple(
        ("anthropic/claude-haiku-5-5", "openai/gpt-5.4-nano")[i % 2] for i in range(5)
    )
    assert (frontier.name, frontier.models, frontier.seats) == (
        "frontier",
        ("anthropic/claude-opus-5-5",),
        1,
    )
    assert (way.budget_pico, way.deadline_s) == (50_000_000_000, 20)


def test_the_reason_names_the_row_with_its_file_and_line(tmp_path: Path) -> None:
    table = table_of(tmp_path, CONTRACT)
    way = route(table, Approve(type="refund_approval", subject="x"))
    assert way.reasons == (f"row tasks.refund_approval ({tmp_path / 'policy.toml'}:17)",)


def test_a_type_without_a_row_takes_the_defaults_and_says_so(tmp_path: Path) -> None:
    table = table_of(tmp_path, CONTRACT)
    way = route(table, Approve(type="unheard-of", subject="x"))
    assert way.task_type == "unheard-of"
    assert way.hops[0].models == ("anthropic/claude-haiku-5-5",)
    assert 'no row for type "unheard-of"' in way.reasons[0]
    assert "policy.toml:13" in way.reasons[0]


def test_a_type_without_row_or_defaults_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="neither a tier nor models"):
        route(table_of(tmp_path, '[tiers]\nsmall = ["x/a"]\n'), TASK)


def test_a_task_of_another_kind_than_its_row_is_refused(tmp_path: Path) -> None:
    table = table_of(tmp_path, CONTRACT)
    with pytest.raises(TaskError, match="is of kind approve, not choose") as caught:
        route(table, Choose(type="refund_approval", subject="x", options=("a", "b")))
    assert str(caught.value.where).endswith("policy.toml:17)")


PRECEDENCE = (
    TIERS
    + """\
context_guard = 0.5
deadline_s = 10
[strategies.s]
orchestrator = "vote"
tier = "mid"
seats = 3
context_guard = 0.6
losses = { false_approve = 9 }
[tasks.t]
strategy = "s"
context_guard = 0.7
"""
)


def test_the_row_wins_over_its_strategy_and_that_over_the_defaults(tmp_path: Path) -> None:
    way = first(table_of(tmp_path, PRECEDENCE))
    spec = way.hops[0].spec
    assert spec.context_guard == 0.7  # the row
    assert spec.seats == 3  # the strategy
    assert spec.models == ("x/m1", "x/m2")  # the strategy, over the defaults' tier
    assert way.deadline_s == 10  # the defaults


def test_models_in_a_row_replace_an_inherited_tier(tmp_path: Path) -> None:
    way = first(table_of(tmp_path, PRECEDENCE + 'models = ["x/own"]\n'))
    assert way.hops[0].models == ("x/own",)
    assert way.row.tier is None


def test_a_sub_table_replaces_the_one_below_it_whole(tmp_path: Path) -> None:
    way = first(table_of(tmp_path, PRECEDENCE + "losses = { false_reject = 2 }\n"))
    losses = way.hops[0].spec.losses
    assert losses is not None
    assert (losses.false_approve, losses.false_reject) == (1, 2)


def test_a_row_without_a_strategy_takes_the_one_of_the_defaults(tmp_path: Path) -> None:
    table = table_of(tmp_path, TIERS + 'strategy = "vote"\nseats = 7\n[tasks.t]\n')
    assert first(table).hops[0].seats == 7


def test_a_single_call_ignores_the_seats_and_quorum_of_the_defaults(tmp_path: Path) -> None:
    table = table_of(tmp_path, TIERS + 'seats = 7\nquorum = 6\n[tasks.t]\nstrategy = "single"\n')
    spec = first(table).hops[0].spec
    assert (spec.seats, spec.quorum, spec.models, spec.framings) == (1, 1, ("x/s1",), ("plain",))


@pytest.mark.parametrize(("seats", "quorum"), [(3, 2), (4, 3), (5, 3), (9, 5)])
def test_quorum_is_more_than_half_of_the_seats_unless_told(
    tmp_path: Path, seats: int, quorum: int
) -> None:
    table = table_of(tmp_path, TIERS + f'[tasks.t]\nstrategy = "vote"\nseats = {seats}\n')
    assert first(table).hops[0].spec.quorum == quorum


def test_a_vote_has_five_seats_unless_told(tmp_path: Path) -> None:
    table = table_of(tmp_path, TIERS + '[tasks.t]\nstrategy = "vote"\n')
    assert first(table).hops[0].seat_models() == ("x/s1", "x/s2", "x/s3", "x/s1", "x/s2")


def test_an_escalation_keeps_the_tasks_rules_and_not_the_panels_shape(tmp_path: Path) -> None:
    table = table_of(
        tmp_path,
        TIERS
        + """\
[tasks.t]
strategy = "vote"
seats = 7
quorum = 7
min_agreement = 1.0
veto = 1
framings = ["sceptic", "advocate"]
fallback = ["x/m1"]
losses = { false_approve = 20 }
alpha = 0.1
escalate_to = ["frontier", "x/other"]
""",
    )
    for hop in first(table).hops[1:]:
        spec = hop.spec
        assert (spec.orchestrator, spec.seats, spec.quorum) == ("single", 1, 1)
        assert (spec.framings, spec.fallbacks, spec.veto) == (("plain",), (), None)
        assert spec.losses is not None
        assert (spec.losses.false_approve, spec.alpha) == (20, 0.1)


def test_an_escalation_may_name_a_strategy_that_goes_on_from_there(tmp_path: Path) -> None:
    table = table_of(
        tmp_path,
        TIERS
        + """\
[strategies.again]
orchestrator = "vote"
tier = "mid"
seats = 3
escalate_to = ["frontier"]
[tasks.t]
strategy = "single"
losses = { false_approve = 5 }
escalate_to = ["again"]
""",
    )
    hops = first(table).hops
    assert [hop.name for hop in hops] == ["single", "again", "frontier"]
    assert (hops[1].seats, hops[1].spec.quorum, hops[1].models) == (3, 2, ("x/m1", "x/m2"))
    assert hops[1].spec.losses is not None
    assert hops[1].spec.losses.false_approve == 5


def test_an_inherited_escalation_to_the_rows_own_tier_is_skipped(tmp_path: Path) -> None:
    text = TIERS + 'escalate_to = ["frontier"]\n[tasks.t]\ntier = "frontier"\n'
    assert len(first(table_of(tmp_path, text)).hops) == 1


def test_an_empty_list_declines_what_the_defaults_give(tmp_path: Path) -> None:
    text = TIERS + 'escalate_to = ["frontier"]\nfallback = ["mid"]\n[tasks.t]\n'
    assert len(first(table_of(tmp_path, text)).hops) == 2
    way = first(table_of(tmp_path, text + "escalate_to = []\nfallback = []\n"))
    assert (len(way.hops), way.hops[0].spec.fallbacks) == (1, ())


def test_fallbacks_name_models_and_tiers_each_model_once(tmp_path: Path) -> None:
    table = table_of(tmp_path, TIERS + '[tasks.t]\nfallback = ["x/m2", "mid", "x/z"]\n')
    assert first(table).hops[0].spec.fallbacks == ("x/m2", "x/m1", "x/z")


def test_a_framing_set_stands_for_its_framings(tmp_path: Path) -> None:
    table = table_of(
        tmp_path,
        TIERS
        + """\
[framing_sets]
stern = ["sceptic", "auditor"]
[tasks.t]
strategy = "vote"
framings = ["plain", "stern"]
""",
    )
    assert first(table).hops[0].spec.framings == ("plain", "sceptic", "auditor")


@pytest.mark.parametrize(
    ("models", "kind", "ballot"),
    [
        (["local/a", "local/b"], "approve", "token"),
        (["local/a", "x/b"], "approve", "structured"),
        (["local/a"], "rank", "structured"),
        (["x/a"], "approve", "structured"),
    ],
)
def test_a_panel_answers_in_tokens_where_all_models_run_here_and_one_word_can_answer(
    tmp_path: Path, models: list[str], kind: str, ballot: str
) -> None:
    text = f'[tasks.t]\nstrategy = "vote"\nkind = "{kind}"\nmodels = {models!r}\n'
    assert first(table_of(tmp_path, text)).hops[0].spec.ballot == ballot


def test_the_kind_of_a_task_without_a_row_decides_its_ballot(tmp_path: Path) -> None:
    table = table_of(tmp_path, '[defaults]\nmodels = ["local/a"]\n')
    assert route(table, TASK).hops[0].spec.ballot == "token"
    ranking = Rank(type="t", items=("a", "b"))
    assert route(table, ranking).hops[0].spec.ballot == "structured"


RULES = (
    TIERS
    + """\
[tasks.t]
strategy = "vote"
seats = 3
[[tasks.t.when]]
min_input_tokens = 1_000
strategy = "single"
tier = "frontier"
[[tasks.t.when]]
max_input_tokens = 10
tier = "mid"
[[tasks.t.when]]
max_input_tokens = 20
seats = 9
"""
)


def test_the_first_rule_that_matches_changes_the_row(tmp_path: Path) -> None:
    table = table_of(tmp_path, RULES)
    long = route(table, Approve(type="t", subject="x" * 4_000))
    assert [(h.spec.orchestrator, h.models) for h in long.hops] == [("single", ("x/f",))]
    short = route(table, Approve(type="t", subject="x" * 40))
    assert (short.hops[0].models, short.hops[0].seats) == (("x/m1", "x/m2"), 3)
    middle = route(table, Approve(type="t", subject="x" * 41))
    assert (middle.hops[0].models[0], middle.hops[0].seats) == ("x/s1", 9)


def test_no_rule_matches_and_the_row_stands(tmp_path: Path) -> None:
    way = route(table_of(tmp_path, RULES), Approve(type="t", subject="x" * 400))
    assert (way.hops[0].seats, len(way.reasons)) == (3, 1)


def test_the_reasons_say_which_rule_matched(tmp_path: Path) -> None:
    way = route(table_of(tmp_path, RULES), Approve(type="t", subject="x" * 4_000))
    assert way.reasons[1] == (
        f"rule tasks.t.when.0 ({tmp_path / 'policy.toml'}:10): min_input_tokens = 1000"
    )


@pytest.mark.parametrize(
    ("rule", "matches"),
    [
        ("structured = true", False),
        ("structured = false", True),
        ("min_expected_output_tokens = 700", True),
        ("max_expected_output_tokens = 700", False),
        ("max_options = 1", True),
        ("min_options = 1", False),
    ],
)
def test_a_rule_sees_the_structure_of_a_task(tmp_path: Path, rule: str, matches: bool) -> None:
    table = table_of(tmp_path, f'{TIERS}[[defaults.when]]\n{rule}\ntier = "mid"\n')
    task = Generate(type="t", messages=(Message(role="user", content="Write."),))
    assert (route(table, task).hops[0].models == ("x/m1",)) is matches


def test_a_schema_makes_a_generated_answer_structured(tmp_path: Path) -> None:
    table = table_of(tmp_path, f'{TIERS}[[defaults.when]]\nstructured = true\ntier = "mid"\n')
    task = Generate(
        type="t",
        messages=(Message(role="user", content="Write."),),
        schema={"type": "object"},
    )
    assert route(table, task).hops[0].models == ("x/m1",)


def test_a_rule_of_the_defaults_uses_the_answers_that_a_row_expects(tmp_path: Path) -> None:
    table = table_of(
        tmp_path,
        f'{TIERS}[[defaults.when]]\nmin_expected_output_tokens = 1_500\ntier = "mid"\n'
        "[tasks.long]\nexpected_output_tokens = 2_000\n[tasks.short]\n",
    )
    assert route(table, Approve(type="long", subject="x")).hops[0].models == ("x/m1",)
    assert route(table, Approve(type="short", subject="x")).hops[0].models == ("x/s1",)


def test_lengths_are_estimated_at_four_bytes_a_token() -> None:
    assert estimate_tokens(Approve(type="t", subject="x" * 401)) == 101
    assert estimate_tokens(Approve(type="t", subject="é" * 200)) == 100


def test_a_circle_of_strategies_is_refused_when_the_route_is_asked_for(tmp_path: Path) -> None:
    table = table_of(
        tmp_path,
        TIERS
        + '[strategies.a]\norchestrator = "single"\nescalate_to = ["b"]\n'
        + '[strategies.b]\norchestrator = "single"\nescalate_to = ["a"]\n'
        + '[tasks.t]\nescalate_to = ["a"]\n',
    )
    with pytest.raises(PolicyError, match="a → b → a"):
        first(table)


def test_routes_are_worked_out_once_and_stay_the_same(tmp_path: Path) -> None:
    table = load_policy(table_of(tmp_path, CONTRACT), prices=Book())
    task = Approve(type="refund_approval", subject="x")
    assert route(table, task) is route(table, task)


def test_every_model_that_a_route_can_reach_is_listed_once(tmp_path: Path) -> None:
    text = TIERS + '[tasks.t]\nfallback = ["mid"]\nescalate_to = ["x/m1", "frontier"]\n'
    assert first(table_of(tmp_path, text)).models == ("x/s1", "x/m1", "x/m2", "x/f")
