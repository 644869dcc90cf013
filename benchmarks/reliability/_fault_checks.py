"""What every decision must hold against the provider's own log, whatever went wrong."""

from __future__ import annotations

import bisect
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.reliability._fault_provider import ONE_ID, SOUND
from benchmarks.reliability._fault_run import (
    COOLDOWN_S,
    MAX_ATTEMPTS,
    NARROW,
    NARROW_WINDOW,
    ROWS,
    TIMEOUT_S,
    Outage,
    Seen,
)
from benchmarks.serving.checks import Line, read_log
from consensus.assembly import conclude_receipt
from consensus.ballots import PICO, Ballot
from consensus.jobs import UNREACHED
from consensus.ledger.receipts import Receipt, replay
from consensus.ledger.store import Ledger
from consensus.ledger.verify import verify
from consensus.models.prices import PriceBook

__all__ = ["Evidence", "checks", "gather"]

LATE_S = 0.5
"""How much later than its deadline a decision may come back on a busy machine."""

CUT_OFF = frozenset({"cancelled", "timeout", "deadline", "connection", "malformed_response"})
"""Attempts whose answer, if the provider finished one, never reached us."""


@dataclass(slots=True)
class Evidence:
    """Everything that is known of a run, by decision."""

    seen: list[Seen]
    receipts: dict[str, Receipt]
    problems: tuple[str, ...]
    calls: dict[str, list[dict[str, Any]]]
    log: dict[int, list[dict[str, Any]]]
    by_id: dict[str, dict[str, Any]]
    outages: list[Outage]
    stalls: list[tuple[float, float]] = field(default_factory=list)
    jumps: int = 0
    met: Counter[str] = field(default_factory=Counter)

    def receipt(self, one: Seen) -> Receipt | None:
        """A decision's receipt."""
        name = one.decision.receipt_id if one.decision is not None else None
        return self.receipts.get(name or "")

    def calls_of(self, one: Seen) -> list[dict[str, Any]]:
        """A decision's calls on the ledger."""
        return self.calls.get(one.decision.receipt_id or "", []) if one.decision else []


def gather(
    ledger: Path, log: Path, book: PriceBook, seen: list[Seen], outages: list[Outage]
) -> Evidence:
    """Read the ledger and the provider's log."""
    from sqlalchemy import select

    from consensus.ledger.schema import calls as c
    from consensus.ledger.schema import decisions as d

    with Ledger(ledger, must_exist=True) as opened:
        problems = verify(opened).problems
        rows = opened.read(
            lambda one: [
                dict(row)
                for row in one.execute(select(*(x for x in c.c if x is not c.c.completion)))
                .mappings()
            ]
        )  # fmt: skip
        names = opened.read(lambda one: [row[0] for row in one.execute(select(d.c.receipt_id))])
        receipts = {name: opened.receipt(name) for name in names}
    found = Evidence(seen, receipts, problems, defaultdict(list), defaultdict(list), {}, outages)
    for row in rows:
        found.calls[row["decision_id"]].append(row)
    for entry in read_log(log, book):
        found.log[entry["case"]].append(entry)
        found.by_id[f"req_{entry['n']:024d}"] = entry
        if entry["fault"] is not None:
            found.met[entry["fault"]] += 1
    return found


