"""Options of a simulated link, as text and as a link."""

from __future__ import annotations

import pytest

import transport
from tests.sim.machines import MS
from tests.transports.memory_pipes import echo
from transport import limits, testing
from transport.errors import (
    InvalidURL,
    LocalProtocolError,
)
from transport.transports import memory
from transport.transports.memory_link import link_config, rate, windows

# Options


def test_rates_and_windows():
    assert [rate(text) for text in ("64kbit", "10mbit", "1.5Mbit", "1gbit", "9600", "9600bit", 7)] == [
        64_000, 10_000_000, 1_500_000, 10**9, 9600, 9600, 7]  # fmt: skip
    for bad in ("", "fast", "-1", 0, True, None, 10**13, "1e6"):
        with pytest.raises(ValueError, match="rate"):
            rate(bad)
    assert windows("10s-12s,20s-20500ms") == ((10.0, 12.0), (20.0, 20.5)) == windows([(10, 12), (20, 20.5)])
    for wrong in ("10s", "5s-4s", "1s-3s,2s-4s", 7, "1s-2s-3s", [(1,)]):
        with pytest.raises(ValueError, match=r"window|time"):
            windows(wrong)


def test_options_become_a_link():
    config = link_config({"delay": 0.02, "jitter": 0.005, "loss": 0.02, "reorder": 0.01, "rate": 10**6, "mtu": 1200,
                          "burst_good": 1.0, "burst_bad": 0.05, "blackouts": ((1.0, 2.0),)})  # fmt: skip
    assert config == testing.LinkConfig(
        delay_ns=20 * MS, jitter_ns=5 * MS, loss=0.02, reorder=0.01, reorder_ns=5 * MS, rate_bits_per_s=10**6, mtu=1200,
        burst=testing.BurstLoss(good_ns=1000 * MS, bad_ns=50 * MS), blackouts=((1000 * MS, 2000 * MS),),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("burst_good=1s", "go together"),
        ("loss=0.1&datagrams=false", "datagrams"),
        ("loss=2", "loss"),
        ("speed=1", "unknown option"),
    ],
)
def test_options_that_make_no_sense(query: str, text: str):
    async def main() -> None:
        with pytest.raises(InvalidURL, match=text):
            await transport.serve(f"memory://lab?{query}", echo)
        async with transport.serve("memory://lab", echo):
            with pytest.raises(InvalidURL, match=text):
                await transport.connect(f"memory://lab?{query}")

    testing.run(main())


def test_no_inherited_sockets():
    async def main() -> None:
        for opening in (transport.serve, transport.connect):
            with pytest.raises(LocalProtocolError, match="sock="):
                await opening("memory://lab", sock=object())

    testing.run(main())


def test_traits_follow_from_the_url():
    def traits(query: str, **changes: object) -> transport.Traits:
        url = transport.Url("memory", "lab")
        options = {name: True for name in query.split("&") if name}
        return memory.TRANSPORT.traits(memory.Request(url=url, owner=None, options=options, **changes))

    assert traits("").streams
    assert not traits("", framing="lines").ping
    assert traits("datagrams").max_message == limits.UDP_MESSAGE_BYTES_MAX
