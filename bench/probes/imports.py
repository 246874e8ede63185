"""How long `import transport` takes on top of `import asyncio`, each time in a fresh interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from bench.bars import INFORMATION, simple_bar
from bench.child import ROOT
from bench.statistics import spread

LIMIT_MS = 25.0
RUNS = 20
TITLES = {
    "import-time": "import transport on top of asyncio",
    "import-time-used": "the same, with connect, serve, Protocol",
}
CODE = """
import asyncio, sys
from time import perf_counter_ns
begin = perf_counter_ns()
import transport
bare = perf_counter_ns() - begin
transport.connect, transport.serve, transport.Protocol
print(bare, perf_counter_ns() - begin)
"""


def measure_once() -> tuple[float, float]:
    """Milliseconds of one import: of the package, and until its front door is loaded. Raises CalledProcessError."""
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    bare, used = done.stdout.split()
    return int(bare) / 1e6, int(used) / 1e6


def run(tick: Callable[[str], None], runs: int = RUNS) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """(bars, what was seen). The first import writes the bytecode cache and is not counted.

    The second is shown beside the first: names that load what is behind them when first used must not hide what a
    program pays.
    """
    figures = []
    try:
        measure_once()
        for number in range(runs):
            figures.append(measure_once())
            tick(f"import {number + 1}")
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired, ValueError) as error:
        why = " ".join(str(getattr(error, "stderr", "") or error).strip().splitlines()[-1:])
        return [simple_bar(name, title, "ms", None, LIMIT_MS, why=why) for name, title in TITLES.items()], {}
    bars = []
    for at, (name, title) in enumerate(TITLES.items()):
        seen = spread([pair[at] for pair in figures])
        bars.append(
            simple_bar(name, title, "ms", seen["median"], LIMIT_MS, low=seen["min"], high=seen["max"], count=runs)
        )
    bars[1]["verdict"] = INFORMATION
    return bars, {"milliseconds": figures}
