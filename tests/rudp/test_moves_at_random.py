"""Clients that move at random, by a NAT and on purpose, over links that change and lose: all arrives, the books agree.

Beside the soak, which has no client that moves on purpose: here it takes other connection ids, often while a probe, a
handshake, a recovery or a goodbye is under way.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.rudp.moving import CLIENT, MS, SERVER, Moving
from transport import limits
from transport.rudp.config import RudpConfig
from transport.rudp.states import SENT
from transport.sim.config import LinkConfig

HOMES = [("c", 2), ("c", 3), ("d", 1), ("d", 2), ("e", 1), ("f", 1)]
WIDTHS = (1200, 1280, 1400, 1472, 9000, 65_000)
SEEDS = 40


def link(draw: random.Random) -> LinkConfig:
    """One way."""
    rate = draw.choice((0, 2_000_000, 20_000_000, 200_000_000))
    return LinkConfig(
        delay_ns=draw.choice((MS // 10, 5 * MS, 40 * MS, 150 * MS)), loss=draw.choice((0, 0, 0.02, 0.2)),
        reorder=draw.choice((0, 0, 0.1)), reorder_ns=draw.choice((MS, 30 * MS)), duplicate=draw.choice((0, 0, 0.05)),
        mtu=draw.choice(WIDTHS), rate_bits_per_s=rate, queue_bytes=200_000,
    )  # fmt: skip


def balanced(session: Any) -> None:
    """What is in flight is what the records say, and no more records and ids are kept than may be."""
    ring = session.ring
    packets = [ring.get(number) for number in range(ring.oldest, ring.next)]
    sent = [packet for packet in packets if packet.state == SENT]
    assert session.in_flight == sum([packet.size for packet in sent])
    assert session.copied == sum([packet.copied for packet in sent])
    assert len(packets) <= limits.RUDP_RING_MAX
    assert session.controller.window > 0
    if session.ids is not None:
        assert len(session.ids.own) <= 2
        assert len(session.ids.pool) < limits.RUDP_CIDS_MAX


def play(seed: int) -> Moving:
    """A connection of a few seconds; returned with all that was said."""
    draw = random.Random(seed)
    config = RudpConfig(
        checksums=2, congestion=draw.choice(("cubic", "newreno", "bbr", "bbr", "none")), keepalive_ns=2000 * MS,
        mtu_max=draw.choice((1200, 65_000, 65_000)), redundancy=draw.random() < 0.5, ecn=draw.random() < 0.5,
    )  # fmt: skip
    duo = Moving(LinkConfig(delay_ns=draw.choice((MS, 50 * MS))), config, seed, tuple(HOMES))
    said: dict[str, list[bytes]] = {"near": [], "far": []}
    moves = draw.choice((1, 3, 20))
    own = True
    for _ in range(draw.randrange(10, 60)):
        action = draw.random()
        if action < 0.5:
            end = draw.choice(("near", "far"))
            body = draw.randbytes(draw.choice((1, 64, 1000, 20_000, 100_000)))
            getattr(duo, end).send(body, 0, 0, 0, 0, duo.now)
            said["far" if end == "near" else "near"].append(body)
        elif action < 0.75 and moves:
            moves -= 1
            if own and draw.random() < 0.7:
                duo.goes_to(draw.choice([CLIENT, *HOMES]))
            else:  # from then on a NAT hides where it is
                own = False
                local = duo.near.path.local
                port = next(side for side in duo.world.sides if side.machine is duo.client).ports
                public = (draw.choice("cdg"), draw.randrange(100, 60_000))
                duo.network.rebind(next(one for one in port if one.address == local), public,
                                   keep_ns=draw.choice((0, 50 * MS)))  # fmt: skip
        elif action < 0.85:
            for home in (CLIENT, *HOMES):
                duo.network.connect(home, SERVER, link(draw), link(draw))
        duo.world.run_for(draw.choice((0, 0.001, 0.02, 0.2, 1.1)))
        balanced(duo.near)
        balanced(duo.far)
    for home in (CLIENT, *HOMES):
        duo.network.connect(home, SERVER, LinkConfig(delay_ns=20 * MS, mtu=draw.choice(WIDTHS)))
    duo.world.run_until(lambda: all(len(duo.got[end]) >= len(said[end]) for end in said), 100)
    assert duo.got == said, f"seed {seed}"
    assert not duo.closed, f"seed {seed}: {duo.closed}"
    draw.choice((duo.near, duo.far)).close(7, "bye", duo.now)
    if draw.random() < 0.5 and own:
        duo.world.run_for(draw.choice((0, 0.01, 0.03)))
        duo.goes_to(draw.choice(HOMES))
    duo.world.run_until(lambda: len(duo.closed) == 2, 60)
    assert {closed.code for closed in duo.closed.values()} == {7}, f"seed {seed}: {duo.closed}"
    duo.world.run_for(30)
    for endpoint in (duo.client, duo.server):
        assert not endpoint.sessions, f"seed {seed}"
        assert not endpoint._aliases, f"seed {seed}"
        assert not endpoint._probing, f"seed {seed}"
        assert not endpoint.due(), f"seed {seed}"
    return duo


@pytest.mark.parametrize("seed", range(SEEDS))
def test_moves_at_random(seed: int) -> None:
    play(seed)
