"""The measured stretch as the kernel's counters show it."""

from __future__ import annotations

import os
import threading

from bench.procstat import Window


def test_a_thread_that_ends_makes_no_negative_use() -> None:
    """Its counters go with it; a result file holds no use below zero."""
    window = Window({"client": os.getpid()}, set(os.sched_getaffinity(0)))
    leave = threading.Event()
    thread = threading.Thread(target=busy, args=(leave,))
    thread.start()
    while not thread_cpu_ns(thread) > 20_000_000:
        leave.wait(0.001)
    window.begin()
    leave.set()
    thread.join()
    while os.path.exists(f"/proc/self/task/{thread.native_id}"):  # it has left Python, not yet the kernel
        os.sched_yield()
    window.end()
    use = window.result()["processes"]["client"]
    assert min(use.values()) >= 0, use


def busy(leave: threading.Event) -> None:
    while not leave.is_set():
        sum(range(1000))


def thread_cpu_ns(thread: threading.Thread) -> int:
    with open(f"/proc/self/task/{thread.native_id}/schedstat", encoding="ascii") as text:
        return int(text.read().split()[0])
