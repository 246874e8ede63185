"""Thin streams on a lossy path, in virtual time: copies, the window and acks have to get on with each other."""

from __future__ import annotations

from typing import Any

import pytest

from transport import limits
from transport.machine import Path
from transport.rudp.config import RudpConfig
from transport.rudp.endpoint import RudpEndpoint
from transport.sim.config import LinkConfig
from transport.sim.network import SimNetwork
from transport.sim.pair import World

MS = limits.MS_NS


class Thin:
    """Messages of `size` bytes from a client to a server, at an interval; `late` is what each took (ns)."""

    def __init__(self, seed: int, link: LinkConfig, config: RudpConfig | None = None) -> None:
        self.network = SimNetwork(seed)
        self.network.connect("c", "s", link)
        self.world = World(self.network)
        config = config or RudpConfig(keepalive_ns=0, idle_ns=0)
        self.server_end = RudpEndpoint(config, self.network.entropy("s"), listening=True)
        self.client_end = RudpEndpoint(config, self.network.entropy("c"))
        self.world.add(self.server_end, "s").on_input = lambda _side: self._take()
        self.world.add(self.client_end, "c")
        self.client = self.client_end.connect(Path("c", "s"), self.world.now_ns)
        self.servers: list[Any] = []
        self.late: list[int] = []
        self._sent: list[int] = []
        self.world.run_until(lambda: self.client.state == 1 and self.servers)

    def _take(self) -> None:
        self.servers += self.server_end.take_fresh()
        session: Any = self.server_end.take_ready()
        while session is not None:
            following = self.server_end.after_ready(session)
            for batch in session.take():
                for payload in batch.payloads:
                    self.late.append(self.world.now_ns - self._sent[int.from_bytes(payload[:4], "big")])
                session.consumed(batch.channel, batch.size, len(batch.payloads))
            session.events()
            session = following

    def stream(self, count: int, interval_ns: int, size: int = 64) -> Thin:
        """Sends `count` messages and waits until all are there."""
        for _ in range(count):
            index = len(self._sent)
            self._sent.append(self.world.now_ns)
            self.client.send(index.to_bytes(4, "big") + bytes(size - 4), 0, 0, 0, 0, self.world.now_ns)
            self.world.run_for(interval_ns / limits.SECOND_NS)
        self.world.run_until(lambda: len(self.late) == len(self._sent))
        return self

    def share_within(self, limit_ns: int) -> float:
        """How many of all messages took no longer."""
        return sum(late <= limit_ns for late in self.late) / len(self.late)


def test_copies_neither_cut_the_window_nor_hold_new_data_up(seed: int) -> None:
    """With its copies this stream fills more than half of the initial window, and 5 % of it are lost."""
    thin = Thin(seed, LinkConfig(delay_ns=50 * MS, loss=0.05)).stream(1500, 5 * MS)
    assert thin.client.controller.window >= 12_000
    assert thin.client.controller.statistics()["cuts"] <= 1, "a run of losses at the very end may be a cut"
    assert thin.client.copies_sent > 4000
    assert thin.share_within(57 * MS) > 0.98
    assert thin.client.copied >= 0


def test_what_is_counted_as_copied_goes_back_to_nothing(seed: int) -> None:
    thin = Thin(seed, LinkConfig(delay_ns=20 * MS, loss=0.1)).stream(300, 5 * MS)
    assert thin.client.copies_sent > 0
    thin.world.run_for(5)
    assert thin.client.in_flight == 0
    assert thin.client.copied == 0


@pytest.mark.parametrize(("size", "rides"), [(limits.RUDP_TINY_BYTES, limits.RUDP_TINY_RIDES),
                                             (limits.RUDP_TINY_BYTES + 1, limits.RUDP_RIDES)])  # fmt: skip
def test_tiny_messages_ride_once_more(size: int, rides: int) -> None:
    thin = Thin(1, LinkConfig(delay_ns=100 * MS)).stream(100, 20 * MS, size)
    assert rides * 95 <= thin.client.copies_sent <= rides * 100


def test_a_receiver_that_wants_an_ack_for_its_acks_makes_no_packet() -> None:
    """After 32 packets that only acknowledge, one asks for an ack itself; that ack rides on the sender's data."""
    thin = Thin(1, LinkConfig(delay_ns=27 * MS), RudpConfig(keepalive_ns=0, idle_ns=0, redundancy=False, skips=False))
    before = thin.client.packets_sent
    thin.stream(500, 10 * MS)
    assert thin.client.acks.sent >= 10
    assert thin.client.packets_sent - before <= 503
    assert thin.servers[0].acks.ranges.range_count() == 1


def test_copies_that_follow_each_other_need_no_number() -> None:
    """The copy of the message before comes last, and the new message right behind it: one byte of head and a length."""
    with_copies = Thin(1, LinkConfig(delay_ns=100 * MS)).stream(200, 20 * MS, 60).client
    plain = Thin(1, LinkConfig(delay_ns=100 * MS), RudpConfig(keepalive_ns=0, idle_ns=0, redundancy=False))
    more = with_copies.bytes_sent - plain.stream(200, 20 * MS, 60).client.bytes_sent
    assert with_copies.copy_bytes <= 200 * (2 * (60 + 5) + 60 + 2)
    assert more <= with_copies.copy_bytes + 100