def checks(evidence: Evidence) -> list[Line]:
    """Every promise as a line."""
    e = evidence
    decided = [one for one in e.seen if one.decision is not None]

    def each(promise: str, broken: Callable[[Seen], object], seen: str = "") -> Line:
        return Line(promise, len(decided), sum(bool(broken(one)) for one in decided), seen)

    errors = [one.error for one in e.seen if one.error is not None]
    receipts = list(e.receipts.values())
    return [
        Line("`decide` gives a decision, whatever the provider does", len(e.seen), len(errors),
             "; ".join(sorted(set(errors))[:2])),
        each("quorum and shares are of the configured seats: every one is a ballot, a failure with "
             "its class, or left out by a rule", lambda one: _seats_missing(e, one)),
        each("an outcome has its quorum, and more than half of the configured seats behind it",
             lambda one: _too_few(e, one)),
        each("no basis, no outcome: who abstains had no hop with its quorum",
             lambda one: _groundless(e, one)),
        each("no ballot rests on an answer that was refused, empty, cut, half, off the list or of "
             "another schema", lambda one: _false_ballot(e, one)),
        *_money(e, decided),
        *_time(e, decided),
        each("nothing of a decision still runs when it returns", lambda one: one.left,
             "tasks, by the context they were begun in"),
        *_retries(e, decided),
        *([*_outages(e), _fallback_windows(e), *_failure_windows(e)] if e.outages else []),
        Line("receipts: bytes, hashes, sums; each draws its decision again byte for byte",
             len(receipts),
             len(e.problems) + sum(bool(replay(r, conclude_receipt).differences) for r in receipts),
             "; ".join(e.problems[:2])),
    ]  # fmt: skip


# -- seats and ballots -----------------------------------------------------------------------------


def _seats_missing(e: Evidence, one: Seen) -> bool:
    receipt, row = e.receipt(one), ROWS[one.row]
    if receipt is None or not receipt.hops:
        return True
    first = receipt.hops[0]
    passed_over = any("could not be used" in reason for reason in receipt.decision.reasons)
    if not passed_over and (first.seats, first.strategy["quorum"]) != (row.seats, row.quorum):
        return True
    for hop in receipt.hops:
        own = [b for b in hop.ballots if b.role != "judge"]
        places = Counter(s.seat for s in (*own, *hop.failures))
        asked = {seat for seat in places if seat < 100_000}
        stopped = hop.strategy.get("stop") is not None
        if len(asked) > hop.seats or (len(asked) < hop.seats and not stopped):
            return True
        if any(places[seat] > 1 for seat in asked):
            return True
    return False


def _voting(hop: Any) -> list[Ballot]:
    return [b for b in hop.ballots if b.role != "judge"]


def _too_few(e: Evidence, one: Seen) -> bool:
    receipt, decision = e.receipt(one), one.decision
    if receipt is None or decision is None or decision.action != "act":
        return receipt is None
    hop = receipt.hops[-1]
    own = _voting(hop)
    quorum = ROWS[one.row].quorum if len(receipt.hops) == 1 else hop.strategy["quorum"]
    if len(own) < quorum:
        return True
    if one.row == "best":
        return decision.outcome not in [b.answer for b in own]
    votes = Counter(str(b.answer) for b in own)
    (leader, most), *others = votes.most_common()
    tied = bool(others) and others[0][1] == most
    return tied or str(decision.outcome) != leader or 2 * most <= hop.seats


def _groundless(e: Evidence, one: Seen) -> bool:
    receipt, decision = e.receipt(one), one.decision
    if receipt is None or decision is None:
        return True
    enough = any(len(_voting(hop)) >= hop.strategy["quorum"] for hop in receipt.hops)
    return (decision.action == "abstain") == enough


def _false_ballot(e: Evidence, one: Seen) -> bool:
    receipt = e.receipt(one)
    if receipt is None:
        return True
    calls = {call["call_id"]: call for call in e.calls_of(one)}
    for hop in receipt.hops:
        for ballot in hop.ballots:
            call = calls.get(ballot.calls[-1]) if ballot.calls else None
            # A debate's second round that fails leaves the seat its first answer.
            if call is None or (call["failure"] is not None and one.row != "debate"):
                return True
            entry = e.by_id.get(call["request_id"] or "")
            harmless = ballot.role == "candidate" and entry and entry["fault"] == "off the list"
            if entry is None or entry["fault"] is None or entry["fault"] in SOUND or harmless:
                continue
            if one.row != "debate":
                return True
    return False


