"""Open loop in virtual time: messages at times fixed in advance, over connections that are independent of each other.

Latency counts from the planned time to delivery, and the sender is never late: time stands still for it. It must never
let a peer's state decide when the next message is due.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from time import perf_counter
from typing import Any

from bench.link.model import Link
from bench.statistics import summarize_samples
from bench.virtual.conversation import Conversation, PeerFailed
from bench.virtual.link import config_of, delay_max_ns
from bench.virtual.machine import VirtualPeer
from transport import limits
from transport.sim.burst import exponential
from transport.sim.seeds import derive, stream

SECOND = limits.SECOND_NS
MS = limits.MS_NS
CONSTANT, POISSON = "constant", "poisson"
ARRIVALS = (CONSTANT, POISSON)
NUMBER_BYTES = 4
PATTERNS = 61  # messages differ in what they hold, so that one can't pass for another
TAIL = 16
"""Messages that follow those that count, so that the last of these are in the midst of a stream, too."""
SOON_NS = 100 * MS
SETTLE_NS = 30 * SECOND  # for what is reliable to arrive, after the last message
UNRELIABLE_SETTLE_NS = SECOND  # beside the longest that a packet can be under way
OK, FAIL = "OK", "FAIL"


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of a peer in one cell.

    Args:
        link: between the two ends, both ways.
        payload: bytes of a message.
        rate: messages a second of each connection, one way.
        seconds: of the messages that count.
        warmup: seconds of messages before them.
        connections: side by side, each on a link of its own.
        arrivals: "constant", at a phase of each connection's own, or "poisson".
        seed: of the schedule, of the links and of what the peers draw.
    """

    link: Link
    payload: int
    rate: float = 100.0
    seconds: float = 30.0
    warmup: float = 1.0
    connections: int = 10
    arrivals: str = CONSTANT
    seed: int = 1

    @property
    def skipped(self) -> int:
        """Messages of the warm-up, of one connection."""
        return round(self.rate * self.warmup)

    @property
    def counted(self) -> int:
        """Messages that count, of one connection."""
        return max(1, round(self.rate * self.seconds))

    def at(self, link: Link, payload: int, seed: int) -> Load:
        """The same in another cell of a grid."""
        return replace(self, link=link, payload=payload, seed=seed)


def schedule(load: Load, connection: int) -> array[int]:
    """When each message of a connection is planned, ns from the start; warm-up and tail included."""
    draw = stream(load.seed, "schedule", connection).random
    count = load.skipped + load.counted + TAIL
    interval = SECOND / load.rate
    if load.arrivals == CONSTANT:
        phase = draw()
        return array("q", [round((index + phase) * interval) for index in range(count)])
    planned = array("q")
    when = 0.0
    for _ in range(count):
        when += exponential(draw) * interval
        planned.append(round(when))
    return planned


class Stream:
    """One connection's messages, from the client to the server.

    Attributes:
        late: latencies (ns) of the messages that count, in the order of delivery.
        lost, duplicates, disordered, damaged: of all messages up to the last that counts.
        wire: packets and bytes up, packets and bytes down, while the messages that count were planned.
        opened_ns: what the handshake took.
        why: what went wrong, or None.
        digest: of everything that the links did.
    """

    def __init__(self, load: Load, peer: VirtualPeer, connection: int) -> None:
        self.late = array("q")
        self.duplicates = self.disordered = self.damaged = 0
        self.why: str | None = None
        self._load = load
        self._planned = schedule(load, connection)
        self._first = load.skipped
        self._end = load.skipped + load.counted
        self._seen = bytearray(len(self._planned))
        self._missing = self._end
        self._newest = -1
        content = random.Random(derive(load.seed, "content")).randbytes(load.payload + PATTERNS)
        rest = load.payload - NUMBER_BYTES
        self._rests = [content[index : index + rest] for index in range(PATTERNS)]
        talk = self._talk = Conversation(derive(load.seed, "connection", connection), config_of(load.link), peer)
        self.opened_ns = talk.opened_ns
        self._run(peer, talk)
        self.lost = self._missing
        self.digest = talk.network.trace.hexdigest()

    def _run(self, peer: VirtualPeer, talk: Conversation) -> None:
        """Starts at a whole second, so that those whose handshakes differ meet the same link at the same times."""
        start = talk.network.elapsed_ns // SECOND * SECOND + SECOND
        self._start = talk.network.start_ns + start
        talk.server.on_messages = self._take
        planned, side = self._planned, talk.client

        def plan(index: int) -> None:
            def act() -> None:
                if index + 1 < len(planned):
                    plan(index + 1)
                talk.send(side, index.to_bytes(NUMBER_BYTES, "big") + self._rests[index % PATTERNS])

            talk.network.at(start + planned[index], act)

        plan(0)
        talk.run_to(self._start + planned[self._first] if self._first else self._start)
        before = talk.wire()
        talk.run_to(self._start + planned[self._end])
        self.wire = [after - count for after, count in zip(talk.wire(), before, strict=True)]
        settle = SETTLE_NS if peer.reliable else UNRELIABLE_SETTLE_NS + delay_max_ns(self._load.link)
        talk.run_until(lambda: not self._missing, self._start + planned[-1] + settle)
        self.why = talk.why().removeprefix("; ") or None

    def _take(self, messages: list[bytes], now: int) -> None:
        start, planned, seen, rests = self._start, self._planned, self._seen, self._rests
        for message in messages:
            index = int.from_bytes(message[:NUMBER_BYTES], "big")
            if index >= len(planned) or message[NUMBER_BYTES:] != rests[index % PATTERNS]:
                self.damaged += 1
                continue
            if seen[index]:
                self.duplicates += 1
                continue
            seen[index] = 1
            if index < self._newest:
                self.disordered += 1
            else:
                self._newest = index
            if index < self._end:
                self._missing -= 1
                if index >= self._first:
                    self.late.append(now - start - planned[index])


