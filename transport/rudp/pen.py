"""Reading and writing of packets: numbers and bytes at a place of a buffer; the `.pxd` beside it holds the same in C.

A room is a writable contiguous memoryview; what was received is bytes. Compiled, nothing here checks that a place lies
within its buffer: whoever calls has compared it with the end before. It must never keep a buffer.
"""

from __future__ import annotations

from transport.rudp import checksum as sums

CRC32C = 4  # as in the parameter `checksums`


def check(room: memoryview) -> int:
    """The size of a room; TypeError when it is none."""
    if room.readonly or not room.c_contiguous:
        raise TypeError("a room is a writable contiguous memoryview")
    return room.nbytes


def put8(room: memoryview, pos: int, value: int) -> int:
    """Writes one byte; returns the place behind it, as all writers do."""
    room[pos] = value
    return pos + 1


def put32(room: memoryview, pos: int, value: int) -> int:
    """Writes four bytes, highest first."""
    room[pos : pos + 4] = value.to_bytes(4, "big")
    return pos + 4


def put64(room: memoryview, pos: int, value: int) -> int:
    """Writes eight bytes, highest first."""
    room[pos : pos + 8] = value.to_bytes(8, "big")
    return pos + 8


def put_low(room: memoryview, pos: int, value: int, size: int) -> int:
    """Writes the lowest `size` bytes (1 to 4) of `value`: a truncated number."""
    room[pos : pos + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "big")
    return pos + size


def put_varint(room: memoryview, pos: int, value: int) -> int:
    """Writes `value`, 0 to 2**62 - 1, in its shortest form."""
    size = varint_size(value)
    room[pos : pos + size] = (value | (size.bit_length() - 1) << (8 * size - 2)).to_bytes(size, "big")
    return pos + size


def put_bytes(room: memoryview, pos: int, data: bytes, start: int, end: int) -> int:
    """Copies bytes `start` to `end` of `data`."""
    room[pos : pos + end - start] = data[start:end]
    return pos + end - start


def put_zeros(room: memoryview, pos: int, count: int) -> int:
    """Writes `count` zero bytes."""
    room[pos : pos + count] = bytes(count)
    return pos + count


def skip_zeros(data: bytes, pos: int, end: int) -> int:
    """The place of the next byte that is not zero, or `end`."""
    piece = data[pos:end]
    return end - len(piece.lstrip(b"\0"))


def push_back(room: memoryview, start: int, end: int, count: int) -> int:
    """Puts `count` zero bytes in front of bytes `start` to `end`; returns the new end."""
    room[start + count : end + count] = bytes(room[start:end])
    room[start : start + count] = bytes(count)
    return end + count


def varint_size(value: int) -> int:
    """Bytes of a varint in its shortest form."""
    if value < 0x40:
        return 1
    if value < 0x4000:
        return 2
    return 4 if value < 0x40000000 else 8


def varint_length(data: bytes, pos: int) -> int:
    """Bytes of the varint at `pos`, told by its first."""
    return 1 << (data[pos] >> 6)


def varint(data: bytes, pos: int) -> int:
    """The varint at `pos`, all of which must be there."""
    size = 1 << (data[pos] >> 6)
    return int.from_bytes(data[pos : pos + size], "big") & ((1 << (8 * size - 2)) - 1)


def low(data: bytes, pos: int, size: int) -> int:
    """A number of `size` bytes, 1 to 4."""
    return int.from_bytes(data[pos : pos + size], "big")


def u64(data: bytes, pos: int) -> int:
    """A number of eight bytes."""
    return int.from_bytes(data[pos : pos + 8], "big")


def expand(truncated: int, size: int, expected: int) -> int:
    """The whole number whose lowest `size` bytes are `truncated`, nearest to `expected` (RFC 9000 A.3)."""
    window = 1 << (8 * size)
    candidate = (expected & ~(window - 1)) | truncated
    half = window >> 1
    if candidate <= expected - half and candidate + window < 1 << 62:
        return candidate + window
    if candidate > expected + half and candidate >= window:
        return candidate - window
    return candidate


def low_size(distance: int) -> int:
    """Bytes that a number must be truncated to, at least, if the reader may be `distance` behind it or before it."""
    if distance < 1 << 7:
        return 1
    if distance < 1 << 15:
        return 2
    return 3 if distance < 1 << 23 else 4


def body_new(size: int) -> bytearray:
    """Memory for a message of `size` bytes that comes in pieces."""
    return bytearray(size)


def body_put(body: bytearray, offset: int, data: bytes, start: int, end: int) -> None:
    """Writes bytes `start` to `end` of `data` at `offset`, within its size."""
    body[offset : offset + end - start] = data[start:end]


def body_equal(body: bytearray, offset: int, data: bytes, start: int, end: int) -> bool:
    """Whether the bytes at `offset` are bytes `start` to `end` of `data`."""
    return body[offset : offset + end - start] == data[start:end]


def body_done(body: bytearray) -> bytes:
    """The message as bytes; nothing may be written to `body` afterwards."""
    return bytes(body)


def take(data: bytes, start: int, end: int) -> bytes:
    """Bytes `start` to `end` of `data`, as an object of their own."""
    return data[start:end]


def copied(room: memoryview, start: int, end: int) -> bytes:
    """Bytes `start` to `end` of a room."""
    return bytes(room[start:end])


def checksum(room: memoryview, start: int, end: int, kind: int, seed: int) -> int:
    """The checksum of a packet in a room; of `seed` the lowest 32 bits count."""
    return checksum_of(bytes(room[start:end]), end - start, kind, seed)


def checksum_of(data: bytes, end: int, kind: int, seed: int) -> int:
    """The checksum of the first `end` bytes of a packet; of `seed` the lowest 32 bits count."""
    if kind == CRC32C:
        return sums.crc32c(data, 0, end, seed & 0xFFFFFFFF)
    return sums.crc32(data, 0, end, seed & 0xFFFFFFFF)
