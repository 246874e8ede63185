"""What a client repeats until it is answered, and what a server keeps until an address is proved."""

from __future__ import annotations

import pytest

from tests.rudp.by_hand import MS
from transport import limits
from transport.machine import Path
from transport.rudp import packet
from transport.rudp.config import RudpConfig
from transport.rudp.handshake import ClientHandshake, HalfOpen, agreed_checksum, announce

ROOM = memoryview(bytearray(5000))


def test_hellos_back_off_and_go_twice() -> None:
    client = ClientHandshake(RudpConfig(), 5, 1000)
    now, waits = 1000, []
    for turn in range(8):
        assert client.due == now
        assert client.write(ROOM, now) == (1200 if not turn else 2400)
        assert client.sent_at == (now if not turn else 0)  # an answer to the first alone tells a round trip
        waits.append(client.due - now)
        now = client.due
    assert waits[:3] == [300 * MS, 450 * MS, 675 * MS]
    assert waits[-1] == limits.RUDP_HELLO_MAX_NS
    hello = packet.decode_long(bytes(ROOM[1200:2400]))
    assert hello is not None
    assert (hello.kind, hello.scid, hello.cookie) == (packet.HELLO, 5, b"")


def test_a_cookie_goes_at_once_and_once() -> None:
    client = ClientHandshake(RudpConfig(), 5, 0)
    client.write(ROOM, 0)
    assert client.retry(b"cookie", 77)
    assert client.due == 77
    assert client.write(ROOM, 77) == 1200
    hello = packet.decode_long(bytes(ROOM[:1200]))
    assert hello is not None
    assert hello.cookie == b"cookie"
    assert not client.retry(b"cookie", 80)  # a duplicate of that RETRY
    assert client.due > 80


def test_never_more_than_three_times_what_came() -> None:
    accept = bytes(1000)
    half = HalfOpen(Path(None, 1), 5, 6, packet.Parameters(), accept, 0)
    assert half.answer(300, 10) == b""
    assert half.accepted_at == 0
    assert half.answer(40, 20) == accept
    assert half.accepted_at == 20
    assert half.answer(100, 30) == b""
    assert half.answer(400, 40) == accept
    assert half.accepted_at == 0  # of which of both the next packet speaks is not known
    assert half.sent <= 3 * half.received


@pytest.mark.parametrize(
    ("own", "peer", "kind"), [(7, 7, 0), (6, 6, 4), (6, 2, 2), (2, 6, 2), (3, 2, 2), (3, 3, 0), (4, 2, 2)]
)
def test_the_agreed_checksum(own: int, peer: int, kind: int) -> None:
    assert agreed_checksum(own, peer) == kind


def test_what_is_announced() -> None:
    config = RudpConfig(channels=7, max_message=5000, idle_ns=2_500_000_000, codec="json")
    found = packet.decode_parameters(announce(config, b"t" * 16).encode())
    assert found is not None
    assert (found.channels, found.max_message, found.idle_ms, found.codec) == (7, 5000, 2500, "json")
    assert (found.channel_window, found.reset_token) == (config.start_window, b"t" * 16)
