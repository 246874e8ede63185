"""Opening stream sockets: names resolved, addresses raced (RFC 8305), options applied.

uvloop's `create_connection` tries addresses one after the other, so a black-holed first address costs a connect
time-out; here a second address is tried after a quarter of a second.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Iterable, Mapping
from itertools import chain, zip_longest
from typing import Any

from transport import limits
from transport.errors import ConnectFailed

AddressInfo = tuple[int, int, int, str, Any]


async def resolve(host: str, port: int, kind: int, *, passive: bool = False) -> list[AddressInfo]:
    """Addresses of `host`, at most `ADDRESSES_MAX`. Raises ConnectFailed when the name can't be resolved."""
    loop = asyncio.get_running_loop()
    flags = socket.AI_PASSIVE if passive else 0
    try:
        if "%" in host:  # uvloop drops the scope of an address; one that is written out takes no time to resolve
            found = socket.getaddrinfo(host, port, type=kind, flags=flags | socket.AI_NUMERICHOST)
        else:
            found = await loop.getaddrinfo(host or None, port, type=kind, flags=flags)
    except (socket.gaierror, UnicodeError) as error:
        raise ConnectFailed(f"can't resolve {host!r}: {error}") from error
    if not found:
        raise ConnectFailed(f"{host!r} has no address")
    distinct: dict[AddressInfo, None] = dict.fromkeys((f, t, p, "", a) for f, t, p, _, a in found)
    return list(distinct)[: limits.ADDRESSES_MAX]


def interleave(addresses: list[AddressInfo]) -> list[AddressInfo]:
    """Families in turn, beginning with the family of the first (RFC 8305 section 4)."""
    families: dict[int, list[AddressInfo]] = {}
    for address in addresses:
        families.setdefault(address[0], []).append(address)
    return [address for address in chain.from_iterable(zip_longest(*families.values())) if address is not None]


async def race(addresses: list[AddressInfo], options: Mapping[str, Any]) -> socket.socket:
    """The first socket that connects; a further address is tried after each failure or each quarter of a second.

    Cancelled, it leaves no socket open.

    Raises:
        ConnectFailed: none connected; the text has every reason, `errno` is the last one's.
    """
    queue = interleave(addresses)
    running: dict[asyncio.Task[socket.socket], AddressInfo] = {}
    errors: list[tuple[AddressInfo, OSError]] = []
    connected: list[socket.socket] = []
    try:
        while not connected and (queue or running):
            if queue:
                address = queue.pop(0)
                running[asyncio.ensure_future(_connect_one(address, options))] = address
            done, _ = await asyncio.wait(
                running, timeout=limits.HAPPY_EYEBALLS_DELAY_S if queue else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                _settle(task, running.pop(task), connected, errors)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        for task, address in running.items():  # one may have connected just before it was cancelled
            _settle(task, address, connected, errors)
    except BaseException:
        _abandon(running, connected)
        raise
    for sock in connected[1:]:
        sock.close()
    if not connected:
        raise _failure(errors)
    return connected[0]


def _settle(
    task: asyncio.Task[socket.socket],
    address: AddressInfo,
    connected: list[socket.socket],
    errors: list[tuple[AddressInfo, OSError]],
) -> None:
    """Books the outcome of one attempt."""
    if task.cancelled():
        return
    error = task.exception()
    if error is None:
        connected.append(task.result())
    elif isinstance(error, OSError):
        errors.append((address, error))
    else:
        raise error


def _abandon(tasks: Iterable[asyncio.Task[socket.socket]], connected: list[socket.socket]) -> None:
    """Nobody wants the outcome any more: every socket is closed, also of an attempt that still succeeds."""

    def close(task: asyncio.Task[socket.socket]) -> None:
        if not task.cancelled() and task.exception() is None:
            task.result().close()

    for sock in connected:
        sock.close()
    for task in tasks:
        task.cancel()
        task.add_done_callback(close)


async def _connect_one(address: AddressInfo, options: Mapping[str, Any]) -> socket.socket:
    family, kind, protocol, _, target = address
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        apply_options(sock, options)
        await _connect(asyncio.get_running_loop(), sock, target)
        if sock.getsockname() == sock.getpeername():  # a port of ours in the ephemeral range: TCP can meet itself
            raise ConnectionRefusedError(errno.ECONNREFUSED, "nobody listens there")
    except BaseException:
        sock.close()
        raise
    return sock


async def _connect(loop: asyncio.AbstractEventLoop, sock: socket.socket, target: Any) -> None:
    """`loop.sock_connect` for a resolved address; uvloop's own resolves it again and loses its scope."""
    fd = sock.fileno()
    try:
        loop.remove_writer(fd)
    except NotImplementedError:
        await loop.sock_connect(sock, target)
        return
    try:
        sock.connect(target)
        return
    except (BlockingIOError, InterruptedError):
        pass
    writable: asyncio.Future[None] = loop.create_future()
    loop.add_writer(fd, _finish, writable)
    try:
        await writable
    finally:
        loop.remove_writer(fd)
    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _failure(errors: list[tuple[AddressInfo, OSError]]) -> ConnectFailed:
    text = "; ".join(f"{address[4][0]} port {address[4][1]}: {_reason(error)}" for address, error in errors)
    failed = ConnectFailed(f"can't connect: {text}")
    failed.errno = errors[-1][1].errno if errors else None
    return failed


def _reason(error: OSError) -> str:
    """The system's words for it; loops put their own into `strerror`."""
    return os.strerror(error.errno) if error.errno else str(error)


def bind(family: int, address: Any, options: Mapping[str, Any]) -> socket.socket:
    """A listening TCP socket on `address`. Raises OSError."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if options.get("reuse_port"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(options.get("ipv6_only", True)))
        apply_options(sock, options)
        sock.bind(address)
        sock.listen(options.get("backlog", limits.ACCEPT_BACKLOG))
    except BaseException:
        sock.close()
        raise
    return sock


def apply_options(sock: socket.socket, options: Mapping[str, Any]) -> None:
    """Sets socket options by their names in `transport.options.SOCKET`; accepted sockets inherit none reliably."""
    inet = sock.family in (socket.AF_INET, socket.AF_INET6)
    if inet and sock.type == socket.SOCK_STREAM and options.get("nodelay", True):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if "rcvbuf" in options:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, options["rcvbuf"])
    if "sndbuf" in options:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, options["sndbuf"])
    if inet and "dscp" in options:
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, options["dscp"] << 2)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, options["dscp"] << 2)
    if options.get("busy_poll_us"):
        so_busy_poll = 46  # asm-generic/socket.h; the standard library has no name for it
        sock.setsockopt(socket.SOL_SOCKET, so_busy_poll, options["busy_poll_us"])
