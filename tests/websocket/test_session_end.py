"""How a connection ends: RFC 6455 sections 5.5.1 and 7."""

from __future__ import annotations

from typing import Any

import pytest

from tests.websocket.by_hand import (
    BINARY,
    CLOSE,
    CONTINUATION,
    KEY,
    PING,
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
from transport.errors import CloseCode, to_websocket
from transport.machine import EOF
from transport.websocket.session import may_be_received
from transport.websocket.states import Phase

GOOD = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4001, 4999)
BAD = (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535)


@pytest.mark.parametrize("status", GOOD)
@pytest.mark.parametrize("step", [1, 1 << 60])
def test_7_4_a_status_is_echoed(status: int, step: int) -> None:
    one = server()
    feed(one, frame(CLOSE, close_body(status, "grüß".encode())), step)
    assert said(one) == [Frame(CLOSE, close_body(status))]
    closed = ended(one)
    assert closed.by_peer
    assert closed.reason == "grüß"
    assert closed.clean is (status in (1000, 1001))
    assert one.transmit(0) == []


@pytest.mark.parametrize("status", BAD)
def test_7_4_a_status_that_may_not_stand_in_a_frame(status: int) -> None:
    one = server()
    feed(one, frame(CLOSE, close_body(status)))
    assert said(one)[0].payload[:2] == close_body(1002)
    closed = ended(one)
    assert closed.code == CloseCode.PROTOCOL_ERROR
    assert not closed.by_peer
    assert not may_be_received(status)


@pytest.mark.parametrize("status", [*GOOD, *BAD])
def test_7_4_a_client_judges_statuses_as_a_server_does(status: int) -> None:
    one = client()
    feed(one, frame(CLOSE, close_body(status), key=None))
    assert said(one)[0].payload[:2] == close_body(status if status in GOOD else 1002)
    assert ended(one).by_peer is (status in GOOD)


def test_7_4_1_no_close_code_becomes_a_status_that_may_not_be_sent() -> None:
    assert not [code for code in range(1 << 16) if not may_be_received(to_websocket(code))]


@pytest.mark.parametrize(
    ("status", "code"), [(1000, 0), (1001, 1001), (4000, 4000), (4001, 1), (4999, 999), (3000, 3000), (1011, 1011)]
)
def test_7_4_what_the_application_hears(status: int, code: int) -> None:
    one = server()
    feed(one, frame(CLOSE, close_body(status)))
    assert ended(one).code == code


def test_7_1_5_no_status() -> None:
    one = server()
    feed(one, frame(CLOSE))
    assert said(one) == [Frame(CLOSE, b"")]
    closed = ended(one)
    assert (closed.code, closed.reason, closed.by_peer, closed.clean) == (0, "", True, True)


@pytest.mark.parametrize("byte", [b"\x03", b"\x00", b"\xff"])
def test_5_5_1_a_body_of_one_byte(byte: bytes) -> None:
    for one, key in ((server(), KEY), (client(), None)):
        feed(one, frame(CLOSE, byte, key=key))
        assert said(one)[0].payload[:2] == close_body(1002)
        assert ended(one).code == CloseCode.PROTOCOL_ERROR


@pytest.mark.parametrize(
    "reason", [b"\xff", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"ok \xf4\x90\x80\x80", b"x" * 122 + b"\xc3"]
)
def test_5_5_1_a_reason_that_is_not_utf8(reason: bytes) -> None:
    one = server()
    feed(one, frame(CLOSE, close_body(1000, reason)))
    assert said(one)[0].payload[:2] == close_body(1007)
    assert ended(one).code == CloseCode.INVALID_BODY


def test_5_5_1_the_longest_reason() -> None:
    one = server()
    feed(one, frame(CLOSE, close_body(1000, b"x" * 123)))
    assert ended(one).reason == "x" * 123


def test_5_5_1_nothing_is_heard_behind_a_close() -> None:
    one = server()
    feed(one, frame(BINARY, b"before") + frame(CLOSE) + frame(BINARY, b"behind") + frame(PING))
    assert messages(one) == [b"before"]
    assert said(one) == [Frame(CLOSE, b"")]


def test_5_5_1_a_close_between_fragments() -> None:
    one = server()
    feed(one, frame(TEXT, b"half", fin=False) + frame(CLOSE, close_body(1000)) + frame(CONTINUATION, b"x"))
    assert messages(one) == []
    assert ended(one).clean


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (0, 1000), (1, 4001), (999, 4999), (CloseCode.GOING_AWAY, 1001), (CloseCode.POLICY, 1008),
        (CloseCode.INTERNAL_ERROR, 1011), (CloseCode.OVERLOADED, 1013), (CloseCode.IDLE_TIMEOUT, 1001),
        (CloseCode.FLOW_CONTROL, 1002),
    ],
)  # fmt: skip
def test_7_1_2_closing(code: int, status: int) -> None:
    for one in (server(), client()):
        one.send(b"last words", 0, 0, 0, 0, 0)
        one.close(code, "why", 0)
        assert one.state == Phase.CLOSING
        found = said(one)
        assert [(each.opcode, each.payload) for each in found] == [
            (BINARY, b"last words"), (CLOSE, close_body(status, b"why")),
        ]  # fmt: skip
        assert one.events() == []
        key = None if found[0].masked else b"abcd"
        feed(one, frame(BINARY, b"dropped", key=key) + frame(PING, b"x", key=key))
        feed(one, frame(CLOSE, close_body(status), key=key))
        assert messages(one) == []
        assert said(one) == []  # a CLOSE was the last: not even a PONG
        closed = ended(one)
        assert (closed.code, closed.reason, closed.by_peer) == (code, "why", False)
        assert closed.clean is (code in (0, 1001))


