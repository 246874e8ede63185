"""Windows, rates and states of BBR and its kin on random paths: bottlenecks, queues, losses, marks and pauses."""

from __future__ import annotations

import random

from tests.rudp.congestion.path import MS, Path
from transport.rudp import congestion

STEPS = 20_000


def trace(seed: int) -> bytes:
    """A line for each hundredth step of each controller."""
    out = bytearray()
    for name in ("bbr", "newreno", "cubic"):
        rng = random.Random(f"{seed} {name}")
        controller = congestion.make(name, rng.choice([1200, 1452, 8952]), dice=rng.randrange(1 << 32))
        path = Path(controller, rng.randrange(20_000, 20_000_000), rng.randrange(MS, 100 * MS), rng.randrange(10**5))
        lost, marked = rng.choice([0.0, 0.001, 0.01, 0.1]), rng.choice([0.0, 0.0, 0.01])
        path.drops = lambda pn, rng=rng, lost=lost: rng.random() < lost  # type: ignore[misc]
        path.marks = lambda pn, rng=rng, marked=marked: rng.random() < marked  # type: ignore[misc]
        path.batch = rng.choice([0, 0, 5 * MS])
        for step in range(STEPS):
            act = rng.random()
            if act < 0.0005:
                path.rate = rng.randrange(20_000, 20_000_000)
            elif act < 0.001:
                path.most = rng.choice([5000, 50_000, 1 << 62])
            elif act < 0.0013:
                path.idle(rng.random() * 8)
            elif act < 0.0015:
                controller.on_persistent(path.now)
            elif act < 0.003 and path.gone:
                path.ack([rng.choice(list(path.gone))])
            elif act < 0.0032:
                controller.set_mss(rng.choice([1200, 1452]))
            path.step()
            if step % 100 == 0:
                out += f"{path.now} {controller.window} {controller.rate(path.rtt)} {path.delivered}\n".encode()
        out += repr(controller.statistics()).encode()
    return bytes(out)
