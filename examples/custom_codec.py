"""A codec of your own: positions as 20 bytes each, whatever Python object you like on either side.

python examples/custom_codec.py
"""

from __future__ import annotations

import math
import struct
from typing import Any, NamedTuple

import transport


class Position(NamedTuple):
    """Where something is."""

    number: int
    x: float
    y: float


class PositionCodec:
    """Positions to bytes and back. The name is told to the peer, whose codec must have the same."""

    name = "position-1"
    _layout = struct.Struct("!Idd")

    def encode(self, message: Any) -> bytes:
        """Raises CodecError for what is no position: `send` then raises it, and nothing has left."""
        try:
            return self._layout.pack(*message)
        except (struct.error, TypeError) as error:
            raise transport.CodecError(f"no position: {message!r}") from error

    def decode(self, payload: bytes) -> Position:
        """Raises CodecError for what is none: the connection ends with INVALID_BODY, all others go on."""
        try:
            position = Position(*self._layout.unpack(payload))
        except struct.error as error:
            raise transport.CodecError(f"a position has {self._layout.size} bytes, not {len(payload)}") from error
        if not (math.isfinite(position.x) and math.isfinite(position.y)):
            raise transport.CodecError("a position that is not finite")
        return position


async def mirror(conn: transport.Connection) -> None:
    """Answers each position with its mirror image."""
    async for number, x, y in conn:
        await conn.send(Position(number, -x, -y))


async def main() -> None:
    """A good position, a bad one, and a peer with another codec."""
    codec = PositionCodec()
    async with transport.serve("tcp://127.0.0.1:0", mirror, codec=codec) as server:
        async with transport.connect(server.url, codec=codec) as conn:
            await conn.send(Position(1, 2.5, -4.0))
            print(await conn.recv())
            try:
                await conn.send("somewhere")
            except transport.CodecError as error:
                print("not sent:", error)
        try:
            await transport.connect(server.url, codec="json")
        except transport.ConnectFailed as error:
            print("refused:", str(error).partition(": ")[2])


if __name__ == "__main__":
    transport.run(main())
