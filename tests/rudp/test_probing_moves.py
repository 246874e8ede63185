"""Probes for larger packets while addresses change: another host is another path, another port is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.rudp.by_hand import Hand, Rig
from tests.rudp.moving import CONFIG, SERVER, Moving
from tests.rudp.test_paths import ELSEWHERE, PING, challenges, respond
from tests.rudp.test_trace import Kept, numbered, of
from transport import limits
from transport.machine import Path
from transport.rudp.states import COMPLETE, SEARCHING
from transport.sim.config import LinkConfig
from transport.sim.seeds import stream

MS = limits.MS_NS
BASE = limits.RUDP_DATAGRAM_BYTES_MIN
LAN = LinkConfig(delay_ns=5 * MS, mtu=1472, rate_bits_per_s=100_000_000, queue_bytes=256 * limits.KIB)
SEARCH = replace(CONFIG, mtu_max=limits.RUDP_DATAGRAM_BYTES_MAX)
BODY = stream(1, "mtu moves").randbytes(300_000)
HOME = ("d", 1)


def answer(duo: Moving, count: int = 1) -> None:
    """The server sends messages that fill its packets."""
    for _ in range(count):
        before = duo.bytes["near"]
        duo.far.send(BODY, 0, 0, 0, 0, duo.now)
        duo.world.run_until(lambda before=before: duo.bytes["near"] - before == len(BODY), 30)
        assert duo.bytes["near"] - before == len(BODY)


def complete(duo: Moving) -> None:
    """The server sends until it has found what the path carries."""
    for _ in range(60):
        if duo.far.search.phase == COMPLETE:
            return
        answer(duo)
    raise AssertionError("the search has no end")


def found() -> Moving:
    """A server that knows what the path to its client carries."""
    duo = Moving(LAN, SEARCH)
    complete(duo)
    assert duo.far.mtu == 1472
    return duo


def probed(duo: Moving) -> Moving:
    """The server has a probe on its way."""
    duo.far.send(BODY, 0, 0, 0, 0, duo.now)
    duo.world.run_until(lambda: duo.far.search.number >= 0, 10)
    assert duo.far.search.number >= 0
    return duo


def test_another_port_keeps_what_was_found() -> None:
    duo = found()
    sent = duo.far.search.sent
    duo.network.rebind(duo.port, ("c", 2))
    assert duo.says(b"another port")
    assert (duo.far.mtu, duo.far.search.phase) == (1472, COMPLETE)
    answer(duo)
    assert max(map(len, duo.to(("c", 2)))) == 1472
    assert duo.far.search.sent == sent


def test_the_system_refuses_a_size_at_another_port() -> None:
    """That counts, even if nothing was tried there; for the old one it does not."""
    duo = found()
    old = duo.far.path
    duo.network.rebind(duo.port, ("c", 2))
    assert duo.says(b"another port")
    duo.server.error(old, 90, duo.now)
    assert duo.far.mtu == 1472
    duo.server.error(duo.far.path, 90, duo.now)
    assert duo.far.mtu == BASE


def test_another_host_is_searched_anew() -> None:
    """With packets that every path carries until a probe of its own has arrived there."""
    duo = found()
    duo.network.rebind(duo.port, HOME)
    assert duo.says(b"another host")
    assert (duo.far.mtu, duo.far.search.size, duo.far.search.phase) == (BASE, BASE, SEARCHING)
    duo.network.sent.clear()
    duo.network.link(SERVER, ("c", 1)).change(duo.network.elapsed_ns, mtu=1300)
    complete(duo)
    assert max(map(len, duo.to(HOME))) > 1300, "it has tried"
    assert (duo.far.mtu, duo.far.search.phase) == (1280, COMPLETE)
    assert duo.far.statistics()["black_holes"] == 0


def test_a_client_on_another_network_searches_anew() -> None:
    duo = Moving(LAN, SEARCH, homes=(HOME,))
    for _ in range(10):
        duo.says(BODY)
    assert duo.near.mtu == duo.far.mtu == 1472
    duo.goes_to(HOME)
    assert duo.near.mtu == BASE
    assert duo.says(b"another host")
    duo.world.run_for(1)
    assert duo.far.path.remote == HOME
    assert duo.far.mtu == BASE
    for _ in range(10):
        assert duo.says(BODY)
    assert duo.near.mtu == duo.far.mtu == 1472


@pytest.mark.parametrize("arrives", [True, False])
def test_a_probe_of_the_old_path_says_nothing_of_the_new_one(arrives: bool) -> None:
    duo = probed(Moving(LAN, SEARCH))
    session = duo.far
    number, size = session.search.number, max(map(len, duo.to(("c", 1))))
    lost = session.packets_lost
    session.change_path(Path(SERVER, HOME), duo.now)
    assert (session.search.number, session.search.lost) == (-1, 1)
    assert size == 1472
    if arrives:
        session.search.on_acked(number, size)
    else:
        for _ in range(limits.RUDP_MTU_TRIES):
            session.search.on_lost(number, size, duo.now, 0)
    assert (session.mtu, session.search.size, session.search.phase) == (BASE, BASE, SEARCHING)
    assert session.search.next_size(1 << 20, duo.now) == size, "it is to be tried there"
    assert session.packets_lost > lost, "what else was in flight"
    assert session.in_flight == 0


def test_an_ack_of_the_old_path_s_probe_comes_late() -> None:
    """The acks of what was in flight come in after the change; no packet is filled beyond what is known for it."""
    duo = probed(Moving(LAN, SEARCH))
    number = duo.far.search.number
    spurious = duo.far.packets_spurious
    duo.far.change_path(duo.far.path, duo.now)  # the link is the same, so everything arrives
    duo.world.run_until(lambda: duo.far.is_acked_from(number), 10)
    assert duo.far.is_acked_from(number)
    assert duo.far.search.size in (BASE, 1472)
    assert duo.far.mtu == duo.far.search.size
    assert duo.far.packets_spurious > spurious
    answer(duo)
    assert duo.far.search.lost >= 1


def test_the_way_back_to_the_host_before_is_another_path_too() -> None:
    """What was found on the path between says nothing of it."""
    hand = Hand(Rig())
    hand.rig.wait(20)
    session, first = hand.session, hand.address
    hand.address = ELSEWHERE
    [token] = challenges(hand.say(PING))
    hand.say(respond(token))
    assert session.path.remote == ELSEWHERE
    assert session.search.on_acked(session.ring.next, 1472)
    hand.address = first
    hand.say(PING)
    assert session.path.remote == first
    assert (session.mtu, session.search.size, session.search.phase) == (BASE, BASE, SEARCHING)


def test_traces_tell_of_probes() -> None:
    """As of other packets: with their number, their fate, and how large they are."""
    kept = Kept()
    duo = Moving(LAN, replace(SEARCH, trace=kept))
    answer(duo, 10)
    for session in kept.sessions:
        if session.trace is not None:
            session.trace.flush()
    events = kept.events("server")
    counts = duo.far.statistics()
    probes = [data for data in numbered(events) if data["raw"]["length"] > BASE
              and [frame["frame_type"] for frame in data["frames"]] == ["ping", "padding"]]  # fmt: skip
    assert len(probes) == counts["mtu_probes_sent"] > 0
    lost = {data["header"]["packet_number"] for data in of(events, "packet_lost")}
    acked = {number for data in of(events, "packets_acked") for number in data["packet_numbers"]}
    numbers = {data["header"]["packet_number"] for data in probes}
    assert len(lost) == counts["packets_lost"] + counts["mtu_probes_lost"]
    assert len(lost & numbers) == counts["mtu_probes_lost"] > 0
    assert numbers <= lost | acked
    assert {data["raw"]["length"] for data in probes} >= {1472}


def test_a_probe_that_went_to_a_port_that_was_left_tries_nothing() -> None:
    """However many are lost with their ports, the size that they tried is not given up for it."""
    duo = Moving(LAN, replace(SEARCH, mtu_max=1472))
    for index in range(limits.RUDP_MTU_TRIES + 1):
        while duo.far.search.number < 0:
            duo.far.send(BODY[:20_000], 0, 0, 0, 0, duo.now)
            duo.world.run_for(0.001)
        duo.network.rebind(duo.port, ("c", index + 2))
        lost = duo.far.search.lost
        duo.near.ping(index, duo.now)
        duo.world.run_until(lambda before=lost: duo.far.search.lost > before, 10)
    assert duo.far.search.lost > limits.RUDP_MTU_TRIES
    complete(duo)
    assert duo.far.mtu == 1472
    assert duo.far.statistics()["black_holes"] == 0
