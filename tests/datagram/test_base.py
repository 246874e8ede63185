"""The lists that an endpoint keeps for its driver."""

from __future__ import annotations

import pytest

from transport.datagram.base import Endpoint, PeerSession
from transport.machine import DatagramMachine, Path, Transmit


class Plain(Endpoint):
    """As little of an endpoint as there can be."""

    def __init__(self) -> None:
        Endpoint.__init__(self)
        self.got: list[bytes] = []
        self.when = 0

    def receive(self, data: bytes, path: Path, ecn: int, now: int) -> None:
        self.got.append(data)

    def fill(self, item: Transmit, room: memoryview, now: int) -> bool:
        if not self.got:
            return False
        data = self.got.pop()
        room[: len(data)] = data
        item.size = item.segment_bytes = len(data)
        return True

    def due(self) -> int:
        return self.when


def sessions(count: int) -> list[PeerSession]:
    return [PeerSession(Path(None, ("127.0.0.1", port))) for port in range(count)]


def walk(endpoint: Endpoint, which: str) -> list[PeerSession]:
    session = endpoint.take_ready() if which == "ready" else endpoint.take_flushed()
    after = endpoint.after_ready if which == "ready" else endpoint.after_flushed
    found = []
    while session is not None:
        found.append(session)
        session = after(session)
    return found


@pytest.mark.parametrize("which", ["ready", "flushed"])
def test_each_session_is_listed_once_and_in_order(which: str) -> None:
    endpoint = Plain()
    mark = endpoint.ready if which == "ready" else endpoint.flushed
    first, second, third = sessions(3)
    for session in (first, second, first, third, second):
        mark(session)
    assert walk(endpoint, which) == [first, second, third]
    assert walk(endpoint, which) == []
    mark(second)
    assert walk(endpoint, which) == [second]


@pytest.mark.parametrize("which", ["ready", "flushed"])
def test_a_session_marked_again_during_the_walk_is_listed_anew(which: str) -> None:
    endpoint = Plain()
    mark = endpoint.ready if which == "ready" else endpoint.flushed
    take = endpoint.take_ready if which == "ready" else endpoint.take_flushed
    after = endpoint.after_ready if which == "ready" else endpoint.after_flushed
    first, second = sessions(2)
    mark(first)
    mark(second)
    session = take()
    assert session is first
    following = after(first)
    mark(first)  # told of, and something happens at once
    mark(second)  # still to be told of: stays where it is
    assert following is second
    assert after(second) is None
    assert walk(endpoint, which) == [first]


def test_a_fresh_session_that_has_ended_needs_no_owner() -> None:
    endpoint = Plain()
    alive, dead = sessions(2)
    dead.state = 3
    endpoint.fresh_sessions += [alive, dead]
    assert endpoint.take_fresh() == [alive]
    assert endpoint.take_fresh() == []


def test_it_is_a_machine() -> None:
    endpoint = Plain()
    assert isinstance(endpoint, DatagramMachine)
    assert endpoint.events() == []
    assert endpoint.statistics() == {}
    assert endpoint.deadline() is None
    endpoint.when = 5
    assert endpoint.deadline() == 5
    path = Path(None, None)
    endpoint.receive_many([b"a", b"bc"], path, 0, 0)
    memory = bytearray(4)
    item = endpoint.transmit(memoryview(memory), 0)
    assert item is not None
    assert (item.size, bytes(memory[:2])) == (2, b"bc")
    assert endpoint.transmit(memoryview(memory), 0) is not None
    assert endpoint.transmit(memoryview(memory), 0) is None


def test_what_an_endpoint_must_provide() -> None:
    endpoint, path = Endpoint(), Path(None, None)
    for call in (
        lambda: endpoint.forget(PeerSession(path)), lambda: endpoint.receive(b"", path, 0, 0),
        lambda: endpoint.error(path, 1, 0), lambda: endpoint.transmit(memoryview(bytearray(1)), 0),
        lambda: endpoint.deadline(), lambda: endpoint.expire(0),
    ):  # fmt: skip
        with pytest.raises(NotImplementedError):
            call()
