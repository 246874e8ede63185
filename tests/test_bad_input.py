"""Whatever a peer may send over a real socket: its connection ends with a code and a reason, all others go on."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
import tracemalloc
from typing import Any

import msgpack
import pytest

from tests.strangers import HELLO, RAW_HELLO, STYLES, ended_by, scene, until
from transport import limits
from transport.api import connect
from transport.errors import CloseCode, ConnectFailed, ConnectionLost, ConnectTimeout
from transport.stream import frames
from transport.stream.preface import MAGIC, Preface

MAX = limits.MESSAGE_BYTES_DEFAULT
VARINT_MAX = (1 << 62) - 1
CLIENT_HELLO = bytes.fromhex("16030100f0010000ec0303") + bytes(range(64))

pytestmark = pytest.mark.asyncio


def header(kind: int, size: int, channel: int = 0, bits: int = 0) -> bytes:
    return frames.header(kind, size, channel, bits)


def frame(kind: int, body: bytes = b"", channel: int = 0, bits: int = 0) -> bytes:
    return header(kind, len(body), channel, bits) + body


def numbers(kind: int, *values: int, tail: bytes = b"") -> bytes:
    return frames.numbers(kind, *values, tail=tail)


def messages(*bodies: Any) -> bytes:
    return b"".join(frame(frames.MESSAGE, msgpack.packb(body)) for body in bodies)


def preface(body: bytes, version: int = 1, size: int | None = None) -> bytes:
    return MAGIC + bytes([version]) + (len(body) if size is None else size).to_bytes(2, "big") + body


# name: (what is said, close code, part of the reason)
OPENINGS: dict[str, tuple[bytes, int, str]] = {
    "http": (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", CloseCode.PROTOCOL_ERROR, "looks like HTTP"),
    "http-answer": (b"HTTP/1.1 200 OK\r\n\r\n", CloseCode.PROTOCOL_ERROR, "looks like HTTP"),
    "tls": (CLIENT_HELLO, CloseCode.PROTOCOL_ERROR, "looks like TLS"),
    "ssh": (b"SSH-2.0-OpenSSH_9.9\r\n", CloseCode.PROTOCOL_ERROR, "looks like SSH"),
    "zeros": (bytes(4096), CloseCode.PROTOCOL_ERROR, "does not speak this protocol"),
    "one-byte": (b"\n", CloseCode.PROTOCOL_ERROR, "does not speak this protocol"),
    "version": (preface(b"", version=2), CloseCode.PROTOCOL_ERROR, "unsupported version 2, this side speaks 1"),
    "long": (preface(b"", size=0xFFFF), CloseCode.PROTOCOL_ERROR, "preface of 65535 bytes is over the limit"),
    "cut-parameter": (preface(b"\x01\x04\x00"), CloseCode.PROTOCOL_ERROR, "malformed preface"),
    "twice": (preface(b"\x01\x01\x05\x01\x01\x05"), CloseCode.PROTOCOL_ERROR, "stands twice"),
    "zero": (preface(b"\x01\x01\x00"), CloseCode.PROTOCOL_ERROR, "a limit of zero"),
    "codec": (Preface(codec="json").encode(), CloseCode.CODEC_MISMATCH, "the peer's codec is 'json'"),
    "codec-text": (preface(b"\x06\x02\xff\xfe"), CloseCode.PROTOCOL_ERROR, "malformed preface"),
}

OPEN = numbers(frames.STREAM_OPEN, 0, 0)  # of unknown size
FRAMES: dict[str, tuple[bytes, int, str]] = {
    "message-over-limit": (header(0, MAX + 1), CloseCode.TOO_LARGE, f"{MAX + 1} bytes is over the limit of {MAX}"),
    "message-of-all-ones": (header(0, VARINT_MAX), CloseCode.TOO_LARGE, "is over the limit"),
    "message-on-channel-too-large": (header(0, VARINT_MAX, 7), CloseCode.TOO_LARGE, "is over the limit"),
    "channel-over-limit": (frame(0, b"\xc0", 256), CloseCode.PROTOCOL_ERROR, "channel 256 is over the limit"),
    "channel-of-all-ones": (frame(0, b"\xc0", VARINT_MAX), CloseCode.PROTOCOL_ERROR, "is over the limit of 256"),
    "reserved-bit": (b"\x04\x00", CloseCode.PROTOCOL_ERROR, "reserved bit"),
    "reserved-bit-of-a-control-frame": (b"\x34\x00", CloseCode.PROTOCOL_ERROR, "reserved bit"),
    "unknown-kind": (b"\xb0\x00", CloseCode.PROTOCOL_ERROR, "unknown frame kind 11"),
    "control-too-large": (header(frames.PING, 1025), CloseCode.TOO_LARGE, "control frame of 1025 bytes"),
    "ignorable-too-large": (header(15, VARINT_MAX), CloseCode.TOO_LARGE, "is too large"),
    "chunk-too-large": (
        header(frames.STREAM_DATA, limits.STREAM_CHUNK_BYTES + 9), CloseCode.TOO_LARGE, "stream chunk of",
    ),
    "ping-of-one-byte": (frame(frames.PING, b"x"), CloseCode.PROTOCOL_ERROR, "malformed ping"),
    "pong-of-nothing": (frame(frames.PONG), CloseCode.PROTOCOL_ERROR, "malformed pong"),
    "credit-of-nothing": (frame(frames.CHANNEL_CREDIT), CloseCode.PROTOCOL_ERROR, "malformed control frame 1"),
    "credit-cut-short": (frame(frames.CONNECTION_CREDIT, b"\xff"), CloseCode.PROTOCOL_ERROR, "malformed control"),
    "credit-for-no-channel": (
        header(frames.CHANNEL_CREDIT, 1, 300) + b"\x01", CloseCode.PROTOCOL_ERROR, "channel 300 is over the limit",
    ),
    "goodbye-of-nothing": (frame(frames.CLOSE), CloseCode.PROTOCOL_ERROR, "malformed control frame 5"),
    "goodbye-code": (numbers(frames.CLOSE, 1 << 16), CloseCode.PROTOCOL_ERROR, "close code out of range"),
    "stream-out-of-turn": (numbers(frames.STREAM_OPEN, 1, 0), CloseCode.PROTOCOL_ERROR, "stream 1 opened out of turn"),
    "stream-opened-twice": (OPEN + OPEN, CloseCode.PROTOCOL_ERROR, "opened out of turn"),
    "stream-without-size": (numbers(frames.STREAM_OPEN, 0), CloseCode.PROTOCOL_ERROR, "malformed control frame 6"),
    "stream-never-opened": (
        numbers(frames.STREAM_DATA, 0, tail=b"x"), CloseCode.PROTOCOL_ERROR, "stream 0 was never opened",
    ),
    "stream-end-never-opened": (numbers(frames.STREAM_END, 5), CloseCode.PROTOCOL_ERROR, "stream 5 was never opened"),
    "stream-ends-twice": (
        OPEN + numbers(frames.STREAM_END, 0) * 2, CloseCode.PROTOCOL_ERROR, "stream 0 ends twice",
    ),
    "stream-goes-on": (
        OPEN + numbers(frames.STREAM_END, 0) + numbers(frames.STREAM_DATA, 0, tail=b"x"),
        CloseCode.PROTOCOL_ERROR, "stream 0 goes on after its end",
    ),
    "stream-too-long": (
        numbers(frames.STREAM_OPEN, 0, 3) + numbers(frames.STREAM_DATA, 0, tail=b"xyz"),
        CloseCode.PROTOCOL_ERROR, "longer than announced",
    ),
    "stream-too-short": (
        numbers(frames.STREAM_OPEN, 0, 3) + numbers(frames.STREAM_END, 0),
        CloseCode.PROTOCOL_ERROR, "shorter than announced",
    ),
    "stream-reset-cut-short": (
        OPEN + numbers(frames.STREAM_RESET, 0), CloseCode.PROTOCOL_ERROR, "malformed control frame 9",
    ),
    "stream-out-of-credit": (
        OPEN + numbers(frames.STREAM_DATA, 0, tail=bytes(limits.STREAM_CHUNK_BYTES)) * 17,
        CloseCode.FLOW_CONTROL, "stream 0 is out of credit",
    ),
}  # fmt: skip

NEST = b"\x91" * 500 + b"\xc0"
BODIES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "undecodable msgpack"),
    "reserved-byte": (b"\xc1", "undecodable msgpack"),
    "cut-short": (b"\xd9\x05ab", "undecodable msgpack"),
    "two-values": (b"\xc0\xc0", "bytes behind the message"),
    "bad-text": (b"\xa2\xff\xfe", "undecodable msgpack"),
    "extension": (b"\xd4\x05\x00", "undecodable msgpack"),
    "500-levels": (NEST, "undecodable msgpack"),
    "500-levels-of-maps": (b"\x81\xa1k" * 500 + b"\xc0", "undecodable msgpack"),
    "array-of-4-billion": (b"\xdd\xff\xff\xff\xff", "undecodable msgpack"),
    "map-of-4-billion": (b"\xdf\xff\xff\xff\xff", "undecodable msgpack"),
    "text-of-4-billion": (b"\xdb\xff\xff\xff\xff", "undecodable msgpack"),
    "key-that-is-a-list": (b"\x81\x90\xc0", "undecodable msgpack"),
}


def ids(table: dict[str, Any]) -> Any:
    return pytest.mark.parametrize("case", table.values(), ids=list(table))


@ids(OPENINGS)
async def test_a_wrong_preface(case: tuple[bytes, int, str]) -> None:
    said, code, reason = case
    async with scene() as stage:
        stranger, conn = await stage.stranger()
        await stranger.say(said)
        assert await stranger.goodbye() == (code, conn.close_reason)
        await ended_by(conn, code, reason)
        assert stage.server.statistics().accepted == (1 if said != HELLO else 2)
        stranger.end()
        await until(lambda: conn not in stage.server.connections)


@ids(FRAMES)
@pytest.mark.parametrize("style", STYLES)
async def test_a_frame_against_the_rules(style: str, case: tuple[bytes, int, str]) -> None:
    """Behind a message that is in order, in one write with it: that one is answered or dropped, never mixed up."""
    said, code, reason = case
    async with scene(style) as stage:
        stranger, conn = await stage.stranger()
        await stranger.say(HELLO + messages("fine") + said)
        assert await stranger.goodbye() == (code, conn.close_reason)
        await ended_by(conn, code, reason)
        assert {found.body for found in stranger.frames() if found.kind == frames.MESSAGE} <= {msgpack.packb("fine")}
        stranger.end()
        await until(lambda: conn not in stage.server.connections)


@ids({name: FRAMES[name] for name in ("message-of-all-ones", "stream-too-long", "reserved-bit", "control-too-large")})
async def test_the_same_in_writes_of_one_byte(case: tuple[bytes, int, str]) -> None:
    said, code, reason = case
    async with scene() as stage:
        stranger, conn = await stage.stranger()
        for byte in HELLO + messages("fine") + said:
            await stranger.say(bytes([byte]))
            await asyncio.sleep(0)
        assert await stranger.goodbye() == (code, conn.close_reason)
        await ended_by(conn, code, reason)


async def test_kinds_that_a_later_version_may_add_are_passed_over() -> None:
    async with scene() as stage:
        stranger, conn = await stage.stranger()
        await stranger.say(HELLO + b"".join(frame(kind, b"new", 5) for kind in range(12, 16)) + messages("fine"))
        await until(lambda: conn.statistics().messages_received)
        while not any(found.kind == frames.MESSAGE for found in (stranger.frames() if stranger.said else [])):
            assert await stranger.hear()
        assert conn.close_code is None


@ids(BODIES)
@pytest.mark.parametrize("style", STYLES)
async def test_an_undecodable_body(style: str, case: tuple[bytes, str]) -> None:
    body, reason = case
    async with scene(style) as stage:
        stranger, conn = await stage.stranger()
        await stranger.say(HELLO + messages("fine") + frame(frames.MESSAGE, body))
        code, told = await stranger.goodbye()
        assert (code, told) == (CloseCode.INVALID_BODY, conn.close_reason)
        await ended_by(conn, CloseCode.INVALID_BODY, reason)
        assert stage.server.statistics().failed_handlers == 0


@pytest.mark.parametrize("style", STYLES)
async def test_an_undecodable_body_is_told_to_both_programs(style: str, caplog: pytest.LogCaptureFixture) -> None:
    """Also the server's own program sees the code, and its log stays empty: it is the peer's doing."""
    async with scene(style) as stage:
        async with connect(stage.server.url, codec=Nameless()) as bad:
            await bad.send(b"\xc1")
            with pytest.raises(ConnectionLost, match="undecodable") as caught:
                await bad.recv()
            assert (caught.value.code, caught.value.by_peer) == (CloseCode.INVALID_BODY, True)
    assert not caplog.records


class Nameless:
    """Bytes as they are, unannounced: what a peer with a broken codec sends."""

    def encode(self, message: bytes) -> bytes:
        return message

    def decode(self, payload: bytes) -> bytes:
        return payload


def bomb(kind: str, size: int) -> bytes:
    if kind == "nils":
        return b"\xdd" + struct.pack(">I", size - 5) + b"\xc0" * (size - 5)
    if kind == "lists":
        return b"\xdd" + struct.pack(">I", size - 5) + b"\x90" * (size - 5)
    if kind == "maps":
        return b"\xdf" + struct.pack(">I", (size - 5) // 2) + b"\xa0\xc0" * ((size - 5) // 2) + b"\xc0"
    return b"\x91" * (size - 1) + b"\xc0"


@pytest.mark.parametrize("kind", ["nils", "lists", "maps", "nest"])
@pytest.mark.parametrize("style", STYLES)
async def test_16_mib_of_almost_nothing(style: str, kind: str) -> None:
    """Refused by a look at its bytes: nothing of the message, 128 MiB and more if it were built, comes into being."""
    size = limits.MESSAGE_BYTES_MAX
    window = {"channel_window": 2 * size, "connection_window": 2 * size}
    async with scene(style, max_message=size, **window) as stage:
        stranger, conn = await stage.stranger()
        said = HELLO + header(frames.MESSAGE, size) + bomb(kind, size)
        gc.collect()
        tracemalloc.start()
        try:
            await stranger.say(said)
            code, told = await stranger.goodbye()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert (code, told) == (CloseCode.INVALID_BODY, conn.close_reason)
        assert "over the limit" in told or "deep" in told
        assert peak < 3 * size  # the body, once in pieces and once whole


@pytest.mark.parametrize("size", [MAX, limits.MESSAGE_BYTES_MAX, VARINT_MAX])
async def test_nothing_is_set_aside_for_a_length(size: int) -> None:
    """Neither for one that is refused nor for one that is allowed and whose body does not come."""
    async with scene(max_message=MAX) as stage:
        strangers = [await stage.stranger() for _ in range(5)]
        gc.collect()
        tracemalloc.start()
        try:
            for stranger, _ in strangers:
                await stranger.say(HELLO + header(frames.MESSAGE, size) + b"x")
            for _, conn in strangers:
                await until(lambda conn=conn: conn.close_code or conn.statistics().counters["bytes_received"])
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < MAX
        for stranger, conn in strangers:
            stranger.end()
            if size > MAX:
                await ended_by(conn, CloseCode.TOO_LARGE, "is over the limit")
            else:
                await ended_by(conn, CloseCode.LOST, "in the middle of a frame")


CUT = {
    "preface": (HELLO[:9], "the peer closed before its preface"),
    "nothing-said": (b"", "the peer closed before its preface"),
    "after-the-preface": (HELLO, "without a goodbye"),
    "head": (HELLO + b"\x08", "in the middle of a frame"),
    "length": (HELLO + b"\x00\x80", "in the middle of a frame"),
    "body": (HELLO + header(frames.MESSAGE, 1000) + b"x" * 999, "in the middle of a frame"),
    "large-body": (HELLO + header(frames.MESSAGE, MAX) + b"x" * (MAX - 1), "in the middle of a frame"),
    "control": (HELLO + header(frames.PING, 8) + b"1234567", "in the middle of a frame"),
    "stream": (HELLO + OPEN + numbers(frames.STREAM_DATA, 0, tail=b"x"), "without a goodbye"),
}


@ids(CUT)
@pytest.mark.parametrize("style", STYLES)
async def test_an_end_in_the_middle(style: str, case: tuple[bytes, str]) -> None:
    said, reason = case
    async with scene(style) as stage:
        stranger, conn = await stage.stranger()
        await stranger.say(said)
        stranger.end()
        await stranger.hear_all()
        await ended_by(conn, CloseCode.LOST, reason)
        await until(lambda: conn not in stage.server.connections)
        assert not [found for found in stranger.frames() if found.kind == frames.CLOSE]


@ids(CUT)
async def test_a_reset_in_the_middle(case: tuple[bytes, str]) -> None:
    said, _ = case
    async with scene() as stage:
        stranger, conn = await stage.stranger()
        await stranger.say(said)
        stranger.cut()
        await ended_by(conn, CloseCode.LOST, "")
        await until(lambda: conn not in stage.server.connections)


@pytest.mark.parametrize("said", [b"", HELLO[:1], HELLO[:-1]], ids=["nothing", "one-byte", "all-but-one"])
async def test_a_peer_that_does_not_finish_its_preface(said: bytes) -> None:
    async with scene(handshake_timeout=0.05) as stage:
        stranger, conn = await stage.stranger()
        await stranger.say(said)
        code, told = await stranger.goodbye()
        assert (code, told) == (CloseCode.HANDSHAKE_TIMEOUT, "the peer sent no preface in time")
        await ended_by(conn, CloseCode.HANDSHAKE_TIMEOUT, told)
        stranger.end()
        await until(lambda: conn not in stage.server.connections)
        assert stage.server.statistics().accepted == 1


async def test_one_byte_now_and_then_does_not_put_the_handshake_off() -> None:
    async with scene(handshake_timeout=0.05) as stage:
        stranger, conn = await stage.stranger()
        for byte in Preface(codec="x" * 900).encode():
            if conn.close_code is not None:
                break
            await stranger.say(bytes([byte]))
            await stage.healthy.more(40)
        await ended_by(conn, CloseCode.HANDSHAKE_TIMEOUT, "the peer sent no preface in time")


async def other_server() -> tuple[socket.socket, str]:
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    return listening, f"tcp://127.0.0.1:{listening.getsockname()[1]}"


async def test_a_client_meets_a_server_that_says_nothing() -> None:
    listening, url = await other_server()
    with listening, pytest.raises(ConnectFailed, match="handshake timeout"):
        await connect(url, handshake_timeout=0.05)


async def test_a_client_meets_a_server_that_says_nothing_and_has_no_time_for_it() -> None:
    listening, url = await other_server()
    with listening, pytest.raises(ConnectTimeout, match="no connection within 0.05 s"):
        await connect(url, connect_timeout=0.05)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "protocol error.*this looks like HTTP"),
        (b"220 mail ESMTP\r\n", "protocol error.*does not speak this protocol"),
        (b"", "lost.*the peer closed before its preface"),
        (Preface(codec="json").encode(), "codec mismatch.*the peer's codec is 'json', this side's 'msgpack'"),
    ],
    ids=["http", "smtp", "nothing", "codec"],
)
async def test_a_client_meets_somebody_elses_server(answer: bytes, reason: str) -> None:
    loop = asyncio.get_running_loop()
    listening, url = await other_server()
    with listening:
        connecting = asyncio.ensure_future(connect(url))
        peer, _ = await loop.sock_accept(listening)
        with peer:
            peer.setblocking(False)
            assert (await loop.sock_recv(peer, 4096)).startswith(MAGIC)
            await loop.sock_sendall(peer, answer)
            peer.shutdown(socket.SHUT_WR)
            with pytest.raises(ConnectFailed, match=f"{url}: connection closed.*{reason}") as caught:
                await connecting
    assert isinstance(caught.value.__cause__, ConnectionLost)


PLAIN: dict[str, tuple[str, bytes, int, str]] = {
    "length32-over": ("length32", (MAX + 1).to_bytes(4, "big"), CloseCode.TOO_LARGE, "is over the limit"),
    "length32-negative": ("length32", b"\xff\xff\xff\xff", CloseCode.TOO_LARGE, "is over the limit"),
    "length32-http": ("length32", b"GET / HTTP/1.1\r\n", CloseCode.TOO_LARGE, "is over the limit"),
    "length32-cut": ("length32", b"\0\0\0", CloseCode.LOST, "ended within a length"),
    "length32-cut-body": ("length32", b"\0\0\0\x05abcd", CloseCode.LOST, "1 bytes are missing"),
    "netstring-over": ("netstring", b"1048577:x", CloseCode.TOO_LARGE, "is over the limit"),
    "netstring-digits": ("netstring", b"9" * 100_000, CloseCode.TOO_LARGE, "is over the limit"),
    "netstring-negative": ("netstring", b"-1:,", CloseCode.PROTOCOL_ERROR, "of digits only"),
    "netstring-plus": ("netstring", b"+1:x,", CloseCode.PROTOCOL_ERROR, "of digits only"),
    "netstring-zeros": ("netstring", b"01:x,", CloseCode.PROTOCOL_ERROR, "no leading zeros"),
    "netstring-nothing": ("netstring", b":,", CloseCode.PROTOCOL_ERROR, "no digits"),
    "netstring-comma": ("netstring", b"2:ab;", CloseCode.PROTOCOL_ERROR, "no comma"),
    "netstring-cut": ("netstring", b"5:ab", CloseCode.LOST, "ended within a netstring"),
    "lines-over": ("lines", b"x" * (limits.LINE_BYTES_MAX + 2), CloseCode.TOO_LARGE, "a line is over the limit"),
    "lines-cut": ("lines", b"no end", CloseCode.LOST, "ended within a line"),
    "msgpack-over": ("msgpack", b"\xc6\xff\xff\xff\xff", CloseCode.TOO_LARGE, "over the limit"),
    "msgpack-nest": ("msgpack", NEST, CloseCode.INVALID_BODY, "msgpack"),
    "msgpack-reserved": ("msgpack", b"\xc1", CloseCode.PROTOCOL_ERROR, "msgpack"),
    "msgpack-cut": ("msgpack", b"\xa5ab", CloseCode.LOST, "ended within a msgpack value"),
}


@ids(PLAIN)
@pytest.mark.parametrize("style", STYLES)
async def test_a_frame_of_another_framing(style: str, case: tuple[str, bytes, int, str]) -> None:
    """There is no goodbye on such a wire: the server's program is told, the peer sees the end."""
    framing, said, code, reason = case
    codec = "msgpack" if framing == "msgpack" else "raw"
    async with scene(style, b"well", framing=framing, codec=codec) as stage:
        stranger, conn = await stage.stranger()
        tracemalloc.start()
        try:
            await stranger.say(said)
            stranger.end()
            await stranger.hear_all()
            await ended_by(conn, code, reason)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < MAX
        await until(lambda: conn not in stage.server.connections)


