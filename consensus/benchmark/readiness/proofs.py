"""Each item's proof: the files that are there, read and held against one another.

Nothing is taken on somebody's word: an item without evidence on disk is open, and says which
command or key closes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from consensus.benchmark.proposals.identity import type_sha256
from consensus.benchmark.readiness.items import ITEMS, Item
from consensus.benchmark.readiness.seen import Seen
from consensus.benchmark.suites import load_suite
from consensus.benchmark.synthetic.existing import judged_by_suites
from consensus.errors import ConsensusError, DataError, DeclarationError, SuiteError
from consensus.ledger.place import LedgerServer
from consensus.models.prices import PriceBook
from consensus.oracles import Oracle
from consensus.panel.book import PromptBook
from consensus.policy.audit.check import check_audit
from consensus.policy.audit.model import Audit, AuditTask
from consensus.policy.audit.needs import certificate_need
from consensus.policy.certificate import Certificate
from consensus.policy.oracles import oracle_of
from consensus.policy.route import route_type
from consensus.policy.staleness import Current, deaths
from consensus.policy.table import PolicyTable
from consensus.policy.watch_settings import ALARM_RATIO
from consensus.strangers import read_json

__all__ = ["MAX_GUARD", "Ground", "Readiness", "readiness"]

MAX_GUARD = 0.8
"""A guard above this share of a model's window is none."""

PROJECTION = "consensus-projection/"


@dataclass(slots=True)
class Ground:
    """What the items are proved on.

    Attributes:
        audit: an empty one where there is none, or it cannot be read: ``problem`` says why.
        table: the project's own policy; an empty one where there is none.
        book, prices: what the policy's models are asked with, and their windows.
        today: against which certificates age.
        runs: run folders to look at, beside those that certificates name.
        projection: a file of ``consensus cost project --json``.
        ledger: what the ledger at ``ledger_path`` shows; None where there is none.
        problem: why nothing can be proved, with what closes it.
    """

    audit: Audit
    table: PolicyTable
    book: PromptBook
    prices: PriceBook
    today: date
    audit_file: Path = Path("audit.toml")
    runs: tuple[Path, ...] = ()
    projection: Path | None = None
    ledger: Seen | None = None
    ledger_path: Path | LedgerServer | None = None
    problem: tuple[str, str] | None = None

    @property
    def tasks(self) -> dict[str, AuditTask]:
        """The audited task types with traffic; all where none has any."""
        live = {name: task for name, task in self.audit.tasks.items() if task.monthly_volume}
        return live or dict(self.audit.tasks)


@dataclass(slots=True)
class Readiness:
    """The ten items."""

    items: list[Item] = field(default_factory=list)

    @property
    def ready(self) -> bool:
        """Whether all are closed."""
        return all(item.closed for item in self.items)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "ready": self.ready,
            "closed": sum(item.closed for item in self.items),
            "items": [item.to_json() for item in self.items],
        }


def readiness(ground: Ground) -> Readiness:
    """Prove what can be proved."""
    items = [Item(number) for number in range(1, len(ITEMS) + 1)]
    for item, prove in zip(items, _PROOFS, strict=True):
        if ground.problem is not None:
            item.lacks(*ground.problem)
        else:
            prove(item, ground)
    return Readiness(items)


def _audited(item: Item, ground: Ground) -> None:
    audit = ground.audit
    table = ground.table if ground.table.model_fields_set else None
    judged = judged_by_suites(audit)
    findings = check_audit(audit, table=table, prices=ground.prices, judged=judged)
    errors = [finding for finding in findings if finding.level == "error"]
    item.evidence.append(f"{audit.source}: {len(audit.tasks)} task types")
    for finding in errors[:3]:
        item.lacks(str(finding), "consensus audit check")
    if errors[3:]:
        item.missing.append(f"and {len(errors) - 3} more")
    for finding in findings:
        if finding.code == "not-audited":
            item.lacks(finding.message, finding.fix or "consensus audit check")


def _oracles(item: Item, ground: Ground) -> None:
    table = ground.table
    for name, task in ground.tasks.items():
        found = _oracle(ground, name, task)
        if isinstance(found, str):
            key = f"[oracles.{task.oracle or name}] in strategies/"
            item.lacks(f"{name}: {found}", key)
            continue
        oracle, where = found
        item.evidence.append(f"{name}: {oracle.name} {oracle.sha256[:12]} ({where})")
        row = table.tasks.get(name)
        if row is not None and row.oracle != task.oracle and task.oracle in table.oracles:
            item.lacks(
                f'{name}: the row says oracle "{row.oracle or "none"}", the audit "{task.oracle}"',
                f'oracle = "{task.oracle}" in {table.cite("tasks", name)}',
            )


