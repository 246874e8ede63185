"""How often acks are asked for, and when they are due: the rule, who obeys it, and two sessions at a high rate."""

from __future__ import annotations

import random

from tests.soak.duo import CONFIG, Duo
from transport.rudp.ackpolicy import AckPolicy, choose
from transport.rudp.acks import AckState
from transport.sim.config import LinkConfig

MS_NS = 1_000_000
STEPS = 2000


def asked(rng: random.Random, policy: AckPolicy, packets: int, now: int) -> list[object]:
    is_new = policy.review(packets, rng.randrange(20 * MS_NS), now)
    if rng.random() < 0.01:
        is_new = policy.reset(packets, now)
    found = [choose(rng.choice((2, 8, 64)), rng.randrange(1_000_000), rng.randrange(100 * MS_NS))]
    return [int(is_new), policy.number, policy.threshold, policy.delay_us, *found]


def obeyed(rng: random.Random, acks: AckState, room: memoryview, now: int) -> list[object]:
    number = max(0, acks.ranges.largest + rng.choice((1, 1, 1, 1, 2, 3, 0)))
    if not acks.ranges.contains(number):
        is_in_order = number == acks.ranges.largest + 1
        acks.ranges.add(number)
        acks.came(number, rng.random() < 0.9, is_in_order, now, 8 * MS_NS)
    if rng.random() < 0.02:
        acks.obey(rng.randrange(100), rng.randrange(1, 100), rng.randrange(10_000), rng.choice((0, 1, 1, 3, 9)))
    made = acks.write(room, 0, 1000, now) if acks.must_send(now) else 0
    return [bytes(room[:made]).hex(), acks.due_at, acks.threshold, acks.delay_most, acks.policies]


def trace(seed: int) -> bytes:
    rng = random.Random(seed)
    policy, acks, room = AckPolicy(), AckState(), memoryview(bytearray(1000))
    now = packets = 0
    log = bytearray()
    for _ in range(STEPS):
        now += rng.randrange(20 * MS_NS)
        packets += rng.randrange(rng.choice((10, 1000, 10_000)))
        log += f"{asked(rng, policy, packets, now)} {obeyed(rng, acks, room, now)}\n".encode()
    duo = Duo(CONFIG, LinkConfig(delay_ns=5 * MS_NS, rate_bits_per_s=500_000_000, queue_bytes=1 << 20), seed).opened()
    for _ in range(60):
        while duo.near.queued_bytes < 1 << 19:
            duo.near.send(bytes(rng.randrange(16_000)), 0, 1, 0, 0, duo.now)
        duo.world.run_for(0.005)
    return bytes(log) + f"{sorted(duo.near.statistics().items())} {sorted(duo.far.statistics().items())}".encode()
