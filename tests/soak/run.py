"""Runs one scenario in virtual time, an application at each end, and checks what it sees.

Ends in a `SoakFailure` or another error, or with a summary in which nothing depends on the build, the process or the
machine.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.soak.ledger import SoakFailure, Stream, Way
from tests.soak.scenario import MESSAGE_MAX, Action, Scenario
from tests.soak.watch import Watch, settled
from transport import limits
from transport.errors import CloseCode, WouldBlock
from transport.machine import Closed, Established, Path, Pong
from transport.rudp.endpoint import RudpEndpoint
from transport.sim.clock import SkewedClock
from transport.sim.network import SimNetwork
from transport.sim.pair import World
from transport.sim.seeds import stream as random_stream
from transport.sim.side import DatagramSide
from transport.stream.bodies import StreamBroken, StreamData, StreamEnded, StreamOpened, StreamWritable

SECOND = limits.SECOND_NS
CLOSED = 3
FINISH_NS = 240 * SECOND  # after the links have healed, and 60 round trips more
STALL_NS = 30 * SECOND  # without any progress, and 30 round trips more
POOL_BYTES = 2 * MESSAGE_MAX
STEPS_MAX = 3_000_000
SERVER = "server"
UNOPENED = (CloseCode.HANDSHAKE_TIMEOUT, CloseCode.LOST)


class End:
    """One end of one connection, with its application.

    Attributes:
        number: as in `Action.end`.
        out, into: the ledgers of both ways.
        session: None until it is there.
        closed: its last event.
        waits: actions for which there was no session yet.
    """

    def __init__(self, number: int, host: Host, out: Way, into: Way) -> None:
        self.number = number
        self.host = host
        self.out = out
        self.into = into
        self.session: Any = None
        self.watch: Watch | None = None
        self.peer: End
        self.closed: Closed | None = None
        self.is_established = False
        self.has_closed = False  # its application has
        self.waits: list[Action] = []
        self.muted: dict[int, int] = {}  # channels not read, until when by this end's clock
        self.unread: list[tuple[int, int, int]] = []  # (channel, size, messages) taken and not consumed
        self.streams_in: dict[int, Stream] = {}
        self.streams_out: dict[int, tuple[Stream, int]] = {}  # written so far
        self.pings = 0
        self.pongs = 0
        self.counts: Counter[str] = Counter()


class RunSide(DatagramSide):
    """Takes datagrams as a driver does: runs of one path at a time."""

    def _receive(self, inbox: list[Any], now: int) -> None:
        run: list[bytes] = []
        last: tuple[Any, int] = (None, 0)
        for port, entry in inbox:
            path, ecn = port.path(entry[1]), entry[3]
            if run and (path is not last[0] or ecn != last[1]):
                self.machine.receive_many(run, *last, now)
                run = []
            last = path, ecn
            run.append(entry[0])
        self.machine.receive_many(run, *last, now)


class BusySide(RunSide):
    """Is away for a while after each wake-up."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.lag_ns = 0
        self.away_until = 0

    def wake(self) -> bool:
        now = self.network.clock.now_ns
        if now < self.away_until:
            self.next_due = self.due()
            return False
        woken = DatagramSide.wake(self)
        if woken and self.lag_ns:
            self.away_until = now + self.lag_ns
            self.next_due = self.due()
        return woken

    def due(self) -> int:
        if self.ports[0].inbox:
            return max(self.away_until, self.network.clock.now_ns)
        due = DatagramSide.due(self)
        return due if due < 0 else max(due, self.away_until)


class Host:
    """One endpoint and its side of the world."""

    def __init__(self, endpoint: RudpEndpoint, side: DatagramSide) -> None:
        self.endpoint = endpoint
        self.side = side
        self.ends: dict[Any, End] = {}  # by session


