"""The driver on a loop's own transport: what comes before it is started, what has to wait, and how it ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from transport.drive.base import Owner
from transport.drive.loop_stream import LoopDriver


class Transport:
    """An asyncio transport that does nothing by itself."""

    def __init__(self, secure: bool = False) -> None:
        self.secure = secure
        self.sent: list[bytes] = []
        self.calls: list[str] = []
        self.limit: int | None = None
        self.backlog = 0
        self.full_at: int | None = None
        self.protocol: Any = None
        self.closing = False

    def get_extra_info(self, name: str) -> Any:
        return {"ssl_object": object() if self.secure else None, "peername": "somebody"}.get(name)

    def set_write_buffer_limits(self, high: int) -> None:
        self.limit = high

    def writelines(self, buffers: list[Any]) -> None:
        self.sent += [bytes(buffer) for buffer in buffers]
        if self.full_at is not None and sum(map(len, self.sent)) >= self.full_at:
            self.backlog = sum(map(len, buffers))
            self.protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        return self.backlog

    def drain(self) -> None:
        self.full_at = None
        self.backlog = 0
        self.protocol.resume_writing()

    def is_closing(self) -> bool:
        return self.closing

    def __getattr__(self, name: str) -> Any:
        if name not in {"pause_reading", "resume_reading", "write_eof", "close", "abort"}:
            raise AttributeError(name)

        def call() -> None:
            self.calls.append(name)
            self.closing = self.closing or name in {"close", "abort"}

        return call


class Machine:
    """Says what it is told to say, notes what it hears."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.say: list[bytes] = []

    def receive(self, data: bytes, now: int) -> None:
        self.heard.append(data)

    def transmit(self, now: int) -> list[bytes]:
        say, self.say = self.say, []
        return say

    def events(self) -> list[object]:
        return []

    def deadline(self) -> int | None:
        return None

    def expire(self, now: int) -> None:
        raise AssertionError


class Watcher(Owner):
    def __init__(self) -> None:
        self.ended: list[BaseException | None] = []

    def deliver(self) -> None:
        pass

    def flushed(self) -> None:
        pass

    def lost(self, error: BaseException | None) -> None:
        self.ended.append(error)


def made(secure: bool = False) -> tuple[LoopDriver, Machine, Transport, Watcher]:
    machine, transport = Machine(), Transport(secure)
    driver = LoopDriver(asyncio.get_running_loop(), machine)
    transport.protocol = driver
    driver.connection_made(transport)  # type: ignore[arg-type]
    return driver, machine, transport, Watcher()


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_what_comes_before_the_start_is_kept_in_order() -> None:
    driver, machine, transport, owner = made()
    driver.data_received(b"one")
    driver.data_received(bytearray(b"two"))  # type: ignore[arg-type]
    driver.start(owner)
    driver.data_received(b"three")  # before the first two were caught up with
    assert driver.eof_received()
    assert machine.heard == []
    await turn()
    assert machine.heard == [b"one", b"two", b"three", b""]
    assert all(type(data) is bytes for data in machine.heard)
    assert transport.calls[:2] == ["pause_reading", "resume_reading"]
    driver.cut(owner, None)
    await turn()


@pytest.mark.asyncio
@pytest.mark.parametrize("error", [None, ConnectionResetError("reset")])
async def test_a_pipe_that_is_lost_before_the_start(error: Exception | None) -> None:
    driver, machine, _, owner = made()
    driver.data_received(b"last words")
    driver.connection_lost(error)
    driver.start(owner)
    await turn()
    assert machine.heard == ([b"last words", b""] if error is None else [b"last words"])
    assert owner.ended == [error]


@pytest.mark.asyncio
async def test_the_machine_is_not_asked_while_bytes_wait() -> None:
    driver, machine, transport, owner = made()
    driver.start(owner)
    transport.full_at = 5
    machine.say = [b"12345", b"678"]
    driver.wake()
    await turn()
    assert transport.sent == [b"12345", b"678"]
    assert driver.unsent_bytes == 8
    machine.say = [b"9"]
    driver.wake()
    await turn()
    assert machine.say == [b"9"]
    transport.drain()
    assert transport.sent[-1] == b"9"
    assert driver.unsent_bytes == 0
    driver.cut(owner, None)
    await turn()
    assert owner.ended == [None]
    assert transport.calls[-1] == "abort"


@pytest.mark.asyncio
async def test_an_end_after_both_ends_closes_in_order() -> None:
    driver, machine, transport, owner = made()
    driver.start(owner)
    machine.say = [b"bye", b""]
    driver.wake()
    await turn()
    assert transport.calls[-1] == "write_eof"
    driver.eof_received()
    assert transport.calls[-1] == "close"
    assert owner.ended == [None]
    driver.connection_lost(None)
    assert owner.ended == [None]


@pytest.mark.asyncio
async def test_tls_ends_both_ways_at_once() -> None:
    driver, machine, transport, owner = made(secure=True)
    assert transport.limit == 1  # the TLS layers pause at the mark, not above it
    driver.start(owner)
    machine.say = [b"bye", b""]
    driver.wake()
    await turn()
    assert transport.calls[-1] == "close"
    assert not driver.eof_received()
    driver.connection_lost(None)
    assert owner.ended == [None]


@pytest.mark.asyncio
async def test_nothing_is_written_to_a_transport_that_is_closing() -> None:
    """Those of uvloop raise when they are written to after their end."""
    driver, machine, transport, owner = made()
    driver.start(owner)
    await turn()
    transport.closing = True
    machine.say = [b"too late"]
    driver.wake()
    await turn()
    assert transport.sent == []
    machine.say = [b"too late"]
    driver.connection_lost(None)
    assert transport.sent == []
    assert machine.heard == [b""]
    assert owner.ended == [None]


@pytest.mark.asyncio
async def test_information_comes_from_the_transport() -> None:
    driver, _, _, owner = made()
    assert driver.info(owner, "peername") == "somebody"
    assert driver.info(owner, "peercred") is None
    driver.discard()
