"""CPU and throughput of a ten-seat decision: ours, the client underneath, SDKs, peers."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from benchmarks.speed.environments import peers
from benchmarks.speed.page import Claim, Part, spread, table
from benchmarks.speed.rounds import Arm, Figures, Load, Running, run_rounds
from benchmarks.speed.shared import SEATS, Provider

_A = "benchmarks.speed.arms."
ARMS = (
    Arm("aiohttp by hand, Anthropic", (_A + "floor", "anthropic")),
    Arm("client underneath, Anthropic", (_A + "bare", "anthropic")),
    Arm("ours, Anthropic", (_A + "ours", "anthropic", "process")),
    Arm(
        "ours, Anthropic, in a process of its own",
        (_A + "ours", "anthropic", "process", "dedicated"),
    ),
    Arm("client underneath, Anthropic, collector alike", (_A + "bare", "anthropic", "dedicated")),
    Arm("the duties in straight lines, collector alike", (_A + "least", "anthropic", "dedicated")),
    Arm("ours, Anthropic, no ledger", (_A + "ours", "anthropic", "off")),
    Arm("ours, Anthropic, receipts kept nowhere", (_A + "ours", "anthropic", "nowhere")),
    Arm("ours, Anthropic, durable to a power cut", (_A + "ours", "anthropic", "power")),
    Arm("anthropic SDK as it comes", (_A + "sdk", "anthropic", "as-it-comes")),
    Arm("anthropic SDK, leanest settings", (_A + "sdk", "anthropic", "lean")),
    Arm("anthropic SDK over our transport", (_A + "sdk", "anthropic", "transport")),
    Arm("aiohttp by hand, OpenAI", (_A + "floor", "openai")),
    Arm("client underneath, OpenAI", (_A + "bare", "openai")),
    Arm("ours, OpenAI", (_A + "ours", "openai", "process")),
    Arm("openai SDK as it comes", (_A + "sdk", "openai", "as-it-comes"), slow=True),
    Arm("openai SDK on aiohttp", (_A + "sdk", "openai", "lean")),
    Arm("litellm.acompletion, OpenAI", (_A + "acompletion", "openai"), slow=True),
    Arm("litellm.acompletion, Anthropic", (_A + "acompletion", "anthropic"), slow=True),
)
OURS = {"anthropic": "ours, Anthropic", "openai": "ours, OpenAI"}
UNDER = {"anthropic": "client underneath, Anthropic", "openai": "client underneath, OpenAI"}
OWN_PROCESS = "ours, Anthropic, in a process of its own"
LIKE_IT = "client underneath, Anthropic, collector alike"
LEAST = "the duties in straight lines, collector alike"
LEANEST = "anthropic SDK over our transport"
SDK = {"anthropic": "anthropic SDK as it comes", "openai": "openai SDK as it comes"}
TEN, HUNDRED, WAITING = "10 at once", "100 at once", "100 at once, 400 ms"
LOADS = (Load(TEN, 240, 10), Load(HUNDRED, 360, 100), Load(WAITING, 400, 100, 400))
QUICK = (Load(TEN, 10, 10), Load(HUNDRED, 20, 20), Load(WAITING, 20, 20, 50))

Measured = Mapping[str, Mapping[str, Figures]]


def ratio(measured: Measured, load: str, one: str, other: str) -> float:
    """Median over the rounds of one arm's CPU over another's in the same round."""
    values = ratios(measured, load, one, other)
    return statistics.median(values) if values else float("nan")


def ratios(measured: Measured, load: str, one: str, other: str) -> list[float]:
    """The same, round by round. A slow arm's rounds are compared with the other's median."""
    a, b = measured.get(one, {}).get(load), measured.get(other, {}).get(load)
    if a is None or b is None:
        return []
    if len(a.cpu_ms) == len(b.cpu_ms):
        return [x / y for x, y in zip(a.cpu_ms, b.cpu_ms, strict=True)]
    return [x / b.median for x in a.cpu_ms]


def own_us(measured: Measured, load: str, one: str, other: str) -> float:
    """Microseconds a call of one arm over another, median of the rounds."""
    a, b = measured.get(one, {}).get(load), measured.get(other, {}).get(load)
    if a is None or b is None:
        return float("nan")
    pairs = zip(a.cpu_ms, b.cpu_ms, strict=False)
    return statistics.median(1000 * (x - y) / SEATS for x, y in pairs)


def throughput(measured: Measured, one: str, other: str) -> float:
    """Decisions a second of one arm over the other's, in the same rounds."""
    a, b = measured.get(one, {}).get(WAITING), measured.get(other, {}).get(WAITING)
    if a is None or b is None:
        return float("nan")
    if len(a.wall_ms) == len(b.wall_ms):
        return statistics.median(y / x for x, y in zip(a.wall_ms, b.wall_ms, strict=True))
    return a.per_second / b.per_second


