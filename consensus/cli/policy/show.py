"""``consensus policy show``: which way a task type goes, why, and what it would cost."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consensus.cli._console import note, print_json, stdout
from consensus.cli.policy._shared import Json, PolicyOption, prompts_of

if TYPE_CHECKING:
    from pathlib import Path

    from consensus.models.prices import PriceBook
    from consensus.panel.book import PromptBook
    from consensus.policy.estimate import Estimate
    from consensus.policy.route import Route
    from consensus.policy.table import PolicyTable

__all__ = ["show"]


def show(
    task_type: Annotated[str, typer.Argument(metavar="TYPE", help="A task type.")],
    *,
    policy: PolicyOption = None,
    as_json: Json = False,
) -> None:
    """Show which way a task type goes and why, its panel, its guards, and what it would cost."""
    from consensus.models.prices import PriceBook
    from consensus.policy.estimate import estimate
    from consensus.policy.load import find_policy, load_policy
    from consensus.policy.route import route_type

    folder = find_policy(policy)
    book = prompts_of(folder)
    table = load_policy(folder, prompts=book)
    prices = PriceBook(overrides=table.price_overrides())
    way = route_type(table, task_type)
    cost = estimate(table, way, prices)
    report = _report(table, way, cost, prices, book)
    report["arms"] = _arms(table, way, prices, book)
    report["no_longer_holds"] = _deaths(table, task_type, folder, book)
    if task_type not in table.tasks:
        close = get_close_matches(task_type, list(table.tasks), n=1)
        if close:
            note(f'no row for "{task_type}"; there is one for "{close[0]}"')
    if as_json:
        print_json(report)
    else:
        _print_route(report, way)


def _report(
    table: PolicyTable, way: Route, cost: Estimate, prices: PriceBook, book: PromptBook
) -> dict[str, Any]:
    row = way.row
    return {
        "type": way.task_type,
        "kind": row.kind,
        "consequence": row.consequence,
        "owner": row.owner,
        "description": row.description,
        "policy": table.source,
        "version_hash": table.version_hash,
        "reasons": list(way.reasons),
        "hops": [_hop_report(h.hop, h.seats, h.usd, prices, book, row.kind) for h in cost.hops],
        "rules": [
            {"conditions": rule.conditions, "changes": _changes(rule)} for rule in row.when or ()
        ],
        "guards": {
            "max_usd": row.max_usd,
            "deadline_s": row.deadline_s,
            "context_guard": way.hops[0].spec.context_guard,
            "losses": row.losses.model_dump() if row.losses else None,
            "alpha": row.alpha,
            "oracle": row.oracle,
            "gate": row.gate,
        },
        "certificate": None
        if row.certificate is None
        else row.certificate.model_dump(mode="json", exclude_none=True),
        "estimate": {
            "input_tokens": cost.input_tokens,
            "output_tokens": cost.output_tokens,
            "assumed": cost.assumed,
            "first_usd": cost.first_usd,
            "all_usd": cost.all_usd,
            "frontier": cost.frontier,
            "frontier_usd": cost.frontier_usd,
            "ratio": cost.ratio,
        },
    }


def _deaths(table: PolicyTable, task_type: str, folder: Path, book: PromptBook) -> list[str]:
    """Why the row's certificate no longer holds; empty where it does, or where there is none."""
    from consensus.cli.policy.check import current_state
    from consensus.policy.staleness import deaths

    row = table.tasks.get(task_type)
    if row is None or row.certificate is None:
        return []
    return deaths(table, task_type, current_state(table, folder, book))


def _arms(
    table: PolicyTable, way: Route, prices: PriceBook, book: PromptBook
) -> list[dict[str, Any]]:
    """Every strategy of a row that mixes some, with its share; none of a row that does not."""
    from dataclasses import replace

    from consensus.policy.estimate import estimate
    from consensus.policy.resolve import hops_of, resolve

    found = []
    for arm, part in enumerate(resolve(table, way.task_type).mix if way.others else ()):
        hops = hops_of(table, resolve(table, way.task_type, arm=arm))
        cost = estimate(table, replace(way, hops=hops, others=()), prices)
        found.append(
            {
                "strategy": part.strategy,
                "share": part.share,
                "hops": [
                    _hop_report(h.hop, h.seats, h.usd, prices, book, way.row.kind)
                    for h in cost.hops
                ],
                "first_usd": cost.first_usd,
                "all_usd": cost.all_usd,
            }
        )
    return found


def _changes(rule: Any) -> dict[str, Any]:
    from consensus.policy.rows import CONDITIONS

    said = rule.model_dump(mode="json", exclude_none=True)
    return {name: value for name, value in said.items() if name not in CONDITIONS}


def _hop_report(
    hop: Any, seats: dict[str, int], usd: float, prices: PriceBook, book: PromptBook, kind: Any
) -> dict[str, Any]:
    spec = hop.spec
    framings = book.sequence(kind, spec.framings) if kind else spec.framings
    return {
        "name": hop.name,
        "orchestrator": spec.orchestrator,
        "aggregator": spec.aggregator,
        "seats": spec.seats,
        "quorum": spec.quorum,
        "min_agreement": spec.min_agreement,
        "veto": spec.veto,
        "ballot": spec.ballot,
        "framings": list(framings[: spec.seats]),
        "fallbacks": list(spec.fallbacks),
        "models": [
            {
                "model": model,
                "seats": count,
                "input_per_million": prices.price(model).per_million()["input"],
                "output_per_million": prices.price(model).per_million()["output"],
                "max_input_tokens": prices.window(model).max_input,
                "window_known": prices.window(model).known,
            }
            for model, count in seats.items()
        ],
        "estimated_usd": usd,
    }