def _oracle(ground: Ground, name: str, task: AuditTask) -> tuple[Oracle, str] | str:
    """A task type's oracle and where it is declared; or why there is none."""
    table = ground.table
    if task.oracle in table.oracles:
        try:
            return oracle_of(table, task.oracle), str(table.place("oracles", task.oracle) or "")
        except ConsensusError as error:
            return str(error)
    if task.suite is not None:
        folder = ground.audit.root / task.suite
        try:
            types = load_suite(folder).types
        except SuiteError as error:
            return str(error)
        if name in types:
            return types[name].oracle, str(folder)
    return f'"{task.oracle}" is declared nowhere' if task.oracle else "no oracle"


def _profiled(item: Item, ground: Ground) -> None:
    table = ground.table
    for name, task in ground.tasks.items():
        row = table.tasks.get(name)
        again = f"consensus policy propose {_run_name(ground)}"
        if row is None or row.certificate is None:
            item.lacks(f"{name}: its row has no certificate", again)
            continue
        certificate = row.certificate
        dead = _dead(ground, name, task, certificate)
        if dead:
            item.lacks(f"{name}: its certificate is dead: {'; '.join(dead)}", again)
            continue
        need = certificate_need(task, table)
        if certificate.status == "uncertifiable":
            item.lacks(
                f"{name}: uncertifiable, {certificate.needs:,} more cases",
                f"consensus audit profile --types {name}",
            )
        elif certificate.status == "certified" and certificate.bound < need.floor:
            item.lacks(
                f"{name}: certified at {certificate.bound:.3f}, the audit asks {need.floor:g}",
                again,
            )
        elif row.profile is None:
            item.lacks(f"{name}: its row has no profile", again)
        else:
            item.evidence.append(
                f"{name}: {certificate.status}, {certificate.passes:g} of {certificate.n}, bound "
                f"{certificate.bound:.3f} against {certificate.floor:g} ({certificate.run})"
            )


def _dead(ground: Ground, name: str, task: AuditTask, certificate: Certificate) -> list[str]:
    """Why a certificate no longer holds; the run that it names must be there, and be that run."""
    oracle = _oracle(ground, name, task)
    today = Current(
        ground.today,
        ground.book.sha256,
        {} if isinstance(oracle, str) else {name: oracle[0].sha256},
        served=ground.ledger.served if ground.ledger is not None else {},
    )
    why = deaths(ground.table, name, today)
    named = [Path(certificate.run), ground.audit.root / certificate.run] if certificate.run else []
    states = [_run_state(folder, name) for folder in (*named, *ground.runs)]
    mine = [state for suite, state in states if suite == certificate.suite]
    if not mine:
        why.append(f"no run of its cases is there ({certificate.run or 'none is named'})")
    elif "complete" not in mine:
        why.append("its run is not complete")
    return why


def _run_state(folder: Path, task_type: str) -> tuple[str, str]:
    """The hash of a run's cases of a task type, and its state; empty where it has none."""
    try:
        data = read_json(folder / "manifest.json")
        suite = load_suite(folder / "suite")
        return type_sha256(suite, task_type), str(data.get("state", ""))
    except (ValueError, KeyError, AttributeError, DeclarationError):
        return "", ""


def _run_name(ground: Ground) -> str:
    return str(ground.runs[0]) if ground.runs else "RUN"


def _projected(item: Item, ground: Ground) -> None:
    close = f"consensus cost project --audit {ground.audit_file} --json > projection.json"
    if ground.projection is None:
        item.lacks("there is no projection", close)
        return
    try:
        data = read_json(ground.projection)
        if not str(data["format"]).startswith(PROJECTION):
            raise ValueError
        version = str(data["policy_version"])
        lines = {str(line["name"]): line for line in data["types"]}
        after = float(data["total"]["after_usd"])
    except (ValueError, KeyError, TypeError, DataError):
        item.lacks(f"{ground.projection} is no projection", close)
        return
    item.evidence.append(f"{ground.projection}: ${after:,.2f} a month, policy {version}")
    if version != ground.table.version_hash:
        item.lacks(f"it is of policy {version}, not of this one", close)
    absent = [name for name in ground.tasks if name not in lines]
    if absent:
        item.lacks(f"it does not have {', '.join(absent)}", close)
    assumed = [
        name for name in ground.tasks if name in lines and lines[name].get("source") == "assumed"
    ]
    if assumed:
        item.lacks(f"assumed, not measured: {', '.join(assumed)}", "consensus policy propose RUN")


def _served(item: Item, ground: Ground) -> None:
    seen = _ledger(item, ground)
    if seen is None:
        return
    if seen.answered:
        item.evidence.append(
            f"{ground.ledger_path}: {seen.answered - seen.unserved:,} of {seen.answered:,} "
            "answered calls name the served model"
        )
    if seen.unserved:
        item.lacks(f"{seen.unserved:,} answered calls do not", "consensus ledger list")
    elif not seen.answered:
        item.lacks("no call was answered yet", _try(ground.tasks))


