"""The page as one HTML file: its style and its script are its own, and nothing comes from outside.

Every value that a template writes passes :func:`visible`, and then the escaping: what is not a
visible character is written as an escape, so no text can hide, reorder or imitate the page's own.
The Content-Security-Policy allows one script and one style, by their hashes; data are never either.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from consensus.benchmark.report import words
from consensus.benchmark.report.charts import NARROW, WIDE
from consensus.benchmark.report.templating import page_environment
from consensus.ledger.page import clean
from consensus.server.page import charts
from consensus.server.page.reading import QUEUE
from consensus.server.page.receipts import FEW, moment_text

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

__all__ = ["page_csp", "render_locked", "render_page", "render_receipt", "visible"]

STATUSES = {
    "certified": "good", "provisional": "open", "uncertifiable": "open", "failed": "bad",
}  # fmt: skip
ACTIONS = {"act": "good", "escalate": "open", "abstain": "bad"}


def render_page(data: Mapping[str, Any], *, live_s: float | None = None) -> str:
    """Lay out the data of ``page_data`` or, with less on it, of ``review_data``.

    Args:
        data: what to show.
        live_s: seconds after which the page, where it is served, fetches itself again and shows
            what has changed; None for a file that stays as it is.
    """
    from markupsafe import Markup

    style, script = _assets()
    text: str = (
        _environment()
        .get_template("page.html.j2")
        .render(
            p=data,
            **(_settling(data) if "review" in data else _whole(data)),
            live_s=live_s,
            csp=page_csp(live=live_s is not None),
            style=Markup(style),  # noqa: S704 - our own file
            script=Markup(script),  # noqa: S704 - our own file
            few=FEW,
            unknown=words.UNKNOWN,
        )
    )
    return text.rstrip() + "\n"


def _whole(data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "attention": _attention(data),
        "spent": _spent(data),
        "legend": _stacks(data),
        "drawn": {row["name"]: _drawn(row, data) for row in data["types"]},
        "step": _step_text(data["step_s"]),
        "review": False,
    }


def _settling(data: Mapping[str, Any]) -> dict[str, Any]:
    return {"attention": _waiting(data["queue"]), "review": True}


def render_receipt(view: Mapping[str, Any]) -> str:
    """A page of one receipt, which a live page takes out of it; it can be labelled there.

    Args:
        view: of :func:`~consensus.server.page.receipts.receipt_view`.
    """
    return _small("one.html.j2", r=view, live_s=True)


def render_locked() -> str:
    """A page that asks for a key, and holds nothing else."""
    return _small("locked.html.j2")


def _small(template: str, **values: Any) -> str:
    from markupsafe import Markup

    style, script = _assets()
    text: str = (
        _environment()
        .get_template(template)
        .render(
            csp=page_csp(live=True),
            style=Markup(style),  # noqa: S704 - our own file
            script=Markup(script),  # noqa: S704 - our own file
            few=FEW,
            **values,
        )
    )
    return text.rstrip() + "\n"


def page_csp(*, live: bool) -> str:
    """The page's Content-Security-Policy, for a server's header too.

    Its one script and its one style are known by their hashes. A live page may fetch from its own
    origin, a file from nowhere. ``frame-ancestors`` counts in a header only.
    """
    style, script = _assets()
    return (
        f"default-src 'none'; script-src 'sha256-{_hash(script)}'; "
        f"style-src 'sha256-{_hash(style)}'; base-uri 'none'; form-action 'none'"
        + ("; connect-src 'self'" if live else "")
    )


def visible(value: Any) -> Any:
    """A text with every character that is not visible written as an escape; lines stay lines."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return "\n".join(clean(line) for line in value.replace("\r\n", "\n").split("\n"))


@cache
def _assets() -> tuple[str, str]:
    """Style and script exactly as they stand in the page, since their hashes are of that."""
    report = files("consensus.benchmark.report") / "templates" / "report.css"
    own = files("consensus.server.page") / "templates"
    style = report.read_text(encoding="utf-8") + (own / "page.css").read_text(encoding="utf-8")
    return style, (own / "page.js").read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _environment() -> Environment:
    folder = files("consensus.server.page") / "templates"
    environment = page_environment(folder, finalize=visible)
    environment.filters["status"] = lambda name: STATUSES.get(name, "open")
    environment.filters["action"] = lambda name: ACTIONS.get(name, "open")
    environment.filters["clock"] = _clock
    environment.filters["moment"] = moment_text
    return environment


def _clock(moment: str | None) -> str:
    """``2026-11-22 06:03:11`` of an ISO moment in UTC."""
    return "" if moment is None else moment[:19].replace("T", " ")


def _step_text(step: int) -> str:
    for size, name in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if step >= size:
            many = step // size
            return name if many == 1 else f"{many} {name}s"
    return f"{step} seconds"


