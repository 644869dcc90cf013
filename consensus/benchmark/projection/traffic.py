"""Expected traffic, and what may be asked of it: other volumes, other prices, other caching."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from consensus.errors import DeclarationError
from consensus.policy.audit.model import Audit, AuditTask

__all__ = ["Flow", "WhatIf", "parse_what_if", "traffic_of"]

TIMES = re.compile(r"(?:[x×*]\s*(?P<a>\d+(?:\.\d+)?)|(?P<b>\d+(?:\.\d+)?)\s*[x×*])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Flow:
    """One task type's traffic.

    Attributes:
        group: what it is summed under: the audit's complexity, or the route's first tier.
        monthly: requests a month.
        input_p50, input_p95, output_p50, output_p95: tokens of one call; None where nobody said.
        latency_s: the 95th percentile that is asked for, in seconds; None where it does not matter.
    """

    task_type: str
    group: str
    owner: str
    monthly: float
    input_p50: float | None = None
    input_p95: float | None = None
    output_p50: float | None = None
    output_p95: float | None = None
    latency_s: float | None = None

    @property
    def stretch(self) -> tuple[float, float]:
        """How much longer a long request is than a usual one: input, output."""
        return _over(self.input_p95, self.input_p50), _over(self.output_p95, self.output_p50)


@dataclass(frozen=True, slots=True)
class WhatIf:
    """What is assumed to be otherwise.

    Attributes:
        factor: times the volume of every task type.
        volumes: task type → requests a month in place of the expected ones.
        prices: model → $ per million tokens in, out.
        cached: share of the input tokens that a prompt cache serves.
    """

    factor: float = 1.0
    volumes: Mapping[str, float] = field(default_factory=dict)
    prices: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    cached: float | None = None

    def __bool__(self) -> bool:
        return bool(self.factor != 1 or self.volumes or self.prices or self.cached is not None)

    def words(self) -> tuple[str, ...]:
        """Each assumption in a few words."""
        said = [f"volume × {self.factor:g}"] if self.factor != 1 else []
        said += [f"{name}: {count:,.0f} a month" for name, count in self.volumes.items()]
        said += [
            f"{model}: ${given:g} in, ${got:g} out per million tokens"
            for model, (given, got) in self.prices.items()
        ]
        if self.cached is not None:
            said.append(f"{100 * self.cached:g} % of the input read from a cache")
        return tuple(said)

    def apply(self, flows: Iterable[Flow]) -> tuple[Flow, ...]:
        """The traffic as it would then be.

        Raises:
            DeclarationError: a volume for a task type that has no traffic line.
        """
        kept = tuple(flows)
        names = {flow.task_type for flow in kept}
        for name in self.volumes:
            if name not in names:
                raise DeclarationError(
                    f'no task type "{name}"', where="--volume", fix=f"one of {_some(names)}"
                )
        return tuple(
            replace(
                flow,
                monthly=self.volumes.get(flow.task_type, flow.monthly * self.factor),
            )
            for flow in kept
        )


def traffic_of(audit: Audit) -> tuple[Flow, ...]:
    """The audit's task types as traffic, in its own order."""
    return tuple(_flow(name, task) for name, task in audit.tasks.items())


def parse_what_if(
    volumes: Sequence[str] = (), prices: Sequence[str] = (), cached: float | None = None
) -> WhatIf:
    """Read the command line's words: ``x2``, ``×0.5``, ``TYPE=N``; ``MODEL=in,out``.

    Raises:
        DeclarationError: a word that is none of these.
    """
    factor = 1.0
    counts: dict[str, float] = {}
    for text in volumes:
        match = TIMES.fullmatch(text.strip())
        name, equals, number = text.rpartition("=")
        if match is not None:
            factor *= float(match["a"] or match["b"])
        elif equals and name and (value := _number(number)) is not None:
            counts[name.strip()] = value
        else:
            raise DeclarationError(
                f"{text!r} is no volume", where="--volume", fix="x2 for all, or TYPE=20000 a month"
            )
    listed: dict[str, tuple[float, float]] = {}
    for text in prices:
        model, equals, pair = text.rpartition("=")
        parts = [_number(part) for part in pair.split(",")]
        if not equals or not model or len(parts) != 2 or None in parts:
            raise DeclarationError(
                f"{text!r} is no price",
                where="--price",
                fix="MODEL=IN,OUT in $ per million tokens, such as openai/gpt-5.4-nano=0.1,0.4",
            )
        listed[model.strip()] = (parts[0] or 0.0, parts[1] or 0.0)
    if cached is not None and not 0 <= cached <= 1:
        raise DeclarationError(
            f"{cached:g} is no share", where="--cached", fix="a number from 0 to 1"
        )
    return WhatIf(factor, counts, listed, cached)


def _flow(name: str, task: AuditTask) -> Flow:
    return Flow(
        task_type=name,
        group=task.complexity,
        owner=task.owner,
        monthly=task.monthly_volume,
        input_p50=task.input_tokens.p50,
        input_p95=task.input_tokens.p95,
        output_p50=task.output_tokens.p50,
        output_p95=task.output_tokens.p95,
        latency_s=None if task.latency is None else task.latency.p95_s,
    )


def _number(text: str) -> float | None:
    try:
        value = float(text.strip().replace("_", ""))
    except ValueError:
        return None
    return value if 0 <= value < 1e15 else None


def _over(top: float | None, middle: float | None) -> float:
    return max(1.0, top / middle) if top and middle else 1.0


def _some(names: Iterable[str], most: int = 8) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(ordered[:most]) + more
