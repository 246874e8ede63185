"""Walks encoded messages before anything is built from them, and finds where one ends.

A few bytes can ask a decoder for gigabytes (an array header counts what does not follow) or for a deep recursion, so
every body is walked once against the limits in `transport.limits`: depth, elements, map entries, lengths that fit.
The same walk goes on from chunk to chunk, which frames a bare msgpack stream. Layout: the msgpack specification.
It must never build an object from what it walks, and never look at a byte twice but for a header cut by a chunk's end.
"""

from __future__ import annotations

from transport import limits

DONE, WANTS_MORE = 0, 1  # results of a walk; everything above is an error
RESERVED, DEPTH, ELEMENTS, ENTRIES, ROOM, EXT, KEY = 2, 3, 4, 5, 6, 7, 8

# C integers when compiled, hence invisible from outside
_DEPTH_MAX = limits.MSGPACK_DEPTH_MAX
_ELEMENTS_MAX = limits.MSGPACK_ELEMENTS_MAX
_ENTRIES_MAX = limits.MSGPACK_MAP_ENTRIES_MAX
_JSON_DEPTH_MAX = limits.JSON_DEPTH_MAX
_JSON_ELEMENTS_MAX = limits.JSON_ELEMENTS_MAX
_DONE, _WANTS_MORE = DONE, WANTS_MORE
_SCALAR, _TEXT, _EXT, _ARRAY, _MAP = 0, 1, 2, 3, 4
_ONE = 1  # to be shifted further than a C int goes

# For the first bytes 0xc0 to 0xdf: bytes of the length that follows, bytes of the body besides that length, and kind.
#               nil ! f t  bin8+   ext8+   f32 f64 uint8+      int8+       fixext1+        str8+   array  map
_LENGTHS = bytes([0, 0, 0, 0, 1, 2, 4, 1, 2, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 4, 2, 4, 2, 4])
_BODIES = bytes([0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8, 2, 3, 5, 9, 17, 0, 0, 0, 0, 0, 0, 0])
_KINDS = bytes([0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 1, 1, 1, 3, 3, 4, 4])


