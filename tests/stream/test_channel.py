"""What is known of one channel: credit, and the queue of those that wait for it."""

from __future__ import annotations

import pytest

from transport.stream.channel import ChannelState
from transport.stream.outbox import Entry


def entry(size: int) -> Entry:
    return Entry(b"hh", bytes(size), 1, 0, 0, 0)


def test_a_message_may_start_while_any_credit_is_left() -> None:
    state = ChannelState(10, 20)
    assert (state.out_limit, state.in_limit) == (10, 20)
    assert state.has_credit()
    state.out_sent = 9
    assert state.has_credit()
    state.out_sent = 10
    assert not state.has_credit()
    assert not ChannelState(0, 5).has_credit()


def test_who_waits_longest_goes_first_and_every_byte_is_counted() -> None:
    state = ChannelState(0, 0)
    waiting = [entry(size) for size in (0, 100, 7)]
    for each in waiting:
        state.block(each)
    assert state.blocked_bytes == sum(each.size for each in waiting) == 113
    for each in waiting:
        assert state.unblock() is each
    assert state.blocked_bytes == 0
    assert not state.blocked


def test_totals_hold_the_largest_credit_of_the_wire() -> None:
    state = ChannelState(0, 0)
    state.out_limit = (1 << 62) - 1
    state.out_sent = (1 << 62) - 2
    assert state.has_credit()


def test_nothing_to_let_go_is_a_mistake() -> None:
    with pytest.raises(AssertionError):
        ChannelState(0, 0).unblock()
