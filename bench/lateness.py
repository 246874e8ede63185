"""How late the harness may be before a figure says more about it than about a peer; the bounds stand here and nowhere
else.

A machine that is shared stands still for a tenth of a second now and then. That spoils a 99.9th percentile long before
it shows at the 99th, so each percentile is asked by itself: at the 99th the round becomes INVALID, above it only the
percentile carries a mark.
"""

from __future__ import annotations

SENDER_MIN_NS = 50_000
SENDER_SHARE = 0.1  # of the latency at the same percentile
LINK_MIN_NS = 500_000
LINK_SHARE = 0.05  # of the one-way delay


def sender_may_ns(latency_ns: float) -> float:
    """How late a sender may be at the percentile at which the latency is `latency_ns`."""
    return max(SENDER_MIN_NS, SENDER_SHARE * latency_ns)


def link_may_ns(delay_ms: float) -> float:
    """How late a link with a one-way delay of `delay_ms` may release packets."""
    return max(LINK_MIN_NS, LINK_SHARE * delay_ms * 1e6)
