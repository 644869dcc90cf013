"""The command ``consensus``: wires the commands together and turns errors into exit codes.

0 done · 1 a user's or provider's error, in one clear line · 2 usage · 3 a bug, with a log file ·
130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from consensus._version import __version__
from consensus.cli import audit, bench, cost, decide, doctor, init, ledger, models, policy, serve
from consensus.errors import ConsensusError

__all__ = ["app", "main"]

app = typer.Typer(
    name="consensus",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Decide judgement tasks with one model, a cascade or a panel, and prove that the choice "
        "was right.\n\n"
        "Start with [bold]consensus init[/], put a key in ANTHROPIC_API_KEY or OPENAI_API_KEY (or "
        "[bold]consensus models pull[/] a local model), then [bold]consensus doctor[/]."
    ),
)


def _version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"consensus {__version__}\n")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Nothing is done before a command."""


app.command("init")(init.init)
app.command("decide")(decide.decide)
app.add_typer(bench.app, name="bench")
app.add_typer(policy.app, name="policy")
app.add_typer(audit.app, name="audit")
app.add_typer(cost.app, name="cost")
app.add_typer(ledger.app, name="ledger")
app.add_typer(models.app, name="models")
app.add_typer(serve.app, name="serve")
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Run the command line; never a traceback for a user's error."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and say how it ended."""
    try:
        result = app(args=arguments, standalone_mode=False)
    except ConsensusError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except (typer.Abort, KeyboardInterrupt):
        sys.stderr.write("interrupted\n")
        return 130
    except TyperException as error:
        show = getattr(error, "show", None)
        if show is None:
            raise
        show()
        return int(getattr(error, "exit_code", 2))
    except BrokenPipeError:
        # Whoever read our output has enough of it; do not complain at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - the last line of defence
        sys.stderr.write(f"{_bug(error)}\n")
        return 3
    return result if isinstance(result, int) else 0


def _bug(error: Exception) -> str:
    """Write the traceback where it can be found; the line names the place, not the judged text."""
    import tempfile

    line = f"bug: {type(error).__name__}; this should not happen"
    try:
        handle, name = tempfile.mkstemp(prefix="consensus-bug-", suffix=".log")
        with os.fdopen(handle, "w", encoding="utf-8") as log:
            log.write(f"consensus {__version__}, Python {sys.version}\n")
            log.writelines(traceback.format_exception(error))
    except OSError:
        return line
    return f"{line}. The log is {Path(name)}; please report it"


if __name__ == "__main__":
    main()
