"""Framing, fragmentation, control frames, UTF-8 and limits, section by section of RFC 6455."""

from __future__ import annotations

from typing import Any

import pytest

from tests.websocket.by_hand import (
    BINARY,
    CLOSE,
    CONTINUATION,
    KEY,
    PING,
    PONG,
    SECOND,
    TEXT,
    Frame,
    client,
    close_body,
    ended,
    feed,
    frame,
    messages,
    said,
    server,
    written,
)
from transport import limits
from transport.errors import CloseCode, CodecError, ConnectionClosed, LocalProtocolError, WouldBlock
from transport.machine import ByteMachine, Closed, Pong
from transport.websocket.states import Phase

STEPS = pytest.mark.parametrize("step", [1, 2, 3, 7, 1 << 60])
BOTH = pytest.mark.parametrize(("side", "key"), [(server, KEY), (client, None)], ids=["server", "client"])


def refused(data: bytes, status: int, step: int = 1 << 60, session: object = None, **options: object) -> Closed:
    """A server closes with `status` on `data`, and hears nothing more."""
    one = session or server(**options)
    feed(one, data, step)
    (last,) = [found for found in said(one) if found.opcode == CLOSE]
    assert int.from_bytes(last.payload[:2], "big") == status
    closed = ended(one)
    assert not closed.by_peer
    assert not closed.clean
    assert one.state == Phase.CLOSED
    feed(one, frame(TEXT, b"late"))
    assert written(one) == b""
    return closed


def test_it_is_a_machine() -> None:
    assert isinstance(server(), ByteMachine)


# 5.1 Masking


def test_5_1_a_frame_of_a_client_that_is_not_masked() -> None:
    assert "not masked" in refused(frame(TEXT, b"x", key=None), 1002).reason


def test_5_1_a_frame_of_a_server_that_is_masked() -> None:
    assert "masked" in refused(frame(TEXT, b"x"), 1002, session=client()).reason


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_5_1_control_frames_are_masked_too(opcode: int) -> None:
    refused(frame(opcode, b"", key=None), 1002)


# 5.2 Base framing


@STEPS
@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 65_535, 65_536])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_5_2_sizes(size: int, opcode: int, step: int) -> None:
    if size > 1000 and step < 7:
        pytest.skip("says no more than the small ones")
    one = server()
    payload = b"*" * size
    feed(one, frame(opcode, payload) * 2, step)
    assert messages(one) == [payload] * 2
    assert one.state == Phase.OPEN


@pytest.mark.parametrize("rsv", range(1, 8))
@pytest.mark.parametrize("opcode", [CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG])
def test_5_2_reserved_bits(rsv: int, opcode: int) -> None:
    refused(frame(opcode, b"", rsv=rsv), 1002)


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
@pytest.mark.parametrize("fin", [True, False])
def test_5_2_reserved_opcodes(opcode: int, fin: bool) -> None:
    refused(frame(opcode, b"x", fin=fin), 1002)


@pytest.mark.parametrize(("size", "width"), [(0, 2), (125, 2), (0, 8), (125, 8), (126, 8), (65_535, 8)])
def test_5_2_a_length_in_more_bytes_than_need_be(size: int, width: int) -> None:
    assert "longer than need be" in refused(frame(BINARY, bytes(size), width=width), 1002).reason


def test_5_2_a_length_with_its_highest_bit_set() -> None:
    assert "highest bit" in refused(frame(BINARY, b"", size=1 << 63), 1002).reason


@pytest.mark.parametrize("head", [b"\x83", b"\xc1", b"\x09", b"\x80"])
def test_5_2_two_bytes_are_enough_to_see_what_is_wrong(head: bytes) -> None:
    refused(head + b"\xff", 1002, step=1)


# 5.4 Fragmentation


