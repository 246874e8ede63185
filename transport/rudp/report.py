"""What `statistics()` of a reliable UDP session says, in one place, so that code and guide name the same things."""

from __future__ import annotations

from typing import Any

from transport.rudp.states import CAPABLE


def report(session: Any) -> dict[str, int]:
    """Counters since the beginning, and what holds now. Times in nanoseconds, sizes in bytes."""
    rtt = session.rtt
    flow = session.flow
    found = {
        "messages_sent": session.messages_sent,
        "messages_received": session.messages_received,
        "packets_sent": session.packets_sent,
        "packets_received": session.packets_received,
        "bytes_sent": session.bytes_sent,
        "bytes_received": session.bytes_received,
        "rtt_ns": rtt.smoothed,
        "rtt_latest_ns": rtt.latest,
        "rtt_min_ns": rtt.minimum,
        "rtt_var_ns": rtt.variance,
        "packets_acked": session.packets_acked,
        "packets_lost": session.packets_lost,
        "packets_spurious": session.packets_spurious,
        "packet_threshold": session.thresholds.packets,
        "time_threshold_eighths": session.thresholds.eighths,
        "probes_sent": session.probes_sent,
        "acks_sent": session.acks.sent,
        "acks_received": session.acks_received,
        "ack_threshold": session.acks.threshold,
        "ack_threshold_asked": session.policy.threshold,
        "ack_policies_sent": session.policy.sent,
        "ack_policies_received": session.acks.policies,
        "retransmitted_bytes": flow.retransmitted_bytes,
        "copies_sent": session.copies_sent,
        "copy_bytes": session.copy_bytes,
        "copies_saved": session.copies_saved,
        "congestion_window": session.controller.window,
        "in_flight": session.in_flight,
        "queued_bytes": session.queued_bytes,
        "blocked_bytes": session.blocked_bytes,
        "expired": flow.expired,
        "skipped": flow.skipped,
        "dropped_out": flow.dropped,
        "unreliable_lost": session.loose_lost,
        "packets_duplicate": session.packets_duplicate,
        "packets_corrupt": session.packets_corrupt,
        "packets_refused": session.packets_refused,
        "messages_duplicate": session.messages_duplicate(),
        "path_errors": session.path_errors,
        "path_changes": session.path_changes,
        "mtu": session.mtu,
        "mtu_probes_sent": session.search.sent,
        "mtu_probes_lost": session.search.lost,
        "black_holes": session.search.holes,
        "ecn": int(session.ecn.state == CAPABLE),
        "ecn_congested": session.ecn.ce,
        "ecn_congested_received": session.acks.ce,
        "credit": max(0, flow.limit - flow.total),
        "window": session.receive_window(),
    }
    for name, value in session.controller.statistics().items():
        if name != "window":
            found[f"congestion_{name}"] = value
    for number, counts in session.channel_counts().items():
        for name, value in counts.items():
            found[f"channel_{number}_{name}"] = value
    return found
