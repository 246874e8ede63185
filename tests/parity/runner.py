"""Runs traces in this process and prints a digest of each; `test_parity.py` compares what two builds printed.

`python -m tests.parity.runner NAME SEED...` prints a line for each seed: seed, length, SHA-256. The last line says what
ran: `compiled` or `interpreted`, and how many of the package's modules were used. With `--dump FOLDER` the bytes of
every trace are kept there, to find the first that differs.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import sys
from collections.abc import Callable
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

Trace = Callable[[int], bytes]

FOLDER = Path(__file__).resolve().parent / "traces"


def names() -> list[str]:
    """The traces there are: a file each in traces/, with a function `trace(seed) -> bytes`."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))


def load(name: str) -> Trace:
    """The function of trace `name`."""
    function: Trace = importlib.import_module(f"tests.parity.traces.{name}").trace
    return function


def used() -> tuple[int, int]:
    """How many modules of the package are loaded, compiled and from source."""
    loaded = [module for name, module in sys.modules.items() if name.startswith("transport.")]
    compiled = sum(str(module.__file__).endswith(tuple(EXTENSION_SUFFIXES)) for module in loaded)
    return compiled, len(loaded) - compiled


def main(arguments: list[str] | None = None) -> None:
    """The command of the module docstring."""
    parser = argparse.ArgumentParser(description="Prints a digest of a trace for each seed.")
    parser.add_argument("name", choices=names())
    parser.add_argument("seeds", type=int, nargs="+")
    parser.add_argument("--dump", type=Path)
    given = parser.parse_args(arguments)
    trace = load(given.name)
    for seed in given.seeds:
        data = trace(seed)
        print(seed, len(data), hashlib.sha256(data).hexdigest())
        if given.dump is not None:
            (given.dump / f"{given.name}-{seed}").write_bytes(data)
    compiled, interpreted = used()
    print("compiled" if compiled else "interpreted", compiled, interpreted)


if __name__ == "__main__":
    main()
