"""Single round trips of `transport ping`: by the protocol's own ping, or by a message and its echo.

An echo is known by its number and a mark that only this run can give it, and compared byte for byte. This must never
take a duplicate, or somebody else's message, for an answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import transport
from transport import limits
from transport.codec.base import resolve
from transport.url import parse

FILLER = "The quick brown fox jumps over the lazy dog. "
HEAD = 16  # characters: eight of the mark, eight of the number, hexadecimal
Heard = Callable[[str, int, float], None]


@dataclass
class Tally:
    """What has become of the pings: every one that was sent is answered, lost, or still waited for."""

    sent: int = 0
    answered: int = 0
    lost: int = 0
    late: int = 0
    duplicates: int = 0
    damaged: int = 0
    unsent: int = 0

    def fields(self) -> dict[str, int]:
        """For machines."""
        return asdict(self)

    def extras(self, waited_for: int) -> str:
        """For people: what is not zero of the rarer ones."""
        found = (
            (waited_for, "still waited for"), (self.late, "of them answered too late"),
            (self.duplicates, "duplicates"), (self.damaged, "damaged"), (self.unsent, "could not be sent"),
        )  # fmt: skip
        return "".join([f", {count} {text}" for count, text in found if count])


class PingTrips:
    """Round trips by `Connection.ping`: the server's session answers, whatever its program does."""

    kind = "ping"
    text = "pings of the protocol"
    size = ""

    def __init__(self, conn: Any) -> None:
        self._conn = conn

    async def run(self, heard: Heard) -> None:
        """Nothing comes but answers to `trip`."""

    async def trip(self, _: int) -> float:
        """Seconds. Raises WouldBlock when too many are unanswered, ConnectionClosed."""
        began = time.monotonic_ns()
        conn = self._conn
        is_up = getattr(conn, "connection", conn) is not None
        seconds: float = await conn.ping()
        # While there was no connection the ping waited, which is part of what its sender had to wait.
        return seconds if is_up else (time.monotonic_ns() - began) / limits.SECOND_NS


class Forgiving:
    """msgpack without a name, so that it goes with a server of any codec; what it can't read is None, not an end."""

    def __init__(self) -> None:
        self._codec: Any = resolve("msgpack")

    def encode(self, message: Any) -> bytes:
        """As msgpack does."""
        encoded: bytes = self._codec.encode(message)
        return encoded

    def decode(self, payload: bytes) -> Any:
        """As msgpack does; None for what is none."""
        try:
            return self._codec.decode(payload)
        except transport.CodecError:
            return None


def codec_of(name: str | None) -> Any:
    """The codec that `--codec` names."""
    return Forgiving() if name is None else resolve(name)


class EchoTrips:
    """Round trips by messages, which an echo server sends back."""

    kind = "echo"

    def __init__(self, conn: Any, size: int, delivery: Any, channel: int, *, text: bool, reason: str = "") -> None:
        self._conn = conn
        self._delivery = delivery
        self._channel = channel
        self._is_text = text
        self._body = (FILLER * (size // len(FILLER) + 1))[: size - HEAD]
        self._key = secrets.token_bytes(16)
        self._waiting: dict[int, tuple[asyncio.Future[float], int]] = {}
        self._lost: dict[int, int] = {}
        self._next = 0
        promise = conn.traits.default_delivery if delivery is None else delivery
        self.text = f"messages of {size} bytes, {promise.name.lower().replace('_', '-')}, channel {channel}{reason}"
        self.size = f"{size} bytes, "

    def _message(self, sequence: int) -> Any:
        number = f"{sequence & 0xFFFFFFFF:08x}"
        # the mark follows from the number, or a damaged number could be that of another ping
        mark = hashlib.blake2s(number.encode(), key=self._key, digest_size=4).hexdigest()
        text = f"{mark}{number}{self._body}"
        return text if self._is_text else text.encode()

    async def run(self, heard: Heard) -> None:
        """Reads answers until the connection ends; `heard` is told of those that nobody waits for."""
        while True:
            try:
                got = await self._conn.receive()
            except transport.CodecError:  # the connection is closed for it; one that comes back goes on
                heard("damaged", -1, 0.0)
                continue
            except transport.ConnectionClosed:
                return
            now = time.monotonic_ns()
            sequence = self._sequence(got.message)
            if sequence is None:
                heard("damaged", -1, 0.0)
            elif sequence in self._waiting:
                future, began = self._waiting.pop(sequence)
                if not future.done():
                    future.set_result((now - began) / limits.SECOND_NS)
            elif sequence in self._lost:
                heard("late", sequence, (now - self._lost.pop(sequence)) / limits.SECOND_NS)
            else:
                heard("duplicates", sequence, 0.0)

    def _sequence(self, message: Any) -> int | None:
        """The number of one of our own messages; None for anything else."""
        try:
            text = message if isinstance(message, str) else bytes(message).decode()
            sequence = int(text[8:HEAD], 16)
        except (TypeError, ValueError):
            return None
        return sequence if sequence < self._next and message == self._message(sequence) else None

    async def trip(self, sequence: int) -> float:
        """Seconds. Raises what `send` does, ConnectionClosed when the connection ends meanwhile."""
        began = time.monotonic_ns()
        self._next = max(self._next, sequence + 1)
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting[sequence] = (future, began)
        answered = False
        try:
            await self._conn.send(self._message(sequence), delivery=self._delivery, channel=self._channel)
            seconds = await future
            answered = True
            return seconds
        finally:
            self._waiting.pop(sequence, None)
            if not answered:
                while len(self._lost) >= limits.PING_LATE_MAX:
                    del self._lost[next(iter(self._lost))]
                self._lost[sequence] = began


def scheme_of(url: str) -> str:
    """The scheme of a URL. Raises InvalidURL."""
    return parse(url).scheme
