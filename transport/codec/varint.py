"""Variable-length integers of 1, 2, 4 or 8 bytes for values below 2**62 (RFC 9000 section 16).

The two highest bits of the first byte say how long the integer is. `encode` and `decode` are for everybody; the small
functions are for parsers that keep their own position. A decoder must never trust a length that it has not compared
with the bytes it has.
"""

from __future__ import annotations

from transport.errors import CodecError

VALUE_MAX = (1 << 62) - 1
_MAX = VALUE_MAX  # a C integer when compiled, and then invisible from outside


def length(first: int) -> int:
    """Bytes of a whole integer, told by its first byte: 1, 2, 4 or 8."""
    return 1 << (first >> 6)


def value(data: bytes, pos: int) -> int:
    """The integer at `pos`; IndexError when `data` does not hold all of it."""
    number = data[pos]
    size = 1 << (number >> 6)
    number &= 0x3F
    for i in range(pos + 1, pos + size):
        number = (number << 8) | data[i]
    return number


def size_of(number: int) -> int:
    """Bytes that `number` takes in its shortest form; 0 when it has none (below 0 or above `VALUE_MAX`)."""
    if number < 0x40:
        return 1 if number >= 0 else 0
    if number < 0x4000:
        return 2
    if number < 0x40000000:
        return 4
    return 8 if number <= _MAX else 0


def append(out: bytearray, number: int) -> None:
    """Adds `number`, from 0 to `VALUE_MAX` (unchecked), to `out` in its shortest form."""
    if number < 0x40:
        out.append(number)
    elif number < 0x4000:
        out.append(0x40 | number >> 8)
        out.append(number & 0xFF)
    elif number < 0x40000000:
        out.append(0x80 | number >> 24)
        out.append(number >> 16 & 0xFF)
        out.append(number >> 8 & 0xFF)
        out.append(number & 0xFF)
    else:
        out.append(0xC0 | number >> 56)
        for shift in range(48, -1, -8):
            out.append(number >> shift & 0xFF)


def encode(number: int) -> bytes:
    """The shortest form of `number`.

    Raises:
        CodecError: it is below 0 or above 2**62 - 1.
    """
    if not 0 <= number <= VALUE_MAX:
        raise CodecError(f"a variable-length integer is from 0 to 2**62 - 1, not {number:#x}")
    out = bytearray()
    append(out, number)
    return bytes(out)


def decode(data: bytes, pos: int = 0) -> tuple[int, int]:
    """The integer at `pos`, in whatever form, and the position behind it.

    Raises:
        CodecError: `data` ends within the integer, or `pos` is outside of it.
    """
    end = len(data)
    if pos < 0 or pos >= end:
        raise CodecError("truncated: no variable-length integer is left")
    size = 1 << (data[pos] >> 6)
    if size > end - pos:
        raise CodecError(f"truncated: a variable-length integer of {size} bytes, {end - pos} are left")
    return value(data, pos), pos + size
