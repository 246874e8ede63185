"""A benchmark's link as the simulator takes it: one value for both directions, sizes on the wire.

It must never invent an impairment: what the simulator can't play as the emulator does is said here, or refused.
"""

from __future__ import annotations

from bench.link.model import BadLink, Link
from transport import limits
from transport.sim.config import IP_UDP_BYTES, BurstLoss, LinkConfig

MS = limits.MS_NS


def config_of(link: Link) -> LinkConfig:
    """One direction of `link`; IP and UDP headers count for its rate, its queue and its MTU.

    A damaged packet is a lost one: a kernel drops it for its UDP checksum before any peer sees it. Jitter comes behind
    the rate and overtakes, as in the emulator. A hole is counted from the start of the network, which is when the first
    packet of the handshake leaves.

    Raises:
        BadLink: a queue or a burst that the simulator has no room for.
    """
    loss, burst = link.loss, None
    if link.burst_ms and link.loss:
        bad_ns = round(link.burst_ms * MS)
        burst = BurstLoss(good_ns=round(bad_ns * (1 - link.loss) / link.loss), bad_ns=bad_ns)
        loss = 0.0
    if link.corrupt:
        loss = 1 - (1 - loss) * (1 - link.corrupt)
    start_ns = round(link.hole_at_s * limits.SECOND_NS)
    hole_ns = round(link.hole_s * limits.SECOND_NS)
    queue = link.queue if link.rate_mbit else limits.SIM_QUEUE_BYTES
    try:
        return LinkConfig(
            delay_ns=round(link.delay_ms * MS),
            jitter_ns=round(link.jitter_ms * MS),
            jitter_reorders=True,
            loss=loss,
            burst=burst,
            duplicate=link.duplicate,
            reorder=link.reorder,
            reorder_ns=round(link.reorder_ms * MS),
            rate_bits_per_s=round(link.rate_mbit * 1e6),
            queue_bytes=queue,
            mtu=link.mtu,
            overhead_bytes=IP_UDP_BYTES,
            blackouts=((start_ns, start_ns + hole_ns),) if hole_ns else (),
        )
    except ValueError as error:
        raise BadLink(f"{link.title}: the simulator can't play it: {error}") from error


def delay_max_ns(link: Link) -> int:
    """The longest that one packet can be under way without being lost, ns."""
    waiting = 8 * link.queue / (link.rate_mbit * 1e6) * 1e9 if link.rate_mbit else 0.0
    return round((link.delay_ms + link.jitter_ms + link.reorder_ms) * MS + waiting)
