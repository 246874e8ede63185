"""Machines face to face in virtual time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path as FilePath

import pytest

from tests.sim.machines import MS, Bytes, Datagrams, Echo, Retrier
from transport import limits
from transport.errors import CloseCode
from transport.machine import EOF, Closed
from transport.session import SessionState
from transport.sim import pair as module
from transport.sim.config import LinkConfig
from transport.sim.errors import SimulationError, SimulationLimit
from transport.sim.network import SimNetwork
from transport.sim.pair import Pair, World, dialect_of
from transport.stream.config import StreamConfig
from transport.stream.session import StreamSession

LOSSY = LinkConfig(delay_ns=20 * MS, jitter_ns=5 * MS, jitter_reorders=True, loss=0.3, duplicate=0.1)


def test_the_shape_of_the_guides():
    pair = Pair(Retrier(5), Retrier(), SimNetwork(seed=7)).run()
    assert pair.a.events == ["done"]
    assert pair.elapsed == 0.0


def test_a_protocol_that_repeats_comes_through_any_loss(seed: int):
    pair = Pair(Retrier(50), Retrier(), SimNetwork(seed, LOSSY)).run()
    assert sorted(pair.b.machine.seen) == list(range(50))
    assert pair.a.events == ["done"]
    assert 0.2 < pair.elapsed < 60
    assert pair.b.wakes > 50


def test_echo_over_a_byte_pipe_in_pieces(seed: int):
    client = Bytes()
    network = SimNetwork(seed, LinkConfig(delay_ns=10 * MS, jitter_ns=3 * MS, rate_bits_per_s=10**7))
    data = bytes(range(256)) * 300
    client.send(data, EOF)
    pair = Pair(client, Echo(), network, chunks=(1, 1500)).run()
    assert b"".join(client.got) == data
    assert client.got[-1] == EOF
    assert pair.a.events[-1][0] == "eof"


def test_the_dialect_is_found_out_or_given():
    assert dialect_of(Bytes()) == "bytes"
    assert dialect_of(Datagrams()) == "datagrams"
    with pytest.raises(ValueError, match="Bytes and Datagrams don't speak"):
        Pair(Bytes(), Datagrams())

    class WithError(Echo):
        def error(self, *arguments):
            raise AssertionError

    client = Bytes()
    client.send(b"x")
    Pair(client, WithError(), dialect="bytes").run()
    assert client.got == [b"x"]


def test_the_application_has_its_turn_before_the_output():
    client, server = Datagrams(), Datagrams()
    pair = Pair(client, server, SimNetwork(link=LinkConfig(delay_ns=10 * MS)))
    pair.b.on_input = lambda side: server.send(b"answer to " + server.got[-1][0])
    client.send(b"one")
    pair.run()
    assert [data for data, *_ in client.got] == [b"answer to one"]
    assert pair.elapsed == 0.02
    assert (pair.a.wakes, pair.b.wakes) == (1, 1)


def test_input_comes_before_the_timer_of_the_same_instant():
    order = []

    class Both(Datagrams):
        def receive(self, *arguments):
            order.append("input")

        def expire(self, now):
            order.append("timer")
            self.at = None

    client, server = Datagrams(), Both()
    server.at = limits.SECOND_NS + 10 * MS
    client.send(b"x")
    Pair(client, server, SimNetwork(link=LinkConfig(delay_ns=10 * MS))).run()
    assert order == ["input", "timer"]


def test_run_for_takes_exactly_that_long():
    pair = Pair(Datagrams(), Datagrams())
    assert pair.run_for(1.5).now_ns == limits.SECOND_NS * 5 // 2
    assert pair.run_for(0).now_ns == limits.SECOND_NS * 5 // 2
    pair.a.machine.at = pair.now_ns + 10**9
    pair.run_for(0.999999999)
    assert pair.a.machine.at is not None
    pair.run_for(0.000000001)
    assert pair.a.machine.at is None


class KeepAlive(Bytes):
    def __init__(self) -> None:
        super().__init__()
        self.at = limits.SECOND_NS

    def expire(self, now: int) -> None:
        self.send(b"!")
        self.at = now + limits.SECOND_NS


def test_a_machine_that_never_rests_is_not_idle():
    pair = Pair(KeepAlive(), Bytes())
    with pytest.raises(SimulationError, match=r"not idle after 60 virtual seconds.*seed 0.*a due in 1000000000 ns"):
        pair.run(seconds=60)
    assert len(pair.b.machine.got) == 61
    with pytest.raises(SimulationError, match="not idle after 3600"):
        pair.run()


def test_run_until():
    pair = Pair(KeepAlive(), Bytes())
    pair.run_until(lambda: len(pair.b.machine.got) == 5)
    assert pair.elapsed == 4.0
    pair.run_until(lambda: True)
    with pytest.raises(SimulationError, match="10 virtual seconds have passed, and the condition is still false"):
        pair.run_until(lambda: False, seconds=10)
    with pytest.raises(SimulationError, match=r"idle, and the condition is still false \(seed 9"):
        Pair(Bytes(), Bytes(), SimNetwork(9)).run_until(lambda: False)


def test_a_condition_that_output_makes_true():
    client = Bytes()
    client.send(b"x")
    Pair(client, Bytes()).run_until(lambda: not client.out)


def test_steps_are_bounded():
    with pytest.raises(SimulationLimit, match="SIM_STEPS_MAX = 100 reached"):
        Pair(KeepAlive(), Bytes(), steps_max=100).run()
    assert Pair(Bytes(), Bytes())._steps_max == limits.SIM_STEPS_MAX


def test_a_ping_pong_without_delay_is_stopped(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "SIM_STILL_MAX", 500)
    client = Echo()
    client.send(b"x")
    with pytest.raises(SimulationLimit, match="time stands still"):
        Pair(client, Echo()).run()


def test_a_script_in_virtual_time():
    client = Datagrams()
    pair = Pair(client, Datagrams())
    for index in range(5):
        pair.call_later(index * 0.02, lambda index=index: client.send(b"%d" % index))
    pair.run()
    assert [(data, now - limits.SECOND_NS) for data, _, _, now in pair.b.machine.got] == [
        (b"%d" % index, index * 20 * MS) for index in range(5)
    ]


def test_clocks_that_differ():
    client, server = Datagrams(), Datagrams()
    pair = Pair(client, server, offset_ns=(0, 10**12), skew_ppm=(100, 0))
    client.at = limits.SECOND_NS + 1_000_100
    server.at = limits.SECOND_NS + 10**12 + 3 * MS
    seen = []
    pair.a.on_input = pair.b.on_input = lambda side: seen.append((side.name, pair.network.elapsed_ns))
    pair.run()
    assert seen == [("a", MS), ("b", 3 * MS)]
    client.send(b"x")
    pair.run()
    assert server.got[0][3] == limits.SECOND_NS + 10**12 + 3 * MS


@pytest.mark.parametrize("first", ["a", "b", "ab"])
def test_what_an_application_has_the_other_side_send_leaves_at_once(first):
    pair = Pair(Datagrams(), Datagrams(), SimNetwork(link=LinkConfig(delay_ns=5 * MS)))
    sides = {"a": (pair.a, pair.b), "b": (pair.b, pair.a)}
    for side, other in sides.values():
        side.on_input = lambda _, own=side.machine, peer=other.machine: len(own.got) == 1 and peer.send(b"more")
    for name in first:
        sides[name][0].machine.send(b"first")
    pair.run()
    for name in "ab":
        times = [now - limits.SECOND_NS for *_, now in sides[name][1].machine.got]
        assert times == ([5 * MS, 10 * MS] if name in first else [])


def test_a_new_mapping_in_the_middle():
    network = SimNetwork(link=LinkConfig(delay_ns=10 * MS))
    client, server = Datagrams(), Datagrams()
    pair = Pair(client, server, network)
    pair.b.on_input = lambda side: server.send(b"to", path=server.got[-1][1])
    client.send(b"1")
    pair.call_later(0.015, lambda: network.rebind(network.port("a"), "nat"))
    pair.run()
    assert client.got == [], "the answer was in the air to the old mapping"
    client.send(b"2")
    pair.run()
    assert [data for data, *_ in client.got] == [b"to"]
    assert server.got[-1][1].remote == "nat"


def test_a_world_of_many():
    world = World(SimNetwork(3, LinkConfig(delay_ns=5 * MS, loss=0.2)))
    server = Retrier()
    world.add(server, "server")
    clients = [Retrier(3) for _ in range(20)]
    sides = [world.add(client, f"client{index}", peer="server") for index, client in enumerate(clients)]
    world.run()
    assert all(side.events == ["done"] for side in sides)


def scenario(seed: int = 7) -> str:
    pair = Pair(Retrier(200), Retrier(), SimNetwork(seed, LOSSY), skew_ppm=(50, -50)).run()
    client = Bytes()
    client.send(bytes(50_000), EOF)
    held_up = LinkConfig(jitter_ns=MS, rate_bits_per_s=10**8)
    pipe = Pair(client, Echo(), SimNetwork(seed, held_up), chunks=(1, 900)).run()
    return f"{pair.network.trace.hexdigest()} {pair.steps} {pipe.network.trace.hexdigest()} {pipe.steps}"


def test_the_same_seed_is_the_same_run_on_any_hash_seed_and_build():
    expected = scenario()
    assert scenario() == expected
    assert scenario(8) != expected
    root = FilePath(module.__file__).parents[2]
    code = "import runpy, sys; print(runpy.run_path(sys.argv[1])['scenario']())"
    for changes in ({"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2", "TRANSPORT_PURE": "1"}, {"TRANSPORT_PURE": "0"}):
        ran = subprocess.run([sys.executable, "-c", code, __file__], cwd=root, capture_output=True, text=True,
                             check=True, env={**os.environ, "PYTHONPATH": str(root), **changes})  # fmt: skip
        assert ran.stdout.strip() == expected, changes


def test_the_stream_session_over_a_pipe_in_pieces(seed: int):
    network = SimNetwork(seed, LinkConfig(delay_ns=20 * MS, jitter_ns=5 * MS, rate_bits_per_s=10**7))
    a, b = StreamSession(StreamConfig(), limits.SECOND_NS), StreamSession(StreamConfig(), limits.SECOND_NS)
    pair = Pair(a, b, network, chunks=(1, 600)).run_until(lambda: a.state == b.state == SessionState.OPEN)
    sent = [b"%d" % index * (1 + index % 500) for index in range(300)]
    for payload in sent:
        a.send(payload, 0, 0, 0, 0, pair.a.now())
        b.send(payload, 1, 0, 0, 0, pair.b.now())
    pair.run_until(lambda: len(pair.a.messages) == len(pair.b.messages) == 300)
    assert pair.a.messages == pair.b.messages == sent
    assert {batch.channel for batch in pair.a.batches} == {1}
    pair.run_for(100)  # keep-alive holds it
    assert a.state == b.state == SessionState.OPEN
    a.close(7, "done", pair.a.now())
    pair.run()
    assert [event for event in pair.b.events if isinstance(event, Closed)] == [Closed(7, "done", True, False)]


def test_a_stream_session_notices_a_dead_link():
    network = SimNetwork(link=LinkConfig(delay_ns=20 * MS))
    a, b = StreamSession(StreamConfig(), limits.SECOND_NS), StreamSession(StreamConfig(), limits.SECOND_NS)
    pair = Pair(a, b, network).run_for(1)
    network.partition("a", "b", network.elapsed_ns, 10**18)
    pair.run_until(lambda: a.state == b.state == SessionState.CLOSED, seconds=60)
    assert CloseCode.IDLE_TIMEOUT in [event.code for event in pair.a.events if isinstance(event, Closed)]