def test_7_1_1_the_stream_ends_behind_the_close() -> None:
    one = server()
    one.close(0, "", 0)
    assert [bytes(buffer) for buffer in one.transmit(0)] == [frame(CLOSE, close_body(1000), key=None)]
    feed(one, frame(CLOSE, close_body(1000)))
    assert one.transmit(0) == [EOF]
    assert one.transmit(0) == []
    assert not one.pending()


def test_7_1_2_both_at_once() -> None:
    one, two = server(), client()
    one.close(3, "mine", 0)
    two.close(4, "yours", 0)
    (of_one,), (of_two,) = said(one), said(two)
    feed(one, frame(CLOSE, of_two.payload))
    feed(two, frame(CLOSE, of_one.payload, key=None))
    assert (ended(one).code, ended(two).code) == (3, 4)
    assert said(one) == said(two) == []


def test_7_1_2_a_close_that_has_not_left_when_the_peer_s_comes() -> None:
    one = server()
    one.send(bytes(1000), 0, 0, 0, 0, 0)
    one.close(0, "", 0)
    feed(one, frame(CLOSE, close_body(1000)))
    assert said(one) == [Frame(CLOSE, close_body(1000))]
    assert one.cut_bytes == 1004
    assert ended(one).clean


def test_7_1_6_a_reason_is_cut_between_characters() -> None:
    one = server()
    one.close(0, "x" + "ä" * 100, 0)
    (found,) = said(one)
    assert found.payload[2:] == ("x" + "ä" * 61).encode()
    assert len(found.payload) == 2 + limits.WS_REASON_BYTES_MAX


def test_7_1_4_the_peer_s_stream_ends_without_a_close() -> None:
    for data, where in (
        (b"", "without a CLOSE"),
        (frame(TEXT, b"x")[:3], "in the middle"),
        (frame(TEXT, b"x", fin=False), "in the middle"),
        (frame(BINARY, bytes(9))[:9], "in the middle"),
    ):
        one = server()
        feed(one, data)
        one.receive(b"", 0)
        closed = ended(one)
        assert closed.code == CloseCode.LOST
        assert where in closed.reason
        assert one.transmit(0) == [EOF]  # 1006 is never sent


def test_7_1_7_failing_says_why_and_drops_what_waits() -> None:
    one = server()
    one.send(bytes(1000), 0, 0, 0, 0, 0)
    one.abort(CloseCode.INVALID_BODY, "undecodable", 0)
    assert said(one) == [Frame(CLOSE, close_body(1007, b"undecodable"))]
    assert one.cut_bytes == 1004
    assert one.config.counts == {"close_1007": 1}
    two = server()
    two.abort(CloseCode.LOST, "cut", 0)
    assert two.transmit(0) == [EOF]


@pytest.mark.parametrize("side", [server, client])
def test_7_1_1_a_peer_that_does_not_answer_the_close_is_given_up(side: Any) -> None:
    """Whatever else it goes on to say."""
    one = side(idle_ns=30 * SECOND, keepalive_ns=15 * SECOND)
    key = KEY if side is server else None
    feed(one, frame(BINARY, b"x", key=key), now=20 * SECOND)
    one.close(0, "", 25 * SECOND)
    assert [found.opcode for found in said(one, 25 * SECOND)] == [CLOSE]
    for at in range(26, 55):
        feed(one, frame(BINARY, bytes(1000), key=key) + frame(PING, b"", key=key), now=at * SECOND)
        one.expire(at * SECOND)
        assert one.state == Phase.CLOSING
    assert one.deadline() == 55 * SECOND
    one.expire(55 * SECOND)
    closed = ended(one)
    assert (closed.code, closed.reason) == (CloseCode.IDLE_TIMEOUT, "the peer has not answered CLOSE")
    assert one.config.counts == {"close_1001": 1}
    assert written(one) == b""  # it has been said


def test_silence_is_counted() -> None:
    one = server(idle_ns=30 * SECOND)
    one.expire(30 * SECOND)
    assert said(one)[0].payload[:2] == close_body(1001)
    assert one.config.counts == {"close_1001": 1}


def test_an_end_without_close_is_counted_once() -> None:
    one = server()
    feed(one, frame(BINARY, bytes(100))[:50])
    one.receive(b"", 0)
    one.abort(CloseCode.LOST, "and the pipe is gone", 0)
    assert one.config.counts == {"close_1006": 1}


def test_broken_rules_are_counted() -> None:
    one = server()
    feed(one, frame(3))
    assert one.config.counts == {"close_1002": 1}


def test_a_close_before_it_is_open_says_nothing() -> None:
    from tests.websocket.by_hand import listening

    one = listening()
    one.close(0, "", 0)
    assert one.transmit(0) == [EOF]
    assert ended(one).code == 0
