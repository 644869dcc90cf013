"""``consensus doctor``: what is installed, which endpoints work, how old the prices are."""

from __future__ import annotations

import asyncio
import os
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer

from consensus.cli._console import print_json, stdout

__all__ = ["doctor"]

PACKAGES = (
    "anthropic",
    "litellm",
    "openai",
    "numpy",
    "scipy",
    "pydantic",
    "sqlalchemy",
    "xllamacpp",
)
KEYS = (
    "ANTHROPIC_API_KEY",
    "OPENAI_API_KEY",
    "GEMINI_API_KEY",
    "AZURE_API_KEY",
    "OPENROUTER_API_KEY",
)
OLD_PRICES_DAYS = 90


def doctor(
    policy: Annotated[Path | None, typer.Option(help="Folder or file of the policy.")] = None,
    call: Annotated[
        bool,
        typer.Option(
            "--call",
            help="Ask every model that a row can reach one tiny question (costs a few tokens).",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Check the installation, the policy, the keys, the price map and the ledger.

    Nothing is sent anywhere unless --call is given. Exit 1 while something is wrong.
    """
    checks: list[dict[str, Any]] = []

    def add(what: str, ok: bool | None, detail: str) -> None:
        checks.append({"check": what, "ok": ok, "detail": detail})

    add("python", sys.version_info >= (3, 11), sys.version.split()[0])
    for name in PACKAGES:
        try:
            add(name, True, version(name))
        except PackageNotFoundError:
            optional = name == "xllamacpp"
            add(
                name,
                None if optional else False,
                "not installed" + (" (extra: local)" if optional else ""),
            )
    engine = _engine(policy, add)
    if engine is not None:
        _prices(engine, add)
        _ledger(engine, add)
        reached = _models(engine)
        _keys(engine, reached, add)
        if call:
            for model, ok, detail in asyncio.run(_calls(engine, reached)):
                add(f"call {model}", ok, detail)
    _local_models(add)
    if as_json:
        print_json({"ok": all(c["ok"] is not False for c in checks), "checks": checks})
    else:
        marks = {True: "[green]ok[/]  ", False: "[red]FAIL[/]", None: "[yellow]--[/]  "}
        from rich.markup import escape

        for item in checks:
            stdout().print(f"{marks[item['ok']]}  {item['check']:<28} {escape(item['detail'])}")
    return 1 if any(c["ok"] is False for c in checks) else 0


def _engine(policy: Path | None, add: Any) -> Any:
    from consensus.engine import Engine
    from consensus.errors import ConsensusError

    try:
        engine = Engine(policy)
    except ConsensusError as error:
        add("policy", False, str(error))
        return None
    add(
        "policy",
        True,
        f"{engine.table.source}: {len(engine.table.tasks)} rows, {len(engine.table.tiers)} tiers",
    )
    return engine


def _prices(engine: Any, add: Any) -> None:
    import datetime

    book = engine.prices
    days = (datetime.datetime.now(datetime.UTC).date() - book.date).days
    add(
        "price map",
        True if days <= OLD_PRICES_DAYS else None,
        f"litellm {book.litellm_version}, {book.date} ({days} days old), sha256 {book.sha256[:12]}",
    )


def _ledger(engine: Any, add: Any) -> None:
    from consensus.errors import ConsensusError

    try:
        engine.ledger.open()
        add("ledger", True, engine.ledger.where)
    except ConsensusError as error:
        add("ledger", False, str(error))
    finally:
        engine.ledger.close()


def _models(engine: Any) -> tuple[str, ...]:
    from consensus.errors import PolicyError
    from consensus.policy.route import route_type

    found: dict[str, None] = {}
    for name in (*engine.table.tasks, "any type without a row"):
        try:
            found |= dict.fromkeys(route_type(engine.table, name).models)
        except PolicyError:
            continue  # a table whose defaults name no models serves only the rows it has
    return tuple(found)


def _keys(engine: Any, models: tuple[str, ...], add: Any) -> None:
    """Only whether a key is there; never what it is."""
    settings = engine.table.provider_settings()
    providers = dict.fromkeys(model.partition("/")[0] for model in models)
    for provider in providers:
        if provider in {"local", "scripted"}:
            continue
        own = settings.get(provider)
        name = (own.api_key_env if own else None) or f"{provider.upper()}_API_KEY"
        base = (own.base_url if own else None) or os.environ.get(f"{provider.upper()}_BASE_URL")
        present = bool(os.environ.get(name))
        where = f", endpoint {base}" if base else ""
        add(f"key {name}", present or None, ("set" if present else "not set") + where)


async def _calls(engine: Any, models: tuple[str, ...]) -> list[tuple[str, bool, str]]:
    from consensus.errors import ConsensusError
    from consensus.models.factory import ClientFactory
    from consensus.models.protocol import Part, Request, Turn

    factory = ClientFactory(engine.table.provider_settings(), engine.prices)
    results = []
    try:
        for model in models:
            request = Request(
                model,
                "Answer with one word.",
                (Turn("user", (Part("Say: ready"),)),),
                max_output_tokens=64,
            )
            try:
                answer = await factory.client(model).complete(request, timeout_s=60)
                results.append(
                    (model, True, f"served {answer.served_model} in {answer.latency_s:.2f} s")
                )
            except ConsensusError as error:
                results.append((model, False, str(error)))
    finally:
        await factory.aclose()
    return results


def _local_models(add: Any) -> None:
    from consensus.models.catalogue import catalogue, is_pulled, where

    for name in catalogue():
        pulled = is_pulled(name)
        detail = str(where(name)) if pulled else f"not pulled (consensus models pull {name})"
        add(f"local/{name}", True if pulled else None, detail)