def _attributed(item: Item, ground: Ground) -> None:
    seen = _ledger(item, ground)
    if seen is None:
        return
    for name, (decisions, usd) in sorted(seen.types.items()):
        if name in ground.tasks:
            item.evidence.append(f"{name}: {decisions:,} decisions, ${usd:.6f}")
    if seen.unattributed:
        item.lacks(f"{seen.unattributed:,} calls carry no task type", "consensus ledger list")
    untried = [name for name in ground.tasks if name not in seen.types]
    if untried:
        item.lacks(f"not one decision of {', '.join(untried)}", _try(untried))


def _ledger(item: Item, ground: Ground) -> Seen | None:
    if ground.ledger is None:
        item.lacks(f"there is no ledger at {ground.ledger_path}", _try(ground.tasks))
    return ground.ledger


def _try(names: Iterable[str]) -> str:
    first = next(iter(names), "TYPE")
    return f"consensus decide {first} --input tasks.jsonl --output out.jsonl"


def _configured(item: Item, ground: Ground) -> None:
    table = ground.table
    if "certificates" in table.model_fields_set:
        item.evidence.append(table.cite("certificates"))
    else:
        item.lacks(
            "the floors of consequences are defaults that nobody has set",
            "[certificates] in strategies/, such as low = { floor = 0.90, delta = 0.10 }",
        )
    for name in ground.tasks:
        if name in table.tasks:
            item.evidence.append(table.cite("tasks", name))
        else:
            item.lacks(
                f"{name} has no row of its own", f"consensus policy propose {_run_name(ground)}"
            )


def _guarded(item: Item, ground: Ground) -> None:
    table = ground.table
    for name in ground.tasks:
        try:
            way = route_type(table, name)
        except ConsensusError as error:
            item.lacks(f"{name}: {error}", "consensus policy check")
            continue
        unknown = [m for m in way.models if not ground.prices.window(m).known]
        for hop in way.hops:
            if hop.spec.context_guard > MAX_GUARD:
                item.lacks(
                    f"{name}: hop {hop.name} allows {hop.spec.context_guard:.0%} of a window",
                    f"context_guard = {MAX_GUARD} in {table.cite('tasks', name)}",
                )
        if unknown:
            item.lacks(
                f"{name}: nobody knows the window of {', '.join(unknown)}",
                f'[prices."{unknown[0]}"] max_input_tokens = … in strategies/',
            )
        else:
            item.evidence.append(
                f"{name}: {way.hops[0].spec.context_guard:.0%} of the window of each of "
                f"{len(way.models)} models"
            )


def _watched(item: Item, ground: Ground) -> None:
    table = ground.table
    if "watch" not in table.model_fields_set:
        item.lacks("the policy has no [watch]", "[watch] in strategies/")
    else:
        item.evidence.append(table.cite("watch"))
        quality = {"escalation", "disagreement"} - set(table.watch.on)
        if quality:
            item.lacks(
                f"[watch] on leaves out {' and '.join(sorted(quality))}",
                f"take on away in {table.cite('watch', 'on')}: all is watched without it",
            )
    for name in ground.tasks:
        row = table.tasks.get(name)
        if row is None or row.profile is None:
            item.lacks(
                f"{name}: no profile to watch against",
                f"consensus policy propose {_run_name(ground)}",
            )


def _alarmed(item: Item, ground: Ground) -> None:
    table = ground.table
    if "alarms" not in table.model_fields_set:
        item.lacks(
            "the policy has no [alarms]", "[alarms] with escalation_ratio = 1.15 in strategies/"
        )
        return
    alarms = table.alarms
    if not alarms.tells("escalation"):
        item.lacks("[alarms] mutes escalations", f"take it out of {table.cite('alarms', 'mute')}")
    if alarms.escalation_ratio > ALARM_RATIO:
        item.lacks(
            f"[alarms] waits until escalations are {alarms.escalation_ratio:g} times the profile's",
            f"escalation_ratio = {ALARM_RATIO} in {table.cite('alarms', 'escalation_ratio')}",
        )
    channels = [name for name in ("webhook", "command") if getattr(alarms, name) is not None]
    channels += ["log"] if alarms.log else []
    if not channels:
        item.lacks("[alarms] tells nobody", f"webhook or command in {table.cite('alarms')}")
        return
    item.evidence.append(
        f"{table.cite('alarms')}: escalations over {alarms.escalation_ratio:g} x, told by "
        f"{', '.join(channels)}"
    )


_PROOFS: tuple[Callable[[Item, Ground], None], ...] = (
    _audited,
    _oracles,
    _profiled,
    _projected,
    _served,
    _attributed,
    _configured,
    _guarded,
    _watched,
    _alarmed,
)
