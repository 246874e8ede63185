"""Series of open-loop cases: one thing varies, all else stays at a point that is the same for all series.

What is asked of them: at which loss, delay, rate, size or number of connections does a transport stop being good, and
which one is it then? It must never know how a case is run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from bench.cases import CONSTANT, POISSON, Case, open_loop
from bench.link.model import Link

RATE = 100.0  # messages a second of each connection
CONNECTIONS = 10
RTTS_MS = (20.0, 50.0, 100.0)
LOSSES = (0.0, 0.01, 0.02, 0.05)
POINT = Link(delay_ms=25.0, loss=0.01)  # where a series over a link does not vary
LOOPBACK_RATES = (100.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0, 20_000.0, 50_000.0)
OVER_LOOPBACK = (
    "blocking-tcp", "uvloop-protocol", "uvloop-streams", "pyzmq", "websockets", "pyenet", "tcp", "tcp-coro", "rudp",
    "rudp-coro",
)  # fmt: skip
OVER_LINK = (
    "tcp-cubic", "tcp-bbr", "tcp-tuned", "kcp", "pyenet", "aioquic", "qh3", "pyzmq", "websockets", "tcp", "rudp",
    "rudp-unordered", "rudp-sequenced", "rudp-unreliable", "rudp-ordered-once", "rudp-bbr",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sweep:
    """One series.

    Args:
        title: what varies.
        cases: what is run, in the order of the plot.
        peers: who, where nothing else is asked; those that are not there are left out.
        seconds: measured of each round.
    """

    title: str
    cases: Callable[[], list[Case]]
    peers: Sequence[str]
    seconds: float


def grid(
    payloads: Sequence[int], rtts_ms: Sequence[float], losses: Sequence[float], rate: float = RATE,
    connections: int = CONNECTIONS, more: Link | None = None,
) -> list[Case]:  # fmt: skip
    """The published table: every loss at every round-trip time; `more` has what else the links do."""
    base = more or Link()
    return [
        open_loop(payload, rate, connections, link=replace(base, delay_ms=rtt / 2, loss=loss))
        for payload in payloads
        for rtt in rtts_ms
        for loss in losses
    ]


def rates(payload: int, wanted: Sequence[float], connections: int = 1, arrival: str = CONSTANT) -> list[Case]:
    """Latency against offered rate, over loopback."""
    return [open_loop(payload, rate / max(1, connections), connections, arrival=arrival) for rate in wanted]


def over(links: Sequence[Link], payload: int = 64) -> list[Case]:
    """The usual load over each of some links."""
    return [open_loop(payload, RATE, CONNECTIONS, link=link) for link in links]


def slow(rate_mbit: float, share: float) -> Link:
    """A link with a queue of a share of the bandwidth-delay product, at RTT 50 ms."""
    product = int(rate_mbit * 1e6 / 8 * 0.05)
    return Link(delay_ms=25.0, rate_mbit=rate_mbit, queue_bytes=max(3000, int(share * product)))


SWEEPS: dict[str, Sweep] = {
    "loss": Sweep(
        "loss at RTT 50 ms",
        lambda: over([replace(POINT, loss=loss) for loss in (0.0, 0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3)]),
        OVER_LINK, 30.0,
    ),
    "burst": Sweep(
        "loss of 2 % in bursts, RTT 50 ms",
        lambda: over([replace(POINT, loss=0.02, burst_ms=burst) for burst in (0.0, 20.0, 60.0, 200.0)]),
        OVER_LINK, 30.0,
    ),
    "delay": Sweep(
        "one-way delay at 1 % loss",
        lambda: over([replace(POINT, delay_ms=delay) for delay in (5.0, 15.0, 50.0, 150.0, 375.0)]),
        OVER_LINK, 30.0,
    ),
    "jitter": Sweep(
        "jitter at RTT 50 ms, 1 % loss",
        lambda: over([replace(POINT, jitter_ms=jitter) for jitter in (0.0, 2.5, 12.5, 50.0)]),
        OVER_LINK, 30.0,
    ),
    "reorder": Sweep(
        "packets overtaken by 5 ms, RTT 50 ms",
        lambda: over([replace(POINT, loss=0.0, reorder=share, reorder_ms=5.0) for share in (0.01, 0.05, 0.25)]),
        OVER_LINK, 30.0,
    ),
    "narrow": Sweep(
        "rate-limited links with queues of 1/2, 1 and 4 bandwidth-delay products, RTT 50 ms",
        lambda: over([slow(mbit, share) for mbit in (1.0, 10.0, 100.0) for share in (0.5, 1.0, 4.0)]),
        OVER_LINK, 30.0,
    ),
    "hole": Sweep(
        "nothing passes for a while, RTT 50 ms",
        lambda: over([Link(delay_ms=25.0, hole_at_s=8.0, hole_s=hole) for hole in (0.5, 2.0, 10.0)]),
        OVER_LINK, 30.0,
    ),
    "link-payload": Sweep(
        "payload at RTT 50 ms, 1 % loss, one connection",
        lambda: [open_loop(size, 20.0, 1, link=POINT) for size in (16, 256, 1024, 4096, 16_384, 65_536)],
        OVER_LINK, 30.0,
    ),
    "payload": Sweep(
        "payload over loopback, 200 messages a second",
        lambda: [open_loop(size, 200.0, 1) for size in (16, 64, 256, 1024, 4096, 16_384, 65_536, 1 << 20)],
        OVER_LOOPBACK, 5.0,
    ),
    "rate": Sweep(
        "offered rate over loopback until it breaks", lambda: rates(64, LOOPBACK_RATES), OVER_LOOPBACK, 3.0
    ),
    "poisson": Sweep(
        "offered rate over loopback, Poisson arrivals", lambda: rates(64, LOOPBACK_RATES, arrival=POISSON),
        OVER_LOOPBACK, 3.0,
    ),
    "connections": Sweep(
        "connections over loopback, 1,000 messages a second in all",
        lambda: [open_loop(64, 1000.0 / count, count) for count in (1, 10, 100, 1_000, 10_000)],
        OVER_LOOPBACK, 10.0,
    ),
}  # fmt: skip
