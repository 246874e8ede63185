"""Promises about messages: every type, every size, every delivery, and what may not be sent."""

from __future__ import annotations

import asyncio
import math
from itertools import pairwise
from typing import Any

from transport.contract.base import (
    EACH_DELIVERY,
    END,
    MAX_MESSAGE,
    PROMISES,
    RETRY_S,
    Arena,
    Broken,
    is_hello,
    need,
    one_by_one,
    promise,
    promise_each,
    raises,
    same,
    shown,
    take,
)
from transport.delivery import Delivery
from transport.errors import (
    CodecError,
    ConnectionClosed,
    ConnectionLost,
    LocalProtocolError,
    MessageTooLarge,
    UnsupportedDelivery,
)

VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 127, 128, -32, -33, 255, 256, -128, -129, 65_535, 65_536, 2**31, 2**32, -(2**31) - 1,
    2**63 - 1, -(2**63), 2**64 - 1, 0.0, -0.5, 1e300, math.inf, -math.inf, "", "a", "ä€\U0001f600", "x" * 31, "x" * 32,
    "x" * 300, b"", b"\x00", bytes(range(256)), [], [1, [2, [3, []]]], list(range(20)), {}, {"a": {"c": [None]}},
    {f"key {index}": index for index in range(20)}, {b"bytes": b"\xff"}, [1, 2.5, b"\x00", "mixed", None, True, {}],
)  # fmt: skip
SIZES = (0, 1, 63, 64, 127, 128, 16_383, 16_384, 65_535, 65_536)
MANY = 2000
BATCH = 300


class Garbage:
    """A codec whose bodies no codec reads."""

    name = "msgpack"

    def encode(self, message: Any) -> bytes:
        """Four bytes that are no msgpack."""
        return b"\xc1\xc1\xc1\xc1"

    def decode(self, payload: bytes) -> Any:
        """As it came."""
        return payload


