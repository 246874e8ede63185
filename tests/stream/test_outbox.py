"""Order, priorities, expiry and bounds of what still has to leave."""

from __future__ import annotations

import random

import pytest

from transport import limits
from transport.stream import frames
from transport.stream.outbox import BY_REFERENCE_BYTES, Entry, Outbox

EVERYTHING = 1 << 40
ORDERED, UNORDERED, SEQUENCED, UNRELIABLE = range(4)


def entry(payload: bytes, channel: int = 0, delivery: int = ORDERED, priority: int = 0, expires_at: int = 0) -> Entry:
    return Entry(frames.header(0, len(payload), channel, delivery), payload, channel, delivery, priority, expires_at)


def plain(box: Outbox, data: bytes) -> None:
    """What a session does for an ordinary message."""
    box.run += data
    box.size += len(data)


def bodies(buffers: list[bytes | bytearray]) -> list[bytes]:
    """The payloads in what was taken."""
    data = b"".join(bytes(buffer) for buffer in buffers)
    found = []
    at = 0
    while at < len(data):
        head, at = data[at], at + 1
        if head & 8:
            at += 1 << (data[at] >> 6)
        width = 1 << (data[at] >> 6)
        size = int.from_bytes(data[at : at + width], "big") & ((1 << (8 * width - 2)) - 1)
        at += width
        found.append(data[at : at + size])
        at += size
    return found


def drain(box: Outbox, now: int = 0, room: int = EVERYTHING) -> list[bytes]:
    found = []
    while True:
        buffers = box.take(now, room)
        if not buffers:
            break
        found += bodies(buffers)
    assert box.size == 0
    assert box.held == 0
    return found


def test_ordinary_messages_leave_as_one_run() -> None:
    box = Outbox()
    plain(box, b"\x00\x01a")
    plain(box, b"\x00\x01b")
    assert box.size == 6
    taken = box.take(0, 1)  # nothing here can change any more, so all of it goes
    assert taken == [bytearray(b"\x00\x01a\x00\x01b")]
    assert box.size == 0
    assert box.take(0, EVERYTHING) == []


def test_what_was_taken_does_not_change_under_the_kernel() -> None:
    box = Outbox()
    plain(box, b"\x00\x01a")
    taken = box.take(0, EVERYTHING)
    plain(box, b"\x00\x01b")
    assert taken == [bytearray(b"\x00\x01a")]


def test_a_large_payload_is_not_copied_and_stays_behind_its_header() -> None:
    box = Outbox()
    large = bytes(BY_REFERENCE_BYTES)
    plain(box, b"\x00\x01a")
    box.add_large(frames.header(0, len(large)), large)
    plain(box, b"\x00\x01b")
    taken = box.take(0, EVERYTHING)
    assert taken[1] is large
    assert bodies(taken) == [b"a", large, b"b"]
    assert box.size == 0


def test_a_large_payload_is_never_parted_from_its_header_by_a_small_room() -> None:
    box = Outbox()
    large = bytes(BY_REFERENCE_BYTES)
    plain(box, b"\x00\x01a")
    box.add_large(frames.header(0, len(large)), large)
    box.add(entry(b"last", expires_at=9))
    first = box.take(0, 1)
    assert bodies(first) == [b"a", large]
    assert drain(box) == [b"last"]


def in_use() -> Outbox:
    """A box that has seen a priority before."""
    box = Outbox()
    box.add(entry(b"first", priority=1))
    assert drain(box) == [b"first"]
    return box


def test_a_priority_overtakes_what_lies_below_it() -> None:
    box = in_use()
    for number, priority in enumerate((0, -8, 7, 3, 0, 7)):
        box.add(entry(b"%d" % number, channel=number, priority=priority))
    assert drain(box) == [b"2", b"5", b"3", b"0", b"4", b"1"]


def test_a_priority_never_overtakes_its_own_channel() -> None:
    box = Outbox()
    for number, priority in enumerate((-3, 7, 0, 5)):
        box.add(entry(b"%d" % number, channel=1, priority=priority))
    assert drain(box) == [b"0", b"1", b"2", b"3"]


def test_unordered_messages_of_one_channel_may_overtake() -> None:
    box = Outbox()
    for number, priority in enumerate((-3, 7, 0)):
        box.add(entry(b"%d" % number, channel=1, delivery=UNORDERED, priority=priority))
    assert drain(box) == [b"1", b"2", b"0"]


def test_what_was_queued_before_priorities_came_into_use_is_not_overtaken_by_ordered_messages() -> None:
    """Nobody noted which channels are in those runs, so the first priority may not pass them."""
    box = Outbox()
    plain(box, b"\x00\x01a")
    box.add(entry(b"b", channel=3, priority=7))
    assert drain(box) == [b"a", b"b"]
    box.add(entry(b"c", channel=0, expires_at=9))
    box.add(entry(b"d", channel=3, priority=7))
    assert drain(box) == [b"d", b"c"]


def test_expired_messages_are_dropped_and_counted_when_their_turn_comes() -> None:
    box = Outbox()
    for number in range(6):
        box.add(entry(b"%d" % number, expires_at=10 + number))
    assert drain(box, now=12) == [b"3", b"4", b"5"]
    assert box.expired == 3


