"""Somebody else's protocol: a small client for Redis, whose wire is RESP, by a framing of our own.

python examples/redis_client.py                        starts a redis-server of its own, if one is installed
python examples/redis_client.py tcp://127.0.0.1:6379   talks to yours (it sets and deletes the keys "greeting", "hits")

The framing cuts replies from the bytes, the codec makes Python objects of them. RESP2:
https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections import deque
from typing import Any

import transport
from transport.codec.framing.base import MalformedFrame

LINE_MAX = 64 * 1024
DEPTH_MAX = 8


class RedisError(Exception):
    """The server's answer to a command that it did not like."""


class Resp:
    """The framing: one reply, or one command, is one message."""

    def __init__(self, max_message: int = 1024 * 1024) -> None:
        self.max_message = max_message

    def encode(self, payload: bytes) -> bytes:
        """RESP marks its own ends: nothing to add."""
        return payload

    def decoder(self) -> RespDecoder:
        """A decoder for a new connection."""
        return RespDecoder(self.max_message)


class RespDecoder:
    """Finds where one reply ends. It remembers how far it has looked, so that no byte is looked at twice."""

    def __init__(self, max_message: int) -> None:
        self._max = max_message
        self._data = bytearray()
        self._start_over()

    def _start_over(self) -> None:
        self._at = 0  # all before it is understood
        self._looked = 0  # where to look for the end of a line
        self._open = [1]  # how many elements each open array still wants; the reply itself is one

    def feed(self, data: bytes) -> list[bytes]:
        """Takes what came, gives the replies that are complete."""
        self._data += data
        replies: list[bytes] = []
        try:
            while self._element():
                if not self._open:
                    replies.append(bytes(self._data[: self._at]))
                    del self._data[: self._at]
                    self._start_over()
        except MalformedFrame as error:
            error.payloads = replies
            raise
        return replies

    def eof(self) -> None:
        """The server may end between replies only."""
        if self._data:
            raise MalformedFrame("the stream ended within a reply", transport.CloseCode.LOST)

    def _element(self) -> bool:
        """Goes over one element; False while it is incomplete."""
        end = self._data.find(b"\r\n", max(self._at, self._looked))
        if end < 0:
            if len(self._data) - self._at > LINE_MAX:
                raise MalformedFrame("a line is too long", transport.CloseCode.TOO_LARGE)
            self._looked = max(self._at, len(self._data) - 1)
            return False
        kind = bytes(self._data[self._at : self._at + 1])
        after = end + 2
        if kind in (b"$", b"*"):
            count = self._count(bytes(self._data[self._at + 1 : end]))
            if kind == b"*" and count > 0:
                if len(self._open) == DEPTH_MAX:
                    raise MalformedFrame("arrays nest too deeply")
                self._at = after
                self._open.append(count)
                return True
            if kind == b"$" and count >= 0:
                after += count + 2
                if len(self._data) < after:
                    self._looked = end
                    return False
        elif kind not in (b"+", b"-", b":"):
            raise MalformedFrame(f"no reply begins with {kind!r}")
        self._at = after
        if after > self._max:
            raise MalformedFrame("a reply is too large", transport.CloseCode.TOO_LARGE)
        self._close_arrays()
        return True

    def _count(self, text: bytes) -> int:
        """A length, compared with the limit before anything waits for so many bytes."""
        if len(text) > 20 or not text.removeprefix(b"-").isdigit():
            raise MalformedFrame("a length is no number")
        count = int(text)
        if count > self._max:
            raise MalformedFrame("a reply is too large", transport.CloseCode.TOO_LARGE)
        return count

    def _close_arrays(self) -> None:
        while self._open:
            self._open[-1] -= 1
            if self._open[-1]:
                return
            self._open.pop()


class RespCodec:
    """Commands (a list of str, bytes and numbers) to bytes, replies to Python objects."""

    name = "resp"

    def encode(self, message: Any) -> bytes:
        """An array of bulk strings."""
        parts = [part if isinstance(part, bytes) else str(part).encode() for part in message]
        return b"*%d\r\n" % len(parts) + b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in parts])

    def decode(self, payload: bytes) -> Any:
        """None, int, bytes, str (a status), RedisError or a list. The framing has checked the layout."""
        return self._value(payload, 0)[0]

    def _value(self, data: bytes, at: int) -> tuple[Any, int]:
        end = data.index(b"\r\n", at)
        kind, text, after = data[at : at + 1], data[at + 1 : end], end + 2
        if kind == b"+":
            return text.decode("utf-8", "replace"), after
        if kind == b"-":
            return RedisError(text.decode("utf-8", "replace")), after
        try:
            number = int(text)
        except ValueError:
            raise transport.CodecError("a number is none") from None
        if kind == b":":
            return number, after
        if number < 0:
            return None, after
        if kind == b"$":
            return data[after : after + number], after + number + 2
        values = []
        for _ in range(number):
            value, after = self._value(data, after)
            values.append(value)
        return values, after


class Redis:
    """Commands with answers. Any number may be under way: Redis answers in order."""

    def __init__(self, conn: transport.Connection) -> None:
        self._conn = conn
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._reader = asyncio.create_task(self._read())

    async def command(self, *parts: str | bytes | int) -> Any:
        """One command. Raises RedisError, or ConnectionClosed."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        self._conn.send_nowait(parts)
        reply = await answer
        if isinstance(reply, RedisError):
            raise reply
        return reply

    async def _read(self) -> None:
        error: Exception = transport.ConnectionClosed()
        try:
            async for reply in self._conn:
                answer = self._waiting.popleft()
                if not answer.done():
                    answer.set_result(reply)
        except transport.TransportError as lost:
            error = lost
        for answer in self._waiting:
            if not answer.done():
                answer.set_exception(error)

    async def close(self) -> None:
        """Ends the connection."""
        await self._conn.close()
        await self._reader


async def talk(url: str) -> None:
    """Some commands, one by one and a hundred at once."""
    redis = Redis(await transport.connect(url, framing=Resp(), codec=RespCodec()))
    print(await redis.command("PING"))
    print(await redis.command("SET", "greeting", "hello \u00fc"))
    print((await redis.command("GET", "greeting")).decode())
    await redis.command("DEL", "hits")
    await asyncio.gather(*[redis.command("INCR", "hits") for _ in range(100)])
    print(await redis.command("MGET", "hits", "nothing"))
    try:
        await redis.command("INCR", "greeting")
    except RedisError as error:
        print("error:", error)
    print(await redis.command("DEL", "greeting", "hits"))
    await redis.close()


async def with_own_server(program: str) -> None:
    """Starts a server that listens on a Unix socket only, and stops it at the end."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/redis.sock"
        server = await asyncio.create_subprocess_exec(
            program, "--port", "0", "--unixsocket", path, "--save", "", "--dir", folder,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            assert server.stdout is not None
            async for line in server.stdout:
                if b"ready to accept" in line.lower():
                    break
            await talk(f"unix://{path}")
        finally:
            server.terminate()
            await server.communicate()


if __name__ == "__main__":
    found = shutil.which("redis-server")
    match sys.argv[1:]:
        case [url]:
            transport.run(talk(url))
        case [] if found:
            transport.run(with_own_server(found))
        case _:
            sys.exit(f"no redis-server is installed\n{__doc__}")
