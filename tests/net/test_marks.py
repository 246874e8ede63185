"""ECN marks of datagram sockets: a mark by default, another where a batch asks for it, and reading them."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest

from tests.net.sockets import FAMILIES, KINDS, Keep, batch, bound, connected, take
from transport.machine import ECN_CE, ECN_ECT0, ECN_ECT1, ECN_NOT_ECT
from transport.net import datagram as net
from transport.net.datagram_options import LINUX, DatagramOptions

pytestmark = pytest.mark.skipif(not LINUX, reason="control messages that only Linux has")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("host", FAMILIES)
@pytest.mark.parametrize("dscp", [0, 46])
def test_a_mark_by_default_and_others_by_request(kind: str, host: str, dscp: int) -> None:
    keep = Keep()
    with closing(bound(kind, host, ecn=True)) as server:
        with closing(connected(kind, server, mark=ECN_ECT0, dscp=dscp)) as client:
            marks = [ECN_ECT0, ECN_NOT_ECT, ECN_CE, ECN_ECT1, ECN_ECT0]
            assert client.send(batch(*[(b"%d" % mark, 1, None, mark) for mark in marks]))
            take(server, keep, len(marks))
    assert [(payload, call[2]) for call in keep.calls for payload in call[0]] == [
        (b"%d" % mark, mark) for mark in marks
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_trains_carry_the_mark(kind: str) -> None:
    keep = Keep()
    with closing(bound(kind, ecn=True)) as server, closing(connected(kind, server, mark=ECN_ECT0)) as client:
        assert client.send(batch((b"t" * 1000, 100, None, ECN_ECT0), (b"u" * 1000, 100, None, ECN_NOT_ECT)))
        take(server, keep, 20)
    assert {(call[0][0][:1], call[2]) for call in keep.calls} == {(b"t", ECN_ECT0), (b"u", ECN_NOT_ECT)}


def test_a_loop_s_own_transport_marks_nothing() -> None:
    """It could not leave the mark out for a path that does not take it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        net.prepare(sock, DatagramOptions(mark=ECN_ECT0, dscp=1), by_descriptor=False)
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 4
        net.prepare(sock, DatagramOptions(mark=ECN_ECT0, dscp=1))
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 4 | ECN_ECT0