@STEPS
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_5_4_fragments(opcode: int, step: int) -> None:
    one = server()
    pieces = [b"one ", b"", b"two ", b"three"]
    data = frame(opcode, pieces[0], fin=False)
    data += b"".join(frame(CONTINUATION, piece, fin=False) for piece in pieces[1:-1])
    data += frame(CONTINUATION, pieces[-1])
    feed(one, data + frame(BINARY, b"next"), step)
    assert messages(one) == [b"one two three", b"next"]


@STEPS
def test_5_4_control_frames_between_fragments(step: int) -> None:
    one = server()
    data = frame(TEXT, b"a", fin=False) + frame(PING, b"1") + frame(CONTINUATION, b"b", fin=False)
    data += frame(PONG, b"") + frame(PING, b"2") + frame(CONTINUATION, b"c")
    feed(one, data, step)
    assert messages(one) == [b"abc"]
    assert said(one) == [Frame(PONG, b"1"), Frame(PONG, b"2")]


@BOTH
@pytest.mark.parametrize("pieces", [[b"", b""], [b"", b"", b""], [b"", b"x"], [b"x", b""], [b"", b"x", b"", b"y", b""]])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_5_4_empty_fragments(side: Any, key: Any, pieces: list[bytes], opcode: int) -> None:
    one = side()
    data = frame(opcode, pieces[0], fin=False, key=key)
    data += b"".join(frame(CONTINUATION, piece, fin=False, key=key) for piece in pieces[1:-1])
    feed(one, (data + frame(CONTINUATION, pieces[-1], key=key)) * 2)
    assert messages(one) == [b"".join(pieces)] * 2


@BOTH
def test_5_4_a_ping_is_answered_before_the_message_is_whole(side: Any, key: Any) -> None:
    one = side()
    feed(one, frame(TEXT, b"a", fin=False, key=key) + frame(PING, b"?", key=key))
    assert [(found.opcode, found.payload) for found in said(one)] == [(PONG, b"?")]
    assert messages(one) == []
    feed(one, frame(CONTINUATION, b"b", key=key))
    assert messages(one) == [b"ab"]


@pytest.mark.parametrize("fin", [True, False])
def test_5_4_a_continuation_without_a_message(fin: bool) -> None:
    refused(frame(CONTINUATION, b"x", fin=fin), 1002)
    refused(frame(TEXT, b"whole") + frame(CONTINUATION, b"x", fin=fin), 1002)
    refused(frame(TEXT, b"a", fin=False) + frame(CONTINUATION, b"b") + frame(CONTINUATION, b"x", fin=fin), 1002)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("fin", [True, False])
def test_5_4_a_message_inside_another_one(opcode: int, fin: bool) -> None:
    refused(frame(BINARY, b"a", fin=False) + frame(opcode, b"b", fin=fin), 1002)


def test_5_4_what_came_before_a_broken_rule_is_delivered() -> None:
    one = server()
    feed(one, frame(BINARY, b"one") + frame(BINARY, b"two") + frame(3))
    assert messages(one) == [b"one", b"two"]


def test_5_4_sent_in_fragments_when_asked_to() -> None:
    one = server(fragment=16, text=True)
    one.send(b"0123456789abcdef", 0, 0, 0, 0, 0)
    one.send(b"0123456789abcdef-", 0, 0, 0, 0, 0)
    one.send(b"x" * 48, 0, 1, 3, 0, 0)
    assert said(one) == [
        Frame(TEXT, b"x" * 16, fin=False), Frame(CONTINUATION, b"x" * 16, fin=False), Frame(CONTINUATION, b"x" * 16),
        Frame(TEXT, b"0123456789abcdef"),
        Frame(TEXT, b"0123456789abcdef", fin=False), Frame(CONTINUATION, b"-"),
    ]  # fmt: skip


def test_5_4_nothing_comes_between_the_fragments_of_a_message() -> None:
    one = client(fragment=1000)
    for index in range(40):
        one.send(bytes([index]) * 5000, 0, index % 4, index % 3, 0, 0)
    one.ping(1, 0)
    two = server()
    feed(two, written(one))
    assert sorted(message[0] for message in messages(two)) == list(range(40))
    assert two.state == Phase.OPEN


