"""A sender with a controller on a path of constant delay and no limit: what the tests of the controllers stand on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from transport.rudp.congestion.base import Controller
from transport.rudp.congestion.cubic import Cubic


class Flow:
    """Sends whole packets, as many as the window allows or as the application has, and acknowledges each by itself.

    Attributes:
        now: the present, in nanoseconds.
        most: bytes in flight that the application fills, for an application-limited flow.
        jitter: added to the next round trips.
    """

    def __init__(self, controller: Controller, rtt: int, now: int = 10**9) -> None:
        self.controller = controller
        self.rtt = rtt
        self.now = now
        self.most = 1 << 62
        self.jitter: Callable[[], int] = lambda: 0
        self.pn = 0
        self.in_flight = 0
        self.sent: deque[tuple[int, int, int, int]] = deque()  # number, time, size, time of the ack

    def send(self, spread: bool = False) -> None:
        """Fills the window, at once or evenly over one round trip."""
        size = self.controller.mss
        most = min(self.controller.window, self.most)
        step = self.rtt * size // most if spread else 0
        while self.in_flight + size <= min(self.controller.window, self.most):
            self.now += step
            self.in_flight += size
            self.controller.on_sent(self.pn, size, self.in_flight, self.now)
            arrival = self.now + self.rtt + self.jitter()
            if self.sent:
                arrival = max(arrival, self.sent[-1][3])
            self.sent.append((self.pn, self.now, size, arrival))
            self.pn += 1

    def ack(self, sends: bool = True) -> None:
        """The oldest packet is acknowledged, and what the window allows is sent."""
        number, time, size, arrival = self.sent.popleft()
        self.now = max(self.now, arrival)
        before = self.in_flight
        self.in_flight -= size
        rtt, idle = self.now - time, self.most < self.controller.window
        self.controller.on_ack(size, time, before, rtt, self.rtt, self.rtt, self.now, number, self.pn, idle)
        if sends:
            self.send()

    def round(self) -> None:
        """Everything that is in flight now is acknowledged."""
        last = self.pn
        while self.sent and self.sent[0][0] < last:
            self.ack()

    def drain(self) -> None:
        """Everything is acknowledged and nothing more sent."""
        while self.sent:
            self.ack(sends=False)

    def lose(self) -> None:
        """The oldest packet in flight is declared lost."""
        _, time, size, _ = self.sent.popleft()
        before = self.in_flight
        self.in_flight -= size
        self.controller.on_loss(time, size, before, self.now)

    def recover(self) -> None:
        """Everything sent until now is acknowledged, so that recovery is over."""
        self.send()
        self.round()


def after_a_cut(packets: int, rtt: int, mss: int = 1200) -> Flow:
    """A flow that has just come out of recovery, from a window of `packets` before its first cut."""
    controller = Cubic(mss)
    controller.window = packets * mss
    flow = Flow(controller, rtt)
    flow.send(spread=True)
    flow.lose()
    assert controller.window == packets * mss * 7 // 10
    last = flow.pn
    while flow.sent and flow.sent[0][0] < last:
        flow.ack()
    return flow