# -- money -----------------------------------------------------------------------------------------


def _money(e: Evidence, decided: Sequence[Seen]) -> list[Line]:
    exact = dear = wrong = twice = strange = unsaid = 0
    used: Counter[str] = Counter()
    for one in decided:
        for call in e.calls_of(one):
            name = call["request_id"] or ""
            entry = e.by_id.get(name)
            if entry is None:
                strange += name not in ("", ONE_ID)
                unsaid += not name and not _says_what_it_rests_on(call)
                continue
            used[name] += 1
            if entry["case"] != one.case:
                strange += 1
            if call["price_basis"] in ("served", "none"):
                exact += 1
                wrong += call["cost_pico"] != entry["pico"]
            else:
                dear += 1
                wrong += call["cost_pico"] < entry["pico"]
    twice = sum(count > 1 for count in used.values())
    lost = sum(_lost(e, one, used) for one in decided)
    shared = sum(_same_id_differs(e, one) for one in decided)
    billed = sum(entry["billed"] for own in e.log.values() for entry in own)
    answers = [c for one in decided for c in e.calls_of(one) if c["failure"] is None]
    capped = [one for one in decided if ROWS[one.row].max_usd is not None]
    passed, by_served = _caps(e, capped)
    short = sum(bool(one.decision and one.decision.partial) for one in capped)
    return [
        Line("what an answered call cost is the provider's own bill, to the pico-dollar; an "
             "estimate (unknown model, usage missing or senseless) is never below it",
             exact + dear, wrong + strange, f"{exact:,} exact, {dear:,} estimated"),
        Line("a bill is on the ledger once: none twice", len(used), twice),
        Line("a bill is on the ledger once: none missing, but of attempts that were cut off",
             billed, lost),
        Line("what was cut off is not free: it carries an estimate, marked so; and no other "
             "attempt that nobody answered has a cost",
             sum(len(e.calls_of(one)) for one in decided), unsaid),
        Line("answers that share one request id are all kept and paid for",
             len(decided), shared, f"{e.met['one id for all']:,} such answers"),
        Line("no answer is free", len(answers), sum(c["cost_pico"] <= 0 for c in answers)),
        Line("the budget of a decision is kept", len(capped), passed,
             f"{short:,} cut short by it; {by_served:,} passed it because the provider served, and "
             "billed, a dearer model than was asked"),
    ]  # fmt: skip


def _says_what_it_rests_on(call: dict[str, Any]) -> bool:
    """Of an attempt without a request id: that no cost is given out as the provider's."""
    if call["cost_pico"] == 0:
        # Connections that were refused, guards and limits: nothing was sent.
        return call["price_basis"] == "none" and call["failure"] not in {"timeout", "deadline"}
    return call["price_basis"] == "estimated_usage"


def _lost(e: Evidence, one: Seen, used: Counter[str]) -> bool:
    """More bills that nobody knows than attempts that were cut off."""
    unknown = [
        entry
        for entry in e.log.get(one.case, ())
        if entry["billed"]
        and entry["fault"] != "one id for all"
        and not used[f"req_{entry['n']:024d}"]
    ]
    cut = sum(c["failure"] in CUT_OFF and c["request_id"] is None for c in e.calls_of(one))
    return len(unknown) > cut


def _same_id_differs(e: Evidence, one: Seen) -> bool:
    kept = Counter(c["cost_pico"] for c in e.calls_of(one) if c["request_id"] == ONE_ID)
    mine = [x for x in e.log.get(one.case, ()) if x["fault"] == "one id for all" and x["billed"]]
    billed = Counter(x["pico"] for x in mine)
    cut = sum(c["failure"] in CUT_OFF and c["request_id"] is None for c in e.calls_of(one))
    return bool(kept - billed) or (billed - kept).total() > cut


