"""A protocol of your own, as a machine: who is alive, and how far away.

python examples/heartbeat_machine.py

A machine has five verbs and no socket, no clock and no thread. So the same two classes run here on tcp, on real time,
and then on a simulated network that goes dark for a second, in virtual time. The second run takes milliseconds.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import transport
from transport import testing

MS = 1_000_000
LINE_MAX = 32


@dataclass
class Beat:
    """The peer has answered."""

    number: int
    rtt_ns: int


@dataclass
class Missed:
    """The peer has not answered in time."""

    number: int


class Heartbeat:
    """Sends `beat N` at every interval, reports each answer and each answer that is missing at the next interval."""

    def __init__(self, interval_ns: int = 100 * MS) -> None:
        self.interval_ns = interval_ns
        self._number = 0
        self._sent: dict[int, int] = {}
        self._next = 1  # long past: at once
        self._out: list[bytes] = []
        self._events: list[object] = []
        self._rest = b""

    def receive(self, data: bytes, now: int) -> None:
        """Takes answers. A machine never raises for what a peer did: what it does not understand it passes over."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[:LINE_MAX]
        for line in lines:
            word, _, digits = line[:LINE_MAX].partition(b" ")
            if word == b"alive" and digits.isdigit():
                sent_at = self._sent.pop(int(digits), None)
                if sent_at is not None:
                    self._events.append(Beat(int(digits), now - sent_at))

    def expire(self, now: int) -> None:
        """The time for the next beat."""
        self._events += [Missed(number) for number in self._sent]
        self._sent = {self._number: now}
        self._out.append(b"beat %d\n" % self._number)
        self._number += 1
        self._next = now + self.interval_ns

    def transmit(self, now: int) -> list[bytes]:
        """What is to be written."""
        out, self._out = self._out, []
        return out

    def events(self) -> list[object]:
        """What happened since the last call."""
        events, self._events = self._events, []
        return events

    def deadline(self) -> int | None:
        """When `expire` is to be called."""
        return self._next


class Answerer:
    """The other side: answers `beat N` by `alive N`, and ends when the peer does."""

    def __init__(self) -> None:
        self._out: list[bytes] = []
        self._rest = b""

    def receive(self, data: bytes, now: int) -> None:
        """Takes beats."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[:LINE_MAX]
        self._out += [line.replace(b"beat", b"alive", 1)[:LINE_MAX] + b"\n" for line in lines]
        if not data:
            self._out.append(transport.EOF)

    def transmit(self, now: int) -> list[bytes]:
        """What is to be written."""
        out, self._out = self._out, []
        return out

    def events(self) -> list[object]:
        """Nothing ever happens here."""
        return []

    def deadline(self) -> int | None:
        """No timer."""
        return None

    def expire(self, now: int) -> None:
        """Never called."""


async def real() -> None:
    """Over tcp, three beats."""
    async with transport.serve("tcp://127.0.0.1:0", machine=Answerer) as server:
        conn = await transport.connect(server.url, machine=lambda: Heartbeat(10 * MS))
        numbers: list[int] = []
        async with asyncio.timeout(5):
            while len(numbers) < 3:
                event = await conn.next_event()
                if isinstance(event, Beat):
                    numbers.append(event.number)
        print("beats over tcp:", len(numbers))
        await conn.close()


def simulated() -> None:
    """20 ms each way, dark from 0.25 s to 1.25 s: a pipe loses nothing, so answers come late."""
    dark = testing.LinkConfig(delay_ns=20 * MS, blackouts=((250 * MS, 1250 * MS),))
    pair = testing.Pair(Heartbeat(), Answerer(), testing.SimNetwork(seed=7, link=dark))
    pair.run_for(2.0)
    beats = [event for event in pair.a.events if isinstance(event, Beat)]
    missed = [event for event in pair.a.events if isinstance(event, Missed)]
    print(f"simulated: {len(beats)} answered in {beats[0].rtt_ns // MS} ms, {len(missed)} missed")


if __name__ == "__main__":
    transport.run(real())
    simulated()
