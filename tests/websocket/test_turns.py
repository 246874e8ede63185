"""A peer gets no more of a turn than its share: what a few bytes ask for is put off, bounded, and counted."""

from __future__ import annotations

import zlib
from typing import Any

import pytest

from tests.websocket.by_hand import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    SECOND,
    TEXT,
    close_body,
    ended,
    feed,
    frame,
    listening,
    messages,
    request,
    said,
    server,
    turn,
    written,
)
from tests.websocket.test_handshake import answers, get
from transport import limits
from transport.errors import CloseCode
from transport.machine import Established
from transport.websocket.config import Agreement
from transport.websocket.http import Asked, UpgradeAsked, plain
from transport.websocket.states import Phase

FULL = Agreement(15, True, 15, True)
RSV1 = 4
ROUTES: dict[str, Any] = {"/health": object()}


def bombs(count: int, size: int = limits.MIB) -> bytes:
    """Messages that are each within the limit, and a thousandth of their size on the wire."""
    squeeze = zlib.compressobj(level=9, wbits=-15)
    data = (squeeze.compress(bytes(size)) + squeeze.flush(zlib.Z_SYNC_FLUSH))[:-4]
    return frame(BINARY, data, rsv=RSV1) * count


# Messages that were compressed


def test_one_turn_builds_a_bounded_amount() -> None:
    one = server(FULL)
    data = bombs(20)
    assert len(data) < 32 * limits.KIB
    one.receive(data, 0)
    sizes = []
    while True:
        sizes.append(sum(map(len, messages(one))))
        if not one.is_full:
            break
        assert one.deadline() == 0  # at once, but behind what others have to do
        one.expire(0)
    assert sum(sizes) == 20 * limits.MIB
    assert max(sizes) <= limits.WS_INFLATE_TURN_BYTES + limits.MESSAGE_BYTES_DEFAULT
    assert one.deadline() is None


def test_tiny_ones_count_for_their_time() -> None:
    one = server(Agreement(15, False, 15, False))
    one.receive(frame(BINARY, b"\x00", rsv=RSV1) * 10_000, 0)
    assert one.messages_received == limits.WS_INFLATE_TURN_BYTES // limits.WS_INFLATE_COST_BYTES
    turn(one)
    assert one.messages_received == 10_000


def test_what_is_put_off_waits_while_the_owner_does_not_read() -> None:
    one = server(FULL, keepalive_ns=10 * SECOND, idle_ns=30 * SECOND)
    one.receive(bombs(3), 0)
    one.listening(False, 0)
    assert one.deadline() == 10 * SECOND
    one.expire(10 * SECOND)
    assert [len(found) for found in messages(one)] == [limits.MIB]
    one.listening(True, 20 * SECOND)
    assert one.deadline() == 0
    turn(one, 20 * SECOND)
    assert [len(found) for found in messages(one)] == [limits.MIB] * 2


@pytest.mark.parametrize("step", [1, 1000, 1 << 60])
def test_what_a_pipe_gives_all_the_same_is_kept_in_order(step: int) -> None:
    one = server(FULL)
    one.receive(bombs(3), 0)
    assert one.is_full
    rest = frame(TEXT, b"a", fin=False) + frame(0, b"b") + frame(CLOSE, close_body(1000))
    for at in range(0, len(rest), step):
        one.receive(rest[at : at + step], 0)
    one.receive(b"", 0)
    turn(one)
    assert [len(found) for found in messages(one)] == [limits.MIB] * 3 + [2]
    assert ended(one).clean


def test_an_end_of_stream_behind_what_is_put_off() -> None:
    one = server(FULL)
    one.receive(bombs(3), 0)
    one.receive(b"", 0)
    one.listening(False, 0)  # as a driver says when the stream has ended
    turn(one)
    assert len(messages(one)) == 3
    assert ended(one).code == CloseCode.LOST
    assert not one.is_full


def test_nothing_is_put_off_behind_the_end() -> None:
    one = server(FULL)
    one.receive(bombs(3), 0)
    one.abort(CloseCode.POLICY, "enough", 0)
    assert not one.is_full
    assert one.deadline() is None
    one.receive(bombs(3), 0)
    assert one.messages_received == 1


# What is broken behind something that is not


