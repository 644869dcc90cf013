"""The counters' text, and what keeps their number bounded."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from consensus.ballots import Cost, Usage
from consensus.decisions import Decision
from consensus.errors import MissingExtraError
from consensus.ledger.watch.metrics import WatchMetrics
from consensus.models.protocol import CallRecord
from consensus.server.metrics import ServerMetrics
from consensus.telemetry.metrics import MOST_TYPES, Metrics


def decision(task_type: str = "refund") -> Decision:
    return Decision(
        action="escalate",
        task_type=task_type,
        kind="approve",
        route=("small", "frontier"),
        cost=Cost(pico_usd=2_500_000_000),
        latency_s=0.3,
    )


def test_the_text_is_what_prometheus_parses() -> None:
    metrics = Metrics()
    metrics.decided(decision())
    families = {family.name: family for family in text_string_to_metric_families(metrics.text())}
    sample = next(
        s for s in families["consensus_decisions"].samples if s.name == "consensus_decisions_total"
    )
    assert sample.labels == {"type": "refund", "action": "escalate", "route": "small > frontier"}
    assert sample.value == 1.0
    assert families["consensus_cost_usd"].samples[0].value == 0.0025
    to = {sample.labels["to"] for sample in families["consensus_escalations"].samples}
    assert to == {"tier", "person"}


def test_types_that_callers_invent_make_a_bounded_number_of_series() -> None:
    metrics = Metrics()
    for n in range(MOST_TYPES + 50):
        metrics.decided(decision(f"type-{n}"))
    value = metrics.registry.get_sample_value(
        "consensus_decisions_total",
        {"type": "_other", "action": "escalate", "route": "small > frontier"},
    )
    assert value == 50


def test_two_registries_share_no_counts() -> None:
    one, other = Metrics(), Metrics()
    one.decided(decision())
    assert "small > frontier" not in other.text()


def test_what_was_paid_for_earlier_is_not_counted_again() -> None:
    metrics = Metrics()
    call = CallRecord("c", "d", 0, "ballot", 1, "openai/gpt-5.4", "k", 0.0, usage=Usage(input=7))
    metrics.called([call])
    call.replayed = True
    metrics.called([call])
    labels = {"model": "openai/gpt-5.4", "kind": "input"}
    assert metrics.registry.get_sample_value("consensus_tokens_total", labels) == 7


@pytest.mark.parametrize(
    ("made", "extra"),
    [
        (Metrics, "metrics"),
        (ServerMetrics, "serve"),
        (lambda: WatchMetrics(CollectorRegistry()), "metrics"),
    ],
    ids=["engine", "server", "watch"],
)
def test_without_the_package_the_extra_that_brings_it_is_named(
    made: Callable[[], object], extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consensus.telemetry._prometheus.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=rf"consensus-engine\[{extra}\]"):
        made()
