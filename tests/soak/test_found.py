"""What the soak has found, each in its smallest form."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.soak.run import Run
from tests.soak.scenario import Action, Scenario, Side
from transport import _build, limits
from transport.rudp.config import RudpConfig
from transport.sim.config import BurstLoss, LinkConfig

IS_COMPILED = any(_build.modules().values())
MS, SECOND = limits.MS_NS, limits.SECOND_NS
CONFIG = RudpConfig(max_message=400_000, checksums=2, keepalive_ns=0, idle_ns=90 * SECOND, handshake_ns=60 * SECOND)


def scenario(actions: list[Action], link: LinkConfig, back: LinkConfig | None = None, seed: int = 1,
             config: RudpConfig = CONFIG, ending: str = "both") -> Scenario:  # fmt: skip
    """One client, one server, links that are well after 10 s."""
    side = Side(config)
    return Scenario(seed, side, (side,), (0,), ((link, link if back is None else back),), (), (), 10 * SECOND,
                    tuple(actions), ending, 0)  # fmt: skip


def test_a_client_that_goes_away_in_the_handshake_leaves_nothing() -> None:
    hasty = replace(CONFIG, handshake_ns=2 * SECOND)
    run = Run(scenario([], LinkConfig(), LinkConfig(down=True), config=hasty)).play()
    assert run.summary["unopened"] == 1
    assert run.server.endpoint.statistics()["half_open_dropped"] == 1


@pytest.mark.parametrize("seed", range(8))
def test_a_message_that_expires_unsent_lends_its_bytes_to_no_copy(seed: int) -> None:
    actions = [Action("send", MS, 0, size=40, span_ns=MS)]
    actions += [Action("send", 2 * MS + 5 * i * MS, 0, size=10 + i) for i in range(40)]
    Run(scenario(actions, LinkConfig(delay_ns=20 * MS, loss=0.3), seed=seed)).play()


def test_a_message_given_up_as_the_last_but_one_is_passed() -> None:
    """The SKIP stood behind a message without a length, which took it for its own bytes."""
    actions = [
        Action("send", 3 * SECOND, 1, size=28_763, priority=5, span_ns=58 * MS),
        Action("send", 3 * SECOND, 1, size=1),
    ]
    Run(scenario(actions, LinkConfig(delay_ns=50 * MS))).play()


def test_no_successor_stands_behind_a_skip() -> None:
    actions = [Action("send", SECOND + i * MS // 5, 0, size=60, span_ns=60 * MS if i % 2 else 0) for i in range(300)]
    alone = replace(CONFIG, redundancy=False)
    for seed in (391, *range(8)):
        Run(scenario(actions, LinkConfig(delay_ns=10 * MS, loss=0.3), seed=seed, config=alone)).play()


def test_a_loss_timer_that_was_late_for_the_probe_does_both() -> None:
    """`expire` declared packets lost and left a probe time-out that was due already for another call."""
    first = 1_574_727_797
    actions = [Action("send", first + 10_299_350 * i, 1, 255, 0, size) for i, size in enumerate((7, 30, 0, 8, 22))]
    actions.append(Action("stream", 1_768_126_025, 0, 2, size=36_412))
    burst = BurstLoss(good_ns=82_053_371, bad_ns=59_875_949, loss_bad=0.53076171875)
    there = LinkConfig(delay_ns=5 * MS, jitter_ns=32_550_801, burst=burst, reorder=0.22265625, reorder_ns=10_000,
                       rate_bits_per_s=8_136_617, queue_bytes=262_144, overhead_bytes=28)  # fmt: skip
    back = LinkConfig(delay_ns=5 * MS, reorder=0.00244140625, reorder_ns=88_989_448, rate_bits_per_s=207_254,
                      queue_bytes=49_841, overhead_bytes=28)  # fmt: skip
    plain = RudpConfig(max_message=400_000, checksums=2, idle_ns=60 * SECOND, handshake_ns=120 * SECOND)
    server = replace(plain, start_window=4096, congestion="none", redundancy=False, skips=False, cookie="always")
    client = replace(plain, stream_window=65_536, keepalive_ns=0, mtu=1300)
    Run(Scenario(2127, Side(server), (Side(client),), (0,), ((there, back),), (), (), 11_029 * MS, tuple(actions),
                 "early", 13_375 * MS)).play()  # fmt: skip


@pytest.mark.parametrize("seed", range(8))
def test_two_deliveries_of_a_channel_wait_for_its_credit_each(seed: int) -> None:
    """A small message that had credit hid that a large one waited: the peer was not told again."""
    actions = [Action("send", MS, 1, delivery=1, size=26), Action("send", MS, 1, delivery=0, size=117_526)]
    narrow = replace(CONFIG, start_window=4096)
    Run(scenario(actions, LinkConfig(delay_ns=100 * MS), LinkConfig(delay_ns=100 * MS, loss=0.5), seed, narrow)).play()


@pytest.mark.slow
def test_packets_under_way_are_bounded_by_the_ring() -> None:
    """Data stops before the ring is full; acks and probes, which can't, push the oldest packet out."""
    count = 71_000 if IS_COMPILED else 2000
    actions = [Action("send", 3 * SECOND + i * 14_000, 0 if i % 17 else 1, delivery=1 + 2 * (i & 1), size=1)
               for i in range(count)]  # fmt: skip
    wide = replace(
        CONFIG, congestion="none", redundancy=False, channel_window=4 * limits.MIB, start_window=4 * limits.MIB
    )
    run = Run(scenario(actions, LinkConfig(delay_ns=SECOND), config=wide, ending="client")).play()
    assert run.ends[0].session.packets_lost or not IS_COMPILED


@pytest.mark.slow
def test_gaps_above_their_bound_are_refused_and_come_again() -> None:
    """Unordered messages, a packet each: half of them lost at a round trip of 2 s leaves thousands of gaps."""
    count = 20_000 if IS_COMPILED else 2000
    actions = [Action("send", 3 * SECOND + i * 50_000, 0, delivery=1, size=1) for i in range(count)]
    wide = replace(
        CONFIG, congestion="none", redundancy=False, channel_window=4 * limits.MIB, start_window=4 * limits.MIB
    )
    there, back = LinkConfig(delay_ns=SECOND, loss=0.5), LinkConfig(delay_ns=SECOND)
    run = Run(scenario(actions, there, back, config=wide)).play()
    assert run.ends[1].session.packets_refused or not IS_COMPILED


@pytest.mark.parametrize("lag", range(11_000_000, 16_000_000, 500_000))
def test_a_session_that_was_removed_in_its_turn_is_not_armed_again(lag: int) -> None:
    """Its peer's packet and the end of its lingering came in one late wake-up."""
    actions = [Action("send", 7_023 * MS, 0, size=1), Action("send", 7_065 * MS, 0, size=11)]
    link = LinkConfig(delay_ns=5 * MS)
    made = scenario(actions, link, config=replace(CONFIG, checksums=6))
    late = Side(made.clients[0].config, lag_ns=lag)
    Run(replace(made, clients=(late,), server=replace(made.server, lag_ns=1_634_965), heal_ns=7_025 * MS)).play()


@pytest.mark.parametrize("size", range(11_800, 12_700, 100))
def test_the_end_of_an_unreliable_message_that_expires_is_let_go(size: int) -> None:
    """Its first packets had left; the rest was passed over and counted as queued for ever."""
    actions = [Action("send", 3 * SECOND, 1, delivery=2, size=size, span_ns=58 * MS)]
    Run(scenario(actions, LinkConfig(delay_ns=50 * MS))).play()
