"""What ICMP says of a path's MTU, which anybody can forge: a raw socket plays the router."""

from __future__ import annotations

import errno
import select
import socket
import struct
from contextlib import closing
from typing import Any

import pytest

from tests.net.apart import apart
from tests.net.sockets import KINDS, Keep, bound, connected, name, send, take
from transport.net.datagram_options import LINUX

pytestmark = pytest.mark.skipif(not LINUX, reason="an option that only Linux has")


def frag_needed(source: Any, target: Any) -> bytes:
    """ICMP's word to `source` that what it sent to `target` was too large for the path, which anybody can say."""
    host = socket.inet_aton("127.0.0.1")
    udp = struct.pack("!HHHH", source[1], target[1], 1480, 0)
    packet = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 1500, 1, 0x4000, 64, socket.IPPROTO_UDP, 0, host, host) + udp
    body = struct.pack("!BBHHH", 3, 4, 0, 0, 600) + packet
    total = sum(struct.unpack(f"!{len(body) // 2}H", body))
    total = (total & 0xFFFF) + (total >> 16)
    total = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return body[:2] + total.to_bytes(2, "big") + body[4:]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("probing", [True, False])
def test_what_icmp_says_of_the_mtu_is_not_believed_while_probing(kind: str, probing: bool) -> None:
    """In a network apart: a kernel that believes it keeps it for all sockets, for ten minutes."""
    try:
        codes = apart(lambda: errors_of(kind, probing))
    except PermissionError as error:
        pytest.skip(f"raw sockets and namespaces need a privilege: {error}")
    assert codes == (set() if probing else {errno.EMSGSIZE})


def errors_of(kind: str, probing: bool) -> set[int]:
    """What a socket reports after such words, twice, each followed by two datagrams that arrive."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as forger,
        closing(bound(kind)) as server,
        closing(connected(kind, server, probing=probing)) as client,
    ):
        for _ in range(2):
            forger.sendto(frag_needed(name(client), name(server)), ("127.0.0.1", 0))
            select.select([], [], [client.fileno()], 0.2)
            send(client, b"small", b"large" * 1000)
            assert take(server, Keep(), 2) == [b"small", b"large" * 1000]
            client.receive(Keep(), 0)
        assert client.unsent == 0
        return {code for _, code in client.errors}
