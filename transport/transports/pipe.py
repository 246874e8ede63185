"""What every byte-pipe transport shares: the session its framing asks for, and the traits that follow from it."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Mapping
from typing import Any

from transport import limits
from transport.delivery import Traits
from transport.drive.stream import SocketDriver, StreamDriver
from transport.drive.timers import clock_of
from transport.errors import ConnectFailed, LocalProtocolError
from transport.stream.config import StreamConfig
from transport.stream.session import StreamSession
from transport.transports.base import PipeInfo, Request


def traits(request: Request, *, encrypted: bool = False) -> Traits:
    """Traits of a byte pipe: all that our own framing can, or only messages with somebody else's."""
    if request.machine is None and request.framing == "message":
        channels = request.options.get("channels", limits.CHANNELS_MAX)
        return Traits(
            reliable=True, ordered=True, channels=channels, ping=True, close_reason=True, streams=True,
            encrypted=encrypted,
        )  # fmt: skip
    return Traits(reliable=True, ordered=True, encrypted=encrypted)


def nanoseconds(options: Any, name: str, default_ns: int) -> int:
    """An option given in seconds (None: off) as nanoseconds (0: off)."""
    if name not in options:
        return default_ns
    seconds = options[name]
    return 0 if seconds is None else int(seconds * limits.SECOND_NS)


def make_machine(request: Request, now: int) -> Any:
    """The machine for a new byte pipe: the user's own, our stream session, or one of a plain framing."""
    options = request.options
    if request.machine is not None:
        return request.machine()
    max_message = options.get("max_message", limits.MESSAGE_BYTES_DEFAULT)
    keepalive = nanoseconds(options, "keepalive", limits.KEEPALIVE_NS)
    if request.framing != "message":
        from transport.codec.framing.base import resolve_framing
        from transport.stream.plain import PlainSession

        idle = nanoseconds(options, "idle_timeout", 0)  # no ping keeps a plain framing alive, so it must be asked for
        return PlainSession(resolve_framing(request.framing, max_message), max_message, idle, now, half_open=True)
    return StreamSession(
        StreamConfig(
            max_message=max_message,
            channels=options.get("channels", limits.CHANNELS_MAX),
            channel_window=options.get("channel_window", limits.CHANNEL_WINDOW_BYTES),
            connection_window=options.get("connection_window", limits.CONNECTION_WINDOW_BYTES),
            keepalive_ns=keepalive,
            idle_ns=nanoseconds(options, "idle_timeout", 2 * keepalive),
            handshake_ns=nanoseconds(options, "handshake_timeout", limits.HANDSHAKE_NS),
            codec=request.codec_name,
        ),
        now,
    )


def can_watch(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> bool:
    """Whether `loop` can watch descriptors; otherwise its own transports move the bytes."""
    try:
        loop.remove_reader(sock.fileno())
    except NotImplementedError:
        return False
    return True


def socket_driver(loop: asyncio.AbstractEventLoop, machine: Any, sock: socket.socket) -> SocketDriver:
    """A native driver for a connected socket."""
    if sock.family == getattr(socket, "AF_UNIX", None):
        from transport.drive.local import LocalDriver

        return LocalDriver(loop, machine, sock)
    return SocketDriver(loop, machine, sock)


async def loop_driver(
    loop: asyncio.AbstractEventLoop, machine: Any, sock: socket.socket, *, server: bool = False, **tls: Any
) -> StreamDriver:
    """A driver on the loop's own transport for a connected socket, TLS begun where `tls` says how.

    Raises OSError; the socket is then still the caller's to close.
    """
    from transport.drive.loop_stream import LoopDriver

    driver = LoopDriver(loop, machine)
    try:
        if server:
            await loop.connect_accepted_socket(lambda: driver, sock, **tls)
        else:
            await loop.create_connection(lambda: driver, sock=sock, **tls)
    except BaseException:
        if driver.transport is not None:  # given up behind the handshake: asyncio would say goodbye on a closed socket
            driver.transport.abort()
        raise
    if driver.transport is None:  # lost in the handshake, and the loop has not said so
        raise ConnectionResetError(errno.ECONNRESET, "the peer closed the connection during the handshake")
    return driver


def failure(request: Request, error: OSError) -> ConnectFailed:
    """`error` as what `connect` raises."""
    if isinstance(error, ConnectFailed):
        return error
    failed = ConnectFailed(f"{request.url.redacted()}: {error.strerror or str(error) or type(error).__name__}")
    failed.errno = error.errno
    return failed


def inherited(sock: socket.socket, families: tuple[int, ...], *, listening: bool) -> socket.socket:
    """Checks and prepares a socket that came by `sock=`.

    Raises:
        LocalProtocolError: it is of another kind.
    """
    if sock.type != socket.SOCK_STREAM or sock.family not in families:
        names = " or ".join(socket.AddressFamily(family).name for family in families)
        raise LocalProtocolError(f"sock= must be a stream socket of family {names}, not {sock!r}")
    sock.setblocking(False)
    if listening and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.listen(limits.ACCEPT_BACKLOG)
    return sock


async def start(
    request: Request,
    traits: Traits,
    sock: socket.socket,
    tls: Mapping[str, Any] | None = None,
    explain: Callable[[Request, OSError], ConnectFailed] = failure,
) -> Any:
    """Runs a machine on a connected socket, which is closed if that fails. Raises what `explain` makes."""
    loop = asyncio.get_running_loop()
    try:
        info = PipeInfo(request.url, traits, sock.getsockname(), sock.getpeername())
        machine = make_machine(request, clock_of(loop)())
        if tls is None and can_watch(loop, sock):
            driver: StreamDriver = socket_driver(loop, machine, sock)
        else:
            driver = await loop_driver(loop, machine, sock, **(tls or {}))
    except OSError as error:
        sock.close()
        raise explain(request, error) from error
    except BaseException:
        sock.close()
        raise
    return own(request, driver, info)


def own(request: Request, driver: StreamDriver, info: PipeInfo) -> Any:
    """Gives a new pipe to its owner and starts it. Raises what the owner raised, after closing the pipe."""
    try:
        owner = request.owner(driver.machine, driver, info)
    except BaseException:
        driver.discard()
        raise
    driver.start(owner)
    return owner