@pytest.mark.parametrize("style", STYLES)
async def test_an_undecodable_body_in_another_framing(style: str) -> None:
    async with scene(style, framing="lines", codec="json") as stage:
        stranger, conn = await stage.stranger()
        await stranger.say(b'{"fine": 1}\n{"fine"\n')
        await stranger.hear_all()
        await ended_by(conn, CloseCode.INVALID_BODY, "undecodable")
        assert stage.server.statistics().failed_handlers == 0


async def test_thousands_of_writes_of_one_byte() -> None:
    """A message in the smallest pieces costs its size, not an object for each piece."""
    size = 20_000
    async with scene(codec="raw", message=b"well") as stage:
        stranger, conn = await stage.stranger()
        begun = RAW_HELLO + header(frames.MESSAGE, size)
        await stranger.say(begun)
        gc.collect()
        tracemalloc.start()
        try:
            for number in range(size - 1):
                stranger.sock.send(b"x")
                if number % 16 == 0:
                    await asyncio.sleep(0)
            await until(lambda: conn.statistics().counters["bytes_received"] == len(begun) + size - 1)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 10 * size
        await stranger.say(b"x")
        while not (stranger.said and stranger.frames()):
            assert await stranger.hear()
        assert stranger.frames()[0].body == b"x" * size


@pytest.mark.parametrize("framing", ["message", "length32"])
async def test_after_a_reset_sending_raises(framing: str) -> None:
    """One that is waiting as well as those that come later: nobody waits for a peer that is gone."""
    async with scene(codec="raw", message=b"well", framing=framing, sndbuf=4096) as stage:
        stranger, conn = await stage.stranger(SO_RCVBUF=4096)
        await stranger.say(RAW_HELLO if framing == "message" else b"")

        async def push() -> None:
            while True:
                await conn.send(bytes(100_000))

        await until(lambda: " open " in repr(conn))
        pushing = asyncio.ensure_future(push())
        await until(lambda: conn.must_wait(0))
        stranger.cut()
        with pytest.raises(ConnectionLost, match="lost"):
            await pushing
        with pytest.raises(ConnectionLost, match="lost"):
            conn.send_nowait(b"more")
        with pytest.raises(ConnectionLost, match="lost"):
            await conn.send(b"more")
        assert conn.statistics().queued_bytes == conn.statistics().unsent_bytes == 0
