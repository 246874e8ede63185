"""Traces of connections as files: sequences of JSON records (RFC 7464) with qlog's names, ours and other programs'.

A record that is cut off or damaged is passed over and counted, as the RFC asks. It must never hold more than one
record, nor raise for what is in one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transport import limits

SEPARATOR = b"\x1e"
SUFFIX = ".sqlog"
RECORD_MAX = limits.SQLOG_RECORD_BYTES_MAX
READ_BYTES = 64 * limits.KIB
NUMBER_MAX = 1 << 62  # of times (ms) and sizes: nothing larger is true
FRAME_TYPES = {
    "PAD": ("padding",), "PING": ("ping",), "ACK": ("ack",), "ACK_ECN": ("ack",), "SKIP": ("skip",),
    "CONNECTION_CREDIT": ("max_data",), "CHANNEL_CREDIT": ("max_stream_data",),
    "BLOCKED": ("data_blocked", "stream_data_blocked"), "CLOSE": ("connection_close",), "MSG": ("message",),
    "PATH_CHALLENGE": ("path_challenge",), "PATH_RESPONSE": ("path_response",), "NEW_CID": ("new_connection_id",),
    "RETIRE_CID": ("retire_connection_id",), "ACK_POLICY": ("ack_frequency",),
}  # fmt: skip
"""What our frames are called in a trace."""


class BadTrace(ValueError):
    """A file that is no trace; the text says why, in one line."""


@dataclass(slots=True)
class Event:
    """One event.

    Attributes:
        at_ms: since the trace's beginning.
        name: with its category, as `transport:packet_sent`.
        data: what belongs to it.
    """

    at_ms: float
    name: str
    data: dict[str, Any]

    @property
    def kind(self) -> str:
        """The name without its category."""
        return self.name.rpartition(":")[2]

    @property
    def number(self) -> int | None:
        """The number of the packet that it is about."""
        header = self.data.get("header")
        number = header.get("packet_number") if isinstance(header, dict) else None
        return number if isinstance(number, int) else None

    @property
    def size(self) -> int:
        """The bytes of that packet, 0 where that is not said."""
        raw = self.data.get("raw")
        size = raw.get("length") if isinstance(raw, dict) else None
        return size if isinstance(size, int) and plain(size) is not None else 0

    @property
    def frames(self) -> list[dict[str, Any]]:
        """The frames of that packet."""
        frames = self.data.get("frames")
        if not isinstance(frames, list):
            return []
        return [frame for frame in frames if isinstance(frame, dict) and isinstance(frame.get("frame_type"), str)]


def is_trace(path: Path) -> bool:
    """Whether a file is, or ought to be, one. Raises OSError."""
    with path.open("rb") as file:
        return file.read(1) == SEPARATOR or path.suffix == SUFFIX


class TraceFile:
    """One file.

    Args:
        path: of it.

    Attributes:
        header: the record that it begins with.
        passed_over: records that could not be read.

    Raises:
        BadTrace: it is no trace.
        OSError: no such file, or no right to read it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.passed_over = 0
        self._began: float | None = None
        with path.open("rb") as file:
            if file.read(1) != SEPARATOR:
                raise BadTrace(f"{path.name} is no sequence of JSON records (.sqlog)")
        first = next(self._records(), None)
        if not isinstance(first, dict) or not {"qlog_version", "file_schema"} & first.keys():
            raise BadTrace(f"{path.name} does not begin like a trace (qlog)")
        self.header: dict[str, Any] = first

    @property
    def common(self) -> dict[str, Any]:
        """Fields that all events share."""
        trace = self.header.get("trace")
        common = trace.get("common_fields") if isinstance(trace, dict) else None
        return common if isinstance(common, dict) else {}

    @property
    def vantage(self) -> str:
        """Whose trace it is: "client", "server" or what else it says."""
        trace = self.header.get("trace")
        point = trace.get("vantage_point") if isinstance(trace, dict) else None
        return str(point.get("type", "")) if isinstance(point, dict) else ""

    def events(self) -> Iterator[Event]:
        """Every event, in the file's order. Raises OSError."""
        self.passed_over = 0
        records = self._records()
        next(records, None)
        for record in records:
            event = self._event(record)
            if event is None:
                self.passed_over += 1
            else:
                yield event

    def _event(self, record: Any) -> Event | None:
        if not isinstance(record, dict):
            return None
        at, name, data = plain(record.get("time")), record.get("name"), record.get("data")
        if at is None or not isinstance(name, str):
            return None
        if self._began is None:  # absolute times count from the first
            self._began = at if self.common.get("time_format") == "absolute" else 0.0
        return Event(at - self._began, name, data if isinstance(data, dict) else {})

    def _records(self) -> Iterator[Any]:
        """Each record's value, None for one that is damaged."""
        with self.path.open("rb") as file:
            held = b""
            is_too_long = False
            while data := file.read(READ_BYTES):
                *whole, held = (held + data).split(SEPARATOR)
                for record in whole:
                    if record or is_too_long:
                        yield None if is_too_long else _value(record)
                    is_too_long = False
                if len(held) > RECORD_MAX:
                    held, is_too_long = b"", True
            if held or is_too_long:
                yield None if is_too_long else _value(held)


def _value(record: bytes) -> Any:
    try:
        return json.loads(record, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def plain(value: Any) -> float | None:
    """A number that can be drawn: finite, not negative, at most `NUMBER_MAX`; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if 0 <= value <= NUMBER_MAX else None


def summary(event: Event) -> str:
    """What belongs to an event, in a few words."""
    data = event.data
    if "header" in data:
        header = data["header"] if isinstance(data["header"], dict) else {}
        parts = [str(header.get(name)) for name in ("packet_type", "kind", "packet_number") if name in header]
        head = f"{' '.join(parts)}, {event.size} bytes" if event.size else " ".join(parts)
        return f"{head}: {'; '.join([frame_text(frame) for frame in event.frames])}" if event.frames else head
    return ", ".join([f"{name} {_short(value)}" for name, value in data.items()])


def frame_text(frame: dict[str, Any]) -> str:
    """A frame in a few words."""
    kind = str(frame.get("frame_type"))
    if kind == "ack" and isinstance(frame.get("acked_ranges"), list):
        ranges = [one for one in frame["acked_ranges"] if isinstance(one, list) and one]
        return "ack " + " ".join([str(one[0]) if one[0] == one[-1] else f"{one[0]}-{one[-1]}" for one in ranges])
    return " ".join([kind, *[_short(value) for name, value in frame.items() if name != "frame_type"]])


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return text if len(text) <= 60 else f"{text[:57]}..."
