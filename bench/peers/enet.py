"""ENet through pyenet: reliable ordered packets on channel 0, blocking `Host.service` on both sides.

`service` sleeps until there is an event, and sends what is queued; `flush` sends at once, as ENet's tutorial recommends
for latency. ENet's own queue has no limit, so the sender goes on servicing while more than three quarters of its window
is in transit: with less in hand it was slower, without it memory grows for ever. Asleep, `service` keeps the
interpreter's lock: a server that counts sleeps for milliseconds, or the thread that reports its count has to wait.
"""

# mypy: disable-error-code="import-not-found,import-untyped,unused-ignore,no-any-return"

from __future__ import annotations

import os
import socket
from typing import Any

from bench.cases import LATENCY, OPEN, THROUGHPUT, Case
from bench.job import Job
from bench.openloop import Send, nap
from bench.peers.base import LIBRARY, BlockingPeer
from bench.peers.blocking import tune_datagram

WAIT_MS = 1000
COUNT_WAIT_MS = 5
CONNECT_TRIES = 10
NAP_S = 0.001


class ENet(BlockingPeer):
    """enet.Host, one peer, one channel."""

    name = "pyenet"
    title = "ENet by pyenet, reliable, udp"
    kind = LIBRARY
    scheme = "udp"
    modules = ("enet",)
    distributions = ("pyenet",)
    modes = frozenset({LATENCY, THROUGHPUT, OPEN})
    payload_max = 1024 * 1024
    CONNECTIONS_MAX = 4095  # ENet's own limit of a host

    def supports(self, case: Case) -> bool:
        """See `Peer`."""
        return super().supports(case) and case.connections <= self.CONNECTIONS_MAX

    def settings(self) -> dict[str, str]:
        """See `Peer`."""
        return {
            "flags": "PACKET_FLAG_RELIABLE, channel 0",
            "bandwidth": "unlimited (0, 0)",
            "SO_RCVBUF, SO_SNDBUF": "2 MiB asked for, as on every datagram peer",
            "sending": "flush() after each message in the closed loop, after each run for throughput",
        }

    def serve(self, job: Job) -> None:
        """See `BlockingPeer`."""
        import enet

        self.host: Any = enet.Host(enet.Address(job.host.encode(), 0), job.case.connections, 1, 0, 0)
        enlarge(self.host)
        job.ready(f"{job.host}:{self.host.address.port}")
        host, received, reliable = self.host, enet.EVENT_TYPE_RECEIVE, enet.PACKET_FLAG_RELIABLE
        service = host.service
        if job.is_one_way:
            take = job.counter(reliable=True).take
            while True:
                event = service(COUNT_WAIT_MS)
                if event.type == received:
                    take(event.packet.data)
        while True:
            event = service(WAIT_MS)
            if event.type == received:
                event.peer.send(0, enet.Packet(event.packet.data, reliable))
                host.flush()

    def connect(self, job: Job) -> None:
        """See `BlockingPeer`."""
        (self.peer,) = self.open(job, 1)

    def open(self, job: Job, count: int) -> list[Any]:
        """So many connections, all of one host, as ENet has it. Raises ConnectionError."""
        import enet

        self.enet: Any = enet
        self.host = enet.Host(None, count, 1, 0, 0)
        enlarge(self.host)
        name, _, port = job.address.partition(":")
        made = []
        for _ in range(count):
            made.append(self.host.connect(enet.Address(name.encode(), int(port)), 1))
            for _try in range(CONNECT_TRIES):
                if self.host.service(WAIT_MS).type == enet.EVENT_TYPE_CONNECT:
                    break
            else:
                raise ConnectionError("the ENet host did not answer")
        return made

    def senders(self, job: Job) -> list[Send]:
        """See `BlockingPeer`."""

        def sender_to(peer: Any) -> Send:
            def send(message: bytes) -> None:
                peer.send(0, self.enet.Packet(message, self.enet.PACKET_FLAG_RELIABLE))
                self.host.flush()

            return send

        return [sender_to(peer) for peer in self.open(job, job.case.connections)]

    def poll(self, seconds: float) -> None:
        """See `BlockingPeer`. In `service` acknowledgements are read and losses sent again.

        It would sleep whole milliseconds; so sleeping is done here, and nothing leaves late.
        """
        while self.host.service(0).type != self.enet.EVENT_TYPE_NONE:
            pass
        if seconds > 0:
            nap(min(seconds, NAP_S))

    def roundtrip(self, message: bytes) -> Any:
        """See `BlockingPeer`."""
        self.peer.send(0, self.enet.Packet(message, self.enet.PACKET_FLAG_RELIABLE))
        host, received = self.host, self.enet.EVENT_TYPE_RECEIVE
        host.flush()
        while True:
            event = host.service(WAIT_MS)
            if event.type == received:
                return event.packet.data

    def send_many(self, messages: list[bytes]) -> None:
        """See `BlockingPeer`."""
        send, packet, reliable = self.peer.send, self.enet.Packet, self.enet.PACKET_FLAG_RELIABLE
        for message in messages:
            send(0, packet(message, reliable))
        host, peer = self.host, self.peer
        host.flush()
        while peer.reliableDataInTransit > peer.windowSize * 3 // 4:
            host.service(1)

    def close(self) -> None:
        """Everything has been answered."""


def enlarge(host: Any) -> None:
    """The buffers that every datagram peer gets; ENet itself asks for 256 KiB."""
    with socket.socket(fileno=os.dup(host.socket.fileno())) as sock:
        tune_datagram(sock)


PEERS = [ENet()]
