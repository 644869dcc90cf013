"""What a decision writes to OpenTelemetry and to Prometheus, and what it never writes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, StatusCode, get_tracer_provider

from consensus import Approve, Engine
from consensus.errors import MissingExtraError, TaskError
from consensus.models.protocol import Request
from consensus.models.scripted import Reply
from consensus.telemetry import Telemetry
from consensus.telemetry import conventions as names
from tests.engine_fixtures import engine_of, policy_file
from tests.loopback.replies import Reply as Wire
from tests.loopback.server import LoopbackProvider
from tests.telemetry.fixtures import Watched, attributes

SECRET = "the customer Zzyzx returned a violin"
REFUND = Approve(type="refund", subject=SECRET, criteria="Only violins, says Zzyzx.")

ROWS = """
[tasks.refund]
kind = "approve"
strategy = "vote"
tier = "small"
seats = 3
quorum = 2
escalate_to = ["frontier"]
[prices."scripted/a"]
input = 1.0
output = 10.0
"""

WIRE = """
version = 1
[tiers]
small = ["anthropic/claude-haiku-5-5", "openai/gpt-5.4-nano"]
[defaults]
strategy = "vote"
tier = "small"
seats = 2
quorum = 1
[tasks.refund]
kind = "approve"
"""


async def test_a_decision_is_one_trace_with_a_span_a_seat(tmp_path: Path) -> None:
    watched = Watched()
    engine, _ = engine_of(
        tmp_path,
        ROWS,
        {"scripted/a": "approve", "scripted/b": "approve"},
        telemetry=watched.telemetry,
    )
    async with engine:
        decision = await engine.decide(REFUND)
    root = watched.root()
    assert root.name == "invoke_workflow refund"
    assert len({span.context.trace_id for span in watched.spans if span.context}) == 1
    calls = watched.calls()
    assert [attributes(call)["consensus.seat"] for call in calls] == [0, 1, 2]
    assert all(call.parent is not None and root.context is not None for call in calls)
    assert {call.parent.span_id for call in calls if call.parent} == {root.context.span_id}
    told = attributes(root)
    assert told[names.OPERATION_NAME] == "invoke_workflow"
    assert told["consensus.decision.action"] == decision.action == "act"
    assert told["consensus.receipt.id"] == decision.receipt_id
    assert told["consensus.route"] == decision.route
    assert told["consensus.cost.usd"] == decision.cost.usd > 0


async def test_escalation_is_in_the_same_trace_and_counted(tmp_path: Path) -> None:
    watched = Watched()

    def split(request: Request) -> str:
        return "approve" if request.model in {"scripted/a", "scripted/f"} else "reject"

    engine, _ = engine_of(
        tmp_path, ROWS.replace("seats = 3", "seats = 2"), split, telemetry=watched.telemetry
    )
    async with engine:
        decision = await engine.decide(REFUND)
    assert len(decision.route) == 2
    assert len(watched.calls()) == 3
    assert len({span.context.trace_id for span in watched.spans if span.context}) == 1
    assert watched.count("escalations_total", type="refund", to="tier") == 1
    route = " > ".join(decision.route)
    labels = {"type": "refund", "action": decision.action, "route": route}
    assert watched.count("decisions_total", **labels) == 1
    assert watched.count("decision_seconds_count", type="refund") == 1
    assert watched.count("decisions_in_flight") == 0
    paid = watched.count("cost_usd_total", type="refund", route=route, of="decision")
    assert paid == pytest.approx(decision.cost.usd)


async def test_over_the_real_sdks_the_call_span_has_the_genai_attributes(
    tmp_path: Path, loopback_env: LoopbackProvider
) -> None:
    watched = Watched()
    policy = policy_file(tmp_path, "", head=WIRE)
    async with Engine(policy, ledger=False, telemetry=watched.telemetry) as engine:
        decision = await engine.decide(REFUND)
    by_provider = {attributes(call)[names.PROVIDER_NAME]: call for call in watched.calls()}
    assert set(by_provider) == {"anthropic", "openai"}
    for ballot in decision.ballots:
        provider, model = ballot.model.split("/")
        call = by_provider[provider]
        told = attributes(call)
        assert call.name == f"chat {model}"
        assert call.kind is SpanKind.CLIENT
        assert told[names.OPERATION_NAME] == "chat"
        assert told[names.REQUEST_MODEL] == model
        assert f"{provider}/{told[names.RESPONSE_MODEL]}" == ballot.served_model
        assert told[names.USAGE_INPUT] == ballot.usage.total_input > 0
        assert told[names.USAGE_OUTPUT] == ballot.usage.output > 0
        assert told[names.RESPONSE_FINISH_REASONS] == ("stop",)
        assert told[names.RESPONSE_ID]
        assert call.status.status_code is StatusCode.UNSET


async def test_a_retried_call_is_one_span_that_tells_of_the_failed_attempt(
    tmp_path: Path, loopback_env: LoopbackProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consensus.models.retry.sleep", lambda _: asyncio.sleep(0))
    failed: list[object] = []

    def once(asked: object) -> Wire | None:
        if "haiku" in str(getattr(asked, "model", "")) and not failed:
            failed.append(asked)
            return Wire(status=529, error_message=SECRET)
        return None

    loopback_env.set_script(once)
    watched = Watched()
    policy = policy_file(tmp_path, "", head=WIRE)
    async with Engine(policy, ledger=False, telemetry=watched.telemetry) as engine:
        await engine.decide(REFUND)
    (call,) = (c for c in watched.calls() if attributes(c)[names.PROVIDER_NAME] == "anthropic")
    (event,) = call.events
    assert event.name == "consensus.attempt.failed"
    assert (event.attributes or {})[names.ERROR_TYPE] == "overloaded"
    assert call.status.status_code is StatusCode.UNSET
    assert attributes(call)["consensus.attempts"] == 2
    model = "anthropic/claude-haiku-5-5"
    assert watched.count("attempts_total", model=model, purpose="ballot", failure="overloaded") == 1
    assert SECRET not in watched.everything()


async def test_a_call_that_fails_has_its_class_as_error_type_and_no_words(tmp_path: Path) -> None:
    watched = Watched()

    def broken(request: Request) -> Reply:
        if request.model == "scripted/a":
            raise ValueError(SECRET)
        return Reply(failure="auth")

    engine, _ = engine_of(tmp_path, ROWS, broken, telemetry=watched.telemetry)
    async with engine:
        await engine.decide(REFUND)
    types = {attributes(call)[names.ERROR_TYPE] for call in watched.calls()}
    assert types == {"malformed_response", "auth"}
    assert all(call.status.status_code is StatusCode.ERROR for call in watched.calls())
    assert all(call.status.description is None for call in watched.calls())
    assert watched.root().status.status_code is StatusCode.UNSET
    assert watched.count("failures_total", type="refund", failure="auth") >= 1
    assert "Zzyzx" not in watched.everything()


async def test_no_judged_text_and_no_key_is_written(
    tmp_path: Path, loopback_env: LoopbackProvider
) -> None:
    watched = Watched()
    policy = policy_file(tmp_path, "", head=WIRE)
    async with Engine(policy, ledger=False, telemetry=watched.telemetry) as engine:
        await engine.decide(REFUND)
    written = watched.everything()
    assert len(watched.spans) == 3
    for secret in ("Zzyzx", "violin", "sk-ant-loopback", "sk-loopback"):
        assert secret not in written


async def test_content_is_written_where_it_was_asked_for(tmp_path: Path) -> None:
    watched = Watched(content=True)
    engine, _ = engine_of(tmp_path, ROWS, lambda _: "approve", telemetry=watched.telemetry)
    async with engine:
        await engine.decide(REFUND)
    told = attributes(watched.calls()[0])
    (asked,) = json.loads(told[names.INPUT_MESSAGES])
    (said,) = json.loads(told[names.OUTPUT_MESSAGES])
    assert asked["role"] == "user"
    assert SECRET in asked["parts"][0]["content"]
    assert (said["role"], said["finish_reason"]) == ("assistant", "stop")
    assert json.loads(told[names.SYSTEM_INSTRUCTIONS])[0]["type"] == "text"


@pytest.mark.parametrize(
    ("said", "content"), [("", False), ("false", False), ("event_only", False), ("True", True)]
)
def test_the_conventions_variable_opts_in(
    said: str, content: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(names.CAPTURE_CONTENT, said)
    assert Telemetry().content is content


async def test_tokens_and_durations_are_measured_under_the_conventions_names(
    tmp_path: Path,
) -> None:
    watched = Watched()
    engine, _ = engine_of(tmp_path, ROWS, lambda _: "approve", telemetry=watched.telemetry)
    async with engine:
        decision = await engine.decide(REFUND)
    tokens = watched.points("gen_ai.client.token.usage")
    sums = {"input": 0.0, "output": 0.0}
    for point in tokens:
        sums[str((point.attributes or {})["gen_ai.token.type"])] += point.sum
    assert sums == {"input": decision.usage.total_input, "output": decision.usage.output}
    durations = watched.points("gen_ai.client.operation.duration")
    assert sum(point.count for point in durations) == 3
    assert tuple(durations[0].explicit_bounds) == names.DURATION_BUCKETS_S
    (whole,) = watched.points("gen_ai.workflow.duration")
    assert whole.count == 1


async def test_an_answer_from_the_tape_is_marked_and_not_counted_again(tmp_path: Path) -> None:
    tape = tmp_path / "tape.jsonl"
    for turn in range(2):
        watched = Watched()
        engine, _ = engine_of(
            tmp_path, ROWS, lambda _: "approve", telemetry=watched.telemetry, tape=tape
        )
        async with engine:
            await engine.decide(REFUND)
        replayed = [attributes(call).get("consensus.replayed", False) for call in watched.calls()]
        assert replayed == [bool(turn)] * 3
        counted = sum(point.sum for point in watched.points("gen_ai.client.token.usage"))
        assert (counted > 0) is (turn == 0)


async def test_decisions_at_once_do_not_mix_their_traces(tmp_path: Path) -> None:
    watched = Watched()
    engine, _ = engine_of(
        tmp_path, ROWS, lambda _: Reply("approve", latency_s=0.01), telemetry=watched.telemetry
    )
    async with engine:
        await asyncio.gather(*(engine.decide(REFUND) for _ in range(5)))
    roots = {s.context.trace_id: s for s in watched.spans if s.parent is None and s.context}
    assert len(roots) == 5
    for call in watched.calls():
        assert call.context is not None
        own = attributes(roots[call.context.trace_id])["consensus.decision.id"]
        assert attributes(call)["consensus.decision.id"] == own


async def test_a_cancelled_decision_ends_its_spans_as_cancelled(tmp_path: Path) -> None:
    watched = Watched()
    engine, _ = engine_of(
        tmp_path, ROWS, lambda _: Reply("approve", latency_s=30.0), telemetry=watched.telemetry
    )
    async with engine:
        deciding = asyncio.ensure_future(engine.decide(REFUND))
        await asyncio.sleep(0.05)
        deciding.cancel()
        await asyncio.gather(deciding, return_exceptions=True)
    assert {attributes(span)[names.ERROR_TYPE] for span in watched.spans} == {"cancelled"}
    assert watched.count("errors_total", type="refund", error="cancelled") == 1
    assert watched.count("decisions_in_flight") == 0


async def test_a_task_that_does_not_fit_its_row_is_a_refusal(tmp_path: Path) -> None:
    watched = Watched()
    engine, _ = engine_of(
        tmp_path,
        '[tasks.refund]\nkind = "score"\nscale = [0, 1]\n',
        lambda _: "approve",
        telemetry=watched.telemetry,
    )
    async with engine:
        with pytest.raises(TaskError):
            await engine.decide(REFUND)
    assert watched.count("refusals_total", type="refund") == 1
    assert attributes(watched.root())[names.ERROR_TYPE] == "TaskError"


async def test_without_an_sdk_no_span_is_made_and_calls_are_not_watched(tmp_path: Path) -> None:
    assert not isinstance(get_tracer_provider(), TracerProvider)
    telemetry = Telemetry()
    with telemetry.decision("refund", "approve", "id") as watch:
        assert watch.observer is None
    with pytest.raises(MissingExtraError, match="keeps no Prometheus metrics"):
        telemetry.metrics_text()


async def test_a_shadow_is_in_the_trace_of_its_own_decision_and_its_calls_are_counted(
    tmp_path: Path,
) -> None:
    watched = Watched()
    rows = ROWS.replace(
        'escalate_to = ["frontier"]', 'shadow = { share = 1.0, route = "frontier" }'
    )
    engine, _ = engine_of(
        tmp_path,
        rows,
        {"scripted/a": "approve", "scripted/b": "approve", "scripted/f": "approve"},
        telemetry=watched.telemetry,
        ledger=tmp_path / "l.db",
    )
    async with engine:
        # More than may run at once, so that some are started by those that end.
        await asyncio.gather(*(engine.decide(REFUND) for _ in range(20)))
    roots = {span.context.trace_id for span in watched.spans if span.parent is None if span.context}
    shadows = [one for one in watched.calls() if attributes(one)["consensus.purpose"] == "shadow"]
    assert len(roots) == 20
    assert len(shadows) == 20
    assert {one.context.trace_id for one in shadows if one.context} == roots
    assert SECRET not in watched.everything()
    assert 'purpose="shadow"} 20.0' in watched.telemetry.metrics_text()
