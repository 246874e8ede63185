"""Floors in Python: blocking sockets, no framing, no event loop. What nobody in Python can be faster than.

Latency: one `sendall` and as many `recv` as a message needs. Throughput: runs of messages joined into one `sendall`,
received as plain bytes, divided by the message size; so it knows no messages and is a floor, not a rival.
"""

from __future__ import annotations

import os
import selectors
import socket
from typing import Any, NoReturn

from bench.cases import LATENCY, OPEN, THROUGHPUT, Case
from bench.job import Job
from bench.peers.base import FLOOR, SOCKET_BUFFER_BYTES, BlockingPeer

READ_BYTES = 256 * 1024


def receive_exactly(sock: socket.socket, size: int) -> bytes:
    """`size` bytes; one `recv` when they come at once."""
    data = sock.recv(size)
    if len(data) == size or not data:
        return data
    parts = [data]
    missing = size - len(data)
    while missing:
        data = sock.recv(missing)
        if not data:
            return b""
        parts.append(data)
        missing -= len(data)
    return b"".join(parts)


def count_bytes(sock: socket.socket, job: Job, size: int) -> None:
    """The receiving floor: counts bytes; the messages are what they divide to."""
    counter = job.counter(reliable=True)
    room = bytearray(READ_BYTES)
    total = 0
    while got := sock.recv_into(room):
        total += got
        counter.count = total // size
        counter.take_bytes(got)


def take_from_all(listener: socket.socket, job: Job) -> NoReturn:
    """The receiver of an open loop: every connection's messages, cut by their size."""
    take, size = job.counter(reliable=True).take, job.case.payload
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    rests: dict[socket.socket, bytes] = {}
    while True:
        for key, _ in selector.select():
            sock: Any = key.fileobj
            if sock is listener:
                sock = listener.accept()[0]
                rests[sock] = b""
                selector.register(sock, selectors.EVENT_READ)
                continue
            got = sock.recv(READ_BYTES)
            if not got:
                selector.unregister(sock)
                continue
            data = rests[sock] + got if rests[sock] else got
            end = len(data) - len(data) % size
            for at in range(0, end, size):
                take(data[at : at + size])
            rests[sock] = data[end:]


class StreamFloor(BlockingPeer):
    """Blocking stream sockets."""

    kind = FLOOR
    modes = frozenset({LATENCY, THROUGHPUT, OPEN})

    def __init__(self, name: str, title: str, scheme: str) -> None:
        self.name = name
        self.title = title
        self.scheme = scheme
        self.sock: socket.socket
        self.note = "no framing; throughput counts bytes and divides by the message size"

    def supports(self, case: Case) -> bool:
        """Sizes must be fixed: the bytes are divided by them."""
        return super().supports(case) and not case.mixed

    def serve(self, job: Job) -> None:
        """See `BlockingPeer`."""
        listener, address = self.listen(job)
        job.ready(address)
        if job.is_open:
            take_from_all(listener, job)
        sock, _ = listener.accept()
        self.tune(sock)
        size = job.case.payload
        if job.is_one_way:
            count_bytes(sock, job, size)
            return
        while data := receive_exactly(sock, size):
            sock.sendall(data)

    def listen(self, job: Job) -> tuple[socket.socket, Any]:
        """A listening socket and its address."""
        if self.scheme == "unix":
            path = os.path.join(job.scratch, "floor.sock")
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(path)
            listener.listen()
            return listener, path
        listener = socket.create_server((job.host, 0))
        return listener, listener.getsockname()[:2]

    def tune(self, sock: socket.socket) -> None:
        """No delay, as for all."""
        if self.scheme == "tcp":
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connect(self, job: Job) -> None:
        """See `BlockingPeer`."""
        if self.scheme == "unix":
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.connect(job.address)
        else:
            self.sock = socket.create_connection(tuple(job.address))
        self.tune(self.sock)

    def roundtrip(self, message: bytes) -> bytes:
        """See `BlockingPeer`."""
        self.sock.sendall(message)
        return receive_exactly(self.sock, len(message))

    def send_many(self, messages: list[bytes]) -> None:
        """See `BlockingPeer`."""
        self.sock.sendall(b"".join(messages))


class DatagramFloor(BlockingPeer):
    """Blocking datagram sockets, one call a datagram."""

    name = "blocking-udp"
    modes = frozenset({LATENCY, THROUGHPUT, OPEN})
    title = "blocking sockets, udp (floor)"
    kind = FLOOR
    scheme = "udp"
    reliable = False
    ordered = False
    payload_max = 65_507

    def serve(self, job: Job) -> None:
        """See `BlockingPeer`."""
        sock = datagram_socket()
        sock.bind((job.host, 0))
        job.ready(sock.getsockname())
        if job.is_one_way:
            take = job.counter(reliable=False).take
            while True:
                take(sock.recv(65_535))
        while True:
            data, sender = sock.recvfrom(65_535)
            sock.sendto(data, sender)

    def connect(self, job: Job) -> None:
        """See `BlockingPeer`."""
        self.sock = datagram_socket()
        self.sock.connect(tuple(job.address))

    def roundtrip(self, message: bytes) -> bytes:
        """See `BlockingPeer`."""
        self.sock.send(message)
        return self.sock.recv(65_535)

    def send_many(self, messages: list[bytes]) -> None:
        """See `BlockingPeer`."""
        send = self.sock.send
        for message in messages:
            send(message)


def datagram_socket() -> socket.socket:
    """With the buffers that every datagram peer gets."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    tune_datagram(sock)
    return sock


def tune_datagram(sock: Any) -> None:
    """Asks for the receive and send buffers that every datagram peer gets."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER_BYTES)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)


PEERS = [
    StreamFloor("blocking-tcp", "blocking sockets, tcp (floor)", "tcp"),
    StreamFloor("blocking-unix", "blocking sockets, unix (floor)", "unix"),
    DatagramFloor(),
]
