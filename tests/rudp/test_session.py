"""Two sessions of reliable UDP that speak with each other in virtual time, with losses where a test wants them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.rudp.by_hand import MS, Hand, Rig, ack, close_frame, varints
from transport import limits
from transport.errors import CloseCode, ConnectionClosed, LocalProtocolError, MessageTooLarge, WouldBlock
from transport.machine import Closed, Path, Pong
from transport.rudp import packet

COST = limits.MESSAGE_COST_BYTES


def got(rig: Rig) -> list[bytes]:
    """Messages that the server's application took from the honest client."""
    return rig.got.get(rig.honest.peer_cid, [])


def end_of(rig: Rig, cid: int) -> Closed:
    ends = [event for event in rig.events[cid] if isinstance(event, Closed)]
    assert len(ends) == 1
    return ends[0]


def test_a_goodbye_waits_for_its_skips() -> None:
    """A message that was given up stands before another that has come: the peer has to be told before the end."""
    rig = Rig()
    rig.drops = lambda data, by_client: by_client
    rig.honest.send_copies(b"too late", 0, 0, 0, rig.now + 20 * MS, 0, rig.now)
    rig.settle()
    rig.drops = None
    rig.honest.send(b"after it", 0, 0, 0, 0, rig.now)
    rig.settle()
    assert got(rig) == []
    skips: list[bytes] = []

    def drops(data: bytes, by_client: bool) -> bool:
        if by_client and bytes([packet.SKIP]) + varints(0, 1, 0, 8 + COST) in data:
            skips.append(data)
            return len(skips) == 1
        return False

    rig.drops = drops
    rig.now += 21 * MS
    rig.honest.close(0, "", rig.now)
    rig.wait(3000)
    assert len(skips) >= 2
    assert got(rig) == [b"after it"]
    assert end_of(rig, rig.honest.own_cid).clean


@pytest.mark.parametrize("seed_number", range(20))
def test_everything_arrives_before_the_end(seed_number: int) -> None:
    """Losses of a quarter both ways, messages of every size and delivery, and a goodbye right behind them."""
    rig = Rig(seed_number)
    rig.drops = lambda data, by_client: rig.rng.random() < 0.25
    sent: dict[int, list[bytes]] = {0: [], 1: []}
    for index in range(60):
        delivery = index % 2
        body = index.to_bytes(2, "big") + bytes(rig.rng.choice([0, 10, 300, 3000]))
        rig.honest.send(body, index % 3, delivery, rig.rng.choice([0, 0, 3]), 0, rig.now)
        sent[delivery].append(body)
        if index % 7 == 0:
            rig.wait(3)
    server_cid = rig.honest.peer_cid
    rig.honest.close(9, "all said", rig.now)
    rig.wait(20_000)
    found = got(rig)
    assert sorted(found) == sorted(sent[0] + sent[1])
    for channel in range(3):
        ordered = [body for body in sent[0] if int.from_bytes(body[:2], "big") % 3 == channel]
        assert [body for body in found if body in ordered] == ordered
    closed = end_of(rig, server_cid)
    assert (closed.code, closed.reason, closed.by_peer) == (9, "all said", True)


def test_an_answer_in_the_last_packet_comes_before_the_end() -> None:
    """Ack of a ping and CLOSE in one packet."""
    rig = Rig()
    hand = Hand(rig)
    hand.session.ping(5, rig.now)
    rig.settle()
    hand.say(ack((0, hand.session.ring.next - 1)), close_frame(0))
    assert rig.events[hand.peer_cid][-2:] == [Pong(5), Closed(0, "", True, True)]


def test_a_fence_opens_when_its_messages_are_settled() -> None:
    rig = Rig()
    fence = rig.honest.fence()
    assert fence.pending == 0
    rig.drops = lambda data, by_client: by_client
    rig.honest.send(b"a", 0, 0, 0, 0, rig.now)
    rig.settle()
    rig.drops = None
    fence = rig.honest.fence()
    for channel in range(1, 5):
        for _ in range(10):
            rig.honest.send(b"b", channel, 0, 0, 0, rig.now)
    later = rig.honest.fence()
    assert (fence.pending, later.pending) == (1, 5)
    rig.settle()
    rig.wait(1)
    assert fence.pending == 1
    rig.wait(1000)
    assert (fence.pending, later.pending) == (0, 0)


