"""Fewer acks at a high rate cost neither goodput nor packets, and a thin stream beside it hardly any time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.soak.duo import CONFIG, MIB, MS, Duo
from transport import _build, limits
from transport.rudp.endpoint import RudpEndpoint
from transport.sim.config import LinkConfig

IS_COMPILED = any(_build.modules().values())
RATE = 500_000_000
LINK = LinkConfig(delay_ns=5 * MS // 2, rate_bits_per_s=RATE, overhead_bytes=28, queue_bytes=MIB // 2)
WARM_MS = 300 if IS_COMPILED else 80
MEASURED_MS = 1500 if IS_COMPILED else 60  # interpreted it has to end, too
NUMBER_MAX = (1 << 62) - 1


@dataclass
class Found:
    """What one run came to."""

    acks: int
    bytes: int
    lost: int
    spurious: int
    policies: int
    thin: list[int]

    def percentile(self, percent: int) -> int:
        return sorted(self.thin)[len(self.thin) * percent // 100]


class Timed(Duo):
    """Notes how long each message on channel 1 took, which has its time within."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.thin: list[int] = []

    def drain(self, endpoint: RudpEndpoint) -> None:
        self.kept = []
        super().drain(endpoint)
        self.thin += [self.now - int.from_bytes(body[:8], "big") for _, body in self.kept if len(body) == 64]


def run(congestion: str, *, obeys: bool, link: LinkConfig = LINK, seed: int = 1) -> Found:
    """Bulk as fast as it goes, and 64 B every millisecond beside it, once it is at full speed.

    Args:
        congestion: of the sender.
        obeys: the receiver does as it is asked; else it has heard of a policy that no other can be newer than.
        link: both ways.
        seed: of the network.
    """
    config = replace(CONFIG, congestion=congestion, rate=RATE // 8 * 9 // 10 if congestion == "fixed" else 0)
    duo = Timed(config, link, seed).opened()
    if not obeys:
        duo.far.acks.obey(NUMBER_MAX, 2, 5000, 1)
    before: Any = {}
    for ms in range(WARM_MS + MEASURED_MS):
        if ms == WARM_MS:
            duo.thin.clear()
            before = counted(duo)
        while duo.near.queued_bytes + duo.near.blocked_bytes < limits.HIGH_WATER_BYTES:
            duo.near.send(bytes(16_000), 0, 1, 0, 0, duo.now)
        duo.near.send(duo.now.to_bytes(8, "big") + bytes(56), 1, 1, 0, 0, duo.now)
        duo.world.run_for(0.001)
    after = counted(duo)
    return Found(**{name: after[name] - before[name] for name in after}, thin=duo.thin)


def counted(duo: Duo) -> dict[str, int]:
    near, far = duo.near.statistics(), duo.far.statistics()
    return {
        "acks": far["acks_sent"], "bytes": duo.bytes["far"], "lost": near["packets_lost"],
        "spurious": near["packets_spurious"], "policies": near["ack_policies_sent"],
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("congestion", ["cubic", "newreno", "bbr", "fixed"])
def test_far_fewer_acks_and_nothing_else_changes(congestion: str) -> None:
    """500 Mbit/s in packets of 1,200 bytes, 5 ms there and back."""
    without = run(congestion, obeys=False)
    with_it = run(congestion, obeys=True)
    for name, one in (("without", without), ("with", with_it)):
        print(
            f"{congestion} {name}: {one.acks * 1000 // MEASURED_MS} acks/s, "
            f"{one.bytes * 8 / MEASURED_MS / 1000:.1f} Mbit/s, lost {one.lost}, spurious {one.spurious}, "
            f"policies {one.policies}, thin p50 {one.percentile(50) / MS:.2f} p99 {one.percentile(99) / MS:.2f} ms"
        )
    assert with_it.acks * 4 < without.acks
    assert abs(with_it.bytes - without.bytes) <= without.bytes // 100
    assert with_it.lost <= without.lost
    most = (
        without.percentile(99) * 11 // 10 + MS // 2
    )  # the queue that losses leave is another; acks wake the pacer, too
    assert with_it.percentile(99) <= most
