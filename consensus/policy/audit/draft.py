"""The text of a new audit: comments that teach, and what is known already filled in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from consensus.policy.audit.model import Lengths
from consensus.policy.rows import Consequence, TaskRow
from consensus.policy.table import PolicyTable
from consensus.policy.toml_text import quoted
from consensus.tasks import Kind

__all__ = ["Known", "audit_text", "from_policy", "merge"]

HEAD = """\
#:schema ./strategies/audit.schema.json
# The audit: what this product asks of models. Write it before any routing, review it like code.
#
#   consensus audit check      what is missing, contradicts itself, or only repeats itself
#   consensus audit show       the types side by side, and what their certificates will need
#   consensus audit profile    cases to measure on, from the descriptions below
#   consensus audit ready      what is still open before the first request
#
# A table a task type:
#   description        what is asked, in a sentence or two; synthetic cases are written from it
#   owner              who answers for its quality
#   kind               approve | choose | compare | rank | score | generate
#   complexity         low | medium | high: how hard is the question?
#   consequence        low | medium | high | irreversible: how bad is a wrong answer?
#                      Two questions, never one: a one-line request can move money, and a long,
#                      hard one can be a draft that somebody reads anyway. Ask each by itself.
#   on_wrong           what happens on a wrong answer, to whom, and how it is put right
#   oracle             what an acceptable answer is, as code: [oracles.NAME] in strategies/
#   gate               an oracle without labels that must pass before anything is done with it
#   structured         true: closed set, number or schema. false: open text
#   monthly_volume     requests a month; the order of magnitude is enough
#   adversarial_share  share of inputs that try to mislead (0 to 1)
#   input_tokens, output_tokens   p50 and p95. Output is what costs, and it grows in production
#   latency            p95_s: seconds for 95 %; interactive: whether a person waits
#   categories         parts of the traffic that differ; shares sum to 1
#   criteria, options, scale, schema   what the tasks carry, as in strategies/
#   examples, sources  inputs as they really arrive, and where they come from
#   prior_data         true: real cases exist, so fewer are written
#   suite              folder of its cases, once there is one
#   floor, delta       in place of what the consequence asks for
version = 1
system = {system}
"""

EXAMPLE = """\

[tasks.refund_approval]
description = "May this refund be paid without a person looking at it?"
owner = "payments"
kind = "approve"
complexity = "low"                # two rules and a date
consequence = "high"              # and yet it moves money
on_wrong = "Money is paid out wrongly. Found at the monthly reconciliation, rarely recovered."
oracle = "refund_label"           # declare [oracles.refund_label] in strategies/: kind = "exact"
# gate = "refund_rules"           # code that needs no label, such as: amount below the limit
structured = true
monthly_volume = 40_000
adversarial_share = 0.03
input_tokens = { p50 = 300, p95 = 900 }
output_tokens = { p50 = 120, p95 = 300 }
latency = { p95_s = 20, interactive = false }
criteria = "Refund if the item is unused and was bought within the last 30 days."
examples = ["Order of 12 days ago: a kettle, still sealed. The customer changed her mind."]
sources = ["the returns form"]

[tasks.refund_approval.categories]
unused = { share = 0.6, description = "unused, within or after the 30 days" }
used = { share = 0.3, description = "used, worn or opened" }
damaged = { share = 0.1, description = "damaged on arrival" }
"""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a task type already; None where it is not.

    Attributes:
        source: where it is known from, for a comment.
        monthly_volume: requests in thirty days.
    """

    name: str
    source: str
    kind: Kind | None = None
    description: str = ""
    owner: str = ""
    consequence: Consequence | None = None
    oracle: str = ""
    gate: str | None = None
    criteria: str | None = None
    options: tuple[str, ...] | None = None
    scale: tuple[float, ...] | None = None
    monthly_volume: int | None = None
    input_tokens: Lengths | None = None
    output_tokens: Lengths | None = None


