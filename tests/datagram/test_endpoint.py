"""Raw UDP by its verbs: one datagram alone, the same as many."""

from __future__ import annotations

from transport.datagram.base import Endpoint
from transport.datagram.endpoint import DatagramEndpoint
from transport.machine import Path, Transmit

HERE = ("127.0.0.1", 1)
PATHS = [Path(HERE, ("127.0.0.1", port)) for port in (2, 3)]
UNRELIABLE = 3


def drained(endpoint: DatagramEndpoint) -> list[bytes]:
    """What `fill` gives."""
    room = memoryview(bytearray(70_000))
    item = Transmit(0, 0, PATHS[0])
    found = []
    while endpoint.fill(item, room, 0):
        found.append(bytes(room[: item.size]))
    return found


def test_one_datagram_alone_is_told_where_it_lies_until_it_was_sent() -> None:
    endpoint = DatagramEndpoint(listening=True)
    session = endpoint.open(PATHS[0], 0)
    assert endpoint.single() is None
    for payload in (b"abc", b""):
        session.send(payload, 0, UNRELIABLE, 0, 0, 0)
        assert endpoint.single() == payload
        assert endpoint.single() == payload
        assert endpoint.single_path is PATHS[0]
        endpoint.single_sent(7)
        assert (session.queued_bytes, endpoint.queued_bytes, endpoint.queued_messages) == (0, 0, 0)
        assert endpoint.take_flushed() is session
        endpoint.after_flushed(session)
        assert endpoint.single() is None
    assert (session.seen, session.statistics()["messages_sent"], drained(endpoint)) == (7, 2, [])


def test_more_than_one_datagram_is_left_to_fill() -> None:
    endpoint = DatagramEndpoint(listening=True)
    first, second = (endpoint.open(path, 0) for path in PATHS)
    first.send(b"a", 0, UNRELIABLE, 0, 0, 0)
    second.send(b"b", 0, UNRELIABLE, 0, 0, 0)
    assert endpoint.single() is None
    assert drained(endpoint) == [b"a", b"b"]
    first.send(b"c", 0, UNRELIABLE, 0, 0, 0)
    first.send(b"d", 0, UNRELIABLE, 0, 0, 0)
    assert endpoint.single() is None
    assert drained(endpoint) == [b"cd"]
    first.send(b"late", 0, UNRELIABLE, 0, 1, 0)
    assert endpoint.single() is None
    assert drained(endpoint) == [b"late"]


def test_a_closing_session_ends_with_its_last_datagram() -> None:
    endpoint = DatagramEndpoint(listening=True)
    session = endpoint.open(PATHS[0], 0)
    session.send(b"last", 0, UNRELIABLE, 0, 0, 0)
    session.close(0, "", 0)
    assert endpoint.single() == b"last"
    endpoint.single_sent(0)
    assert session.state == 3
    assert endpoint.sessions == {}


def test_single_datagrams_arrive_like_many() -> None:
    endpoint = DatagramEndpoint(listening=True, max_message=10)
    for payload in (b"a", b"b", b"c" * 11, b""):
        endpoint.receive_one(payload, PATHS[0], 0, 5)
    (session,) = endpoint.take_fresh()
    (batch,) = session.take()
    assert (batch.payloads, batch.size, endpoint.too_large) == ([b"a", b"b", b""], 2, 1)
    for payload in (b"x", b"yz"):
        endpoint.receive_one(payload, PATHS[0], 0, 6)
        assert (session.lone, session.batches, session.has_received()) == (payload, [], True)
        (batch,) = session.take()
        assert (batch.payloads, batch.size, batch.delivery) == ([payload], len(payload), UNRELIABLE)
        assert (session.lone, session.has_received()) == (None, False)
    assert session.statistics()["messages_received"] == 5


def test_a_bound_of_bytes_holds_for_single_datagrams() -> None:
    endpoint = DatagramEndpoint(listening=True, inbox_bytes=5)
    for payload in (b"aaa", b"bbb", b"cccccc"):
        endpoint.receive_one(payload, PATHS[0], 0, 0)
    (session,) = endpoint.take_fresh()
    assert session.batches[0].payloads == [b"cccccc"]
    assert session.statistics()["dropped_in"] == 2


def test_any_other_endpoint_has_no_single_datagram() -> None:
    assert Endpoint().single() is None
