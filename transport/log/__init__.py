"""The durable log below the events layer: streams with offsets, sessions, and what clients' messages led to.

`MemoryLog` keeps them in memory, `SQLiteLog` in a file; `Log` is the interface. What is behind a name is imported when
it is first used, so that a log in memory does not bring SQLite.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from transport.log.base import Log, Watch, Watcher
    from transport.log.errors import (
        Fenced,
        LogClosed,
        LogCorrupt,
        LogError,
        LogFailed,
        LogFull,
        LogLimit,
        LogLocked,
        LogReadOnly,
        LogVersion,
        UnknownStream,
    )
    from transport.log.follow import follow
    from transport.log.memory import MemoryLog
    from transport.log.records import (
        Append,
        Appended,
        Cause,
        Committed,
        Event,
        Head,
        History,
        LogStatistics,
        Page,
        Position,
        Receipt,
        Received,
        Session,
        Stream,
        StreamInfo,
    )
    from transport.log.sqlite import SQLiteLog

_ORIGIN = {
    "transport.log.base": ("Log", "Watch", "Watcher"),
    "transport.log.errors": (
        "Fenced", "LogClosed", "LogCorrupt", "LogError", "LogFailed", "LogFull", "LogLimit", "LogLocked",
        "LogReadOnly", "LogVersion", "UnknownStream",
    ),
    "transport.log.follow": ("follow",),
    "transport.log.memory": ("MemoryLog",),
    "transport.log.records": (
        "Append", "Appended", "Cause", "Committed", "Event", "Head", "History", "LogStatistics", "Page", "Position",
        "Receipt", "Received", "Session", "Stream", "StreamInfo",
    ),
    "transport.log.sqlite": ("SQLiteLog",),
}  # fmt: skip
_HOME = {name: module for module, names in _ORIGIN.items() for name in names}

__all__ = [
    "Append", "Appended", "Cause", "Committed", "Event", "Fenced", "Head", "History", "Log", "LogClosed", "LogCorrupt",
    "LogError", "LogFailed", "LogFull", "LogLimit", "LogLocked", "LogReadOnly", "LogStatistics", "LogVersion",
    "MemoryLog", "Page", "Position", "Receipt", "Received", "SQLiteLog", "Session", "Stream", "StreamInfo",
    "UnknownStream", "Watch", "Watcher", "follow",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value
