"""A classifier on vectors that somebody else makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest

from consensus.errors import DataError, PolicyError
from consensus.policy.classify import embedding
from consensus.policy.classify.measuring import measure
from consensus.policy.classify.training import train
from tests.policy.classify.test_training import WORDS, cases


class CountsWords:
    """Three dimensions: how many words of each subject a text has."""

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        return [
            [float(sum(word in known for word in text.split())) for known in WORDS.values()]
            for text in texts
        ]


class Point:
    def load(self) -> Callable[[str], CountsWords]:
        return lambda _what: CountsWords()


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def points(*, group: str, name: str) -> list[Point]:
        return [Point()] if (group, name) == ("consensus.embedders", "counts") else []

    embedding.embedder_of.cache_clear()
    monkeypatch.setattr(embedding, "entry_points", points)
    yield
    embedding.embedder_of.cache_clear()


@pytest.mark.usefixtures("installed")
def test_a_classifier_on_vectors_is_trained_and_served() -> None:
    made = train(cases(90), kind="embedding", embedder="counts:any")
    assert (made.data.vocabulary, made.data.embedder) == ((), "counts:any")
    assert measure(made, cases(60, seed=4)).accuracy > 0.95


@pytest.mark.usefixtures("installed")
def test_an_embedder_that_nobody_installed_is_named_with_the_fix() -> None:
    with pytest.raises(PolicyError, match=r'no embedder "gone" .*consensus\.embedders'):
        train(cases(90), kind="embedding", embedder="gone:x")


def test_a_classifier_on_vectors_needs_an_embedder() -> None:
    with pytest.raises(DataError, match="needs an embedder"):
        train(cases(90), kind="embedding")
