"""Cuts that cost one copy when compiled; the `.pxd` beside this file holds the same as C inlines.

Use as `memory.cut(data, start, end)` after `from transport.codec import memory`, and in the `.pxd` of the compiled
module `from transport.codec cimport memory`.
"""

from __future__ import annotations


def cut(data: bytes, start: int, end: int) -> bytes:
    """Bytes `start` to `end` of `data`, which must hold them (unchecked when compiled)."""
    return data[start:end]


def append_frame(run: bytearray, head: int, payload: bytes) -> int:
    """Appends `head` as one byte, the length of `payload` as a varint, and `payload`; returns the bytes appended.

    `payload` is shorter than 2**30 bytes (unchecked when compiled).
    """
    size = len(payload)
    run.append(head)
    if size < 0x40:
        run.append(size)
        head_bytes = 2
    elif size < 0x4000:
        run += (size | 0x4000).to_bytes(2, "big")
        head_bytes = 3
    else:
        run += (size | 0x80000000).to_bytes(4, "big")
        head_bytes = 5
    run += payload
    return head_bytes + size


def empty(run: bytearray, most: int) -> bool:
    """Empties `run` for its next use; False if it has more memory than `most` bytes, and then leaves it alone.

    Compiled, its memory stays with it, and one that somebody still looks at is left alone, too.
    """
    if len(run) > most:
        return False
    try:
        run.clear()
    except BufferError:
        return False
    return True
