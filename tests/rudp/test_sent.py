"""The ring of what was sent."""

from __future__ import annotations

from transport import limits
from transport.rudp.outflow import OutChannel, Outflow
from transport.rudp.outlane import OutLane
from transport.rudp.sent import Item, SentRing
from transport.rudp.states import SENT


def test_records_are_found_by_number_while_the_ring_grows() -> None:
    ring = SentRing()
    for number in range(1000):
        packet = ring.push()
        packet.time = number
        packet.state = SENT
        if number % 3 == 0 and number > 50:
            ring.oldest += 1
    assert [ring.get(number).time for number in range(ring.oldest, ring.next)] == list(range(ring.oldest, 1000))


def test_a_record_is_clean_when_it_is_used_again() -> None:
    ring = SentRing()
    packet = ring.push()
    packet.add(Item(0, None, 1, 2))
    packet.size, packet.ack_largest = 100, 7
    packet.add_span(OutLane(Outflow(), OutChannel(0, 0, False), 0), 0, 5)
    ring.oldest = 1
    for _ in range(limits.RUDP_RING_MIN - 1):
        ring.push()
    again = ring.push()
    assert again is packet
    assert (again.lane, again.item, again.more, again.size, again.ack_largest) == (None, None, None, 0, -1)


def test_spans_that_follow_on_are_merged() -> None:
    flow = Outflow()
    one, other = (OutLane(flow, OutChannel(number, 0, False), 0) for number in range(2))
    packet = SentRing().push()
    packet.add_span(one, 0, 10)
    packet.add_span(one, 10, 15)
    assert (packet.lane, packet.start, packet.end, packet.item, packet.more) == (one, 0, 15, None, None)
    packet.add_span(one, 20, 30)
    packet.add_span(other, 0, 5)
    items = [packet.item, *(packet.more or [])]
    assert [(item.lane, item.start, item.end) for item in items if item is not None] == [(one, 20, 30), (other, 0, 5)]


def test_it_is_full_before_it_has_no_number_left() -> None:
    ring = SentRing()
    while not ring.is_full():
        ring.push()
    assert ring.next < limits.RUDP_RING_MAX
    assert not ring.is_over()
    while not ring.is_over():
        ring.push()
    assert ring.next < limits.RUDP_RING_MAX


def test_memory_comes_back() -> None:
    ring = SentRing()
    for _ in range(1000):
        ring.push()
    ring.shrink()
    assert ring.get(999) is not ring.get(0)  # something is in flight: nothing happens
    ring.oldest = ring.next
    ring.shrink()
    assert ring.get(0) is ring.get(limits.RUDP_RING_MIN)
