"""What every check stands on: where to serve, how to open both ends, and how a broken promise is told.

A check is a coroutine function with a sentence for its docstring. It reads what the transport declares (`Traits`) and
proves it: what is promised works, what is not promised raises at the call. It must never wait by the clock for
something to have happened, and never look behind the public API.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from transport.api import connect, serve
from transport.delivery import Delivery, Traits
from transport.errors import ConnectFailed, ConnectionClosed, TransportError, WouldBlock
from transport.transports.registry import Registry

HELLO = "contract: hello"
END = "contract: end"
PAUSE_S = 0.002  # between two looks at something that has to come about
QUIET_LOOKS = 30  # looks without a change after which a sender is taken for one that waits
FEW_LOOKS = 3  # the same before it is given more to send
LEAVING_LOOKS = 250  # for tasks of the transport's own to end after a check
RETRY_S = 0.05  # for an answer of an unreliable transport before the question is put again
TIMEOUT_S = 15.0
MAX_MESSAGE = 131_072  # what most checks set the option max_message to

PROMISES = {
    Delivery.RELIABLE_ORDERED: frozenset(Delivery),
    Delivery.RELIABLE_UNORDERED: frozenset({Delivery.RELIABLE_UNORDERED, Delivery.UNRELIABLE}),
    Delivery.UNRELIABLE_SEQUENCED: frozenset({Delivery.UNRELIABLE_SEQUENCED, Delivery.UNRELIABLE}),
    Delivery.UNRELIABLE: frozenset({Delivery.UNRELIABLE}),
}
"""What each delivery gives, itself included."""


class Broken(AssertionError):
    """A promise of the contract is not kept."""


def need(held: object, text: str) -> None:
    """Raises `Broken` with `text` unless `held`."""
    if not held:
        raise Broken(text)


def shown(value: object) -> str:
    """A value of any size, short enough for an error."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:80]}... ({len(text)} characters)"


def same(got: object, wanted: object, what: str) -> None:
    """Raises `Broken` unless both are equal and of one type."""
    if type(got) is not type(wanted) or got != wanted:
        raise Broken(f"{what}: expected {shown(wanted)}, got {shown(got)}")


@contextmanager
def raises(kind: type[BaseException] | tuple[type[BaseException], ...], what: str) -> Iterator[list[Any]]:
    """Raises `Broken` unless the block raises `kind`; the list then holds the error."""
    caught: list[Any] = []
    names = " or ".join(one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,)))
    try:
        yield caught
    except kind as error:
        caught.append(error)
        return
    except (Broken, asyncio.CancelledError):
        raise
    except Exception as error:
        raise Broken(f"{what}: expected {names}, got {type(error).__name__}: {error}") from error
    raise Broken(f"{what}: expected {names}, but nothing was raised")


async def until(condition: Callable[[], object]) -> None:
    """Returns when `condition` holds; the check's time limit ends a wait for what never comes."""
    while not condition():  # noqa: ASYNC110 - what is waited for says nothing
        await asyncio.sleep(PAUSE_S)


async def stalled(count: Callable[[], int], quiet_looks: int = QUIET_LOOKS) -> int:
    """What `count` gives when it has stopped changing."""
    last, looks = -1, 0
    while looks < quiet_looks:
        await asyncio.sleep(PAUSE_S)
        now = count()
        looks = looks + 1 if now == last else 0
        last = now
    return last


async def turns(count: int) -> None:
    """Lets the loop turn so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def end_of(conn: Any) -> Exception | None:
    """Reads to the end: None after a clean close, else what `async for` raised."""
    try:
        async for _ in conn:
            pass
    except TransportError as error:
        return error
    return None


@dataclass(frozen=True, slots=True)
class Ends:
    """Both ends of one connection, and the server that took it."""

    client: Any
    peer: Any
    server: Any

    @property
    def traits(self) -> Traits:
        """Of the client's end."""
        found: Traits = self.client.traits
        return found


