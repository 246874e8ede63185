"""What reliable UDP finds out about a path: the sizes that it carries, and whether it keeps ECN marks."""

from __future__ import annotations

import random

from transport.rudp.ecn import EcnValidator
from transport.rudp.mtu import MtuSearch

MS_NS = 1_000_000
STEPS = 3000


def searched(rng: random.Random, search: MtuSearch, carries: int, number: int, now: int) -> int:
    """One probe and its fate, or another event; the next packet number."""
    size = search.next_size(rng.choice((2400, 12_000, 40_000, 1 << 30)), now)
    if size:
        search.on_sent(number)
        if size <= carries and rng.random() < 0.8:
            search.on_acked(number, size)
        else:
            search.on_lost(number, size, now, rng.randrange(50 * MS_NS))
            if rng.random() < 0.1:
                search.on_acked(number, size)
            if rng.random() < 0.3:
                search.hurry(now)
    elif rng.random() < 0.02:
        search.move(number)
    elif search.size > 1200 and rng.random() < 0.05:
        search.doubt(number)
    return number + 1 + rng.randrange(5)


def marked(rng: random.Random, ecn: EcnValidator, seen: list[int], number: int) -> int:
    """An ack of some packets, of which some came as they left; the next packet number."""
    end = number + 1 + rng.randrange(12)
    marks = (end - number) if ecn.mark else 0
    if ecn.state == 1:
        ecn.on_sent(end, rng.randrange(100))
    start = number + (rng.randrange(end - number) if rng.random() < 0.1 else 0)
    ecn.on_acked(start, end)
    congested = sum(rng.random() < 0.05 for _ in range(marks))
    seen[0] += marks - congested - (rng.random() < 0.005)
    seen[1] += congested
    ecn.on_ack(rng.random() < 0.999, seen[0], int(rng.random() < 0.001), seen[1], rng.random() < 0.95, end)
    return end


def trace(seed: int) -> bytes:
    rng = random.Random(seed)
    search, ecn = MtuSearch(1200, 65_000), EcnValidator()
    carries, seen = 65_507, [0, 0]
    number = other = now = 0
    log = bytearray()
    for _ in range(STEPS):
        now += rng.choice((MS_NS, 20 * MS_NS, 200_000 * MS_NS))
        if rng.random() < 0.01:
            carries = rng.choice((1200, 1400, 1472, 9000, 65_507))
        number = searched(rng, search, carries, number, now)
        if ecn.state in (0, 4) and rng.random() < 0.1:
            ecn.start(other, rng.randrange(100))
            seen = [ecn.ect0, ecn.ce]
        other = marked(rng, ecn, seen, other)
        log += f"{search.phase} {search.size} {search.due} {search.sent} {search.lost} {search.holes}\n".encode()
        log += f"{ecn.state} {ecn.mark} {ecn.ect0} {ecn.ce}\n".encode()
    return bytes(log)
