"""What a command says: lines, a status in place, JSON."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import select
import struct
import termios
import tty
from collections.abc import Iterator
from typing import TextIO

import pytest

from transport.tools.live import CLEAR, Output, OutputClosed, amount, counted, milliseconds, printable, share


class Terminal:
    """A terminal, and what has been written on it."""

    def __init__(self, columns: int) -> None:
        self.master, slave = pty.openpty()
        tty.setraw(slave)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
        self.stream: TextIO = os.fdopen(slave, "w", encoding="utf-8")

    def written(self) -> str:
        """All of it, which a terminal hands on in pieces."""
        found = os.read(self.master, 65_536)
        while select.select([self.master], [], [], 0.05)[0]:
            found += os.read(self.master, 65_536)
        return found.decode()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.setenv("TERM", "xterm")
    made = Terminal(40)
    yield made
    made.stream.close()
    os.close(made.master)


def test_lines_and_statuses_are_lines_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    out = Output(stream=stream)
    out.always("listening", "here")
    out.line("pong", "one\ntwo", seq=1)
    out.status("so it stands", sent=1)
    out.end_status()
    assert stream.getvalue() == "here\none\ntwo\nso it stands\n"
    assert not out.live


def test_json_is_an_object_a_line() -> None:
    stream = io.StringIO()
    out = Output(as_json=True, stream=stream)
    out.line("pong", "ignored", seq=1, ms=0.5)
    out.status("ignored", sent=1)
    assert [json.loads(line) for line in stream.getvalue().splitlines()] == [
        {"event": "pong", "seq": 1, "ms": 0.5}, {"event": "interval", "sent": 1},
    ]  # fmt: skip


def test_quiet_keeps_the_start_and_the_summary() -> None:
    stream = io.StringIO()
    out = Output(quiet=True, stream=stream)
    out.always("listening", "here")
    out.line("pong", "left out")
    out.status("left out")
    out.always("summary", "the end")
    assert stream.getvalue() == "here\nthe end\n"


def test_a_status_is_rewritten_in_place(terminal: Terminal) -> None:
    out = Output(stream=terminal.stream)
    assert out.live
    out.status("first")
    assert terminal.written() == f"\rfirst{CLEAR}"
    out.line("pong", "a line")
    assert terminal.written() == f"\r{CLEAR}a line\n\rfirst{CLEAR}"
    out.status("second")
    out.end_status()
    out.always("summary", "the end")
    assert terminal.written() == f"\rsecond{CLEAR}\r{CLEAR}the end\n"


def test_a_status_is_no_wider_than_the_terminal(terminal: Terminal) -> None:
    Output(stream=terminal.stream).status("x" * 100)
    assert terminal.written() == "\r" + "x" * 39 + CLEAR


@pytest.mark.parametrize("name", ["dumb", ""])
def test_a_terminal_that_can_do_nothing_gets_lines(
    name: str, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", name or "dumb")
    out = Output(stream=terminal.stream)
    out.status("so it stands")
    assert terminal.written() == "so it stands\n"


def test_a_reader_that_does_not_read_holds_up_no_status() -> None:
    """A pipe that is full, as of a terminal that was stopped: writing would wait for ever."""
    reading, writing = os.pipe()
    room = fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writing, b"x" * room)
    with os.fdopen(writing, "w", encoding="utf-8") as stream, os.fdopen(reading, "rb") as reader:
        out = Output(stream=stream)
        out.status("so it stands")  # that it returns is the check
        assert reader.read(room) == b"x" * room
        out.status("again")
        stream.close()
        assert reader.read() == b"again\n"


def test_a_reader_that_has_gone_is_told() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w", encoding="utf-8")
    with pytest.raises(OutputClosed):
        Output(stream=stream).always("listening", "here")
    with pytest.raises(BrokenPipeError):
        stream.close()


def test_words_of_a_peer_move_no_cursor() -> None:
    stream = io.StringIO()
    Output(stream=stream).line("closed", "bye\x1b[2J\rgone\x07\u202e")
    assert stream.getvalue() == "bye?[2J?gone??\n"
    assert printable("plain") == "plain"


def test_figures_for_people() -> None:
    assert [amount(value) for value in (0, 7, 999, 1234, 45_600, 999_600, 2.5e9)] == [
        "0", "7", "999", "1.23k", "45.6k", "1M", "2.5G",
    ]  # fmt: skip
    assert amount(0.5, "B/s") == "0.5 B/s"
    assert amount(1.5e6, "B") == "1.5 MB"
    assert milliseconds(0.0012345) == "1.234"
    assert [share(0, 0), share(1, 3), share(5, 5)] == ["0%", "33.3%", "100%"]
    assert [counted(1, "client"), counted(2, "client")] == ["1 client", "2 clients"]
