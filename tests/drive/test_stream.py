"""A byte machine on a real socket: what it hands out arrives whole, what it is told comes in order, and one end."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import struct
import time
from typing import Any

import pytest

from tests.conftest import LoopFactory
from tests.drive.linked import exceptions_of, pipe, tcp_pipe, turns, until
from tests.drive.scripted import Book, Scripted, driven, read_to_the_end
from transport.drive import stream as module
from transport.drive.stream import SocketDriver, StreamDriver
from transport.machine import EOF

MS = 1_000_000


def reset(sock: socket.socket) -> None:
    """Closes with RST in place of FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


# Writing


@pytest.mark.asyncio
async def test_every_byte_arrives_through_a_narrow_pipe(rng: random.Random) -> None:
    """Partial writes: many buffers of odd sizes and kinds against a small socket buffer and a slow reader."""
    near, far = pipe(sndbuf=4096)
    batches: list[list[Any]] = []
    whole = b""
    for _ in range(30):
        batch: list[Any] = []
        for _ in range(rng.randrange(1, 150)):
            data = rng.randbytes(rng.choice((1, 2, 100, 5000)))
            whole += data
            batch.append(rng.choice((bytes, bytearray, memoryview))(data))
        batches.append(batch)
    batches.append([b"last", EOF])
    machine = Scripted(*batches)
    driver, book = driven(near, machine)
    loop = asyncio.get_running_loop()
    far.setblocking(False)
    heard = b""
    blocked = 0
    while data := await loop.sock_recv(far, rng.choice((1, 1000, 50_000))):
        heard += data
        blocked += bool(driver.unsent_bytes)
        assert driver.unsent_bytes >= 0
        if rng.random() < 0.1:
            await turns(3)
    assert heard == whole + b"last"
    assert blocked
    assert driver.unsent_bytes == 0
    far.close()
    await book.gone.wait()
    assert book.losses == [None]
    assert machine.data == b""


@pytest.mark.asyncio
async def test_more_buffers_than_one_call_takes() -> None:
    near, far = pipe()
    machine = Scripted([b"%d," % number for number in range(1000)] + [EOF])
    _, book = driven(near, machine)
    assert await read_to_the_end(far) == b"".join(b"%d," % number for number in range(1000))
    far.close()
    await book.gone.wait()


@pytest.mark.asyncio
async def test_wakes_of_one_turn_are_one_flush() -> None:
    near, far = pipe()
    machine = Scripted()
    driver, book = driven(near, machine)
    await turns(3)
    before = machine.calls["transmit"]
    for _ in range(50):
        driver.wake()
    await turns(3)
    assert machine.calls["transmit"] == before + 1
    machine.output += [[b"a"], [b"b"], [b"c"]]
    driver.wake()
    await turns(3)
    far.setblocking(False)
    assert far.recv(10) == b"abc"
    driver.cut(book, None)
    await book.gone.wait()
    far.close()


@pytest.mark.asyncio
async def test_what_an_owner_sends_when_it_is_told_of_a_flush_leaves_too() -> None:
    near, far = pipe()
    machine = Scripted()
    driver, book = driven(near, machine)
    replies = [[b"one"], [b"two"], [b"three", EOF]]

    def more() -> None:
        if replies:
            machine.output.append(replies.pop(0))
            driver.wake()

    book.on_flushed = more
    assert await read_to_the_end(far) == b"onetwothree"
    far.close()
    await book.gone.wait()


@pytest.mark.asyncio
async def test_what_an_owner_sends_when_something_came_leaves_with_that_turn() -> None:
    near, far = pipe()
    machine = Scripted()
    driver, book = driven(near, machine)
    await turns(3)
    before = machine.calls["transmit"]
    book.on_deliver = lambda: machine.output.append([b"answer"])
    far.send(b"question")
    await until(lambda: machine.received)
    far.setblocking(False)
    assert far.recv(100) == b"answer"
    assert machine.calls["transmit"] == before + 2
    driver.cut(book, None)
    await book.gone.wait()
    far.close()


