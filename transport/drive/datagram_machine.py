"""A user's datagram machine seen as an endpoint with one session, so that the driver knows only one kind.

It checks what the machine hands out, and reports what it raises: a mistake in the user's program costs the datagram
in question and nothing else. It must never add a rule of its own to the five verbs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transport.datagram.base import Endpoint, PeerSession
from transport.machine import DatagramMachine, Path, Transmit


class SoleMachine(Endpoint):
    """An `Endpoint` around any `DatagramMachine`.

    Args:
        machine: the machine. Where it has a method `receive_many(payloads, path, ecn, now)`, that is called with
            consecutive datagrams of one path in place of `receive` with each.
        report: told what failed and how.
    """

    def __init__(self, machine: DatagramMachine, report: Callable[[str, Exception], None]) -> None:
        Endpoint.__init__(self)
        self.is_exclusive = True
        self.session = PeerSession(Path(None, None))
        self._machine = machine
        self._report = report
        self._many: Any = getattr(machine, "receive_many", None)
        self.ready(self.session)

    def receive(self, data: bytes, path: Path, ecn: int, now: int) -> None:
        """One datagram for the machine."""
        self.receive_many([data], path, ecn, now)

    def receive_many(self, payloads: list[bytes], path: Path, ecn: int, now: int) -> None:
        """Consecutive datagrams of one path, for the machine."""
        self.session.stamp = self.stamp
        self.ready(self.session)
        if self._many is not None:
            self._call("receive_many", self._many, payloads, path, ecn, now)
            return
        for payload in payloads:
            self._call("receive", self._machine.receive, payload, path, ecn, now)

    def error(self, path: Path, errno: int, now: int) -> None:
        """An error of a path."""
        self.ready(self.session)
        self._call("error", self._machine.error, path, errno, now)

    def fill(self, item: Transmit, room: memoryview, now: int) -> bool:
        """What the machine has to send, if it is within its room."""
        self.flushed(self.session)
        try:
            made = self._machine.transmit(room, now)
            if made is None:
                return False
            if not 0 <= made.size <= len(room) or (made.size and made.segment_bytes <= 0):
                raise ValueError(f"{made!r} is not within its room, or has no segments")
            item.size, item.segment_bytes, item.path, item.ecn = made.size, made.segment_bytes, made.path, made.ecn
        except Exception as error:
            self._report("transmit", error)
            return False
        return True

    def forget(self, session: PeerSession) -> None:
        """The machine ends with its driver."""

    def due(self) -> int:
        """The machine's deadline."""
        return self._machine.deadline() or 0

    def expire(self, now: int) -> None:
        """The machine's deadline has passed."""
        self.ready(self.session)
        self._call("expire", self._machine.expire, now)

    def _call(self, what: str, verb: Callable[..., Any], *arguments: Any) -> None:
        try:
            verb(*arguments)
        except Exception as error:
            self._report(what, error)
