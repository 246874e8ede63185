"""What a peer is in virtual time: a protocol that moves no bytes by itself and is told what time it is.

A machine is one end of one connection. Whoever runs it hands it datagrams and the time, and takes datagrams and
messages from it; nothing in between may look at a real clock. A peer makes both ends of a connection. Libraries are
imported inside methods only: the command line must be able to list a peer that is not installed.
"""

from __future__ import annotations

from collections.abc import Callable

from bench.peers.base import Peer

Entropy = Callable[[str], Callable[[int], bytes]]
"""Seeded random bytes for a machine's name: `entropy("client")(16)` gives 16 of them."""


class VirtualMachine:
    """One end of a connection. Times are whole nanoseconds of virtual time.

    Attributes:
        is_open: messages may be sent.
        broken: why the connection ended before its time, or None.
    """

    is_open = False
    broken: str | None = None

    def connect(self, now: int) -> None:
        """Begins the handshake, on the client's side only."""
        raise NotImplementedError

    def listen(self, now: int) -> None:
        """Begins, on the server's side: for timers that run from the start."""

    def send(self, message: bytes, now: int) -> None:
        """Hands a message over, as a program does; what leaves for it comes out of `output`."""
        raise NotImplementedError

    def receive(self, datagram: bytes, now: int) -> None:
        """One datagram from the other end."""
        raise NotImplementedError

    def deadline(self) -> int | None:
        """When `expire` wants to be called, if nothing comes before; None for never."""
        raise NotImplementedError

    def expire(self, now: int) -> None:
        """The deadline has come."""
        raise NotImplementedError

    def output(self, now: int) -> list[bytes]:
        """The datagrams that leave now, UDP payloads; called after anything else was."""
        raise NotImplementedError

    def take(self) -> list[bytes]:
        """The messages that have been delivered since the last call, in the order of delivery."""
        raise NotImplementedError


class VirtualPeer(Peer):
    """A protocol that can be run in virtual time.

    Attributes:
        ordered: what is delivered comes in the order sent, or the round is a FAIL.
    """

    scheme = "udp"
    loop = "virtual"
    ordered = True

    def pair(self, entropy: Entropy) -> tuple[VirtualMachine, VirtualMachine]:
        """The client's and the server's end of a new connection."""
        raise NotImplementedError
