"""What congestion control promises of whole connections, in virtual time; `bench scenarios` has more seeds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.soak.duo import Duo
from tests.soak.run import BusySide
from transport import _build, limits
from transport.machine import Path
from transport.rudp import congestion
from transport.rudp.config import RudpConfig
from transport.sim.config import IP_UDP_BYTES, LinkConfig
from transport.sim.seeds import stream
from transport.sim.side import DatagramSide

IS_COMPILED = any(_build.modules().values())
MS, SECOND = limits.MS_NS, limits.SECOND_NS
CONFIG = RudpConfig(checksums=2, keepalive_ns=0, idle_ns=0)
RATE = 100_000_000 if IS_COMPILED else 10_000_000
SHARED = 10_000_000 if IS_COMPILED else 4_000_000
TRIP_MS = 50
SIZE = 8192
HIGH_WATER = 4 * limits.MIB
CONTROLLERS = ("cubic", "bbr", "newreno")


class LateSide(DatagramSide):
    """Its timers fire 1 to 4 ms late, as those of an event loop on a busy machine."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._draw = stream(1, "late").random
        self._asked = -1
        self._late = 0

    def due(self) -> int:
        due = DatagramSide.due(self)
        if due != self._asked:
            self._asked = due
            self._late = MS + int(self._draw() * 3 * MS)
        return due if due < 0 else due + self._late


def link(rate: int = RATE, trip_ms: int = TRIP_MS, **changes: Any) -> LinkConfig:
    """One way: a queue of one bandwidth-delay product, as wide as the wire counts."""
    return replace(
        LinkConfig(delay_ns=trip_ms * MS // 2, rate_bits_per_s=rate, queue_bytes=rate // 8 * trip_ms // 1000,
                   overhead_bytes=IP_UDP_BYTES), **changes
    )  # fmt: skip


def duo_of(name: str, way: LinkConfig, seed: int = 1) -> Duo:
    return Duo(replace(CONFIG, congestion=name), way, seed).opened()


def bulk(duo: Duo, seconds: float, *sessions: Any) -> list[float]:
    """Sends as much as goes, each session on a channel of its own; bits per second that arrived, of each."""
    senders = sessions or (duo.near,)
    body = bytes(SIZE)

    def feed() -> None:
        for channel, session in enumerate(senders):
            while session.queued_bytes + session.blocked_bytes < HIGH_WATER and session.state == 1:
                session.send(body, channel, 0, 0, 0, duo.now)

    def fed(side: Any) -> None:
        duo.drain(side.machine)
        feed()

    before = [duo.got["far", channel, 0] for channel in range(len(senders))]
    duo.sides[0].on_input = fed
    feed()
    duo.world.run_for(seconds)
    after = [duo.got["far", channel, 0] for channel in range(len(senders))]
    return [8 * SIZE * (end - start) / seconds for start, end in zip(before, after, strict=True)]


def put(duo: Duo, kind: Any) -> Any:
    """Another side in the client's place."""
    old = duo.sides[0]
    side = kind(old.name, old.machine, duo.network, None, old.ports, None)
    side.on_input = old.on_input
    duo.sides[0] = duo.world.sides[0] = side
    return side


@pytest.mark.slow
@pytest.mark.parametrize("name", CONTROLLERS)
def test_bulk_fills_its_link(name: str) -> None:
    duo = duo_of(name, link())
    assert bulk(duo, 12)[0] >= 0.9 * RATE


@pytest.mark.slow
@pytest.mark.parametrize(("percent", "share"), [(1, 0.7), (5, 0.4)])
def test_bbr_bears_losses_at_random(percent: int, share: float) -> None:
    duo = duo_of("bbr", link(loss=percent / 100))
    assert bulk(duo, 20)[0] >= share * RATE


