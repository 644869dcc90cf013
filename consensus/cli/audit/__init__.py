"""``consensus audit``: what a product asks of models, from the first list to the first request.

One command a file; this wires them.
"""

from __future__ import annotations

import typer

from consensus.cli.audit import check, init, profile, ready, schema, show

__all__ = ["app"]

app = typer.Typer(
    name="audit",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help=(
        "The task types of a product: who owns them, how often they occur, what a wrong answer "
        "does. Write it before any routing.\n\n"
        "[bold]init[/] writes audit.toml, [bold]check[/] says what it lacks, [bold]profile[/] "
        "makes cases to measure on, [bold]ready[/] what is open before the first request."
    ),
)

app.command("init")(init.init)
app.command("check")(check.check)
app.command("show")(show.show)
app.command("profile")(profile.profile)
app.command("ready")(ready.ready)
app.command("schema")(schema.schema)
