"""Windows and rates of the congestion controllers, and times of the pacer, through a random life."""

from __future__ import annotations

import random

from transport.rudp import congestion
from transport.rudp.config import CONGESTION
from transport.rudp.pacer import Pacer

MS = 1_000_000


def trace(seed: int) -> bytes:
    """A line for each step of each controller."""
    rng = random.Random(seed)
    out = bytearray()
    for name in CONGESTION:
        mss = rng.choice([1200, 1452, 8952, 65_000])
        controller = congestion.make(name, mss, rng.randrange(1, 10**9))
        pacer = Pacer()
        rtt = rng.choice([50_000, 10 * MS, 100 * MS])
        now, pn = rng.randrange(10**15), 0
        for _ in range(1500):
            now += rng.randrange(rtt)
            flight = rng.randrange(controller.window // 3, controller.window + 1)
            act = rng.randrange(200)
            if act < 60:
                controller.on_sent(pn, mss, flight, now)
                pacer.spend(mss)
                pn += 1
            elif act < 190:
                sample = rtt + rng.randrange(rtt)
                sent = now - sample
                acked = rng.randrange(1, 20 * mss)
                largest = max(0, pn - rng.randrange(10))
                controller.on_ack(acked, sent, flight, sample, sample, rtt, now, largest, pn, act < 80)
            elif act < 194:
                controller.on_loss(now - rng.randrange(rtt), mss, flight, now)
            elif act < 196:
                controller.on_spurious(now)
            elif act < 197:
                controller.on_spurious(now, now - rng.randrange(rtt), mss)
            elif act < 198:
                controller.on_ecn(now - rng.randrange(rtt), now)
            elif rng.random() < 0.1:
                controller.set_mss(rng.choice([1200, 1452, 8952]))
            elif rng.random() < 0.1:
                controller.on_persistent(now)
            rate = controller.rate(rtt)
            room = pacer.room(now, rate, 10 * mss)
            out += f"{controller.window} {rate} {room} {pacer.when(now, rate, mss)}\n".encode()
        out += repr(controller.statistics()).encode()
    return bytes(out)
