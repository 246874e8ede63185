"""Which of several processes a datagram is for: the kernel's program, and what is passed on over sockets."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from typing import Any

import pytest

from transport import limits
from transport.machine import Path
from transport.rudp import packet
from transport.transports import seats
from transport.transports.seats import Seat

V4 = Path(("127.0.0.1", 9), ("192.0.2.1", 4321))
V6 = Path(("fe80::1", 9, 0, 2), ("fe80::2", 4321, 0, 2))
MAPPED = Path(("::ffff:192.0.2.7", 9, 0, 0), ("::ffff:192.0.2.1", 65_535, 0, 0))


def run(program: list[tuple[int, int, int, int]], data: bytes) -> int:
    """Classic BPF by hand: the socket that it gives, 0 where it looks beyond the end."""
    at = accumulator = 0
    while True:
        code, if_true, if_false, operand = program[at]
        at += 1
        if code in (0x30, 0x20):
            size = 1 if code == 0x30 else 4
            if operand + size > len(data):
                return 0
            accumulator = int.from_bytes(data[operand : operand + size], "big")
        elif code == 0x54:
            accumulator &= operand
        elif code == 0x94:
            accumulator %= operand
        elif code == 0x15:
            at += if_true if accumulator == operand else if_false
        else:
            assert code == 0x16
            return accumulator


def short(worker: int) -> bytes:
    return bytes([packet.FIXED_BIT, worker]) + bytes(20)


def hello(cid: int) -> bytes:
    return packet.encode_hello(cid, b"", packet.Parameters())


def test_the_program() -> None:
    steps = seats.program(3)
    for flags in (0x40, 0x53, 0x7F):
        for worker in (0, 1, 2, 200):
            assert run(steps, bytes([flags, worker]) + bytes(20)) == worker
    for cid in (1, 2, 3, 0xFFFF_FFFF, 0x1234_5678_0000_0007):
        assert run(steps, hello(cid)) == (cid & 0xFFFF_FFFF) % 3
    for data in (b"", b"\xc0", b"\x40", bytes([0xC0]) + bytes(19)):
        assert run(steps, data) == 0


@pytest.mark.linux
@pytest.mark.skipif(not seats.LINUX, reason="only Linux steers datagrams by a program")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_kernel_runs_it(host: str) -> None:
    """Each datagram arrives at the socket whose number it bears, from whatever address it comes."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    socks = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(4)]
    try:
        port = 0
        for sock in socks:
            sock.settimeout(5)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind((host, port))
            port = sock.getsockname()[1]
        assert seats.steer(socks[0], len(socks))
        for index in range(40):
            with socket.socket(family, socket.SOCK_DGRAM) as sender:
                for data, wanted in ((short(index % 4), index % 4), (hello(index + 5), (index + 5) % 4)):
                    sender.sendto(data, (host, port))
                    assert socks[wanted].recv(2000) == data
    finally:
        for sock in socks:
            sock.close()


def test_a_socket_that_can_not_be_steered() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert not seats.steer(one, 2)


@pytest.mark.parametrize("path", [V4, V6, MAPPED, Path(None, ("192.0.2.1", 1)), Path(("10.0.0.1", 1), None)])
def test_paths_cross_over(path: Path) -> None:
    assert seats.read(seats.written(path)) == path


class Endpoint:
    """Notes what it is given."""

    worker = -1
    pass_on: Any = None

    def __init__(self) -> None:
        self.got: list[tuple[bytes, Path, int]] = []

    def receive(self, data: bytes, path: Path, ecn: int, now: int) -> None:
        self.got.append((data, path, ecn))


class Driver:
    """Of such an endpoint."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.machine = self.endpoint = Endpoint()
        self.woken = asyncio.Event()

    def now(self) -> int:
        return 5

    def wake(self) -> None:
        self.woken.set()


@pytest.mark.asyncio
async def test_what_is_meant_for_another_gets_there() -> None:
    made = seats.links(3)
    table = [Seat(number, made[number][0], [outbox for _, outbox in made], b"") for number in range(3)]
    drivers = [[Driver(), Driver()] for _ in range(3)]
    try:
        for seat, pair in zip(table, drivers, strict=True):
            for driver in pair:
                seat.take(driver)  # type: ignore[arg-type]
        assert [pair[1].endpoint.worker for pair in drivers] == [0, 1, 2]
        pass_on = drivers[0][1].endpoint.pass_on
        assert pass_on(2, b"for you", V4, 3)
        assert pass_on(2, bytes(65_535), V6, 0)
        for wrong in (0, 3, 255):  # ourselves, and nobody
            assert not pass_on(wrong, b"x", V4, 0)
        while len(drivers[2][1].endpoint.got) < 2:
            await drivers[2][1].woken.wait()
            drivers[2][1].woken.clear()
        assert drivers[2][1].endpoint.got == [(b"for you", V4, 3), (bytes(65_535), V6, 0)]
        assert not drivers[2][0].endpoint.got
        assert not drivers[1][1].endpoint.got
    finally:
        for seat in table:
            seat.leave()
        for ends in made:
            for sock in ends:
                sock.close()


@pytest.mark.asyncio
async def test_who_does_not_keep_up_is_not_waited_for() -> None:
    made = seats.links(2)
    seat = Seat(0, made[0][0], [outbox for _, outbox in made], b"")
    driver = Driver()
    try:
        seat.take(driver)  # type: ignore[arg-type]
        count = 0
        while driver.endpoint.pass_on(1, bytes(1200), V4, 0):
            count += 1
            assert count < 100_000
        assert count >= 10
        made[1][0].close()
        assert not driver.endpoint.pass_on(1, bytes(1200), V4, 0)
    finally:
        seat.leave()
        for pair in made:
            for sock in pair:
                sock.close()


@pytest.mark.asyncio
async def test_the_caches_of_paths_are_bounded(monkeypatch: pytest.MonkeyPatch, rng: random.Random) -> None:
    monkeypatch.setattr(limits, "PATHS_CACHED_MAX", 10)
    made = seats.links(1)
    seat = Seat(0, made[0][0], [made[0][1]] * 2, b"")
    driver = Driver()
    try:
        seat.take(driver)  # type: ignore[arg-type]
        for port in range(1, 60):
            path = Path(None, ("192.0.2.1", port))
            assert driver.endpoint.pass_on(1, b"x", path, 0)
            while len(driver.endpoint.got) < port:
                await driver.woken.wait()
                driver.woken.clear()
            assert driver.endpoint.got[-1][1] == path
            assert len(seat._paths) <= 10
            assert len(seat._heads) <= 10
    finally:
        seat.leave()
        for pair in made:
            for sock in pair:
                sock.close()


@pytest.mark.asyncio
async def test_the_end_of_the_others_is_no_busy_loop() -> None:
    made = seats.links(1)
    seat = Seat(0, made[0][0], [made[0][1]], b"")
    driver = Driver()
    seat.take(driver)  # type: ignore[arg-type]
    made[0][1].close()
    for _ in range(20):
        await asyncio.sleep(0)
        await asyncio.get_running_loop().run_in_executor(None, lambda: None)
    if seats.KIND != socket.SOCK_DGRAM:
        assert seat._loop is None
    seat.leave()
    made[0][0].close()


def test_the_program_as_the_kernel_takes_it() -> None:
    """`struct sock_filter`: 8 bytes a step."""
    assert all(len(struct.pack("=HBBI", *step)) == 8 for step in seats.program(2))
