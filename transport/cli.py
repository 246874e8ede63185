"""The `transport` command: says what is installed, and starts what is in `transport.tools`.

Nothing but `__main__` and the console script may import it. It must never import a command that was not asked for.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import sys
from collections.abc import Sequence

from transport import _build
from transport.tools import arguments as tools
from transport.tools.live import OutputClosed

BROKEN_PIPE = 141  # what a shell shows for a program that SIGPIPE ended


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
    made = tools.Parser(prog="transport", description="One message API over every socket.")
    made.add_argument("--version", action="store_true", help="the same as the command `version`")
    commands = made.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("version", help="version, compiled or interpreted, native sockets, uvloop, Python")
    tools.add_commands(commands)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Returns the exit status: 0, 2 for a mistake or when no command was given, else the command's.

    When whoever read the output has gone, it ends without a word: `transport version | head -1`.
    """
    try:
        try:
            return _run(arguments)
        finally:
            sys.stdout.flush()  # here, where a closed pipe can be answered, and not while the interpreter ends
    except (BrokenPipeError, OutputClosed):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE


def _run(arguments: Sequence[str] | None) -> int:
    command = parser()
    given = command.parse_args(arguments)
    if given.version or given.command == "version":
        print(describe())
        return 0
    if given.command is None:
        command.print_help(sys.stderr)
        return 2
    return tools.run(given)
