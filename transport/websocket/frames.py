"""The frames of RFC 6455 section 5.2 as bytes: headers, masking, UTF-8.

The `.pxd` beside this file holds the same as C inlines: use it as `frames.append(...)` after `from transport.websocket
import frames`, and in the `.pxd` of the compiled module `from transport.websocket cimport frames`.
A masking key is a number of 32 bits, its first byte on the wire the highest; -1 stands for none.
It must never look at what a frame means.
"""

from __future__ import annotations

import sys

ORDER = sys.byteorder


def append(run: bytearray, head: int, payload: bytes, key: int) -> int:
    """Appends one frame with its first byte `head`, and returns how many bytes those are.

    `payload` is shorter than 65,536 bytes.
    """
    before = len(run)
    size = len(payload)
    mask_bit = 0 if key < 0 else 0x80
    run.append(head)
    if size < 126:
        run.append(mask_bit | size)
    else:
        run.append(mask_bit | 126)
        run += size.to_bytes(2, "big")
    if key >= 0:
        run += key.to_bytes(4, "big")
        run += cut(payload, 0, size, key, 0)
    else:
        run += payload
    return len(run) - before


def cut(data: bytes, start: int, end: int, key: int, phase: int) -> bytes:
    """Bytes `start` to `end` of `data`, which must hold them, masked or unmasked by `key` (section 5.3).

    `phase` is how many bytes of the payload lie before `start`.
    """
    piece = data[start:end]
    size = end - start
    if key < 0 or size == 0:
        return piece
    four = key.to_bytes(4, "big")
    shift = phase & 3
    four = four[shift:] + four[:shift]
    mask = (four * (size // 4 + 1))[:size]
    return (int.from_bytes(piece, ORDER) ^ int.from_bytes(mask, ORDER)).to_bytes(size, ORDER)


def is_utf8(data: bytes) -> bool:
    """Whether `data` is UTF-8 as RFC 3629 has it: no surrogates, nothing too long, nothing above U+10FFFF."""
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def header(head: int, size: int, key: int) -> bytes:
    """The header of a frame of any size."""
    mask_bit = 0 if key < 0 else 0x80
    if size < 126:
        start = bytes((head, mask_bit | size))
    elif size < 65_536:
        start = bytes((head, mask_bit | 126)) + size.to_bytes(2, "big")
    else:
        start = bytes((head, mask_bit | 127)) + size.to_bytes(8, "big")
    return start if key < 0 else start + key.to_bytes(4, "big")
