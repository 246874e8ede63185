"""The dissector on real sessions: what passes the loopback is captured, and tshark reads all of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import transport
from tests.docs.test_wireshark import needs_tshark, protos, uncovered
from tests.rudp.relay import Relay
from tests.sight import captures
from transport import Delivery, limits
from transport.sight.capture import Packet
from transport.sight.headers import ETHERNET, UDP, read_headers
from transport.sight.raw import RawSocket

pytestmark = [
    needs_tshark, pytest.mark.slow, pytest.mark.linux,
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="a raw packet socket needs Linux and root"),
]  # fmt: skip


class Capture:
    """What passes the loopback and is of reliable UDP on one of `ports`, which a test adds to."""

    def __init__(self) -> None:
        self.ports: set[int] = set()
        self._raw = RawSocket("lo")
        self._packets: list[tuple[int, bytes]] = []

    def read(self) -> None:
        """Takes what is there."""
        while (packet := self._raw.read()) is not None:
            assert packet.link == ETHERNET
            self._packets.append((packet.at, packet.data))

    def pcap(self) -> bytes:
        """A file of it."""
        self.read()
        kept = []
        for at, data in self._packets:
            segment = read_headers(Packet(at, ETHERNET, data, len(data))).segment
            if segment is not None and segment.protocol == UDP and self.ports & {segment.source[1], segment.target[1]}:
                kept.append((at, data))
        assert kept and not self._raw.dropped()
        return captures.pcap(kept, ns=True)

    def close(self) -> None:
        """Idempotent."""
        self._raw.close()


@contextlib.asynccontextmanager
async def capturing() -> AsyncIterator[Capture]:
    made = Capture()
    loop = asyncio.get_running_loop()
    loop.add_reader(made._raw.fileno(), made.read)
    try:
        yield made
    finally:
        loop.remove_reader(made._raw.fileno())
        made.close()


async def echo(conn: transport.Connection) -> None:
    async for message in conn:
        await conn.send(message)


def decoded(data: bytes, tmp_path: Path) -> Counter[str]:
    """Names of packets and frames, after every byte has been found in a field and nothing malformed."""
    names: Counter[str] = Counter()
    for index, trees in enumerate(protos(data, tmp_path, "-o", "udp.try_heuristic_first:TRUE")):
        assert trees, f"packet {index} was not recognised"
        size = int(trees[-1].get("pos", "0")) + int(trees[-1].get("size", "0")) - 42
        assert not uncovered(42, size, trees), index
        for one in [one for tree_of in trees for one in tree_of.iter("field")]:
            assert one.get("name") not in ("trudp.undecoded", "trudp.malformed", "_ws.malformed"), index
            assert (one.get("name"), one.get("show")) != ("trudp.checksum.status", "wrong"), index
            if one.get("name") in ("trudp.packet", "trudp.frame.name"):
                names[str(one.get("show"))] += 1
    return names


@pytest.mark.slow
@pytest.mark.timeout(60)  # tshark makes XML of some thousand packets
@pytest.mark.asyncio
async def test_a_session_with_everything(tmp_path: Path) -> None:
    """All deliveries, large messages in fragments and the growth of packets, copies, a NAT that changes the
    port and the host, a refusal, and a goodbye.
    """
    async with capturing() as capture:
        async with transport.serve("rudp://127.0.0.1:0", echo) as server:
            port = server.url.port
            assert port is not None
            capture.ports.add(port)
            relay = Relay(("127.0.0.1", port), hosts=("127.0.0.1", "127.0.0.1", "127.0.0.3"), kept=5)
            capture.ports.add(relay.address[1])
            try:
                await converse(f"rudp://127.0.0.1:{relay.address[1]}", relay)
            finally:
                relay.close()
            with contextlib.suppress(transport.TransportError):
                await transport.connect(server.url, codec="json")
        data = capture.pcap()
    names = decoded(data, tmp_path)
    wanted = {"HELLO", "ACCEPT", "REFUSE", "SHORT", "MSG", "ACK", "PING", "PAD", "CONNECTION_CREDIT",
              "PATH_CHALLENGE", "PATH_RESPONSE", "CLOSE"}  # fmt: skip
    assert wanted <= set(names), names


async def converse(url: str, relay: Relay) -> None:
    """Says everything; the server echoes it."""
    async with transport.connect(url) as conn:
        for delivery in Delivery:
            for channel in range(3):
                await conn.send("hello", channel=channel, delivery=delivery)
        await conn.send("copied", redundancy=3)
        large = bytes(limits.MIB // 4)
        async with asyncio.timeout(20):
            for _ in range(8):  # one by one, or the capture's buffer runs over
                await conn.send(large)
                while await conn.recv() != large:
                    pass
            for _ in range(2):
                relay.rebind()
                await conn.send("from elsewhere")
                while await conn.recv() != "from elsewhere":
                    pass
                for _ in range(20):
                    await conn.ping()
