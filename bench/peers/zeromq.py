"""pyzmq, blocking calls over tcp: PAIR for the closed loop, PUSH/PULL one way.

ZeroMQ's own thread moves the bytes, pinned with the process. High-water marks are ZeroMQ's default, which was also the
fastest of 1,000, 10,000 and none. `send` copies below pyzmq's own threshold of 64 KiB and not from there on
(`copy=False`), which doubled pyzmq's throughput at 64 KiB and slowed it at 1 KiB.
"""

# mypy: disable-error-code="import-not-found,import-untyped,unused-ignore,no-any-return"

from __future__ import annotations

from typing import Any

from bench.cases import LATENCY, OPEN, THROUGHPUT
from bench.job import Job
from bench.peers.base import LIBRARY, BlockingPeer

SPARE_SOCKETS = 16
CONNECT_MS = 10_000
COPY_THRESHOLD = 65_536  # pyzmq's own default: from here on copy=False shares the message's memory


class ZeroMq(BlockingPeer):
    """zmq.Socket, one I/O thread."""

    name = "pyzmq"
    title = "pyzmq, blocking, tcp"
    kind = LIBRARY
    scheme = "tcp"
    modules = ("zmq",)
    distributions = ("pyzmq",)
    modes = frozenset({LATENCY, THROUGHPUT, OPEN})

    def settings(self) -> dict[str, str]:
        """See `Peer`."""
        return {
            "pattern": "PAIR in the closed loop, PUSH/PULL one way",
            "io_threads": "1 (default)",
            "high-water mark": "1000 messages (default)",
            "copy": "send(copy=False) from 64 KiB, default below",
        }

    def versions(self) -> dict[str, str]:
        """See `Peer`."""
        found = super().versions()
        if self.missing() is None:
            import zmq

            found["libzmq"] = zmq.zmq_version()
        return found

    def serve(self, job: Job) -> None:
        """See `BlockingPeer`."""
        import zmq

        self.context = zmq.Context()
        sock: Any = self.context.socket(zmq.PULL if job.is_one_way else zmq.PAIR)
        port = sock.bind_to_random_port(f"tcp://{job.host}")
        job.ready(f"tcp://{job.host}:{port}")
        recv, send = sock.recv, sock.send
        if job.is_one_way:
            take = job.counter(reliable=True).take
            while True:
                take(recv())
        while True:
            message = recv()
            send(message, copy=len(message) < COPY_THRESHOLD)

    def shared_context(self, job: Job) -> Any:
        """One for all connections, as ZeroMQ's guide has it ("exactly one context in your process"), so one thread."""
        import zmq

        context = zmq.Context.instance()
        wanted = job.case.connections + SPARE_SOCKETS
        if context.get(zmq.MAX_SOCKETS) < wanted:
            context.set(zmq.MAX_SOCKETS, wanted)
        return context

    def connect(self, job: Job) -> None:
        """See `BlockingPeer`."""
        import zmq

        self.context = self.shared_context(job)
        self.sock: Any = self.context.socket(zmq.PUSH if job.is_one_way else zmq.PAIR)
        if job.is_open:
            self.sock.setsockopt(zmq.IMMEDIATE, 1)  # no room before it is connected, so that this can be waited for
        self.sock.connect(job.address)
        if job.is_open and not self.sock.poll(CONNECT_MS, zmq.POLLOUT):
            raise ConnectionError("ZeroMQ did not connect")

    def roundtrip(self, message: bytes) -> Any:
        """See `BlockingPeer`."""
        self.sock.send(message, copy=len(message) < COPY_THRESHOLD)
        return self.sock.recv()

    def send_many(self, messages: list[bytes]) -> None:
        """See `BlockingPeer`."""
        send = self.sock.send
        copy = len(messages[0]) < COPY_THRESHOLD
        for message in messages:
            send(message, copy=copy)


PEERS = [ZeroMq()]
