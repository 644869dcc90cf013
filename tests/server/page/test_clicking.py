"""The page clicked through in a real browser: as a file, and served by the real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import pytest_asyncio

from consensus.ledger import Ledger
from consensus.ledger.feedback import labels_of
from consensus.server.page import read_page, render_page
from consensus.tasks import Choose
from tests.server.page.browser import Browser, browser, chromium
from tests.server.page.fixtures import EVIL, decide, table, usual
from tests.server.serving import TASK, serving

pytestmark = pytest.mark.needs("browser")

SEEN = """
const seen = (one) =>
  one.getClientRects().length > 0 && getComputedStyle(one).visibility !== "hidden";
const light = (color) => {
  const [r, g, b] = color.match(/[\\d.]+/g).map(Number).map((v) => {
    v /= 255;
    return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ground = (one) => {
  for (; one; one = one.parentElement) {
    const color = getComputedStyle(one).backgroundColor;
    if (!/, 0\\)$/.test(color)) return color;
  }
  return getComputedStyle(document.body).backgroundColor;
};
const contrast = (one) => {
  const [a, b] = [light(getComputedStyle(one).color), light(ground(one))];
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
};
"""
OPEN = "!!document.querySelector('.receipt.open')"
SHUT = "!document.querySelector('.receipt.open')"


@pytest.fixture(scope="session")
def running() -> Iterator[str]:
    with chromium() as address:
        yield address


@pytest_asyncio.fixture
async def tab(running: str) -> AsyncIterator[Browser]:
    async with browser(running) as found:
        yield found
        assert found.console == []


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("page")
    with Ledger(folder / "page.db") as book:
        usual(book)
        return render_page(read_page(book, table(folder), text=True))


@pytest.fixture
def file(tmp_path: Path, written: str) -> str:
    (tmp_path / "page.html").write_text(written, encoding="utf-8")
    return (tmp_path / "page.html").as_uri()


OUTSIDE = f"""(() => {{ {SEEN}
  return [...document.querySelectorAll("main *, .receipt.open *")].filter((one) =>
    !one.closest(".scroll, svg") && seen(one) && !one.closest(".out")
    && one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.outerHTML);
}})()"""
CONTRAST = f"""(() => {{ {SEEN}
  const texts = "p, dt, dd, h1, h2, h3, th, td, small, a, button, li, summary, .badge";
  return [...document.querySelectorAll(texts)]
    .filter((one) => seen(one)).map((one) => [contrast(one), one.outerHTML])
    .reduce((a, b) => (a[0] < b[0] ? a : b));
}})()"""
SCALES = f"""(() => {{ {SEEN}
  return [...document.querySelectorAll("svg")].filter(seen).map(
    (svg) => svg.getBoundingClientRect().width / svg.viewBox.baseVal.width);
}})()"""


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark"), (320, "light")])
async def test_a_page_is_whole_and_readable_at_any_width_and_in_both_lights(
    tab: Browser, file: str, width: int, theme: str
) -> None:
    await tab.size(width, 900, theme=theme)
    await tab.go(file)
    assert await tab.run("document.title.startsWith('(3)')")
    assert await tab.run("document.documentElement.scrollWidth - innerWidth") <= 0
    assert await tab.run(OUTSIDE) == []
    least, where = await tab.run(CONTRAST)
    assert least >= 4.5, where
    # Drawn for the width they are shown at; a telephone of 320 is the narrowest there is.
    assert min(await tab.run(SCALES)) > (0.8 if width < 390 else 0.92)
    await tab.click('a[href="#receipt=hostile-1"]')
    await tab.until(OPEN)
    assert await tab.run(OUTSIDE) == []
    least, where = await tab.run(CONTRAST)
    assert least >= 4.5, where
    assert tab.asked == [file]


@pytest.mark.parametrize("width", [1280, 390])
async def test_names_without_an_end_stay_within_the_window(
    tab: Browser, tmp_path: Path, width: int
) -> None:
    long = "w" * 120
    with Ledger(tmp_path / "long.db") as book:
        for place in range(3):
            task = Choose(type=f"t{long}{place}", id=long * 3, subject=long, options=[long, "b"])
            decide(book, f"{long[:90]}-{place}", task=task, answers=[long, "b"], served_model=long)
        text = render_page(read_page(book, table(tmp_path), text=True))
    (tmp_path / "long.html").write_text(text, encoding="utf-8")
    await tab.size(width, 900)
    await tab.go((tmp_path / "long.html").as_uri())
    assert await tab.run("document.documentElement.scrollWidth - innerWidth") <= 0
    assert await tab.run(OUTSIDE) == []
    await tab.click("#newest a")
    await tab.until(OPEN)
    assert await tab.run(OUTSIDE) == []


async def test_a_receipt_opens_by_a_click_and_closes_by_escape_where_one_was(
    tab: Browser, file: str
) -> None:
    await tab.size(1280, 900)
    await tab.go(file)
    await tab.click('a[href="#receipt=refund-05"]')
    await tab.until(OPEN)
    shown = await tab.run("document.querySelector('.receipt.open').innerText")
    for part in ("approve", "seat 0", "plain", "it was unused", "Unused.", "pico-dollars"):
        assert part in shown
    assert await tab.run("document.activeElement.className") == "receipt open"
    assert await tab.run("document.querySelector('main').inert")
    await tab.press("Escape")
    await tab.until(SHUT)
    assert await tab.run("document.activeElement.hash") == "#receipt=refund-05"
    assert not await tab.run("document.querySelector('main').inert")


async def test_a_receipt_opens_by_the_keyboard_alone(tab: Browser, file: str) -> None:
    await tab.size(1280, 900)
    await tab.go(file)
    await tab.run("document.querySelector('#newest a').focus()")
    await tab.press("Enter")
    await tab.until(OPEN)
    await tab.press("Tab")
    assert await tab.run("document.activeElement.className") == "close"
    await tab.press("Enter")
    await tab.until(SHUT)


async def test_a_link_to_a_receipt_opens_it_and_back_closes_it(tab: Browser, file: str) -> None:
    await tab.size(390, 844)
    await tab.go(f"{file}#receipt=refund-00")
    await tab.until(OPEN)
    assert (
        await tab.run("document.querySelector('.receipt.open').getBoundingClientRect().width")
        == 390
    )
    await tab.click(".receipt.open .close")
    await tab.until(SHUT)
    await tab.run("history.back()")
    await tab.until(OPEN)


async def test_a_receipt_that_is_not_there_is_said_to_be_missing(tab: Browser, file: str) -> None:
    await tab.go(f"{file}#receipt=%3Cimg%20src=x%3E")
    await tab.until(OPEN)
    shown = await tab.run("document.querySelector('.receipt.open').innerText")
    assert "<img src=x> is not on this page" in shown
    assert not await tab.run("!!document.querySelector('.receipt.open img')")


async def test_receipts_open_without_the_script_too(tab: Browser, file: str) -> None:
    await tab.send("Emulation.setScriptExecutionDisabled", value=True)
    await tab.size(1280, 900)
    await tab.go(f"{file}#receipt=refund-03")
    found = await tab.send("DOM.getDocument")
    one = await tab.send(
        "DOM.querySelector", nodeId=found["root"]["nodeId"], selector="article.receipt:target"
    )
    box = await tab.send("DOM.getBoxModel", nodeId=one["nodeId"])
    assert box["model"]["width"] > 500


async def test_a_hostile_text_is_shown_and_does_nothing(tab: Browser, file: str) -> None:
    await tab.go(f"{file}#receipt=hostile-1")
    await tab.until(OPEN)
    shown = await tab.run("document.querySelector('.receipt.open').innerText")
    assert EVIL.replace("\u202e", "\\u202e").replace("\x1b", "\\x1b") in shown
    assert await tab.run("document.title") == "(3) Consensus: decisions"
    assert await tab.run("document.scripts.length") == 1
    assert await tab.run("document.images.length") == 0


async def test_an_inline_script_or_style_put_into_the_page_is_refused(
    tab: Browser, file: str
) -> None:
    await tab.go(file)
    await tab.run("""(() => {
      const script = document.createElement("script");
      script.textContent = "document.title = 'owned'";
      document.body.append(script);
    })()""")
    assert await tab.run("document.title") != "owned"
    assert any("Content Security Policy" in text for text in tab.console)
    tab.console.clear()


async def test_the_light_changes_by_a_click_and_is_remembered(tab: Browser, file: str) -> None:
    await tab.size(1280, 900, theme="light")
    await tab.go(file)
    before = await tab.run("getComputedStyle(document.body).backgroundColor")
    await tab.click("#theme")
    after = await tab.run("getComputedStyle(document.body).backgroundColor")
    assert before != after
    await tab.go(file)
    assert await tab.run("getComputedStyle(document.body).backgroundColor") == after
    assert await tab.run("document.getElementById('theme').getAttribute('aria-label')") == (
        "Switch to light"
    )


async def test_rows_are_filtered_by_type_and_action(tab: Browser, file: str) -> None:
    await tab.go(file)
    rows = "[...document.querySelectorAll('#newest tbody tr')].filter((row) => !row.hidden).length"
    assert await tab.run(rows) == 15
    change = (
        "(() => {{ const s = document.getElementById('{}'); s.value = '{}';"
        " s.dispatchEvent(new Event('change')); }})()"
    )
    await tab.run(change.format("by-action", "escalate"))
    assert await tab.run(rows) == 1
    assert await tab.run("document.getElementById('counted').textContent") == "1 of 15 shown"
    await tab.run(change.format("by-action", ""))
    await tab.run(change.format("by-type", "reply"))
    assert await tab.run(rows) == 1


async def test_every_control_and_region_has_a_name(tab: Browser, file: str) -> None:
    await tab.go(file)
    tree = (await tab.send("Accessibility.getFullAXTree"))["nodes"]
    named = {"button", "link", "combobox", "image", "region", "dialog", "progressbar"}
    nameless = [
        node for node in tree
        if node.get("role", {}).get("value") in named and not node.get("name", {}).get("value")
        and not node.get("ignored")
    ]  # fmt: skip
    assert nameless == []
    headings = await tab.run(
        "[...document.querySelectorAll('main h1, main h2, main h3')]"
        ".filter((one) => one.getClientRects().length).map((one) => Number(one.tagName[1]))"
    )
    assert headings[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(headings))


async def test_a_served_page_shows_the_next_decision_by_itself(
    tab: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consensus.server.page.route.LIVE_S", 0.3)
    async with serving(tmp_path) as served:
        first = (await served.decide()).json()["receipt_id"]
        await tab.size(1280, 900)
        await tab.go(served.url + "/")
        await tab.until(f"!!document.querySelector('a[href=\"#receipt={first}\"]')")
        await tab.run("window.stays = 'the same document'")
        second = (await served.decide({**TASK, "id": "the-second"})).json()["receipt_id"]
        await tab.until(f"!!document.querySelector('#newest a[href=\"#receipt={second}\"]')")
        await tab.click(f'a[href="#receipt={second}"]')
        await tab.until(OPEN)
        assert "the-second" in await tab.run("document.querySelector('.receipt.open').innerText")
        assert await tab.run("window.stays") == "the same document"
        await asyncio.sleep(0.8)  # a refresh must not shut what is open
        assert await tab.run(OPEN)
        assert await tab.run("document.getElementById('live').textContent.startsWith('live')")
        await tab.go("about:blank")


async def test_a_paused_page_stays_as_it_is(
    tab: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consensus.server.page.route.LIVE_S", 0.2)
    async with serving(tmp_path) as served:
        await served.decide()
        await tab.size(1280, 900)
        await tab.go(served.url + "/")
        await tab.click("#pause")
        await served.decide()
        await asyncio.sleep(0.8)
        assert await tab.run("document.querySelectorAll('#newest tbody tr').length") == 1
        await tab.click("#pause")
        await tab.until("document.querySelectorAll('#newest tbody tr').length === 2")
        await tab.go("about:blank")


async def test_a_page_says_that_its_server_is_gone(
    tab: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consensus.server.page.route.LIVE_S", 0.2)
    async with serving(tmp_path) as served:
        await tab.go(served.url + "/")
        await tab.until("document.getElementById('live').textContent === 'live'")
    await tab.until("document.getElementById('live').textContent.includes('does not answer')")
    await tab.go("about:blank")
    tab.console.clear()  # the browser itself notes each refused connection


async def test_a_page_behind_keys_asks_for_one_and_shows_nothing_to_a_wrong_one(
    tab: Browser, tmp_path: Path
) -> None:
    async with serving(tmp_path, keys=True) as served:
        token = served.key("*", metrics=True)
        narrow = served.key("refund")
        headers = {"authorization": f"Bearer {token}"}
        receipt = (await served.decide(headers=headers)).json()["receipt_id"]
        await tab.size(1280, 900)
        await tab.go(f"{served.url}/#receipt={receipt}")
        await tab.until("!!document.getElementById('unlock')")
        enter = (
            "(() => {{ document.getElementById('key').value = '{}';"
            " document.querySelector('#unlock button').click(); }})()"
        )
        for wrong, said in (("ck_nonsense", "is not known"), (narrow, "may not see")):
            await tab.run(enter.format(wrong))
            await tab.until(f"document.getElementById('refused').textContent.includes('{said}')")
        assert receipt not in await tab.run("document.body.innerText")
        await tab.run(enter.format(token))
        await tab.until(OPEN)
        assert "refund" in await tab.run("document.querySelector('.receipt.open').innerText")
        await tab.go(f"{served.url}/")
        await tab.until("!!document.querySelector('#newest tbody a')")
        assert token not in " ".join(tab.asked)
        await tab.go("about:blank")
    tab.console.clear()  # the browser notes each 401 and 403


async def test_a_decision_that_waits_is_labelled_on_the_served_page_and_leaves_the_queue(
    tab: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consensus.server.page.route.LIVE_S", 0.3)
    torn = {"scripted/a": "approve", "scripted/b": "reject"}
    async with serving(tmp_path, torn) as served:
        names = []
        for subject in ("The first one.", "The second one."):
            given = await served.decide(
                {"type": "split", "subject": subject, "criteria": "Unused."}
            )
            assert given.json()["action"] == "escalate"
            names.append(given.json()["receipt_id"])
        await tab.size(1280, 900)
        await tab.go(served.url + "/")
        await tab.click(f'#queue a[href="#receipt={names[0]}"]')
        await tab.until(OPEN)
        shown = "document.querySelector('.receipt.open').innerText"
        assert "The first one." not in await tab.run(shown)
        await tab.click(".receipt.open button[data-text]")
        await tab.until(f"{shown}.includes('The first one.')")
        await tab.run("document.querySelector('.receipt.open [name=by]').value = 'ada'")
        await tab.click(".receipt.open .answers button[value=reject]")
        await tab.until(f"{shown}.includes('The next that waits')")
        assert "The first one." in await tab.run(shown), "what was shown stays shown"
        ledger = served.engine.ledger
        assert isinstance(ledger, Ledger)
        (label,) = labels_of(ledger, names[0])
        assert (label.label, label.given_by, label.source) == ("reject", "ada", "queue")
        assert label.inclusion == 1.0
        await tab.click(".receipt.open .give [role=status] a")
        await tab.until(f"document.querySelector('.receipt.open')?.id === 'receipt={names[1]}'")
        assert await tab.run("document.querySelector('.receipt.open [name=by]').value") == "ada"
        await tab.click(".receipt.open .answers button[value=approve]")
        await tab.until(f"{shown}.includes('nothing else waits')")
        await tab.until("document.getElementById('queue').hidden")
        await tab.go("about:blank")


async def test_a_key_that_may_not_label_another_callers_decision_is_told_so(
    tab: Browser, tmp_path: Path
) -> None:
    async with serving(tmp_path, keys=True) as served:
        other = {"authorization": f"Bearer {served.key('*')}"}
        receipt = (await served.decide(headers=other)).json()["receipt_id"]
        await tab.size(390, 844)
        await tab.go(f"{served.url}/#receipt={receipt}")
        await tab.until("!!document.getElementById('unlock')")
        await tab.run(
            f"document.getElementById('key').value = '{served.key('*', metrics=True)}';"
            "document.querySelector('#unlock button').click()"
        )
        await tab.until(OPEN)
        shown = "document.querySelector('.receipt.open').innerText"
        for button in ("button[data-text]", ".answers button"):
            await tab.click(f".receipt.open {button}")
            await tab.until(f"{shown}.includes('does not review this task type')")
        assert f"consensus ledger label {receipt} LABEL" in await tab.run(shown)
        assert "Unused, 12 days old." not in await tab.run(shown)
        await tab.go("about:blank")
    tab.console.clear()  # the browser notes each 404


async def test_a_reviewer_unlocks_the_page_and_settles_what_another_caller_had_decided(
    tab: Browser, tmp_path: Path
) -> None:
    torn = {"scripted/a": "approve", "scripted/b": "reject"}
    async with serving(tmp_path, torn, keys=True) as served:
        other = {"authorization": f"Bearer {served.key('*')}"}
        given = await served.decide({"type": "split", "subject": "A case."}, headers=other)
        receipt = given.json()["receipt_id"]
        await tab.size(390, 844)
        await tab.go(f"{served.url}/")
        await tab.until("!!document.getElementById('unlock')")
        await tab.run(
            f"document.getElementById('key').value = '{served.key(reviews=['split'])}';"
            "document.querySelector('#unlock button').click()"
        )
        await tab.until("!!document.querySelector('#queue tbody a')")
        await tab.click(f'#queue a[href="#receipt={receipt}"]')
        await tab.until(OPEN)
        shown = "document.querySelector('.receipt.open').innerText"
        await tab.click(".receipt.open button[data-text]")
        await tab.until(f"{shown}.includes('A case.')")
        await tab.click(".receipt.open .answers button[value=reject]")
        await tab.until(f"{shown}.includes('nothing else waits')")
        ledger = served.engine.ledger
        assert isinstance(ledger, Ledger)
        assert [label.label for label in labels_of(ledger, receipt)] == ["reject"]
        await tab.go("about:blank")
    tab.console.clear()  # the browser notes the 401


async def test_a_file_keeps_no_label_and_says_what_does(tab: Browser, file: str) -> None:
    await tab.go(file)
    await tab.click('a[href="#receipt=waiting-1"]')
    await tab.until(OPEN)
    shown = await tab.run("document.querySelector('.receipt.open').innerText")
    assert "A file cannot keep a label" in shown
    assert "consensus ledger label waiting-1 LABEL" in shown
    assert not await tab.run("!!document.querySelector('form.give')")