# Reading


@pytest.mark.asyncio
async def test_input_comes_whole_and_its_end_once() -> None:
    near, far = pipe()
    machine = Scripted()
    driver, book = driven(near, machine)
    whole = os.urandom(1_000_000)
    far.setblocking(False)
    await asyncio.get_running_loop().sock_sendall(far, whole)
    far.shutdown(socket.SHUT_WR)
    await until(lambda: machine.received and machine.received[-1] == b"")
    await turns()
    assert machine.data == whole
    assert machine.received.count(b"") == 1
    assert not book.losses  # half open: this side may still speak
    machine.output.append([b"still here", EOF])
    driver.wake()
    assert await read_to_the_end(far) == b"still here"
    await book.gone.wait()
    assert book.losses == [None]
    far.close()


@pytest.mark.asyncio
async def test_a_machine_that_half_closes_still_hears() -> None:
    near, far = pipe()
    machine = Scripted([b"done", EOF])
    _, book = driven(near, machine)
    assert await read_to_the_end(far) == b"done"
    far.setblocking(True)
    far.sendall(b"fine")
    await until(lambda: machine.data == b"fine")
    assert not book.losses
    far.close()
    await book.gone.wait()
    assert book.losses == [None]


@pytest.mark.asyncio
async def test_nothing_is_read_while_reading_is_paused() -> None:
    near, far = pipe()
    machine = Scripted()
    driver, book = driven(near, machine)
    driver.pause_reading(book)
    driver.pause_reading(book)
    far.send(b"early")
    far.shutdown(socket.SHUT_WR)
    await turns(50)
    assert machine.received == []
    driver.resume_reading(book)
    driver.resume_reading(book)
    await until(lambda: b"" in machine.received)
    assert machine.received == [b"early", b""]
    driver.resume_reading(book)
    await turns()
    assert machine.received == [b"early", b""]
    driver.cut(book, None)
    await book.gone.wait()
    far.close()


@pytest.mark.asyncio
async def test_an_owner_may_pause_from_within() -> None:
    near, far = pipe()
    machine = Scripted()
    driver, book = driven(near, machine)
    await turns(3)
    book.on_deliver = lambda: driver.pause_reading(book)
    far.send(b"a")
    await until(lambda: machine.data == b"a")
    far.send(b"b")
    await turns(50)
    assert machine.data == b"a"
    driver.resume_reading(book)
    await until(lambda: machine.data == b"ab")
    driver.cut(book, None)
    await book.gone.wait()
    far.close()


# Ends


@pytest.mark.asyncio
async def test_a_reset_is_a_loss_with_its_reason() -> None:
    near, far = tcp_pipe()
    machine = Scripted()
    _, book = driven(near, machine)
    await turns()
    reset(far)
    await book.gone.wait()
    (error,) = book.losses
    assert isinstance(error, ConnectionResetError)
    assert near.fileno() == -1


@pytest.mark.asyncio
async def test_a_write_to_a_peer_that_is_gone_still_hears_its_last_words() -> None:
    near, far = tcp_pipe()
    machine = Scripted()
    driver, book = driven(near, machine)
    await turns()
    driver.pause_reading(book)
    far.send(b"last words")
    far.close()
    while not book.losses:
        machine.output.append([b"x" * 1000])
        driver.wake()
        await turns(2)
    assert machine.data == b"last words"
    assert book.losses[0] is None or isinstance(book.losses[0], OSError)
    assert book.delivered >= 1


@pytest.mark.asyncio
async def test_finish_writes_what_is_left_and_waits_for_the_peer() -> None:
    near, far = pipe(sndbuf=4096)
    whole = os.urandom(200_000)
    machine = Scripted(*[[whole[at : at + 7000]] for at in range(0, len(whole), 7000)])
    driver, book = driven(near, machine)
    driver.finish(book)
    driver.finish(book)
    assert await read_to_the_end(far) == whole
    await turns()
    assert not book.losses
    far.close()
    await book.gone.wait()
    assert book.losses == [None]


