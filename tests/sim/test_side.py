"""What a side holds a machine to."""

from __future__ import annotations

import pytest

from tests.sim.machines import MS, Bytes, Datagrams
from transport import limits
from transport.datagram.base import Endpoint
from transport.machine import EOF, Path
from transport.session import Batch, MessageSession
from transport.sim.config import LinkConfig
from transport.sim.errors import SimulationError, SimulationLimit
from transport.sim.network import SimNetwork
from transport.sim.pair import Pair, World


class Spinner(Bytes):
    """Its deadline is in the past for ever."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.at = 5
        self.step = step

    def expire(self, now: int) -> None:
        self.at += self.step


@pytest.mark.parametrize(("step", "text"), [(0, "did not move"), (1, "moved only to")])
def test_a_machine_that_spins_is_named(step: int, text: str):
    with pytest.raises(SimulationError, match=f"a spins.*{text}"):
        Pair(Spinner(step), Bytes()).run()


def test_a_deadline_that_output_clears_is_no_spin():
    class Paced(Bytes):
        def __init__(self) -> None:
            super().__init__()
            self.at = 5

        def expire(self, now: int) -> None:
            self.out.append(b"now")

        def transmit(self, now: int) -> list[bytes]:
            self.at = None
            return super().transmit(now)

    b = Bytes()
    Pair(Paced(), b).run()


def test_a_deadline_that_is_no_whole_number_is_refused():
    machine = Bytes()
    machine.at = 5.0  # type: ignore[assignment]
    with pytest.raises(SimulationError, match=r"deadline\(\) gave 5\.0"):
        Pair(machine, Bytes()).run()


def test_output_without_end_is_noticed(monkeypatch: pytest.MonkeyPatch):
    class Endless(Datagrams):
        def transmit(self, room, now):
            self.send(b"x")
            return super().transmit(room, now)

    class EndlessBytes(Bytes):
        def transmit(self, now):
            return [b""]

    monkeypatch.setattr(limits, "SIM_FLUSH_MAX", 100)
    with pytest.raises(SimulationLimit, match="SIM_FLUSH_MAX"):
        Pair(Endless(), Datagrams()).run()
    with pytest.raises(SimulationError, match="after EOF"):
        Pair(EndlessBytes(), Bytes()).run()

    class Empty(Bytes):
        def transmit(self, now):
            return [b"", b"x"] if now else []

    pair = Pair(Empty(), Bytes(), window=10_000)
    with pytest.raises(SimulationLimit, match="SIM_FLUSH_MAX"):
        pair.run()


def test_events_are_bounded():
    class Talker(Bytes):
        def __init__(self):
            super().__init__()
            self.at = 1

        def expire(self, now):
            self.happened += [1, 2, 3]
            self.at = now + 1

    with pytest.raises(SimulationLimit, match="kept for a"):
        Pair(Talker(), Bytes(), SimNetwork(events_max=20)).run()


class Session(MessageSession):
    """Hands every datagram out as a message."""

    def __init__(self) -> None:
        super().__init__()
        self.returned = []

    def receive(self, data: bytes, path: Path, ecn: int, now: int) -> None:
        self.batches.append(Batch(3, 0, [data, data], 2 * len(data)))

    def error(self, path, errno, now): ...

    def transmit(self, room, now):
        return None

    def events(self):
        return []

    def deadline(self):
        return None

    def expire(self, now): ...

    def consumed(self, channel: int, size: int, messages: int) -> None:
        self.returned.append((channel, size, messages))


@pytest.mark.parametrize("consumes", [True, False])
def test_messages_of_sessions_are_taken_and_consumed(consumes: bool):
    a, session = Datagrams(), Session()
    pair = Pair(a, session)
    pair.b.consumes = consumes
    a.send(b"one")
    a.send(b"two")
    pair.run()
    assert pair.b.messages == [b"one", b"one", b"two", b"two"]
    assert session.returned == ([(3, 6, 2), (3, 6, 2)] if consumes else [])


def test_segments_leave_one_by_one_and_the_last_may_be_short():
    a, b = Datagrams(), Datagrams()
    a.send(b"abcdefgh", segment=3, ecn=2)
    a.send(b"")
    Pair(a, b).run()
    assert [(data, ecn) for data, _, ecn, _ in b.got] == [(b"abc", 2), (b"def", 2), (b"gh", 2), (b"", 0)]
    assert {(path.local, path.remote) for _, path, _, _ in b.got} == {("b", "a")}


TOO_MUCH = limits.DATAGRAM_BYTES_MAX + 1


@pytest.mark.parametrize(("size", "segment"), [(-1, 1), (TOO_MUCH, 10), (10, 0), (10, 11), (10, -1)])
def test_a_batch_that_makes_no_sense_is_refused(size: int, segment: int):
    class Liar(Datagrams):
        def transmit(self, room, now):
            batch = super().transmit(room, now)
            if batch is not None:
                batch.size, batch.segment_bytes = size, segment
            return batch

    a = Liar()
    a.send(b"")
    with pytest.raises(SimulationError, match="does not fit"):
        Pair(a, Datagrams()).run()


def test_several_addresses_and_paths_that_lead_nowhere():
    world = World()
    server = Datagrams()
    world.add(server, "s1", "s2")
    client = Datagrams()
    side = world.add(client, "c")
    client.send(b"1", path=Path(None, "s1"))
    client.send(b"2", path=Path("c", "s2"))
    world.run()
    assert [(data, path) for data, path, _, _ in server.got] == [(b"1", Path("s1", "c")), (b"2", Path("s2", "c"))]
    server.send(b"from the second", path=Path("s2", "c"))
    world.run()
    assert client.got[0][1] == Path("c", "s2")
    client.send(b"x", path=Path("elsewhere", "s1"))
    with pytest.raises(SimulationError, match="not an address of its own"):
        world.run()
    client.send(b"x")
    with pytest.raises(SimulationError, match="leads nowhere"):
        world.run()
    side.peer = "s1"
    client.send(b"x")
    world.run()
    with pytest.raises(ValueError, match="needs an address"):
        world.add(Datagrams())


def test_a_byte_pipe_keeps_writes_whole_or_cuts_them_at_random():
    sizes = {}
    for name, chunks in (("whole", None), ("cut", (1, 100)), ("bytes", (1, 1))):
        a, b = Bytes(), Bytes()
        a.send(b"x" * 600, b"y" * 400)
        pair = Pair(a, b, SimNetwork(7), chunks=chunks).run()
        assert b"".join(b.got) == b"x" * 600 + b"y" * 400
        sizes[name] = [len(data) for data in b.got]
        assert pair.b.events == [(size, limits.SECOND_NS) for size in sizes[name]]
    assert sizes["whole"] == [1000]
    assert len(set(sizes["cut"])) > 5
    assert max(sizes["cut"]) <= 100
    assert sizes["bytes"] == [1] * 1000
    for chunks in ((0, 5), (6, 5)):
        with pytest.raises(ValueError, match="least"):
            Pair(Bytes(), Bytes(), chunks=chunks)


def test_a_reader_that_stops_stops_the_writer_at_the_window():
    a, b = Bytes(), Bytes()
    pair = Pair(a, b, window=1000)
    pair.b.pause_reading()
    for _ in range(10):
        a.send(b"x" * 400)
        pair.run()
    assert b.got == []
    assert sum(map(len, a.out)) == 4000 - 1200, "what does not fit stays with the machine"
    assert pair.a.unsent_bytes == 200
    pair.b.resume_reading()
    pair.run()
    assert sum(map(len, b.got)) == 4000
    with pytest.raises(ValueError, match="lets nothing through"):
        Pair(Bytes(), Bytes(), window=0)


def test_end_of_stream_comes_after_the_data_and_half_closes():
    a, b = Bytes(), Bytes()
    pair = Pair(a, b, SimNetwork(link=LinkConfig(delay_ns=MS)), chunks=(1, 7))
    a.send(b"x" * 100, EOF)
    pair.run()
    assert b"".join(b.got) == b"x" * 100
    assert b.got[-1] == EOF
    assert b.got.count(EOF) == 1
    b.send(b"answer")
    pair.run()
    assert b"".join(a.got) == b"answer"
    a.send(b"too late")
    with pytest.raises(SimulationError, match="after EOF"):
        pair.run()


def test_a_blackout_holds_a_byte_pipe_up():
    network = SimNetwork(link=LinkConfig(delay_ns=MS, blackouts=((0, 50 * MS),)))
    network.link("a", "b").change(100 * MS, down=True)
    network.link("a", "b").change(150 * MS, down=False)
    network.link("a", "b").change(200 * MS, down=True)
    a, b = Bytes(), Bytes()
    pair = Pair(a, b, network)
    a.send(b"1")
    pair.run()
    pair.call_later(0.06, lambda: a.send(b"2"))
    pair.run()
    pair.run_for(0.1)
    a.send(b"3")
    pair.run()
    assert [(time - network.start_ns) // MS for time in b.times] == [51, 151]
    assert pair.a.unsent_bytes == 1


def test_a_rate_and_its_queue_hold_a_byte_pipe_up():
    network = SimNetwork(link=LinkConfig(rate_bits_per_s=8_000_000, queue_bytes=1000, overhead_bytes=40))
    a, b = Bytes(), Bytes()
    a.send(bytes(100_000))
    pair = Pair(a, b, network, chunks=(960, 960)).run()
    assert sum(map(len, b.got)) == 100_000
    packets = len(b.got)
    assert pair.network.elapsed_ns == (100_000 + 40 * packets) * 1000
    assert network.statistics()["dropped_queue"] == 0


@pytest.mark.parametrize("config", [LinkConfig(loss=0.1), LinkConfig(mtu=5), LinkConfig(duplicate=0.1)])
def test_a_lossy_link_is_no_byte_pipe(config: LinkConfig):
    a = Bytes()
    a.send(b"123456")
    with pytest.raises(SimulationError, match="never does"):
        Pair(a, Bytes(), SimNetwork(link=config)).run()


def test_a_cut_loses_what_is_on_its_way_and_tells_both():
    a, b = Bytes(), Bytes()
    pair = Pair(a, b, SimNetwork(link=LinkConfig(delay_ns=MS)))
    a.send(b"arrives")
    pair.run()
    a.send(b"lost")
    pair.flush()
    pair.cut()
    pair.cut()
    a.send(b"lost too")
    pair.run()
    assert b.got == [b"arrives", EOF]
    assert a.got == [EOF]
    assert pair.a.events[-1][0] == "eof"
    with pytest.raises(SimulationError, match="no pipe to cut"):
        Pair(Datagrams(), Datagrams()).cut()


class Many(Endpoint):
    """Notes how it is given datagrams; sends what it is told to."""

    def __init__(self):
        super().__init__()
        self.given = []
        self.out = []

    def receive_one(self, payload, path, ecn, now):
        self.given.append(([payload], path.remote, ecn))

    def receive_many(self, payloads, path, ecn, now):
        self.given.append((payloads, path.remote, ecn))

    def fill(self, item, room, now):
        if not self.out:
            return False
        item.path, data, item.segment_bytes, item.ecn = self.out.pop(0)
        item.size = len(data)
        room[: len(data)] = data
        return True

    def due(self):
        return 0

    def expire(self, now):
        raise AssertionError("it has no deadline")


def many_world():
    world = World(SimNetwork(1))
    ends = {name: Many() for name in "abc"}
    for name, end in ends.items():
        world.add(end, name)
    return world, ends


def test_an_endpoint_is_given_consecutive_datagrams_of_a_path_together():
    world, ends = many_world()
    ends["a"].out = [(Path("a", "c"), b"1122334", 2, 0), (Path(None, "c"), b"x", 1, 3)]
    ends["b"].out = [(Path("b", "c"), b"y", 1, 0)]
    world.run()
    assert ends["c"].given == [([b"11", b"22", b"33", b"4"], "a", 0), ([b"x"], "a", 3), ([b"y"], "b", 0)]


def test_a_machine_that_was_replaced_is_asked_from_then_on():
    world, ends = many_world()
    world.run()
    fresh = world.sides[2].machine = Many()
    ends["a"].out = [(Path("a", "c"), b"x", 1, 0)]
    world.run()
    assert (ends["c"].given, fresh.given) == ([], [([b"x"], "a", 0)])


def test_an_endpoint_that_tells_of_events_is_heard():
    class Telling(Many):
        def events(self):
            return ["event"] if self.given else []

    world, ends = many_world()
    world.sides[2].machine = Telling()
    ends["a"].out = [(Path("a", "c"), b"x", 1, 0)]
    world.run()
    assert "event" in world.sides[2].events
    assert world.sides[0].events == []