def _caps(e: Evidence, capped: Iterable[Seen]) -> tuple[int, int]:
    """How many passed their cap; and how many did because a dearer model was served."""
    passed = by_served = 0
    for one in capped:
        cap = round((ROWS[one.row].max_usd or 0.0) * PICO)
        cost = one.decision.cost.pico_usd if one.decision else 0
        own = e.log.get(one.case, ())
        billed = sum(entry["pico"] for entry in own)
        if max(cost, billed) > cap:
            dearer = any(entry["fault"] == "another model, known" for entry in own)
            by_served += dearer
            passed += not dearer
    return passed, by_served


# -- time and attempts -----------------------------------------------------------------------------


def _time(e: Evidence, decided: Sequence[Seen]) -> list[Line]:
    due = [(one, s) for one in decided if (s := ROWS[one.row].deadline_s) is not None]
    late = [one.ended - one.began - s - _stood_still(e, one) for one, s in due]
    sent = [
        entry["began"] - one.began - s - _stood_still(e, one)
        for one, s in due
        for entry in e.log.get(one.case, ())
    ]
    met = sum(bool(one.decision and one.decision.partial) for one, _ in due)
    jumps = f"the wall clock jumped {e.jumps:,} times, by 3 s to ten years, both ways"
    stood = max((s for _, s in e.stalls), default=0.0)
    return [
        Line("the deadline of a decision is kept", len(due), sum(s > LATE_S for s in late),
             f"{met:,} met it; the latest came {1000 * max(late, default=math.nan):.0f} ms after "
             f"it (allowed: {1000 * LATE_S:.0f}, and as long as the busy machine let the event "
             f"loop stand still, {1000 * stood:.0f} at most)"),
        Line("no call is begun after the deadline", len(sent), sum(s > LATE_S for s in sent),
             f"by the same measure; {jumps}"),
    ]  # fmt: skip


def _stood_still(e: Evidence, one: Seen) -> float:
    """Seconds for which the event loop stood still while the decision was made."""
    first = bisect.bisect_left(e.stalls, (one.began - 5.0, 0.0))
    found = 0.0
    for at, seconds in e.stalls[first:]:
        if at > one.ended:
            break
        found += max(0.0, min(at + seconds, one.ended) - max(at, one.began))
    return found


def _retries(e: Evidence, decided: Sequence[Seen]) -> list[Line]:
    worst = over = more = requests = 0
    for one in decided:
        calls = [c for c in e.calls_of(one) if not c["replayed"]]
        tries = Counter((c["seat"], c["purpose"], c["requested_model"], c["key"]) for c in calls)
        most = max(tries.values(), default=0) / ROWS[one.row].copies
        worst = max(worst, math.ceil(most))
        over += most > MAX_ATTEMPTS
        own = e.log.get(one.case, ())
        requests += len(own)
        more += len(own) > len(calls)
    return [
        Line(f"retries are bounded: at most {MAX_ATTEMPTS} attempts of a seat at one model",
             len(decided), over, f"at most {worst}"),
        Line("no request reaches the provider that the ledger does not know of",
             len(decided), more, f"{requests:,} requests"),
    ]  # fmt: skip


# -- outages and windows ---------------------------------------------------------------------------


