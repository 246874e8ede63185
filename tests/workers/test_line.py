"""What parent and workers tell each other: reports that add up, options that can travel."""

from __future__ import annotations

import threading

import pytest

from transport.errors import LocalProtocolError
from transport.server import ServerStatistics
from transport.workers import line


def statistics(connections: int, accepted: int, **counters: int) -> ServerStatistics:
    return ServerStatistics(
        connections=connections, accepted=accepted, refused=1, failed_handlers=0, accept_backoffs=0, counters=counters
    )


def test_reports_add_up() -> None:
    one = line.report([statistics(1, 10, handshakes=2, a=1), statistics(2, 20, b=5)])
    two = line.report([statistics(3, 30, a=3)])
    total = line.snapshot(line.merge([one, {}, two]))
    assert (total.connections, total.accepted, total.refused) == (6, 60, 3)
    assert total.counters == {"handshakes": 2, "a": 4, "b": 5}
    assert line.snapshot(line.merge([])) == line.snapshot({})


def test_a_process_that_is_gone_leaves_counts_but_no_connections() -> None:
    now = {"half_open": 1, "handshakes": 2, "http_connections": 3, "peers": 4}
    rest = line.snapshot(line.merge([line.ended(line.report([statistics(7, 10, a=1, **now)]))]))
    assert (rest.connections, rest.accepted, rest.counters) == (0, 10, {"a": 1})
    assert line.ended({}) == {"counters": {}}


def test_options_travel_or_are_named() -> None:
    assert line.unpack(line.pack_options({"codec": "raw", "password": b"x"})) == {"codec": "raw", "password": b"x"}
    with pytest.raises(LocalProtocolError, match="option 'codec' can't be given to workers"):
        line.pack_options({"nodelay": True, "codec": threading.Lock()})


def test_a_job_travels() -> None:
    job = line.Job("a:b", "tcp://127.0.0.1:1", ["x"], line.Main("a", ""), b"")
    assert line.unpack(line.pack(job)) == job
