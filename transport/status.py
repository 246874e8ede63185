"""A server that tells how it is doing: a Unix socket in a folder, which `transport top` asks.

Off unless somebody wants it, by the option `status` or the environment. Each line that comes is answered by one line of
JSON. Only who may write to the socket file (mode 0600: the same user) is answered. It must never hold up the server: an
answer lists a bounded number of connections, a few between two turns of the event loop, and nobody is written to who
does not read.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from typing import Any

from transport import limits
from transport.errors import TransportError
from transport.transports import unix
from transport.url import Url

log = logging.getLogger("transport")

VARIABLE = "TRANSPORT_STATUS"
SUFFIX = ".sock"
CLIENTS_MAX = limits.STATUS_CLIENTS_MAX
CONNECTIONS_MAX = limits.STATUS_CONNECTIONS_MAX
QUESTION_BYTES_MAX = limits.STATUS_QUESTION_BYTES_MAX
PER_TURN = limits.STATUS_CONNECTIONS_PER_TURN

_offered = 0  # by this process


class Status:
    """The socket of one server.

    Args:
        server: whose.
        path: of the socket.
        congestion: the name of its congestion control, "" for the default or none.
    """

    def __init__(self, server: Any, path: str, congestion: str = "") -> None:
        self.path = path
        self._congestion = congestion
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._listening: asyncio.Server | None = None
        self._remove: Any = None
        self._clients: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Listens. Raises OSError, TransportError; NotImplementedError on a loop that can't."""
        sock, self._remove = await unix.bind(unix.address(Url("unix", path=self.path)), {})
        try:
            self._listening = await asyncio.start_unix_server(self._serve, sock=sock, limit=QUESTION_BYTES_MAX)
        except BaseException:
            sock.close()
            self._remove()
            raise

    def close(self) -> None:
        """Answers nobody any more. Idempotent."""
        if self._listening is not None:
            self._remove()
            self._listening.close()
            self._listening = None
        for task in self._clients:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if len(self._clients) >= CLIENTS_MAX or task is None or self._listening is None:
            writer.close()
            return
        self._clients.add(task)
        try:
            while await reader.readline():
                writer.write(json.dumps(await self.told(), separators=(",", ":")).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError, asyncio.CancelledError):  # it has gone, asks at length, or the server closes
            pass
        finally:
            self._clients.discard(task)
            writer.close()

    async def told(self) -> dict[str, Any]:
        """How the server is doing, as `transport top` reads it."""
        server = self._server
        whole = server.statistics()
        everybody = server.connections_in_order()
        listed = []
        for index, conn in enumerate(everybody[:CONNECTIONS_MAX], 1):
            listed.append(_connection(conn))
            if index % PER_TURN == 0:
                await asyncio.sleep(0)
        return {
            "pid": os.getpid(),
            "url": str(server.url),
            "uptime": round(self._loop.time() - self._began, 3),
            "congestion": self._congestion,
            "server": {
                "connections": whole.connections, "accepted": whole.accepted, "refused": whole.refused,
                "failed_handlers": whole.failed_handlers, "accept_backoffs": whole.accept_backoffs,
                "counters": whole.counters,
            },
            "connections": listed,
            "left_out": max(0, len(everybody) - CONNECTIONS_MAX),
        }  # fmt: skip


def _connection(conn: Any) -> dict[str, Any]:
    """One connection; what it does not have is left out."""
    found: dict[str, Any] = {"id": id(conn), "remote": _shown(getattr(conn, "remote_address", None))}
    statistics = getattr(conn, "statistics", None)
    if statistics is None:  # a user's machine
        return found
    told = statistics()
    names = ("messages_sent", "messages_received", "queued_bytes", "unsent_bytes", "blocked_bytes", "inbox_bytes",
             "inbox_dropped", "rtt")  # fmt: skip
    found |= {name: getattr(told, name) for name in names}
    counters = {name: value for name, value in told.counters.items() if not name.startswith("channel_")}
    return {**found, "counters": counters}


def _shown(address: Any) -> str:
    if isinstance(address, tuple) and len(address) >= 2:
        return f"[{address[0]}]:{address[1]}" if ":" in str(address[0]) else f"{address[0]}:{address[1]}"
    return str(address or "-")


async def offer(server: Any, asked: str | None, congestion: str = "") -> Status | None:
    """The socket of a server in the folder that was asked for, or in that of the environment; None for none.

    Args:
        server: whose.
        asked: the folder; None for the environment's.
        congestion: see `Status`.

    Raises:
        OSError, TransportError: it can't be made in the folder that was asked for. In the environment's that is only
            logged: it was meant for every server of the machine, and none should be stopped by it.
    """
    global _offered  # noqa: PLW0603 - of the process
    folder = os.environ.get(VARIABLE, "") if asked is None else asked
    if not folder or folder == "none":
        return None
    _offered += 1
    status = Status(server, os.path.join(folder, f"{os.getpid()}-{_offered}{SUFFIX}"), congestion)
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        await status.start()
    except (OSError, TransportError, NotImplementedError) as error:
        if asked is not None:
            raise
        log.warning("%s tells nobody how it is doing: %s", server.url, error)
        return None
    return status
