"""Byte pipes within a loop: time, order, back-pressure, and every way to end."""

from __future__ import annotations

import asyncio

import pytest

import transport
from tests.sim.machines import MS, Bytes, Echo
from tests.transports.memory_pipes import echo, end_of, fill, now, pipe
from transport import limits, testing
from transport.drive import memory as drive
from transport.errors import (
    CloseCode,
    ConnectionClosed,
    ConnectionLost,
)
from transport.machine import EOF

# What a link does to a byte pipe


def test_delay_is_exact_and_the_same_each_way():
    async def main() -> None:
        async with transport.serve("memory://lab?delay=20ms", echo) as server, transport.connect(server.url) as conn:
            for _ in range(3):
                begin = now()
                await conn.send("x")
                assert await conn.recv() == "x"
                assert now() - begin == 40 * MS
            begin = now()
            assert await conn.ping() == pytest.approx(0.04)

    testing.run(main())


def test_what_is_queued_in_a_tick_crosses_as_one_chunk():
    async def main() -> None:
        server, conn, peer = await pipe("memory://lab")
        conn.machine.send(b"one")
        conn.wake()
        conn.machine.send(b"two", bytearray(b"three"), memoryview(b"four"))
        conn.wake()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert peer.got == [b"onetwothreefour"]
        await conn.close()
        await server.close()

    testing.run(main())


def test_the_rate_is_honoured_and_a_large_write_comes_in_segments():
    async def main() -> None:
        server, conn, peer = await pipe("memory://lab?rate=1mbit&queue=20k&delay=5ms")
        begin = now()
        conn.machine.send(bytes(100_000))
        conn.wake()
        while sum(map(len, peer.got)) < 100_000:
            await asyncio.sleep(0.001)
        assert [time - limits.SECOND_NS - begin for time in peer.times[-1:]] == [805 * MS]
        assert max(map(len, peer.got)) == limits.MEMORY_SEGMENT_BYTES
        link = conn.get_extra_info("link")
        assert link["dropped_queue"] == 0
        assert link["peak_queue_bytes"] <= 20 * 1024
        await conn.close()
        await server.close()

    testing.run(main())


def test_ordered_jitter_keeps_the_order():
    async def main() -> None:
        server, conn, peer = await pipe("memory://lab?delay=1ms&jitter=50ms")
        for index in range(200):
            conn.machine.send(b"%d," % index)
            conn.wake()
            await asyncio.sleep(0.001)
        await asyncio.sleep(1)
        assert b"".join(peer.got) == b"".join(b"%d," % index for index in range(200))
        await conn.close()
        await server.close()

    testing.run(main())


def test_blackouts_hold_a_pipe_up_and_its_end_too():
    async def main() -> None:
        server, conn, peer = await pipe("memory://lab?delay=1ms&blackouts=1s-2s,3s-4s")
        await asyncio.sleep(1.5)
        conn.machine.send(b"held up")
        conn.wake()
        await asyncio.sleep(2)
        assert peer.got == [b"held up"]
        assert peer.times == [limits.SECOND_NS + 2001 * MS]
        conn.machine.send(EOF)
        conn.wake()
        await asyncio.sleep(1)
        assert peer.got[-1] == EOF
        assert peer.times[-1] == limits.SECOND_NS + 4001 * MS
        conn.abort()
        await server.close()

    testing.run(main())


def test_an_end_that_closes_in_a_blackout_is_heard_afterwards():
    async def main() -> None:
        server, conn, peer = await pipe("memory://lab?delay=1ms&blackouts=1s-2s")
        await asyncio.sleep(1.5)
        conn.abort()
        await asyncio.sleep(0.4)
        assert peer.got == []
        await asyncio.sleep(0.2)
        assert peer.got == [EOF]
        assert peer.times == [limits.SECOND_NS + 2001 * MS]
        await server.close()

    testing.run(main())


