"""The one contract: every protocol is a machine with five verbs; a ready driver runs any of them.

`receive` and `expire` bring the world in, `transmit` and `events` take the results out, `deadline` says when to come
back. Time is an argument (integer nanoseconds of one monotonic clock). A machine owns no socket, no clock and no
randomness; it never raises for what a peer did: it closes and says why in an event.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

Buffer = bytes | bytearray | memoryview
Address = tuple[Any, ...] | str
"""What the socket module uses: ("127.0.0.1", 80), ("fe80::1", 80, 0, 2), or a path for Unix sockets."""

EOF = b""
"""Last buffer of a `transmit` that half-closes the pipe; as data in `receive`, the end of the peer's stream."""

ECN_NOT_ECT, ECN_ECT1, ECN_ECT0, ECN_CE = 0, 1, 2, 3


class Path:
    """A pair of addresses, local and remote: what a datagram came by, or is to leave by.

    `local` is None where the system may choose. Hashable, equal by value; immutable by convention. `raw` is a cache
    slot of the socket layer (a packed sockaddr), not part of the value.
    """

    __slots__ = ("_hash", "local", "raw", "remote")

    def __init__(self, local: Address | None, remote: Address | None) -> None:
        self.local = local
        self.remote = remote
        self.raw: Any = None
        self._hash = hash((local, remote))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, Path) and self.remote == other.remote and self.local == other.local

    def __repr__(self) -> str:
        return f"Path(local={self.local!r}, remote={self.remote!r})"


class Transmit:
    """One batch of equal datagrams to one path, shaped for segmentation offload.

    The first `size` bytes of the caller's buffer hold datagrams of `segment_bytes` each; only the last may be
    shorter. `segment_bytes` equals `size` for a single datagram.
    """

    __slots__ = ("ecn", "path", "segment_bytes", "size")

    def __init__(self, size: int, segment_bytes: int, path: Path, ecn: int = 0) -> None:
        self.size = size
        self.segment_bytes = segment_bytes
        self.path = path
        self.ecn = ecn

    def __repr__(self) -> str:
        return f"Transmit(size={self.size}, segment_bytes={self.segment_bytes}, path={self.path!r}, ecn={self.ecn})"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened and is rare. Messages never come as events; see `transport.session.Batch`."""


@dataclass(frozen=True, slots=True)
class Established(Event):
    """The peer has answered; the session is open."""


@dataclass(frozen=True, slots=True)
class Closed(Event):
    """The session is over. `clean` is a close with code 0 that both sides agreed on."""

    code: int
    reason: str
    by_peer: bool
    clean: bool


@dataclass(frozen=True, slots=True)
class Pong(Event):
    """The peer answered the ping with this token."""

    token: int


@dataclass(frozen=True, slots=True)
class InputEnded(Event):
    """The peer will send nothing more but may still read: a half-closed pipe."""


@runtime_checkable
class ByteMachine(Protocol):
    """A protocol over an ordered pipe: tcp, tls, unix, a serial line."""

    def receive(self, data: bytes, now: int) -> None:
        """Takes what arrived; b"" is the end of the stream. `data` is valid only during the call unless it is bytes.

        Never raises for what a peer did.
        """

    def transmit(self, now: int) -> Sequence[Buffer]:
        """Buffers ready for one write; `EOF` last to half-close. Empty when there is nothing."""

    def events(self) -> Sequence[object]:
        """What happened since the last call, drained."""

    def deadline(self) -> int | None:
        """When to call `expire`, in nanoseconds of the same clock, or None."""

    def expire(self, now: int) -> None:
        """The deadline has passed."""


@runtime_checkable
class DatagramMachine(Protocol):
    """A protocol over datagrams: udp and what stands on it."""

    def receive(self, data: bytes, path: Path, ecn: int, now: int) -> None:
        """Takes one datagram. Never raises for what a peer did."""

    def error(self, path: Path, errno: int, now: int) -> None:
        """An ICMP or send error for `path`; a datagram protocol treats it as a hint, never as proof."""

    def transmit(self, room: memoryview, now: int) -> Transmit | None:
        """Fills the caller's buffer with equal datagrams to one path; None when there is nothing to send."""

    def events(self) -> Sequence[object]:
        """What happened since the last call, drained."""

    def deadline(self) -> int | None:
        """When to call `expire`, in nanoseconds of the same clock, or None."""

    def expire(self, now: int) -> None:
        """The deadline has passed."""
