"""Datagrams within a loop: bounds, marks, segments, and machines of both dialects."""

from __future__ import annotations

import asyncio

import pytest

import transport
from tests.sim.machines import MS, Bytes, Datagrams, Retrier
from tests.transports.memory_pipes import Recorder, echo, now, pipe, refused
from transport import limits, testing

# Machines


def test_datagram_machines():
    async def main() -> None:
        server = await transport.serve("memory://lab?delay=20ms&loss=0.3&duplicate=0.1", machine=Retrier)
        conn = await transport.connect(server.url, machine=lambda: Retrier(50))
        async for event in conn:
            if event == "done":
                break
        peer = next(iter(server._conns)).machine
        assert sorted(peer.seen) == list(range(50))
        assert 40 * MS < now() < 5 * limits.SECOND_NS
        await conn.close()
        await server.close()

    testing.run(main())


def test_marks_and_segments_cross():
    async def main() -> None:
        server = await transport.serve("memory://lab", machine=Datagrams)  # a datagram machine makes datagrams
        conn = await transport.connect(server.url, machine=Datagrams)
        conn.machine.send(b"abcdefg", segment=3, ecn=2)
        conn.machine.send(b"")
        conn.wake()
        await asyncio.sleep(1)
        peer = next(iter(server._conns)).machine
        assert [(data, ecn) for data, _, ecn, _ in peer.got] == [(b"abc", 2), (b"def", 2), (b"g", 2), (b"", 0)]
        assert {(path.local, path.remote) for _, path, _, _ in peer.got} == {(("lab", 0), ("lab", 1))}
        peer.send(b"back", path=peer.got[0][1])
        next(iter(server._conns)).wake()
        await asyncio.sleep(1)
        assert conn.machine.got[0][0] == b"back"
        await conn.close()
        await server.close()

    testing.run(main())


def test_dialects_have_to_agree():
    async def main() -> None:
        server = await transport.serve("memory://lab", machine=Bytes)
        assert "Bytes is a byte machine" in str(await refused("memory://lab?loss=0.1", machine=Bytes))
        assert "the server runs a byte machine" in str(await refused("memory://lab?loss=0.1"))
        await refused("memory://lab", machine=Datagrams)
        await server.close()
        server = await transport.serve("memory://lab", machine=Datagrams)
        await refused("memory://lab", machine=Bytes)
        conn = await transport.connect("memory://lab", codec="raw")  # a session takes the server's dialect
        assert not conn.traits.reliable
        await conn.close()
        await server.close()

    testing.run(main())


def test_a_byte_machine_s_factory_is_called_once_for_each_connection():
    async def main() -> None:
        server, conn, _ = await pipe("memory://lab")
        other = await transport.connect(server.url, machine=Bytes)
        assert len(Recorder.made) == 2
        conn.abort()
        other.abort()
        await server.close()

    testing.run(main())


@pytest.mark.parametrize("framing", ["length32", "lines", "netstring", "msgpack"])
def test_somebody_else_s_framing(framing: str):
    async def main() -> None:
        options = {"framing": framing, "codec": "msgpack" if framing == "msgpack" else "raw"}
        message = {"a": 1} if framing == "msgpack" else b"line"
        async with transport.serve("memory://lab?delay=1ms", echo, **options) as server:
            async with transport.connect(server.url, **options) as conn:
                await conn.send(message)
                assert await conn.recv() == message
                assert not conn.traits.ping

    testing.run(main())


def test_a_machine_is_asked_nothing_after_its_end():
    class Breaking(Datagrams):
        asked = 0
        armed = broken = False

        def transmit(self, room, now):
            self.broken = self.armed
            return super().transmit(room, now)

        def events(self) -> list[object]:
            if self.broken:
                raise RuntimeError("broken on purpose")
            return super().events()

        def deadline(self) -> int | None:
            self.asked += 1
            return super().deadline()

    async def main() -> None:
        async with transport.serve("memory://lab", machine=Datagrams) as server:
            conn = await transport.connect(server.url, machine=Breaking)
            told: list[object] = []
            asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
            machine = conn.machine
            machine.armed = True
            machine.send(b"x")
            conn.wake()
            before = machine.asked
            await conn.wait_closed()
            assert machine.asked == before
            assert [str(error) for error in told] == ["broken on purpose"]

    testing.run(main())
