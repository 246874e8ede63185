"""The seam says what a driver and an owner are, and does nothing by itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from transport.drive.base import Driver, Owner


@pytest.mark.parametrize("call", [Owner.deliver, Owner.flushed, lambda owner: owner.lost(None)])
def test_an_owner_has_to_be_somebody(call: Any) -> None:
    with pytest.raises(NotImplementedError):
        call(Owner())


@pytest.mark.parametrize(
    "call",
    [
        lambda driver, owner: driver.wake(),
        lambda driver, owner: driver.now(),
        lambda driver, owner: driver.pause_reading(owner),
        lambda driver, owner: driver.resume_reading(owner),
        lambda driver, owner: driver.finish(owner),
        lambda driver, owner: driver.cut(owner, None),
        lambda driver, owner: driver.info(owner, "socket"),
    ],
)
def test_a_driver_has_to_move_something(call: Any) -> None:
    loop = asyncio.new_event_loop()
    driver = Driver(loop)
    assert (driver.loop, driver.unsent_bytes, driver.busy) == (loop, 0, False)
    with pytest.raises(NotImplementedError):
        call(driver, Owner())
    loop.close()
