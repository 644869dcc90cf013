"""What it takes to import us, beside the libraries underneath; each import in a new process."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable

from benchmarks.speed.page import Claim, Part, spread, table
from benchmarks.speed.shared import ROOT

MODULES = ("consensus", "anthropic", "openai", "litellm")
_CODE = """
import json, os, sys, time
def mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
before = mb()
cpu = time.process_time()
__import__(sys.argv[1])
cpu = time.process_time() - cpu
print(json.dumps([cpu, mb() - before]))
"""


def study(say: Callable[[str], None], *, rounds: int) -> Part:
    """Run it."""
    seconds: dict[str, list[float]] = {name: [] for name in MODULES}
    memory: dict[str, list[float]] = {name: [] for name in MODULES}
    environment = {
        **os.environ,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    }
    for number in range(rounds + 1):
        for name in MODULES:
            done = subprocess.run(
                [sys.executable, "-c", _CODE, name],
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            )
            cpu, mb = json.loads(done.stdout.splitlines()[-1])
            if number:  # the first fills the caches of bytecode and of files
                seconds[name].append(cpu)
                memory[name].append(mb)
    say("imports: done")
    share = statistics.median(
        a / b for a, b in zip(seconds["consensus"], seconds["litellm"], strict=True)
    )
    rows = [
        [f"`import {name}`", spread(seconds[name], "{:.2f}"), spread(memory[name], "{:.0f}")]
        for name in MODULES
    ]
    return Part(
        "Import",
        [Claim("CPU of `import consensus` over `import litellm`", share, 0.25)],
        [table(("", "s of CPU", "MB"), rows)],
    )
