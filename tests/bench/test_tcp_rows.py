"""Kernel TCP by name: what a row sets is what its sockets have, on both sides."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

import pytest

from bench.peers import tcp
from bench.peers.tcp import KernelTcp, congestion_of

pytestmark = [pytest.mark.linux, pytest.mark.skipif(sys.platform != "linux", reason="socket options of Linux")]


class Here:
    """As much of a job as a server and a client need."""

    host = "127.0.0.1"
    address: Any = None


def test_a_congestion_control_that_the_kernel_lacks() -> None:
    assert KernelTcp("x", "nosuch").missing() in (
        "modprobe tcp_nosuch",
        "sysctl -w net.ipv4.tcp_allowed_congestion_control='reno nosuch'",
    )
    assert KernelTcp("x", "reno").missing() is None


@pytest.mark.parametrize("tuned", [False, True])
def test_both_sides_have_what_the_row_says(tuned: bool) -> None:
    peer = KernelTcp("x", "reno", tuned)
    seen: list[tuple[str, int, int]] = []

    class Look(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            sock = transport.get_extra_info("socket")
            seen.append(
                (
                    congestion_of(sock),
                    sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
                    sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT),
                )
            )
            transport.close()
            if len(seen) == 2:
                both.set()

    async def main() -> None:
        job: Any = Here()
        server = await peer.listen(job, Look)
        job.address = server.sockets[0].getsockname()[:2]
        await peer.open(job, Look)
        await asyncio.wait_for(both.wait(), 10)
        server.close()
        await server.wait_closed()

    both = asyncio.Event()
    asyncio.run(main())
    for congestion, nodelay, notsent in seen:
        assert congestion == "reno"
        assert nodelay
        assert (notsent == tcp.NOTSENT_BYTES) is tuned


def test_buffers_are_set_whole_or_left_to_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as sock:
        before = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        had = tcp.enlarge(sock)
        after = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        assert had.get("SO_SNDBUF", before) == after
        assert all(size >= tcp.BUFFER_BYTES for size in had.values())
    monkeypatch.setattr(tcp, "SO_SNDBUFFORCE", 9999)
    monkeypatch.setattr(tcp, "SO_RCVBUFFORCE", 9999)
    monkeypatch.setattr(tcp, "BUFFER_BYTES", 1 << 30)
    with socket.socket() as sock:
        assert tcp.enlarge(sock) == {}
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == before


def test_the_settings_name_the_congestion_control() -> None:
    assert KernelTcp("x", "cubic").settings()["TCP_CONGESTION"] == "cubic"
    tuned = KernelTcp("x", "cubic", tuned=True).settings()
    assert tuned["TCP_NOTSENT_LOWAT"].startswith(str(tcp.NOTSENT_BYTES))
    assert "thin streams" in tuned
