"""The floors of the house: a file imports only from lower floors, and floors 0 to 2 touch nothing of the outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.meta import tree

BUILD = -1.0  # which build runs: below everything, and no part of any protocol
FLOORS = {
    "_build": BUILD,
    "errors": 0, "delivery": 0, "limits": 0, "lists": 0, "machine": 0, "options": 0, "session": 0, "states": 0,
    "url": 0,
    "codec": 1,
    "stream": 2, "datagram": 2,
    "websocket": 2.5,  # stands on the outbox of stream/
    "rudp": 2.5,  # stands on the base classes of datagram/ and the stream bodies of stream/
    "net": 3, "sim": 3,
    "drive": 3.5,
    "transports": 4,
    "api": 5, "reconnect": 5, "run": 5, "server": 5, "status": 5, "workers": 5,
    "": 5.5,  # the package itself hands out what is below
    "contract": 5.7,
    "log": 5.8,  # files only: the events layer stands on it
    "testing": 6,
    "events": 6.1,  # its test kit stands on testing
    "sight": 6.3,  # reads what was on the wire, for the tools and the benchmark
    "tools": 6.5,  # the commands that run for a while
    "cli": 7, "__main__": 7.5,
}  # fmt: skip
OUTSIDE = {
    "asyncio", "concurrent", "multiprocessing", "os", "random", "secrets", "select", "selectors", "signal", "socket",
    "ssl", "subprocess", "threading", "time", "uvloop",
}  # fmt: skip
SOURCES = tree.files("transport", suffixes=(".py", ".pyx", ".pxd"))
NEIGHBOURS = {0.0, 5.0}  # floors of single files, which may know each other


def area(module: str) -> str:
    """What FLOORS calls the part that a module belongs to."""
    return module.split(".", maxsplit=1)[0]


def target(name: str) -> str | None:
    """The area that an import of `name` reaches, None for anything but our own package."""
    first, _, rest = name.partition(".")
    if first != "transport":
        return None
    wanted = area(rest)
    return wanted if wanted in FLOORS or (tree.PACKAGE / wanted).exists() else ""


@pytest.mark.parametrize("path", SOURCES, ids=tree.shown)
def test_imports_go_down(path: Path) -> None:
    own = area(tree.module(path))
    assert own in FLOORS, f"{tree.shown(path)} stands on no floor: give it one in FLOORS"
    wrong = []
    for line, name in tree.imports(path):
        reached = target(name)
        if reached is None or (reached == own and reached != ""):
            continue
        down = FLOORS[reached] < FLOORS[own]
        beside = FLOORS[reached] == FLOORS[own] and FLOORS[own] in NEIGHBOURS
        if not down and not beside and not (own == "" and name == "transport._build"):
            wrong.append(f"line {line}: {name} (floor {FLOORS[reached]:g}) from floor {FLOORS[own]:g}")
    assert not wrong, f"{tree.shown(path)}: " + "; ".join(wrong)


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if 0 <= FLOORS.get(area(tree.module(path)), 9) < 3], ids=tree.shown
)
def test_low_floors_touch_nothing_outside(path: Path) -> None:
    wrong = [f"line {line}: {name}" for line, name in tree.imports(path) if name.split(".")[0] in OUTSIDE]
    if path.suffix != ".py":
        wrong += [
            f"line {line}: {name}" for line, name in tree.imports(path) if name.split(".")[:2] == ["libc", "time"]
        ]
    assert not wrong, f"{tree.shown(path)}: " + "; ".join(wrong)


def test_the_check_can_fail(tmp_path: Path) -> None:
    """A wrong import in each spelling is seen."""
    python = tmp_path / "a.py"
    python.write_text(
        "import os.path\ndef f():\n    from transport import api\n    from transport.drive.base import X\n"
    )
    assert {name for _, name in tree.imports(python)} == {"os.path", "transport.api", "transport.drive.base.X"}
    declared = tmp_path / "a.pxd"
    declared.write_text(
        "cimport cython\nfrom transport.net cimport _native  # why\n    from libc.time cimport time, tm\n"
    )
    names = [name for _, name in tree.imports(declared)]
    assert names == ["cython", "transport.net._native", "libc.time.time", "libc.time.tm"]
    assert [target(name) for name in ("transport.api", "transport.serve", "transport", "os")] == ["api", "", "", None]