def test_links_can_be_changed_while_they_run():
    async def main() -> None:
        with pytest.raises(LookupError):
            testing.links_of("lab")
        server, conn, peer = await pipe("memory://lab?delay=1ms")
        there, back = testing.links_of("lab")
        assert (there.name, back.name) == ((("lab", 1), ("lab", 0)), (("lab", 0), ("lab", 1)))
        loop = asyncio.get_running_loop()
        there.configure(testing.LinkConfig(down=True), loop.time_ns())
        conn.machine.send(b"x")
        conn.wake()
        await asyncio.sleep(10)
        assert peer.got == []
        there.configure(testing.LinkConfig(delay_ns=3 * MS), loop.time_ns())
        await asyncio.sleep(0.02)
        assert peer.got == [b"x"]
        there.configure(testing.LinkConfig(loss=1.0), loop.time_ns())
        conn.machine.send(b"lost")
        conn.wake()
        with pytest.raises(ConnectionLost, match="lost data"):
            await end_of(conn)
        with pytest.raises(LookupError):
            testing.links_of("elsewhere")
        await server.close()
        assert server.statistics().counters["link_lost"] >= 1  # the goodbye, too

    testing.run(main())


# Back-pressure


@pytest.mark.parametrize(
    ("query", "bound"), [("", limits.MEMORY_PIPE_BYTES), ("?delay=1ms", limits.MEMORY_WINDOW_BYTES)]
)
def test_a_peer_that_stops_reading_stops_the_writer(query: str, bound: int):
    async def main() -> None:
        server, conn, peer = await pipe(f"memory://lab{query}")
        reader = next(iter(server._conns))
        reader._driver.pause_reading(reader)
        total = 0
        for _ in range(bound // 65_536 + 20):
            conn.machine.send(bytes(65_536))
            conn.wake()
            total += 65_536
            await asyncio.sleep(0.01)
        assert peer.got == []
        waiting = sum(map(len, conn.machine.out)) + conn._driver.unsent_bytes
        assert total - waiting == bound
        reader._driver.resume_reading(reader)
        await asyncio.sleep(1)
        assert sum(map(len, peer.got)) == total
        assert max(map(len, peer.got)) <= limits.RECEIVE_BEFORE_TRANSMIT_BYTES
        await conn.close()
        await server.close()

    testing.run(main())


@pytest.mark.asyncio
async def test_send_nowait_meets_a_bound_and_send_waits():
    release = asyncio.Event()

    async def slow(conn: transport.Connection) -> None:
        await release.wait()
        async for message in conn:
            await conn.send(len(message))

    async with transport.serve("memory://lab", slow) as server, transport.connect(server.url) as conn:
        sent = fill(conn)
        release.set()
        for _ in range(sent):
            assert await conn.recv() == 65_536


def test_many_small_writes_are_read_together():
    async def main() -> None:
        server, conn, peer = await pipe("memory://lab")
        reader = next(iter(server._conns))
        reader._driver.pause_reading(reader)
        for index in range(1000):
            conn.machine.send(b"%d," % index)
            conn.wake()
            await asyncio.sleep(0)
        conn.machine.send(EOF)
        conn.wake()
        await asyncio.sleep(0)
        reader._driver.resume_reading(reader)
        await asyncio.sleep(1)
        assert peer.got == [b"".join(b"%d," % index for index in range(1000)), EOF]
        conn.abort()
        await server.close()

    testing.run(main())


# The end of a pipe


@pytest.mark.parametrize("query", ["", "?delay=20ms"])
def test_ends(query: str):
    async def main() -> None:
        ended = []

        async def handler(conn: transport.Connection) -> None:
            try:
                async for _ in conn:
                    pass
            finally:
                ended.append((conn.close_code, conn.close_reason))

        async with transport.serve(f"memory://lab{query}", handler) as server:
            clean = await transport.connect(server.url)
            await clean.send("x")
            await clean.close(0, "bye")
            cut = await transport.connect(server.url)
            await cut.send("x")
            cut.abort()
            await cut.wait_closed()
            await asyncio.sleep(1)
            assert ended[0] == (0, "bye")
            assert ended[1][0] == CloseCode.LOST
            last = await transport.connect(server.url)
            await server.close()
            with pytest.raises(ConnectionClosed) as closed:
                await last.recv()
            assert closed.value.code == CloseCode.GOING_AWAY

    testing.run(main())


def test_half_close_and_what_is_written_to_nobody():
    async def main() -> None:
        server, conn, _ = await pipe("memory://lab?delay=1ms", Echo)
        conn.machine.send(b"all", EOF)
        conn.wake()
        await conn.wait_closed()
        assert conn.machine.got == [b"all", EOF]
        conn = await transport.connect(server.url, machine=Bytes)
        peer = next(iter(server._conns))
        peer._driver.pause_reading(peer)
        conn.machine.send(bytes(limits.MEMORY_WINDOW_BYTES + 1))
        conn.wake()
        await asyncio.sleep(0.01)
        assert conn._driver.unsent_bytes == 1
        peer.machine.send(b"last words")
        peer.wake()
        conn._driver.pause_reading(conn)
        await asyncio.sleep(0)
        peer.abort()
        with pytest.raises(ConnectionLost, match="closed the pipe"):
            await end_of(conn)
        assert conn.machine.got == [b"last words"], "what was said before is read, although reading was paused"
        await server.close()

    testing.run(main())


def test_writing_on_after_the_peer_has_left_fails():
    async def main() -> None:
        server, conn, _ = await pipe("memory://lab", Bytes)
        peer = next(iter(server._conns))
        peer.abort()
        while conn.machine.got != [EOF]:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        conn.machine.send(b"anybody?")
        conn.wake()
        with pytest.raises(ConnectionLost):
            await end_of(conn)
        await server.close()

    testing.run(main())


def test_an_end_that_fails_keeps_nothing_from_the_others():
    class End:
        def __init__(self) -> None:
            self.got: list[bytes] = []

        def arrive(self, data: bytes, ecn: int, source: object) -> bool:
            self.got.append(data)
            return True

        def arrived(self) -> None:
            raise RuntimeError(f"a mistake with {self.got}")

    async def main() -> None:
        told: list[str] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: told.append(str(context["exception"])))
        hub = drive.hub_of(loop)
        hub.acquire()
        link = hub.link(("a", "b"), testing.LinkConfig(delay_ns=MS), 7)
        ends = [End(), End()]
        hub.flight.act(hub.now() + MS, lambda: 1 / 0)
        for end in ends:
            link.send(b"x", 0, hub.now(), "a", end)
        link.send(b"later", 0, hub.now() + MS, "a", ends[0])
        hub.arm()
        await asyncio.sleep(0.01)
        assert told == ["division by zero", "a mistake with [b'x']", "a mistake with [b'x']",
                        "a mistake with [b'x', b'later']"]  # fmt: skip
        hub.release()

    testing.run(main())


