"""`transport echo URL`: a server that sends every message back, on the channel and with the delivery it came by.

It stands on the public API only. It must never decode what it has no need to: the default codec passes bodies on as
they are, so that a peer with any codec gets its own message back.
"""

from __future__ import annotations

import time
from typing import Any

import transport
from transport.codec.base import resolve
from transport.tools.life import Stop
from transport.tools.live import Output, amount, counted
from transport.tools.trips import scheme_of


class PassOn:
    """A codec without a name, which goes with every peer's: messages stay the bytes they are."""

    def encode(self, message: bytes) -> bytes:
        """The message itself."""
        return message

    def decode(self, payload: bytes) -> bytes:
        """The payload itself."""
        return payload


class Counting:
    """Another codec, which counts the bytes that come and go through it.

    Attributes:
        name: what is announced to the peer; missing if the other has none.
        received, sent: bytes of message bodies.
    """

    def __init__(self, codec: Any) -> None:
        self._codec = codec
        self.received = self.sent = 0
        if hasattr(codec, "name"):
            self.name = codec.name

    def encode(self, message: Any) -> bytes:
        """As the other does."""
        payload: bytes = self._codec.encode(message)
        self.sent += len(payload)
        return payload

    def decode(self, payload: bytes) -> Any:
        """As the other does."""
        self.received += len(payload)
        return self._codec.decode(payload)


async def echo(conn: Any) -> None:
    """Sends back what comes until the connection ends. Raises what ended it in another way than a clean close."""
    async for _ in replies(conn):
        pass


async def replies(conn: Any) -> Any:
    """Sends back what comes, and yields whether each message could be sent."""
    while True:
        try:
            got = await conn.receive()
        except transport.ConnectionLost:
            raise
        except transport.ConnectionClosed:
            return
        try:
            await conn.send(got.message, delivery=got.delivery, channel=got.channel)
        except transport.MessageTooLarge:  # for the peer's own limit
            yield False
        else:
            yield True


class Echo:
    """The handler of one server, with what it has counted.

    Attributes:
        messages: sent back.
        errors: by what went wrong, how often.
    """

    def __init__(self) -> None:
        self.messages = 0
        self.errors: dict[str, int] = {}

    def count(self, error: str) -> None:
        """One more error of this kind."""
        self.errors[error] = self.errors.get(error, 0) + 1

    async def handle(self, conn: Any) -> None:
        """Serves one connection."""
        try:
            async for sent in replies(conn):
                if sent:
                    self.messages += 1
                else:
                    self.count("too_large")
        except transport.ConnectionLost as error:
            self.count("invalid" if error.code == transport.CloseCode.INVALID_BODY else "lost")
        except transport.CodecError:
            self.count("invalid")  # the connection has been closed for it
        except transport.ConnectionClosed:
            pass  # while an answer waited for room


def codec_of(name: str) -> Any:
    """The codec that `--codec` names."""
    return PassOn() if name == "any" else resolve(name)


async def run(given: Any, out: Output, stop: Stop) -> int:
    """Serves until a signal. Returns the exit status.

    Raises:
        TransportError, OSError: the server can't be started.
    """
    if scheme_of(given.url) == "memory":
        raise transport.InvalidURL("memory:// stays within one process: nobody could reach this server")
    codec = Counting(codec_of(given.codec))
    served = Echo()
    options = {} if given.max_connections is None else {"max_connections": given.max_connections}
    handler: Any = served.handle
    if given.workers is not None:
        handler = "transport.tools.echo:echo"
        options["workers"] = given.workers
    chosen = codec_of(given.codec) if given.workers else codec
    async with transport.serve(given.url, handler, codec=chosen, framing=given.framing, **options) as server:
        out.always("listening", f"echo on {server.url}, Ctrl-C ends it", url=str(server.url))
        report = Report(server, served, codec, counts=given.workers is None)
        while not await stop.within(given.every):
            if given.workers is not None:
                await server.refresh()
            text, fields = report.now()
            out.status(text, **fields)
        out.end_status()
        text, fields = report.total()
    out.always("summary", text, **fields)
    return 0


class Report:
    """Reads the counters of a server, as rates since the last time and as totals.

    Args:
        server: what `serve` gave.
        served, codec: where messages and bytes are counted.
        counts: false where the messages pass through other processes, so that only connections are known.
    """

    def __init__(self, server: Any, served: Echo, codec: Counting, *, counts: bool) -> None:
        self._server = server
        self._served = served
        self._codec = codec
        self._counts = counts
        self._began = self._last = time.monotonic()
        self._messages = self._bytes = 0

    def now(self) -> tuple[str, dict[str, Any]]:
        """Since the last call."""
        now = time.monotonic()
        span = max(now - self._last, 1e-9)
        messages, size = self._served.messages - self._messages, self._codec.sent - self._bytes
        self._last, self._messages, self._bytes = now, self._served.messages, self._codec.sent
        fields = self._fields(now)
        text = f"{fields['connections']} open"
        if self._counts:
            fields |= {"messages_per_s": round(messages / span, 1), "bytes_per_s": round(size / span, 1)}
            text += (
                f"  {amount(messages / span)} msg/s  {amount(size / span, 'B/s')}  total {amount(self._messages)} "
                f"{'message' if self._messages == 1 else 'messages'}, {amount(self._bytes, 'B')}"
            )
        return f"{text}, {counted(fields['accepted'], 'connection')}, {self._errors(fields)}", fields

    def total(self) -> tuple[str, dict[str, Any]]:
        """Since the start."""
        fields = self._fields(time.monotonic())
        text = f"{counted(fields['accepted'], 'connection')} in {fields['seconds']:.1f} s"
        if self._counts:
            text += f", {counted(fields['messages'], 'message')}, {counted(fields['bytes'], 'byte')}"
        return f"{text}, {self._errors(fields)}", fields

    def _errors(self, fields: dict[str, Any]) -> str:
        found = {**self._served.errors, **({"refused": self._refused()} if self._refused() else {})}
        kinds = " (" + ", ".join([f"{count} {name}" for name, count in sorted(found.items())]) + ")" if found else ""
        return counted(fields["errors"], "error") + kinds

    def _refused(self) -> int:
        refused: int = self._server.statistics().refused
        return refused

    def _fields(self, now: float) -> dict[str, Any]:
        counted = self._server.statistics()
        errors = sum(self._served.errors.values()) + counted.refused + counted.failed_handlers
        fields = {
            "seconds": round(now - self._began, 3), "connections": counted.connections, "accepted": counted.accepted,
            "errors": errors,
        }  # fmt: skip
        if self._counts:
            kinds = {**self._served.errors, "refused": counted.refused}
            fields |= {"messages": self._served.messages, "bytes": self._codec.sent, "error_kinds": kinds}
        return fields
