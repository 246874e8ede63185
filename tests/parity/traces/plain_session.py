"""Pairs of plain sessions, one of each framing, over a pipe that cuts anywhere and at last flips a bit."""

from __future__ import annotations

import random

import msgpack

from transport.codec.framing.base import resolve_framing
from transport.machine import EOF
from transport.stream.plain import PlainSession

MS_NS = 1_000_000
FRAMINGS = ("length32", "msgpack", "lines", "netstring", "bytes")
STEPS = 120


def payload(rng: random.Random, name: str) -> bytes:
    data = rng.randbytes(int(10 ** rng.uniform(0, 4.6)))
    if name == "msgpack":
        return bytes(msgpack.packb(rng.choice((data, [data, len(data), 1.5], {"k": data.hex()}, len(data)))))
    return data.replace(b"\n", b"") if name == "lines" and rng.random() < 0.9 else data


def command(rng: random.Random, session: PlainSession, name: str, now: int, log: bytearray) -> None:
    expires = now + rng.randrange(10) * MS_NS if rng.random() < 0.2 else 0
    try:
        session.send(payload(rng, name), 0, 0, rng.randrange(4), expires, now)
    except Exception as error:
        log += f"{type(error).__name__} {error}\n".encode()
    log += f"{session.queued_bytes} {session.sent_total}\n".encode()


def move(rng: random.Random, source: PlainSession, target: PlainSession, pipe: bytearray, now: int) -> bytes:
    """Everything that `source` has to say onto the pipe, then a part of the pipe into `target`; gives what was said."""
    said = b""
    while buffers := source.transmit(now):
        for buffer in buffers:
            pipe += buffer
            said += f"{len(buffer)} ".encode() + bytes(buffer)
            if buffer is EOF:
                target.receive(bytes(pipe), now)
                pipe.clear()
                target.receive(EOF, now)
                said += b"eof"
    if pipe:
        size = rng.randrange(1, len(pipe) + 1)
        target.receive(bytes(pipe[:size]), now)
        del pipe[:size]
    return said


def converse(rng: random.Random, name: str, log: bytearray) -> None:
    now = 0
    sides = [PlainSession(resolve_framing(name, 30_000), 30_000, 400 * MS_NS, 0) for _ in range(2)]
    pipes = [bytearray(), bytearray()]
    for step in range(STEPS):
        now += rng.randrange(20) * MS_NS
        i = rng.randrange(2)
        command(rng, sides[i], name, now, log)
        if step == STEPS - 20 and pipes[i]:
            pipes[i][rng.randrange(len(pipes[i]))] ^= 1 << rng.randrange(8)
        if rng.random() < 0.7:
            log += move(rng, sides[i], sides[1 - i], pipes[i], now)
        if step == STEPS - 10:
            sides[i].close(rng.choice((0, 7)), "enough", now)
        for side in sides:
            due = side.deadline()
            if due is not None and due <= now:
                side.expire(now)
            for batch in side.take():
                log += f"{batch.size} {batch.payloads!r}\n".encode()
            log += f"{side.state} {side.events()!r} {due}\n".encode()
    for side in sides:
        log += repr(sorted(side.statistics().items())).encode()


def trace(seed: int) -> bytes:
    """Every buffer, message, event and count, framing after framing."""
    rng, log = random.Random(seed), bytearray()
    for name in FRAMINGS:
        log += name.encode()
        converse(rng, name, log)
    return bytes(log)
