"""Kernel TCP by name: the framed protocol on uvloop, its sockets with the congestion control and options of each row.

The default differs between machines, so whoever compares transports on links with loss must say which TCP he means. The
rows differ by socket options only; framing, reading and writing are those of `uvloop-protocol`.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from pathlib import Path

from bench.job import Job
from bench.peers.protocols import ProtocolPeer

BUFFER_BYTES = 4 * 1024 * 1024
NOTSENT_BYTES = 128 * 1024
SO_SNDBUFFORCE = 32  # not in the socket module: linux/asm-generic/socket.h
SO_RCVBUFFORCE = 33
TCP_THIN_LINEAR_TIMEOUTS = 16  # not in the socket module: linux/tcp.h
TCP_THIN_DUPACK = 17
THIN = ((TCP_THIN_LINEAR_TIMEOUTS, "TCP_THIN_LINEAR_TIMEOUTS"), (TCP_THIN_DUPACK, "TCP_THIN_DUPACK"))


def set_congestion(sock: socket.socket, name: str) -> None:
    """Chooses the congestion control of a TCP socket. Raises OSError when the kernel has none such, or forbids it."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name.encode())


def congestion_of(sock: socket.socket) -> str:
    """The congestion control that a TCP socket uses."""
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode()


def enlarge(sock: socket.socket) -> dict[str, int]:
    """Sets larger buffers before the handshake, which fixes the window scale; bytes the kernel says they have.

    A size switches the kernel's own growth off, so it is set only where it can be had whole: by privilege, or below
    net.core.{r,w}mem_max. Elsewhere the buffers grow as the kernel sees fit.
    """
    had: dict[str, int] = {}
    for name, option, force, limit in (
        ("SO_SNDBUF", socket.SO_SNDBUF, SO_SNDBUFFORCE, "wmem_max"),
        ("SO_RCVBUF", socket.SO_RCVBUF, SO_RCVBUFFORCE, "rmem_max"),
    ):
        try:
            sock.setsockopt(socket.SOL_SOCKET, force, BUFFER_BYTES)
        except OSError:
            try:
                allowed = int(Path("/proc/sys/net/core", limit).read_text(encoding="ascii"))
            except (OSError, ValueError):
                continue
            if allowed < BUFFER_BYTES:
                continue
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
        had[name] = sock.getsockopt(socket.SOL_SOCKET, option)
    return had


def thin(sock: socket.socket) -> list[str]:
    """Switches on what the kernel has for streams with few packets in flight; the names of what it took."""
    taken = []
    for option, name in THIN:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, option, 1)
        except OSError:
            continue
        taken.append(name)
    return taken


class KernelTcp(ProtocolPeer):
    """`uvloop-protocol` over sockets of one congestion control."""

    def __init__(self, name: str, congestion: str, tuned: bool = False) -> None:
        super().__init__("uvloop", framed=True)
        self.name = name
        self.congestion = congestion
        self.tuned = tuned
        self.title = f"kernel TCP, {congestion}{', tuned' if tuned else ''}, framed"
        self.note = f"congestion control {congestion}, whatever the machine's default"

    def missing(self) -> str | None:
        """See `Peer`."""
        if not hasattr(socket, "TCP_CONGESTION"):
            return "use Linux"
        with socket.socket() as sock:
            try:
                set_congestion(sock, self.congestion)
            except OSError as error:
                if error.errno == errno.EPERM:
                    return f"sysctl -w net.ipv4.tcp_allowed_congestion_control='reno {self.congestion}'"
                return f"modprobe tcp_{self.congestion}"
        return None

    def settings(self) -> dict[str, str]:
        """See `Peer`."""
        found = {"TCP_CONGESTION": self.congestion, "TCP_NODELAY": "1", "framing": "four bytes of length"}
        if not self.tuned:
            return found
        with socket.socket() as sock:
            had, taken = enlarge(sock), thin(sock)
        for name in ("SO_SNDBUF", "SO_RCVBUF"):
            found[name] = str(had.get(name, "left to the kernel, whose limit is below 4 MiB"))
        found["TCP_NOTSENT_LOWAT"] = f"{NOTSENT_BYTES} (Linux documentation, ip-sysctl, tcp_notsent_lowat)"
        found["thin streams"] = (
            f"{', '.join(taken) or 'none'} (Linux documentation, tcp-thin; newer kernels ignore the second)"
        )
        return found

    def tune(self, sock: socket.socket) -> None:
        """All options of this row, on a socket that listens or is about to connect; accepted ones inherit them.

        Raises:
            OSError: the kernel took another congestion control than was asked for.
        """
        set_congestion(sock, self.congestion)
        if congestion_of(sock) != self.congestion:
            raise OSError(errno.EINVAL, f"asked for {self.congestion}, got {congestion_of(sock)}")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tuned:
            enlarge(sock)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOTSENT_BYTES)
            thin(sock)

    async def listen(self, job: Job, make: Callable[[], asyncio.Protocol]) -> asyncio.Server:
        """See `ProtocolPeer`."""
        sock = socket.socket()
        self.tune(sock)
        sock.bind((job.host, 0))
        return await asyncio.get_running_loop().create_server(make, sock=sock)

    async def open(self, job: Job, make: Callable[[], asyncio.Protocol]) -> asyncio.Protocol:
        """See `ProtocolPeer`."""
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        self.tune(sock)
        sock.setblocking(False)
        await loop.sock_connect(sock, tuple(job.address))
        return (await loop.create_connection(make, sock=sock))[1]


PEERS = [
    KernelTcp("tcp-cubic", "cubic"),
    KernelTcp("tcp-bbr", "bbr"),
    KernelTcp("tcp-tuned", "cubic", tuned=True),
]
