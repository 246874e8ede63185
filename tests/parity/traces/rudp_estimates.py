"""What reliable UDP estimates and keeps count of: ranges, round trips, loss thresholds, redundancy."""

from __future__ import annotations

import random

from transport.rudp.loss import LossThresholds
from transport.rudp.ranges import AckRanges, Ranges
from transport.rudp.redundancy import Redundancy
from transport.rudp.rtt import RttEstimator

MS_NS = 1_000_000
STEPS = 3000


def counted(rng: random.Random, ranges: Ranges, acks: AckRanges, step: int) -> list[object]:
    start = rng.randrange(5000)
    out: list[object] = [
        ranges.add(start, start + rng.randrange(9)),
        ranges.remove(start + 50, start + rng.randrange(99)),
    ]
    out += [ranges.first_start(), ranges.covered_to(start), ranges.count, ranges.total]
    out += [int(acks.add(max(0, step + rng.randrange(-80, 3)))), acks.range_count(), acks.floor, acks.largest]
    if rng.random() < 0.01:
        acks.forget_to(acks.largest - rng.randrange(100))
    return out


def trace(seed: int) -> bytes:
    rng = random.Random(seed)
    ranges, acks, rtt, loss, copies = (
        Ranges(),
        AckRanges(),
        RttEstimator(100 * MS_NS),
        LossThresholds(),
        Redundancy(True),
    )
    now, log = 0, bytearray()
    for step in range(STEPS):
        now += rng.randrange(20 * MS_NS)
        out = counted(rng, ranges, acks, step)
        sample = rng.randrange(1, 300 * MS_NS) if rng.random() < 0.3 else 50 * MS_NS + rng.randrange(MS_NS)
        rtt.update(sample, rng.randrange(5 * MS_NS))
        out += [rtt.smoothed, rtt.variance, rtt.minimum, rtt.probe_timeout(5 * MS_NS)]
        if rng.random() < 0.02:
            loss.on_spurious(rng.randrange(20), rng.randrange(100 * MS_NS), rtt.smoothed)
        loss.on_round()
        out += [loss.packets, loss.eighths, loss.loss_delay(rtt.latest, rtt.smoothed)]
        copies.on_packets(rng.randrange(80), int(rng.random() < 0.01), now)
        copies.on_rtt(sample, rtt.minimum, MS_NS, 10 * MS_NS, now)
        rides = copies.rides(now)
        out += [rides, int(copies.spend(400 * rides, now)), copies.trips, copies.loss_ppm(), copies.off_until]
        log += f"{out}\n".encode()
    return bytes(log) + f"{ranges.pairs()} {acks}\n".encode()
