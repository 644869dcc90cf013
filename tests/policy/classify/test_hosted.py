"""Classifiers on a provider's vectors, over the wire: trained, served, paid for, and abstaining."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path

import pytest

from consensus.ballots import PICO
from consensus.engine import Engine
from consensus.errors import BudgetError
from consensus.models.context import CallContext
from consensus.models.factory import ClientFactory
from consensus.models.gateway import Gateway
from consensus.models.prices import PriceBook
from consensus.models.protocol import Budget, Deadline
from consensus.policy.check import check
from consensus.policy.classify.embedding import Embedded, embed_all
from consensus.policy.classify.linear import Classifier
from consensus.policy.classify.training import train
from consensus.policy.load import load_policy
from consensus.tasks import Choose
from tests.loopback.embeddings import vector
from tests.loopback.server import LoopbackProvider
from tests.policy.classify.test_training import cases

MODEL = "openai/text-embedding-3-small"
POLICY = """
version = 1
[tiers]
small = ["openai/gpt-5.4-nano"]
[defaults]
strategy = "single"
tier = "small"
[classifier]
kind = "embedding"
file = "classifier.json"
"""


@pytest.fixture
async def provider(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LoopbackProvider]:
    async with LoopbackProvider() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


async def vectors(model: str, texts: tuple[str, ...], cap: int | None = None) -> Embedded:
    prices = PriceBook()
    gateway = Gateway(ClientFactory({}, prices), prices)
    context = CallContext(decision_id="x", budget=Budget(cap), deadline=Deadline(None))
    try:
        return await embed_all(gateway, model, texts, context)
    finally:
        await gateway.aclose()


@cache
def trained() -> Classifier:
    """On the vectors that the provider gives, without asking it for every text again."""
    shown = cases(90)
    embedded = Embedded(tuple(map(vector, shown.texts)), MODEL, (0.01,) * 90)
    return train(shown, kind="embedding", embedder=MODEL, embedded=embedded)


def rows(made: Classifier) -> str:
    return POLICY + "".join(f'[tasks.{name}]\nkind = "choose"\n' for name in made.classes)


async def test_a_providers_vectors_train_a_classifier_whose_price_a_query_is_measured(
    provider: LoopbackProvider,
) -> None:
    shown = cases(90)
    embedded = await vectors(MODEL, shown.texts)
    made = train(shown, kind="embedding", embedder=MODEL, embedded=embedded)
    tokens = sum(entry.input for entry in provider.requests)
    assert made.data.served == MODEL
    assert made.data.trained.usd_per_query == pytest.approx(tokens * 0.02 / 1e6 / 90)
    assert made.data.trained.accuracy > 0.9


async def test_a_decision_by_vectors_has_their_price_in_its_cost_and_names_its_class(
    provider: LoopbackProvider, tmp_path: Path
) -> None:
    made = trained()
    (tmp_path / "classifier.json").write_bytes(made.to_bytes())
    (tmp_path / "policy.toml").write_text(rows(made))
    table = load_policy(tmp_path)
    shown = cases(90)
    asked = len(provider.requests)
    async with Engine(table, ledger=tmp_path / "ledger.db") as engine:
        task = Choose(type="auto", subject=shown.texts[0], options=("a", "b"))
        decision = await engine.decide(task)
    embedded, answered = provider.requests[asked:]
    assert embedded.path == "/v1/embeddings"
    assert decision.task_type == shown.labels[0]
    assert decision.reasons[0].startswith("classifier embedding ")
    pico = embedded.input * 20_000
    assert decision.cost.pico_usd == pico + sum(b.cost.pico_usd for b in decision.ballots)
    assert answered.path == "/v1/chat/completions"


async def test_vectors_of_another_model_than_the_trainings_name_no_class(
    provider: LoopbackProvider, tmp_path: Path
) -> None:
    made = trained()
    (tmp_path / "classifier.json").write_bytes(made.to_bytes())
    (tmp_path / "policy.toml").write_text(rows(made))
    provider.script.served["text-embedding-3-small"] = "text-embedding-3-large"
    async with Engine(load_policy(tmp_path), ledger=False) as engine:
        decision = await engine.decide(
            Choose(type="auto", subject=cases(90).texts[0], options=("a", "b"))
        )
    assert decision.task_type == "auto"
    assert "trained on openai/text-embedding-3-small" in decision.reasons[0]


async def test_an_embedder_that_fails_leaves_the_default_row(
    provider: LoopbackProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = trained()
    other = made.data.model_copy(update={"embedder": "local/gone"})
    (tmp_path / "classifier.json").write_bytes(Classifier(other).to_bytes())
    (tmp_path / "policy.toml").write_text(rows(made))
    async with Engine(load_policy(tmp_path), ledger=False) as engine:
        decision = await engine.decide(
            Choose(type="auto", subject=cases(90).texts[0], options=("a", "b"))
        )
    assert decision.action == "act"
    assert "no class (local/gone: not_found)" in decision.reasons[0]


async def test_a_budget_ends_the_embedding_before_it_is_passed(provider: LoopbackProvider) -> None:
    with pytest.raises(BudgetError):
        await vectors(MODEL, cases(90).texts, cap=PICO // 10**5)
    spent = sum(entry.input for entry in provider.requests) * 20_000
    assert 0 < spent <= PICO // 10**5


def test_policy_check_finds_an_embedder_without_a_price(tmp_path: Path) -> None:
    made = trained()
    other = made.data.model_copy(update={"embedder": "openai/in-house-embeddings"})
    (tmp_path / "classifier.json").write_bytes(Classifier(other).to_bytes())
    (tmp_path / "policy.toml").write_text(rows(made))
    found = check(load_policy(tmp_path, strict=False))
    (finding,) = [one for one in found if "in-house-embeddings" in one.message]
    assert (finding.level, finding.line) == ("error", 10)


def test_policy_check_finds_an_embedder_that_nobody_installed(tmp_path: Path) -> None:
    made = trained()
    other = made.data.model_copy(update={"embedder": "mine:x"})
    (tmp_path / "classifier.json").write_bytes(Classifier(other).to_bytes())
    (tmp_path / "policy.toml").write_text(rows(made))
    found = check(load_policy(tmp_path, strict=False))
    assert any("mine:x" in one.message and "not installed" in one.message for one in found)