@dataclass(frozen=True, slots=True)
class Arena:
    """Where checks run: the transport to be proved, and what it needs.

    Args:
        url_factory: gives a URL that a server can listen on; called anew for every server.
        registry: knows the transport.
        options: for both ends; `server_options` and `client_options` for one.
        dialect: of `machine=`: "bytes", "datagrams", None where the scheme takes no machine.
    """

    url_factory: Callable[[], Any]
    registry: Registry | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    server_options: Mapping[str, Any] = field(default_factory=dict)
    client_options: Mapping[str, Any] = field(default_factory=dict)
    dialect: str | None = "by traits"

    def serve(self, handler: Any = None, *, url: Any = None, **more: Any) -> Any:
        """`transport.serve` on a new URL."""
        options = {"registry": self.registry, **self.options, **self.server_options, **more}
        return serve(self.url_factory() if url is None else url, handler, **options)

    def connect(self, server: Any, **more: Any) -> Any:
        """`transport.connect` to a server, or to its URL."""
        options = {"registry": self.registry, **self.options, **self.client_options, **more}
        return connect(getattr(server, "url", server), **options)

    @asynccontextmanager
    async def pair(self, **more: Any) -> AsyncIterator[Ends]:
        """Both ends of a new connection; the options go to both."""
        async with self.serve(**more) as server, self.connect(server, **more) as client:
            peer = await arrival(server, client, hello(more))
            yield Ends(client, peer, server)
            await asyncio.gather(client.close(), peer.close())  # on a pipe without goodbyes one waits for the other

    @asynccontextmanager
    async def client_of(self, handler: Any, **more: Any) -> AsyncIterator[tuple[Any, Any]]:
        """(server, client) of a server with a handler."""
        async with self.serve(handler, **more) as server, self.connect(server, **more) as client:
            yield server, client


def hello(options: Mapping[str, Any]) -> Any:
    """A greeting that the codec in use can encode."""
    return HELLO.encode() if options.get("codec") == "raw" else HELLO


def is_hello(message: object) -> bool:
    """Whether a message is nothing but a greeting."""
    return message in (HELLO, HELLO.encode())


async def arrival(server: Any, client: Any, greeting: Any = HELLO) -> Any:
    """The server's end of `client`. Where nothing but a message shows that somebody is there, greetings are sent."""
    accepting = asyncio.ensure_future(server.accept())
    try:
        while not client.traits.reliable and not accepting.done():
            await client.send(greeting)
            await asyncio.wait([accepting], timeout=RETRY_S)
        return await accepting
    finally:
        accepting.cancel()


async def ask(client: Any, question: Any) -> Any:
    """What a server answers; asked again where either may be lost. Older answers are read over by the caller."""
    if client.traits.reliable:
        await client.send(question)
        return await client.recv()
    reading = asyncio.ensure_future(client.recv())
    try:
        while not reading.done():
            await client.send(question)
            await asyncio.wait([reading], timeout=RETRY_S)
        return await reading
    finally:
        reading.cancel()


async def echo(conn: Any) -> None:
    """A handler."""
    async for message in conn:
        await conn.send(message)


async def take(conn: Any, count: int) -> list[Any]:
    """So many messages, greetings left out."""
    found: list[Any] = []
    while len(found) < count:
        message = await conn.recv()
        if not is_hello(message):
            found.append(message)
    return found


async def one_by_one(sender: Any, reader: Any, messages: list[Any], **options: Any) -> list[Any]:
    """What arrives when each message is sent until it does; for transports that lose some."""
    got: list[Any] = []

    async def read() -> None:
        async for message in reader:
            if not is_hello(message):
                got.append(message)

    reading = asyncio.ensure_future(read())
    try:
        for message in messages:
            while message not in got and not reading.done():
                await sender.send(message, **options)
                for _ in range(5):
                    if message not in got:
                        await asyncio.sleep(RETRY_S / 5)
        if reading.done():
            await reading
        return got
    finally:
        reading.cancel()
        await asyncio.wait([reading])


def outbound(conn: Any) -> int:
    """Bytes that wait to leave."""
    seen = conn.statistics()
    return int(seen.queued_bytes + seen.unsent_bytes + seen.blocked_bytes)


async def fill(conn: Any, make: Callable[[int], bytes], most: int, **options: Any) -> int:
    """Queues `make(0)`, `make(1)` and so on until that would block and nothing leaves any more; how many it were."""
    sent = before = 0
    quiet_looks = FEW_LOOKS
    while True:
        before = sent
        while sent <= most:
            try:
                conn.send_nowait(make(sent), **options)
            except WouldBlock:
                break
            sent += 1
        need(sent <= most, f"send_nowait took {sent} messages that nobody reads, and never raised WouldBlock")
        if sent == before and quiet_looks == QUIET_LOOKS:
            return sent
        quiet_looks = QUIET_LOOKS if sent == before else FEW_LOOKS
        await stalled(lambda: outbound(conn), quiet_looks)


