"""``consensus serve``: the HTTP API, and an endpoint for OpenAI's clients; and its keys."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from consensus.cli._console import note, print_json, stdout

if TYPE_CHECKING:
    from consensus.policy.table import PolicyTable
    from consensus.server.process import ServeOptions

__all__ = ["app"]

EXAMPLES = """
[bold]For this machine[/], without keys

  consensus serve
  curl -H 'content-type: application/json' http://127.0.0.1:8787/v1/decide \\
      -d '{"type": "refund_approval", "subject": "Unused, 12 days old."}'

[bold]For an existing OpenAI client[/]: the base URL changes, and the model is a task type

  OPENAI_BASE_URL=http://127.0.0.1:8787/v1 python your_program.py

[bold]For other machines[/]: make a key first

  consensus serve keys new --name billing --types refund_approval,triage --usd-per-day 5
  consensus serve --host 0.0.0.0

[bold]On all processors[/]: four processes on one port; one that dies is started again

  consensus serve --workers 4
"""

app = typer.Typer(name="serve", invoke_without_command=True, rich_markup_mode="rich")
keys_app = typer.Typer(
    name="keys", no_args_is_help=True, help="Who may call: make, list and revoke keys."
)

KeysFile = Annotated[
    Path | None,
    typer.Option("--keys", help="File of the keys' hashes; else .consensus/keys.toml, if it is."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.callback(epilog=EXAMPLES)
def serve(
    context: typer.Context,
    host: Annotated[
        str, typer.Option(help="Address to listen on; one that others can reach needs keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 8787,
    policy: Annotated[
        Path | None,
        typer.Option(help="Folder or file of the policy; else strategies/ here, else the defaults"),
    ] = None,
    ledger: Annotated[
        Path | None,
        typer.Option(help="Ledger; else $CONSENSUS_LEDGER, the policy's, .consensus/ledger.db."),
    ] = None,
    keys: KeysFile = None,
    reload: Annotated[
        bool,
        typer.Option(
            "--reload",
            help="Put a changed policy or prompt in force between decisions; a broken one never.",
        ),
    ] = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Hold production against the profiles; tell and demote as the policy says.",
        ),
    ] = False,
    workers: Annotated[
        int,
        typer.Option(
            min=1, max=256, help="Processes on the port; one ledger, limits and budgets for all."
        ),
    ] = 1,
    at_once: Annotated[
        int, typer.Option(min=1, help="Decisions that run at once, in each process.")
    ] = 64,
    waiting: Annotated[
        int, typer.Option(min=0, help="Decisions that may wait in each; beyond them 429.")
    ] = 256,
    max_body: Annotated[int, typer.Option(min=1, help="Bytes of one task's body.")] = 8_000_000,
    grace: Annotated[
        float, typer.Option(min=0, help="Seconds for what is in flight at shutdown.")
    ] = 30.0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No access log.")] = False,
) -> int:
    """Serve decisions over HTTP, also to OpenAI's clients: the model is a task type.

    Keys say who may have what decided, for how much (--types), who settles what was escalated
    (--reviews), who sees what all callers do (--metrics): consensus serve keys new. Without any
    only this machine may call, and may do all of it.
    """
    if context.invoked_subcommand is not None:
        return 0
    from consensus.server.process import ServeOptions, log_to_stderr
    from consensus.server.running import check_exposure
    from consensus.server.settings import ServerSettings

    settings = ServerSettings(
        host=host,
        port=port,
        at_once=at_once,
        waiting=waiting,
        max_body_bytes=max_body,
        grace_s=grace,
    )
    place = _keys_file(keys)
    options = ServeOptions(
        settings=settings,
        policy=None if policy is None else str(policy),
        ledger=None if ledger is None else str(ledger),
        keys=str(place) if keys is not None or place.exists() else None,
        reload=reload,
        watch=watch,
        access_log=not quiet,
        workers=workers,
    )
    check_exposure(settings, options.ring())
    log_to_stderr(access=not quiet, several=workers > 1)
    return asyncio.run(_serve(options) if workers == 1 else _supervise(options))


async def _serve(options: ServeOptions) -> int:
    from consensus.server.process import serving
    from consensus.server.running import bind

    async with serving(options) as server:
        listening = bind(options.settings)
        _say(options, listening, server.service.table)
        await server.serve(sockets=[listening])
    return 130 if server.interrupted else 0


async def _supervise(options: ServeOptions) -> int:
    from consensus.server.running import bind
    from consensus.server.several import check_several
    from consensus.server.supervisor import Supervisor

    table, notes = check_several(options)
    listening = bind(options.settings)
    _say(options, listening, table)
    for line in notes:
        note(line)
    return await Supervisor(options, listening).run()


def _say(options: ServeOptions, listening: socket.socket, table: PolicyTable) -> None:
    from consensus.server.settings import is_loopback

    ring, host, port = options.ring(), options.settings.host, listening.getsockname()[1]
    who = "no keys: this machine only" if ring is None else f"keys: {len(ring.keys())}"
    shown = f"[{host}]" if ":" in host else host
    several = "" if options.workers == 1 else f"; workers: {options.workers}"
    note(
        f"listening on http://{shown}:{port} ({who}; policy: {table.source}; "
        f"task types: {len(table.tasks)}{several})"
    )
    if not is_loopback(host):
        note("this is plain HTTP: put a proxy with TLS before it, for keys travel in the clear")


def _keys_file(option: Path | None) -> Path:
    from consensus.server.keys import DEFAULT_KEYS

    return option if option is not None else DEFAULT_KEYS


@keys_app.command("new")
def new(
    types: Annotated[
        str, typer.Option(help="Task types that it may use, with commas; * for all of them.")
    ] = "",
    name: Annotated[str, typer.Option(help="Whose it is; for people.")] = "",
    usd_per_day: Annotated[
        float | None, typer.Option(help="What it may spend a day (UTC).")
    ] = None,
    usd_per_month: Annotated[
        float | None, typer.Option(help="What it may spend a month (UTC).")
    ] = None,
    metrics: Annotated[
        bool, typer.Option("--metrics", help="It may read /metrics, and the whole page.")
    ] = False,
    reviews: Annotated[
        str,
        typer.Option(
            help="Task types, with commas, of which it may see and label what all callers had "
            "decided; * for all of them. For the people who settle what is escalated."
        ),
    ] = "",
    keys: KeysFile = None,
    as_json: Json = False,
) -> None:
    """Make a key and print it, once: only its hash is kept.

    Example:
      consensus serve keys new --name billing --types refund_approval --usd-per-day 5
      consensus serve keys new --name "refund desk" --reviews refund_approval
    """
    from consensus.server.keys import new_key

    place = _keys_file(keys)
    if not (types or reviews or metrics):
        raise typer.BadParameter("say what the key may do: --types, --reviews or --metrics")
    key, token = new_key(
        place,
        name=name,
        types=_names(types),
        usd_per_day=usd_per_day,
        usd_per_month=usd_per_month,
        metrics=metrics,
        reviews=_names(reviews),
    )
    if as_json:
        print_json(
            {
                "id": key.key_id,
                "key": token,
                "types": list(key.types),
                "reviews": list(key.reviews),
                "file": str(place),
            }
        )
    else:
        sys.stdout.write(token + "\n")
        note(f"this key is shown once; its hash is {key.key_id} in {place}")


def _names(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


@keys_app.command("list")
def show(keys: KeysFile = None, as_json: Json = False) -> None:
    """List the keys: what they may do, never the keys themselves.

    Example: consensus serve keys list --json
    """
    from consensus.server.keys import load_keys

    found = load_keys(_keys_file(keys))
    if as_json:
        print_json([key.model_dump(mode="json", exclude={"sha256"}) for key in found.values()])
        return
    from rich.markup import escape
    from rich.table import Table

    grid = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("id", "name", "types", "$ a day", "$ a month", "metrics", "reviews", "made"):
        grid.add_column(column, justify="right" if column.startswith("$") else "left")
    for key in found.values():
        grid.add_row(
            key.key_id,
            escape(key.name),
            escape(", ".join(key.types)),
            "" if key.usd_per_day is None else f"{key.usd_per_day:g}",
            "" if key.usd_per_month is None else f"{key.usd_per_month:g}",
            "yes" if key.metrics else "",
            escape(", ".join(key.reviews)),
            key.created,
        )
    stdout().print(grid)


@keys_app.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As keys list shows it.")],
    keys: KeysFile = None,
    as_json: Json = False,
) -> None:
    """Take a key away; a running server refuses it within a second.

    Example: consensus serve keys revoke 3fa9c1d2
    """
    from consensus.server.keys import revoke_key

    key = revoke_key(_keys_file(keys), key_id)
    if as_json:
        print_json({"revoked": key.key_id, "name": key.name})
    else:
        note(f"revoked {key.key_id}{f' ({key.name})' if key.name else ''}")


app.add_typer(keys_app, name="keys")
