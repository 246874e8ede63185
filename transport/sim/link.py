"""One direction of a simulated link: decides what becomes of each datagram, and when it arrives.

Exists as the compiled heart of the simulator: a decision costs no object but the entry in the air. Each impairment
draws from a random stream of its own, so that one does not shift another. It must never look at a real clock, and
never draw for an impairment that is off.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from dataclasses import replace
from heapq import heappop, heappush
from typing import Any

from transport import limits
from transport.sim.burst import BurstProcess
from transport.sim.config import LinkConfig
from transport.sim.errors import SimulationLimit
from transport.sim.seeds import stream
from transport.sim.trace import Trace

BIT_NS = 8 * limits.SECOND_NS  # nanoseconds that one byte takes at one bit per second
NEVER = 1 << 62
COMPACT_AT = 1024  # entries of the line that are gone, before it is cut
ARRIVES, COPY, DOWN, TOO_LARGE, QUEUE_FULL, LOST, BURST = 0, 1, 2, 3, 4, 5, 6  # `trace.Fate`, as C constants
COUNTERS = ("sent", "sent_bytes", "arrived", "arrived_bytes", "dropped_down", "dropped_mtu", "dropped_queue", "lost",
            "lost_burst", "unreachable", "duplicated", "held_back", "overtook", "corrupted", "marked",
            "peak_queue_bytes")  # fmt: skip
"""What `Link.statistics` counts: datagrams, unless the name says bytes."""


def _undrawn() -> float:
    """Stands where a random stream has not been made yet."""
    raise AssertionError("an impairment that is off was drawn for")


class Entry:
    """A datagram in the air, or an action to come. Made by `Flight`.

    Attributes:
        time, number: when it is due, and the how manieth it is; together its place in the order.
        link: by which it travels; None for an action.
        data, ecn, source, target: the datagram.
        action: what is to be called.
    """

    def fill(self, time: int, number: int, link: Any, data: bytes, ecn: int, source: Any, target: Any,
             action: Any) -> None:  # fmt: skip
        """Sets all of it: made by `__new__`, for calling the class costs as much as the rest of sending a datagram."""
        self.time = time
        self.number = number
        self.link = link
        self.data = data
        self.ecn = ecn
        self.source = source
        self.target = target
        self.action = action

    def is_before(self, other: Entry) -> bool:
        """Whether it is due before `other`."""
        return self.time < other.time or (self.time == other.time and self.number < other.number)


class Line:
    """Entries each of which came behind all before it.

    Attributes:
        first: the one that is due next, None when there is none.
        last: the time of the latest.
        count: how many there are.
    """

    def __init__(self) -> None:
        self.first: Entry | None = None
        self.last = 0
        self.count = 0
        self._entries: list[Entry | None] = []
        self._head = 0  # of the list: those before it are gone

    def append(self, entry: Entry) -> None:
        """Puts one behind all others; it is due no earlier than they are."""
        self._entries.append(entry)
        self.last = entry.time
        self.count += 1
        if self.first is None:
            self.first = entry

    def drop(self) -> None:
        """Lets go of the first."""
        entries = self._entries
        entries[self._head] = None
        self._head += 1
        self.count -= 1
        if not self.count or (self._head >= COMPACT_AT and 2 * self._head >= len(entries)):
            del entries[: self._head]
            self._head = 0
        self.first = entries[self._head] if self.count else None


class Flight:
    """Datagrams in the air and actions to come, by time, then in the order they were put in.

    Most datagrams arrive behind all others of their way: they stand in one of two lines, for the two ways of a
    conversation, which costs nothing to keep in order. The others, and actions, are in a heap.
    """

    def __init__(self, events_max: int = limits.SIM_EVENTS_MAX, bytes_max: int = limits.SIM_FLIGHT_BYTES) -> None:
        self.events_max = events_max
        self.bytes_max = bytes_max
        self.number = 0
        self.bytes = 0
        self._first: Entry | None = None  # of all
        self._one = Line()
        self._two = Line()
        self._heap: list[tuple[int, int, Entry]] = []

    def __len__(self) -> int:
        return len(self._heap) + self._one.count + self._two.count

    def push(self, time: int, link: Any, data: bytes, ecn: int, source: Any, target: Any) -> None:
        """Puts one datagram in the air until `time`. Raises SimulationLimit when there are too many."""
        one, two = self._one, self._two
        if len(self._heap) + one.count + two.count >= self.events_max:
            raise SimulationLimit("SIM_EVENTS_MAX", self.events_max, "datagrams in the air")
        self.bytes += len(data)
        if self.bytes > self.bytes_max:
            raise SimulationLimit("SIM_FLIGHT_BYTES", self.bytes_max, "bytes in the air")
        self.number += 1
        entry = Entry.__new__(Entry)
        entry.fill(time, self.number, link, data, ecn, source, target, None)
        if not one.count or (time >= one.last and (time < two.last or one.last >= two.last)):
            one.append(entry)
        elif not two.count or time >= two.last:
            two.append(entry)
        else:
            heappush(self._heap, (time, self.number, entry))
        if self._first is None or time < self._first.time:
            self._first = entry

    def act(self, time: int, action: Callable[[], object]) -> None:
        """Has `action` called at `time`, in order with the datagrams."""
        if len(self) >= self.events_max:
            raise SimulationLimit("SIM_EVENTS_MAX", self.events_max, "actions to come")
        self.number += 1
        entry = Entry.__new__(Entry)
        entry.fill(time, self.number, None, b"", 0, None, None, action)
        heappush(self._heap, (time, self.number, entry))
        if self._first is None or time < self._first.time:
            self._first = entry

    def next_time(self) -> int:
        """When the next entry is due, or -1 when there is none."""
        return -1 if self._first is None else self._first.time

    def pop(self, now: int) -> Entry | None:
        """The next entry that is due at `now`, or None."""
        entry = self._first
        if entry is None or entry.time > now:
            return None
        if entry is self._one.first:
            self._one.drop()
        elif entry is self._two.first:
            self._two.drop()
        else:
            heappop(self._heap)
        self._first = self._earliest()
        self.bytes -= len(entry.data)
        return entry

    def _earliest(self) -> Entry | None:
        """The entry that is due next, of the lines or of the heap; None when there is none."""
        first, other = self._one.first, self._two.first
        if first is None or (other is not None and other.is_before(first)):
            first = other
        if self._heap:
            other = self._heap[0][2]
            if first is None or other.is_before(first):
                first = other
        return first


class Link:
    """One direction between two addresses. Made by `SimNetwork.link`; its counters are in `statistics()`.

    Attributes:
        number: counts the links of a network, from 1; names the link in the trace.
        name: (source, target).
        config: what holds now.
        latest_in_order: when the last of those arrives that keep their order (ns).
    """

    def __init__(self, number: int, name: tuple[Any, Any], config: LinkConfig, seed: int, epoch: int,
                 flight: Flight, trace: Trace | None) -> None:  # fmt: skip
        self.number = number
        self.name = name
        self.seed = seed
        self.epoch = epoch
        self.flight = flight
        self.trace = trace
        self._changes: list[tuple[int, int, dict[str, Any]]] = []
        self._change_number = 0
        self._blackouts: list[tuple[int, int]] = []
        self._burst: BurstProcess | None = None
        self._bag: list[bool] = []
        self.last_target: Any = None  # the network's: who had that name, when its names were of that version
        self.last_holder: Any = None
        self.last_version = -1
        self._free_at = self._remainder = self._latest = self.latest_in_order = 0
        self.sent = self.sent_bytes = self.arrived = self.arrived_bytes = 0
        self.dropped_down = self.dropped_mtu = self.dropped_queue = self.lost = self.lost_burst = 0
        self.duplicated = self.held_back = self.overtook = self.corrupted = self.marked = self.unreachable = 0
        self.peak_queue_bytes = 0
        self._draw_loss = self._draw_jitter = self._draw_duplicate = _undrawn
        self._draw_reorder = self._draw_corrupt = _undrawn
        self._rate = 0
        self._marks = False
        self.config = config
        self._apply(config, epoch)

    # What holds: configuration and its changes

    def configure(self, config: LinkConfig, now: int) -> None:
        """Replaces the configuration from `now` on. What is in the air or queued keeps its time."""
        self._settle(now)
        self._apply(config, now)

    def change(self, at_ns: int, **changes: Any) -> None:
        """Changes fields of the configuration for what is sent `at_ns` nanoseconds after the network's start or later.

        Changes are made in order of time; two for one instant in the order of the calls.
        """
        if len(self._changes) >= limits.SIM_CHANGES_MAX:
            raise SimulationLimit("SIM_CHANGES_MAX", limits.SIM_CHANGES_MAX, "scheduled changes of a link")
        replace(self.config, **changes)  # a mistake is to be raised here, not in the middle of the run
        self._change_number += 1
        insort(self._changes, (self.epoch + at_ns, self._change_number, changes))
        self._look_ahead()

    def _settle(self, now: int) -> None:
        """Makes the changes whose time has come, and looks what comes next."""
        while self._changes and self._changes[0][0] <= now:
            time, _, changes = self._changes.pop(0)
            self._apply(replace(self.config, **changes), time)
        while self._blackouts and self._blackouts[0][1] <= now:
            self._blackouts.pop(0)
        self._look_ahead()

    def _look_ahead(self) -> None:
        self._change_at = min(self._changes[0][0] if self._changes else NEVER,
                              self._blackouts[0][0] if self._blackouts else NEVER)  # fmt: skip

    def _apply(self, config: LinkConfig, now: int) -> None:
        burst = config.burst
        if burst is None:
            self._burst = None
        elif self._burst is None or burst != self.config.burst:
            self._burst = BurstProcess(burst, stream(self.seed, self.name, "burst state").random, now)
        self.config = config
        self._delay = config.delay_ns
        self._jitter = config.jitter_ns
        self._jitter_reorders = config.jitter_reorders
        self._loss = config.loss
        self._loss_per = config.loss_per
        self._bag = []
        self._duplicate = config.duplicate
        self._reorder = config.reorder
        self._reorder_ns = config.reorder_ns
        self._corrupt = config.corrupt
        self._corrupt_bits = config.corrupt_bits
        self._set_rate(config.rate_bits_per_s, now)
        self._queue_bytes = config.queue_bytes
        self._mark_bytes = -1 if config.ecn_mark_bytes is None else config.ecn_mark_bytes
        self._ecn_clear = config.ecn_clear
        self._mtu = config.mtu
        self._overhead = config.overhead_bytes
        self._down = config.down
        self._make_streams(config)
        self._blackouts = [(self.epoch + start, self.epoch + end) for start, end in config.blackouts]
        self._look_ahead()

    def _set_rate(self, rate: int, now: int) -> None:
        """A queue that stands goes on at the new rate; what has left it keeps its time, and stays first."""
        if rate != self._rate:
            waiting = self.queued_bytes(now)
            self._rate = rate
            self._remainder = 0
            self._free_at = now + waiting * BIT_NS // rate if rate else now

    def _make_streams(self, config: LinkConfig) -> None:
        """Streams exist from the first time that they are needed: each is 2.5 KB of state."""
        if self._draw_loss is _undrawn and (config.loss or config.burst):
            self._draw_loss = stream(self.seed, self.name, "loss").random
        if self._draw_jitter is _undrawn and config.jitter_ns:
            self._draw_jitter = stream(self.seed, self.name, "jitter").random
        if self._draw_duplicate is _undrawn and config.duplicate:
            self._draw_duplicate = stream(self.seed, self.name, "duplicate").random
        if self._draw_reorder is _undrawn and config.reorder:
            self._draw_reorder = stream(self.seed, self.name, "reorder").random
        if self._draw_corrupt is _undrawn and config.corrupt:
            self._draw_corrupt = stream(self.seed, self.name, "corrupt").random

    # One datagram

    def send(self, data: bytes, ecn: int, now: int, source: Any, target: Any) -> int:
        """Decides on one datagram sent at `now`; returns its `Fate`. `source` and `target` travel with it."""
        if now >= self._change_at:
            self._settle(now)
        self.sent += 1
        self.sent_bytes += len(data)
        fate = self._enter(len(data) + self._overhead, now)
        arrival = 0
        leaves = now
        if fate == ARRIVES:
            if self._rate:
                leaves = self._free_at
            fate = self._loses(leaves)
            if fate == ARRIVES:
                if self._ecn_clear:
                    ecn = 0
                elif self._marks and ecn in (1, 2):
                    ecn = 3
                    self.marked += 1
                if self._corrupt > 0.0 and self._draw_corrupt() < self._corrupt:
                    data = self._flip(data)
                arrival = self._arrival(leaves)
                self.flight.push(arrival, self, data, ecn, source, target)
        if self.trace is not None:
            self.trace.datagram(fate, self.number, now, data, arrival)
        if arrival and self._duplicate > 0.0 and self._draw_duplicate() < self._duplicate:
            self._copy(data, ecn, now, leaves, source, target)
        return fate

    def _enter(self, wire: int, now: int) -> int:
        """The way onto the wire: blackout, MTU and the queue before the rate. 0, or the fate of a dropped one."""
        if self._down or (self._blackouts and self._blackouts[0][0] <= now):
            self.dropped_down += 1
            return DOWN
        if 0 < self._mtu < wire:
            self.dropped_mtu += 1
            return TOO_LARGE
        self._marks = False
        if self._rate == 0:
            return 0
        backlog = wire
        if self._free_at <= now:
            self._free_at = now
            self._remainder = 0
        else:
            backlog += self.queued_bytes(now)
        if backlog > self._queue_bytes:
            self.dropped_queue += 1
            return QUEUE_FULL
        self.peak_queue_bytes = max(self.peak_queue_bytes, backlog)
        self._marks = 0 <= self._mark_bytes < backlog
        work = wire * BIT_NS + self._remainder  # the remainder keeps the rate exact over any number of datagrams
        self._free_at += work // self._rate
        self._remainder = work % self._rate
        return 0

    def queued_bytes(self, now: int) -> int:
        """Bytes before the bottleneck at `now`: what is left to send at its rate, rounded up."""
        if self._rate == 0 or self._free_at <= now:
            return 0
        return ((self._free_at - now) * self._rate + self._remainder + BIT_NS - 1) // BIT_NS

    def opens_at(self, now: int) -> int:
        """When a blackout no longer drops what is sent: `now`, a later time, or -1 when no end of it is known."""
        if now >= self._change_at:
            self._settle(now)
        if self._blackouts and self._blackouts[0][0] <= now:
            end: int = self._blackouts[0][1]
            return end
        if not self._down:
            return now
        return self._changes[0][0] if self._changes else -1

    def _loses(self, time: int) -> int:
        """0, or how the datagram that leaves at `time` is lost."""
        if self._burst is not None:
            loss = self._burst.loss(time)
            if loss > 0.0 and (loss >= 1.0 or self._draw_loss() < loss):
                self.lost_burst += 1
                return BURST
        if self._loss_per:
            lost = self._from_bag()
        else:
            lost = self._loss > 0.0 and self._draw_loss() < self._loss
        if lost:
            self.lost += 1
            return LOST
        return 0

    def _from_bag(self) -> bool:
        """One of a shuffled bag that holds exactly `loss * loss_per` losses."""
        if not self._bag:
            losses = round(self._loss * self._loss_per)
            self._bag = [index < losses for index in range(self._loss_per)]
            if losses:
                for index in range(self._loss_per - 1, 0, -1):
                    other = int(self._draw_loss() * (index + 1))
                    self._bag[index], self._bag[other] = self._bag[other], self._bag[index]
        return self._bag.pop()

    def _flip(self, data: bytes) -> bytes:
        if not data:
            return data
        self.corrupted += 1
        altered = bytearray(data)
        for _ in range(self._corrupt_bits):
            draw = self._draw_corrupt()
            bit = int(draw * (len(altered) * 8))
            altered[bit >> 3] ^= 1 << (bit & 7)
        return bytes(altered)

    def _arrival(self, leaves: int) -> int:
        """When a datagram that left at `leaves` arrives. Draws the jitter and the reordering."""
        time = leaves + self._delay
        if self._jitter:
            draw = self._draw_jitter()
            time += int(draw * (self._jitter + 1))
        if self._reorder > 0.0 and self._draw_reorder() < self._reorder:
            self.held_back += 1
            time += self._reorder_ns
        elif not self._jitter_reorders:
            time = max(time, self.latest_in_order)
            self.latest_in_order = time
        if time < self._latest:
            self.overtook += 1
        else:
            self._latest = time
        return time

    def _copy(self, data: bytes, ecn: int, now: int, leaves: int, source: Any, target: Any) -> None:
        self.duplicated += 1
        arrival = self._arrival(leaves)
        self.flight.push(arrival, self, data, ecn, source, target)
        if self.trace is not None:
            self.trace.datagram(COPY, self.number, now, data, arrival)

    def statistics(self) -> dict[str, int]:
        """Counters by name; `sent + duplicated` = arrived + dropped + lost + unreachable + in the air."""
        return {name: getattr(self, name) for name in COUNTERS}

    def add_to(self, total: dict[str, int]) -> None:
        """Adds these counters to sums of many links; of peaks the highest stays."""
        for name, count in self.statistics().items():
            total[name] = max(total[name], count) if name == "peak_queue_bytes" else total[name] + count
