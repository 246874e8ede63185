"""The loads: what they count, what they refuse, and when they end."""

from __future__ import annotations

from typing import Any

import pytest

from bench.cases import Case, fan_out, latency, mixed_sizes, throughput
from bench.load import WARMUP_MESSAGES, ClosedLoop, Counter, Pump, Sender
from bench.message import Pool, number_of


class Refused(Exception):
    pass


class NoWindow:
    """A window that looks at nothing."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def begin(self) -> None:
        self.calls.append("begin")

    def end(self) -> None:
        self.calls.append("end")


def refuse(why: str) -> Any:
    raise Refused(why)


def closed_loop(case: Case, seconds: float) -> tuple[ClosedLoop, NoWindow]:
    window = NoWindow()
    return ClosedLoop(Pool(case, 7), seconds, 0.0, window, refuse), window  # type: ignore[arg-type]


def test_closed_loop_measures_after_its_warm_up() -> None:
    load, window = closed_loop(latency(64), 0.005)
    message, replies = load.first(), 0
    while message is not None:
        message = load.reply(bytes(message))
        replies += 1
    assert window.calls == ["begin", "end"]
    assert 0 < len(load.samples) == replies - WARMUP_MESSAGES
    assert min(load.samples) > 0


def test_closed_loop_refuses_a_wrong_answer() -> None:
    load, _ = closed_loop(latency(64), 0.005)
    message = load.first()
    with pytest.raises(Refused, match="message 0"):
        load.reply(message[:-1] + b"?")


def drain(case: Case, seconds: float = 0.002) -> tuple[list[Any], Sender]:
    sender = Sender(Pool(case, 7), seconds, 0.0, NoWindow())  # type: ignore[arg-type]
    messages: list[Any] = []
    while (batch := sender.next()) is not None:
        messages += batch
    return messages, sender


def test_sender_counts_what_it_hands_out() -> None:
    messages, sender = drain(throughput(64))
    assert sender.sent == len(messages) > 0
    assert sender.bytes_sent == sum(map(len, messages))
    assert 0 < sender.window_messages <= sender.sent


@pytest.mark.parametrize("case", [throughput(64), throughput(65536), mixed_sizes()], ids=lambda case: case.id)
def test_counter_accepts_what_was_sent(case: Case) -> None:
    messages, sender = drain(case)
    for reliable in (True, False):
        counter = Counter(Pool(case, 7), reliable, refuse)
        for message in messages:
            counter.take(message)
        assert (counter.count, counter.bytes) == (sender.sent, sender.bytes_sent)
        assert counter.checked == -(-sender.sent // Pool(case, 7).stride)
        assert counter.marks[0][1] == 1


@pytest.mark.parametrize("harm", ["lost", "doubled", "swapped"])
def test_counter_finds_the_missing_message_at_its_next_look(harm: str) -> None:
    case = throughput(64)
    messages = list(Pool(case, 7).messages)
    if harm == "lost":
        del messages[5]
    elif harm == "doubled":
        messages.insert(5, messages[5])
    else:
        messages[61], messages[62] = messages[62], messages[61]
    counter = Counter(Pool(case, 7), True, refuse)

    def take_all() -> None:
        for message in messages:
            counter.take(message)

    with pytest.raises(Refused, match="lost, doubled, swapped or damaged"):
        take_all()


def test_datagrams_may_be_missing_but_not_damaged() -> None:
    case = throughput(64)
    messages = Pool(case, 7).messages
    counter = Counter(Pool(case, 7), False, refuse)
    for message in messages[100:]:
        counter.take(message)
    damaged = Counter(Pool(case, 7), False, refuse)
    with pytest.raises(Refused, match="damaged"):
        damaged.take(messages[0][:20] + b"\xff\x00" + messages[0][22:])


def test_messages_carry_number_and_checksum() -> None:
    pool = Pool(mixed_sizes(), 7)
    assert [number_of(message) for message in pool.messages] == list(range(len(pool.messages)))
    sizes = [len(message) for message in pool.messages]
    assert 16 <= min(sizes) < 32 < 1180 < max(sizes) <= 1200
    assert number_of(b"short") is None
    assert not pool.knows(Pool(mixed_sizes(), 8).messages[0])


def test_one_seed_gives_one_pool() -> None:
    assert Pool(latency(64), 7).messages == Pool(latency(64), 7).messages != Pool(latency(64), 8).messages


@pytest.mark.parametrize(
    "case",
    [latency(16), throughput(64), throughput(65536), throughput(16 * 1024 * 1024), fan_out()],
    ids=lambda case: case.id,
)
def test_a_pool_is_bounded_and_its_stride_reaches_every_message(case: Case) -> None:
    pool = Pool(case, 7)
    assert pool.bytes_total <= max(4 * 1024 * 1024, 4 * case.payload)
    assert len({(at * pool.stride) % len(pool.messages) for at in range(len(pool.messages))}) == len(pool.messages)
    assert [message for batch in pool.batches for message in batch] == pool.messages


def test_fan_out_lets_the_loop_turn_after_one_lap() -> None:
    assert len(Pool(fan_out(), 7).batches[0]) == 100


class FixedSender:
    """Gives so many runs of ten messages."""

    def __init__(self, runs: int) -> None:
        self.runs = runs
        self.bytes_sent = 0

    def next(self) -> list[bytes] | None:
        if not self.runs:
            return None
        self.runs -= 1
        self.bytes_sent += 100
        return [bytes([self.runs]) * 10] * 10


def pump(sender: FixedSender, send: Any, **more: Any) -> tuple[Pump, list[str]]:
    ended: list[str] = []
    return Pump(sender, send, lambda: ended.append("end"), **more), ended  # type: ignore[arg-type]


def test_pump_stops_at_pause_and_goes_on_at_resume() -> None:
    sent: list[bytes] = []

    def send(messages: list[bytes]) -> None:
        sent.extend(messages)
        if len(sent) == 20:
            pumped.pause()

    pumped, ended = pump(FixedSender(4), send)
    pumped.run()
    assert (len(sent), ended) == (20, [])
    pumped.resume()
    assert (len(sent), ended) == (40, ["end"])
    pumped.resume()
    assert ended == ["end"]


def test_pump_keeps_what_a_full_buffer_did_not_take() -> None:
    sent: list[bytes] = []

    def send(messages: list[bytes]) -> int:
        taken = messages[: 4 if len(sent) == 10 else None]
        sent.extend(taken)
        return len(taken)

    pumped, ended = pump(FixedSender(3), send)
    pumped.run()
    assert (len(sent), ended) == (14, [])
    pumped.resume()
    assert (len(sent), ended) == (30, ["end"])
    assert sent == sorted(sent, reverse=True), "order is kept"


def test_a_datagram_pump_lets_the_loop_turn_and_keeps_one_turn_at_a_time() -> None:
    turns: list[Any] = []
    sent: list[bytes] = []
    pumped, ended = pump(FixedSender(5), sent.extend, later=turns.append, chunk=200)
    pumped.run()
    assert (len(sent), len(turns)) == (20, 1)
    pumped.pause()
    pumped.resume()
    assert (len(sent), len(turns)) == (40, 1), "resuming does not start a second chain"
    turns.pop()()
    assert (len(sent), ended) == (50, ["end"])
