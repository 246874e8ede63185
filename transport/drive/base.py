"""The seam between a driver, which moves bytes and owns the timer, and whoever owns the machine it runs.

Two small classes, so that stream and datagram drivers, connections and bare machines fit together without knowing
each other. Callbacks run after the machine has returned, and none after `lost`.
"""

from __future__ import annotations

import asyncio
from typing import Any


class Owner:
    """Told by a driver what became of its machine. A `Connection` is one; the runner of a user's machine is another."""

    def deliver(self) -> None:
        """The machine has taken input or a timer: drain its messages and events."""
        raise NotImplementedError

    def flushed(self) -> None:
        """A flush has ended: outbound bytes may have fallen below a mark."""
        raise NotImplementedError

    def lost(self, error: BaseException | None) -> None:
        """The pipe is gone; `error` is None after an orderly end. Called exactly once, and last."""
        raise NotImplementedError


class Driver:
    """What an owner may ask of the driver that runs its machine.

    Attributes:
        loop: the event loop it runs on.
        unsent_bytes: taken from the machine and not yet by the kernel.
        busy: true while the driver is inside an I/O callback and will flush at its end by itself.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.unsent_bytes = 0
        self.busy = False

    def wake(self) -> None:
        """A command was given to the machine: flush it by the end of this tick (at once if called from outside one)."""
        raise NotImplementedError

    def now(self) -> int:
        """The clock that this driver's machine is run by, in nanoseconds."""
        raise NotImplementedError

    def pause_reading(self, owner: Owner) -> None:
        """Stops taking input for `owner`'s machine."""
        raise NotImplementedError

    def resume_reading(self, owner: Owner) -> None:
        """Takes input again."""
        raise NotImplementedError

    def finish(self, owner: Owner) -> None:
        """`owner`'s machine is done: write what is left, then close the pipe; `owner.lost(None)` follows."""
        raise NotImplementedError

    def cut(self, owner: Owner, error: BaseException | None) -> None:
        """Ends `owner`'s pipe now, unsent bytes dropped; `owner.lost(error)` follows in a later callback."""
        raise NotImplementedError

    def info(self, owner: Owner, name: str) -> Any:
        """Extra information by asyncio's names: "socket", "sockname", "peername", "ssl_object", "peercert"."""
        raise NotImplementedError
