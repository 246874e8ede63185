"""The compiled and the interpreted build do the same, byte for byte, from the same seeds.

Each trace runs in two processes, one of each build and each with a hash seed of its own, so that neither the build nor
the order of a set may show. A new trace is one file in traces/; `traces/varint.py` is the smallest example.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.meta import tree
from tests.parity import runner
from transport import _build

SEEDS = (0, 1, 7, 20_260)


def run(name: str, seeds: tuple[int, ...], *, pure: bool, dump: Path | None = None) -> list[str]:
    """The lines that the runner prints for one build."""
    environment = {**os.environ, "TRANSPORT_PURE": str(int(pure)), "PYTHONHASHSEED": "1" if pure else "2"}
    command = [sys.executable, "-m", "tests.parity.runner", name, *map(str, seeds)]
    if dump is not None:
        dump.mkdir()
        command += ["--dump", str(dump)]
    asked = subprocess.run(command, cwd=tree.ROOT, env=environment, capture_output=True, text=True, check=False)
    assert asked.returncode == 0, asked.stderr
    return asked.stdout.splitlines()


def first_difference(name: str, seed: int, folder: Path) -> str:
    """Where two dumps of one trace part, with what stands there."""
    run(name, (seed,), pure=False, dump=folder / "compiled")
    run(name, (seed,), pure=True, dump=folder / "interpreted")
    ours, theirs = ((folder / build / f"{name}-{seed}").read_bytes() for build in ("compiled", "interpreted"))
    at = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
    around = slice(max(0, at - 32), at + 32)
    return f"trace {name}, seed {seed}, byte {at}: compiled {ours[around]!r}, interpreted {theirs[around]!r}"


@pytest.mark.parametrize("name", runner.names())
def test_both_builds_agree(name: str, tmp_path: Path, seed: int) -> None:
    if not any(_build.built().values()):
        pytest.skip("there are no compiled modules to compare with")
    seeds = (*SEEDS, seed)
    compiled = run(name, seeds, pure=False)
    interpreted = run(name, seeds, pure=True)
    assert interpreted.pop().startswith("interpreted 0 ")
    assert compiled.pop().startswith("compiled "), "the trace touches no compiled module: it proves nothing"
    for ours, theirs, number in zip(compiled, interpreted, seeds, strict=True):
        assert ours == theirs, first_difference(name, number, tmp_path)


@pytest.mark.parametrize("name", runner.names())
def test_a_trace_says_something(name: str) -> None:
    """Seeds matter, a seed repeats, and a trace is long enough to show a difference."""
    trace = runner.load(name)
    first = trace(1)
    assert len(first) > 1000
    assert first == trace(1)
    assert first != trace(2)