@pytest.mark.asyncio
async def test_a_finished_pipe_reads_on_even_if_reading_was_paused() -> None:
    near, far = pipe()
    machine = Scripted()
    driver, book = driven(near, machine)
    driver.pause_reading(book)
    driver.finish(book)
    driver.pause_reading(book)
    assert await read_to_the_end(far) == b""
    far.close()
    await book.gone.wait()


@pytest.mark.asyncio
@pytest.mark.parametrize("stuck", ["open", "not reading"])
async def test_a_peer_that_never_ends_is_cut_after_a_while(stuck: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINGER_NS", 20 * MS)
    near, far = pipe(sndbuf=4096)
    machine = Scripted([bytes(1_000_000)] if stuck == "not reading" else [b"x"])
    driver, book = driven(near, machine)
    driver.finish(book)
    await book.gone.wait()
    assert book.losses == [None]
    assert near.fileno() == -1
    far.close()


@pytest.mark.asyncio
async def test_a_cut_is_at_once_and_its_news_come_later() -> None:
    near, far = pipe(sndbuf=4096)
    machine = Scripted([bytes(1_000_000)])
    driver, book = driven(near, machine)
    await until(lambda: driver.unsent_bytes)
    error = OSError("why")
    driver.cut(book, error)
    assert book.losses == []
    assert near.fileno() == -1
    assert driver.unsent_bytes == 0
    calls = dict(machine.calls)
    driver.cut(book, None)
    driver.finish(book)
    driver.wake()
    driver.resume_reading(book)
    driver.pause_reading(book)
    await book.gone.wait()
    await turns()
    assert book.losses == [error]
    assert machine.calls == calls
    far.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("where", ["on_deliver", "on_flushed"])
async def test_an_owner_may_cut_from_within(where: str) -> None:
    near, far = pipe()
    machine = Scripted()
    driver, book = driven(near, machine)
    await turns(3)
    setattr(book, where, lambda: driver.cut(book, None))
    far.send(b"x")
    await book.gone.wait()
    await turns()
    assert book.losses == [None]
    far.close()


@pytest.mark.asyncio
async def test_a_cut_before_the_first_turn() -> None:
    near, far = pipe()
    machine = Scripted([b"never"])
    driver, book = driven(near, machine)
    driver.cut(book, None)
    await book.gone.wait()
    assert machine.calls == {}
    assert await read_to_the_end(far) == b""
    far.close()


@pytest.mark.asyncio
async def test_a_pipe_that_nobody_wants_is_closed() -> None:
    near, far = pipe()
    driver, _ = driven(near, Scripted(), start=False)
    driver.discard()
    assert near.fileno() == -1
    far.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("verb", ["receive", "transmit", "events", "deadline", "expire"])
async def test_a_machine_that_fails_is_told_and_cut_and_others_go_on(verb: str) -> None:
    told = exceptions_of(asyncio.get_running_loop())
    near, far = pipe()
    other_near, other_far = pipe()
    machine, other = Scripted(), Scripted()
    driver, book = driven(near, machine)
    other_driver, other_book = driven(other_near, other)
    await turns(3)
    error = RuntimeError(verb)
    machine.fails[verb] = error
    if verb == "expire":
        machine.due = 1
        driver.wake()
    else:
        far.send(b"x")
    await book.gone.wait()
    assert book.losses == [error]
    assert [context["exception"] for context in told] == [error]
    assert "Scripted failed" in told[0]["message"]
    assert near.fileno() == -1
    other_far.send(b"fine")
    await until(lambda: other.data == b"fine")
    other_driver.cut(other_book, None)
    await other_book.gone.wait()
    far.close()
    other_far.close()


@pytest.mark.parametrize("verb", ["receive", "transmit", "events"])
def test_what_ends_a_program_is_not_kept(verb: str, loop_factory: LoopFactory) -> None:
    loop = loop_factory()
    near, far = pipe()
    machine = Scripted()

    async def main() -> None:
        driven(near, machine)
        await turns(3)
        machine.fails[verb] = KeyboardInterrupt(verb)
        far.send(b"x")
        await asyncio.sleep(3600)

    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(main())
    for task in asyncio.all_tasks(loop):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
    near.close()
    far.close()
    loop.close()


# Times


@pytest.mark.asyncio
async def test_a_machine_is_called_at_its_deadline_and_no_earlier() -> None:
    near, far = pipe()
    machine = Scripted()
    driver, book = driven(near, machine)
    for _ in range(5):
        due = machine.due = time.monotonic_ns() + 2 * MS
        driver.wake()
        count = len(machine.expired)
        await until(lambda count=count: len(machine.expired) > count)
        assert machine.expired[-1] >= due
    driver.cut(book, None)
    await book.gone.wait()
    far.close()


@pytest.mark.asyncio
async def test_a_deadline_that_moves_on_costs_one_wake_up() -> None:
    """Like an idle time-out, moved by everything that comes: asked again when it fires, not armed anew each time."""
    near, far = pipe()
    machine = Scripted()
    fired = 0

    class Counting(SocketDriver):
        def timer_fired(self, now: int) -> None:
            nonlocal fired
            fired += 1
            super().timer_fired(now)

    near.setblocking(False)
    driver = Counting(asyncio.get_running_loop(), machine, near)
    book = Book(machine)
    driver.start(book)
    start = time.monotonic_ns()
    for number in range(200):
        machine.due = start + 5 * MS + number * MS // 10
        far.send(b"x")
        await until(lambda number=number: len(machine.data) > number)
    await until(lambda: machine.expired)
    assert len(machine.expired) == 1
    assert fired <= 40
    driver.cut(book, None)
    await book.gone.wait()
    far.close()


@pytest.mark.asyncio
async def test_the_owner_is_told_when_a_deadline_made_events() -> None:
    near, far = pipe()
    machine = Scripted()
    driver, book = driven(near, machine)
    machine.due = 1
    machine.said = ["expired"]
    machine.output.append([b"because"])
    driver.wake()
    await until(lambda: "expired" in book.events)
    far.setblocking(False)
    await until(lambda: machine.expired)
    assert far.recv(100) == b"because"
    driver.cut(book, None)
    await book.gone.wait()
    far.close()


# What a pipe has to bring


def test_a_stream_driver_has_to_have_a_pipe() -> None:
    loop = asyncio.new_event_loop()
    driver = StreamDriver(loop, Scripted())
    for operation in (driver._write, driver._half_close, driver._read_on, driver._read_off, driver._close):
        with pytest.raises(NotImplementedError):
            operation()
    loop.close()


@pytest.mark.asyncio
async def test_information_about_the_socket() -> None:
    near, far = tcp_pipe()
    driver, book = driven(near, Scripted())
    assert driver.info(book, "socket") is near
    assert driver.info(book, "sockname") == near.getsockname()
    assert driver.info(book, "peername") == far.getsockname()
    assert driver.info(book, "cipher") is None
    assert driver.now() <= time.monotonic_ns() <= driver.now()
    driver.cut(book, None)
    await book.gone.wait()
    assert driver.info(book, "peername") is None
    far.close()


@pytest.mark.asyncio
async def test_many_connections_leave_no_descriptor_behind() -> None:
    folder = "/proc/self/fd"
    if not os.path.exists(folder):
        pytest.skip("needs /proc")
    before = len(os.listdir(folder))
    for number in range(30):
        near, far = pipe()
        driver, book = driven(near, Scripted([b"x", EOF]))
        await turns(number % 4)
        if number % 3 == 0:
            driver.cut(book, None)
        elif number % 3 == 1:
            driver.finish(book)
        far.close()
        await book.gone.wait()
    assert len(os.listdir(folder)) == before
