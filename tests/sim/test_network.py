"""Addresses, mappings, what is in the air, and the same run from the same seed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from transport import limits
from transport.sim import network as module
from transport.sim.clock import SimClock
from transport.sim.config import BurstLoss, LinkConfig
from transport.sim.errors import SimulationError, SimulationLimit
from transport.sim.network import PATHS_MAX, Port, SimNetwork
from transport.sim.trace import Fate, Trace

MS = 1_000_000
EVERYTHING = LinkConfig(
    delay_ns=20 * MS, jitter_ns=5 * MS, loss=0.05, burst=BurstLoss(good_ns=900 * MS, bad_ns=50 * MS), duplicate=0.02,
    reorder=0.05, reorder_ns=9 * MS, corrupt=0.01, rate_bits_per_s=2_000_000, queue_bytes=9000, mtu=1400,
    ecn_mark_bytes=4000, overhead_bytes=28, blackouts=((500 * MS, 600 * MS),),
)  # fmt: skip


def drain(network: SimNetwork, *ports: Port) -> list[tuple[int, str, bytes]]:
    """Runs until nothing is in the air; (ms since the start, address, data) of each arrival."""
    got = []
    while (time := network.next_time()) >= 0:
        network.clock.advance_to(time)
        for port in network.pump():
            got += [(network.elapsed_ns // MS, str(port.address), data) for data, *_ in port.take()]
    return got


def test_a_datagram_goes_from_port_to_port():
    network = SimNetwork(link=LinkConfig(delay_ns=5 * MS))
    a, b = network.bind("a", owner="A"), network.bind(("10.0.0.1", 9000))
    assert network.port("a") is a
    assert a.owner == "A"
    assert network.send(a, ("10.0.0.1", 9000), b"there", 2) == Fate.ARRIVES
    network.clock.advance_to(network.next_time())
    assert network.elapsed_ns == 5 * MS
    assert network.pump() == [b]
    assert b.take() == [(b"there", "a", ("10.0.0.1", 9000), 2)]
    assert b.take() == []
    network.send(b, "a", b"back")
    assert drain(network) == [(10, "a", b"back")]


def test_directions_are_configured_apart():
    network = SimNetwork()
    a, b = network.bind("a"), network.bind("b")
    network.connect("a", "b", LinkConfig(delay_ns=MS), LinkConfig(delay_ns=7 * MS))
    network.send(a, "b", b"1")
    network.send(b, "a", b"2")
    assert drain(network) == [(1, "b", b"1"), (7, "a", b"2")]
    network.connect("a", "b", LinkConfig(delay_ns=2 * MS))
    network.send(a, "b", b"1")
    network.send(b, "a", b"2")
    assert [got[0] for got in drain(network)] == [9, 9]


def test_an_old_mapping_lives_on_for_a_while():
    network = SimNetwork(link=LinkConfig(delay_ns=10 * MS))
    a, b = network.bind(("a", 1)), network.bind("b")
    network.rebind(a, ("a", 2), keep_ns=15 * MS)
    for address in (("a", 1), ("a", 2)):
        network.send(b, address, repr(address).encode())
    assert [got[2] for got in drain(network)] == [b"('a', 1)", b"('a', 2)"]
    assert network.elapsed_ns == 15 * MS
    assert network.send(b, ("a", 1), b"too late") == Fate.UNREACHABLE
    network.bind(("a", 1))  # somebody else's now
    network.rebind(a, ("a", 3), keep_ns=MS)
    network.rebind(a, ("a", 2))  # back before its time: it stays
    assert drain(network) == []
    assert network.port(("a", 2)) is a


def test_nobody_there():
    network = SimNetwork(link=LinkConfig(delay_ns=MS))
    a, b = network.bind("a"), network.bind("b")
    assert network.send(a, "c", b"x") == Fate.UNREACHABLE
    network.send(a, "b", b"x")
    network.unbind(b)
    network.unbind(b)
    assert drain(network) == []
    assert network.statistics()["unreachable"] == 2
    assert network.link("a", "b").unreachable == 1


def test_a_new_mapping_is_what_the_others_see():
    network = SimNetwork(link=LinkConfig(delay_ns=10 * MS, loss=0.5), keep=100)
    a, b = network.bind("a"), network.bind("b")
    network.send(b, "a", b"to the old one, in the air")
    network.rebind(a, "nat:1")
    assert network.send(b, "a", b"to the old one") == Fate.UNREACHABLE
    while network.send(a, "b", b"hello") != Fate.ARRIVES:
        pass
    network.clock.advance_to(network.next_time())
    network.pump()
    ((_, source, _, _),) = b.take()
    assert source == "nat:1"
    while network.send(b, source, b"answer") != Fate.ARRIVES:
        pass
    assert drain(network)[-1][1:] == ("a", b"answer")
    assert set(network.links) == {("a", "b"), ("b", "a")}, "links stay with the machine, not with the mapping"
    network.rebind(a, "a")
    assert network.port("a") is a
    assert any("rebind 'a' to 'nat:1'" in line for line in network.trace.lines())


def test_a_mapping_in_use_is_refused_and_one_given_up_goes_to_the_next():
    network = SimNetwork(link=LinkConfig(delay_ns=10 * MS))
    a, b, c = network.bind("a"), network.bind("b"), network.bind("c")
    with pytest.raises(SimulationError, match="'b' is in use"):
        network.rebind(a, "b")
    with pytest.raises(SimulationError, match="'b' is in use"):
        network.bind("b")
    network.send(c, "b", b"for whoever holds it then")
    network.rebind(b, "b2")
    network.rebind(a, "b")
    assert drain(network) == [(10, "a", b"for whoever holds it then")]


@pytest.mark.parametrize("address", [(), None, 1.5, ("a", None), ("a", object()), {"a"}])
def test_addresses_whose_repr_may_change_are_refused(address: object):
    network = SimNetwork()
    with pytest.raises(ValueError, match="simulated address"):
        network.bind(address)
    port = network.bind("a")
    with pytest.raises(ValueError, match="simulated address"):
        network.rebind(port, address)


def test_partitions():
    network = SimNetwork()
    ports = {name: network.bind(name) for name in "abcd"}
    network.partition("ab", "cd", 10 * MS, 20 * MS)
    reached = {}
    for time in (9, 10, 19, 20):
        network.clock.advance_to(network.start_ns + time * MS)
        reached[time] = "".join(x + y for x in "abcd" for y in "abcd"
                                if x != y and network.send(ports[x], y, b"") == Fate.ARRIVES)  # fmt: skip
    assert len(reached[9]) == len(reached[20]) == 24
    assert reached[10] == reached[19] == "abbacddc"


def test_actions_come_in_order_with_arrivals():
    network = SimNetwork(link=LinkConfig(delay_ns=5 * MS))
    a, _ = network.bind("a"), network.bind("b")
    seen = []
    network.at(5 * MS, lambda: seen.append("first"))
    network.send(a, "b", b"data")
    network.at(5 * MS, lambda: seen.append(len(network.port("b").inbox)))
    network.at(6 * MS, lambda: network.send(a, "b", b"more"))
    assert drain(network) == [(5, "b", b"data"), (11, "b", b"more")]
    assert seen == ["first", 1]
    with pytest.raises(SimulationError, match="past"):
        network.at(5 * MS, print)


def test_an_action_that_repeats_itself_at_one_instant_is_stopped():
    network = SimNetwork()

    def again() -> None:
        network.at(0, again)

    again()
    with pytest.raises(SimulationLimit, match="SIM_STILL_MAX"):
        network.pump()


def test_paths_are_cached_and_bounded():
    port = SimNetwork().bind("a")
    first = port.path("b")
    assert (first.local, first.remote) == ("a", "b")
    assert port.path("b") is first
    for index in range(PATHS_MAX + 1):
        port.path(index)
    assert len(port.paths) <= PATHS_MAX
    assert port.path("b") == first


def test_limits(monkeypatch: pytest.MonkeyPatch):
    network = SimNetwork(events_max=2, bytes_max=5)
    a, b = network.bind("a"), network.bind("b")
    network.send(a, "b", b"1")
    network.send(a, "b", b"2")
    with pytest.raises(SimulationLimit, match="SIM_EVENTS_MAX = 2"):
        network.send(a, "b", b"3")
    network.pump()
    network.send(a, "b", b"4")
    with pytest.raises(SimulationLimit, match="wait at 'b'"):
        network.pump()
    b.take()
    with pytest.raises(SimulationLimit, match="SIM_FLIGHT_BYTES"):
        network.send(a, "b", b"123456")


def test_the_table_of_addresses_is_bounded():
    network = SimNetwork()
    for index in range(limits.SIM_ADDRESSES_MAX):
        network.bind(index)
    with pytest.raises(SimulationLimit, match="SIM_ADDRESSES_MAX"):
        network.bind("one more")
    port = network.port(0)
    network.unbind(port)
    network.bind("one more")


def test_the_table_of_links_is_bounded():
    network = SimNetwork()
    for index in range(limits.SIM_LINKS_MAX):
        network.link("a", index)
    with pytest.raises(SimulationLimit, match="SIM_LINKS_MAX"):
        network.link("b", "a")


def test_statistics_are_sums():
    network = SimNetwork(link=LinkConfig(delay_ns=MS, rate_bits_per_s=8_000_000))
    ports = [network.bind(name) for name in "abc"]
    for port in ports:
        for name in "abc":
            network.send(port, name, bytes(100))
    assert network.statistics()["in_flight"] == network.in_flight == 9
    drain(network)
    counts = network.statistics()
    assert counts["sent"] == counts["arrived"] == 9
    assert counts["sent_bytes"] == counts["arrived_bytes"] == 900
    assert counts["peak_queue_bytes"] == 100
    assert counts["in_flight"] == 0


def test_entropy_is_seeded_and_bounded():
    one, same, other = SimNetwork(7).entropy("a"), SimNetwork(7).entropy("a"), SimNetwork(7).entropy("b")
    assert one(16) == same(16) != other(16)
    assert len(set(one(10_000))) == 256
    assert one(0) == b""
    with pytest.raises(SimulationLimit, match="SIM_ENTROPY_BYTES_MAX"):
        one(limits.SIM_ENTROPY_BYTES_MAX + 1)


def scenario(seed: int = 7, config: LinkConfig = EVERYTHING) -> tuple[str, str]:
    """Trace digest and digest of what arrived, of a run with every impairment."""
    network = SimNetwork(seed, config)
    ports = [network.bind(name) for name in ("a", "b", ("10.0.0.1", 7))]
    got = hashlib.sha256()
    for index in range(3000):
        port = ports[index % 3]
        target = ports[(index + 1 + index % 2) % 3].public
        network.send(port, target, b"%d" % index * (1 + index % 300), index % 4)
        network.clock.advance_to(network.clock.now_ns + (index % 7) * MS // 5)
        if index == 1500:
            network.rebind(ports[0], "nat")
        for each in network.pump():
            got.update(repr(each.take()).encode())
    return network.trace.hexdigest(), got.hexdigest()


def test_the_same_seed_is_the_same_run():
    assert scenario(7) == scenario(7)
    runs = {scenario(seed) for seed in range(5)}
    assert len({trace for trace, _ in runs}) == len({got for _, got in runs}) == 5


def in_a_process(**environment: str) -> str:
    root = Path(module.__file__).parents[2]
    code = "import runpy, sys; print(*runpy.run_path(sys.argv[1])['scenario']())"
    ran = subprocess.run([sys.executable, "-c", code, __file__], cwd=root, capture_output=True, text=True, check=True,
                         env={**os.environ, "PYTHONPATH": str(root), **environment})  # fmt: skip
    return ran.stdout.strip()


def test_neither_the_hash_seed_nor_the_build_changes_the_run():
    expected = " ".join(scenario())
    assert in_a_process(PYTHONHASHSEED="0") == expected
    assert in_a_process(PYTHONHASHSEED="12345") == expected
    assert in_a_process(TRANSPORT_PURE="1") == expected
    assert in_a_process(TRANSPORT_PURE="0") == expected


def test_a_run_known_from_before():
    """Pins the streams and the trace: if this changes, every seed that anybody wrote down means something else."""
    assert scenario()[0] == "fff4fecdd341a5865b05f4e51fca31fbc915988702de78e5f70f05549d7fc5dd"


def test_clock_and_trace_can_be_shared():
    clock, trace = SimClock(5), Trace(keep=2)
    network = SimNetwork(clock=clock, trace=trace)
    assert network.clock is clock
    assert network.start_ns == 5
    network.link("a", "b")
    assert trace.lines() == ["0.000000005 link 1 from 'a' to 'b'"]
    assert network.derive("x") == SimNetwork().derive("x") != SimNetwork(1).derive("x")