@pytest.mark.parametrize("bad", [frame(3), frame(TEXT, b"\xff"), frame(TEXT, b"x", rsv=2), frame(0, b"x")])
def test_what_came_before_a_broken_rule_is_answered(bad: bytes) -> None:
    """Public conformance cases call it strict: the answer to the message in front, then CLOSE, however it is cut."""
    one = server()
    one.receive(frame(BINARY, b"fine") + bad + frame(PING, b"behind"), 0)
    assert messages(one) == [b"fine"]
    one.send(b"fine, too", 0, 0, 0, 0, 0)
    assert [found.payload for found in said(one)] == [b"fine, too"]
    assert one.deadline() == 0
    one.receive(frame(PING, b"late"), 0)
    one.expire(0)
    (last,) = said(one)
    assert last.opcode == CLOSE
    assert ended(one).by_peer is False
    assert list(one.config.counts) in (["close_1002"], ["close_1007"])


def test_one_that_nothing_came_before_is_refused_at_once() -> None:
    one = server()
    one.receive(frame(PING, b"1") + frame(3), 0)
    assert [found.opcode for found in said(one)] == [PONG, CLOSE]


# HTTP


def test_requests_behind_each_other_are_answered_a_few_at_a_time() -> None:
    one = listening(path="/ws")
    one.receive(get("/nothing") * 500, 0)
    assert len(answers(written(one))) == limits.HTTP_EVENTS_PER_TURN // 2
    assert one.is_full
    assert one.deadline() == 0
    one.listening(False, 0)  # an owner that has no room for more: what is here goes on all the same
    one.receive(get("/nothing") * 10, 0)
    turn(one)
    assert len(answers(written(one))) == 510 - limits.HTTP_EVENTS_PER_TURN // 2
    assert one.http.held_bytes == 0
    assert not one.is_full


def test_a_body_in_tiny_chunks_takes_many_turns() -> None:
    one = listening(routes=ROUTES, handshake_ns=10 * SECOND)
    body = b"1\r\nx\r\n" * 1000
    one.receive(get("/health", "Transfer-Encoding: chunked", method="POST", body=body), 0)
    turns = 0
    while one.is_full:
        one.expire(0)
        turns += 1
    assert turns >= 1000 // limits.HTTP_EVENTS_PER_TURN
    one.receive(b"0\r\n\r\n", 0)
    (asked,) = one.events()
    assert asked.request.body == b"x" * 1000


def test_turns_do_not_put_off_the_time_for_a_request() -> None:
    one = listening(routes=ROUTES, handshake_ns=10 * SECOND)
    one.receive(get("/health", "Transfer-Encoding: chunked", method="POST", body=b"1\r\nx\r\n" * 500), 0)
    assert one.is_full
    one.expire(11 * SECOND)
    assert answers(written(one))[0][0] == 408
    assert one.state == Phase.CLOSED


def test_a_long_head_is_not_parsed_as_a_whole() -> None:
    one = listening(routes=ROUTES)
    one.receive(b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"a:b\r\n" * 20_000 + b"\r\n", 0)
    assert one.http.held_bytes > 0
    assert one.is_full
    turn(one)
    assert answers(written(one))[0][0] == 431


@pytest.mark.parametrize("step", [1, 700, 1 << 60])
def test_requests_longer_than_a_head_in_one_piece(step: int) -> None:
    one = listening(routes=ROUTES)
    body = bytes(range(256)) * 200
    data = get("/health", f"Content-Length: {len(body)}", method="POST", body=body)
    found = []
    for at in range(0, 3 * len(data), step):
        one.receive((data * 3)[at : at + step], 0)
        turn(one)
        for event in one.events():
            assert isinstance(event, Asked)
            found.append(event.request.body)
            one.respond(plain(200), 0)
            turn(one)
            for more in one.events():
                assert isinstance(more, Asked)
                found.append(more.request.body)
                one.respond(plain(200), 0)
                turn(one)
        written(one)
    while len(found) < 3:
        (event,) = one.events()
        found.append(event.request.body)
        one.respond(plain(200), 0)
        turn(one)
    assert found == [body] * 3


def test_frames_behind_many_requests() -> None:
    """Everything in one piece: what is held at the switch is the beginning of the frames."""
    one = listening(path="/ws")
    one.receive(get("/nothing") * 700 + request(path="/ws") + frame(TEXT, b"x" * 20_000), 0)
    turn(one)
    assert [type(event) for event in one.events()] == [UpgradeAsked]
    one.accept(0)
    assert messages(one) == [b"x" * 20_000]
    assert one.events() == [Established()]
    assert one.state == Phase.OPEN


def test_a_flood_of_pings_is_counted_for_the_listener() -> None:
    one = server()
    feed(one, frame(PING, bytes(125)) * 1000)
    assert one.config.counts == {"pings_ignored": one.pings_ignored}
    assert one.pings_ignored > 0
