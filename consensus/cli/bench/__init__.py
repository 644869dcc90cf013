"""``consensus bench``: measure, replay, compare. One command a file; this wires them."""

from __future__ import annotations

import typer

from consensus.cli.bench import replay

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help=(
        "Is a panel better than one frontier call, on your cases, and what does it cost?\n\n"
        "[bold]consensus bench replay[/] answers from recorded answers, at no cost."
    ),
)


@app.callback()
def root() -> None:
    """Keep the name of the one command in the command line."""


app.command("replay")(replay.replay)
