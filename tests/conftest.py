"""What every test shares: both event loops, seeds that are printed, and a machine left as it was found.

A test that hangs fails after `timeout` seconds (pyproject.toml) and shows where each of its tasks waits; its loop and
the rest of the run go on.

A coroutine test marked `@pytest.mark.asyncio` runs once on asyncio's loop and once on uvloop's, where that is
installed. `@pytest.mark.asyncio(loop_factories=["asyncio"])` picks one.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import threading
from collections.abc import Callable, Generator, Mapping
from typing import Any

import pytest

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

LOOPS: dict[str, LoopFactory] = {"asyncio": asyncio.SelectorEventLoop}
try:
    import uvloop
except ImportError:  # not on Windows, not on PyPy
    pass
else:
    LOOPS["uvloop"] = uvloop.new_event_loop


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=None, help="seed of the tests that draw one (default: a new one)")


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, LoopFactory]:
    """The loops that a coroutine test runs on."""
    return LOOPS


def pytest_report_header(config: pytest.Config) -> str:
    from transport import _build

    build = _build.notice() or f"transport runs compiled ({len(_build.modules())} modules)"
    return f"{build}; loops: {', '.join(LOOPS)}"


class TimedOut(KeyboardInterrupt):
    """The one exception that both loops let out of a signal handler; the hooks below turn it into a failure."""


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> bool | None:
    """Takes the place of pytest-timeout's own alarm, whose exception uvloop logs and drops."""
    if settings.method != "signal" or threading.current_thread() is not threading.main_thread():
        return None

    def alarm(number: int, frame: object) -> None:
        try:
            tasks = asyncio.all_tasks()
        except RuntimeError:  # no loop runs
            tasks = set()
        for task in tasks:
            task.print_stack(file=sys.stderr)
        raise TimedOut(f"no end after {settings.timeout} s")

    def cancel() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)

    item.cancel_timeout = cancel  # type: ignore[attr-defined]  # where the plugin looks for it
    signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, settings.timeout)
    return True


def _failing() -> Generator[None, object, object]:
    try:
        return (yield)
    except TimedOut as error:
        pytest.fail(str(error))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, object, object]:
    return (yield from _failing())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    return (yield from _failing())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, object, object]:
    return (yield from _failing())


@pytest.fixture(params=list(LOOPS.values()), ids=list(LOOPS))
def loop_factory(request: pytest.FixtureRequest) -> LoopFactory:
    """For a plain test that runs loops of its own: `asyncio.Runner(loop_factory=loop_factory)`."""
    factory: LoopFactory = request.param
    return factory


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """A seed, printed with a failing test's output; `--seed N` repeats that run."""
    given = request.config.getoption("--seed")
    number = random.SystemRandom().getrandbits(32) if given is None else given
    print(f"repeat with: --seed {number}", file=sys.stderr)
    return int(number)


@pytest.fixture
def rng(seed: int) -> random.Random:
    """A generator made from `seed`."""
    return random.Random(seed)
