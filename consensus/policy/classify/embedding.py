"""Whose vectors a classifier of kind ``embedding`` sees, and how they are got.

A name with a provider, as a tier has them (``local/all-minilm-l6-v2``,
``openai/text-embedding-3-small``), is a model: it is called through the gateway like any other,
with its limits, its price and its record. ``PROVIDER:WHAT`` is an embedder of somebody else's, by
the entry point group ``consensus.embedders`` (a callable of what stands after the colon that
returns an :class:`Embedder`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol

from consensus.errors import ConsensusError, DataError, PolicyError
from consensus.models.embedding import embedding_request, vector_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from consensus.models.context import CallContext
    from consensus.panel.asking import Caller

__all__ = [
    "ENTRY_POINTS",
    "Embedded",
    "Embedder",
    "Vector",
    "embed_all",
    "embed_aside",
    "embed_one",
    "embed_plainly",
    "embedder_of",
    "is_installed",
    "is_model",
]

ENTRY_POINTS = "consensus.embedders"

Vector = Sequence[float]


class Embedder(Protocol):
    """Makes vectors of texts."""

    def embed(self, texts: Sequence[str]) -> Sequence[Vector]:
        """One vector a text, of length one, all of the same dimension."""
        ...


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors of many texts, and what they took.

    Attributes:
        served: the model that made them; None of an embedder that is no model.
        seconds: of each text, one after another.
        cost_pico: of all of them, in pico-dollars.
        cpu_s: processor seconds of this process for one text, on average.
    """

    vectors: tuple[Vector, ...]
    served: str | None = None
    seconds: tuple[float, ...] = ()
    cost_pico: int = 0
    cpu_s: float = 0.0


def is_model(name: str) -> bool:
    """Whether an embedder's name is that of a model, to be called through the gateway."""
    return "/" in name.partition(":")[0]


def is_installed(name: str) -> bool:
    """Whether somebody has registered an embedder that is no model; nothing is loaded."""
    return bool(tuple(entry_points(group=ENTRY_POINTS, name=name.partition(":")[0])))


@lru_cache(maxsize=4)
def embedder_of(name: str) -> Embedder:
    """The embedder of this name, loaded once a process.

    Raises:
        PolicyError: nobody has registered it.
    """
    provider, _, what = name.partition(":")
    for point in entry_points(group=ENTRY_POINTS, name=provider):
        make: Callable[[str], Embedder] = point.load()
        return make(what)
    raise PolicyError(
        f'no embedder "{provider}" is installed',
        where="classifier",
        fix="name a model (local/all-minilm-l6-v2, openai/text-embedding-3-small), or install a "
        f'package with an entry point "{provider}" in the group {ENTRY_POINTS}',
    )


async def embed_one(
    gateway: Caller, model: str, text: str, context: CallContext
) -> tuple[Vector, str, int]:
    """The vector of one text, the model that was served, and what was paid in pico-dollars.

    Raises:
        RunError: the model did not answer, or with something else than a vector.
    """
    context = replace(context, purpose="classify", fallbacks=())
    completion, records = await gateway.call(embedding_request(model, text), context)
    cost = sum(record.cost_pico for record in records)
    try:
        return vector_of(completion), completion.served_model, cost
    except ConsensusError as error:
        error.calls = records
        raise


async def embed_all(
    gateway: Caller, model: str, texts: Sequence[str], context: CallContext
) -> Embedded:
    """The vectors of many texts, asked one after another so that each one's time is its own.

    Raises:
        RunError: the model did not answer, or with something else than a vector.
        DataError: two answers came from different models, or have different dimensions.
    """
    vectors: list[Vector] = []
    seconds: list[float] = []
    served: set[str] = set()
    cost = 0
    began_cpu = time.process_time()
    for text in texts:
        began = time.perf_counter()
        vector, by, paid = await embed_one(gateway, model, text, context)
        seconds.append(time.perf_counter() - began)
        vectors.append(vector)
        served.add(by)
        cost += paid
    if len(served) != 1 or len({len(vector) for vector in vectors}) != 1:
        raise DataError(
            f"{model} was served by {', '.join(sorted(served)) or 'nobody'}: vectors of different "
            "models do not go together",
            fix="name a version of the model that stays",
        )
    cpu = (time.process_time() - began_cpu) / len(texts)
    return Embedded(tuple(vectors), served.pop(), tuple(seconds), cost, cpu)


def embed_plainly(name: str, texts: Sequence[str]) -> Embedded:
    """The vectors of an embedder that is no model.

    Raises:
        PolicyError: nobody has registered it.
        DataError: it is a model, which needs a gateway.
    """
    if is_model(name):
        raise DataError(f"{name} is a model and is asked through the gateway")
    embedder = embedder_of(name)
    vectors, seconds = [], []
    began_cpu = time.process_time()
    for text in texts:
        began = time.perf_counter()
        vectors.append(tuple(map(float, embedder.embed([text])[0])))
        seconds.append(time.perf_counter() - began)
    cpu = (time.process_time() - began_cpu) / max(len(texts), 1)
    return Embedded(tuple(vectors), None, tuple(seconds), 0, cpu)


async def embed_aside(name: str, text: str) -> Vector:
    """The vector of an embedder that is no model, made in a thread: it may compute for long."""
    return (await asyncio.to_thread(embedder_of(name).embed, [text]))[0]
