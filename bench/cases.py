"""What is measured: one `Case` is one configuration, the same for every peer that runs it.

Exists so that "the same work" is a value that both processes of a round and the result file share. It must never know
a peer by name.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from bench.link.model import Link
from bench.trace.model import Recorded

LATENCY = "latency"
THROUGHPUT = "throughput"
OPEN = "open"  # one way, at times fixed in advance
SAME = "same"  # both ends on one core
EACH = "each"  # one core each
FREE = "free"  # wherever the scheduler puts them

HEADER_BYTES = 16
PAYLOAD_MIN = HEADER_BYTES
PAYLOAD_MAX = 16 * 1024 * 1024
MIXED_BYTES_MAX = 1200
BURST_BYTES = 64 * 1024
CONSTANT, POISSON = "constant", "poisson"
CONNECTIONS_MAX = 10_000
RATE_MAX = 1_000_000.0  # messages a second, all connections together


class BadCase(ValueError):
    """A configuration that can't be run; the text says why."""


@dataclass(frozen=True, slots=True)
class Case:
    """One configuration.

    Args:
        id: short unique name, used in files and on the command line.
        mode: `LATENCY` (closed loop, one message in flight), `THROUGHPUT` (one way, as fast as back-pressure lets) or
            `OPEN` (one way, at planned times; latency counts from the planned time).
        payload: bytes of one message; the largest one when `mixed`.
        mixed: sizes drawn evenly from 16 to `payload` bytes, the same seeded sequence for every peer.
        codec: "raw" (bytes) or "msgpack" (a small dict; `payload` then says how many bytes it packs to).
        fanout: one sending socket and this many receiving sockets, served in turn.
        placement: `SAME`, `EACH` or `FREE`.
        burst: bytes that a datagram sender queues before it lets its loop turn; decides how much there is to merge.
        connections: of an open loop, independent of each other, all between the same two processes.
        rate: of an open loop, messages a second on each connection.
        arrival: of an open loop, `CONSTANT` (a period, each connection with a phase of its own) or `POISSON`.
        link: between the two ends; None for loopback.
        seconds: measured in a round, where it is not what the command says for all; 0 if it is.
        trace: of an open loop, the recorded traffic that it plays; `payload` is then its largest message, `rate` the
            mean, `mixed` says whether sizes differ at all.
    """

    id: str
    mode: str
    payload: int
    mixed: bool = False
    codec: str = "raw"
    fanout: int = 1
    placement: str = SAME
    burst: int = BURST_BYTES
    connections: int = 1
    rate: float = 0.0
    arrival: str = CONSTANT
    link: Link | None = None
    seconds: float = 0.0
    trace: Recorded | None = None

    @property
    def title(self) -> str:
        """How the configuration is called in tables."""
        size = f"16 to {self.payload} B" if self.mixed else bytes_text(self.payload)
        if self.trace is not None:
            return f"{self.trace.title}; {'loopback' if self.link is None else self.link.title}"
        if self.mode == OPEN:
            many = f"{self.connections} connections of " if self.connections > 1 else ""
            when = ", Poisson" if self.arrival == POISSON else ""
            where = "loopback" if self.link is None else self.link.title
            return f"one way, {size}, {many}{self.rate:g} messages a second{when}; {where}"
        what = "round trip, one message in flight" if self.mode == LATENCY else "throughput, one way"
        extra = f", to {self.fanout} sockets in turn" if self.fanout > 1 else ""
        laps = self.burst // (self.payload * self.fanout) if self.fanout > 1 else 1
        extra += f", {laps} laps a turn of the loop" if laps > 1 else ""
        codec = ", msgpack dict" if self.codec == "msgpack" else ""
        extra += "" if self.link is None else f"; {self.link.title}"
        return f"{what}, {size}{codec}{extra}"

    def as_dict(self) -> dict[str, Any]:
        """For the result file and for the worker processes."""
        return asdict(self) | {"title": self.title}

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Case:
        """The inverse of `as_dict`."""
        fields = {name: value for name, value in data.items() if name not in ("title", "peers")}
        if fields.get("link") is not None:
            fields["link"] = Link.from_dict(fields["link"])
        if fields.get("trace") is not None:
            fields["trace"] = Recorded.from_dict(fields["trace"])
        return Case(**fields)


def bytes_text(size: int) -> str:
    """64 -> "64 B", 1024 -> "1 KB", 65536 -> "64 KB"."""
    for unit, name in ((1024 * 1024, "MB"), (1024, "KB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} B"


def latency(payload: int, placement: str = SAME, codec: str = "raw") -> Case:
    """A closed-loop case."""
    suffix = "" if codec == "raw" else f"-{codec}"
    where = "" if placement == SAME else f"-{placement}"
    return Case(f"latency-{payload}{suffix}{where}", LATENCY, payload, codec=codec, placement=placement)


def throughput(payload: int, placement: str = EACH, codec: str = "raw", link: Link | None = None) -> Case:
    """A one-way case, over loopback or over `link`."""
    suffix = "" if codec == "raw" else f"-{codec}"
    where = "" if placement == EACH else f"-{placement}"
    where += "" if link is None else f"-{link.id}"
    return Case(
        f"throughput-{payload}{suffix}{where}", THROUGHPUT, payload, codec=codec, placement=placement, link=link
    )


def mixed_sizes() -> Case:
    """Throughput of messages whose sizes differ: nothing can be merged into equal segments."""
    return Case("throughput-mixed", THROUGHPUT, MIXED_BYTES_MAX, mixed=True, placement=EACH)


def fan_out(payload: int = 64, sockets: int = 100, laps: int = 1) -> Case:
    """Throughput of one sending socket to many receiving ones in turn.

    With one lap the loop turns after one message to everybody, so no two datagrams to one peer can be merged. With more
    a sender may merge them, and it is another question that is asked.
    """
    name = f"throughput-{payload}-to-{sockets}" + (f"-laps-{laps}" if laps > 1 else "")
    burst = payload * sockets * laps
    return Case(name, THROUGHPUT, payload, fanout=sockets, placement=EACH, burst=burst)


def open_loop(
    payload: int, rate: float, connections: int = 1, *, arrival: str = CONSTANT, link: Link | None = None,
    placement: str = EACH,
) -> Case:  # fmt: skip
    """An open-loop case: `connections` times `rate` messages a second, one way.

    Raises:
        BadCase: more connections or messages than the harness can plan.
    """
    if not 1 <= connections <= CONNECTIONS_MAX or not 0 < rate * connections <= RATE_MAX:
        raise BadCase(f"an open loop has 1 to {CONNECTIONS_MAX} connections and up to {RATE_MAX:g} messages a second")
    name = f"open-{payload}-{connections}x{rate:g}" + ("-poisson" if arrival == POISSON else "")
    name += "" if link is None else f"-{link.id}"
    name += "" if placement == EACH else f"-{placement}"
    return Case(
        name, OPEN, payload, placement=placement, connections=connections, rate=rate, arrival=arrival, link=link
    )


def replay(trace: Recorded, link: Link | None = None, placement: str = EACH) -> Case:
    """The open-loop case of recorded traffic, on as many connections, all opened before its first message."""
    seconds = trace.span_s / trace.speed
    name = f"replay-{trace.id}" + ("" if link is None else f"-{link.id}")
    name += "" if placement == EACH else f"-{placement}"
    return Case(
        name, OPEN, trace.largest, mixed=trace.smallest != trace.largest, placement=placement, link=link, trace=trace,
        connections=trace.connections, rate=trace.messages / trace.connections / seconds if seconds else 0.0,
    )  # fmt: skip
