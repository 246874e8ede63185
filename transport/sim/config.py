"""What one direction of a simulated link does to the datagrams that cross it.

Exists apart from the link so that a scenario is a plain frozen value that can be printed, compared and replaced.
It must never hold state or randomness.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from transport import limits

IP_UDP_BYTES = 28
"""Header bytes of IPv4 and UDP, for `LinkConfig.overhead_bytes` where a rate or an MTU is meant on the wire."""

BURST_NS_MAX = 10**15
RATE_BITS_MAX = 10**15
SIZE_MAX = 1 << 31


def _probability(name: str, value: float) -> None:
    if not (isfinite(value) and 0.0 <= value <= 1.0):
        raise ValueError(f"{name} is a probability between 0 and 1, not {value!r}")


def _span(name: str, value: int, least: int = 0, most: int = 10**18) -> None:
    """The upper ends keep every sum and product of the link within 64 bits."""
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name} is a whole number from {least:,} to {most:,}, not {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BurstLoss:
    """Gilbert-Elliott loss in continuous time: the link alternates between a good and a bad state.

    Clocked by time, not by packets: a sender that falls silent finds the link good again, and one that sends twice as
    much meets the same bursts. (A chain clocked by packets punishes silence, and back-off then never ends.)

    Args:
        good_ns: mean time in the good state; times are exponential.
        bad_ns: mean time in the bad state.
        loss_bad: probability of loss in the bad state.
        loss_good: probability of loss in the good state.

    Source: Gilbert, "Capacity of a burst-noise channel", 1960; Elliott 1963.
    """

    good_ns: int
    bad_ns: int
    loss_bad: float = 1.0
    loss_good: float = 0.0

    def __post_init__(self) -> None:
        _span("good_ns", self.good_ns, 1, BURST_NS_MAX)
        _span("bad_ns", self.bad_ns, 1, BURST_NS_MAX)
        _probability("loss_bad", self.loss_bad)
        _probability("loss_good", self.loss_good)

    @property
    def mean_loss(self) -> float:
        """Share of the datagrams of a steady stream that is lost in the long run."""
        share_bad = self.bad_ns / (self.good_ns + self.bad_ns)
        return share_bad * self.loss_bad + (1 - share_bad) * self.loss_good


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkConfig:
    """One direction of a link. Times in nanoseconds, sizes in bytes, probabilities per datagram.

    A datagram meets, in this order: blackouts, the MTU, the queue before the rate (ECN marks are made there), loss,
    corruption, delay, jitter, reordering, and last duplication. So a lost datagram has used the rate, a copy has not.

    Args:
        delay_ns: fixed one-way delay.
        jitter_ns: further delay, uniform from 0 to this.
        jitter_reorders: whether jitter lets a datagram overtake another; otherwise the order is kept.
        loss: probability of independent loss.
        loss_per: when not 0, exactly `round(loss * loss_per)` of each `loss_per` datagrams are lost, at random places.
        burst: loss in bursts, clocked by time; beside `loss`.
        duplicate: probability that a second copy arrives.
        reorder: probability of `reorder_ns` more delay, outside the order.
        reorder_ns: how much more.
        corrupt: probability that bits are flipped.
        corrupt_bits: how many bits then (a bit chosen twice flips back).
        rate_bits_per_s: bits per second of the bottleneck; 0 is without limit.
        queue_bytes: drop-tail queue before the bottleneck, the datagram under way included.
        ecn_mark_bytes: ECN-capable datagrams that find the queue above this, themselves included, are marked CE.
        ecn_clear: the path wipes ECN marks to 0, as some real ones do.
        mtu: larger datagrams are dropped; 0 is without limit.
        overhead_bytes: header bytes that count for `mtu`, `rate_bits_per_s` and `queue_bytes` beside the payload.
        down: drops everything.
        blackouts: (start, end) windows in nanoseconds since the start of the network in which everything is dropped.
    """

    delay_ns: int = 0
    jitter_ns: int = 0
    jitter_reorders: bool = False
    loss: float = 0.0
    loss_per: int = 0
    burst: BurstLoss | None = None
    duplicate: float = 0.0
    reorder: float = 0.0
    reorder_ns: int = 0
    corrupt: float = 0.0
    corrupt_bits: int = 1
    rate_bits_per_s: int = 0
    queue_bytes: int = limits.SIM_QUEUE_BYTES
    ecn_mark_bytes: int | None = None
    ecn_clear: bool = False
    mtu: int = 0
    overhead_bytes: int = 0
    down: bool = False
    blackouts: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        for name in ("loss", "duplicate", "reorder", "corrupt"):
            _probability(name, getattr(self, name))
        for name in ("delay_ns", "jitter_ns", "reorder_ns"):
            _span(name, getattr(self, name))
        _span("rate_bits_per_s", self.rate_bits_per_s, 0, RATE_BITS_MAX)
        _span("mtu", self.mtu, 0, SIZE_MAX)
        _span("overhead_bytes", self.overhead_bytes, 0, limits.KIB)
        _span("corrupt_bits", self.corrupt_bits, 1, limits.KIB)
        _span("loss_per", self.loss_per, 0, limits.SIM_CHANGES_MAX)
        _span("queue_bytes", self.queue_bytes, 1, limits.SIM_QUEUE_BYTES)
        if self.reorder and not self.reorder_ns:
            raise ValueError("reorder needs reorder_ns, the further delay of those datagrams")
        if self.ecn_mark_bytes is not None:
            _span("ecn_mark_bytes", self.ecn_mark_bytes, 0, limits.SIM_QUEUE_BYTES)
        self._check_blackouts()

    def _check_blackouts(self) -> None:
        if len(self.blackouts) > limits.SIM_CHANGES_MAX:
            raise ValueError(f"at most SIM_CHANGES_MAX = {limits.SIM_CHANGES_MAX:,} blackouts")
        last = 0
        for start, end in self.blackouts:
            _span("start of a blackout", start, last)
            _span("end of a blackout", end, start + 1)
            last = end

    @property
    def loses(self) -> bool:
        """Whether something may be lost, doubled, altered or overtaken: then a byte stream can't cross as it is.

        Delay, ordered jitter, a rate and blackouts only hold a byte stream up.
        """
        return bool(self.loss or self.burst or self.duplicate or self.reorder or self.corrupt or self.mtu
                    or (self.jitter_ns and self.jitter_reorders))  # fmt: skip
