"""What a run will take, before anything is asked: calls, tokens, money, time.

Input tokens are bytes over four (English; other scripts take more). Output tokens and latency are
those that this folder's own answers of the model show, where it has any; else usual numbers, marked
as assumed. Repairs of unreadable answers and retries are not in it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from consensus.ballots import PICO, Usage
from consensus.benchmark.judging import describe_task
from consensus.benchmark.paid import PaidAnswers
from consensus.benchmark.plan import Job
from consensus.benchmark.suites import Suite
from consensus.models.factory import ProviderSettings, provider_of
from consensus.models.hashing import request_key
from consensus.models.prices import PriceBook
from consensus.models.protocol import Request
from consensus.oracles import Rubric
from consensus.panel.answers import is_token_ballot
from consensus.panel.book import PromptBook
from consensus.panel.rendering import render
from consensus.policy.estimate import GRADE_TOKENS
from consensus.policy.route import BYTES_PER_TOKEN, expected_output
from consensus.policy.rows import TaskRow
from consensus.policy.table import PolicyTable

__all__ = [
    "LATENCY_S",
    "LOCAL_IN_PER_S",
    "LOCAL_OUT_PER_S",
    "ModelEstimate",
    "RunEstimate",
    "estimate_run",
]

LATENCY_S = 5.0
"""Seconds of a hosted model's answer, where none is known."""

LOCAL_IN_PER_S, LOCAL_OUT_PER_S = 150.0, 12.0
"""Tokens a second of a small model on a few CPU cores, where nothing is known."""


@dataclass(slots=True)
class ModelEstimate:
    """One model's share of a run.

    Attributes:
        role: ``answers``, or ``grades`` for the model of a rubric.
        wanted: answers that the plan wants; ``known`` of them are there already.
        calls: to be made: equal requests are made once.
        input_tokens, output_tokens: of those calls.
        usd: their price; worst_usd: with every answer as long as it is allowed to be.
        seconds: within the provider's limits, the models of one provider after one another.
        assumed: whether output and latency are assumed and not measured in this folder.
    """

    model: str
    role: str = "answers"
    wanted: int = 0
    known: int = 0
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float = 0.0
    worst_usd: float = 0.0
    seconds: float = 0.0
    assumed: bool = True


@dataclass(slots=True)
class RunEstimate:
    """A run's calls, money and time. Providers work side by side, so times are not added."""

    models: list[ModelEstimate] = field(default_factory=list)
    usd: float = 0.0
    worst_usd: float = 0.0
    seconds: float = 0.0
    spent_usd: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        from dataclasses import asdict

        return {**asdict(self), "calls": sum(model.calls for model in self.models)}


@dataclass(slots=True)
class _Seen:
    """What this folder's answers of one model show."""

    answers: int = 0
    output: int = 0
    latency_s: float = 0.0


def estimate_run(
    suite: Suite,
    jobs: Sequence[Job],
    *,
    book: PromptBook,
    prices: PriceBook,
    table: PolicyTable,
    paid: PaidAnswers | None = None,
    concurrency: int = 100,
) -> RunEstimate:
    """Estimate what is left to do.

    Args:
        suite, jobs, book: what is asked of whom.
        prices: of all models.
        table: the providers' limits; rows' expected output lengths.
        paid: the run folder, where it exists.
        concurrency: jobs under way at once for each provider.
    """
    models: dict[tuple[str, str], ModelEstimate] = {}
    pending: dict[str, dict[str, tuple[Request, int]]] = defaultdict(dict)
    seen: dict[str, _Seen] = defaultdict(_Seen)
    grading: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for job in jobs:
        own = models.setdefault(("answers", job.model), ModelEstimate(job.model))
        own.wanted += 1
        request = render(job.case.task, job.seat, book)
        key = request_key(request)
        token = is_token_ballot(job.case.task, job.seat)
        output = 2 if token else _usual_output(table, job)
        if paid is not None and paid.asked(key):
            own.known += 1
            completion = paid.tape.lookup(key)
            if completion is not None:
                seen[job.model].answers += 1
                seen[job.model].output += completion.usage.output
                seen[job.model].latency_s += completion.latency_s
            continue
        pending[job.model][key] = (request, output)
        oracle = suite.oracle(job.case)
        if isinstance(oracle, Rubric):
            size = len(describe_task(job.case.task).encode()) + len(oracle.text.encode())
            grading[oracle.grader].append((size // BYTES_PER_TOKEN + output, GRADE_TOKENS))
    for model, requests in pending.items():
        _fill(models[("answers", model)], list(requests.values()), seen[model], prices)
    for grader, calls in grading.items():
        own = models[("grades", grader)] = ModelEstimate(grader, "grades", wanted=len(calls))
        price = prices.price(grader)
        own.calls = len(calls)
        own.input_tokens = sum(size for size, _ in calls)
        own.output_tokens = sum(size for _, size in calls)
        for size, out in calls:
            own.usd += price.cost_pico(Usage(input=size, output=out)) / PICO
            own.worst_usd += price.worst_pico(size * BYTES_PER_TOKEN, 600) / PICO
    return _total(list(models.values()), seen, table, paid, concurrency)


def _usual_output(table: PolicyTable, job: Job) -> int:
    return expected_output(table.tasks.get(job.case.type) or TaskRow(), job.case.task.kind)


def _fill(
    own: ModelEstimate, requests: list[tuple[Request, int]], seen: _Seen, prices: PriceBook
) -> None:
    price = prices.price(own.model)
    own.assumed = seen.answers == 0
    for request, usual in requests:
        size = request.input_bytes()
        input_tokens = max(1, size // BYTES_PER_TOKEN)
        output = usual if own.assumed else max(1, round(seen.output / seen.answers))
        output = min(output, request.max_output_tokens)
        own.calls += 1
        own.input_tokens += input_tokens
        own.output_tokens += output
        own.usd += price.cost_pico(Usage(input=input_tokens, output=output)) / PICO
        own.worst_usd += price.worst_pico(size, request.max_output_tokens) / PICO


def _total(
    models: list[ModelEstimate],
    seen: dict[str, _Seen],
    table: PolicyTable,
    paid: PaidAnswers | None,
    concurrency: int,
) -> RunEstimate:
    settings = table.provider_settings()
    by_provider: dict[str, float] = defaultdict(float)
    for own in models:
        provider = provider_of(own.model)
        limits = settings.get(provider) or ProviderSettings()
        own.seconds = _seconds(own, seen[own.model], provider, limits, concurrency)
        by_provider[provider] += own.seconds
    return RunEstimate(
        models,
        sum(own.usd for own in models),
        sum(own.worst_usd for own in models),
        max(by_provider.values(), default=0.0),
        0.0 if paid is None else paid.spent_pico / PICO,
    )


def _seconds(
    own: ModelEstimate, seen: _Seen, provider: str, limits: ProviderSettings, concurrency: int
) -> float:
    if not own.calls:
        return 0.0
    if seen.answers:
        work = own.calls * seen.latency_s / seen.answers
    elif provider == "local":
        work = own.input_tokens / LOCAL_IN_PER_S + own.output_tokens / LOCAL_OUT_PER_S
    elif provider == "scripted":
        work = 0.0
    else:
        work = own.calls * LATENCY_S
    seconds = work / min(concurrency, limits.at_once(provider))
    if limits.requests_per_minute:
        seconds = max(seconds, 60 * own.calls / limits.requests_per_minute)
    if limits.tokens_per_minute:
        tokens = own.input_tokens + own.output_tokens
        seconds = max(seconds, 60 * tokens / limits.tokens_per_minute)
    return seconds
