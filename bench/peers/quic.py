"""QUIC by aioquic and by its fork qh3, on uvloop: one bidirectional stream, four bytes of length before each message.

Both are used alike, by callbacks: a subclass of `QuicConnectionProtocol`, whose `quic_event_received` cuts messages
from the stream and whose `send` is `send_stream_data`, followed by `transmit`, as their documentation asks for. Neither
has back-pressure of its own: `send_stream_data` takes whatever it is given. So the sender looks at what waits in the
stream and pauses above a mark.
"""

# mypy: disable-error-code="import-not-found,import-untyped,unused-ignore,no-any-return,misc"

from __future__ import annotations

import asyncio
import hashlib
import importlib
import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from bench.cases import LATENCY, OPEN, THROUGHPUT
from bench.job import Job
from bench.load import ClosedLoop, Pump, Sender
from bench.peers.base import LIBRARY, CallbackPeer, finish
from bench.peers.blocking import tune_datagram
from bench.peers.certificate import CERTIFICATE, KEY
from bench.peers.cutting import LENGTH, Cutter

ALPN = "bench"
STREAM = 0  # the client's first bidirectional stream
HIGH_BYTES = 1024 * 1024  # a sender pauses when so much waits in the stream
LOW_BYTES = HIGH_BYTES // 2  # and goes on from here


def fingerprint() -> str:
    """SHA-256 of the benchmark's certificate, in hexadecimal digits."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(CERTIFICATE.read_text(encoding="ascii"))).hexdigest()


def connection_class(package: str) -> Any:
    """The protocol of one connection, on the library's own; `take` and `drained` are set before data can come."""
    base: Any = importlib.import_module(f"{package}.asyncio.protocol").QuicConnectionProtocol
    received = importlib.import_module(f"{package}.quic.events").StreamDataReceived
    own_buffer_size = package == "qh3"

    class Connection(base):  # type: ignore[valid-type]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.cutter = Cutter(self.send)
            self.drained: Callable[[], None] | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            sock = transport.get_extra_info("socket")
            if sock is not None:
                tune_datagram(sock)

        def send(self, message: bytes) -> None:
            """Queues one message; `transmit` sends it, which the library itself does after each datagram it gets."""
            self._quic.send_stream_data(STREAM, LENGTH.pack(len(message)) + message)

        def waiting(self) -> int:
            """Bytes in the stream's buffer. aioquic has no public name for it; qh3's leaves out what is in flight."""
            if own_buffer_size:
                return self._quic.get_send_buffer_size(STREAM)
            buffer = self._quic._streams[STREAM].sender
            return buffer._buffer_stop - buffer._buffer_start

        def quic_event_received(self, event: Any) -> None:
            if isinstance(event, received):
                self.cutter.feed(event.data)

        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            if self.drained is not None:
                self.drained()

        def datagrams_received(self, data: list[bytes], addr: Any) -> None:
            """qh3's transport hands over what was merged by the kernel at once."""
            super().datagrams_received(data, addr)
            if self.drained is not None:
                self.drained()

    return Connection


class Quic(CallbackPeer):
    """One package that offers QUIC."""

    kind = LIBRARY
    scheme = "udp"
    loop = "uvloop"
    modes = frozenset({LATENCY, THROUGHPUT, OPEN})

    def __init__(self, package: str, note: str) -> None:
        self.name = package
        self.title = f"{package} on uvloop, QUIC, udp"
        self.modules = (package,)
        self.distributions = (package,)
        self.note = note
        self.stacks: list[AsyncExitStack] = []

    def settings(self) -> dict[str, str]:
        """See `Peer`."""
        return {
            "stream": "one, bidirectional; four bytes of length before each message",
            "sending": "send_stream_data a message, transmit a message (closed loop) or a run (throughput), "
            "as aioquic's documentation asks for (page 'asyncio API', QuicConnectionProtocol.transmit)",
            "flow control, congestion control, datagram size": "the package's defaults",
            "back-pressure": f"ours: the sender pauses while {HIGH_BYTES // 1024} KiB wait in the stream",
            "certificate": "self-signed, verified by the client (qh3: by its fingerprint)",
            "SO_RCVBUF, SO_SNDBUF": "2 MiB asked for, as on every datagram peer",
        }

    def _configuration(self, is_client: bool) -> Any:
        make = importlib.import_module(f"{self.name}.quic.configuration").QuicConfiguration
        configuration = make(is_client=is_client, alpn_protocols=[ALPN])
        if not is_client:
            configuration.load_cert_chain(CERTIFICATE, KEY)
            return configuration
        configuration.server_name = "localhost"
        if self.name == "qh3":  # takes no certificate that is its own authority, but one whose fingerprint is given
            configuration.verify_mode = ssl.CERT_NONE
            configuration.assert_fingerprint = fingerprint()
        else:
            configuration.load_verify_locations(cafile=str(CERTIFICATE))
        return configuration

    async def serve(self, job: Job) -> None:
        """See `LoopPeer`."""
        make = connection_class(self.name)
        counter = job.counter(reliable=True) if job.is_one_way else None

        def connection(*args: Any, **kwargs: Any) -> Any:
            made = make(*args, **kwargs)
            if counter is not None:
                made.cutter.take = counter.take
            return made

        serve = importlib.import_module(f"{self.name}.asyncio.server").serve
        self.server = await serve(
            job.host, 0, configuration=self._configuration(is_client=False), create_protocol=connection
        )
        job.ready(self.server._transport.get_extra_info("sockname")[:2])  # there is no public name for it

    async def open(self, job: Job) -> Any:
        """One connection: its `send` never waits, `transmit` sends what it queued."""
        connect = importlib.import_module(f"{self.name}.asyncio.client").connect
        stack = AsyncExitStack()
        self.stacks.append(stack)  # kept: leaving it closes the connection
        return await stack.enter_async_context(
            connect(
                *job.address,
                configuration=self._configuration(is_client=True),
                create_protocol=connection_class(self.name),
            )
        )

    async def ping(self, job: Job, load: ClosedLoop, done: asyncio.Future[None]) -> None:
        """See `CallbackPeer`."""
        connection = await self.open(job)

        def answered(message: bytes) -> None:
            following = load.reply(message)
            if following is None:
                finish(done)
            else:
                connection.send(following)

        connection.cutter.take = answered
        connection.send(load.first())
        connection.transmit()

    async def senders(self, job: Job) -> list[Any]:
        """See `LoopPeer`; `transmit` after each message, so that it leaves at once."""

        def sender_on(connection: Any) -> Any:
            def send(message: bytes) -> None:
                connection.send(message)
                connection.transmit()

            return send

        return [sender_on(await self.open(job)) for _ in range(job.case.connections)]

    async def send(self, job: Job, sender: Sender, done: asyncio.Future[None]) -> None:
        """See `CallbackPeer`."""
        connection = await self.open(job)

        def send_many(messages: list[bytes]) -> None:
            send = connection.send
            for message in messages:
                send(message)
            connection.transmit()
            if connection.waiting() > HIGH_BYTES:
                pump.pause()

        def drained() -> None:
            if pump.paused and connection.waiting() < LOW_BYTES:
                pump.resume()

        pump = Pump(sender, send_many, lambda: finish(done))
        connection.drained = drained
        asyncio.get_running_loop().call_soon(pump.run)


PEERS = [
    Quic("aioquic", "encrypted (TLS 1.3); congestion control New Reno"),
    Quic("qh3", "encrypted (TLS 1.3); fork of aioquic with its core in Rust"),
]
