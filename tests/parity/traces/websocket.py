"""Two WebSocket sessions with everything at once: fragments, compression, pings, priorities, expiry, garbage."""

from __future__ import annotations

import random
from typing import Any

from transport.errors import TransportError
from transport.websocket.config import Agreement, WebSocketConfig
from transport.websocket.session import WebSocketSession

MS_NS = 1_000_000
STEPS = 500


class Agreed:
    """The HTTP side of a session that has its 101."""

    request = None
    subprotocol = ""
    failure = None
    done = True
    over = more = ended = False
    due = -1

    def __init__(self, is_client: bool, agreement: Agreement | None) -> None:
        self.is_client = is_client
        self.agreement = agreement
        self.out = bytearray()
        self.events: list[Any] = []
        self.trailing = b""

    def receive(self, data: bytes, now: int) -> None:
        self.trailing = data

    def accept(self, now: int) -> bytes:
        return b""


def session(rng: random.Random, is_client: bool, agreement: Agreement | None) -> WebSocketSession:
    config = WebSocketConfig(
        max_message=30_000, fragment=rng.choice((0, 16, 3000)), compress_above=rng.choice((0, 100)),
        text=rng.random() < 0.3, keepalive_ns=80 * MS_NS, idle_ns=900 * MS_NS, counts={},
    )  # fmt: skip
    made = WebSocketSession(config, Agreed(is_client, agreement), random.Random(rng.random()).randbytes, 1)
    if is_client:
        made.receive(b"", 1)
    else:
        made.accept(1)
    return made


def trace(seed: int) -> bytes:
    """Every byte that both write, every message and event that both get."""
    rng = random.Random(seed)
    log = bytearray()
    bits = rng.choice((9, 12, 15))
    agreement = None if rng.random() < 0.4 else Agreement(bits, rng.random() < 0.5, 15, True)
    mirrored = None if agreement is None else Agreement(15, True, bits, agreement.own_takeover)
    ends = [session(rng, True, agreement), session(rng, False, mirrored)]
    wires = [b"", b""]
    now = 1
    for step in range(STEPS):
        now += rng.choice((0, 1, MS_NS, 20 * MS_NS))
        side = rng.randrange(2)
        one = ends[side]
        try:
            if rng.random() < 0.5:
                size = int(10 ** rng.uniform(0, 4.6))
                payload = rng.randbytes(size) if rng.random() < 0.5 else b"word " * (size // 5)
                expires = now + 5 * MS_NS if rng.random() < 0.1 else 0
                one.send(payload, 0, rng.choice((0, 0, 0, 1, 2, 3)), rng.choice((0, 0, 0, 2, -2)), expires, now)
            if rng.random() < 0.05:
                one.ping(step + 1, now)
            if step == STEPS - 50 and seed % 2:
                one.close(7, "enough ä", now)
        except TransportError as error:
            log += f"{side} {type(error).__name__} {error}\n".encode()
        run = one.transmit_run() if rng.random() < 0.5 else None
        out = [bytes(run)] if run is not None else [bytes(buffer) for buffer in one.transmit(now)]
        if run is not None:
            one.recycle(run)
        wires[side] += b"".join(out)
        log += repr(out).encode()
        if seed % 3 == 0 and step == STEPS - 20:
            wires[side] += rng.randbytes(40)
        size = rng.randrange(1, 6000)
        piece, wires[side] = wires[side][:size], wires[side][size:]
        other = ends[1 - side]
        if piece:
            other.receive(piece, now)
        due = other.deadline()
        if due is not None and due <= now:
            other.expire(now)
        for batch in other.take():
            log += repr((batch.channel, batch.delivery, batch.size, batch.payloads)).encode()
        log += repr((other.events(), other.statistics(), other.deadline(), other.queued_bytes)).encode()
    return bytes(log)