# 5.5 Control frames


@BOTH
@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_5_5_a_control_frame_that_is_too_long(side: Any, key: Any, opcode: int) -> None:
    refused(frame(opcode, bytes(126), key=key), 1002, session=side())
    refused(frame(opcode, b"", size=1 << 40, key=key), 1002, session=side())


@BOTH
@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_5_5_a_control_frame_in_fragments(side: Any, key: Any, opcode: int) -> None:
    refused(frame(opcode, b"", fin=False, key=key), 1002, session=side())
    started = frame(TEXT, b"a", fin=False, key=key)
    refused(started + frame(opcode, b"", fin=False, key=key), 1002, session=side())


@STEPS
@pytest.mark.parametrize("size", [0, 1, 125])
def test_5_5_2_a_ping_is_answered_with_its_body(size: int, step: int) -> None:
    one = server()
    feed(one, frame(PING, bytes(range(size))), step)
    assert said(one) == [Frame(PONG, bytes(range(size)))]
    two = client()
    feed(two, frame(PING, bytes(range(size)), key=None), step)
    assert said(two) == [Frame(PONG, bytes(range(size)), masked=True)]


def test_5_5_2_pings_go_before_messages_that_wait() -> None:
    one = server()
    one.send(bytes(100_000), 0, 0, 0, 0, 0)
    feed(one, frame(PING, b"x"))
    assert [found.opcode for found in said(one)] == [PONG, BINARY]


def test_5_5_2_a_flood_of_pings_that_reads_no_answers_is_bounded() -> None:
    one = server()
    feed(one, frame(PING, bytes(125)) * 10_000)
    answers = said(one)
    assert one.pings_ignored > 0
    assert sum(len(found.payload) + 2 for found in answers) < limits.WS_CONTROL_QUEUE_BYTES + 200
    assert len(answers) + one.pings_ignored == 10_000


def test_5_5_3_pongs() -> None:
    one = server()
    one.ping(0x0102030405060708, 0)
    (asked,) = said(one)
    assert asked == Frame(PING, bytes(range(1, 9)))
    feed(one, frame(PONG, b"nobody asked") + frame(PONG) + frame(PONG, asked.payload) + frame(PONG, bytes(8)))
    assert one.events() == [Pong(0x0102030405060708)]


