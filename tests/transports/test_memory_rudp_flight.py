"""What is on its way over `rudp` and what its marks count, on links long or wide, in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import transport
from transport import limits, testing

PIECE = bytes(16_384)


class Pump(transport.Protocol):
    """Sends whenever it may, as a program of callbacks does."""

    def __init__(self, message: bytes = PIECE) -> None:
        self.message = message
        self.conn: Any = None
        self.is_paused = False

    def connection_made(self, conn: Any) -> None:
        self.conn = conn
        asyncio.get_running_loop().call_soon(self.run)

    def run(self) -> None:
        while not self.is_paused:
            self.conn.send_nowait(self.message)

    def pause_writing(self) -> None:
        self.is_paused = True

    def resume_writing(self) -> None:
        self.is_paused = False
        self.run()


class Count(transport.Protocol):
    """Counts what comes."""

    def __init__(self) -> None:
        self.bytes = 0

    def message_received(self, message: Any, channel: int) -> None:
        self.bytes += len(message)


def test_marks_do_not_bound_what_is_on_its_way() -> None:
    """High water is 1 MiB; over a long path the window and the peer's credit decide, as they do on `tcp`."""

    async def main() -> int:
        async with transport.serve("memory://lab?rudp=true&delay=50ms", protocol=Count, codec="raw") as server:
            conn = await transport.connect(server.url, protocol=Pump, codec="raw")
            most = 0
            for _ in range(200):
                await asyncio.sleep(0.01)
                most = max(most, conn.statistics().counters["in_flight"])
            conn.abort()
        return most

    assert testing.run(main()) > 2 * limits.HIGH_WATER_BYTES


def test_memory_is_bounded_however_much_may_be_on_its_way() -> None:
    """No congestion control, a long path and a peer that grants a lot: what counts then is the limit."""
    high = 256 * limits.KIB

    async def main() -> int:
        url = "memory://lab?rudp=true&delay=50ms&congestion=none"
        windows = {"channel_window": 16 * limits.MIB, "connection_window": 64 * limits.MIB}
        async with transport.serve(url, protocol=Count, codec="raw", **windows) as server:
            conn = await transport.connect(server.url, protocol=Pump, codec="raw", high_water=high)
            most = 0
            for _ in range(150):
                await asyncio.sleep(0.01)
                most = max(most, conn.statistics().queued_bytes)
            conn.abort()
        return most

    most = testing.run(main())
    assert limits.RUDP_FLIGHT_BYTES_MAX < most <= limits.RUDP_FLIGHT_BYTES_MAX + high + 2 * len(PIECE)


def test_a_bulk_flow_fills_a_link_through_its_losses() -> None:
    """50 Mbit/s, RTT 50 ms and a queue as long as that, small messages: CUBIC loses packets there, and what is behind a
    hole is not settled for a round trip. That must not stop the sender.
    """
    rate = 50_000_000
    seconds = 2
    counted = Count()

    async def main() -> float:
        url = f"memory://lab?rudp=true&delay=25ms&rate={rate}&queue={rate // 8 // 20}&mtu=1472"
        async with transport.serve(url, protocol=lambda: counted, codec="raw") as server:
            conn = await transport.connect(server.url, protocol=lambda: Pump(bytes(1024)), codec="raw")
            await asyncio.sleep(1)
            before = counted.bytes
            await asyncio.sleep(seconds)
            share = (counted.bytes - before) * 8 / seconds / rate
            conn.abort()
        return share

    assert testing.run(main()) > 0.95
