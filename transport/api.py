"""The front door: `serve`, `connect`, `run`. It joins a URL, a codec and what the user wants to be called with.

It must never know a scheme: whatever differs between transports is in their records and declared traits.
"""

from __future__ import annotations

import asyncio
import functools
import os
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

from transport import limits
from transport.drive.base import Driver, Owner
from transport.drive.connection import Connection
from transport.drive.records import Settings
from transport.errors import (
    CloseCode,
    ConnectFailed,
    ConnectionClosed,
    ConnectTimeout,
    LocalProtocolError,
)
from transport.options import COMMON, water_marks
from transport.server import Server
from transport.transports.base import PipeInfo, Request
from transport.transports.registry import Registry
from transport.url import Url, parse, parse_options

T = TypeVar("T")
Handler = Callable[[Any], Awaitable[None]]
_DEFAULT_REGISTRY = Registry.default()


class Opening(Generic[T]):
    """What `serve` and `connect` return: await it, or use it with `async with`. Forgotten, it warns."""

    def __init__(self, start: Callable[[], Coroutine[Any, Any, T]], what: str = "serve() or connect()") -> None:
        self._start = start
        self._what = what
        self._opened: T | None = None
        self._is_used = False

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"no {name!r} yet: write `await {self._what}`, or `async with {self._what} as ...`")

    def __del__(self) -> None:
        if not self.__dict__.get("_is_used", True):
            warnings.warn(f"{self._what} was never awaited: nothing was opened", RuntimeWarning, stacklevel=2)

    def __await__(self) -> Generator[Any, None, T]:
        self._is_used = True
        return self._start().__await__()

    async def __aenter__(self) -> T:
        self._is_used = True
        self._opened = await self._start()
        return self._opened

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        opened: Any = self._opened
        if opened is not None:
            await opened.__aexit__(kind, error, trace)


def _codec(codec: Any) -> Any:
    from transport.codec.base import resolve

    return resolve(codec)


def _settings(options: dict[str, Any]) -> Settings:
    high, low = water_marks(options)
    return Settings(high, low, options.get("inbox", limits.INBOX_HIGH_BYTES), options.get("auto_pause", True))


def _request(
    url: str | Url,
    codec: Any,
    framing: Any,
    machine: Callable[[], Any] | None,
    sock: Any,
    registry: Registry | None,
    options: dict[str, Any],
) -> tuple[Any, Request, dict[str, Any]]:
    parsed = parse(url)
    transport = (registry or _DEFAULT_REGISTRY).find(parsed.scheme)
    known = {**COMMON, **transport.options}
    given = parse_options(parsed, options, known, use_query=getattr(transport, "options_in_query", True))
    if machine is None and framing != "message":
        from transport.codec.framing.base import resolve_framing

        resolve_framing(framing, limits.MESSAGE_BYTES_DEFAULT)  # a mistake is told before a pipe opens
    request = Request(
        url=parsed,
        owner=_unset_owner,
        options=given,
        framing=framing,
        codec_name=getattr(codec, "name", "") if machine is None else "",
        machine=machine,
        sock=sock,
    )
    return transport, request, given


def _unset_owner(session: Any, driver: Driver, info: PipeInfo) -> Owner:
    raise AssertionError("a request was used before its owner was set")


def _check_style(handler: Any, protocol: Any, machine: Any) -> None:
    given = [name for name, value in (("handler", handler), ("protocol", protocol)) if value is not None]
    if len(given) > 1 or (machine is not None and protocol is not None):
        raise LocalProtocolError("give one of handler, protocol and machine (a handler may go with a machine)")
    for name, value in (("protocol", protocol), ("machine", machine)):
        if value is not None and not callable(value):
            raise LocalProtocolError(f"{name} must be a class or a function without arguments, not {value!r}")


def connect(
    url: str | Url,
    *,
    protocol: Callable[[], Any] | None = None,
    machine: Callable[[], Any] | None = None,
    codec: Any = "msgpack",
    framing: Any = "message",
    sock: Any = None,
    registry: Registry | None = None,
    reconnect: Any = None,
    connect_timeout: float | None = limits.CONNECT_TIMEOUT_S,
    **options: Any,
) -> Opening[Any]:
    """Opens a connection. Await it, or use it with `async with`.

    Args:
        url: where to; its query may hold options.
        protocol: makes a `Protocol`; its callbacks get the messages.
        machine: makes a machine with the five verbs; the result is a `MachineConnection`.
        codec: "msgpack", "raw", "json", or an object with `encode` and `decode`.
        framing: on byte pipes, "message" (ours), "length32", "msgpack", "lines", "netstring", "bytes", or an object.
        sock: an inherited, connected socket.
        registry: other transports than the default ones.
        reconnect: a `Backoff`; the connection then comes back by itself.
        connect_timeout: seconds for everything up to the peer's first answer, or None.
        **options: by name, see the scheme's page.

    Raises (when awaited):
        InvalidURL, UnknownScheme, LocalProtocolError: a mistake in the call.
        ConnectFailed: nobody there, or the peer refused; ConnectTimeout: not in time.
    """
    _check_style(None, protocol, machine)
    if reconnect is not None:
        from transport.reconnect import Reconnecting

        again = functools.partial(
            connect, url, codec=codec, framing=framing, registry=registry, connect_timeout=connect_timeout, **options
        )
        if protocol is not None or machine is not None or sock is not None:
            raise LocalProtocolError("reconnect goes with the coroutine style and without sock=")
        return Opening(functools.partial(Reconnecting.start, again, reconnect), "connect(...)")
    return Opening(
        functools.partial(_connect, url, protocol, machine, codec, framing, sock, registry, connect_timeout, options),
        "connect(...)",
    )