@pytest.mark.slow
def test_two_flows_of_bbr_share() -> None:
    duo = duo_of("bbr", link(SHARED))
    bulk(duo, 5)
    other = duo.client.connect(Path("c", "s"), duo.now)
    one, two = bulk(duo, 40, duo.near, other)
    assert (one + two) ** 2 / (2 * (one**2 + two**2)) >= 0.9
    assert one + two >= 0.88 * SHARED


@pytest.mark.slow
def test_bbr_beside_cubic_starves_nobody() -> None:
    duo = duo_of("bbr", link(SHARED))
    bulk(duo, 2)
    other = duo.client.connect(Path("c", "s"), duo.now)
    other.controller = congestion.make("cubic", CONFIG.mtu)
    one, two = bulk(duo, 40, duo.near, other)
    assert min(one, two) > 0.15 * (one + two)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONTROLLERS)
def test_reordering_costs_no_retransmissions_and_no_speed(name: str) -> None:
    """A quarter comes 5 ms late: the thresholds grow to that, and cuts that were wrong are undone."""
    clean = bulk(duo_of(name, link(trip_ms=20)), 8)[0]
    duo = duo_of(name, link(trip_ms=20, reorder=0.25, reorder_ns=5 * MS))
    assert bulk(duo, 8)[0] >= 0.9 * clean
    near = duo.near
    again = max(near.packets_spurious, near.packets_lost - duo.network.link("c", "s").dropped_queue)
    assert again < 0.01 * near.packets_sent
    assert near.thresholds.packets > 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cubic", "bbr"])
def test_timers_that_are_late_hold_up_nothing(name: str) -> None:
    duo = duo_of(name, link())
    put(duo, LateSide)
    assert bulk(duo, 10)[0] >= 0.88 * RATE


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cubic", "bbr"])
def test_a_program_that_is_busy_for_five_milliseconds_at_a_time_holds_up_nothing(name: str) -> None:
    """Every wake-up is late then, for acks and for the pacer; it let go one burst at each."""
    duo = duo_of(name, link(RATE // 2))
    put(duo, BusySide).lag_ns = 5 * MS
    assert bulk(duo, 10)[0] >= 0.88 * RATE / 2


@pytest.mark.parametrize("name", CONTROLLERS)
def test_isolated_losses_of_a_thin_stream_cost_no_window(name: str) -> None:
    """Less than half of the window is in flight, so it did not cause them."""
    duo = duo_of(name, LinkConfig(delay_ns=25 * MS, loss=0.05))
    before = duo.near.controller.window
    for _ in range(1000):
        duo.near.send(bytes(64), 0, 0, 0, 0, duo.now)
        duo.world.run_for(0.01)
    duo.world.run_until(lambda: duo.got["far", 0, 0] == 1000, 10)
    assert duo.near.packets_lost > 20
    assert duo.near.controller.window >= before


@pytest.mark.parametrize("name", ["cubic", "newreno"])
def test_a_loss_that_was_none_is_taken_back(name: str) -> None:
    duo = duo_of(name, LinkConfig(delay_ns=10 * MS, rate_bits_per_s=10_000_000, queue_bytes=2 * limits.MIB))
    bulk(duo, 0.3)
    controller = duo.near.controller
    assert controller.cuts == 0
    duo.network.link("c", "s").change(duo.network.elapsed_ns, reorder=0.1, reorder_ns=15 * MS)
    bulk(duo, 1)
    assert duo.near.packets_spurious and not duo.network.link("c", "s").dropped_queue
    assert controller.cuts == controller.cuts_undone > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", CONTROLLERS)
def test_a_path_that_goes_dark_and_comes_back(name: str) -> None:
    duo = duo_of(name, link(10_000_000))
    bulk(duo, 2)
    now = duo.network.elapsed_ns
    for way in (("c", "s"), ("s", "c")):
        duo.network.link(*way).change(now, down=True)
        duo.network.link(*way).change(now + 3 * SECOND, down=False)
    bulk(duo, 5)
    assert bulk(duo, 5)[0] >= 0.8 * 10_000_000
