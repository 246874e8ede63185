"""How a command lives and ends."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from typing import Any

import pytest

import transport
from transport.tools import life
from transport.tools.life import Stop, Stopped
from transport.tools.live import Output

GIVEN = argparse.Namespace(json=False, quiet=False)


@pytest.mark.asyncio
async def test_waiting_ends_with_the_wish_or_the_time() -> None:
    stop = Stop()
    assert not await stop.within(0.001)
    assert not stop.wished
    task = asyncio.ensure_future(stop.within(3600))
    asyncio.get_running_loop().call_soon(stop.wish)
    assert await task
    assert stop.wished


@pytest.mark.asyncio
async def test_work_is_cancelled_by_the_wish() -> None:
    stop = Stop()
    assert await stop.unless(asyncio.sleep(0, "done")) == "done"
    began = asyncio.Event()
    ended = []

    async def work() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def wish() -> None:
        await began.wait()
        stop.wish()

    helper = asyncio.ensure_future(wish())
    with pytest.raises(Stopped):
        await stop.unless(work())
    await helper
    assert ended == [True]

    async def broken() -> None:
        raise ValueError("of the work")

    with pytest.raises(ValueError, match="of the work"):
        await Stop().unless(broken())


def test_the_first_signal_asks_and_the_second_cancels() -> None:
    async def command(_: Any, __: Output, stop: Stop) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        assert await stop.within(10)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()
        return 0

    before = [signal.getsignal(number) for number in life.SIGNALS]
    assert life.run("test", command, GIVEN) == life.INTERRUPTED
    assert [signal.getsignal(number) for number in life.SIGNALS] == before


def test_a_signal_before_there_is_anything_to_sum_up() -> None:
    async def command(_: Any, __: Output, stop: Stop) -> int:
        stop.wish()
        await stop.unless(asyncio.Event().wait())
        return 0

    assert life.run("test", command, GIVEN) == life.INTERRUPTED


@pytest.mark.parametrize(
    ("error", "said"),
    [(transport.InvalidURL("wrong\x1b[2J"), "wrong?[2J"), (OSError(13, "no entry"), "[Errno 13] no entry"),
     (transport.ConnectionLost(1006), "connection closed by this side: 1006 (lost)"), (OSError(), "OSError")],
)  # fmt: skip
def test_what_was_refused_is_one_line(error: Exception, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    async def command(_: Any, __: Output, ___: Stop) -> int:
        raise error

    assert life.run("test", command, GIVEN) == life.FAILED
    assert capsys.readouterr() == ("", f"transport test: {said}\n")


def test_a_mistake_of_ours_is_not_hidden() -> None:
    async def command(_: Any, __: Output, ___: Stop) -> int:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        life.run("test", command, GIVEN)
