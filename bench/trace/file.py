"""The trace file: JSON lines with a time, a size and a connection each. Reading with limits, and writing.

    {"at": 0.0, "size": 120, "connection": 0}
    {"at": 0.0135, "size": 1400}

Lines may come in any order. What is wrong is told with the number of the line: a workload that was half understood
would give figures for something nobody asked about. It must never set memory aside for more than the limits allow.
"""

from __future__ import annotations

import hashlib
import json
import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.cases import CONNECTIONS_MAX, HEADER_BYTES, PAYLOAD_MAX
from bench.trace.model import Recorded

MESSAGES_MAX = 1 << 22  # in a file, and in what is played of it
BYTES_MAX = 1 << 36  # of all messages together
SPAN_S_MAX = 7 * 86_400.0  # from the first message to the last
AT_MAX = 1e11  # seconds; a time since 1970 in milliseconds is a mistake
LINE_BYTES_MAX = 1000
FIELDS = {"at", "size", "connection"}
CAPTURES = (b"\xa1\xb2\xc3\xd4", b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\x3c\x4d", b"\x4d\x3c\xb2\xa1", b"\x0a\x0d\x0d\x0a")

Message = tuple[int, int, int]  # ns, bytes, connection


class BadTrace(ValueError):
    """A trace or a capture that can't be used; the text says where and why, in one line."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace in memory, sorted by time.

    Attributes:
        at: ns after the first message.
        size: bytes as they are sent, at least a header.
        connection: 0 and up without gaps, in the order of the file's numbers.
        facts: what the result file says about it.
    """

    at: array[int]
    size: array[int]
    connection: array[int]
    facts: Recorded

    def __len__(self) -> int:
        return len(self.at)


def read_trace(path: Path) -> Trace:
    """Reads a trace file.

    Raises:
        BadTrace: a line that is none, a limit, or no message at all.
        OSError: no such file, or no right to read it.
    """
    messages: list[Message] = []
    digest = hashlib.sha256()
    total = 0
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LINE_BYTES_MAX + 1):
            number += 1
            if number == 1 and line[:4] in CAPTURES:
                raise BadTrace(f"{path.name} is a packet capture; make a trace of it first: python -m bench record")
            if number > MESSAGES_MAX:
                raise BadTrace(f"{path.name} has more than {MESSAGES_MAX:,} messages")
            digest.update(line)
            try:
                messages.append(parse_line(line))
            except BadTrace as error:
                raise BadTrace(f"{path.name}, line {number}: {error}") from None
            total += messages[-1][1]
            if total > BYTES_MAX:
                raise BadTrace(f"{path.name}, line {number}: more than {BYTES_MAX:,} bytes in all")
    return make_trace(messages, path.name, digest.hexdigest())


def make_trace(messages: list[Message], name: str, sha256: str) -> Trace:
    """A trace of messages in any order, which are sorted in place. Raises BadTrace."""
    if not messages:
        raise BadTrace(f"{name} has no messages")
    messages.sort(key=lambda message: message[0])  # stable: messages of one moment stay in the order of the file
    first, last = messages[0][0], messages[-1][0]
    if last - first > SPAN_S_MAX * 1e9:
        raise BadTrace(f"{name} spans {(last - first) / 1e9:,.0f} s, {SPAN_S_MAX:,.0f} s at most are played")
    places = {number: place for place, number in enumerate(sorted({message[2] for message in messages}))}
    if len(places) > CONNECTIONS_MAX:
        raise BadTrace(f"{name} has {len(places):,} connections, {CONNECTIONS_MAX:,} at most are played")
    size = array("i", (max(HEADER_BYTES, message[1]) for message in messages))
    facts = Recorded(
        name, sha256, len(messages), sum(size), min(size), max(size), len(places), (last - first) / 1e9,
        raised=sum(1 for message in messages if message[1] < HEADER_BYTES),
    )  # fmt: skip
    return Trace(
        array("q", (message[0] - first for message in messages)), size,
        array("i", (places[message[2]] for message in messages)), facts,
    )  # fmt: skip


def parse_line(line: bytes) -> Message:
    """One line of a trace. Raises BadTrace, without the line's number."""
    if len(line) > LINE_BYTES_MAX:
        raise BadTrace(f"longer than {LINE_BYTES_MAX} bytes")
    text = line.strip()
    if not text:
        raise BadTrace("blank; every line is a message")
    if text.startswith((b"#", b"//")):
        raise BadTrace("a comment; every line is a message")
    try:
        data: Any = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise BadTrace(f"no JSON: {error}") from None
    if not isinstance(data, dict):
        raise BadTrace('not an object such as {"at": 0.5, "size": 120, "connection": 0}')
    if not data.keys() <= FIELDS:
        raise BadTrace(f"{min(data.keys() - FIELDS)[:40]!r} is none of at, size, connection")
    at, size, connection = data.get("at"), data.get("size"), data.get("connection", 0)
    if isinstance(at, bool) or not isinstance(at, int | float) or not 0 <= at <= AT_MAX or not math.isfinite(at):
        raise BadTrace(f"at is a number of seconds from 0 to {AT_MAX:g}, not {shown(at)}")
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= PAYLOAD_MAX:
        raise BadTrace(f"size is a whole number of bytes from 0 to {PAYLOAD_MAX}, not {shown(size)}")
    if isinstance(connection, bool) or not isinstance(connection, int) or not 0 <= connection < 1 << 31:
        raise BadTrace(f"connection is a whole number from 0 to {(1 << 31) - 1}, not {shown(connection)}")
    return round(at * 1_000_000_000), size, connection


def shown(value: Any) -> str:
    """A value as it stood in the file, cut short."""
    return "missing" if value is None else json.dumps(value)[:40]


def write_trace(messages: Iterable[Message], path: Path) -> None:
    """Writes messages, times counted from the first; a break in the middle leaves the old file."""
    ordered = sorted(messages, key=lambda message: message[0])
    first = ordered[0][0] if ordered else 0
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with part.open("w", encoding="ascii") as file:
        for at, size, connection in ordered:
            seconds = f"{(at - first) // 1_000_000_000}.{(at - first) % 1_000_000_000:09d}"
            file.write(f'{{"at": {seconds}, "size": {size}, "connection": {connection}}}\n')
    part.replace(path)
