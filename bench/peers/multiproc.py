"""multiprocessing.connection of the standard library: Listener and Client over tcp, `send_bytes` and `recv_bytes`.

Blocking, length-prefixed, without authentication. It leaves Nagle's algorithm on, which holds up the second part of a
message above 16 KiB until the first is acknowledged; it is switched off here, as for all.
"""

from __future__ import annotations

import os
import socket
from multiprocessing.connection import Client, Connection, Listener, wait
from typing import NoReturn

from bench.cases import LATENCY, OPEN, THROUGHPUT
from bench.job import Job
from bench.peers.base import BASELINE, BlockingPeer


class Multiprocessing(BlockingPeer):
    """multiprocessing.connection over AF_INET."""

    name = "multiprocessing"
    title = "multiprocessing.connection, tcp"
    kind = BASELINE
    scheme = "tcp"
    modes = frozenset({LATENCY, THROUGHPUT, OPEN})

    def settings(self) -> dict[str, str]:
        """See `Peer`."""
        return {"calls": "send_bytes, recv_bytes: no pickle", "authkey": "None (default)", "TCP_NODELAY": "set by us"}

    def serve(self, job: Job) -> None:
        """See `BlockingPeer`."""
        self.listener = Listener((job.host, 0), "AF_INET")
        job.ready(self.listener.address)
        if job.is_open:
            self.take_from_all(job)
        conn = self.listener.accept()
        no_delay(conn)
        recv, send = conn.recv_bytes, conn.send_bytes
        try:
            if job.is_one_way:
                take = job.counter(reliable=True).take
                while True:
                    take(recv())
            while True:
                send(recv())
        except EOFError:
            pass  # the client has closed

    def take_from_all(self, job: Job) -> NoReturn:
        """The receiver of an open loop: whichever connection has a message."""
        take = job.counter(reliable=True).take
        conns = [self.listener.accept() for _ in range(job.case.connections)]
        while True:
            for conn in wait(conns):
                assert isinstance(conn, Connection)
                take(conn.recv_bytes())

    def open(self, job: Job) -> Connection:
        """One connection; its `send_bytes` blocks while the kernel's buffer is full."""
        conn = Client(tuple(job.address), "AF_INET")
        no_delay(conn)
        return conn

    def connect(self, job: Job) -> None:
        """See `BlockingPeer`."""
        self.conn = self.open(job)

    def roundtrip(self, message: bytes) -> bytes:
        """See `BlockingPeer`."""
        self.conn.send_bytes(message)
        return self.conn.recv_bytes()

    def send_many(self, messages: list[bytes]) -> None:
        """See `BlockingPeer`."""
        send = self.conn.send_bytes
        for message in messages:
            send(message)

    def close(self) -> None:
        """See `BlockingPeer`."""
        self.conn.close()


def no_delay(conn: Connection) -> None:
    """Sets TCP_NODELAY on the socket below a connection."""
    with socket.socket(fileno=os.dup(conn.fileno())) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


PEERS = [Multiprocessing()]