def test_our_own_pings_are_bounded() -> None:
    one = server()
    for _ in range(limits.WS_CONTROL_QUEUE_BYTES // 10 + 1):
        one.ping(1, 0)
    with pytest.raises(WouldBlock):
        one.ping(1, 0)
    one.close(0, "", 0)
    with pytest.raises(ConnectionClosed):
        one.ping(1, 0)


# 5.6 Data frames, 8.1 UTF-8


@pytest.mark.parametrize("text", [b"", b"\xce\xba", "κόσμε \U0001f600".encode(), b"\xf4\x8f\xbf\xbf"])
@STEPS
def test_8_1_text_that_is_utf8(text: bytes, step: int) -> None:
    one = server()
    data = frame(TEXT, text)
    for at in range(len(text) + 1):  # cut anywhere, inside a character too
        data += frame(TEXT, text[:at], fin=False) + frame(CONTINUATION, text[at:])
    feed(one, data, step)
    assert messages(one) == [text] * (len(text) + 2)


@pytest.mark.parametrize(
    "text", [b"\x80", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"ok \xce", b"\xfe\xff", b"\xce\xba\xe1\xbd"]
)
@STEPS
def test_8_1_text_that_is_not(text: bytes, step: int) -> None:
    refused(frame(TEXT, text), 1007, step)
    for at in range(len(text) + 1):
        refused(frame(TEXT, text[:at], fin=False) + frame(CONTINUATION, text[at:]), 1007, step)


@BOTH
@pytest.mark.parametrize("bad", [
    b"\x80", b"\xc0", b"\xc1", b"\xf5", b"\xff", b"\xceA", b"\xce\xce", b"\xe0\x80",
    b"\xe1\xbd\xce", b"\xed\xa0", b"\xf0\x80", b"\xf4\x90",
])  # fmt: skip
def test_8_1_it_is_refused_at_the_first_byte_that_can_not_be(side: Any, key: Any, bad: bytes) -> None:
    good = "κόσμε".encode()
    data = frame(TEXT, good + bad + bytes(1000), fin=False, key=key)
    last = len(data) - 1000  # the header, what is right, and what is not
    one = side()
    for byte in data[: last - 1]:
        one.receive(bytes([byte]), 0)
    assert one.state == Phase.OPEN
    one.receive(data[last - 1 : last], 0)
    assert ended(one).code == CloseCode.INVALID_BODY


@BOTH
@STEPS
def test_8_1_a_byte_in_each_fragment_and_pings_between(side: Any, key: Any, step: int) -> None:
    text = "κόσμε \U0001f600 \U0010ffff".encode()
    data = frame(TEXT, b"", fin=False, key=key)
    for at in range(len(text)):
        data += frame(CONTINUATION, text[at : at + 1], fin=False, key=key) + frame(PING, b"%d" % at, key=key)
    one = side()
    feed(one, data, step)
    assert [found.payload for found in said(one)] == [b"%d" % at for at in range(len(text))]
    feed(one, frame(CONTINUATION, b"", key=key), step)
    assert messages(one) == [text]


@BOTH
def test_8_1_a_character_that_the_last_fragment_does_not_end(side: Any, key: Any) -> None:
    for text in (b"\xce", b"\xe1\xbd", b"\xf0\x9f\x98"):
        one = side()
        feed(one, frame(TEXT, text, fin=False, key=key))
        assert one.state == Phase.OPEN
        feed(one, frame(CONTINUATION, b"", key=key))
        assert ended(one).code == CloseCode.INVALID_BODY
        assert messages(one) == []


def test_8_1_binary_may_be_anything() -> None:
    one = server()
    feed(one, frame(BINARY, b"\xff\xfe", fin=False) + frame(CONTINUATION, b"\x80"))
    assert messages(one) == [b"\xff\xfe\x80"]


def test_8_1_nothing_else_is_sent_as_text() -> None:
    one = server(text=True)
    with pytest.raises(CodecError, match="not UTF-8"):
        one.send(b"\xff", 0, 0, 0, 0, 0)
    assert (one.messages_sent, one.queued_bytes) == (0, 0)
    one.send("\u20ac".encode(), 0, 0, 0, 0, 0)
    assert said(one) == [Frame(TEXT, "\u20ac".encode())]


# 10.4 Limits


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_10_4_a_message_over_the_limit_is_refused_by_its_header(opcode: int) -> None:
    for size in (101, 126, 65_536, (1 << 63) - 1):
        start = frame(opcode, b"", size=size)
        assert "over the limit of 100" in refused(start, 1009, max_message=100).reason
    one = server(max_message=100)
    feed(one, frame(opcode, b"x" * 100))
    assert messages(one) == [b"x" * 100]


def test_10_4_fragments_count_together() -> None:
    data = frame(BINARY, bytes(60), fin=False) + frame(CONTINUATION, bytes(40), fin=False)
    one = server(max_message=100)
    feed(one, data + frame(PING, bytes(125)) + frame(CONTINUATION, b""))
    assert messages(one) == [bytes(100)]
    refused(data + frame(CONTINUATION, b"", size=1), 1009, max_message=100)
    for_a_client = b"".join(frame(opcode, bytes(51), fin=False, key=None) for opcode in (BINARY, CONTINUATION))
    refused(for_a_client, 1009, session=client(max_message=100))


@pytest.mark.parametrize("size", [(1 << 63) - 1, (1 << 63) - 60, 1 << 62])
def test_10_4_the_lengths_of_fragments_do_not_add_up_to_a_small_number(size: int) -> None:
    """The sum of what came and what is announced is beyond 63 bits: it is over the limit, and not below zero."""
    start = frame(BINARY, bytes(60), fin=False) + frame(CONTINUATION, b"", size=size, fin=False)
    refused(start, 1009, max_message=100)


def test_10_4_tiny_fragments_take_no_more_memory_than_their_bytes() -> None:
    one = server()
    feed(one, frame(BINARY, b"x", fin=False) + frame(CONTINUATION, b"y", fin=False) * 5000)
    feed(one, frame(CONTINUATION, b"", fin=False) * 5000 + frame(CONTINUATION, b"z"))
    assert messages(one) == [b"x" + b"y" * 5000 + b"z"]


# Sending by our own queue


def test_expiry_priority_and_loss() -> None:
    one = server()
    one.send(b"late", 0, 0, 0, 5, 1)
    one.send(b"plain", 0, 0, 0, 0, 1)
    one.send(b"first", 0, 1, 5, 0, 1)
    assert [found.payload for found in said(one, 10)] == [b"first", b"plain"]
    assert one.statistics()["expired"] == 1
    for _ in range(1000):
        one.send(bytes(1000), 0, 3, 0, 0, 10)
    assert one.statistics()["dropped"] > 0
    assert one.queued_bytes <= limits.UNRELIABLE_QUEUE_BYTES
    assert len(said(one, 10)) == 1000 - one.statistics()["dropped"]
    assert one.queued_bytes == 0


def test_entries_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "QUEUED_MESSAGES_MAX", 10)
    one = server()
    for _ in range(10):
        one.send(b"x", 0, 0, 1, 0, 0)
    with pytest.raises(WouldBlock, match="10 messages"):
        one.send(b"x", 0, 0, 1, 0, 0)


