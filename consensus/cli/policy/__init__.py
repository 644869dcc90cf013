"""``consensus policy``: is the table right, and which way does a task type go.

One command a file; this wires them.
"""

from __future__ import annotations

import typer

from consensus.cli.policy import (
    accept,
    check,
    classify,
    export,
    promote,
    propose,
    refresh,
    schema,
    show,
)

__all__ = ["app"]

app = typer.Typer(
    name="policy",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="The table of task types: check it, show a route, propose and accept rows.",
)

app.command("check")(check.check)
app.command("show")(show.show)
app.command("propose")(propose.propose)
app.command("accept")(accept.accept)
app.command("refresh")(refresh.refresh)
app.command("promote")(promote.promote)
app.command("schema")(schema.schema)
app.command("export")(export.export)
app.add_typer(classify.app, name="classify")
