"""``consensus bench``: measure, replay, compare. One command a file; this wires them."""

from __future__ import annotations

import typer

from consensus.cli.bench import (
    content_free,
    fit,
    import_,
    replay,
    report,
    review,
    run,
    study,
    suite,
)

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help=(
        "Is a panel better than one frontier call, on your cases, and what does it cost?\n\n"
        "[bold]consensus bench replay[/] answers from recorded answers, at no cost; "
        "[bold]bench run[/] records them from your models, [bold]bench import[/] from your logs."
    ),
)


@app.callback()
def root() -> None:
    """Keep the name of the one command in the command line."""


app.command("fit")(fit.fit)
app.command("content-free")(content_free.content_free)
app.command("replay")(replay.replay)
app.command("run")(run.run)
app.command("import")(import_.import_)
app.command("review")(review.review)
app.command("report")(report.report)
app.command("study")(study.study)
app.add_typer(suite.app, name="suite")