def _outages(e: Evidence) -> list[Line]:
    opened = closed = flooded = stood = asked = 0
    waits: list[float] = []
    shuts: list[float] = []
    at_door = 0
    for outage in e.outages:
        first = next((at for at, state in outage.states if state == "open"), None)
        if first is not None and first <= outage.ended:
            opened += 1
            waits.append(first - outage.began)
            own = [
                x
                for entries in e.log.values()
                for x in entries
                if f"{x['api']}/{x['asked']}" == outage.model
                and first + TIMEOUT_S < x["began"] < outage.ended
            ]
            at_door += len(own)
            probes = math.ceil((outage.ended - first) / COOLDOWN_S) + 1
            flooded += len(own) > probes
        shut = [at for at, state in outage.states if state == "closed" and at > outage.ended]
        if shut and outage.states[-1][1] == "closed":
            closed += 1
            shuts.append(shut[0] - outage.ended)
        for one in e.seen:
            if outage.began < one.began and one.ended < outage.ended and not one.long:
                asked += 1
                stood += one.decision is None or any(
                    failure.failure in UNREACHED for failure in one.decision.failures
                )
    many = len(e.outages)
    return [
        Line("the breaker opens for a dead provider", many, many - opened,
             f"after {min(waits, default=math.nan):.1f} to {max(waits, default=math.nan):.1f} s"),
        Line("while it is open only probes are sent, one a cool-down", many, flooded,
             f"{at_door} requests at its door in all outages together"),
        Line("it closes again once the provider lives", many, many - closed,
             f"after {min(shuts, default=math.nan):.1f} to {max(shuts, default=math.nan):.1f} s "
             f"(cool-down {COOLDOWN_S:g} s)"),
        Line("meanwhile every seat is answered by the row's fallback", asked, stood,
             "decisions within the outages"),
    ]  # fmt: skip


def _fallback_windows(e: Evidence) -> Line:
    name = NARROW.partition("/")[2]
    own = [x for entries in e.log.values() for x in entries if x["asked"] == name]
    tokens = [x["input"] + x["cache_read"] + x["cache_write"] for x in own]
    long = [one for one in e.seen if one.long]
    alone = sum(
        any(f.failure in UNREACHED for f in one.decision.failures)
        for one in long
        if one.decision is not None
    )
    over = sum(count > 0.8 * NARROW_WINDOW for count in tokens)
    sent = sum(x["asked"] == name for one in long for x in e.log.get(one.case, ()))
    return Line(
        "the fallback is asked nothing that its own window does not hold",
        len(own) + len(long), over + sent,
        f"{len(own):,} requests to it, the longest {max(tokens, default=0):,} of "
        f"{NARROW_WINDOW:,} tokens; {len(long):,} decisions too long for it, {alone:,} of them "
        "with a model that gave no answer",
    )  # fmt: skip


PROBE, LEAST = 10, 20


def _failure_windows(e: Evidence) -> list[Line]:
    """Draw again, from the rule as it is documented, which tasks had to pass the first hop over."""
    own = sorted((one for one in e.seen if one.row == "watched"), key=lambda one: one.case)
    rate, window = 0.3, 40
    tripped, skipped = False, 0
    counts: list[bool] = []
    probes: list[bool] = []
    wrong = over = trips = recoveries = 0
    for one in own:
        decision = one.decision
        if decision is None:
            wrong += 1
            continue
        passed = any("could not be used" in reason for reason in decision.reasons)
        expected = False
        if tripped:
            skipped += 1
            expected = skipped % PROBE != 0
        wrong += passed != expected
        over += passed
        if expected:
            continue
        receipt = e.receipt(one)
        first = receipt.hops[0] if receipt is not None else None
        bad = first is not None and any(
            f.failure in ("empty", "refusal", "truncated", "unreadable", "off_list", "schema",
                          "malformed_response")
            for f in first.failures
        )  # fmt: skip
        if not tripped:
            counts = [*counts, bad][-window:]
            if len(counts) >= LEAST and sum(counts) > rate * len(counts):
                tripped, skipped, probes = True, 0, []
                trips += 1
            continue
        probes = [*probes, bad][-LEAST:]
        if len(probes) == LEAST and sum(probes) <= rate * LEAST:
            tripped, counts = False, list(probes)
            recoveries += 1
    return [
        Line("the failure window: the fallback is asked directly for exactly those tasks that the "
             "rule says", len(own), wrong,
             f"tripped {trips} time(s), {over} tasks went past, {recoveries} recovery"),
        Line("it trips on a model gone mad and lets it back", 2,
             (trips < 1) + (recoveries < 1)),
    ]  # fmt: skip
