"""The list of peers: complete, described, and honest about what is not installed."""

from __future__ import annotations

import pytest

from bench import cli
from bench.bars import acceptance_bars
from bench.cases import latency, mixed_sizes, open_loop, throughput
from bench.peers import all_peers, select
from bench.peers.base import KINDS, Peer
from bench.schema import SCHEMA, validate
from tests.bench.broken_peers import Absent


@pytest.mark.parametrize("peer", all_peers().values(), ids=lambda peer: peer.name)
def test_a_peer_describes_itself(peer: Peer) -> None:
    validate(peer.describe(), SCHEMA["properties"]["peers"]["items"])
    assert peer.kind in KINDS
    assert "@" not in peer.name
    cases = (latency(64), throughput(64), throughput(64, codec="msgpack"), open_loop(64, 100))
    assert any(peer.supports(case) for case in cases)


def test_every_default_name_exists() -> None:
    known = all_peers()
    assert set(cli.QUICK_LATENCY) | set(cli.QUICK_THROUGHPUT) <= set(known)
    assert {side[1].partition("@")[0] for bar in acceptance_bars() for side in bar.sides()} <= set(known)


def test_a_missing_package_is_named_with_its_command() -> None:
    assert Absent().missing() == "pip install no-such-package"
    assert all_peers()["blocking-tcp"].missing() is None


def test_selection() -> None:
    assert [peer.name for peer in select(["tcp", "blocking-*"])] == [
        "blocking-tcp",
        "blocking-unix",
        "blocking-udp",
        "tcp",
    ]
    with pytest.raises(KeyError, match="no peer 'nobody'; there are: c-tcp"):
        select(["nobody"])


def test_a_peer_runs_only_what_it_can() -> None:
    known = all_peers()
    assert not known["uvloop-bare"].supports(throughput(64)), "no framing, no messages to count"
    assert not known["blocking-tcp"].supports(mixed_sizes()), "bytes are divided by one size"
    assert not known["udp"].supports(throughput(65536)), "no datagram is that large"
    assert not known["pyzmq"].supports(throughput(64, codec="msgpack"))
