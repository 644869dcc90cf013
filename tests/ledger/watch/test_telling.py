from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from consensus.ledger import Ledger
from consensus.ledger.watch import Incident, incidents, look, tell
from consensus.ledger.watch.telling import SIGNATURE, message, sign
from consensus.policy.watch_settings import AlarmSettings, Webhook
from tests.ledger.watch.fixtures import DAY, START, day_of, keep, table_of


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "l.db") as opened:
        keep(opened, day_of(0, 200, 80))
        look(opened, table_of(tmp_path / "p"), now=START + DAY)
        yield opened


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(attempt: int) -> None:
        assert attempt > 0

    monkeypatch.setattr("consensus.ledger.watch.telling._pause", at_once)


class Receiver:
    """A webhook's other end: keeps what it is sent, and answers with the statuses it is given."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.headers: list[Any] = []
        self.statuses: list[int] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        self.headers.append(request.headers)
        status = self.statuses.pop(0) if self.statuses else 204
        headers = {"Location": self.url} if status == 302 else {}
        return web.Response(status=status, headers=headers)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    app = web.Application()
    app.router.add_post("/hook", made.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield made
    await runner.cleanup()


def posting(receiver: Receiver, **fields: Any) -> AlarmSettings:
    return AlarmSettings(log=False, webhook=Webhook(url=receiver.url, **fields))


async def test_the_log_says_what_was_found_and_what_to_run(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "consensus.watch"):
        await tell(ledger, AlarmSettings(), incidents(ledger))
    assert "80 of 200 decisions needed another hop" in caplog.text
    assert "consensus policy propose" in caplog.text


async def test_each_channel_is_told_once(ledger: Ledger, receiver: Receiver) -> None:
    for _ in range(3):
        await tell(ledger, posting(receiver), incidents(ledger))
    assert len(receiver.bodies) == 1
    data = json.loads(receiver.bodies[0])
    assert data["format"] == "consensus-alarm/1"
    assert data["monitor"] == "escalation"
    assert (data["n"], data["total"]) == (200, 80)
    assert data["certificate"]["status"] == "certified"


async def test_a_post_is_signed_so_that_the_other_end_can_tell(
    ledger: Ledger, receiver: Receiver
) -> None:
    settings = posting(receiver, secret_env="HOOK_KEY")
    await tell(ledger, settings, incidents(ledger), environ={"HOOK_KEY": "s3cret"})
    assert receiver.headers[0][SIGNATURE] == sign(receiver.bodies[0], "s3cret")
    assert b"s3cret" not in receiver.bodies[0]


async def test_a_secret_that_is_not_there_sends_nothing_and_names_the_variable(
    ledger: Ledger, receiver: Receiver
) -> None:
    settings = posting(receiver, secret_env="HOOK_KEY")
    said = await tell(ledger, settings, incidents(ledger), environ={})
    assert receiver.bodies == []
    assert "HOOK_KEY is not set" in next(iter(said.values()))["webhook"]


@pytest.mark.parametrize(
    ("statuses", "posts", "told"),
    [
        ([500, 503, 200], 3, True),
        ([429, 200], 2, True),
        ([500, 500, 500], 3, False),
        ([404], 1, False),
        ([302], 1, False),
    ],
)
async def test_attempts_are_bounded_and_a_redirect_is_not_followed(
    ledger: Ledger, receiver: Receiver, statuses: list[int], posts: int, told: bool
) -> None:
    receiver.statuses = list(statuses)
    await tell(ledger, posting(receiver), incidents(ledger))
    assert len(receiver.bodies) == posts
    assert ("webhook" in incidents(ledger)[0].told) == told


async def test_a_channel_that_failed_is_tried_again_later_and_the_others_are_not(
    ledger: Ledger, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.statuses = [404]
    settings = AlarmSettings(webhook=Webhook(url=receiver.url), retry_s=60)
    await tell(ledger, settings, incidents(ledger), now=1000.0)
    await tell(ledger, settings, incidents(ledger), now=1030.0)
    assert len(receiver.bodies) == 1
    await tell(ledger, settings, incidents(ledger), now=1061.0)
    assert len(receiver.bodies) == 2
    assert sum("needed another hop" in line for line in caplog.messages) == 1


async def test_an_address_that_nobody_answers_at_is_no_exception_and_is_not_logged(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    settings = AlarmSettings(log=False, webhook=Webhook(url_env="HOOK"))
    where = {"HOOK": "http://127.0.0.1:1/very-secret"}
    said = await tell(ledger, settings, incidents(ledger), environ=where)
    assert "could not be reached" in next(iter(said.values()))["webhook"]
    assert "very-secret" not in caplog.text


async def test_an_address_from_the_environment_is_held_to_the_same_rules(ledger: Ledger) -> None:
    settings = AlarmSettings(log=False, webhook=Webhook(url_env="HOOK"))
    said = await tell(ledger, settings, incidents(ledger), environ={"HOOK": "http://a.example/s3"})
    assert next(iter(said.values()))["webhook"] == "the address must be https, except on loopback"


async def test_a_command_gets_the_evidence_on_its_input_without_a_shell(
    ledger: Ledger, tmp_path: Path
) -> None:
    out = tmp_path / "got $(touch no).json"
    settings = AlarmSettings(log=False, command=("tee", str(out)))
    await tell(ledger, settings, incidents(ledger))
    assert json.loads(out.read_text())["monitor"] == "escalation"
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (("false",), "ended with status 1"),
        (("/no/such/program",), "could not be started"),
        (("sleep", "60"), "did not end within 0.2 s"),
    ],
)
async def test_a_command_that_fails_says_why(
    ledger: Ledger, command: tuple[str, ...], why: str
) -> None:
    settings = AlarmSettings(log=False, command=command, command_timeout_s=0.2)
    said = await tell(ledger, settings, incidents(ledger))
    assert why in next(iter(said.values()))["command"]


async def test_a_muted_monitor_is_told_to_nobody(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    assert await tell(ledger, AlarmSettings(mute=("escalation",)), incidents(ledger)) == {}
    assert caplog.messages == []


def test_a_message_is_plain_data_with_no_judged_text() -> None:
    one = Incident("i", "t", "cost", "b", 0.0, {"says": "dear"}, told={"log": 1.0})
    data = message(one, demoted="frontier")
    assert json.loads(json.dumps(data)) == data
    assert "told" not in data
    assert data["demoted_to"] == "frontier"
