"""The `transport` command: says what is installed and how fast it can be here.

It stands on the public API only, and must never be imported by anything but `__main__` and the console script.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import platform
import sys
from collections.abc import Sequence

from transport import _build


def describe() -> str:
    """What a bug report needs to know about this installation, a line each."""
    modules = _build.modules()
    built = sum(modules.values())
    speed = "compiled" if built == len(modules) > 0 else "partly compiled" if built else "interpreted"
    try:
        native = importlib.util.find_spec("transport.net._native") is not None
    except ModuleNotFoundError:  # TRANSPORT_PURE is set
        native = False
    try:
        uvloop = importlib.metadata.version("uvloop")
    except importlib.metadata.PackageNotFoundError:
        uvloop = "no"
    rows = {
        "transport": _build.VERSION,
        "modules": f"{speed} ({built} of {len(modules)})",
        "native sockets": "yes" if native else "no",
        "uvloop": uvloop,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }
    return "\n".join(f"{name:<15} {value}" for name, value in rows.items())


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="transport", description="One message API over every socket.")
    made.add_argument("--version", action="store_true", help="the same as the command `version`")
    commands = made.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("version", help="version, compiled or interpreted, native sockets, uvloop, Python")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Returns the exit status: 0, or 2 when no command was given."""
    command = parser()
    given = command.parse_args(arguments)
    if given.version or given.command == "version":
        print(describe())
        return 0
    command.print_help(sys.stderr)
    return 2
