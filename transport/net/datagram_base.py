"""What a driver needs of a datagram socket, whichever way the bytes move.

A base class and not a protocol, because a driver looks at it several times for every wake-up.
A socket never raises for what a peer or the network did: such errors go to `errors` by path, and the datagram in
question is dropped, as datagrams are. It must never wait, and keeps no queue.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from transport.datagram.base import Endpoint
from transport.machine import Address, Path, Transmit

NOWHERE = Path(None, None)


class Entry(Transmit):
    """A `Transmit` whose datagrams begin at `offset` of a batch's room."""

    def __init__(self) -> None:
        Transmit.__init__(self, 0, 0, NOWHERE)
        self.offset = 0


class Outgoing:
    """A batch on its way out, with the memory it lies in; used over and over.

    Attributes:
        room: what the entries' offsets count in.
        entries: the first `count` are the batch; those before `first` have left.
    """

    def __init__(self, size: int, entries: int) -> None:
        self.room = bytearray(size)
        self.entries = [Entry() for _ in range(entries)]
        self.first = 0
        self.count = 0

    def rest(self) -> Outgoing:
        """What has not left, with a copy of its bytes, as a batch of its own."""
        kept = Outgoing(0, self.count - self.first)
        for entry, copy in zip(self.entries[self.first : self.count], kept.entries, strict=True):
            copy.size, copy.segment_bytes, copy.path, copy.ecn = entry.size, entry.segment_bytes, entry.path, entry.ecn
            copy.offset = len(kept.room)
            kept.room += self.room[entry.offset : entry.offset + entry.size]
        kept.count = len(kept.entries)
        return kept


class DatagramSocket:
    """Datagrams in and out of one UDP socket, in batches.

    Attributes:
        sock: the socket underneath; whoever holds this object owns it.
        path: the one path of a connected socket, else None.
        local: the bound address where it is one address, None for a wildcard (then paths carry it).
        errors: (path, errno) of datagrams that failed, by ICMP or at once; the driver takes them out.
        more, received_bytes: of the last `receive`.
        disturbed: there may be errors, and the loop may have stopped watching the descriptor. Reset by the driver.
        truncated: datagrams dropped because they did not fit the room.
        unsent: datagrams or trains that could not be sent, by a sender's errors.
        segment_max: largest segment that leaves in trains by offload; 0 for no offload.
        selectable: the loop can watch `fileno()`; else `start` says whom to call.
    """

    def __init__(self, sock: socket.socket, path: Path | None, local: Address | None) -> None:
        self.sock = sock
        self.path = path
        self.local = local
        self.errors: list[tuple[Path, int]] = []
        self.more = False
        self.received_bytes = 0
        self.disturbed = False
        self.selectable = True
        self.truncated = 0
        self.unsent = 0
        self.segment_max = 0

    def fileno(self) -> int:
        """The descriptor; -1 when closed."""
        return self.sock.fileno()

    def start(self, readable: Callable[[], None], writable: Callable[[], None]) -> None:
        """Has `readable` called when something came, `writable` when a send that fell short may go on."""
        raise NotImplementedError

    def receive(self, sink: Endpoint, now: int) -> int:
        """Gives one batch of what has arrived to `sink.receive_many`; consecutive datagrams of one path together.

        A single datagram may go to `sink.receive_one` in its place.

        Before each call `sink.stamp` is set to the kernel's time of these datagrams (CLOCK_REALTIME, ns), or to 0.

        Returns:
            How many datagrams there were. `received_bytes` says how large, `more` whether there is probably more.

        Raises:
            OSError: the descriptor is unusable. And whatever `sink` raises.
        """
        raise NotImplementedError

    def send(self, batch: Outgoing) -> bool:
        """Sends a batch.

        Returns:
            Whether the kernel took all of it. If not, `batch.first` is the entry where it stopped, and what was taken
            of that entry is taken off its size and added to its offset. An entry that can't be sent is reported in
            `errors` and counts as taken.

        Raises:
            ValueError: an entry lies outside the room, or has no segments.
            OSError: the descriptor is unusable.
        """
        raise NotImplementedError

    def send_single(self, payload: bytes, path: Path) -> bool:
        """Sends one datagram straight from `payload`, if that can be done without more ado.

        Returns:
            Whether it was sent. If not, it goes by `send`, which also tells what is wrong with it.
        """
        return False

    def close(self) -> None:
        """Closes the socket; idempotent."""
        self.sock.close()
