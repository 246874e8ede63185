"""Probes for larger packets between two sessions in virtual time, and paths that carry less all at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.soak.duo import CONFIG, MIB, MS, SECOND, Duo
from transport import limits
from transport.machine import Path, Transmit
from transport.rudp import packet
from transport.rudp.mtu import SIZES
from transport.rudp.states import CAPABLE, COMPLETE, DOUBTING, TESTING
from transport.sim.config import BurstLoss, LinkConfig
from transport.sim.seeds import stream

BASE, MOST, KIB = limits.RUDP_DATAGRAM_BYTES_MIN, limits.RUDP_DATAGRAM_BYTES_MAX, limits.KIB
SEARCHING = replace(CONFIG, mtu_max=MOST)
LAN = LinkConfig(delay_ns=5 * MS, mtu=1472, rate_bits_per_s=100_000_000, queue_bytes=256 * KIB)
BODY = stream(1, "mtu").randbytes(MIB + 200_000)
BOTH = [("near", "c", "s"), ("far", "s", "c")]


def limit(duo: Duo, mtu: int, seconds: float = 0.0, ends: Any = BOTH) -> None:
    """From now on, or in so many seconds, the links carry no more than `mtu`."""
    for _, source, target in ends:
        duo.network.link(source, target).change(duo.network.elapsed_ns + round(seconds * SECOND), mtu=mtu)


def other(end: str) -> str:
    return "far" if end == "near" else "near"


def transfer(duo: Duo, end: str, size: int = 100_000, seconds: float = 60.0) -> float:
    """Has one end send a message of `size` bytes; returns how long it took until the other had it, in seconds."""
    began = duo.now
    before = duo.bytes[other(end)]
    getattr(duo, end).send(BODY[:size], 0, 0, 0, 0, duo.now)
    duo.world.run_until(lambda: duo.bytes[other(end)] - before == size, seconds)
    return (duo.now - began) / SECOND


def found(link: LinkConfig, *, seed: int = 1, config: Any = SEARCHING) -> Duo:
    """Two sessions that have searched as long as there was something to find, both ways."""
    duo = Duo(config, link, seed).opened()
    for _ in range(20):
        for end in ("near", "far"):
            if getattr(duo, end).search.phase != COMPLETE:
                transfer(duo, end, 300_000)
    duo.world.run_for(1.0)
    return duo


def settle(duo: Duo, end: str = "near") -> None:
    """Sends until it is certain whether the path carries what it did."""
    for _ in range(20):
        if getattr(duo, end).search.phase == DOUBTING:
            transfer(duo, end)


def sizes(duo: Duo) -> tuple[int, int]:
    """What both ends fill their packets to."""
    return duo.near.statistics()["mtu"], duo.far.statistics()["mtu"]


# Finding


@pytest.mark.parametrize("carries", [1200, 1250, 1280, 1400, 1452, 1472, 1500, 4096, 9000, 20_000])
def test_finds_what_the_path_carries(carries: int) -> None:
    duo = found(replace(LAN, mtu=carries))
    largest = max(size for size in SIZES if size <= carries)
    assert sizes(duo) == (largest, largest)
    for session in (duo.near, duo.far):
        counts = session.statistics()
        assert counts["mtu_probes_sent"] <= 15
        assert counts["mtu_probes_lost"] % limits.RUDP_MTU_TRIES == 0, "three of each size that failed"
        assert counts["black_holes"] == 0
        assert session.controller.mss == largest
    assert duo.network.link("c", "s").statistics()["dropped_mtu"] == duo.near.search.lost


def test_each_way_for_itself() -> None:
    duo = Duo(SEARCHING, LAN).opened()
    limit(duo, 9000, ends=BOTH[1:])
    for _ in range(8):
        for end in ("near", "far"):
            transfer(duo, end, 300_000)
    assert sizes(duo) == (1472, 8952)


def test_a_fast_path_takes_few_steps() -> None:
    """As loopback: nothing is dropped, and the window grows with every round trip."""
    duo = Duo(SEARCHING, LinkConfig(delay_ns=20_000)).opened()
    transfer(duo, "near", MIB)
    counts = duo.near.statistics()
    assert counts["mtu"] == MOST
    assert counts["mtu_probes_sent"] <= 5
    assert counts["mtu_probes_lost"] == 0


def test_the_first_size_is_found_within_two_round_trips_of_use() -> None:
    duo = Duo(SEARCHING, replace(LAN, delay_ns=50 * MS)).opened()
    duo.near.send(BODY[:200_000], 0, 0, 0, 0, duo.now)
    duo.world.run_for(0.11)
    assert duo.near.mtu == 1472


def test_the_peer_takes_no_more() -> None:
    config = replace(SEARCHING, max_datagram=2000)
    duo = Duo(SEARCHING, LinkConfig(delay_ns=MS), server=config).opened()
    for _ in range(5):
        transfer(duo, "near", MIB)
        transfer(duo, "far", MIB)
    assert sizes(duo) == (1472, MOST)


def test_who_sends_little_never_probes() -> None:
    duo = Duo(SEARCHING, LAN).opened()
    for number in range(200):
        duo.near.send(BODY[: number * 5], number % 3, number % 4, 0, 0, duo.now)
        duo.world.run_for(0.02)
    duo.world.run_for(1300.0)
    assert duo.near.statistics()["mtu_probes_sent"] == duo.far.statistics()["mtu_probes_sent"] == 0
    assert sizes(duo) == (BASE, BASE)


def test_no_search_where_nobody_asked_for_one() -> None:
    duo = Duo(CONFIG, LinkConfig(delay_ns=MS)).opened()
    transfer(duo, "near", MIB)
    assert sizes(duo) == (BASE, BASE)
    assert duo.near.statistics()["mtu_probes_sent"] == 0


def test_packets_stay_below_half_of_the_window_of_a_slow_path() -> None:
    duo = Duo(SEARCHING, LinkConfig(delay_ns=20 * MS, rate_bits_per_s=1_000_000, queue_bytes=20_000)).opened()
    for _ in range(10):
        transfer(duo, "near", 100_000)
    assert 1472 <= duo.near.mtu <= 16_384
    assert duo.near.mtu <= 20_000 // 2 + 5000, "half of what the path and its queue hold"


# What a probe is


def fill_all(endpoint: Any, now: int) -> list[list[bytes]]:
    """Every train that an endpoint has to send now, as its datagrams."""
    room = memoryview(bytearray(65_536))
    item = Transmit(0, 0, Path(None, None))
    trains = []
    while endpoint.fill(item, room, now):
        data = bytes(room[: item.size])
        trains.append([data[at : at + item.segment_bytes] for at in range(0, item.size, item.segment_bytes)])
    return trains


def probe_of(duo: Duo) -> tuple[bytes, list[list[bytes]]]:
    """The probe that the client sends as it fills its first packets, and all trains of that moment."""
    duo.near.send(BODY[:20_000], 0, 0, 0, 0, duo.now)
    trains = fill_all(duo.client, duo.now)
    (number,) = [at for at, train in enumerate(trains) if len(train[0]) > BASE]
    return trains[number][0], trains


def test_a_probe_is_ping_and_pads_alone_in_its_send() -> None:
    duo = Duo(SEARCHING, LAN).opened()
    probe, trains = probe_of(duo)
    assert [len(train) for train in trains if train[0] == probe] == [1]
    assert len(probe) == 1472
    start = 10 + (probe[0] & 3)
    assert probe[start] == packet.PING
    assert not any(probe[start + 1 : -4])
    assert all(len(piece) <= BASE for train in trains for piece in train if piece != probe)


def test_a_probe_is_acknowledged_at_once() -> None:
    duo = Duo(SEARCHING, LAN).opened()
    probe, _ = probe_of(duo)
    before = duo.far.acks.sent
    duo.server.receive(probe, Path("s", "c"), 0, duo.now)
    assert fill_all(duo.server, duo.now)
    assert duo.far.acks.sent == before + 1


def test_a_lost_probe_is_no_sign_of_congestion() -> None:
    duo = found(replace(LAN, mtu=BASE, queue_bytes=4 * MIB))
    for session in (duo.near, duo.far):
        counts = session.statistics()
        assert counts["mtu_probes_lost"] == 4 * limits.RUDP_MTU_TRIES
        assert counts["packets_lost"] == counts["packets_spurious"] == 0
        assert session.controller.cuts == session.controller.cuts_spared == 0
        assert session.redundancy.loss_ppm() == 0


def test_a_probe_that_comes_late_is_no_spurious_loss() -> None:
    """It is declared lost, arrives, and counts as a size that does; no cut of the window is undone."""
    duo = Duo(SEARCHING, replace(LAN, mtu=0)).opened()
    probe, trains = probe_of(duo)
    for train in trains:
        for piece in train:
            if piece != probe:
                duo.server.receive(piece, Path("s", "c"), 0, duo.now)
    duo.near.send(BODY[:20_000], 1, 0, 0, 0, duo.now)
    duo.world.run_for(0.02)
    assert duo.near.search.lost == 1
    duo.server.receive(probe, Path("s", "c"), 0, duo.now)
    duo.world.run_for(0.1)
    counts = duo.near.statistics()
    assert counts["mtu"] >= 1472
    assert (counts["packets_spurious"], duo.near.controller.cuts_undone) == (0, 0)


def test_a_sender_that_fills_its_window_still_probes() -> None:
    """It goes beyond the window by one probe at most, half a window."""
    duo = Duo(SEARCHING, replace(LAN, mtu=0, queue_bytes=40_000)).opened()
    duo.near.send(BODY[:MIB], 0, 0, 0, 0, duo.now)
    most = 0.0
    while duo.bytes["far"] < MIB:
        duo.world.step()
        most = max(most, duo.near.in_flight / duo.near.controller.window)
    assert duo.near.mtu > 1472
    assert duo.network.link("c", "s").statistics()["dropped_mtu"] == 0


# A path that carries less


@pytest.mark.parametrize("end", ["near", "far"])
@pytest.mark.parametrize("seed_number", range(40))
def test_a_fall_in_the_middle_of_a_message_loses_nothing(seed_number: int, end: str) -> None:
    """1,472 to 1,200 while 1 MiB is on its way, in one piece, with some loss beside; then up again."""
    link = replace(LAN, delay_ns=(1 + 7 * seed_number % 50) * MS, loss=0.02 if seed_number % 3 == 0 else 0.0)
    duo = found(link, seed=seed_number)
    session = getattr(duo, end)
    assert session.mtu == 1472
    duo.kept = []
    before = session.statistics()
    began = duo.now
    body = BODY[seed_number : seed_number + MIB]
    session.send(body, 2, 0, 0, 0, duo.now)
    session.send(b"behind it", 2, 0, 0, 0, duo.now)
    duo.world.run_for((1 + seed_number) * 0.002)
    assert not duo.kept, "the message is on its way"
    limit(duo, BASE)
    duo.world.run_until(lambda: len(duo.kept or []) == 2, 60)
    assert duo.kept == [(other(end), body), (other(end), b"behind it")]
    assert (duo.now - began) / SECOND < (30 if link.loss else 1.5 + 40 * link.delay_ns / SECOND)
    settle(duo, end)
    counts = session.statistics()
    assert (counts["mtu"], counts["black_holes"]) == (BASE, before["black_holes"] + 1)
    assert duo.near.state == duo.far.state == 1
    limit(duo, 1472)
    duo.world.run_for(601.0)
    for _ in range(4):
        transfer(duo, end)
    assert session.mtu == 1472


def test_small_messages_find_a_hole_too() -> None:
    """Messages of one and a half packets: each loss needs a time-out, and three are enough."""
    duo = found(LAN)
    limit(duo, 1300)
    for _ in range(12):
        assert transfer(duo, "near", 1900, 10) < 5
    settle(duo)
    counts = duo.near.statistics()
    assert counts["black_holes"] == 1
    assert counts["mtu"] <= 1280
    assert transfer(duo, "near", 1900, 1) < 0.1


def test_three_large_packets_in_a_row_make_a_hole() -> None:
    """Not two, and not three with one between them that arrived."""
    duo = Duo(replace(CONFIG, mtu=1472), replace(LAN, mtu=1300)).opened()

    def lose(count: int) -> None:
        for _ in range(count):
            transfer(duo, "near", 1350, 5)
            duo.world.run_for(1.0)

    lose(limits.RUDP_BLACK_HOLE_PACKETS - 1)
    assert duo.near.mtu == 1472
    limit(duo, 1472)
    transfer(duo, "near", 1350)
    limit(duo, 1300)
    lose(limits.RUDP_BLACK_HOLE_PACKETS - 1)
    assert duo.near.mtu == 1472
    lose(1)
    assert (duo.near.mtu, duo.near.search.phase) == (BASE, DOUBTING)


def test_probes_after_a_time_out_are_small() -> None:
    """So the first of them gets through, whatever the path carries now."""
    duo = found(LAN)
    limit(duo, BASE)
    duo.near.send(BODY[:5000], 0, 0, 0, 0, duo.now)
    probes = duo.near.statistics()["probes_sent"]
    duo.world.run_until(lambda: duo.bytes["far"] % 100_000 == 5000, 2)
    assert duo.near.statistics()["probes_sent"] <= probes + 2
    assert duo.near.search.phase == DOUBTING or duo.near.statistics()["black_holes"] == 1


def quiet(duo: Duo) -> None:
    """Links as they were, only dark for half a second in the middle of a transfer."""
    limit_at = duo.network.elapsed_ns + 20 * MS
    for _, source, target in BOTH:
        duo.network.link(source, target).change(limit_at, down=True)
        duo.network.link(source, target).change(limit_at + SECOND // 2, down=False)


def bursts(duo: Duo) -> None:
    duo.network.link("c", "s").change(duo.network.elapsed_ns, burst=BurstLoss(good_ns=30 * MS, bad_ns=10 * MS))


def narrow(duo: Duo) -> None:
    duo.network.link("c", "s").change(duo.network.elapsed_ns, rate_bits_per_s=5_000_000, queue_bytes=12_000)


@pytest.mark.parametrize("trouble", [quiet, bursts, narrow], ids=lambda trouble: trouble.__name__)
# One of 60 seeds is taken in by bursts, 55: three tries alone on their way are lost, each in another burst.
@pytest.mark.parametrize("seed_number", [*range(5), 8, 11, 20, 23, 26, 38, 40])
def test_other_troubles_are_no_black_hole(trouble: Callable[[Duo], None], seed_number: int) -> None:
    """At worst packets are small for a round trip or some, until a probe of the old size has come."""
    duo = found(LAN, seed=seed_number)
    trouble(duo)
    for _ in range(5):
        transfer(duo, "near", 500_000)
    duo.network.link("c", "s").change(duo.network.elapsed_ns, burst=None)
    transfer(duo, "near", 300_000)
    settle(duo)
    assert duo.near.statistics()["black_holes"] == 0
    assert duo.near.mtu == 1472
    assert duo.near.controller.mss == 1472


def test_a_given_size_that_is_too_large_is_given_up() -> None:
    config = replace(CONFIG, mtu=9000)
    duo = Duo(config, LAN).opened()
    assert duo.near.mtu == 9000
    transfer(duo, "near", 300_000)
    settle(duo)
    for _ in range(10):
        transfer(duo, "near", 300_000)
    counts = duo.near.statistics()
    assert (counts["mtu"], counts["black_holes"]) == (1472, 1)


def test_another_path_is_searched_anew() -> None:
    duo = found(LAN)
    assert duo.near.ecn.state == CAPABLE
    limit(duo, 9000)
    duo.near.change_path(duo.near.path, duo.now)
    assert (duo.near.mtu, duo.near.controller.mss) == (BASE, BASE)
    assert duo.near.ecn.state == TESTING
    for _ in range(30):
        transfer(duo, "near", 300_000)
    assert duo.near.mtu == 8952
    assert duo.near.ecn.state == CAPABLE
    assert duo.near.statistics()["black_holes"] == 0


# What the system says


def test_what_the_system_refuses_is_known_at_once() -> None:
    """Three refusals in one instant, without a round trip."""
    duo = found(LAN)
    duo.near.change_path(duo.near.path, duo.now)  # all is forgotten
    assert duo.near.mtu == BASE
    duo.near.send(BODY[:50_000], 0, 0, 0, 0, duo.now)
    lost = duo.near.search.lost
    for _ in range(limits.RUDP_MTU_TRIES):
        sizes_now = [len(train[0]) for train in fill_all(duo.client, duo.now)]
        assert max(sizes_now) == 1472
        duo.client.error(duo.near.path, 90, duo.now)
    assert duo.near.search.lost == lost + limits.RUDP_MTU_TRIES
    assert max(len(train[0]) for train in fill_all(duo.client, duo.now)) == 1420, "the next in the middle"
    assert duo.near.statistics()["packets_lost"] == 0


def test_a_refusal_of_data_falls_back() -> None:
    duo = found(LAN)
    duo.client.error(duo.near.path, 90, duo.now)
    assert duo.near.mtu == BASE
    assert [len(train[0]) for train in fill_all(duo.client, duo.now)] == [1472], "was it true?"
    assert duo.near.controller.mss == 1472, "nothing is certain yet"
    for _ in range(limits.RUDP_MTU_TRIES - 1):
        duo.client.error(duo.near.path, 90, duo.now)
        assert [len(train[0]) for train in fill_all(duo.client, duo.now)] == [1472]
    duo.client.error(duo.near.path, 90, duo.now)
    assert (duo.near.mtu, duo.near.controller.mss) == (BASE, BASE)
    assert duo.near.statistics()["black_holes"] == 1
    duo.client.error(duo.near.path, 90, duo.now)
    assert duo.near.statistics()["black_holes"] == 1, "nothing to fall back from"


def test_refusals_find_the_session_by_its_path() -> None:
    duo = found(LAN)
    for path in (Path("s", "elsewhere"), Path(None, None)):
        duo.server.error(path, 90, duo.now)
    assert duo.far.mtu == 1472
    duo.server.error(Path("s", "c"), 90, duo.now)
    assert duo.far.mtu == BASE
    duo.near.abort(0, "", duo.now)
    duo.world.run_for(60.0)
    assert not duo.server._probing
    assert not duo.client._probing
    duo.server.error(Path("s", "c"), 90, duo.now)


def test_a_refusal_says_nothing_to_a_closed_session() -> None:
    duo = found(LAN)
    duo.near.abort(0, "", duo.now)
    duo.client.error(duo.near.path, 90, duo.now)
    assert duo.near.mtu == 1472
