"""Floors in C: the same blocking sockets, the loop in a few lines of C compiled on the spot when gcc is there.

Only the closed loop: it says what the kernel's path costs, and so how much of every other figure is not ours to win.
"""

from __future__ import annotations

import ctypes
import os
import socket
from array import array
from pathlib import Path
from typing import Any

from bench import native_build
from bench.cases import LATENCY
from bench.job import Job
from bench.peers.base import FLOOR, Peer
from bench.peers.blocking import datagram_socket

SOURCE = Path(__file__).with_name("floor.c")
SAMPLES_MAX = 4_000_000


class NativeFloor(Peer):
    """The loop in C, the socket made here."""

    kind = FLOOR
    modes = frozenset({LATENCY})

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme
        self.name = f"c-{scheme}"
        self.title = f"C, blocking, {scheme} (floor)"
        self.note = "no framing, no Python in the loop"
        self.reliable = scheme != "udp"
        self.payload_max = 65_507 if scheme == "udp" else 1 << 62

    def missing(self) -> str | None:
        """See `Peer`."""
        if native_build.built_path(SOURCE, native_build.SHARED).exists() or native_build.compiler():
            return None
        return "install a C compiler (gcc)"

    def versions(self) -> dict[str, str]:
        """See `Peer`."""
        return {"source": native_build.digest(SOURCE)}

    def run_server(self, job: Job) -> None:
        """See `Peer`."""
        library = ctypes.CDLL(str(native_build.build(SOURCE, native_build.SHARED)))
        room = ctypes.create_string_buffer(max(65_536, job.case.payload))
        if self.scheme == "udp":
            sock = datagram_socket()
            sock.bind((job.host, 0))
            job.ready(sock.getsockname())
            library.floor_echo_datagram(sock.fileno(), room, ctypes.c_size_t(len(room)))
        else:
            listener, address = self._listen(job)
            job.ready(address)
            sock, _ = listener.accept()
            self._tune(sock)
            library.floor_echo_stream(sock.fileno(), room, ctypes.c_size_t(job.case.payload))
        job.idle()

    def _listen(self, job: Job) -> tuple[socket.socket, Any]:
        if self.scheme == "unix":
            path = os.path.join(job.scratch, "native.sock")
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(path)
            listener.listen()
            return listener, path
        listener = socket.create_server((job.host, 0))
        return listener, listener.getsockname()

    def _tune(self, sock: socket.socket) -> None:
        if self.scheme == "tcp":
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _connect(self, job: Job) -> socket.socket:
        if self.scheme == "udp":
            sock = datagram_socket()
            sock.connect(tuple(job.address))
        elif self.scheme == "unix":
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(job.address)
        else:
            sock = socket.create_connection(tuple(job.address))
        self._tune(sock)
        return sock

    def run_client(self, job: Job) -> None:
        """See `Peer`."""
        library = ctypes.CDLL(str(native_build.build(SOURCE, native_build.SHARED)))
        ping = library.floor_ping
        ping.restype = ctypes.c_int64
        sock = self._connect(job)
        messages = b"".join(job.pool.messages)
        room = ctypes.create_string_buffer(job.case.payload)
        samples = array("q", bytes(8 * SAMPLES_MAX))
        pointer = (ctypes.c_int64 * SAMPLES_MAX).from_buffer(samples)

        def run(seconds: float) -> int:
            taken = int(
                ping(
                    sock.fileno(),
                    messages,
                    ctypes.c_size_t(len(job.pool.messages)),
                    ctypes.c_size_t(job.case.payload),
                    room,
                    ctypes.c_int64(int(seconds * 1e9)),
                    pointer,
                    ctypes.c_int64(SAMPLES_MAX),
                )
            )
            if taken < 0:
                job.fail("an answer differs from what was sent" if taken == -2 else "socket error in the C loop")
            return taken

        run(job.warmup)
        load = job.closed_loop()
        load.window.begin()
        taken = run(job.seconds)
        load.window.end()
        load.samples = samples[:taken]
        job.report_latency(load)


PEERS = [NativeFloor("tcp"), NativeFloor("unix"), NativeFloor("udp")]
