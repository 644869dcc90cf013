"""The page in a real browser: readable on a desk and on a telephone, light and dark, no script."""

from __future__ import annotations

import http.server
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from consensus.benchmark.report import build_report, render_html
from tests.benchmark.data_fixtures import recorded_data_folder, write_recorded
from tests.benchmark.test_report import EVIL, PRICES, recorded

PROBE = """<!doctype html><title>probe</title>
<iframe id="f" src="report.html" style="width:WIDTHpx;height:800px;border:0"></iframe>
<pre id="out"></pre>
<script>
addEventListener("message", () => {});
document.getElementById("f").addEventListener("load", () => {
  const doc = document.getElementById("f").contentDocument;
  THEME
  const seen = element => {
    const box = element.getBoundingClientRect();
    return box.width > 0 && box.height > 0;
  };
  const light = color => {
    const [r, g, b] = color.match(/[\\d.]+/g).map(v => {
      v /= 255;
      return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (element, ground) => {
    const a = light(getComputedStyle(element).color);
    const b = light(getComputedStyle(ground).backgroundColor);
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  const page = doc.documentElement;
  const verdict = doc.getElementById("verdict");
  const charts = [...doc.querySelectorAll("svg")].filter(seen);
  const result = {
    overflow: page.scrollWidth - page.clientWidth,
    verdict: verdict.innerText,
    verdictTop: verdict.getBoundingClientRect().top,
    verdictSeen: seen(verdict),
    charts: charts.map(svg => svg.getBoundingClientRect().width / svg.viewBox.baseVal.width),
    outside: [...doc.querySelectorAll("main *")].filter(
      e => !e.closest(".scroll, svg") && seen(e) &&
      e.getBoundingClientRect().right > page.clientWidth + 1).length,
    contrast: [...doc.querySelectorAll("p, dt, dd, h2, th, td, small, .unknown")].filter(
      e => seen(e) && !e.closest(".verdict, .tiles, article, .heat")).map(
      e => contrast(e, doc.body)).reduce((a, b) => Math.min(a, b), 21),
    badges: [...doc.querySelectorAll(".badge")].map(e => contrast(e, e)).reduce(
      (a, b) => Math.min(a, b), 21),
    scripts: doc.scripts.length,
  };
  document.getElementById("out").textContent = JSON.stringify(result);
});
</script>
"""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    requested: list[str]

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        self.server.requested.append(self.path)  # type: ignore[attr-defined]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, http.server.HTTPServer]]:
    root = tmp_path / "site"
    root.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(root)))
    server.requested = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield root, server
    server.shutdown()
    server.server_close()
    thread.join()


def look(
    served: tuple[Path, http.server.HTTPServer], html: str, *, width: int, theme: str
) -> tuple[dict[str, Any], str]:
    """What the page measures in Chromium, and what the console said."""
    root, server = served
    (root / "report.html").write_text(html, encoding="utf-8")
    mark = f'doc.documentElement.dataset.theme = "{theme}";'
    probe = PROBE.replace("WIDTH", str(width)).replace("THEME", mark)
    (root / "probe.html").write_text(probe, encoding="utf-8")
    chromium = shutil.which("chromium")
    assert chromium is not None
    profile = root.parent / f"profile-{width}-{theme}"
    done = subprocess.run(
        [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", "--disable-dev-shm-usage", f"--user-data-dir={profile}",
            "--enable-logging=stderr", "--v=0", "--virtual-time-budget=5000",
            f"--window-size={max(width, 600) + 40},900", "--dump-dom",
            f"http://127.0.0.1:{server.server_address[1]}/probe.html",
        ],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    found = re.search(r'<pre id="out">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found is not None
    assert found[1], done.stderr[-2000:]
    said = "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)
    result: dict[str, Any] = json.loads(unescape(found[1]))
    return result, said


def awkward(folder: Path) -> str:
    """A report of long names, long words and hostile texts."""
    long = "a-very-long-model-name-with-no-break-at-all/" + "x" * 60
    cases = [
        {"case_id": f"c{i}", "label": "A", "options": "A|B|C", "question": EVIL + "w" * 400,
         "subset": f"type-{'y' * (i % 5) * 12}", "complexity": "low", "tags": [EVIL]}
        for i in range(60)
    ]  # fmt: skip
    answers = [
        {"case_id": f"c{i}", "model": model, "sample_idx": s,
         "answer": "A" if (i * 7 + s * 3 + n) % k else "B"}
        for i in range(60)
        for s in range(2)
        for n, (model, k) in enumerate((("top", 9), ("small", 4), ("tiny", 3), (long, 5)))
    ]  # fmt: skip
    prices = {**PRICES, long: {"call": 0.02}}
    return render_html(build_report(write_recorded(folder / "data", cases, answers, prices=prices)))


@pytest.mark.needs("browser")
@pytest.mark.parametrize(("width", "theme"), [(390, "dark"), (1280, "light")])
def test_an_awkward_report_is_whole_and_readable(
    served: tuple[Path, http.server.HTTPServer], tmp_path: Path, width: int, theme: str
) -> None:
    page, console = look(served, awkward(tmp_path), width=width, theme=theme)
    assert console == ""
    assert page["overflow"] <= 0
    assert page["outside"] == 0
    assert page["verdictSeen"]
    assert page["verdictTop"] < 400
    assert page["verdict"].strip()
    assert page["scripts"] == 0
    # Charts are drawn for the width they are shown at: their text is never scaled down.
    assert len(page["charts"]) == 3
    assert min(page["charts"]) > 0.94
    assert page["contrast"] >= 4.5
    assert page["badges"] >= 4.5
    assert set(served[1].requested) <= {"/probe.html", "/report.html", "/favicon.ico"}  # type: ignore[attr-defined]


@pytest.mark.needs("browser", "recorded-data")
def test_a_real_report_fits_a_telephone_in_the_light(
    served: tuple[Path, http.server.HTTPServer],
) -> None:
    html = render_html(build_report(recorded_data_folder() / "prd_vicuna80"))
    page, console = look(served, html, width=390, theme="light")
    assert console == ""
    assert page["overflow"] <= 0
    assert page["outside"] == 0
    assert page["contrast"] >= 4.5


def test_the_page_names_no_other_address(tmp_path: Path) -> None:
    html = render_html(build_report(recorded(tmp_path)))
    assert "default-src 'none'" in html
    for needle in ("http://", "https://", "//cdn", "@import", "url(", "src=", "<link", "<script"):
        assert needle not in html