def from_policy(table: PolicyTable) -> tuple[Known, ...]:
    """What the rows of a policy say of their task types, in the table's order."""
    return tuple(_row(table, name, row) for name, row in table.tasks.items())


def _row(table: PolicyTable, name: str, row: TaskRow) -> Known:
    place = table.place("tasks", name)
    return Known(
        name,
        str(place) if place is not None else "the policy",
        kind=row.kind,
        description=row.description or "",
        owner=row.owner or "",
        consequence=row.consequence or table.defaults.consequence,
        oracle=row.oracle or "",
        gate=row.gate,
        criteria=row.criteria,
        options=row.options,
        scale=row.scale,
        input_tokens=_typical(row.expected_input_tokens),
        output_tokens=_typical(row.expected_output_tokens),
    )


def _typical(tokens: int | None) -> Lengths | None:
    """A row knows one number: three times it is a usual p95 of texts."""
    return None if tokens is None else Lengths(p50=tokens, p95=3 * tokens)


def merge(sources: Iterable[Sequence[Known]]) -> list[Known]:
    """One entry a task type: what an earlier source says holds, later ones fill the gaps."""
    merged: dict[str, Known] = {}
    for source in sources:
        for known in source:
            first = merged.get(known.name)
            merged[known.name] = known if first is None else _filled(first, known)
    return list(merged.values())


def _filled(first: Known, other: Known) -> Known:
    fields = {}
    for name in Known.__dataclass_fields__:
        value = getattr(first, name)
        fields[name] = getattr(other, name) if value is None or value == "" else value
    # what was observed is nearer to the truth than what a row expects
    for name in ("monthly_volume", "input_tokens", "output_tokens"):
        fields[name] = getattr(other, name) or fields[name]
    fields["source"] = f"{first.source}, {other.source}"
    return Known(**fields)


def audit_text(known: Sequence[Known] = (), *, system: str = "") -> str:
    """A commented audit of what is known; of one worked example where nothing is."""
    head = HEAD.format(system=quoted(system))
    if not known:
        return head + EXAMPLE
    return head + "".join(_task_text(each) for each in known)


def _task_text(known: Known) -> str:
    ask = "  # asked of nobody yet"
    kind = known.kind or "choose"
    lines = [
        "",
        f"[tasks.{known.name}]" if _bare(known.name) else f"[tasks.{quoted(known.name)}]",
        f"# known from {known.source}",
        f"description = {quoted(known.description)}",
        f"owner = {quoted(known.owner)}",
        f"kind = {quoted(kind)}" + ("" if known.kind else "  # guessed"),
        f'complexity = "medium"{ask}',
        f"consequence = {quoted(known.consequence or 'medium')}"
        + ("" if known.consequence else ask),
        'on_wrong = ""',
        f"oracle = {quoted(known.oracle)}",
    ]
    if known.gate is not None:
        lines.append(f"gate = {quoted(known.gate)}")
    lines += [
        f"structured = {'false' if kind == 'generate' else 'true'}",
        f"monthly_volume = {known.monthly_volume or 0}",
        "adversarial_share = 0.0",
        _lengths("input_tokens", known.input_tokens, 800),
        _lengths("output_tokens", known.output_tokens, 200),
        "# latency = { p95_s = 20, interactive = false }",
    ]
    if known.criteria is not None:
        lines.append(f"criteria = {quoted(known.criteria)}")
    if known.options is not None:
        lines.append(f"options = [{', '.join(map(quoted, known.options))}]")
    if known.scale is not None:
        lines.append(f"scale = [{', '.join(repr(float(end)) for end in known.scale)}]")
    return "\n".join(lines) + "\n"


def _lengths(name: str, known: Lengths | None, usual: int) -> str:
    if known is None:
        return f"{name} = {{ p50 = {usual}, p95 = {3 * usual} }}  # a guess"
    return f"{name} = {{ p50 = {known.p50}, p95 = {known.p95} }}"


def _bare(name: str) -> bool:
    return name.replace("_", "").replace("-", "").isalnum() and name.isascii()