def test_a_fence_before_urgent_and_lapsed_messages() -> None:
    """Messages that overtake count with those they overtook; who lapsed is settled."""
    rig = Rig()
    rig.honest.send(b"first", 0, 1, 0, 0, rig.now)
    rig.honest.send(b"lapses", 0, 1, 0, rig.now + 1, rig.now)
    fence = rig.honest.fence()
    rig.honest.send(b"urgent", 0, 1, 5, 0, rig.now)
    rig.honest.send(b"behind", 0, 1, 0, 0, rig.now)
    assert fence.pending == 1
    rig.now += MS
    rig.settle()
    rig.wait(50)
    assert fence.pending == 0
    assert sorted(got(rig)) == [b"behind", b"first", b"urgent"]
    loose = rig.honest
    for index in range(20):
        loose.send(bytes(30_000), 1, 3, 0, 0, rig.now)  # above the bound: the oldest are dropped
        if index == 3:
            fence = loose.fence()
            assert fence.pending == 1
    assert loose.statistics()["dropped_out"] > 4
    assert fence.pending == 0


def test_streams_and_pings() -> None:
    rig = Rig()
    stream = rig.honest.open_stream(3, 10)
    assert rig.honest.stream_write(stream, b"0123456789") == 10
    rig.honest.stream_finish(stream)
    rig.honest.ping(77, rig.now)
    rig.settle()
    rig.wait(20)
    assert Pong(77) in rig.events[rig.honest.own_cid]
    names = [type(event).__name__ for event in rig.events[rig.honest.peer_cid]]
    assert any("Stream" in name for name in names)
    for token in range(limits.PINGS_OUTSTANDING_MAX):
        rig.honest.ping(token + 1, rig.now)
    with pytest.raises(WouldBlock):
        rig.honest.ping(1000, rig.now)


def test_a_ping_whose_token_is_0() -> None:
    rig = Rig()
    rig.honest.ping(0, rig.now)
    rig.settle()
    rig.wait(20)
    assert Pong(0) in rig.events[rig.honest.own_cid]


def test_frames_of_streams_are_no_messages() -> None:
    rig = Rig()
    rig.honest.stream_write(rig.honest.open_stream(3, 10), b"0123456789")
    rig.honest.send(b"a message", 3, 0, 0, 0, rig.now)
    rig.settle()
    rig.wait(20)
    counts = rig.of_honest().statistics()
    assert (counts["messages_received"], counts["channel_3_received"]) == (1, 1)


def test_messages_of_a_channel_are_counted_beyond_the_end() -> None:
    rig = Rig()
    for size in range(10):
        rig.honest.send(bytes(size), 3, 0, 0, 0, rig.now)
    rig.settle()
    rig.wait(20)
    assert rig.honest.statistics()["channel_3_sent"] == 10
    rig.honest.abort(5, "", rig.now)
    assert rig.honest.statistics()["channel_3_sent"] == 10


def test_a_closed_session_takes_nothing() -> None:
    rig = Rig()
    rig.honest.close(0, "", rig.now)
    rig.honest.close(5, "twice", rig.now)
    for call in (
        lambda: rig.honest.send(b"x", 0, 0, 0, 0, rig.now),
        lambda: rig.honest.ping(1, rig.now),
        lambda: rig.honest.open_stream(0, -1),
    ):
        with pytest.raises(ConnectionClosed):
            call()
    rig.settle()
    rig.wait(50)
    assert end_of(rig, rig.honest.own_cid).code == 0
    rig.honest.abort(7, "late", rig.now)
    rig.honest.expire(rig.now)
    assert rig.honest.state == 3


def test_wrong_arguments() -> None:
    rig = Rig()
    with pytest.raises(LocalProtocolError):
        rig.honest.close(1 << 16, "", rig.now)
    with pytest.raises(MessageTooLarge):
        rig.honest.send(bytes(limits.RUDP_UNRELIABLE_BYTES_MAX + 1), 0, 3, 0, 0, rig.now)
    rig.check_honest()


