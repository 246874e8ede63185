"""The list of peers: complete, described, and honest about what is not installed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from time import monotonic

import pytest

from bench import cli
from bench.bars import acceptance_bars
from bench.cases import latency, mixed_sizes, open_loop, throughput
from bench.child import ROOT, Child
from bench.peers import all_peers, select
from bench.peers.base import KINDS, LIBRARY, Peer
from bench.schema import SCHEMA, validate
from tests.bench.broken_peers import Absent
from tests.bench.rounds import one_round


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


def listening(peer: Peer) -> bool:
    """Whether a server of this peer binds to an address of a network."""
    return peer.scheme not in ("unix", "memory") and not peer.one_process


@pytest.mark.parametrize("peer", [peer for peer in all_peers().values() if listening(peer)], ids=lambda peer: peer.name)
def test_a_server_binds_to_the_host_of_its_job(peer: Peer, tmp_path: Path) -> None:
    """Loopback is a whole network on Linux, so a server that binds elsewhere is seen by its address."""
    if install := peer.missing():
        pytest.skip(f"not installed: {install}")
    with Child("server") as child:
        child.tell(
            {
                "peer": peer.name,
                "module": type(peer).__module__,
                "case": latency(64).as_dict(),
                "role": "server",
                "scratch": str(tmp_path),
                "host": "127.0.0.2",
                "seed": 1,
                "seconds": 0.1,
                "warmup": 0.1,
                "pids": {},
                "cores": [],
                "pin": [],
            }
        )
        address = json.dumps(child.hear("ready", monotonic() + 15))
    assert "127.0.0.2" in address
    assert "127.0.0.1" not in address


def test_the_readme_names_the_versions_that_are_installed() -> None:
    text = (ROOT / "constraints.txt").read_text() + (ROOT / "Makefile").read_text()
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| ([0-9.]+) \|", (ROOT / "bench" / "README.md").read_text(), re.MULTILINE)
    assert {name for name, _ in rows} == {peer.name for peer in LIBRARIES}
    assert [row for row in rows if not re.search(rf"\b{row[0]}=={re.escape(row[1])}(\s|$)", text)] == []


LIBRARIES = [peer for peer in all_peers().values() if peer.kind == LIBRARY]
ROWS = [all_peers()[name] for name in ("multiprocessing", "tcp-cubic", "tcp-bbr", "tcp-tuned")]


@pytest.mark.slow
@pytest.mark.parametrize("peer", LIBRARIES + ROWS, ids=lambda peer: peer.name)
def test_a_peer_carries_messages_both_ways_and_one_way(peer: Peer) -> None:
    """Large ones too, cut in pieces by every protocol over datagrams."""
    if install := peer.missing():
        pytest.skip(f"not installed: {install}")
    for case in (latency(64), latency(65_536), throughput(1024), throughput(65_536)):
        item = one_round(case, peer)
        assert item["status"] == "OK", (case.id, item["why"])
        assert item["messages"] > 0, case.id
