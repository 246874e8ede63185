"""What the tests of datagram sockets share: both implementations, a sink that keeps everything, batches by hand."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Sequence
from typing import Any

from transport.datagram.base import Endpoint
from transport.machine import Address, Path
from transport.net import datagram as net
from transport.net.datagram_base import DatagramSocket, Outgoing
from transport.net.datagram_options import DatagramOptions

KINDS = ["portable"] if net.NativeDatagramSocket is None else ["native", "portable"]
FAMILIES = ["127.0.0.1", "::1"]


class Keep(Endpoint):
    """A sink: (payloads, path, ecn, stamp) of every call."""

    def __init__(self) -> None:
        Endpoint.__init__(self)
        self.calls: list[tuple[list[bytes], Path, int, int]] = []

    def receive_many(self, payloads: list[bytes], path: Path, ecn: int, now: int) -> None:
        assert all(type(payload) is bytes for payload in payloads)
        self.calls.append((payloads, path, ecn, self.stamp))

    @property
    def payloads(self) -> list[bytes]:
        return [payload for call in self.calls for payload in call[0]]


def address(host: str, port: int = 0) -> Address:
    return (host, port, 0, 0) if ":" in host else (host, port)


def bound(kind: str, host: str = "127.0.0.1", **options: Any) -> DatagramSocket:
    return net.open_datagram(address(host), None, DatagramOptions(**options), native=kind == "native")


def connected(kind: str, to: DatagramSocket | Address, **options: Any) -> DatagramSocket:
    target = to if isinstance(to, tuple) else name(to)
    return net.open_datagram(None, target, DatagramOptions(**options), native=kind == "native")


def name(sock: DatagramSocket) -> Any:
    return sock.sock.getsockname()


def batch(*items: tuple[bytes, int, Path | None, int]) -> Outgoing:
    """A batch of (bytes, segment size, path, mark)."""
    made = Outgoing(0, len(items))
    for entry, (data, segment, path, ecn) in zip(made.entries, items, strict=True):
        entry.size, entry.segment_bytes, entry.ecn = len(data), segment, ecn
        entry.path = path or Path(None, None)
        entry.offset = len(made.room)
        made.room += data
    made.count = len(items)
    return made


def send(sock: DatagramSocket, *payloads: bytes, path: Path | None = None) -> None:
    """Sends single datagrams, all of them."""
    assert sock.send(batch(*[(payload, len(payload), path or sock.path, 0) for payload in payloads]))


def take(sock: DatagramSocket, sink: Keep, count: int = 1) -> list[bytes]:
    """Waits until `count` more datagrams are in `sink`; the test's time limit ends a wait in vain."""
    wanted = len(sink.payloads) + count
    while len(sink.payloads) < wanted:
        select.select([sock.fileno()], [], [])
        got = sock.receive(sink, 0)
        assert got >= 0
    return sink.payloads[wanted - count :]


def wait_errors(sock: DatagramSocket, count: int = 1) -> list[tuple[Path, int]]:
    """Reads until so many errors have been reported, and gives them."""
    sink = Keep()
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLERR | select.POLLIN)
    while len(sock.errors) < count:
        poll.poll()
        sock.receive(sink, 0)
    return sock.errors


def fail_sends(sock: DatagramSocket, codes: Sequence[int]) -> None:
    """Makes the next system calls that send fail with these errno values; 0 lets one pass."""
    waiting = list(codes)
    if isinstance(sock, net.PortableDatagramSocket):
        send_one: Callable[..., int] = sock._hand_over

        def hand_over(*arguments: Any) -> int:
            code = waiting.pop(0) if waiting else 0
            return code or send_one(*arguments)

        patched: Any = sock
        patched._hand_over = hand_over
    else:
        from transport.net import _native

        _native.fail_sends(waiting)


def dead_address(host: str = "127.0.0.1") -> Any:
    """An address that nobody listens on (for as long as nobody takes it)."""
    with socket.socket(net.family_of(address(host)), socket.SOCK_DGRAM) as sock:
        sock.bind(address(host))
        return sock.getsockname()
