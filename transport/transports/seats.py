"""One of several processes that serve a UDP port together: which it is, and how datagrams find the right one.

A connection lives in one process, and the first byte of its connection id names that. The kernel spreads datagrams over
the sockets of a port by addresses; a small program in it goes by the id instead, where the system takes one (`steer`).
What arrives at a wrong process all the same, as from a client that has moved, is passed on over a socket between the
processes. It must never pass anything on twice, nor wait for a process that is busy.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from typing import Any

from transport import limits
from transport.drive.datagram import DatagramDriver
from transport.machine import Address, Path

SO_ATTACH_REUSEPORT_CBPF = 51  # asm-generic/socket.h
LINUX = sys.platform == "linux"
KIND = socket.SOCK_SEQPACKET if LINUX else socket.SOCK_DGRAM  # Linux lets no more than ten datagrams wait by default
_END = struct.Struct("!HI")  # port, scope
SECRET_BYTES = 32
PASSED_BYTES = limits.DATAGRAM_BYTES_MAX + 256  # with the path in front

# Classic BPF (linux/bpf_common.h): code, jump if true, jump if false, operand. The data begins with UDP's payload.
_LOAD_BYTE, _LOAD_WORD, _AND, _MODULO, _JUMP_EQUAL, _RETURN = 0x30, 0x20, 0x54, 0x94, 0x15, 0x16


def program(count: int) -> list[tuple[int, int, int, int]]:
    """Which of `count` sockets, in the order in which they were bound, a datagram is for.

    An ordinary packet goes where the first byte of its connection id says; the kernel spreads by addresses what names
    nobody. One of the handshake goes by the client's id, so that a repetition finds what was begun, also from another
    address.
    """
    return [
        (_LOAD_BYTE, 0, 0, 0),
        (_AND, 0, 0, 0xC0),
        (_JUMP_EQUAL, 0, 2, 0x40),
        (_LOAD_BYTE, 0, 0, 1),
        (_RETURN, 0, 0, 0),
        (_LOAD_WORD, 0, 0, 17),
        (_MODULO, 0, 0, count),
        (_RETURN, 0, 0, 0),
    ]


def steer(sock: socket.socket, count: int) -> bool:
    """Has the kernel choose among the sockets of a port by `program`; whether it does.

    Args:
        sock: one of them.
        count: how many there are.
    """
    if not LINUX:
        return False
    import ctypes  # for the address of the program, once for a server

    code = b"".join(struct.pack("=HBBI", *step) for step in program(count))
    room = ctypes.create_string_buffer(code, len(code))
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF,
                        struct.pack("@HP", len(code) // 8, ctypes.addressof(room)))  # fmt: skip
    except OSError:
        return False
    return True


def links(count: int) -> list[tuple[socket.socket, socket.socket]]:
    """For each of `count` processes the end that it reads and the end that the others write. Raises OSError."""
    made: list[tuple[socket.socket, socket.socket]] = []
    try:
        for _ in range(count):
            inbox, outbox = socket.socketpair(socket.AF_UNIX, KIND)
            made.append((inbox, outbox))
            for sock in (inbox, outbox):
                sock.setblocking(False)
            outbox.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, limits.SOCKET_BUFFER_BYTES)
    except BaseException:
        for pair in made:
            for sock in pair:
                sock.close()
        raise
    return made


class Seat:
    """The place of one process among those that serve a port.

    Args:
        number: which it is, from 0.
        inbox: what the others have passed on.
        outboxes: those of all, this one included.
        key: secrets by which RESETs are made (32 bytes) and cookies (the rest), the same in all; empty to be chosen.
    """

    def __init__(self, number: int, inbox: socket.socket, outboxes: list[socket.socket], key: bytes) -> None:
        self.number = number
        self.key = key[:SECRET_BYTES]
        self.cookie_key = key[SECRET_BYTES:]
        self._inbox = inbox
        self._outboxes = outboxes
        self._drivers: list[DatagramDriver] = []
        self._paths: dict[bytes, Path] = {}
        self._heads: dict[Path, bytes] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def take(self, driver: DatagramDriver) -> None:
        """A socket of the server; each process has the same, in the same order."""
        place = len(self._drivers)
        self._drivers.append(driver)
        endpoint: Any = driver.machine
        endpoint.worker = self.number
        endpoint.pass_on = lambda number, data, path, ecn: self._send(place, number, data, path, ecn)
        if self._loop is None:
            self._loop = driver.loop
            self._loop.add_reader(self._inbox.fileno(), self._on_readable)

    def leave(self) -> None:
        """Reads no more."""
        if self._loop is not None:
            self._loop.remove_reader(self._inbox.fileno())
            self._loop = None

    def _send(self, place: int, number: int, data: bytes, path: Path, ecn: int) -> bool:
        """Passes a datagram on to process `number`; False when there is none, or it does not keep up."""
        if number >= len(self._outboxes) or number == self.number:
            return False
        head = self._heads.get(path)
        if head is None:
            if len(self._heads) >= limits.PATHS_CACHED_MAX:
                self._heads.clear()
            head = self._heads[path] = written(path)
        try:
            self._outboxes[number].send(bytes([place, ecn]) + head + data)
        except OSError:
            return False
        return True

    def _on_readable(self) -> None:
        touched = set()
        for _ in range(limits.DATAGRAMS_PER_TICK):
            try:
                data = self._inbox.recv(PASSED_BYTES)
            except OSError:
                break
            if not data:
                self.leave()  # the parent has closed the other end
                break
            driver = self._take_in(data)
            if driver is not None:
                touched.add(driver)
        for driver in touched:
            driver.wake()

    def _take_in(self, data: bytes) -> DatagramDriver | None:
        place, ecn, remote, local = data[:4]
        if place >= len(self._drivers):
            return None  # not open yet
        size = 4 + remote + local + 2 * _END.size
        head = data[2:size]
        path = self._paths.get(head)
        if path is None:
            if len(self._paths) >= limits.PATHS_CACHED_MAX:
                self._paths.clear()
            path = self._paths[head] = read(head)
        driver = self._drivers[place]
        driver.endpoint.receive(data[size:], path, ecn, driver.now())
        return driver


def written(path: Path) -> bytes:
    """A path as another process reads it."""
    remote, local = _packed(path.remote), _packed(path.local)
    return bytes([len(remote[0]), len(local[0])]) + b"".join(remote) + b"".join(local)


def read(head: bytes) -> Path:
    """What `written` has written."""
    place = 2
    found: list[Address | None] = []
    for size in head[:2]:
        host = head[place : place + size]
        port, scope = _END.unpack_from(head, place + size)
        place += size + _END.size
        if not size:
            found.append(None)
        elif size == 4:
            found.append((socket.inet_ntop(socket.AF_INET, host), port))
        else:
            found.append((socket.inet_ntop(socket.AF_INET6, host), port, 0, scope))
    return Path(found[1], found[0])


def _packed(address: Any) -> tuple[bytes, bytes]:
    if address is None:
        return b"", _END.pack(0, 0)
    family = socket.AF_INET6 if len(address) == 4 else socket.AF_INET
    scope = address[3] if family == socket.AF_INET6 else 0
    return socket.inet_pton(family, address[0].partition("%")[0]), _END.pack(address[1], scope)
