"""A sender with a controller on a path with a bottleneck and a queue: what tests of models of the path stand on.

It does what `transport.rudp.recovery` does to a controller, without packets: every packet is acknowledged by itself,
one that three later ones overtake is lost, and so is everything when nothing comes any more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from transport.rudp.congestion.base import Controller
from transport.rudp.congestion.rates import Mark

SECOND = 10**9
MS = 10**6
THRESHOLD = 3


class Sent:
    """A packet in flight, or declared lost."""

    def __init__(self, pn: int, time: int, size: int, mark: Mark | None) -> None:
        self.pn = pn
        self.time = time
        self.size = size
        self.mark = mark


class Path:
    """Sends whole packets, paced, as many as the window allows or as the application has.

    Attributes:
        now: the present, in nanoseconds.
        rate: of the bottleneck, bytes per second.
        rtt: without a queue, ns.
        queue: bytes that may wait before the bottleneck, then the newest is dropped.
        most: bytes in flight that the application fills, for an application-limited flow.
        drops: asked for each packet number whether the path loses it.
        marks: asked for each packet number whether the path marks it.
        batch: ns; acks leave the receiver only at multiples of it, all that have come.
        delivered: bytes acknowledged.
    """

    def __init__(self, controller: Controller, rate: int, rtt: int, queue: int = 1 << 40) -> None:
        self.controller: Any = controller
        self.rate = rate
        self.rtt = rtt
        self.queue = queue
        self.now = SECOND
        self.most = 1 << 62
        self.drops: Callable[[int], bool] = lambda pn: False
        self.marks: Callable[[int], bool] = lambda pn: False
        self.batch = 0
        self.pn = 0
        self.in_flight = 0
        self.delivered = 0
        self.lost = 0
        self.flight: dict[int, Sent] = {}
        self.gone: dict[int, Sent] = {}  # declared lost
        self.arrivals: deque[tuple[int, list[int]]] = deque()
        self.min_rtt = 0
        self._free_at = 0
        self._next_send = 0
        self._largest = -1

    # One step

    def step(self) -> None:
        """Goes to the next instant at which a packet leaves or is acknowledged."""
        acked_at = self.arrivals[0][0] if self.arrivals else 1 << 62
        sends = self.in_flight + self.controller.mss <= min(self.controller.window, self.most)
        if sends and max(self.now, self._next_send) <= acked_at:
            self.now = max(self.now, self._next_send)
            self._send()
        elif self.arrivals:
            at, numbers = self.arrivals.popleft()
            self.now = max(self.now, at)
            self.ack(numbers)
        else:
            self.now += 3 * self.rtt  # everything was dropped
            self._lose(sorted(self.flight))

    def _send(self) -> None:
        controller, size = self.controller, self.controller.mss
        self.in_flight += size
        mark = None
        if controller.samples is not None:
            mark = controller.samples.on_sent(None, size, self.in_flight, self.now)
        controller.on_sent(self.pn, size, self.in_flight, self.now)
        self.flight[self.pn] = Sent(self.pn, self.now, size, mark)
        pace = controller.rate(self.rtt)
        self._next_send = self.now + (size * SECOND // pace if pace else 0)
        backlog = max(0, self._free_at - self.now) * self.rate // SECOND
        if backlog + size <= self.queue:
            self._free_at = max(self._free_at, self.now) + size * SECOND // self.rate
            if not self.drops(self.pn):
                self._arrive(self._free_at + self.rtt)
        self.pn += 1
        if self.in_flight + size > self.most:
            self.dry()

    def _arrive(self, at: int) -> None:
        if self.batch:
            at = -(-at // self.batch) * self.batch
            if self.arrivals and self.arrivals[-1][0] == at:
                self.arrivals[-1][1].append(self.pn)
                return
        self.arrivals.append((at, [self.pn]))

    def dry(self) -> None:
        """The application has no more."""
        if self.controller.samples is not None and self.in_flight < self.controller.window:
            self.controller.samples.on_dry(self.in_flight)

    def ack(self, numbers: list[int]) -> None:
        """These have arrived, whatever was thought of them; told by one ACK frame."""
        controller, samples = self.controller, self.controller.samples
        before, acked = self.in_flight, 0
        if samples is not None:
            samples.begin()
        packet = self.flight.get(numbers[-1]) or self.gone[numbers[-1]]
        for pn in numbers:
            packet = self.flight.get(pn) or self.gone[pn]
            if samples is not None:
                samples.on_acked(packet.mark, pn, packet.size, packet.time, self.now)
            if self.flight.pop(pn, None):
                self.in_flight -= packet.size
                acked += packet.size
                self.min_rtt = min(self.min_rtt or 1 << 62, self.now - packet.time)
            else:
                del self.gone[pn]
                controller.on_spurious(self.now, packet.time, packet.size)
            self.delivered += packet.size
        last = packet
        self._largest = max(self._largest, *numbers)
        if acked:
            sample, is_limited = self.now - last.time, self.most < controller.window
            controller.on_ack(acked, last.time, before, sample, self.rtt, self.min_rtt, self.now, self._largest,
                              self.pn, is_limited)  # fmt: skip
        self._lose([pn for pn in self.flight if pn <= self._largest - THRESHOLD], before)
        if samples is not None:
            if any(self.marks(pn) for pn in numbers):
                controller.on_ecn(last.time, self.now)
            samples.finish(self.min_rtt)
            controller.on_sample(self.in_flight, self.now)

    def find(self) -> None:
        """Whatever was declared lost arrives."""
        if self.gone:
            self.ack(sorted(self.gone))

    def _lose(self, numbers: list[int], before: int = 0) -> None:
        if not numbers:
            return
        controller = self.controller
        before = before or self.in_flight
        for pn in numbers:
            packet = self.gone[pn] = self.flight.pop(pn)
            self.in_flight -= packet.size
            self.lost += packet.size
            if controller.samples is not None:
                controller.samples.lost += packet.size
                controller.on_packet_lost(packet.mark, pn, packet.size, packet.time, self.now)
        sizes = sum(self.gone[pn].size for pn in numbers)
        controller.on_loss(self.gone[numbers[-1]].time, sizes, before, self.now)

    # Many steps

    def run_for(self, seconds: float) -> None:
        """Goes on for so long."""
        end = self.now + round(seconds * SECOND)
        while self.now < end:
            self.step()

    def run_until(self, predicate: Callable[[], object], seconds: float = 60.0) -> None:
        """Goes on until `predicate()`; fails after so long."""
        end = self.now + round(seconds * SECOND)
        while not predicate():
            assert self.now < end, "it did not come to that"
            self.step()

    def goodput(self, seconds: float) -> float:
        """Bytes per second over the next `seconds`."""
        before, began = self.delivered, self.now
        self.run_for(seconds)
        return (self.delivered - before) * SECOND / (self.now - began)

    def idle(self, seconds: float) -> None:
        """The application pauses: all in flight is acknowledged, then nothing happens for so long."""
        self.most, most = 0, self.most
        while self.arrivals:
            self.step()
        self._lose(sorted(self.flight))
        self.dry()
        self.now += round(seconds * SECOND)
        self.most = most