def claims(measured: Measured, others: Sequence[str]) -> list[Claim]:
    """What is claimed, and what was measured."""
    found = []
    pairs = (
        ("Anthropic", OURS["anthropic"], UNDER["anthropic"]),
        ("Anthropic, a process of its own", OWN_PROCESS, LIKE_IT),
        ("OpenAI", OURS["openai"], UNDER["openai"]),
    )
    for load in (TEN, HUNDRED):
        for name, ours, under in pairs:
            said = f"{name}, {load}"
            us = own_us(measured, load, ours, under)
            over = ratio(measured, load, ours, under)
            found += [
                Claim(f"own overhead a call, µs ({said})", us, 25, form="{:.0f}"),
                Claim(f"CPU over the client underneath ({said})", over, 1.1),
            ]
        leanest = ratio(measured, load, OURS["anthropic"], LEANEST)
        found.append(Claim(f"CPU over the leanest path through the SDK ({load})", leanest, 1.1))
        sdk = ratio(measured, load, OURS["anthropic"], SDK["anthropic"])
        found.append(Claim(f"CPU over the anthropic SDK as it comes ({load})", sdk, 0.25))
    what = f"decisions a second, {WAITING}, over"
    for name, ours, under in pairs:
        share = throughput(measured, ours, under)
        found.append(Claim(f"{what} the client underneath ({name})", share, 0.9, least=True))
    share = throughput(measured, OURS["anthropic"], LEANEST)
    found.append(Claim(f"{what} the leanest path through the SDK", share, 0.9, least=True))
    ahead = [throughput(measured, OURS["openai"], other) for other in others]
    known = [value for value in ahead if value == value]
    what = f"{what} the fastest peer's (OpenAI)"
    found.append(Claim(what, min(known) if known else float("nan"), 1.0, least=True))
    kept = "ours, Anthropic, receipts kept nowhere"
    for name, what in (
        ("ours, Anthropic", "CPU for keeping records and receipts on disk before use, as a share"),
        ("ours, Anthropic, durable to a power cut", "the same, safe from a power cut"),
    ):
        value = ratio(measured, HUNDRED, kept, name)
        found.append(Claim(f"{what} of a decision's ({HUNDRED})", 1 - value, 0.1))
    return found


def _duties(measured: Measured, load: str) -> str:
    """What the duties cost over the client, and what ours does over them."""
    theirs, ours = (
        own_us(measured, load, LEAST, LIKE_IT),
        own_us(measured, load, OWN_PROCESS, LIKE_IT),
    )
    over = ratio(measured, load, LEAST, LIKE_IT)
    more = ratio(measured, load, OWN_PROCESS, LEAST)
    return (
        f"{load}: {theirs:.0f} µs a call over the client underneath ({over:.2f} ×), ours in a "
        f"process of its own {ours:.0f} µs, {more:.2f} × the duties in all"
    )


def _row(arm: Running, measured: Measured, loads: Sequence[str]) -> list[str]:
    if arm.failed is not None:
        return [arm.arm.name, f"failed: {arm.failed}", *[""] * (2 * len(loads))]
    cells = [arm.arm.name]
    for load in loads:
        figures = arm.figures.get(load)
        if figures is None:
            cells += ["–", "–"]
            continue
        cells.append(spread(figures.cpu_ms, "{:.1f}"))
        against = ratio(measured, load, arm.arm.name, SDK["anthropic"])
        cells.append("–" if against != against else f"{against:.2f}")
    last = arm.figures.get(WAITING)
    return [*cells, "–" if last is None else f"{last.per_second:.1f}"]


def study(
    provider: Provider,
    say: Callable[[str], None],
    *,
    rounds: int,
    with_peers: bool = True,
    loads: Sequence[Load] = LOADS,
    arms: Sequence[Arm] = ARMS,
) -> Part:
    """Run it."""
    others, missing = peers(say) if with_peers else ([], [])
    running = run_rounds([*arms, *others], loads, rounds, provider, say)
    measured = {one.arm.name: one.figures for one in running}
    head = (
        "",
        "ms, 10 at once",
        "× SDK",
        "ms, 100 at once",
        "× SDK",
        "ms at 400 ms",
        "× SDK",
        "/s",
    )
    names = (TEN, HUNDRED, WAITING)
    notes = [
        (
            "One decision: ten calls of about 2.5 kB with a schema, the answers read, a majority. "
            f"CPU of the whole process, threads included; medians of {rounds} interleaved rounds "
            "(least to greatest); the provider is a process of its own. *× SDK*: over the "
            "anthropic SDK as it comes with `asyncio.gather`, in the same rounds. The last "
            "columns: a hundred decisions in flight, answers after 400 ms. Slow arms do a twelfth "
            "of the decisions, but as many as are at once, in every other round. Peers speak "
            "OpenAI's protocol, each in its own environment "
            "(`benchmarks/speed/peers/*/requirements.txt`)."
        ),
        table(head, [_row(one, measured, names) for one in running]),
    ]
    duties = [_duties(measured, load) for load in names if LEAST in measured]
    if duties:
        notes.append(
            "*The duties in straight lines* (`benchmarks/speed/arms/least.py`) is this one panel "
            "written by hand over the same client: a fenced and hashed request a seat, a limit, a "
            "price, an answer read strictly, records and a receipt on disk before they are used, "
            "a vote; no retries, breakers, deadlines, failures, policies or replays. So much of "
            f"our own part nobody can leave out. {'; '.join(duties)}."
        )
    if missing:
        notes.append("\n".join(f"- {line}" for line in missing))
    if not with_peers:
        notes.append("The peers were not run.")
    names = tuple(one.arm.name for one in running if one.arm in others)
    return Part("A ten-seat decision", claims(measured, names), notes)
