"""What parent and worker say to each other, over a socket pair that speaks our own protocol.

The parent sends the configuration first (pickled: it goes from a program to itself), then commands; the worker answers
"ready" or "failed", and from then on reports its statistics. It must never carry what came from the network.
"""

from __future__ import annotations

import dataclasses
import pickle
import socket
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from transport import limits
from transport.api import connect
from transport.errors import LocalProtocolError
from transport.server import ServerStatistics

URL = "unix:///worker"  # the pair has no name of its own
GAUGES = frozenset({"connections", "half_open", "handshakes", "http_connections", "peers"})  # how things stand
Report = dict[str, Any]


async def open_line(sock: socket.socket) -> Any:
    """The connection to the other process; waits until that has started. Raises ConnectFailed when it does not."""
    return await connect(
        URL, sock=sock, connect_timeout=limits.WORKER_START_S, handshake_timeout=limits.WORKER_START_S,
        keepalive=None, idle_timeout=None, max_message=limits.WORKER_MESSAGE_BYTES,
    )  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Main:
    """The parent's main module: importable by `name`, or to be run from the file `path`."""

    name: str
    path: str


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """What a worker is to do.

    Attributes:
        handler, url, arguments, main, options: as in the parent.
        number: which worker it is.
        listening: how many of the sockets that it is born with listen; the others are its inbox, and those of all.
        secret: `Shared.secret`.
    """

    handler: str
    url: str
    arguments: list[str]
    main: Main | None
    options: bytes
    number: int = 0
    listening: int = 0
    secret: bytes = b""


def pack_options(options: Mapping[str, Any]) -> bytes:
    """Options for another process. Raises LocalProtocolError, naming the one that can't go there."""
    try:
        return pickle.dumps(dict(options))
    except Exception:
        for name, value in options.items():
            try:
                pickle.dumps(value)
            except Exception as error:
                raise LocalProtocolError(
                    f"option {name!r} can't be given to workers, which are other processes: {error}"
                ) from None
        raise


def pack(job: Job) -> bytes:
    """A job on its way."""
    return pickle.dumps(job)


def unpack(data: bytes) -> Any:
    """What the parent has packed."""
    return pickle.loads(data)  # noqa: S301  # from our own parent, over a socket that nobody else has


def report(statistics: Iterable[ServerStatistics]) -> Report:
    """The statistics of a process's servers as one plain mapping."""
    return merge([dataclasses.asdict(each) for each in statistics])


def merge(reports: Iterable[Report]) -> Report:
    """The sum of several reports."""
    total: Counter[str] = Counter()
    counters: Counter[str] = Counter()
    for each in reports:
        for name, value in each.items():
            if isinstance(value, Mapping):
                counters.update(value)
            else:
                total[name] += value
    return {**total, "counters": dict(counters)}


def ended(last: Report) -> Report:
    """What remains of the report of a process that is gone."""
    kept = {name: value for name, value in last.items() if name not in GAUGES and name != "counters"}
    counters = {name: value for name, value in last.get("counters", {}).items() if name not in GAUGES}
    return {**kept, "counters": counters}


def snapshot(total: Report) -> ServerStatistics:
    """A report as users see it."""
    fields = {field.name: total.get(field.name, 0) for field in dataclasses.fields(ServerStatistics)}
    return ServerStatistics(**{**fields, "counters": dict(total.get("counters", {}))})
