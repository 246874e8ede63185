"""Variable-length integers of every size, there and back, and cut off in the middle."""

from __future__ import annotations

import random

from transport.codec import varint
from transport.errors import CodecError


def trace(seed: int) -> bytes:
    """What the encoder made of random numbers, and the decoder of whole and cut input."""
    rng = random.Random(seed)
    out = bytearray()
    for _ in range(500):
        data = varint.encode(rng.getrandbits(rng.randrange(63)))
        out += data
        cut = data[: rng.randrange(len(data) + 1)]
        try:
            out += repr(varint.decode(cut)).encode()
        except CodecError as error:
            out += str(error).encode()
    return bytes(out)
