"""Reads and writes of a stream socket: the native and the portable one do the same."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from transport.net import stream
from transport.net.stream_base import StreamSocket

KINDS = dict.fromkeys([stream.stream_socket, stream.PortableStreamSocket])


@pytest.fixture(params=KINDS, ids=lambda kind: str(kind.__name__))
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Any, socket.socket]]:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    for end in (near, far):
        end.setblocking(False)
    with near, far:
        yield request.param(near), far


def test_nothing_something_and_the_end_are_told_apart(pair: Any) -> None:
    sock, far = pair
    assert sock.recv(100) is None
    far.send(b"abcdef")
    assert (sock.recv(4), sock.recv(4)) == (b"abcd", b"ef")
    far.close()
    assert sock.recv(100) == b""


def test_gathered_writes_begin_at_the_offset(pair: Any) -> None:
    sock, far = pair
    assert sock.send([b"0123", bytearray(b"45"), b"6"], 2) == 5
    assert sock.send([b"abc"], 1) == 2
    assert far.recv(100) == b"23456bc"


def test_a_run_is_written_as_far_as_the_kernel_takes_it(pair: Any) -> None:
    sock, far = pair
    run = bytearray(b"x" * 5000)
    total = 0
    while (sent := sock.send_run(run)) >= 0:
        total += sent
    assert sent == -1
    heard = 0
    while heard < total:
        heard += len(far.recv(1 << 20))
    assert (heard, bytes(run)) == (total, b"x" * 5000)


def test_a_peer_that_is_gone_is_an_error(pair: Any) -> None:
    sock, far = pair
    far.close()
    with pytest.raises(OSError, match="Broken pipe"):
        sock.send_run(bytearray(b"abc"))


def test_an_implementation_provides_the_rest() -> None:
    near, far = socket.socketpair()
    with near, far:
        sock = StreamSocket(near)
        assert sock.sock is near
        with pytest.raises(NotImplementedError):
            sock.recv(1)
        with pytest.raises(NotImplementedError):
            sock.send_run(bytearray(b"a"))
