"""The progress bar of the file sender says what the connection's statistics say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.examples.loading import load

EXAMPLE = load("file_sender")


def connection(queued: int, **counters: int) -> Any:
    return SimpleNamespace(statistics=lambda: SimpleNamespace(queued_bytes=queued, counters=counters))


def test_the_line() -> None:
    times = iter([10.0, 12.0])
    conn = connection(200_000, packets_sent=1000, packets_lost=51, retransmitted_bytes=61_000)
    progress = EXAMPLE.Progress(conn, 3_000_000, lambda: next(times))
    assert progress.line(1_200_000) == (
        "[##########....................] 1.0 MB of 3.0 MB, 500.0 KB/s, 4 s left, 5.1% lost, 61.0 KB sent again"
    )


@pytest.mark.parametrize("total", [0, 1, 5_000_000_000])
def test_the_line_at_the_ends(total: int) -> None:
    progress = EXAMPLE.Progress(connection(100), total, lambda: 1.0)
    assert "? s left" in progress.line(0)
    if total:
        assert "." * 30 in progress.line(0)
    assert "0.0% lost" in progress.line(total)
    assert progress.line(total + 100).startswith("[" + "#" * 30 + "]")
