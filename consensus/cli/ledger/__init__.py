"""``consensus ledger``: what was decided, why, for how much; and whether it still adds up.

One command a file; this wires them.
"""

from __future__ import annotations

import typer

from consensus.cli.ledger import (
    acknowledge,
    export,
    incidents,
    label,
    listing,
    migrate,
    page,
    path,
    quality,
    queue,
    replay,
    show,
    stats,
    verify,
    watch,
)

__all__ = ["app"]

app = typer.Typer(
    name="ledger",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help=(
        "Every call and every decision, kept on this machine or on your database server: what was "
        "decided and why, what it cost, and the same decision drawn again from its receipt.\n\n"
        "The ledger is the one that --ledger names, else CONSENSUS_LEDGER, else the policy's "
        "[bold]\\[ledger][/] path or url_env, else .consensus/ledger.db in the current folder."
    ),
)

app.command("page")(page.page)
app.command("migrate")(migrate.migrate)
app.command("queue")(queue.queue)
app.command("label")(label.label)
app.command("quality")(quality.quality)
app.command("export")(export.export)
app.command("watch")(watch.watch)
app.command("incidents")(incidents.incidents)
app.command("acknowledge")(acknowledge.acknowledge)
app.command("show")(show.show)
app.command("replay")(replay.replay)
app.command("list")(listing.list_)
app.command("stats")(stats.stats)
app.command("verify")(verify.verify)
app.command("path")(path.path)