def test_a_large_message_is_handed_over_in_pieces_of_the_window():
    async def main() -> None:
        server, conn, peer = await pipe("memory://lab")
        data = bytes(range(256)) * 65_536
        conn.machine.send(b"head", data, bytearray(b"tail"))
        conn.wake()
        await asyncio.sleep(1)
        assert b"".join(peer.got) == b"head" + data + b"tail"
        conn.machine.send(data)
        conn.wake()
        await asyncio.sleep(1)
        assert sum(map(len, peer.got)) == 2 * len(data) + 8
        await conn.close()
        await server.close()

    testing.run(main())


def test_a_blocked_pipe_is_left_alone_until_it_takes_bytes_again():
    """Counted in turns of the loop: asking a blocked pipe again and again would burn a core."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with transport.serve("memory://lab?delay=1ms", echo, codec="raw", channel_window="64m",
                                   connection_window="64m") as server:  # fmt: skip
            conn = await transport.connect(server.url, codec="raw")
            await asyncio.sleep(0.1)
            there, _ = testing.links_of("lab")
            there.configure(testing.LinkConfig(down=True), loop.time_ns())
            for _ in range(8):
                conn.send_nowait(bytes(65_536))
                await asyncio.sleep(0.001)
            before = loop.turns
            await asyncio.sleep(1)
            assert loop.turns - before < 500  # it looks every 10 ms whether the link is up
            there.configure(testing.LinkConfig(delay_ns=MS), loop.time_ns())
            for _ in range(8):
                assert await conn.recv() == bytes(65_536)
            await conn.close()

    testing.run(main())
