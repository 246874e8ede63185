"""When an ack is due, and what it says."""

from __future__ import annotations

from tests.rudp.by_hand import MS, ack
from transport import limits
from transport.rudp import pen
from transport.rudp.acks import AckState


def taken(acks: AckState, number: int, now: int, *, eliciting: bool = True, srtt: int = 8 * MS) -> None:
    in_order = number == acks.ranges.largest + 1
    acks.ranges.add(number)
    acks.came(number, eliciting, in_order, now, srtt)


def written(acks: AckState, now: int, room: int = 1000) -> bytes:
    target = memoryview(bytearray(room))
    return bytes(target[: acks.write(target, 0, room, now)])


def test_nothing_came() -> None:
    acks = AckState()
    assert written(acks, 0) == b""
    assert not acks.must_send(10**12)
    assert not acks.wants()


def test_one_packet_waits_for_a_quarter_of_a_round_trip() -> None:
    acks = AckState()
    taken(acks, 0, 100)
    assert acks.wants()
    assert not acks.must_send(100 + 2 * MS - 1)
    assert acks.must_send(100 + 2 * MS)
    assert written(acks, 100 + 2 * MS) == ack((0, 0), delay=250)
    assert not acks.must_send(10**12)


def test_the_delay_has_bounds() -> None:
    for srtt, delay in ((0, limits.RUDP_ACK_DELAY_MIN_NS), (10**12, limits.RUDP_ACK_DELAY_MAX_NS)):
        acks = AckState()
        taken(acks, 0, 0, srtt=srtt)
        assert acks.due_at == delay


def test_two_packets_are_acknowledged_at_once() -> None:
    acks = AckState()
    taken(acks, 0, 0)
    taken(acks, 1, 1)
    assert acks.must_send(1)


def test_who_asks_for_nothing_gets_nothing() -> None:
    acks = AckState()
    for number in range(100):
        taken(acks, number, number, eliciting=False)
    assert not acks.wants()
    assert not acks.must_send(10**12)


def test_at_once_on_a_gap_a_duplicate_a_request_and_a_mark() -> None:
    acks = AckState()
    taken(acks, 5, 0)
    assert acks.must_send(0)
    for at_once in (acks.came_again, acks.ask, lambda: acks.marked(3, True)):
        written(acks, 0)
        assert not acks.must_send(0)
        at_once()
        assert acks.must_send(0)


def test_an_ack_rides_on_own_data() -> None:
    """Every 10 ms something of our own leaves: the ack waits for that, and for eight packets instead of two."""
    acks = AckState()
    for turn in range(5):
        acks.own_data(turn * 10 * MS)
    assert acks.own_every == 10 * MS
    now = 41 * MS
    taken(acks, 0, now)
    taken(acks, 1, now)
    assert not acks.must_send(now)
    assert acks.due_at > 50 * MS
    for number in range(2, 8):
        taken(acks, number, now)
    assert acks.must_send(now)


def test_ranges_from_the_highest_down() -> None:
    acks = AckState()
    for number in (0, 1, 5, 6, 7, 10):
        taken(acks, number, 0)
    assert written(acks, 0) == ack((10, 10), (5, 7), (0, 1))


def test_marks_are_counted() -> None:
    acks = AckState()
    for mark in (0, 2, 2, 1, 3):
        acks.marked(mark, True)
    taken(acks, 0, 0)
    frame = written(acks, 0)
    assert frame[0] == 3
    assert frame[5:] == bytes([2, 1, 1])


def test_as_many_ranges_as_fit() -> None:
    acks = AckState()
    for number in range(0, 400, 4):
        taken(acks, number, 0)
    assert pen.varint(written(acks, 0), 1) == 396
    for room, most in ((1000, limits.RUDP_ACK_RANGES_SENT), (40, 9), (24, 1)):
        acks.ask()
        frame = written(acks, 0, room)
        assert len(frame) <= room
        assert frame[4] + 1 <= most
    acks.ask()
    assert written(acks, 0, 23) == b""  # no place: it stays due
    assert acks.must_send(0)