def test_all_sessions_of_an_endpoint_share_what_may_be_on_its_way() -> None:
    """Beyond the bound it counts as waiting, so that high water holds it; what is settled, or over, is given back."""
    rig = Rig()
    session, endpoint = rig.honest, rig.client
    rig.check_honest()
    most = limits.RUDP_FLIGHT_ALL_BYTES_MAX

    def five_on_their_way() -> None:
        rig.drops = lambda piece, from_client: from_client
        for _ in range(5):
            session.send(bytes(1000), 0, 0, 0, 0, rig.now)
        rig.settle()
        assert session.queued_bytes > 5000

    for others, shown in ((0, 1 << 20), (most - 3000, 3000), (most, 0)):
        endpoint.flight_bytes = others
        five_on_their_way()
        assert session.flight_bytes == min(shown, session.queued_bytes)
        assert endpoint.flight_bytes == others + session.flight_bytes
        rig.drops = None
        rig.wait(3000)
        assert (session.queued_bytes, session.flight_bytes, endpoint.flight_bytes) == (0, 0, others)
    endpoint.flight_bytes = 0
    five_on_their_way()
    assert endpoint.flight_bytes == session.flight_bytes > 5000
    session.abort(0, "enough", rig.now)
    assert (session.flight_bytes, endpoint.flight_bytes) == (0, 0)


def test_an_open_session_that_is_closed_before_it_opened() -> None:
    rig = Rig()
    for ender in ("close", "abort"):
        session = rig.client.connect(Path(None, ("192.0.2.99", 1)), rig.now)
        getattr(session, ender)(0, "never mind", rig.now)
        assert session.state == 3
        rig.client.forget(session)
        rig.wait(1000)
        assert session.own_cid not in rig.client.sessions


def test_a_handshake_that_nobody_answers() -> None:
    rig = Rig()
    session: Any = rig.client.connect(Path(None, ("192.0.2.99", 1)), rig.now)
    rig.wait(20_000)
    assert end_of(rig, session.own_cid).code == CloseCode.HANDSHAKE_TIMEOUT


def test_a_port_that_is_closed() -> None:
    """An error is a hint only from the second try on, for the first may be of somebody else."""
    rig = Rig()
    path = Path(None, ("192.0.2.99", 1))
    session: Any = rig.client.connect(path, rig.now)
    rig.settle()
    rig.client.error(path, 111, rig.now)
    assert session.state == 0
    rig.wait(400)
    rig.client.error(path, 113, rig.now)
    assert session.state == 0
    rig.client.error(path, 111, rig.now)
    assert session.state == 3
    rig.settle()
    assert end_of(rig, session.own_cid).reason == "connection refused"


def test_a_path_error_does_not_end_a_session_that_is_open() -> None:
    rig = Rig()
    for _ in range(100):
        rig.client.error(Path(None, ("192.0.2.1", 9)), 111, rig.now)
    rig.check_honest()
    assert rig.honest.statistics()["path_errors"] == 100
    rig.drops = lambda data, by_client: True
    rig.honest.close(3, "bye", rig.now)
    rig.settle()
    rig.client.error(Path(None, ("192.0.2.1", 9)), 111, rig.now)
    rig.settle()
    closed = end_of(rig, rig.honest.own_cid)
    assert (closed.code, closed.by_peer) == (3, False)


def test_retransmitted_control() -> None:
    """Credit, BLOCKED and pings that are lost are said again."""
    rig = Rig(start_window=20_000, channel_window=20_000, connection_window=80_000)
    rig.unread.add(rig.honest.peer_cid)
    count = 0

    def drops(data: bytes, by_client: bool) -> bool:
        nonlocal count
        count += 1
        return count % 3 == 0

    rig.drops = drops
    for channel in range(4):
        for _ in range(10):
            rig.honest.send(bytes(3000), channel, 0, 0, 0, rig.now)
    rig.honest.ping(5, rig.now)
    rig.wait(500)
    assert rig.honest.blocked_bytes + rig.honest.queued_bytes > 0
    server = rig.of_honest()
    before = len(got(rig))
    rig.unread.clear()
    for channel, counts in server.channel_counts().items():
        server.consumed(channel, 3000 * counts["received"], counts["received"])
    rig.settle()
    rig.wait(5000)
    assert before < 40 == len(got(rig))
    assert Pong(5) in rig.events[rig.honest.own_cid]
    assert rig.honest.queued_bytes == rig.honest.blocked_bytes == 0


def test_deadlock_of_a_large_message_and_a_full_window() -> None:
    """BLOCKED that came while nothing was taken counts when it is."""
    rig = Rig(start_window=100_000, channel_window=100_000, connection_window=200_000, max_message=90_000)
    rig.unread.add(rig.honest.peer_cid)
    rig.honest.send(bytes(40_000), 0, 0, 0, 0, rig.now)
    rig.wait(50)
    rig.honest.send(bytes(80_000), 0, 0, 0, 0, rig.now)
    rig.wait(50)
    assert rig.honest.blocked_bytes == 80_000 + COST
    rig.of_honest().consumed(0, 40_000, 1)
    rig.settle()
    rig.wait(50)
    assert [len(body) for body in got(rig)] == [40_000, 80_000]


