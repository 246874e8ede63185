"""What a command says while it runs: lines, one status line that is rewritten in place, or JSON for machines.

On a terminal the status stays at the bottom and lines scroll above it. Elsewhere a status is a line like any other. It
must never write control characters that came from a peer, and must never wait for a reader just to show a status.
"""

from __future__ import annotations

import json
import os
import select
import sys
from typing import Any, TextIO

from transport import limits

CLEAR = "\x1b[K"  # to the end of the line: nothing blinks, for only what follows the new text is wiped
CLEAR_BELOW, HOME = "\x1b[J", "\x1b[H"
ENTER_SCREEN, LEAVE_SCREEN = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"  # the alternate one, without a cursor


class OutputClosed(Exception):
    """Whoever read the output has gone."""


def printable(text: str) -> str:
    """`text` without control characters: a peer's words must not move the cursor."""
    return text if text.isprintable() else "".join([char if char.isprintable() else "?" for char in text])


class Output:
    """The output of one command.

    Args:
        as_json: one JSON object a line, with the kind as `event`; else text for people.
        quiet: only what was asked for at the start and the summary; see `always`.
        stream: where to; None is standard output.

    Attributes:
        live: a status is rewritten in place.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._json = as_json
        self._quiet = quiet
        self._shown = ""
        self.live = not as_json and not quiet and self._is_terminal()

    def _is_terminal(self) -> bool:
        return self._stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"

    def line(self, kind: str, text: str, /, **fields: Any) -> None:
        """Says something once, unless it is to be quiet.

        Raises:
            OutputClosed: nobody reads any more.
        """
        if not self._quiet:
            self.always(kind, text, **fields)

    def always(self, kind: str, text: str, /, **fields: Any) -> None:
        """Says something once, quiet or not; empty text is for machines only. Raises as `line`."""
        if self._json:
            self.write(json.dumps({"event": kind, **fields}, separators=(",", ":")) + "\n")
        elif text:
            said = "\n".join([printable(part) for part in text.split("\n")]) + "\n"
            self.write(f"\r{CLEAR}{said}{self._in_place(self._shown)}" if self._shown else said)

    def status(self, text: str, /, **fields: Any) -> None:
        """How things stand. Left out if the reader is not ready to take it. Raises as `line`."""
        if self._quiet or not self._has_room():
            return
        if self.live:
            self._shown = text
            self.write(self._in_place(text))
        else:
            self.always("interval", text, **fields)

    def end_status(self) -> None:
        """Wipes the status, which is out of date, and with it the `^C` that a terminal writes there."""
        if self._shown:
            self._shown = ""
            self.write("\r" + CLEAR)

    def _in_place(self, text: str) -> str:
        return "\r" + printable(text)[: max(1, self._columns() - 1)] + CLEAR  # the last column would wrap

    def _columns(self) -> int:
        return self.size()[0]

    def size(self) -> tuple[int, int]:
        """Columns and lines of the terminal."""
        try:
            found = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            return limits.TOOL_COLUMNS, limits.TOOL_LINES
        return found.columns or limits.TOOL_COLUMNS, found.lines or limits.TOOL_LINES

    def _has_room(self) -> bool:
        """Whether a write would go through at once. A terminal that is stopped must not stop a server."""
        try:
            poll = select.poll()
            poll.register(self._stream.fileno(), select.POLLOUT)
            return bool(poll.poll(0))
        except (AttributeError, OSError, ValueError):  # no such call, or no file
            return True

    def write(self, text: str) -> None:
        """Text as it is. Raises OutputClosed."""
        try:
            self._stream.write(text)
            self._stream.flush()
        except BrokenPipeError:
            raise OutputClosed from None


class Screen:
    """A whole terminal that is rewritten in place; elsewhere blocks of lines, one after the other.

    The alternate screen is used, so that what was on the terminal before is there again at the end. It must always be
    left.

    Args:
        out: whose stream it writes to.

    Attributes:
        live: it is rewritten in place.
    """

    def __init__(self, out: Output) -> None:
        self._out = out
        self._entered = False
        self.live = out.live

    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        return self._out.size()

    def show(self, lines: list[str]) -> None:
        """The lines, cut to the terminal. Raises OutputClosed."""
        if not self.live:
            self._out.always("interval", "\n".join(lines))
            return
        columns, height = self.size()
        shown = [printable(line)[:columns] + CLEAR for line in lines[:height]]
        enter = "" if self._entered else ENTER_SCREEN
        self._entered = True
        self._out.write(f"{enter}{HOME}" + "\r\n".join(shown) + CLEAR_BELOW)

    def leave(self) -> None:
        """Shows again what was there before. Idempotent."""
        if self._entered:
            self._entered = False
            self._out.write(LEAVE_SCREEN)


def amount(value: float, unit: str = "", step: float = 1000.0) -> str:
    """A number for people: 999, 1.23k, 45.6M; three digits, in steps of 1000."""
    for prefix in ("", "k", "M", "G", "T"):
        if value < 999.5 or prefix == "T":
            break
        value /= step
    shown = f"{value:.0f}" if value >= 99.95 or value == int(value) else f"{value:.3g}"
    return f"{shown} {prefix}{unit}" if unit else f"{shown}{prefix}"


def counted(count: int, noun: str) -> str:
    """A number with its noun: 1 client, 2 clients."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def milliseconds(seconds: float) -> str:
    """A time with three digits behind the point, as ping writes it, without the unit."""
    return f"{seconds * 1e3:.3f}"


def share(part: int, whole: int) -> str:
    """A percentage; 0 of 0 is 0."""
    return f"{100 * part / whole if whole else 0.0:.3g}%"
