"""The syscall module's stream helpers and timers, on real descriptors."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

native = pytest.importorskip("transport.net._native", reason="the syscall module is built on Linux with a compiler")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    for end in (left, right):
        end.setblocking(False)
    with left, right:
        yield left, right


def test_recv_tells_nothing_from_the_end(pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    assert native.recv(left.fileno(), 4096) is None
    right.send(b"abc")
    assert native.recv(left.fileno(), 4096) == b"abc"
    right.close()
    assert native.recv(left.fileno(), 4096) == b""


@pytest.mark.parametrize("size", [1, 32767, 32768, 32769, 65536])
def test_recv_hands_out_bytes_that_later_reads_leave_alone(
    pair: tuple[socket.socket, socket.socket], size: int
) -> None:
    left, right = pair
    right.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    first, second = b"a" * size, b"b" * size
    assert right.send(first) == size
    got = native.recv(left.fileno(), 65536)
    assert right.send(second) == size
    assert native.recv(left.fileno(), 65536) == second
    assert got == first
    assert type(got) is bytes


def test_recv_refuses_no_room_and_reports_bad_descriptors(pair: tuple[socket.socket, socket.socket]) -> None:
    left, _ = pair
    with pytest.raises(ValueError, match="no bytes"):
        native.recv(left.fileno(), 0)
    fd = os.dup(left.fileno())
    os.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        native.recv(fd, 10)


def test_send_takes_every_kind_of_buffer_and_an_offset(pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    parts = [b"0123", bytearray(b"45"), memoryview(b"678"), b"", b"9"]
    assert native.send(left.fileno(), parts, 2) == 8
    assert right.recv(100) == b"23456789"
    assert native.send(left.fileno(), (b"abc",), 1) == 2
    assert native.send(left.fileno(), [memoryview(b"xyz")], 0) == 3
    assert right.recv(100) == b"bcxyz"


def test_send_takes_at_most_64_buffers(pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    assert native.send(left.fileno(), [b"ab"] * 100) == 128
    assert right.recv(1000) == b"ab" * 64


@pytest.mark.parametrize("parts", [[b"x" * 4096], [b"x" * 4096, b"y" * 4096]])
def test_send_says_when_the_kernel_is_full(pair: tuple[socket.socket, socket.socket], parts: list[bytes]) -> None:
    left, right = pair
    total = 0
    while (sent := native.send(left.fileno(), parts)) != -1:
        total += sent
    assert total > 0
    right.close()
    with pytest.raises(BrokenPipeError):
        native.send(left.fileno(), parts)


def test_send_refuses_offsets_outside_the_first_buffer(pair: tuple[socket.socket, socket.socket]) -> None:
    left, _ = pair
    for parts, offset in (([b"abc"], 4), ([b"abc", b"def"], 4), ([b"abc"], -1)):
        with pytest.raises(ValueError, match="offset"):
            native.send(left.fileno(), parts, offset)
    with pytest.raises(TypeError):
        native.send(left.fileno(), [b"abc", "no bytes"])


def test_accept_gives_non_blocking_descriptors_and_addresses(tmp_path: Path) -> None:
    families = [(socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_INET6, ("::1", 0)),
                (socket.AF_UNIX, str(tmp_path / "s"))]  # fmt: skip
    for family, where in families:
        with socket.socket(family) as listener, socket.socket(family) as client:
            listener.bind(where)
            listener.listen()
            listener.setblocking(False)
            assert native.accept(listener.fileno()) is None
            client.connect(listener.getsockname())
            fd, address = native.accept(listener.fileno())
            with socket.socket(fileno=fd):
                assert not os.get_blocking(fd)
                assert not os.get_inheritable(fd)
                assert address == client.getsockname()


def test_timerfd_fires_at_absolute_times_only_while_armed() -> None:
    fd = native.timerfd_create()
    try:
        assert native.timerfd_read(fd) == 0
        native.timerfd_settime(fd, native.monotonic_ns() - 5)
        assert select.select([fd], [], [], 10)[0] == [fd]
        assert native.timerfd_read(fd) == 1
        native.timerfd_settime(fd, -7)
        assert select.select([fd], [], [], 10)[0] == [fd]
        native.timerfd_settime(fd, native.monotonic_ns() + 3_600 * 10**9)
        assert native.timerfd_read(fd) == 0
        native.timerfd_settime(fd, 1)
        assert select.select([fd], [], [], 10)[0] == [fd]
        native.timerfd_settime(fd, 0)
        assert native.timerfd_read(fd) == 0
        with pytest.raises(OSError, match="Invalid argument|Bad file"):
            native.timerfd_settime(0, 5)
    finally:
        native.close(fd)
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)


def test_monotonic_ns_is_the_clock_of_the_time_module() -> None:
    before = time.monotonic_ns()
    assert before <= native.monotonic_ns() <= time.monotonic_ns()