async def _connect(
    url: str | Url,
    protocol: Callable[[], Any] | None,
    machine: Callable[[], Any] | None,
    codec: Any,
    framing: Any,
    sock: Any,
    registry: Registry | None,
    connect_timeout: float | None,
    options: dict[str, Any],
) -> Any:
    codec = _codec(codec) if machine is None else None
    options = {**options, "connect_timeout": connect_timeout}
    transport, request, given = _request(url, codec, framing, machine, sock, registry, options)
    settings = _settings(given)
    timeout = given["connect_timeout"]
    made: list[Any] = []

    def owner(session: Any, driver: Driver, info: PipeInfo) -> Owner:
        if machine is not None:
            from transport.drive.runner import MachineConnection

            made.append(MachineConnection(session, driver, info))
        else:
            addresses = (info.local, info.remote)
            callbacks = None if protocol is None else protocol()
            made.append(Connection(session, driver, codec, info.traits, info.url, addresses, settings, callbacks))
        return made[0]  # type: ignore[no-any-return]

    request.owner = owner
    try:
        async with asyncio.timeout(timeout):
            conn = await transport.connect(request)
            if machine is None:
                await conn.wait_open()
            return conn
    except TimeoutError as error:
        _drop(made)
        if isinstance(error, ConnectTimeout):
            raise
        raise ConnectTimeout(f"{request.url.redacted()}: no connection within {timeout} s") from None
    except ConnectionClosed as error:
        kind = ConnectTimeout if error.code == CloseCode.HANDSHAKE_TIMEOUT else ConnectFailed
        raise kind(f"{request.url.redacted()}: {error}") from error
    except BaseException:
        _drop(made)
        raise


def _drop(made: list[Any]) -> None:
    for conn in made:
        conn.abort()


def serve(
    url: str | Url,
    handler: Handler | str | None = None,
    *,
    protocol: Callable[[], Any] | None = None,
    machine: Callable[[], Any] | None = None,
    codec: Any = "msgpack",
    framing: Any = "message",
    sock: Any = None,
    registry: Registry | None = None,
    workers: int | None = None,
    **options: Any,
) -> Opening[Any]:
    """Starts a server: await it, or use it with `async with`. Gives a `Server`, or with `workers` a `WorkerServer`.

    Args:
        url: where to listen; port 0 takes any, `server.url` then carries the real one.
        handler: a coroutine function called with every connection, which is closed when it returns. Without handler
            and protocol, take connections by `async for conn in server` or `server.accept()`.
        workers: with a handler given as "package.module:name": so many spawned processes share the port.
        protocol, machine, codec, framing, sock, registry, **options: as for `connect`.

    Raises (when awaited):
        InvalidURL, UnknownScheme, LocalProtocolError: a mistake in the call. OSError: the address can't be bound.
    """
    _check_style(handler, protocol, machine)
    if workers is not None:
        from transport.workers import serve_workers

        return Opening(
            functools.partial(
                serve_workers, url, handler, workers, {"codec": codec, "framing": framing, **options},
                unsupported={"protocol": protocol, "machine": machine, "sock": sock, "registry": registry},
            ),
            "serve(...)",
        )  # fmt: skip
    if isinstance(handler, str):
        raise LocalProtocolError("a handler by name goes with workers=N; give the function itself")
    if handler is not None and not callable(handler):
        raise LocalProtocolError(f"handler must be a coroutine function, not {handler!r}")
    serving = functools.partial(_serve, url, handler, protocol, machine, codec, framing, sock, registry, options)
    return Opening(serving, "serve(...)")


async def _serve(
    url: str | Url,
    handler: Handler | None,
    protocol: Callable[[], Any] | None,
    machine: Callable[[], Any] | None,
    codec: Any,
    framing: Any,
    sock: Any,
    registry: Registry | None,
    options: dict[str, Any],
) -> Server:
    codec = _codec(codec) if machine is None else None
    transport, request, given = _request(url, codec, framing, machine, sock, registry, options)
    server = Server(
        handler, protocol, codec, _settings(given), given.get("max_connections", limits.CONNECTIONS_MAX),
        machine is not None,
    )  # fmt: skip
    request.owner = server.own
    listener = await transport.listen(request)
    in_query = getattr(transport, "options_in_query", True)
    server.attach(listener, listener.url.without_query() if in_query else listener.url)
    if "status" in given or os.environ.get("TRANSPORT_STATUS"):
        from transport.status import offer

        try:
            server.tells(await offer(server, given.get("status"), given.get("congestion") or ""))
        except BaseException:
            await server.close(grace=0)
            raise
    return server


def run(main: Coroutine[Any, Any, T], *, debug: bool | None = None) -> T:
    """Runs a program on uvloop where it is installed, else on asyncio; like `asyncio.run`.

    Raises: whatever `main` raises.
    """
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main, debug=debug)
    with asyncio.Runner(debug=debug, loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
