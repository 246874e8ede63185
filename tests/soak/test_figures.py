"""What reliable UDP promises for long times, slow links and large messages, in virtual time."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path as File

import pytest

from bench.scenarios import moving
from tests.soak.duo import CONFIG, KEY, MIB, MS, SECOND, Duo
from transport import _build, limits
from transport.errors import CloseCode
from transport.rudp.config import RudpConfig
from transport.rudp.endpoint import RudpEndpoint
from transport.sim.config import LinkConfig
from transport.sim.seeds import stream

IS_COMPILED = any(_build.modules().values())


@pytest.mark.slow
def test_a_day_of_idling_and_some_work() -> None:
    """24 hours: 72 short bursts, else keep-alives; no timer runs faster than it has to."""
    duo = Duo(
        CONFIG, LinkConfig(delay_ns=20 * MS, loss=0.01, jitter_ns=2 * MS, rate_bits_per_s=10_000_000), seed=5
    ).opened()
    pool = stream(5, "day").randbytes(100_000)
    sent = 0
    for burst in range(72):
        for number in range(40):
            size = (burst * 977 + number * 7919) % (3000 if number else 60_000)
            duo.near.send(pool[:size], number % 3, number % 2, 0, 0, duo.now)
            duo.far.send(pool[:size], number % 3, number % 2, 0, 0, duo.now)
            sent += 1
        duo.world.run_for(1200)
        assert sum(n for (end, _, _), n in duo.got.items() if end == "far") == sent
        assert not duo.near.has_waiting() and not duo.far.has_waiting()
    assert duo.world.elapsed >= 86_400
    assert duo.near.state == duo.far.state == 1
    for session in (duo.near, duo.far):
        assert 40 * MS <= session.rtt.smoothed < 60 * MS
        assert session.ring.next - session.ring.oldest < 100
        assert session.acks.ranges.range_count() <= limits.RUDP_ACK_RANGES_KEPT
    packets = duo.network.statistics()["sent"]
    assert packets < 72 * 2000 + 86_400 // 15 * 6
    assert duo.world.steps < 3 * packets


@pytest.mark.slow
@pytest.mark.linux
@pytest.mark.skipif(not File("/proc/self/statm").exists(), reason="resident memory is read from /proc")
def test_a_sender_faster_than_its_link_needs_little_memory() -> None:
    """10 Mbit/s, an application that fills its queue whenever it may: both ends and the link within 8 MiB."""
    minutes = 10 if IS_COMPILED else 1
    link = LinkConfig(delay_ns=10 * MS, rate_bits_per_s=10_000_000, queue_bytes=128 * limits.KIB)
    config = replace(CONFIG, mtu=9000)
    duo = Duo(config, link).opened()
    pool = stream(1, "memory").randbytes(200_000)
    page = os.sysconf("SC_PAGE_SIZE")

    def resident() -> int:
        return int(File("/proc/self/statm").read_text().split()[1]) * page

    duo.world.run_for(1)
    before = most = resident()
    sent = 0
    for _ in range(minutes * 60 * 5):
        while duo.near.queued_bytes + duo.near.blocked_bytes < limits.HIGH_WATER_BYTES:
            duo.near.send(pool[sent % 100_000 : sent % 100_000 + 16_000], 0, 0, 0, 0, duo.now)
            sent += 16_000
        duo.world.run_for(0.2)
        most = max(most, resident())
    assert most - before <= 8 * MIB, f"{(most - before) / MIB:.1f} MiB"
    assert duo.bytes["far"] >= 0.9 * 10_000_000 / 8 * minutes * 60


@pytest.mark.slow
@pytest.mark.parametrize("spare", [1, 18], ids=("narrow", "wide"))
def test_the_largest_message_on_two_channels_at_once(spare: int) -> None:
    window = limits.MESSAGE_BYTES_MAX + MIB
    config = replace(CONFIG, max_message=limits.MESSAGE_BYTES_MAX, channel_window=window,
                     connection_window=limits.MESSAGE_BYTES_MAX + spare * MIB,
                     mtu=1452 if IS_COMPILED else 9000)  # fmt: skip
    duo = Duo(config, LinkConfig(delay_ns=10 * MS, loss=0.001, rate_bits_per_s=200_000_000, queue_bytes=MIB)).opened()
    body = stream(1, "large").randbytes(limits.MESSAGE_BYTES_MAX)
    for channel in (1, 2):
        duo.near.send(body, channel, 0, 0, 0, duo.now)
    duo.world.run_until(lambda: duo.got["far", 1, 0] + duo.got["far", 2, 0] == 2, 60)
    assert duo.bytes["far"] == 2 * limits.MESSAGE_BYTES_MAX


@pytest.mark.parametrize("unread", [1, 5], ids=("one", "five"))
def test_unread_channels_do_not_stall_another(unread: int) -> None:
    duo = Duo(CONFIG, LinkConfig(delay_ns=5 * MS, loss=0.01, rate_bits_per_s=100_000_000)).opened()
    body = stream(1, "unread").randbytes(50_000)
    duo.unread = set(range(1, unread + 1))
    each = 6 * MIB // len(body)  # more than a channel may hold
    for channel in duo.unread:
        for _ in range(each):
            duo.near.send(body, channel, 0, 0, 0, duo.now)
    duo.world.run_for(20)
    assert duo.near.channel_queued(1) > MIB
    for number in range(2000):
        duo.near.send(body[: number % 3000], 0, number & 1, 0, 0, duo.now)
    began = duo.now
    duo.world.run_until(lambda: duo.got["far", 0, 0] + duo.got["far", 0, 1] == 2000, 10)
    assert duo.now - began < 3 * SECOND
    held, duo.held, duo.unread = duo.held, [], set()
    for entry in held:
        duo.far.consumed(*entry)
    duo.world.run_until(lambda: all(duo.got["far", channel, 0] == each for channel in range(1, unread + 1)), 60)


@pytest.mark.slow
@pytest.mark.parametrize("is_up", [True, False], ids=["to-the-server", "to-the-client"])
def test_a_port_that_changes_ten_times_a_second(is_up: bool) -> None:
    """Loses nothing, and costs less than a tenth of the goodput; `python -m bench scenarios --only moving` has more."""
    seeds = range(8 if IS_COMPILED else 1)
    still = sum(moving.transfer(seed, is_up, 0, False, 0)["mbit_per_s"] for seed in seeds)
    found = [moving.transfer(seed, is_up, moving.PORT_EVERY_MS, False, moving.KEEP_NS) for seed in seeds]
    assert sum(one["mbit_per_s"] for one in found) >= moving.GOODPUT_PERCENT / 100 * still
    assert not any(one["missing"] for one in found)
    assert all(one["changes"] > 30 for one in found)


def restarted(config: RudpConfig) -> Duo:
    """A client that does not yet know that its server has begun anew, 25 ms away, with the same key."""
    duo = Duo(config, LinkConfig(delay_ns=25 * MS)).opened()
    duo.world.run_for(2)
    duo.server = RudpEndpoint(config, duo.network.entropy("again"), True, KEY)
    duo.sides[1].machine = duo.server
    duo.world.run_for(1)
    assert not duo.closed
    return duo


@pytest.mark.parametrize("checksums", [1, 2, 4], ids=["none", "crc32", "crc32c"])
@pytest.mark.parametrize("delivery", range(4))
def test_a_server_that_was_restarted_is_noticed(delivery: int, checksums: int) -> None:
    """Within a round trip of any packet that asks for an ack, for none is too short for a RESET to be shorter."""
    for size in (*range(24), 64, 1100, 5000):
        duo = restarted(replace(CONFIG, checksums=checksums))
        began = duo.now
        duo.near.send(bytes(size), 0, delivery, 0, 0, duo.now)
        duo.world.run_until(lambda duo=duo: "near" in duo.closed, 10)
        at, event = duo.closed["near"]
        assert (event.code, event.by_peer) == (CloseCode.LOST, True)
        assert at - began == 50 * MS, size


@pytest.mark.parametrize("word", ["ping", "close"])
def test_a_server_that_was_restarted_is_noticed_by_other_words(word: str) -> None:
    duo = restarted(CONFIG)
    began = duo.now
    if word == "ping":
        duo.near.ping(1, duo.now)
    else:
        duo.near.close(CloseCode.NORMAL, "", duo.now)
    duo.world.run_until(lambda: "near" in duo.closed, 10)
    at, event = duo.closed["near"]
    assert event.code == (CloseCode.NORMAL if word == "close" else CloseCode.LOST)
    assert at - began == 50 * MS


def test_an_idle_client_notices_a_restart_by_its_keepalive() -> None:
    duo = Duo(CONFIG, LinkConfig(delay_ns=25 * MS)).opened()
    duo.world.run_for(2)
    duo.server = RudpEndpoint(CONFIG, duo.network.entropy("again"), True, KEY)
    duo.sides[1].machine = duo.server
    duo.world.run_until(lambda: "near" in duo.closed, 16)
    assert duo.closed["near"][1].code == CloseCode.LOST


@pytest.mark.slow
@pytest.mark.parametrize("part", range(2))
@pytest.mark.parametrize("cookie", ["never", "always"])
def test_handshakes_at_thirty_percent_loss(cookie: str, part: int) -> None:
    """Both ends know within 10 s, in 99.9 % of 2,000."""
    count = 1000 if IS_COMPILED else 200
    config = replace(CONFIG, cookie=cookie)
    late = []
    times = []
    for seed in range(part * count, (part + 1) * count):
        duo = Duo(config, LinkConfig(delay_ns=50 * MS, loss=0.3), seed=seed)
        end = duo.now + 10 * SECOND
        while duo.far is None and duo.world.step(end):
            pass
        times.append(duo.network.elapsed_ns)
        if duo.far is None or duo.near.state != 1:
            late.append(seed)
    times.sort()
    print(f"cookie={cookie}: median {times[count // 2] // MS} ms, p99 {times[count * 99 // 100] // MS} ms, late {late}")
    assert len(late) <= count // 1000
