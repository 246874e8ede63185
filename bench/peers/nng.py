"""pynng, blocking calls over tcp: one PAIR socket each side.

NNG's own threads move the bytes, pinned with the process. A socket keeps as many messages as its buffers are long, and
`send` blocks above that: this is the back-pressure. 128 messages were the fastest of 0 (the default), 16, 128, 1,000.
"""

# mypy: disable-error-code="import-not-found,import-untyped,unused-ignore,no-any-return"

from __future__ import annotations

from typing import Any

from bench.cases import LATENCY, OPEN, THROUGHPUT
from bench.job import Job
from bench.peers.base import LIBRARY, BlockingPeer

BUFFERED_MESSAGES = 128


class Nng(BlockingPeer):
    """pynng.Pair0."""

    name = "pynng"
    title = "pynng, blocking, tcp"
    kind = LIBRARY
    scheme = "tcp"
    modes = frozenset({LATENCY, THROUGHPUT, OPEN})
    modules = ("pynng",)
    distributions = ("pynng",)

    def settings(self) -> dict[str, str]:
        """See `Peer`."""
        return {
            "pattern": "Pair0, bidirectional and one-to-one (pynng documentation, page 'Pynng's core "
            "functionality'); with no device in between, back-pressure discards nothing (NNG manual, page nng_pair)",
            "tcp_nodelay": "True (default)",
            "recv_buffer_size, send_buffer_size": f"{BUFFERED_MESSAGES} messages for throughput, the default otherwise",
            "recv_max_size": "0, unlimited",
        }

    def open(self, job: Job) -> Any:
        """One socket; its `send` blocks when the buffer is full, `send(message, block=False)` raises TryAgain."""
        import pynng

        options = {}
        if job.is_one_way:
            options = {"recv_buffer_size": BUFFERED_MESSAGES, "send_buffer_size": BUFFERED_MESSAGES}
        if job.is_open:  # one receiver of many connections
            return (pynng.Pull0 if job.role == "server" else pynng.Push0)(**options)
        return pynng.Pair0(recv_max_size=0, **options)

    def serve(self, job: Job) -> None:
        """See `BlockingPeer`."""
        sock = self.open(job)
        listener = sock.listen(f"tcp://{job.host}:0")
        job.ready(f"tcp://{listener.local_address}")
        recv, send = sock.recv, sock.send
        if job.is_one_way:
            take = job.counter(reliable=True).take
            while True:
                take(recv())
        while True:
            send(recv())

    def connect(self, job: Job) -> None:
        """See `BlockingPeer`."""
        self.sock: Any = self.open(job)
        self.sock.dial(job.address, block=True)

    def roundtrip(self, message: bytes) -> Any:
        """See `BlockingPeer`."""
        self.sock.send(message)
        return self.sock.recv()

    def send_many(self, messages: list[bytes]) -> None:
        """See `BlockingPeer`."""
        send = self.sock.send
        for message in messages:
            send(message)


PEERS = [Nng()]
