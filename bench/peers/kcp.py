"""KCP by the package kcp (a Cython wrapper around ikcp.c) on uvloop: its core is sans-IO, socket and clock are ours.

KCP has no handshake, and no congestion control in the fast mode that its README gives: it sends what the windows let
through. What was handed over leaves with the next `flush`. Left to KCP's clock that is up to 10 ms later (`interval`),
so `flush` is called at once, as the package's README does: after each message of a closed loop, once a turn of the loop
for acks and runs. The clock (`update`, in whole milliseconds) is set before KCP is given anything and when
`update_check` says so. KCP's queue has no end, so the sender pauses while more than two windows of packets wait.
"""

# mypy: disable-error-code="import-not-found,import-untyped,unused-ignore,no-any-return"

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from bench.cases import LATENCY, OPEN, THROUGHPUT
from bench.job import Job
from bench.load import ClosedLoop, Pump, Sender
from bench.peers.base import LIBRARY, CallbackPeer, finish
from bench.peers.blocking import tune_datagram

CONVERSATION = 1
MTU = 1400
INTERVAL_MS = 10
WINDOW_PACKETS = 128
HEAD_BYTES = 24
PIECES_MAX = 127  # of one message
HIGH_PACKETS = 2 * WINDOW_PACKETS


class Conversation:
    """One KCP and its clock. `take` gets every message, `output` every datagram that is to leave."""

    def __init__(self, output: Callable[[bytes], Any]) -> None:
        import kcp

        self.take: Callable[[bytes], Any] = self.send
        self.drained: Callable[[], None] | None = None
        self._loop = asyncio.get_running_loop()
        self._kcp: Any = kcp.KCP(
            CONVERSATION,
            max_transmission=MTU,
            no_delay=True,
            update_interval=INTERVAL_MS,
            resend_count=2,
            no_congestion_control=True,
            send_window_size=WINDOW_PACKETS,
            receive_window_size=WINDOW_PACKETS,
        )
        self._kcp.include_outbound_handler(lambda _kcp, data: output(data))
        self._flushing = False
        self._tick()

    def _tick(self) -> None:
        """KCP's clock: sends again what was lost, at the times that it names itself."""
        self._kcp.update()
        self.timer = self._loop.call_later(max(self._kcp.update_check(), 1) / 1000, self._tick)
        if self.drained is not None:
            self.drained()

    def send(self, message: bytes) -> None:
        """Queues one message, which leaves at the end of this turn of the loop."""
        self._kcp.enqueue(message)
        self._flush_soon()

    def send_now(self, message: bytes) -> None:
        """Sends one message at once."""
        self._kcp.enqueue(message)
        self.flush()

    def waiting(self) -> int:
        """Packets that wait or are in flight."""
        return self._kcp.get_outbound_packets()

    def received(self, data: bytes) -> None:
        """A datagram has come."""
        kcp = self._kcp
        kcp.update()
        kcp.receive(data)
        for message in kcp.get_all_received():
            self.take(bytes(message))
        self._flush_soon()

    def flush(self) -> None:
        """Sends acks and messages that the windows let through."""
        self._kcp.update()
        self._kcp.flush()

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        self.flush()
        if self.drained is not None:
            self.drained()


class Server(asyncio.DatagramProtocol):
    """A conversation for each address that sends."""

    def __init__(self, take: Callable[[bytes], Any] | None) -> None:
        self.take = take
        self.conversations: dict[Any, Conversation] = {}

    def connection_made(self, transport: Any) -> None:
        tune_datagram(transport.get_extra_info("socket"))
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        found = self.conversations.get(addr)
        if found is None:
            sendto = self.transport.sendto
            found = self.conversations[addr] = Conversation(lambda packet: sendto(packet, addr))
            found.take = self.take or found.send_now
        found.received(data)


class Client(asyncio.DatagramProtocol):
    """One connected socket, one conversation."""

    def connection_made(self, transport: Any) -> None:
        tune_datagram(transport.get_extra_info("socket"))
        self.conversation = Conversation(transport.sendto)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.conversation.received(data)


class Kcp(CallbackPeer):
    """kcp.KCP over asyncio's datagram endpoint."""

    name = "kcp"
    title = "KCP by kcp on uvloop, udp"
    kind = LIBRARY
    scheme = "udp"
    loop = "uvloop"
    modes = frozenset({LATENCY, THROUGHPUT, OPEN})
    modules = ("kcp",)
    distributions = ("kcp",)
    payload_max = PIECES_MAX * (MTU - HEAD_BYTES)
    note = "no handshake, no congestion control in this mode, not encrypted; socket and timers are the benchmark's"

    def settings(self) -> dict[str, str]:
        """See `Peer`."""
        return {
            "nodelay": f"1, {INTERVAL_MS}, 2, 1: fast mode ('Turbo Mode' of KCP's README, Protocol Configuration)",
            "wndsize": f"{WINDOW_PACKETS}, {WINDOW_PACKETS}, as in KCP's own test (test.cpp); its default sends 32",
            "mtu": f"{MTU} (default)",
            "flush": "at once, as the kcp package's README does; KCP's own clock would wait up to 10 ms",
            "back-pressure": f"ours: the sender pauses while {HIGH_PACKETS} packets wait",
            "SO_RCVBUF, SO_SNDBUF": "2 MiB asked for, as on every datagram peer",
        }

    async def serve(self, job: Job) -> None:
        """See `LoopPeer`."""
        take = job.counter(reliable=True).take if job.is_one_way else None
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(lambda: Server(take), (job.host, 0))
        job.ready(self.transport.get_extra_info("sockname")[:2])

    async def open(self, job: Job) -> Conversation:
        """One conversation; its `send` and `send_now` never wait."""
        loop = asyncio.get_running_loop()
        _, client = await loop.create_datagram_endpoint(Client, remote_addr=tuple(job.address))
        return client.conversation

    async def ping(self, job: Job, load: ClosedLoop, done: asyncio.Future[None]) -> None:
        """See `CallbackPeer`."""
        conversation = await self.open(job)

        def answered(message: bytes) -> None:
            following = load.reply(message)
            if following is None:
                finish(done)
            else:
                conversation.send_now(following)

        conversation.take = answered
        conversation.send_now(load.first())

    async def senders(self, job: Job) -> list[Any]:
        """See `LoopPeer`."""
        return [(await self.open(job)).send_now for _ in range(job.case.connections)]

    async def send(self, job: Job, sender: Sender, done: asyncio.Future[None]) -> None:
        """See `CallbackPeer`."""
        conversation = await self.open(job)

        def send_many(messages: list[bytes]) -> None:
            send = conversation.send
            for message in messages:
                send(message)
            if conversation.waiting() > HIGH_PACKETS:
                pump.pause()

        def drained() -> None:
            if pump.paused and conversation.waiting() <= HIGH_PACKETS:
                pump.resume()

        pump = Pump(sender, send_many, lambda: finish(done))
        conversation.drained = drained
        asyncio.get_running_loop().call_soon(pump.run)


PEERS = [Kcp()]
