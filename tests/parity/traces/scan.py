"""The walk over msgpack and JSON: valid bodies, bodies with flipped bits, noise, in pieces and whole."""

from __future__ import annotations

import random
from typing import Any

import msgpack

from transport.codec.msgpack import MsgpackCodec
from transport.codec.scan import DONE, WANTS_MORE, Scanner, scan_json
from transport.errors import CodecError


def value(rng: random.Random, depth: int) -> Any:
    kind = rng.randrange(11 if depth < 6 else 8)
    if kind < 2:
        return rng.getrandbits(rng.choice((3, 7, 8, 16, 32, 64))) - (0 if rng.random() < 0.7 else 1 << 31)
    if kind < 4:
        return rng.randbytes(int(10 ** rng.uniform(0, 3))).hex()[: rng.choice((3, 31, 32, 300))]
    if kind < 8:
        return (None, True, rng.uniform(-9, 9), rng.randbytes(rng.choice((0, 1, 255, 256))))[kind - 4]
    count = rng.choice((0, 1, 3, 15, 16, 20))
    if kind == 8:
        return msgpack.ExtType(rng.randrange(128), rng.randbytes(rng.choice((1, 2, 3, 4, 8, 16, 17, 300))))
    if kind == 9:
        return [value(rng, depth + 1) for _ in range(count)]
    return {rng.choice((str, int))(i): value(rng, depth + 1) for i in range(count)}


def body(rng: random.Random) -> bytes:
    kind = rng.randrange(4)
    if kind == 0:
        return rng.randbytes(rng.randrange(60))
    if kind == 1:
        return rng.choice((b"\x91", b"\x81\xa0", b"\xdc\x00\x01")) * rng.choice((31, 32, 33, 500)) + b"\xc0"
    data = bytearray(msgpack.packb(value(rng, 0)))
    if kind == 2:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def pieces(rng: random.Random, scanner: Scanner, data: bytes, log: bytearray) -> None:
    """The same body as it would come from a socket."""
    tail = b""
    start = 0
    scanner.begin(len(data))
    while start < len(data):
        size = rng.randrange(1, 40)
        chunk = tail + data[start : start + size]
        start += size
        pos = scanner.advance(chunk, 0)
        tail = chunk[pos:]
        log += f"{pos} {scanner.state} ".encode()
        if scanner.state != WANTS_MORE:
            break
    log += f"{scanner.explain()}\n".encode()


def trace(seed: int) -> bytes:
    """What is said of each body, by every setting of the walk, and by the codec."""
    rng, log = random.Random(seed), bytearray()
    scanners = [
        Scanner(), Scanner(frozenset({1, 5, -1}), False, False), Scanner(frozenset(), True, True),
        Scanner(frozenset(), True, False),
    ]  # fmt: skip
    codec = MsgpackCodec(ext_hook=lambda code, data: (code, bytes(data)))
    for _ in range(400):
        data = body(rng)
        log += data + b"\n"
        for scanner in scanners:
            state = scanner.check(data)
            log += f"{state} {scanner.consumed if state == DONE else ''} {scanner.explain()}\n".encode()
        pieces(rng, rng.choice(scanners), data, log)
        try:
            log += repr(codec.decode(data)).encode()
        except CodecError as error:
            log += str(error).encode()
        text = bytes(rng.choices(b'[]{}",:\\a1', k=rng.randrange(90)))
        log += f"\n{text!r} {scan_json(text)}\n".encode()
    return bytes(log)
