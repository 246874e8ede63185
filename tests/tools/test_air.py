"""Both directions of a link in real time: when things come out, and which."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from transport import limits
from transport.sim.config import LinkConfig
from transport.testing import run
from transport.tools.air import DOWN, UP, Air

PLAIN = LinkConfig()
MS = limits.MS_NS


class Arrivals:
    """What came out of the air, and when."""

    def __init__(self, up: LinkConfig, down: LinkConfig = PLAIN, seed: int = 1, **bounds: int) -> None:
        self.came: list[tuple[int, bytes, int]] = []
        self.air = Air((up, down), seed, self.deliver, **bounds)
        self.began = self.air.now()

    def deliver(self, way: int, data: bytes, whose: Any) -> None:
        assert whose == "whose"
        self.came.append((way, data, self.air.now() - self.began))

    def send(self, way: int, *payloads: bytes) -> None:
        for data in payloads:
            self.air.send(way, data, "whose")
        self.air.pump()

    def __enter__(self) -> Arrivals:
        self.air.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.air.close()


def test_each_way_has_its_own_link() -> None:
    async def main() -> None:
        with Arrivals(LinkConfig(delay_ns=50 * MS), LinkConfig(delay_ns=20 * MS)) as got:
            got.send(UP, b"up")
            got.send(DOWN, b"down")
            assert got.air.under_way == 2
            await asyncio.sleep(1)
            assert got.came == [(DOWN, b"down", 20 * MS), (UP, b"up", 50 * MS)]
            assert got.air.counters(UP)["arrived_bytes"] == 2
            assert got.air.under_way == 0

    run(main())


def test_without_delay_it_comes_out_at_once() -> None:
    async def main() -> None:
        with Arrivals(PLAIN) as got:
            got.send(UP, b"one", b"two")
            assert [data for _, data, _ in got.came] == [b"one", b"two"]
            assert not got.air.lateness.count

    run(main())


@pytest.mark.asyncio
async def test_nothing_is_let_go_early() -> None:
    """In real time, on both loops."""
    with Arrivals(LinkConfig(delay_ns=3 * MS, jitter_ns=4 * MS)) as got:
        for number in range(20):
            got.send(UP, b"%d" % number)
        async with asyncio.timeout(5):
            while len(got.came) < 20:
                await asyncio.sleep(0.001)
        assert [data for _, data, _ in got.came] == [b"%d" % number for number in range(20)]
        assert min(time for *_, time in got.came) >= 3 * MS
        assert got.air.lateness.count == 20 and got.air.lateness.least >= 0


async def fates(seed: int, config: LinkConfig, spacing: float = 0.0) -> list[bytes]:
    with Arrivals(config, seed=seed) as got:
        for number in range(300):
            got.send(UP, b"%d" % number)
            await asyncio.sleep(spacing)
        await asyncio.sleep(1)
        return [data for _, data, _ in got.came]


def test_a_seed_decides_whatever_the_timing() -> None:
    config = LinkConfig(loss=0.1, duplicate=0.05, corrupt=0.05)
    first = run(fates(7, config))
    assert first == run(fates(7, config, 0.01))
    assert first != run(fates(8, config))
    assert 250 < len(first) < 310


def test_directions_draw_apart() -> None:
    async def main() -> tuple[list[bytes], list[bytes]]:
        with Arrivals(LinkConfig(loss=0.5), LinkConfig(loss=0.5)) as got:
            for number in range(100):
                got.send(UP, b"%d" % number)
                got.send(DOWN, b"%d" % number)
            await asyncio.sleep(1)
            return [data for way, data, _ in got.came if way == UP], [data for way, data, _ in got.came if way == DOWN]

    up, down = run(main())
    assert up != down and up and down


@pytest.mark.parametrize("bounds", [{"packets_max": 11}, {"bytes_max": 1100}])
def test_what_is_under_way_is_bounded(bounds: dict[str, int]) -> None:
    async def main() -> None:
        with Arrivals(LinkConfig(delay_ns=MS), **bounds) as got:
            for _ in range(50):
                got.send(UP, bytes(100))
            assert got.air.under_way == 10
            assert got.air.counters(UP)["dropped_full"] == 40
            await asyncio.sleep(1)
            assert len(got.came) == 10

    run(main())


def test_a_crowd_is_let_go_in_turns() -> None:
    """More than one turn's worth due at one instant: all come, and the loop has its turn in between."""
    count = 2 * limits.PROXY_RELEASES_PER_TURN + 5

    async def main() -> None:
        with Arrivals(LinkConfig(delay_ns=MS)) as got:
            got.send(UP, *[b"x"] * count)
            turns = 0
            while len(got.came) < count:
                turns += len(got.came) > 0
                await asyncio.sleep(0 if got.came else 0.001)
            assert turns >= 1

    run(main())


def test_an_action_stands_in_line() -> None:
    async def main() -> None:
        with Arrivals(LinkConfig(delay_ns=10 * MS, jitter_ns=20 * MS), packets_max=8) as got:
            got.send(UP, b"one", b"two")
            acted: list[int] = []
            got.air.act(UP, lambda: acted.append(len(got.came)))
            got.air.pump()
            assert not acted
            await asyncio.sleep(1)
            assert acted == [2]
            got.send(UP, *[b"x"] * 9)
            got.air.act(UP, lambda: acted.append(-1))  # no room for it: at once
            assert acted == [2, -1]

    run(main())


def test_closed_it_lets_nothing_go() -> None:
    async def main() -> None:
        with Arrivals(LinkConfig(delay_ns=MS)) as got:
            got.send(UP, b"one")
        await asyncio.sleep(1)
        assert not got.came

    run(main())