def _print_route(report: dict[str, Any], way: Route) -> None:
    from rich.markup import escape
    from rich.table import Table

    out = stdout()
    facts = [report["kind"] and f"kind {report['kind']}"]
    facts.append(report["consequence"] and f"consequence {report['consequence']}")
    facts.append(report["owner"] and f"owner {report['owner']}")
    said = ", ".join(fact for fact in facts if fact)
    out.print(f"[bold]{escape(way.task_type)}[/]{': ' + escape(said) if said else ''}")
    if report["description"]:
        out.print(escape(report["description"]))
    for reason in report["reasons"]:
        out.print(f"because {escape(reason)}")
    out.print()
    grid = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("step", "strategy", "model", "seats", "$/M in", "$/M out", "window"):
        grid.add_column(name, justify="right" if name.startswith(("seats", "$", "w")) else "left")
    ways = [(f"{arm['share']:.0%} ", arm["hops"]) for arm in report["arms"]]
    for share, number, hop in [
        (share, number, hop)
        for share, hops in ways or [("", report["hops"])]
        for number, hop in enumerate(hops)
    ]:
        for position, model in enumerate(hop["models"]):
            first = position == 0
            grid.add_row(
                (f"{share}first" if number == 0 else f"{share}then {number}") if first else "",
                escape(_strategy(hop)) if first else "",
                escape(model["model"]),
                str(model["seats"]),
                f"{model['input_per_million']:g}",
                f"{model['output_per_million']:g}",
                f"{model['max_input_tokens']:,}{'' if model['window_known'] else ' assumed'}",
            )
    out.print(grid)
    out.print()
    for text in _notes(report):
        out.print(escape(text))


def _strategy(hop: dict[str, Any]) -> str:
    if hop["orchestrator"] == "single":
        return hop["name"] if hop["name"] == "single" else f"{hop['name']} (single)"
    name = hop["name"] if hop["name"] == "vote" else f"{hop['name']} ({hop['orchestrator']})"
    return f"{name}, {hop['aggregator']}, quorum {hop['quorum']} of {hop['seats']}"


def _notes(report: dict[str, Any]) -> list[str]:
    first, guards, cost = report["hops"][0], report["guards"], report["estimate"]
    lines = []
    if first["framings"]:
        lines.append(f"framings: {', '.join(first['framings'])}")
    if first["fallbacks"]:
        lines.append(f"if one fails: {', '.join(first['fallbacks'])}")
    for rule in report["rules"]:
        asked = ", ".join(f"{k} = {str(v).lower()}" for k, v in rule["conditions"].items())
        changes = ", ".join(f"{k} = {v}" for k, v in rule["changes"].items())
        lines.append(f"rule: {asked} → {changes}")
    held = [f"window {guards['context_guard']:.0%}"]
    if guards["max_usd"] is not None:
        held.append(f"at most ${guards['max_usd']:g}")
    if guards["deadline_s"] is not None:
        held.append(f"{guards['deadline_s']:g} s")
    if guards["losses"]:
        losses = guards["losses"]
        held.append(f"losses {losses['false_approve']:g} : {losses['false_reject']:g}")
    if guards["alpha"] is not None:
        held.append(f"error ≤ {guards['alpha']:g}")
    held += [f"{name} {guards[name]}" for name in ("gate", "oracle") if guards[name]]
    lines.append(f"guards: {', '.join(held)}")
    lines.append(_earned(report["certificate"], report["no_longer_holds"]))
    whose = "assumed" if cost["assumed"] else "as the row expects"
    lines.append(
        f"a task of {cost['input_tokens']:,} tokens in (wording included) and "
        f"{cost['output_tokens']:,} out a call ({whose}): ${cost['first_usd']:.6f}"
        + (f", with every escalation ${cost['all_usd']:.6f}" if len(report["hops"]) > 1 else "")
    )
    if report["arms"]:
        mean = sum(arm["share"] * arm["first_usd"] for arm in report["arms"])
        lines.append(
            f"that is the first strategy's; over the mixture, first choices cost ${mean:.6f}"
        )
    if cost["frontier"] and cost["ratio"] is not None:
        lines.append(
            f"one call of {cost['frontier']}: ${cost['frontier_usd']:.6f}; "
            f"the first choice costs {cost['ratio']:.2f} × that"
        )
    return lines


def _earned(certificate: dict[str, Any] | None, dead: list[str]) -> str:
    """What evidence a row has."""
    if certificate is None:
        return "evidence: none, the row is unproven (consensus policy propose RUN)"
    return (
        f"evidence: {certificate['status']} on {certificate['date']}, "
        f"{certificate['passes']:g} of {certificate['n']:,} cases, lower bound "
        f"{certificate['bound']:.3f} against a floor of {certificate['floor']:g}"
        + (f"; it no longer holds: {'; '.join(dead)}" if dead else "")
    )
