"""Packets from a network interface as they pass: Linux's raw packet sockets (packet(7)).

Takes what `transport inspect --live` shows. It must never wait, and never send anything.
"""

from __future__ import annotations

import socket
import struct
import time

from transport import limits
from transport.sight import headers
from transport.sight.capture import Packet

ANY = "any"
ETH_P_ALL = 3
OUTGOING = 4  # PACKET_OUTGOING
ARPHRD_ETHER, ARPHRD_LOOPBACK = 1, 772
SOL_PACKET, PACKET_STATISTICS = 263, 6
SO_TIMESTAMPNS = 35  # SO_TIMESTAMPNS_OLD: its value is a timespec of this machine
TIMESPEC = struct.Struct("@qq")
RECEIVE_BYTES = 8 * limits.MIB


class Refused(OSError):
    """The interface can't be read; the text says why and what to do, in one line."""


class RawSocket:
    """What passes an interface, both ways.

    Args:
        interface: its name, or "any".

    Raises:
        Refused: no right, no such interface, or a system without such sockets.
    """

    def __init__(self, interface: str) -> None:
        if not hasattr(socket, "AF_PACKET"):
            raise Refused("--live needs Linux's raw packet sockets, which this system does not have")
        try:
            self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, _network(ETH_P_ALL) * (interface == ANY))
        except PermissionError:
            raise Refused(
                "--live needs the right to open raw packet sockets: run it as root, or with CAP_NET_RAW"
            ) from None
        self._sock.setblocking(False)
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
            self._sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            if interface != ANY:
                self._sock.bind((interface, ETH_P_ALL))
        except OSError as error:
            self._sock.close()
            raise Refused(f"interface {interface}: {error.strerror}") from None
        self._dropped = 0

    def fileno(self) -> int:
        """For a loop's `add_reader`."""
        return self._sock.fileno()

    def read(self) -> Packet | None:
        """The next packet; None when none is there.

        Raises:
            OSError: the interface is gone.
        """
        while True:
            try:
                data, extra, _, address = self._sock.recvmsg(
                    limits.DATAGRAM_BYTES_MAX * 2, socket.CMSG_SPACE(TIMESPEC.size), socket.MSG_TRUNC
                )
            except BlockingIOError:
                return None
            _, _, kind, hardware, *_ = address
            if kind == OUTGOING and hardware == ARPHRD_LOOPBACK:
                continue  # it comes in again at once
            return Packet(_time(extra), _link(hardware), data, len(data))

    def dropped(self) -> int:
        """Packets that the kernel had no room for, so far."""
        counts = self._sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
        self._dropped += struct.unpack("@II", counts)[1]  # the kernel begins anew with each question
        return self._dropped

    def close(self) -> None:
        """Idempotent."""
        self._sock.close()


def _network(number: int) -> int:
    return socket.htons(number)


def _link(hardware: int) -> int:
    """Which link type a packet has: what is no Ethernet (tunnels, mobile) comes without a header of its own."""
    return headers.ETHERNET if hardware in (ARPHRD_ETHER, ARPHRD_LOOPBACK) else headers.RAW


def _time(extra: list[tuple[int, int, bytes]]) -> int:
    for level, kind, value in extra:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS and len(value) >= TIMESPEC.size:
            seconds, rest = TIMESPEC.unpack(value[: TIMESPEC.size])
            return int(seconds) * limits.SECOND_NS + int(rest)
    return time.time_ns()
