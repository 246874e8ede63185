"""What a run of frames costs in memory: cuts, frames and the way back to empty."""

from __future__ import annotations

from transport.codec import memory


def test_a_cut_is_a_part() -> None:
    assert memory.cut(b"abcdef", 1, 4) == b"bcd"


def test_an_emptied_run_can_be_filled_again() -> None:
    run = bytearray()
    for size in (0, 1, 63, 64, 1000):
        head_bytes = 2 if size < 64 else 3
        assert memory.append_frame(run, 1, bytes(size)) == head_bytes + size
        assert len(run) == head_bytes + size
        assert memory.empty(run, 4096)
        assert run == b""
    run += b"abc"
    assert run == b"abc"


def test_a_run_with_much_memory_is_left_alone() -> None:
    run = bytearray(100)
    assert not memory.empty(run, 50)
    assert len(run) == 100


def test_a_run_that_is_looked_at_is_left_alone() -> None:
    run = bytearray(b"abc")
    with memoryview(run) as view:
        assert not memory.empty(run, 4096)
        assert bytes(view) == b"abc"