def test_only_expired_messages_leave_nothing_behind() -> None:
    box = Outbox()
    for delivery in range(4):
        box.add(entry(b"x", delivery=delivery, priority=delivery, expires_at=1))
    assert box.take(1, 1) == []
    assert (box.size, box.held, box.expired) == (0, 0, 4)


def test_above_its_bound_the_oldest_unreliable_message_of_least_priority_goes() -> None:
    box = Outbox()
    kib = bytes(1024 - 3)  # with its header one KiB
    bound = limits.UNRELIABLE_QUEUE_BYTES // 1024
    box.add(entry(b"ordered"))
    box.add(entry(b"high", delivery=UNRELIABLE, priority=1))
    for number in range(bound + 9):
        box.add(entry(number.to_bytes(4, "big") + kib[4:], delivery=UNRELIABLE))
        assert box.size <= limits.UNRELIABLE_QUEUE_BYTES + 9
    left = drain(box)
    assert left[0] == b"high"
    assert b"ordered" in left
    numbers = [int.from_bytes(body[:4], "big") for body in left if len(body) > 100]
    assert numbers == list(range(10, bound + 9))
    assert box.dropped == 10


@pytest.mark.parametrize("others", [0, 3])
def test_one_unreliable_message_above_the_bound_still_leaves(others: int) -> None:
    box = Outbox()
    for _ in range(others):
        box.add(entry(b"x", expires_at=9))
    large = bytes(limits.UNRELIABLE_QUEUE_BYTES + 1)
    box.add(entry(b"older", delivery=UNRELIABLE))
    box.add(entry(large, delivery=UNRELIABLE))
    assert large in drain(box)
    assert box.dropped == 1


def test_sequenced_messages_of_a_channel_share_the_priority_of_the_first_that_waits() -> None:
    box = Outbox()
    for number, priority in enumerate((-1, 7, 7)):
        box.add(entry(b"%d" % number, delivery=SEQUENCED, priority=priority))
    assert drain(box) == [b"0", b"1", b"2"]
    box.add(entry(b"later", delivery=SEQUENCED, priority=7))
    box.add(entry(b"other", delivery=UNRELIABLE, priority=6))
    assert drain(box) == [b"later", b"other"]


def test_neither_reliable_nor_unreliable_messages_of_one_priority_starve_the_others() -> None:
    box = Outbox()
    for _ in range(100):
        box.add(entry(bytes(100), delivery=UNRELIABLE))
        box.add(entry(bytes(100), delivery=ORDERED, expires_at=9))
    taken = b"".join(box.take(0, 2000))
    loose, ordered = taken.count(b"\x03\x40\x64"), taken.count(b"\x00\x40\x64")
    assert min(loose, ordered) >= 8


def test_take_stops_near_the_room_while_a_choice_can_still_be_made() -> None:
    box = in_use()
    for number in range(100):
        box.add(entry(bytes(97), channel=number, priority=number % 3))
    taken = sum(map(len, box.take(0, 1000)))
    assert 1000 <= taken < 1200
    box.add(entry(b"urgent", channel=200, priority=7))
    assert bodies(box.take(0, 1)) == [b"urgent"]


def test_clear_leaves_a_box_like_new() -> None:
    box = Outbox()
    plain(box, b"\x00\x01a")
    for number in range(20):
        box.add(entry(b"%d" % number, number % 3, number % 4, number % 5 - 2))
    box.clear()
    assert (box.size, box.held) == (0, 0)
    assert box.take(0, EVERYTHING) == []
    for number in range(20):
        box.add(entry(b"%d" % number, number % 3, number % 4, number % 5 - 2))
    assert sorted(drain(box)) == sorted(b"%d" % number for number in range(20))


def test_a_seeded_mix_keeps_every_promise(rng: random.Random) -> None:
    """Against a book kept apart: sizes, order within a channel, expiry, priorities at the moment of the choice."""
    for _ in range(150):
        box = Outbox()
        now = 1
        waiting: dict[int, Entry] = {}
        last: dict[tuple[int, int], int] = {}
        count = 0
        for _ in range(120):
            now += rng.randrange(3)
            if rng.random() < 0.7:
                payload = count.to_bytes(4, "big") + bytes(rng.choice((0, 1, 60, 300, BY_REFERENCE_BYTES)))
                expires_at = now + rng.randrange(1, 30) if rng.random() < 0.3 else 0
                each = entry(payload, rng.randrange(4), rng.randrange(4), rng.randrange(-2, 3), expires_at)
                waiting[count] = each
                box.add(each)
                count += 1
            else:
                for body in bodies(box.take(now, rng.choice((1, 200, 5000, EVERYTHING)))):
                    number = int.from_bytes(body[:4], "big")
                    each = waiting.pop(number)
                    assert body == each.payload
                    assert not each.expires_at or each.expires_at > now
                    if each.delivery in (ORDERED, SEQUENCED):
                        assert last.get((each.channel, each.delivery), -1) < number
                        last[each.channel, each.delivery] = number
            gone = box.dropped + box.expired
            assert box.held <= len(waiting)
            assert box.held >= len(waiting) - gone
        for body in drain(box, now):
            waiting.pop(int.from_bytes(body[:4], "big"))
        assert len(waiting) == box.dropped + box.expired
        assert all(each.delivery >= SEQUENCED or each.expires_at for each in waiting.values())
