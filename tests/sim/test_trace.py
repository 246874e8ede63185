"""The digest sees every difference, and the lines can be read."""

from __future__ import annotations

import hashlib

import pytest

from transport import limits
from transport.sim.trace import Fate, Trace


def record(trace: Trace, **changes: object) -> None:
    values = {"fate": 0, "link": 1, "time": 10**9, "data": b"abc", "arrival": 10**9 + 5, **changes}
    trace.datagram(*values.values())


def test_every_field_counts():
    digests = set()
    for changes in ({}, {"fate": 5}, {"link": 2}, {"time": 10**9 + 1}, {"data": b"abd"}, {"arrival": 0}):
        trace = Trace()
        record(trace, **changes)
        digests.add(trace.hexdigest())
    trace = Trace()
    trace.note(10**9, "abc")
    digests.add(trace.hexdigest())
    assert len(digests) == 7


def test_the_digest_is_plain_sha256_of_the_records_and_may_be_asked_for_at_any_time():
    whole, parts = Trace(), Trace()
    for index in range(5000):
        record(whole, time=index)
        record(parts, time=index)
        if index % 100 == 0:
            parts.hexdigest()
    assert whole.hexdigest() == parts.hexdigest()
    assert whole.count == 5000
    assert Trace().hexdigest() == hashlib.sha256().hexdigest()


def test_the_last_lines_stay():
    trace = Trace(keep=3)
    for index in range(5):
        record(trace, fate=Fate.LOST, time=index * 10**9, arrival=0)
    trace.note(6 * 10**9, "a remark \ud800")
    record(trace, time=7 * 10**9)
    assert trace.lines() == [
        "4.000000000 link 1 3 B 352441c2 lost",
        "6.000000000 a remark \ud800",
        "7.000000000 link 1 3 B 352441c2 arrives at 1.000000005",
    ]


def test_lines_are_bounded():
    with pytest.raises(ValueError, match="SIM_TRACE_LINES_MAX"):
        Trace(keep=limits.SIM_TRACE_LINES_MAX + 1)