SMALL = {"start_window": 16_384, "channel_window": 262_144, "connection_window": 1_048_576, "max_message": 262_144}


def lying(rig: Rig, channels: int, before: int = 0) -> int:
    """Fills channels that nobody reads, of each of which `before` bytes were read; returns what lies there."""
    for channel in range(1, channels + 1):
        for _ in range(before // 10_000):
            rig.honest.send(bytes(10_000), channel, 0, 0, 0, rig.now)
        rig.wait(300)
    rig.unread_channels = set(range(1, channels + 1))
    for channel in range(1, channels + 1):
        for _ in range(30):
            rig.honest.send(bytes(10_000), channel, 0, 0, 0, rig.now)
        if not before:
            rig.wait(300)
    rig.wait(1000)
    flow = rig.of_honest()._in_flow
    return int(flow.received - flow.consumed)


@pytest.mark.parametrize("before", [0, 400_000])
@pytest.mark.parametrize("channels", [1, 2, 6, 15])
def test_unread_channels_leave_credit_for_the_others(channels: int, before: int) -> None:
    """However many were filled, or had large windows when their reader stopped: a large message passes."""
    rig = Rig(**SMALL)
    unread = lying(rig, channels, before)
    assert unread >= min(channels * 16_384 - 10_000, 200_000)
    assert unread <= SMALL["connection_window"]
    for _ in range(3):
        rig.honest.send(bytes(262_144), 0, 0, 0, 0, rig.now)
    count = len(got(rig))
    rig.wait(2000)
    assert [len(body) for body in got(rig)[count:]] == [262_144] * 3
    rig.unread_channels = set()
    server = rig.of_honest()
    for number, state in server._in_channels.items():
        waiting = state.received - state.consumed
        server.consumed(number, waiting - COST, 1)
    rig.wait(3000)
    assert rig.honest.blocked_bytes == 0
    assert (server._in_flow.received, server._lent <= SMALL["connection_window"]) == (server._in_flow.consumed, True)


def test_unread_channels_have_a_bound_together() -> None:
    """So many that what each has by right fills what may be held: then everything waits, and goes on."""
    rig = Rig(**SMALL)
    unread = lying(rig, 200)
    assert unread <= SMALL["connection_window"]
    count = len(got(rig))
    rig.honest.send(bytes(262_144), 0, 0, 0, 0, rig.now)
    rig.wait(2000)
    assert len(got(rig)) == count
    server = rig.of_honest()
    for number in range(1, 50):
        state = server._in_channels[number]
        server.consumed(number, state.received - state.consumed - COST, 1)
    rig.wait(2000)
    assert len(got(rig)[count:]) > 1


def test_a_message_larger_than_its_share_passes_alone() -> None:
    """One message fits into a channel that was emptied, whatever the others were lent."""
    rig = Rig(**SMALL)
    lying(rig, 12)
    for channel in range(13, 16):
        rig.honest.send(bytes(262_144), channel, 0, 0, 0, rig.now)
    count = len(got(rig))
    rig.wait(2000)
    assert [len(body) for body in got(rig)[count:]] == [262_144] * 3


def test_rooms_that_are_too_small() -> None:
    """Nothing is written to them, not even the last word, and that leaves with a larger one."""
    rig = Rig()
    session = rig.of_honest()
    session.send(b"x", 0, 0, 0, 0, rig.now)
    small = memoryview(bytearray(b"?" * 30))
    assert session.fill(small, rig.now) == -1
    session.abort(5, "r" * 200, rig.now)
    assert session.fill(small, rig.now) == -1
    assert bytes(small) == b"?" * 30
    assert session.fill(memoryview(bytearray(1200)), rig.now) > 200


def test_statistics_never_raise() -> None:
    rig = Rig()
    seen = rig.honest.statistics()
    assert seen["rtt_ns"] >= 0
    rig.honest.abort(5, "", rig.now)
    assert rig.honest.statistics()["queued_bytes"] == 0
    rig.settle()
    assert rig.server.statistics()["peers"] == 0