def verdict(peer: VirtualPeer, streams: list[Stream]) -> str | None:
    """Why a cell is a FAIL, or None."""
    found = [one.why for one in streams if one.why]
    for word, count, matters in (
        ("lost", sum(one.lost for one in streams), peer.reliable),
        ("damaged", sum(one.damaged for one in streams), True),
        ("delivered twice", sum(one.duplicates for one in streams), peer.reliable or peer.ordered),
        ("out of order", sum(one.disordered for one in streams), peer.ordered),
    ):
        if count and matters:
            found.append(f"{count} {word}")
    return "; ".join(dict.fromkeys(found)) or None


def run_cell(load: Load, peer: VirtualPeer, tick: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """One peer at one load: all its connections, one after the other, as they know nothing of each other.

    A peer that fails gives a cell that says so, with the figures of what did arrive; `tick` is called after each
    connection.
    """
    began = perf_counter()
    streams: list[Stream] = []
    crashed: str | None = None
    for connection in range(load.connections):
        if crashed is None:
            try:
                streams.append(Stream(load, peer, connection))
            except PeerFailed as error:
                crashed = str(error)
            except Exception as error:  # a library that raises has failed, and the run goes on
                crashed = f"{type(error).__name__}: {error}"
        tick()
    why = "; ".join(filter(None, (crashed, verdict(peer, streams)))) or None
    return cell_of(load, peer, streams, why) | {"wall_s": round(perf_counter() - began, 3)}


def cell_of(load: Load, peer: VirtualPeer, streams: list[Stream], why: str | None) -> dict[str, Any]:
    """The figures of a cell, for the result file."""
    late = array("q")
    for one in streams:
        late.extend(one.late)
    sent = load.counted * load.connections
    soon = sum(value <= SOON_NS for value in late)
    wire = [sum(one.wire[at] for one in streams) / max(1, load.counted * len(streams)) for at in range(4)]
    return {
        "peer": peer.name,
        "link": load.link.as_dict(),
        "payload": load.payload,
        "rate": load.rate,
        "seconds": load.seconds,
        "warmup": load.warmup,
        "connections": load.connections,
        "arrivals": load.arrivals,
        "seed": load.seed,
        "status": FAIL if why else OK,
        "why": why,
        "sent": sent,
        **summarize_samples(late),
        "within_100ms": soon / sent,
        "late": len(late) - soon,
        "lost": sent - len(late),
        "duplicates": sum(one.duplicates for one in streams),
        "disordered": sum(one.disordered for one in streams),
        "damaged": sum(one.damaged for one in streams),
        "wire_bytes": wire[1] + wire[3],
        "wire_packets": wire[0] + wire[2],
        "packets_up": wire[0],
        "packets_down": wire[2],
        "opened_ns": round(median(one.opened_ns for one in streams)) if streams else None,
        "trace": streams[0].digest[:16] if streams else None,
    }