def _attention(data: Mapping[str, Any]) -> list[dict[str, str]]:
    """What a person should look at first: nothing, or each thing with where it stands."""
    found = []
    incidents, queue = data["incidents"], data["queue"]
    if incidents:
        many = len(incidents)
        found.append(
            _notice("bad", f"{many} {'incident' if many == 1 else 'incidents'} open", "#incidents")
        )
    dead = [
        row["name"] for row in data["types"] if row["certificate"] and row["certificate"]["dead"]
    ]
    if dead:
        said = dead[0] if len(dead) == 1 else f"{len(dead)} task types"
        found.append(_notice("bad", f"the certificate of {said} no longer holds", "#certificates"))
    for row in data["types"]:
        if row["demoted"]:
            by = row["demoted"]["by"]
            found.append(_notice("open", f"{row['name']} is demoted: it serves by {by}", "#types"))
    over = [row["name"] for row in data["types"] if row["over_line"]]
    if over:
        said = over[0] if len(over) == 1 else f"{len(over)} task types"
        verb = "escalates" if len(over) == 1 else "escalate"
        found.append(_notice("open", f"{said} {verb} above the alarm line", "#types"))
    return found + _waiting(queue)


def _waiting(queue: Sequence[object]) -> list[dict[str, str]]:
    if not queue:
        return []
    many = len(queue)
    said = "decision waits" if many == 1 else "decisions wait"
    more = " or more" if many >= QUEUE else ""
    return [_notice("open", f"{many:,}{more} {said} for a person", "#queue")]


def _notice(level: str, text: str, href: str) -> dict[str, str]:
    return {"level": level, "text": text, "href": href}


def _stacks(data: Mapping[str, Any]) -> list[tuple[str, list[float]]]:
    """The dearest task types' dollars by bucket, the rest together."""
    spent = [
        (row["name"], [bucket["cost"] / 1e12 for bucket in row["over_time"]])
        for row in data["types"]
        if row["usd"]
    ]
    spent.sort(key=lambda item: (-sum(item[1]), item[0]))
    if len(spent) <= charts.COLOURS:
        return spent
    own, rest = spent[: charts.COLOURS - 1], spent[charts.COLOURS - 1 :]
    together = [sum(values) for values in zip(*(values for _, values in rest), strict=True)]
    return [*own, (f"{len(rest)} others", together)]


def _spent(data: Mapping[str, Any]) -> tuple[Markup, Markup] | None:
    from markupsafe import Markup

    stacks = _stacks(data)
    if not stacks:
        return None
    said = f"Dollars spent per {_step_text(data['step_s'])} by task type; " + "; ".join(
        f"{clean(name)} {words.usd(sum(values))}" for name, values in stacks
    )
    pair = [
        charts.spent_over_time(data["starts"], data["step_s"], stacks, width, said)
        for width in (WIDE, NARROW)
    ]
    if pair[0] is None or pair[1] is None:
        return None
    return Markup(pair[0]), Markup(pair[1])  # noqa: S704 - escaped where it is drawn


def _drawn(row: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Markup | None]:
    """The three charts of one task type."""
    starts, step, buckets = data["starts"], data["step_s"], row["over_time"]
    name, each = clean(row["name"]), _step_text(step)
    profile = row["profile_escalation"]
    lines = [] if profile is None else [
        charts.Reference(profile, f"profile {words.share(profile)}", "line"),
        charts.Reference(row["alarm_line"], f"alarm {words.share(row['alarm_line'])}", "alarm"),
    ]  # fmt: skip
    agreeing = row["profile_agreement"]
    dear = row["profile_usd"]
    return {
        "cost": _svg(
            charts.money_over_time(
                starts,
                step,
                [b["cost"] / 1e12 / b["decisions"] if b["decisions"] else None for b in buckets],
                [] if dear is None else [
                    charts.Reference(dear, f"profile {words.usd(dear)}", "line")
                ],
                f"Cost of a decision of {name} per {each}: "
                f"{words.usd(row['usd_per_decision'])} over the whole stretch",
            )
        ),
        "escalation": _rates(
            starts, step, buckets, ("escalations", "decisions"), lines,
            f"Escalation rate of {name} per {each}: "
            f"{words.share(row['escalation']['share'])} over the whole stretch",
        ),
        "agreement": _rates(
            starts, step, buckets, ("agreed", "compared"),
            [] if agreeing is None else [
                charts.Reference(agreeing, f"profile {words.share(agreeing)}", "line")
            ],
            f"Agreement of {name} with the frontier per {each}: "
            f"{words.share(row['agreement']['share'])} over the whole stretch",
        ),
    }  # fmt: skip


def _rates(
    starts: Sequence[int],
    step: int,
    buckets: Sequence[Mapping[str, int]],
    names: tuple[str, str],
    lines: Sequence[charts.Reference],
    description: str,
) -> Markup | None:
    from consensus.statistics.intervals import wilson

    part, whole = names
    rates = [b[part] / b[whole] if b[whole] else None for b in buckets]
    bands = [wilson(b[part], b[whole]) if b[whole] else None for b in buckets]
    return _svg(charts.rate_over_time(starts, step, rates, bands, lines, description))


def _svg(text: str | None) -> Markup | None:
    from markupsafe import Markup

    return None if text is None else Markup(text)  # noqa: S704 - escaped where it is drawn