@dataclass(frozen=True, slots=True)
class Check:
    """One promise.

    Attributes:
        name: unique, of small letters; a variant stands in brackets.
        promise: what is checked, one sentence.
    """

    name: str
    promise: str
    body: Callable[..., Awaitable[None]]
    arguments: tuple[Any, ...] = ()

    async def run(self, arena: Arena, timeout: float = TIMEOUT_S) -> None:
        """Runs it on the running loop.

        Args:
            arena: the transport to be proved.
            timeout: seconds after which a check that hangs has failed.

        Raises:
            AssertionError: the promise is broken; the text names the check, the promise and what happened.
        """
        loop = asyncio.get_running_loop()
        before = asyncio.all_tasks()
        told: list[dict[str, Any]] = []
        handler = loop.get_exception_handler()
        loop.set_exception_handler(lambda _, context: told.append(context))
        try:
            await self._run(arena, timeout)
            await self._clean(before, told)
        except Broken as error:
            raise AssertionError(f"{self.name}: {error}\n(the promise: {self.promise})") from error
        except Exception as error:
            text = f"{self.name}: {type(error).__name__}: {error}\n(the promise: {self.promise})"
            raise AssertionError(text) from error
        finally:
            loop.set_exception_handler(handler)

    async def _run(self, arena: Arena, timeout: float) -> None:
        running = asyncio.ensure_future(self.body(arena, *self.arguments))
        try:
            done, _ = await asyncio.wait([running], timeout=timeout)
            if not done:
                where = f", {_place(running)}"
                raise Broken(f"no end after {timeout:g} s{where}")
            await running
        finally:
            if not running.done():
                running.cancel()
                await asyncio.wait([running], timeout=timeout)

    async def _clean(self, before: set[asyncio.Task[Any]], told: list[dict[str, Any]]) -> None:
        left = asyncio.all_tasks() - before
        for _ in range(LEAVING_LOOKS):
            if not left:
                break
            await asyncio.sleep(PAUSE_S)
            left = {task for task in left if not task.done()}
        need(not left, f"tasks are left behind: {[task.get_coro() for task in left]}")
        told = [context for context in told if "callback of a protocol failed" not in str(context.get("message"))]
        need(not told, f"the loop was told of errors: {told}")


def _place(task: asyncio.Task[Any]) -> str:
    """Where a coroutine of this package waits, innermost last."""
    found: list[str] = []
    waiting: Any = task.get_coro()
    while waiting is not None:
        frame = getattr(waiting, "cr_frame", None) or getattr(waiting, "ag_frame", None)
        if frame is not None:
            found.append(f"{frame.f_code.co_name}:{frame.f_lineno}")
        waiting = getattr(waiting, "cr_await", None) or getattr(waiting, "ag_await", None)
    return "waits in " + " > ".join(found)


_CHECKS: list[Check] = []


def promise(body: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Makes a check of a coroutine function; its name and docstring are the check's."""
    _CHECKS.append(Check(body.__name__, (body.__doc__ or "").strip(), body))
    return body


def promise_each(variants: Mapping[str, Any]) -> Callable[[Callable[..., Awaitable[None]]], Any]:
    """Makes a check for each variant, which is the function's second argument."""

    def make(body: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        for name, value in variants.items():
            _CHECKS.append(Check(f"{body.__name__}[{name}]", (body.__doc__ or "").strip(), body, (value,)))
        return body

    return make


EACH_DELIVERY = {delivery.name: delivery for delivery in Delivery}


async def nobody_there(opening: Any, what: str) -> None:
    """Connecting raises ConnectFailed, or, on a transport that has no answer, gives a connection that does no harm."""
    begun = time.monotonic()
    try:
        conn = await opening
    except ConnectFailed as error:
        need(isinstance(error, OSError), f"{what}: ConnectFailed is no OSError")
        return
    except ConnectionClosed as error:
        raise Broken(f"{what}: expected ConnectFailed, got {error!r} after {time.monotonic() - begun:.1f} s") from error
    try:
        need(not conn.traits.reliable, f"{what}: a reliable transport has connected to nobody")
        for _ in range(5):
            await conn.send(HELLO)
            await asyncio.sleep(PAUSE_S)
        need(not conn.is_closed, f"{what}: an unreliable connection ended by what is only a hint")
    finally:
        conn.abort()
        await conn.wait_closed()