class Run:
    """One scenario."""

    def __init__(self, scenario: Scenario, keep: int = 0) -> None:
        self.scenario = scenario
        self.network = SimNetwork(seed=scenario.seed, keep=keep)
        self.world = World(self.network)
        self.summary: Counter[str] = Counter()
        self._pool = random_stream(scenario.seed, "payloads").randbytes(POOL_BYTES)
        self._sent = 0
        self._links()
        self.server = self._host("server", SERVER, scenario.server, True)
        clients = enumerate(scenario.clients)
        self.clients = [self._host(f"client {i}", self._home(i), side, False) for i, side in clients]
        self.ends: list[End] = []
        self.watches: list[Watch] = []
        for number in range(len(scenario.connections)):
            self._connection(number)
        for action in scenario.actions:
            self.network.at(action.at_ns, lambda action=action: self._act(action))
        for number, move in enumerate(scenario.moves):
            self.network.at(move[1], lambda number=number, move=move: self._move(number, *move))
        self._rtt = 2 * max(max(a.delay_ns, b.delay_ns) for a, b in scenario.links)

    # The stage

    def _links(self) -> None:
        scenario = self.scenario
        network = self.network
        for number, (there, back) in enumerate(scenario.links):
            network.connect(self._home(number), SERVER, there, back)
            for direction in range(2):
                self._link(number, direction).change(
                    scenario.heal_ns, loss=0.0, burst=None, duplicate=0.0, reorder=0.0, jitter_ns=0, corrupt=0.0,
                    rate_bits_per_s=0, mtu=0)  # fmt: skip
        for client, direction, start, mtu in scenario.widths:
            self._link(client, direction).change(start, mtu=mtu)
        for client, direction, start, end, mtu in scenario.holes:
            link = self._link(client, direction)
            link.change(start, mtu=mtu)
            link.change(end, mtu=0)

    def _home(self, client: int) -> Any:
        """Where a client begins; with a port, where that may change."""
        return (f"client {client}", 1) if self.scenario.moves else f"client {client}"

    def _link(self, client: int, direction: int) -> Any:
        names = (self._home(client), SERVER) if direction == 0 else (SERVER, self._home(client))
        return self.network.link(*names)

    def _host(self, name: str, address: Any, side: Any, listening: bool) -> Host:
        endpoint = RudpEndpoint(side.config, self.network.entropy(name), listening, b"k" * 32 if listening else b"")
        port = self.network.bind(address)
        clock = SkewedClock(self.network.clock, side.offset_ns, side.skew_ppm)
        made: Any = (BusySide if side.lag_ns else RunSide)(name, endpoint, self.network, clock, [port], None)
        if side.lag_ns:
            made.lag_ns = side.lag_ns
        self.world.sides.append(made)
        host = Host(endpoint, made)
        made.on_input = lambda _: self._drain(host)
        return host

    def _connection(self, number: int) -> None:
        there, back = Way(), Way()
        host = self.clients[self.scenario.connections[number]]
        client = End(2 * number, host, there, back)
        server = End(2 * number + 1, self.server, back, there)
        client.peer, server.peer = server, client
        self.ends += [client, server]
        self._attach(client, host.endpoint.connect(Path(host.side.ports[0].address, SERVER), host.side.now()))

    def _attach(self, end: End, session: Any) -> None:
        end.session = session
        end.host.ends[session] = end
        end.watch = Watch(session)
        self.watches.append(end.watch)
        for action in end.waits:
            self._act(action)
        end.waits.clear()

    def _move(self, number: int, client: int, at_ns: int, is_host: bool, keep_ns: int) -> None:
        """A client's address changes, and its applications say something: a server could not find it by itself."""
        host = self.clients[client]
        port = host.side.ports[0]
        here = port.public
        assert isinstance(here, tuple)
        self.network.rebind(port, (f"moved {number}", 1) if is_host else (here[0], number + 2), keep_ns=keep_ns)
        for end in host.ends.values():
            if end.session.state == 1 and not end.has_closed:
                self._act(Action("ping", at_ns, end.number))

    # The applications

    def _act(self, action: Action) -> None:
        end = self.ends[action.end]
        if end.session is None:
            if end.peer.closed is None:
                end.waits.append(action)
            return
        if end.has_closed or end.session.state > 1:
            return
        now = end.host.side.now()
        if action.kind == "send":
            self._send(end, action, now)
        elif action.kind == "stream":
            self._open_stream(end, action)
        elif action.kind == "mute":
            end.muted[action.channel] = now + action.span_ns
            self.network.at(
                self.network.elapsed_ns + action.span_ns + SECOND, lambda: self._read_again(end, action.channel)
            )
        else:
            try:
                end.session.ping(end.pings + 1, now)
            except WouldBlock:
                return
            end.pings += 1

    def _payload(self, size: int) -> bytes:
        self._sent += 1
        start = (self._sent * 7919) % (POOL_BYTES - MESSAGE_MAX)
        return self._pool[start : start + size]

    def _send(self, end: End, action: Action, now: int) -> None:
        session = end.session
        most = min(session.send_max, session.channels_max() - 1 and MESSAGE_MAX)
        payload = self._payload(min(action.size, most))
        expires = now + action.span_ns if action.span_ns else 0
        end.out.lane(action.channel, action.delivery).send(payload, expires)
        session.send_copies(payload, action.channel, action.delivery, action.priority, expires, action.copies, now)

    def _open_stream(self, end: End, action: Action) -> None:
        body = self._payload(action.size)
        made = Stream(body)
        number = end.session.open_stream(action.channel, len(body) if action.span_ns & 1 else -1)
        if number != len(end.out.streams):
            raise SoakFailure(f"stream {number} follows {len(end.out.streams)} others")
        end.out.streams.append(made)
        end.streams_out[number] = (made, 0)
        self._write_streams(end)

    def _write_streams(self, end: End) -> None:
        for number, (made, written) in list(end.streams_out.items()):
            while written < len(made.body):
                took = end.session.stream_write(number, made.body[written:])
                if not took:
                    break
                written += took
            end.streams_out[number] = (made, written)
            if written == len(made.body):
                end.session.stream_finish(number)
                del end.streams_out[number]

    def _read_again(self, end: End, channel: int) -> None:
        end.muted.pop(channel, None)
        left = []
        for entry in end.unread:
            if entry[0] == channel:
                end.session.consumed(*entry)
            else:
                left.append(entry)
        end.unread = left

    def _drain(self, host: Host) -> None:
        endpoint = host.endpoint
        for fresh in endpoint.take_fresh():
            self._greet(fresh)
        session = endpoint.take_ready()
        while session is not None:
            following = endpoint.after_ready(session)
            end = host.ends.get(session)
            if end is not None:
                self._take(end)
            session = following

    def _greet(self, session: Any) -> None:
        for end in self.ends:
            if end.number & 1 and end.session is None and end.peer.session.own_cid == session.peer_cid:
                self._attach(end, session)
                return
        raise SoakFailure("the server has a session that nobody opened")

    def _take(self, end: End) -> None:
        session = end.session
        now = end.peer.host.side.now()
        for batch in session.take():
            if end.has_closed:
                raise SoakFailure("a message was handed over after close()")
            if batch.size != sum(map(len, batch.payloads)):
                raise SoakFailure(f"a batch of {batch.size} bytes holds others")
            lane = end.into.lane(batch.channel, batch.delivery)
            for payload in batch.payloads:
                lane.deliver(payload, now)
            self.network.trace.note(self.network.clock.now_ns, f"{end.number} got {len(batch.payloads)} {batch.size}")
            end.counts["messages"] += len(batch.payloads)
            count = len(batch.payloads)
            if batch.delivery < 2:
                entry = (batch.channel, batch.size, count)
                if batch.channel in end.muted:
                    end.unread.append(entry)
                else:
                    session.consumed(*entry)
        for event in session.events():
            self._event(end, event)
        if end.closed is not None:
            end.host.endpoint.forget(session)

    def _event(self, end: End, event: Any) -> None:
        if end.closed is not None:
            raise SoakFailure(f"{event!r} after {end.closed!r}")
        if isinstance(event, Closed):
            end.closed = event
            self.network.trace.note(self.network.clock.now_ns, f"{end.number} {event!r}")
        elif isinstance(event, Established):
            end.is_established = True
        elif isinstance(event, Pong):
            end.pongs += 1
        elif isinstance(event, StreamOpened):
            if event.stream != len(end.streams_in):
                raise SoakFailure(f"{event!r} came as stream {len(end.streams_in)}")
            end.streams_in[event.stream] = end.into.streams[event.stream]
        elif isinstance(event, StreamData):
            end.streams_in[event.stream].deliver(event.data)
            end.session.stream_consumed(event.stream, len(event.data))
        elif isinstance(event, StreamEnded):
            end.streams_in[event.stream].end()
            end.session.stream_consumed(event.stream, 0)
        elif isinstance(event, StreamWritable):
            if end.session.state == 1:
                self._write_streams(end)
        elif isinstance(event, StreamBroken) and end.session.state != CLOSED:
            raise SoakFailure(f"{event!r} in a session that lives")

    # Time

    def _step(self, until: int) -> bool:
        if not self.world.step(until):
            return False
        now = self.network.clock.now_ns
        for watch in self.watches:
            watch.look(now)
        if self.world.steps > STEPS_MAX:
            raise SoakFailure(f"{self.world.steps} steps")
        return True

    def _until(self, at_ns: int) -> None:
        """Runs until `at_ns` after the start."""
        end = self.network.start_ns + at_ns
        while self._step(end):
            pass
        if self.network.clock.now_ns < end:
            self.network.clock.advance_to(end)

    def play(self) -> Run:
        """The whole of it."""
        scenario = self.scenario
        ending = scenario.ending
        if ending.startswith("early"):
            self._until(scenario.ending_ns)
            self._goodbyes(ending)
            self._until(max(scenario.heal_ns, scenario.ending_ns))
        else:
            self._until(scenario.heal_ns)
            self._until_quiet()
            if ending == "vanish":
                self._vanish()
            else:
                self._goodbyes(ending)
        self._until_over(ending)
        self._finish()
        return self

    def _alive(self) -> list[End]:
        """Ends of connections that have opened; the others are checked and left out."""
        found = []
        for end in self.ends:
            if end.closed is None and end.peer.closed is None:
                found.append(end)
            elif not self._never_opened(end):
                raise SoakFailure(f"end {end.number} closed by itself: {end.closed!r}, its peer: {end.peer.closed!r}")
        return found

    def _never_opened(self, end: End) -> bool:
        """Whether the client gave up before the server knew that it was there."""
        client, server = (end.peer, end) if end.number & 1 else (end, end.peer)
        return server.session is None and client.closed is not None and client.closed.code in UNOPENED

    def _until_quiet(self) -> None:
        """Everything that has to arrive does so, in bounded time and without a stall; then the books agree."""
        start = self.network.clock.now_ns
        last = start
        progress = -1
        while True:
            alive = self._alive()
            if all(end.session is not None and self._is_done(end) for end in alive):
                break
            here = sum(way.here for end in alive for way in end.into.lanes.values())
            here += sum(end.session.packets_acked for end in alive if end.session is not None)
            now = self.network.clock.now_ns
            if here != progress:
                progress, last = here, now
            if now - last > STALL_NS + 30 * self._rtt or now - start > FINISH_NS + 60 * self._rtt:
                raise SoakFailure(f"no end {(now - start) / SECOND:.3f} s after the links healed, the last progress "
                                  f"{(last - start) / SECOND:.3f} s after it; " + self._stuck(alive))  # fmt: skip
            for _ in range(20):
                if not self._step(now + SECOND):
                    self.network.clock.advance_to(now + SECOND)
                    break
        self.summary["finish_ms"] = (self.network.clock.now_ns - start) // limits.MS_NS
        self._check_books(alive)

    def _is_done(self, end: End) -> bool:
        session = end.session
        return (end.into.is_complete() and not end.muted and not end.streams_out and not session.has_waiting()
                and not session.in_flight and end.pongs == end.pings)  # fmt: skip

    def _stuck(self, alive: list[End]) -> str:
        parts = []
        for end in alive:
            session = end.session
            if session is None:
                parts.append(f"end {end.number} has no session")
            elif not self._is_done(end):
                state = {name: getattr(session, name) for name in ("in_flight", "queued_bytes", "blocked_bytes")}
                parts.append(f"end {end.number}: missing {end.into.missing()}, muted {end.muted}, waiting "
                             f"{session.has_waiting()}, {state}, window {session.controller.window}, "
                             f"pongs {end.pongs} of {end.pings}, streams {len(end.streams_out)}")  # fmt: skip
        return "; ".join(parts)

    def _check_books(self, alive: list[End]) -> None:
        for end in alive:
            wrong = settled(end.session, end.peer.session)
            if wrong:
                raise SoakFailure(f"from end {end.number}: {wrong}")

    # Endings

    def _goodbyes(self, ending: str) -> None:
        who = {"client": (0,), "server": (1,), "early": (self.scenario.seed & 1,), "abort": (self.scenario.seed & 1,)}
        for end in self.ends:
            session = end.session
            if end.number & 1 not in who.get(ending, (0, 1)) and end.peer.session is not None:
                continue
            if session is None or session.state == CLOSED:
                continue
            now = end.host.side.now()
            if ending == "abort":
                session.abort(CloseCode.NORMAL, "enough", now)
            else:
                if end.is_established:
                    self._send(end, Action("send", 0, end.number, size=2000), now)  # arrives before the goodbye
                session.close(CloseCode.NORMAL, "bye", now)
            end.has_closed = True
        for host in (self.server, *self.clients):
            self._drain_all(host)
        self.world.flush()

    def _drain_all(self, host: Host) -> None:
        """A driver looks for events after a command too."""
        for end in host.ends.values():
            if end.closed is None:
                self._take(end)

    def _vanish(self) -> None:
        for number in range(len(self.scenario.links)):
            for direction in range(2):
                self._link(number, direction).change(self.network.elapsed_ns, down=True)

    def _until_over(self, ending: str) -> None:
        """Both ends know, within a bounded time."""
        start = self.network.clock.now_ns
        span = (100 if ending == "vanish" else 60) * SECOND + FINISH_NS + 60 * self._rtt
        while any(end.session is not None and end.closed is None for end in self.ends):
            if not self._step(start + span):
                open_ends = [(end.number, end.session.state, end.session.in_flight, end.session.has_waiting())
                             for end in self.ends if end.session is not None and end.closed is None]  # fmt: skip
                raise SoakFailure(f"{span / SECOND:g} s after {ending!r} not over at ends {open_ends} "
                                  f"(number, state, in flight, waiting)")  # fmt: skip
        self.summary["over_ms"] = (self.network.clock.now_ns - start) // limits.MS_NS
        for end in self.ends:
            if end.closed is not None and not self._never_opened(end):
                self._check_end(end, ending)

    def _check_end(self, end: End, ending: str) -> None:
        closed = end.closed
        assert closed is not None
        if ending == "vanish":
            if closed.code != CloseCode.IDLE_TIMEOUT:
                raise SoakFailure(f"end {end.number} of a vanished link: {closed!r}")
            return
        if closed.code != CloseCode.NORMAL and not (end.number & 1 == 0 and end.peer.session is None):
            raise SoakFailure(f"end {end.number}: {closed!r} after {ending!r}")
        whole = end.into.is_complete() or (
            end.peer.streams_out and all(w.is_complete() for w in end.into.lanes.values())
        )
        if closed.by_peer and closed.reason == "bye" and end.peer.has_closed and not whole:
            raise SoakFailure(f"end {end.number} was told goodbye before {end.into.missing()}")

    def _finish(self) -> None:
        """Nothing is left: no session, no half-open entry, no timer."""
        self.world.run(600)  # three probe time-outs of a link whose queue was long may take minutes
        for host in (self.server, *self.clients):
            endpoint = host.endpoint
            left = {name: len(getattr(endpoint, name)) for name in
                    ("sessions", "_aliases", "_half_open", "_clients", "_client_keys", "_lingering",
                     "_replies")}  # fmt: skip
            if any(left.values()) or endpoint.due():
                raise SoakFailure(f"{host.side.name} is not empty at the end: {left}, due {endpoint.due()}")
        self._sum()

    def _sum(self) -> None:
        summary = self.summary
        summary["steps"] = self.world.steps
        summary["packets"] = self.network.statistics()["sent"]
        summary["messages"] = sum(end.counts["messages"] for end in self.ends)
        summary["bytes"] = sum(
            len(m.payload) for end in self.ends for lane in end.out.lanes.values() for m in lane.sent
        )
        summary["unopened"] = sum(self._never_opened(end) for end in self.ends) // 2
        summary["virtual_ms"] = self.network.elapsed_ns // limits.MS_NS
        summary["policies"] = sum(watch.session.policy.sent for watch in self.watches)
        for name in ("peak_ranges", "peak_early", "peak_flight"):
            summary[name] = max(getattr(watch, name) for watch in self.watches)

    def digest(self) -> str:
        """The same for the same scenario, on every build and machine."""
        return self.network.trace.hexdigest()
