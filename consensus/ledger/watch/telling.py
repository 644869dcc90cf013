"""Telling of incidents: the log, a webhook, a command. Each channel hears of each once.

What is told holds counts, rates, names of models and the row's history, and no judged text. A
channel that fails is tried again at a later look; the others are not kept waiting.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from consensus.errors import ConsensusError
from consensus.ledger.watch.incident import Incident, mark_told
from consensus.policy.watch_settings import why_not_posted

if TYPE_CHECKING:
    from consensus.ledger.store import Ledger
    from consensus.policy.watch_settings import AlarmSettings, Webhook

__all__ = ["SIGNATURE", "message", "sign", "tell"]

SIGNATURE = "X-Consensus-Signature"
"""Header of a signed post: ``sha256=`` and the HMAC of the body in hexadecimal."""

FORMAT = "consensus-alarm/1"

log = logging.getLogger("consensus.watch")


class _FailedError(Exception):
    """A channel did not take it; the text says why, without addresses or secrets."""


def message(
    incident: Incident, *, demoted: str | None = None, parts: Iterable[Incident] = ()
) -> dict[str, Any]:
    """What a webhook and a command are given: plain data; ``parts`` are of the same trouble."""
    data = incident.to_json()
    del data["told"]
    also = [
        {"incident_id": part.incident_id, "task_type": part.task_type or None, "says": part.says}
        for part in parts
    ]
    return {"format": FORMAT, **data, "demoted_to": demoted, "with": also}


def sign(body: bytes, secret: str) -> str:
    """The signature of a body, as :data:`SIGNATURE` holds it."""
    return f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"


async def tell(
    ledger: Ledger,
    settings: AlarmSettings,
    found: Iterable[Incident],
    *,
    demoted: Mapping[str, str] | None = None,
    acted: Collection[str] = (),
    now: float | None = None,
    environ: Mapping[str, str] | None = None,
) -> dict[str, dict[str, str]]:
    """Tell of open incidents wherever they have not been told yet.

    Args:
        found: open incidents; those that everybody knows cost nothing.
        demoted: task type → the step by which its row serves now.
        acted: incidents that demoted a row: they are told even where they are a part of another.
        environ: where secrets are; the process's own by default.

    Returns:
        incident → channel → ``told``, or why not.

    A channel's trouble is logged and returned, and never raised.
    """
    at = time.time() if now is None else now
    said: dict[str, dict[str, str]] = {}
    found = tuple(found)
    leads = {one.incident_id for one in found if settings.tells(one.monitor)}
    for incident in found:
        if incident.part_of in leads and incident.incident_id not in acted:
            continue
        open_ = [
            (name, send)
            for name, send in _channels(settings, environ or os.environ)
            if settings.tells(incident.monitor) and _due(incident, name, settings, at)
        ]
        if not open_:
            continue
        parts = [one for one in found if one.part_of == incident.incident_id]
        step = (demoted or {}).get(incident.task_type)
        data = message(incident, demoted=step, parts=parts)
        outcomes = await asyncio.gather(*(_sent(name, send, data) for name, send in open_))
        said[incident.incident_id] = dict(outcomes)
        marks = {name if word == "told" else f"{name}:tried": at for name, word in outcomes}
        await asyncio.to_thread(mark_told, ledger, incident.incident_id, marks)
    return said


def _due(incident: Incident, channel: str, settings: AlarmSettings, at: float) -> bool:
    if channel in incident.told:
        return False
    tried = incident.told.get(f"{channel}:tried")
    return tried is None or at - tried >= settings.retry_s


def _channels(
    settings: AlarmSettings, environ: Mapping[str, str]
) -> list[tuple[str, Callable[[dict[str, Any]], Any]]]:
    found: list[tuple[str, Callable[[dict[str, Any]], Any]]] = []
    if settings.log:
        found.append(("log", _log))
    webhook, command = settings.webhook, settings.command
    if webhook is not None:
        found.append(("webhook", lambda data: _post(webhook, data, environ)))
    if command is not None:
        timeout = settings.command_timeout_s
        found.append(("command", lambda data: _run(command, data, timeout)))
    return found


async def _sent(
    name: str, send: Callable[[dict[str, Any]], Any], data: dict[str, Any]
) -> tuple[str, str]:
    try:
        await send(data)
    except _FailedError as error:
        log.error("incident %s: %s: %s", data["incident_id"], name, error)
        return name, str(error)
    return name, "told"


async def _log(data: dict[str, Any]) -> None:
    also = "".join(f"; with it: {part['says']}" for part in data["with"])
    log.warning(
        "%s%s (incident %s; %s)", data.get("says"), also, data["incident_id"], data.get("command")
    )


async def _post(webhook: Webhook, data: dict[str, Any], environ: Mapping[str, str]) -> None:
    import aiohttp

    url = webhook.url or _secret(environ, webhook.url_env or "")
    if why_not := why_not_posted(url):
        raise _FailedError(f"the address {why_not}")
    body = json.dumps(data, sort_keys=True, allow_nan=False).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "consensus"}
    if webhook.secret_env is not None:
        headers[SIGNATURE] = sign(body, _secret(environ, webhook.secret_env))
    why = ""
    timeout = aiohttp.ClientTimeout(total=webhook.timeout_s)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        for attempt in range(webhook.attempts):
            if attempt:
                await _pause(attempt)
            try:
                async with session.post(
                    url, data=body, headers=headers, allow_redirects=False
                ) as answer:
                    if 200 <= answer.status < 300:
                        return
                    why = f"answered with status {answer.status}"
                    if answer.status < 500 and answer.status not in (408, 429):
                        break
            except (aiohttp.ClientError, TimeoutError, ValueError, OSError) as error:
                why = f"could not be reached ({type(error).__name__})"
    raise _FailedError(why)


async def _pause(attempt: int) -> None:
    await asyncio.sleep(min(30.0, 0.5 * 2**attempt))


def _secret(environ: Mapping[str, str], name: str) -> str:
    found = environ.get(name)
    if not found:
        raise _FailedError(f"the environment variable {name} is not set")
    return found


async def _run(command: tuple[str, ...], data: dict[str, Any], timeout_s: float) -> None:
    body = json.dumps(data, sort_keys=True, allow_nan=False).encode()
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise _FailedError(f"could not be started: {error.strerror}") from None
    try:
        # One that does not read its input and exits well has been told all the same.
        await asyncio.wait_for(process.communicate(body), timeout_s)
    except TimeoutError:
        raise _FailedError(f"did not end within {timeout_s:g} s") from None
    finally:
        if process.returncode is None:
            _end(process.pid)
            await process.wait()
    if process.returncode:
        raise _FailedError(f"ended with status {process.returncode}")


def _end(pid: int) -> None:
    """End a command and what it started: it leads a group of its own."""
    import signal

    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def trouble(error: Exception) -> str:
    """An error as the watch logs it: ours are one line, others are named and not quoted."""
    return str(error) if isinstance(error, ConsensusError) else type(error).__name__