class Scanner:
    """The walk over one msgpack value, in one piece or in chunks. Reusable: `begin` starts a new one.

    Args:
        ext_codes: extension types that are let through.
        any_ext: lets all of them through.
        text_keys: refuses map keys that are neither str nor bin (a peer chooses the hashes of all others).

    Attributes:
        state: DONE, WANTS_MORE, or why the value is refused; `explain` puts that into words.
    """

    def __init__(self, ext_codes: frozenset[int] = frozenset(), any_ext: bool = False, text_keys: bool = True) -> None:
        self._ext_codes = ext_codes
        self._any_ext = any_ext
        self._text_keys = text_keys
        self._stack = [0] * 64  # values still to come at the levels above; _DEPTH_MAX is below 63
        self.consumed = 0
        self.begin(0)

    def begin(self, room: int) -> None:
        """Starts with a new value, which may take `room` bytes."""
        self.state = _WANTS_MORE
        self._room = room
        self._depth = 0
        self._left = 1
        self._maps = 0
        self._skip = 0
        self._elements = 0
        self._detail = 0

    def check(self, data: bytes) -> int:
        """Walks `data`, which is to hold exactly one value; gives the `state` (trailing bytes leave it DONE).

        `consumed` then says how many bytes the value took.
        """
        self.begin(len(data))
        self.consumed = self.advance(data, 0)
        return self.state

    def advance(self, data: bytes, pos: int) -> int:
        """Goes on with the value in the next chunk, from `pos`; gives where it stopped.

        While `state` is WANTS_MORE, the bytes from there on begin a header that is cut short: give them again in
        front of the next chunk.
        """
        start = pos
        end = len(data)
        limit = start + self._room
        if self._skip:
            pos = self._pass_body(pos, end)
            if self._skip:
                self._room = limit - pos
                return pos
        end = min(end, limit)
        left = self._left
        while True:
            while left == 0:
                if self._depth == 0:
                    self.state = _DONE
                    return pos
                self._depth -= 1
                left = self._stack[self._depth]
            if pos >= end:
                break
            byte = data[pos]
            head = 1
            size = 0
            kind = _SCALAR
            if 0xA0 <= byte < 0xC0:  # a short str, the most frequent of all
                size = byte & 0x1F
                kind = _TEXT
            elif 0x80 <= byte < 0xA0:
                size = byte & 0x0F
                kind = _MAP if byte < 0x90 else _ARRAY
            elif 0xC0 < byte < 0xE0 and byte not in (0xC2, 0xC3):
                byte -= 0xC0
                kind = _KINDS[byte]
                head += _LENGTHS[byte]
                if head + (kind == _EXT) > end - pos:
                    break
                size = self._read_size(data, pos, byte, head)
                if self.state != _WANTS_MORE:
                    return pos
            if kind != _TEXT and self._text_keys and left & 1 == 0 and self._maps >> self._depth & 1:
                return self._refuse(KEY, pos, 0)
            if size > limit - pos - head:
                return self._refuse(ROOM, pos, size)
            left -= 1
            pos += head
            if kind < _ARRAY:
                pos += size
                if pos > end:
                    self._skip = pos - end
                    pos = end
                    break
                continue
            self._enter(kind, size, left)
            if self.state != _WANTS_MORE:
                return pos
            left = size if kind == _ARRAY else 2 * size
        self._left = left
        self._room = limit - pos
        if end == limit and not self._skip:
            return self._refuse(ROOM, pos, 0)
        return pos

    def _pass_body(self, pos: int, end: int) -> int:
        """Goes on over a body that began in an earlier chunk."""
        step = min(self._skip, end - pos)
        self._skip -= step
        return pos + step

    def _read_size(self, data: bytes, pos: int, row: int, head: int) -> int:
        """What follows the header at `pos`: bytes of a body, or values of a container. `row` is that of the tables."""
        if row == 1:
            return self._refuse(RESERVED, pos, 0)
        size = 0
        for i in range(pos + 1, pos + head):
            size = (size << 8) | data[i]
        if _KINDS[row] == _EXT and not self._any_ext:
            code = data[pos + head]
            if (code - 256 if code > 127 else code) not in self._ext_codes:
                return self._refuse(EXT, pos, code)
        return size + _BODIES[row]

    def _enter(self, kind: int, size: int, left: int) -> None:
        """Goes down into a container of `size` elements or entries; `left` values follow behind it."""
        if kind == _MAP:
            if size > _ENTRIES_MAX:
                self._refuse(ENTRIES, 0, size)
                return
            size *= 2
        self._elements += size
        if self._elements > _ELEMENTS_MAX:
            self._refuse(ELEMENTS, 0, self._elements)
            return
        if self._depth >= _DEPTH_MAX:
            self._refuse(DEPTH, 0, 0)
            return
        self._stack[self._depth] = left
        self._depth += 1
        bit = _ONE << self._depth
        self._maps = (self._maps | bit) if kind == _MAP else (self._maps & ~bit)

    def explain(self) -> str:
        """Why the value is refused, in words."""
        if self.state == RESERVED:
            return "the byte 0xc1 begins no msgpack value"
        if self.state == DEPTH:
            return f"nested deeper than {limits.MSGPACK_DEPTH_MAX} levels"
        if self.state == ELEMENTS:
            return f"{self._detail} elements, over the limit of {limits.MSGPACK_ELEMENTS_MAX}"
        if self.state == ENTRIES:
            return f"a map of {self._detail} entries, over the limit of {limits.MSGPACK_MAP_ENTRIES_MAX}"
        if self.state == EXT:
            code = self._detail - 256 if self._detail > 127 else self._detail
            return f"extension type {code} is not enabled"
        if self.state == KEY:
            return "a map key that is neither str nor bin"
        if self.state == ROOM:
            return f"a value of {self._detail} bytes or more does not fit" if self._detail else "truncated"
        return "truncated" if self.state == WANTS_MORE else ""

    def _refuse(self, state: int, pos: int, detail: int) -> int:
        self.state = state
        self._detail = detail
        return pos


def scan_json(data: bytes) -> int:
    """Whether JSON text keeps the limits on depth and elements: DONE, DEPTH or ELEMENTS.

    Says nothing about whether it is well-formed: brackets that close nothing are for the parser to refuse.
    """
    pos = 0
    end = len(data)
    depth = 0
    elements = 0
    while pos < end:
        byte = data[pos]
        pos += 1
        if byte == 0x22:  # a string, up to its closing quote
            while pos < end and data[pos] != 0x22:
                pos += 2 if data[pos] == 0x5C else 1
            pos += 1
        elif byte == 0x2C:
            elements += 1
            if elements > _JSON_ELEMENTS_MAX:
                return ELEMENTS
        elif byte in (0x5B, 0x7B):
            depth += 1
            elements += 1
            if depth > _JSON_DEPTH_MAX:
                return DEPTH
        elif byte in (0x5D, 0x7D):
            depth -= 1
    return DONE
