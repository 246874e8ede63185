"""asyncio.DatagramProtocol on asyncio and on uvloop: one datagram a message, no header.

One to many: the sender is the server. Each of the receiving sockets says hello with one datagram; when the last has
done so the sender goes round them in turn from its one socket, by address.
"""

from __future__ import annotations

import asyncio
from typing import Any

from bench.cases import LATENCY, OPEN, THROUGHPUT
from bench.job import Job
from bench.load import ClosedLoop, Counter, Pump, Sender
from bench.peers.base import BASELINE, CallbackPeer, finish
from bench.peers.blocking import tune_datagram

HELLO = b"hello"


class Echo(asyncio.DatagramProtocol):
    """The echoing server."""

    def connection_made(self, transport: Any) -> None:
        self.sendto = transport.sendto

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.sendto(data, addr)


class Count(asyncio.DatagramProtocol):
    """The counting receiver."""

    def __init__(self, counter: Counter) -> None:
        self.take = counter.take

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.take(data)


class Ping(asyncio.DatagramProtocol):
    """The closed loop."""

    def __init__(self, load: ClosedLoop, done: asyncio.Future[None]) -> None:
        self.load = load
        self.done = done

    def connection_made(self, transport: Any) -> None:
        self.sendto = transport.sendto
        self.sendto(self.load.first())

    def datagram_received(self, data: bytes, addr: Any) -> None:
        message = self.load.reply(data)
        if message is None:
            finish(self.done)
        else:
            self.sendto(message)


class Send(asyncio.DatagramProtocol):
    """The sender to one connected peer."""

    def __init__(self, job: Job, sender: Sender, done: asyncio.Future[None]) -> None:
        loop = asyncio.get_running_loop()
        self.pump = Pump(sender, self.send_many, lambda: finish(done), loop.call_soon, job.case.burst)

    def connection_made(self, transport: Any) -> None:
        tune_datagram(transport.get_extra_info("socket"))
        self.sendto = transport.sendto
        asyncio.get_running_loop().call_soon(self.pump.run)

    def send_many(self, messages: list[bytes]) -> None:
        """One `sendto` each."""
        sendto = self.sendto
        for message in messages:
            sendto(message)

    def pause_writing(self) -> None:
        self.pump.pause()

    def resume_writing(self) -> None:
        self.pump.resume()


class FanOut(Send):
    """The sender to many: waits for everybody's hello, then goes round."""

    def __init__(self, job: Job, sender: Sender, done: asyncio.Future[None]) -> None:
        super().__init__(job, sender, done)
        self.count = job.case.fanout
        self.peers: list[Any] = []
        self.next = 0

    def connection_made(self, transport: Any) -> None:
        tune_datagram(transport.get_extra_info("socket"))
        self.sendto = transport.sendto

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.peers.append(addr)
        if len(self.peers) == self.count:
            asyncio.get_running_loop().call_soon(self.pump.run)

    def send_many(self, messages: list[bytes]) -> None:
        """The next peer for each message."""
        sendto, peers, number = self.sendto, self.peers, self.next
        for message in messages:
            sendto(message, peers[number])
            number += 1
            if number == self.count:
                number = 0
        self.next = number


class DatagramPeer(CallbackPeer):
    """asyncio.DatagramProtocol."""

    kind = BASELINE
    scheme = "udp"
    modes = frozenset({LATENCY, THROUGHPUT, OPEN})
    reliable = False
    ordered = False
    fans_out = True
    payload_max = 65_507

    def __init__(self, loop: str) -> None:
        self.loop = loop
        self.name = f"{loop}-udp"
        self.title = f"{loop} DatagramProtocol, udp"

    def settings(self) -> dict[str, str]:
        """See `Peer`."""
        return {"SO_RCVBUF, SO_SNDBUF": "2 MiB asked for, as on every datagram peer"}

    async def serve(self, job: Job) -> None:
        """See `LoopPeer`."""
        loop = asyncio.get_running_loop()
        if job.case.fanout > 1:
            sender, done = job.sender(), loop.create_future()
            fan = await loop.create_datagram_endpoint(lambda: FanOut(job, sender, done), (job.host, 0))
            job.ready(fan[0].get_extra_info("sockname")[:2])
            await done
            job.report_sent(sender)
            return
        counter = job.counter(reliable=False) if job.is_one_way else None
        transport, _ = await loop.create_datagram_endpoint(lambda: Count(counter) if counter else Echo(), (job.host, 0))
        tune_datagram(transport.get_extra_info("socket"))
        job.ready(transport.get_extra_info("sockname")[:2])

    async def drive(self, job: Job) -> None:
        """See `LoopPeer`."""
        if job.case.fanout == 1:
            await super().drive(job)
            return
        counter = job.counter(reliable=False)
        loop = asyncio.get_running_loop()
        for _ in range(job.case.fanout):
            transport, _p = await loop.create_datagram_endpoint(lambda: Count(counter), remote_addr=tuple(job.address))
            tune_datagram(transport.get_extra_info("socket"))
            transport.sendto(HELLO)

    async def ping(self, job: Job, load: ClosedLoop, done: asyncio.Future[None]) -> None:
        """See `CallbackPeer`."""
        await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: Ping(load, done), remote_addr=tuple(job.address)
        )

    async def senders(self, job: Job) -> list[Any]:
        """See `LoopPeer`."""
        loop = asyncio.get_running_loop()
        sends = []
        for _ in range(job.case.connections):
            transport, _p = await loop.create_datagram_endpoint(
                asyncio.DatagramProtocol, remote_addr=tuple(job.address)
            )
            tune_datagram(transport.get_extra_info("socket"))
            sends.append(transport.sendto)
        return sends

    async def send(self, job: Job, sender: Sender, done: asyncio.Future[None]) -> None:
        """See `CallbackPeer`."""
        await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: Send(job, sender, done), remote_addr=tuple(job.address)
        )


PEERS = [DatagramPeer("asyncio"), DatagramPeer("uvloop")]
