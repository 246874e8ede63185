"""Reliable UDP of this project, in its four deliveries, with copies that ride again and without.

Settings are the defaults, but that nothing besides the messages makes packets: no keep-alive, no idle time-out.
"""

from __future__ import annotations

from bench.peers.base import OURS
from bench.virtual.machine import Entropy, VirtualMachine, VirtualPeer
from transport import limits
from transport.delivery import Delivery
from transport.machine import Path, Transmit
from transport.rudp.config import RudpConfig
from transport.rudp.endpoint import RudpEndpoint
from transport.rudp.session import RudpSession
from transport.session import SessionState
from transport.transports.rudp import CHECKSUMS, IS_COMPILED

OPEN, CLOSED = int(SessionState.OPEN), int(SessionState.CLOSED)
RELIABLE_MAX = int(Delivery.RELIABLE_UNORDERED)
WORDS = {
    Delivery.RELIABLE_ORDERED: "ordered",
    Delivery.RELIABLE_UNORDERED: "unordered",
    Delivery.UNRELIABLE_SEQUENCED: "sequenced",
    Delivery.UNRELIABLE: "unreliable",
}


class RudpMachine(VirtualMachine):
    """One endpoint with one session.

    Args:
        endpoint: the client's or the server's.
        delivery: of every message sent.
        copies: `redundancy` of `Connection.send`; 0 for its default.
        path: to the other end, as this end's owner knows it.
    """

    def __init__(self, endpoint: RudpEndpoint, delivery: int, copies: int, path: Path) -> None:
        self.endpoint = endpoint
        self.session: RudpSession | None = None
        self._delivery = delivery
        self._copies = copies
        self._path = path
        self._messages: list[bytes] = []
        self._room = memoryview(bytearray(limits.DATAGRAM_BYTES_MAX))
        self._item = Transmit(0, 0, path)

    def connect(self, now: int) -> None:
        """See `VirtualMachine`."""
        self.session = self.endpoint.connect(self._path, now)

    def send(self, message: bytes, now: int) -> None:
        """See `VirtualMachine`."""
        assert self.session is not None
        if self._copies:
            self.session.send_copies(message, 0, self._delivery, 0, 0, self._copies, now)
        else:
            self.session.send(message, 0, self._delivery, 0, 0, now)

    def receive(self, datagram: bytes, now: int) -> None:
        """See `VirtualMachine`."""
        self.endpoint.receive_one(datagram, self._path, 0, now)
        self._collect()

    def deadline(self) -> int | None:
        """See `VirtualMachine`."""
        return self.endpoint.due() or None

    def expire(self, now: int) -> None:
        """See `VirtualMachine`."""
        self.endpoint.expire(now)
        self._collect()

    def output(self, now: int) -> list[bytes]:
        """See `VirtualMachine`."""
        found = []
        item, room = self._item, self._room
        while self.endpoint.fill(item, room, now):
            size, segment = item.size, item.segment_bytes
            found += [bytes(room[start : min(start + segment, size)]) for start in range(0, size, segment)]
        self._collect()
        return found

    def take(self) -> list[bytes]:
        """See `VirtualMachine`."""
        messages = self._messages
        self._messages = []
        return messages

    def _collect(self) -> None:
        """Takes what the sessions have; a program that keeps up consumes at once."""
        endpoint = self.endpoint
        session = endpoint.take_ready()
        if session is None:
            return
        if endpoint.fresh_sessions:
            for fresh in endpoint.take_fresh():
                assert isinstance(fresh, RudpSession)
                self.session = self.session or fresh
        while session is not None:
            following = endpoint.after_ready(session)
            for batch in session.take():
                self._messages += batch.payloads
                if batch.delivery <= RELIABLE_MAX:
                    session.consumed(batch.channel, batch.size, len(batch.payloads))
            ended = [event for event in session.events() if hasattr(event, "reason")]
            if ended:
                self.broken = f"closed: {ended[-1]!r}"
            session = following
        self.is_open = self.session is not None and self.session.state == OPEN


class Rudp(VirtualPeer):
    """One delivery, with copies or without.

    Args:
        delivery: of every message.
        redundancy: the endpoints' option: whether reliable messages of thin streams ride again by themselves.
        copies: asked for with each message, see `RudpMachine`; unreliable messages have no others.
        congestion: "cubic", or "none" for who is compared with a peer that has its congestion control off.
    """

    kind = OURS
    scheme = "rudp"
    modules = ("transport",)
    distributions = ("transport",)

    def __init__(self, delivery: Delivery, redundancy: bool = True, copies: int = 0,
                 congestion: str = "cubic") -> None:  # fmt: skip
        word = WORDS[delivery]
        self.delivery = delivery
        self.redundancy = redundancy
        self.copies = copies
        self.congestion = congestion
        self.reliable = delivery <= RELIABLE_MAX
        self.ordered = delivery in (Delivery.RELIABLE_ORDERED, Delivery.UNRELIABLE_SEQUENCED)
        self.name = "rudp" + ("" if delivery is Delivery.RELIABLE_ORDERED else f"-{word}")
        self.title = f"rudp, {word}"
        if not redundancy:
            self.name += "-plain"
            self.title += ", no copies"
        if copies:
            self.name += "-copy"
            self.title += f", redundancy={copies}"
        if congestion == "none":
            self.name += "-nocc"
            self.title += ", no cong. control"

    def versions(self) -> dict[str, str]:
        """See `Peer`."""
        return super().versions() | {"compiled": str(IS_COMPILED)}

    def settings(self) -> dict[str, str]:
        """See `Peer`."""
        return {
            "delivery": self.delivery.name,
            "redundancy": f"option {self.redundancy}" + (f", {self.copies} with each message" if self.copies else ""),
            "congestion": self.congestion,
            "keep-alive, idle time-out": "off, so that only messages make packets",
        }

    def pair(self, entropy: Entropy) -> tuple[VirtualMachine, VirtualMachine]:
        """See `VirtualPeer`."""
        config = RudpConfig(keepalive_ns=0, idle_ns=0, redundancy=self.redundancy, checksums=CHECKSUMS["auto"],
                            congestion=self.congestion)  # fmt: skip
        client = RudpEndpoint(config, entropy("client"))
        server = RudpEndpoint(config, entropy("server"), listening=True)
        delivery = int(self.delivery)
        return (
            RudpMachine(client, delivery, self.copies, Path("c", "s")),
            RudpMachine(server, delivery, self.copies, Path("s", "c")),
        )


PEERS = [
    Rudp(Delivery.RELIABLE_ORDERED),
    Rudp(Delivery.RELIABLE_ORDERED, redundancy=False),
    Rudp(Delivery.RELIABLE_ORDERED, congestion="none"),
    Rudp(Delivery.RELIABLE_UNORDERED),
    Rudp(Delivery.RELIABLE_UNORDERED, redundancy=False),
    Rudp(Delivery.UNRELIABLE_SEQUENCED),
    Rudp(Delivery.UNRELIABLE_SEQUENCED, copies=1),
    Rudp(Delivery.UNRELIABLE),
    Rudp(Delivery.UNRELIABLE, copies=1),
]