def test_ordered_messages_do_not_overtake_each_other() -> None:
    one = server()
    one.send(b"low", 0, 0, -3, 0, 0)
    one.send(b"plain", 0, 0, 0, 0, 0)
    one.send(b"high", 0, 0, 3, 0, 0)
    assert [found.payload for found in said(one)] == [b"low", b"plain", b"high"]


# Time


def test_keep_alive_and_silence() -> None:
    one = server(keepalive_ns=10 * SECOND, idle_ns=25 * SECOND)
    assert one.deadline() == 10 * SECOND
    one.expire(10 * SECOND)
    assert said(one) == [Frame(PING, bytes(8))]
    assert one.deadline() == 20 * SECOND
    feed(one, frame(PONG, bytes(8)), now=12 * SECOND)
    assert one.events() == []
    assert one.deadline() == 22 * SECOND
    one.expire(22 * SECOND)
    one.expire(32 * SECOND)
    assert one.deadline() == 37 * SECOND
    one.expire(37 * SECOND)
    closed = ended(one)
    assert closed.code == CloseCode.IDLE_TIMEOUT
    assert said(one)[-1] == Frame(CLOSE, close_body(1001, b"nothing heard from the peer"))
    assert one.deadline() is None


def test_who_does_not_read_takes_silence_for_nothing() -> None:
    one = server(keepalive_ns=10 * SECOND, idle_ns=25 * SECOND)
    one.listening(False, 5 * SECOND)
    assert one.deadline() == 15 * SECOND
    for at in range(15, 100, 10):
        one.expire(at * SECOND)
    assert one.state == Phase.OPEN
    assert len(said(one)) == 9  # and the peer sees that somebody is there
    one.listening(True, 100 * SECOND)
    one.expire(124 * SECOND)
    assert one.state == Phase.OPEN
    one.expire(125 * SECOND)
    assert one.state == Phase.CLOSED


def test_no_times_no_deadline() -> None:
    assert server().deadline() is None
    assert client().deadline() is None


def test_sending_after_the_end() -> None:
    one = server()
    one.close(0, "", 0)
    with pytest.raises(ConnectionClosed):
        one.send(b"x", 0, 0, 0, 0, 0)
    with pytest.raises(LocalProtocolError):
        server().close(70_000, "", 0)