def pattern(size: int) -> bytes:
    """Bytes in which a piece that is missing, doubled or displaced shows."""
    return (b"".join(number.to_bytes(4, "big") for number in range(size // 4 + 1)))[:size]


def body(index: int) -> bytes:
    """A message that says which it is, and whose bytes follow from that."""
    return index.to_bytes(4, "big") + pattern((index * 37) % 700)


def index_of(message: bytes) -> int:
    """The number of a `body`; raises `Broken` if it was altered."""
    index = int.from_bytes(message[:4], "big")
    need(message == body(index), f"a message was altered: {shown(message)}")
    return index


async def largest(arena: Arena, **options: Any) -> int:
    """The size of the largest message, from the text of the error that a larger one raises."""
    async with arena.pair(codec="raw", **options) as ends:
        with raises(MessageTooLarge, "a message of 20 MiB") as caught:
            await ends.client.send(bytes(20 * 1024 * 1024))
        limit: int = caught[0].limit
        return limit


@promise
async def every_type(arena: Arena) -> None:
    """A message of every type that msgpack has arrives equal, both ways."""
    async with arena.pair() as ends:
        for sender, reader in ((ends.client, ends.peer), (ends.peer, ends.client)):
            if ends.traits.reliable:
                for value in VALUES:
                    await sender.send(value)
                got = await take(reader, len(VALUES))
                for value in VALUES:
                    need(any(type(one) is type(value) and one == value for one in got), f"{shown(value)} did not come")
                if ends.traits.ordered:
                    same(got, list(VALUES), "messages of every type")
                continue
            wrapped = [[index, value] for index, value in enumerate(VALUES)]
            got = await one_by_one(sender, reader, wrapped)
            for message in got:
                need(isinstance(message, list) and len(message) == 2, f"an altered message came: {shown(message)}")
                same(message[1], VALUES[message[0]], f"message {message[0]}")


@promise
async def every_size(arena: Arena) -> None:
    """Messages from 0 bytes to the largest arrive byte for byte, both ways."""
    limit = await largest(arena, max_message=MAX_MESSAGE)
    need(limit <= MAX_MESSAGE, f"the option max_message={MAX_MESSAGE} gave a limit of {limit}")
    sizes = sorted({size for size in (*SIZES, limit - 1, limit) if 0 <= size <= limit})
    async with arena.pair(codec="raw", max_message=MAX_MESSAGE) as ends:
        declared = ends.traits.max_message
        need(declared is None or limit <= declared, f"traits.max_message is {declared}, but {limit} bytes are taken")
        for sender, reader in ((ends.client, ends.peer), (ends.peer, ends.client)):
            messages = [pattern(size) for size in sizes]
            if ends.traits.reliable:
                for message in messages:
                    await sender.send(message)
                got = await take(reader, len(messages))
            else:
                got = await one_by_one(sender, reader, messages)
            for size, message in zip(sizes, messages, strict=True):
                need(message in got, f"the message of {size} bytes did not come as it was sent")
            strange = [len(message) for message in got if message not in messages]
            need(not strange, f"messages came that nobody sent, of {strange} bytes")


@promise
async def default_limit(arena: Arena) -> None:
    """Without an option a message as large as the limit passes, and one byte more does not."""
    limit = await largest(arena)
    async with arena.pair(codec="raw") as ends:
        with raises(MessageTooLarge, f"a message of {limit + 1} bytes"):
            await ends.client.send(bytes(limit + 1))
        message = pattern(limit)
        if ends.traits.reliable:
            await ends.client.send(message)
            same(await ends.peer.recv(), message, f"the message of {limit} bytes")
        else:
            got = await one_by_one(ends.client, ends.peer, [message])
            need(message in got, f"the message of {limit} bytes did not come")


@promise
async def too_large(arena: Arena) -> None:
    """A message over max_message raises MessageTooLarge at the call, is not sent, and the connection goes on."""
    async with arena.pair(codec="raw", max_message=1000) as ends:
        for size in (1001, 5000, 300_000):
            with raises(MessageTooLarge, f"send of {size} bytes where 1000 are allowed") as caught:
                await ends.client.send(bytes(size))
            need(caught[0].size == size, f"MessageTooLarge.size is {caught[0].size}, not {size}")
            need(caught[0].limit == 1000, f"MessageTooLarge.limit is {caught[0].limit}, not 1000")
            with raises(MessageTooLarge, f"send_nowait of {size} bytes where 1000 are allowed"):
                ends.client.send_nowait(bytes(size))
        for message in (pattern(1000), b"next"):
            got = await _passes(ends, message)
            need(got == message, f"after MessageTooLarge, {len(message)} bytes came as {shown(got)}")


async def _passes(ends: Any, message: bytes) -> Any:
    """The message as it arrived."""
    if ends.traits.reliable:
        await ends.client.send(message)
        return (await take(ends.peer, 1))[0]
    got = await one_by_one(ends.client, ends.peer, [message])
    strange = [one for one in got if len(one) > 1000]
    need(not strange, "a message came that send() had refused")
    return message if message in got else got


@promise_each(EACH_DELIVERY)
async def delivery(arena: Arena, asked: Delivery) -> None:
    """A delivery works as promised or raises UnsupportedDelivery at the call."""
    async with arena.pair(codec="raw") as ends:
        if not ends.traits.supports(asked):
            await _refused(ends, asked)
            return
        for sender, reader in ((ends.client, ends.peer), (ends.peer, ends.client)):
            if ends.traits.reliable:
                got = await _all_arrive(sender, reader, asked)
            else:
                got = await _some_arrive(sender, reader, asked)
            doubled = len(got) - len(set(got))
            need(not doubled, f"{doubled} of {len(got)} messages came twice")
            strange = [index for index in got if index >= MANY]
            need(not strange, f"messages came that nobody sent: {strange[:5]}")
            keeps_order = asked in (Delivery.RELIABLE_ORDERED, Delivery.UNRELIABLE_SEQUENCED)
            if keeps_order or (ends.traits.ordered and not ends.traits.sequenced):  # both: it orders what asks for it
                back = [index for before, index in pairwise(got) if index < before]
                need(not back, f"message {back[:1]} came after a later one")


async def _refused(ends: Any, asked: Delivery) -> None:
    before = ends.client.statistics().messages_sent
    for name, call in (("send", ends.client.send), ("channel(0).send", ends.client.channel(0).send)):
        with raises(UnsupportedDelivery, f"{name}(delivery={asked.name}), which the traits do not promise"):
            await call(b"never", delivery=asked)
    for name, queue in (("send_nowait", ends.client.send_nowait), ("channel(0)", ends.client.channel(0).send_nowait)):
        with raises(UnsupportedDelivery, f"{name}(delivery={asked.name}), which the traits do not promise"):
            queue(b"never", delivery=asked)
    await ends.client.flush()
    need(ends.client.statistics().messages_sent == before, "a refused message was sent")


async def _all_arrive(sender: Any, reader: Any, asked: Delivery) -> list[int]:
    async def send() -> None:
        for index in range(MANY):
            await sender.send(body(index), delivery=asked)
        if asked >= Delivery.UNRELIABLE_SEQUENCED:
            await sender.flush()
            await sender.send(END.encode())

    sending = asyncio.ensure_future(send())
    found: list[int] = []
    while len(found) < MANY:
        received = await reader.receive()
        need(asked in PROMISES[received.delivery], f"{received.delivery.name} came where {asked.name} was asked for")
        if received.message == END.encode():
            break
        found.append(index_of(received.message))
    await sending
    if asked < Delivery.UNRELIABLE_SEQUENCED:
        need(len(set(found)) == MANY, f"{MANY - len(set(found))} of {MANY} reliable messages are missing")
    need(found, "no message came")
    return found


async def _some_arrive(sender: Any, reader: Any, asked: Delivery) -> list[int]:
    found: list[int] = []
    over = asyncio.Event()

    async def read() -> None:
        async for message in reader:
            if message == END.encode():
                over.set()
            elif not is_hello(message):
                found.append(index_of(message))

    reading = asyncio.ensure_future(read())
    try:
        for start in range(0, MANY, BATCH):
            over.clear()
            for index in range(start, min(start + BATCH, MANY)):
                await sender.send(body(index), delivery=asked)
            while not over.is_set() and not reading.done():
                await sender.send(END.encode())
                await asyncio.wait([asyncio.ensure_future(over.wait())], timeout=RETRY_S)
        if reading.done():
            await reading
        need(found, f"none of {MANY} messages came")
        return found
    finally:
        reading.cancel()
        over.set()
        await asyncio.wait([reading])


@promise
async def delivery_default(arena: Arena) -> None:
    """Without a word about delivery a message goes by the strongest promise that the traits declare."""
    async with arena.pair() as ends:
        wanted = ends.traits.default_delivery
        await ends.client.send("x")
        received = await ends.peer.receive()  # a greeting at the latest
        same(received.channel, 0, "channel")
        need(isinstance(received.delivery, Delivery), f"delivery is {received.delivery!r}, not a Delivery")
        need(wanted in PROMISES[received.delivery], f"{received.delivery.name} came where {wanted.name} is the default")


@promise
async def unknown_delivery(arena: Arena) -> None:
    """A number that is no delivery, or an argument out of its range, raises at the call and breaks nothing."""
    async with arena.pair() as ends:
        for wrong in (4, -1, 99):
            with raises((ValueError, UnsupportedDelivery), f"delivery={wrong}"):
                await ends.client.send("x", delivery=wrong)
        for options in ({"expires": 0}, {"expires": -1.0}, {"priority": 8}, {"priority": -9}, {"redundancy": -1},
                        {"redundancy": 1000}):  # fmt: skip
            with raises(LocalProtocolError, f"send with {options}"):
                await ends.client.send("x", **options)
            with raises(LocalProtocolError, f"send_nowait with {options}"):
                ends.client.send_nowait("x", **options)
        options = {"expires": 60.0, "priority": 7, "redundancy": 1}
        if ends.traits.reliable:
            await ends.client.send("fine", **options)
            same((await take(ends.peer, 1))[0], "fine", "a message that expires, with priority and redundancy")
        else:
            need(
                "fine" in await one_by_one(ends.client, ends.peer, ["fine"], **options), "an urgent message never came"
            )


@promise
async def unencodable(arena: Arena) -> None:
    """What the codec cannot encode raises CodecError at the call, and the connection goes on."""
    async with arena.pair() as ends:
        for wrong in (object(), 2**64, {"a": {1, 2}}, "\ud800"):
            with raises(CodecError, f"send({wrong!r})"):
                await ends.client.send(wrong)
            with raises(CodecError, f"send_nowait({wrong!r})"):
                ends.client.send_nowait(wrong)
        if ends.traits.reliable:
            await ends.client.send("fine")
            same((await take(ends.peer, 1))[0], "fine", "the message after one that could not be encoded")
        else:
            need("fine" in await one_by_one(ends.client, ends.peer, ["fine"]), "nothing came after a CodecError")


@promise
async def undecodable(arena: Arena) -> None:
    """A body that cannot be decoded raises CodecError in recv and ends that connection, with a reason for the peer."""
    async with arena.serve() as server, arena.connect(server, codec=Garbage()) as client:
        sending = asyncio.ensure_future(_repeat(client))
        try:
            peer = await server.accept()
            with raises(CodecError, "recv of an undecodable body"):
                await peer.recv()
            need(peer.is_closed, "the connection is open after an undecodable body")
            await peer.wait_closed()
            need(peer.close_code == 1007, f"close_code is {peer.close_code}, not 1007 (invalid body)")
            with raises(ConnectionClosed, "recv on it"):
                await peer.recv()
        finally:
            sending.cancel()
            await asyncio.wait([sending])
        if client.traits.close_reason:
            with raises(ConnectionLost, "recv at the end that sent it") as caught:
                await client.recv()
            need(caught[0].code == 1007 and caught[0].by_peer, f"the sender was told {caught[0]}")


async def _repeat(client: Any) -> None:
    await client.send("x")
    while not client.traits.reliable:
        await asyncio.sleep(RETRY_S)
        await client.send("x")


@promise
async def both_ways_at_once(arena: Arena) -> None:
    """Both ends send while both read, and neither mixes up what it gets."""
    async with arena.pair(codec="raw") as ends:
        if ends.traits.reliable:
            got = await asyncio.gather(
                _all_arrive(ends.client, ends.peer, ends.traits.default_delivery),
                _all_arrive(ends.peer, ends.client, ends.traits.default_delivery),
            )
        else:
            got = await asyncio.gather(
                _some_arrive(ends.client, ends.peer, Delivery.UNRELIABLE),
                _some_arrive(ends.peer, ends.client, Delivery.UNRELIABLE),
            )
        for found in got:
            need(len(found) == len(set(found)), "messages came twice")
            if ends.traits.ordered and found != sorted(found):
                raise Broken("messages came out of order")
