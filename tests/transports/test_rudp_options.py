"""Options of `rudp://`: what is refused, what they become, and keys for RESET."""

from __future__ import annotations

from typing import Any

import pytest

import transport
from transport import limits
from transport.errors import (
    InvalidURL,
)
from transport.rudp.config import CONGESTION
from transport.transports.rudp import OPTIONS, config_of, reset_key

pytestmark = pytest.mark.asyncio
ANY = "rudp://127.0.0.1:0"


async def echo(conn: Any) -> None:
    async for message in conn:
        await conn.send(message)


def of(**options: Any) -> Any:
    return config_of(options, "raw", 212_992, 65_000)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"congestion": "fixed"}, "rate"),
        ({"rate": 1000}, "rate"),
        ({"congestion": "vegas"}, "congestion"),
        ({"checksum": "md5"}, "checksum"),
        ({"mtu": 1199}, "mtu"),
        ({"mtu": 70_000}, "mtu"),
        ({"cookie": "sometimes"}, "cookie"),
        ({"half_open": 0}, "half_open"),
        ({"key": b"short"}, "key"),
        ({"key": 5}, "key"),
        ({"idle_timeout": 0}, "idle_timeout"),
        ({"redundancy": "maybe"}, "redundancy"),
        ({"ttl": 256}, "ttl"),
        ({"no_such": 1}, "no_such"),
    ],
)
async def test_options_that_are_refused(options: Any, error: str) -> None:
    with pytest.raises(InvalidURL, match=error):
        await transport.serve(ANY, **options)


async def test_a_key_is_no_part_of_an_address() -> None:
    with pytest.raises(InvalidURL, match="key") as caught:
        await transport.serve(ANY + "?key=sixteen-bytes-of-secret")
    assert "sixteen" not in str(caught.value)
    with pytest.raises(InvalidURL) as caught:
        await transport.serve(ANY, key="tooshort")
    assert "tooshort" not in str(caught.value)


async def test_what_options_become() -> None:
    config = of()
    assert config.start_window == 106_496  # half of what the socket was granted
    assert (config.idle_ns, config.keepalive_ns) == (limits.IDLE_NS, limits.KEEPALIVE_NS)
    config = of(idle_timeout=None, keepalive=None, max_message=16 * limits.MIB, congestion="fixed", rate=5000)
    assert (config.idle_ns, config.keepalive_ns, config.rate) == (0, 0, 5000)
    assert config.channel_window >= 17 * limits.MIB
    assert config.connection_window >= config.channel_window
    assert of(channel_window=4096).start_window == 4096
    assert of(checksum="none").checksums & 1
    assert (config.mtu, config.mtu_max) == (1200, 65_000)
    given = of(mtu=1400)
    assert (given.mtu, given.mtu_max) == (1400, 1400), "who says it knows"
    assert set(OPTIONS) >= {"gso", "congestion", "key", "mtu", "cookie", "idle_timeout"}


async def test_options_in_a_url() -> None:
    async with transport.serve(ANY + "?congestion=fixed&rate=10MiB&checksum=crc32&idle_timeout=5s&mtu=1400") as server:
        async with transport.connect(server.url) as client:
            await client.send("x")
            assert await (await server.accept()).recv() == "x"


@pytest.mark.parametrize(("rcvbuf", "largest"), [(2304, 1200), (65_536, 8192), (212_992, 26_624), (4 << 20, 65_000)])
async def test_the_receive_buffer_holds_eight_of_the_largest_datagrams(rcvbuf: int, largest: int) -> None:
    assert limits.RUDP_DATAGRAMS_BUFFERED == 8
    assert config_of({}, "raw", rcvbuf, 65_000).max_datagram == largest


@pytest.mark.parametrize("name", CONGESTION)
async def test_congestion_controllers_move_megabytes(name: str) -> None:
    options: dict[str, Any] = {"congestion": name} | ({"rate": 100 * limits.MIB} if name == "fixed" else {})
    body = bytes(200_000)
    async with transport.serve(ANY, echo, codec="raw", **options) as server:
        async with transport.connect(server.url, codec="raw", **options) as client:
            for _ in range(10):
                await client.send(body)
            assert [len(await client.recv()) for _ in range(10)] == [len(body)] * 10


@pytest.mark.parametrize("ours", ["auto", "crc32c", "crc32", "none"])
@pytest.mark.parametrize("theirs", ["auto", "none"])
async def test_checksums_are_agreed_on(ours: str, theirs: str) -> None:
    async with transport.serve(ANY, echo, checksum=theirs) as server:
        async with transport.connect(server.url, checksum=ours) as client:
            await client.send("x")
            assert await client.recv() == "x"


async def test_keys_for_reset_differ_by_port() -> None:
    assert reset_key(1) != reset_key(2)
    assert len(reset_key(1)) == 32


async def test_without_a_machine_id_the_key_is_random(monkeypatch: pytest.MonkeyPatch) -> None:
    from transport.transports import rudp

    monkeypatch.setattr(rudp, "MACHINE_ID_FILES", ("/nowhere/at/all", "/dev/null"))
    assert rudp.reset_key(1) != rudp.reset_key(1)
