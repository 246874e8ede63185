"""`unix:///path` and, on Linux, `unix://@name`: messages over a Unix socket.

It must never remove a file that is no socket, nor one on which somebody still answers, nor, at its end, one that
another server has put in the place of its own.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from transport import limits
from transport.delivery import Traits
from transport.drive.base import Owner
from transport.errors import ConnectFailed, LocalProtocolError
from transport.net.connect import apply_options
from transport.options import SOCKET, Option, table
from transport.transports import pipe
from transport.transports.base import Listener, Request
from transport.transports.listen import PipeListener, Shared
from transport.url import Url

log = logging.getLogger("transport")
FAMILY = getattr(socket, "AF_UNIX", None)
MODE = 0o600


def _mode(value: object) -> int:
    """Permissions: text is octal, a number is what it is."""
    if isinstance(value, str):
        try:
            value = int(value.removeprefix("0o"), 8) if value[:1].isdigit() else value
        except ValueError:
            pass
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 0o777:
        raise ValueError(f"{value!r} is no permission such as 0600 or 0660")
    return value


OPTIONS: Mapping[str, Option] = {
    **{name: SOCKET[name] for name in ("rcvbuf", "sndbuf", "backlog")},
    **table(
        Option("mode", _mode, "who may connect: permissions of the socket file, octal in a URL", default=MODE),
    ),
}


def address(url: Url) -> str | bytes:
    """What the kernel calls the socket.

    Raises:
        OSError: ENAMETOOLONG, with the limit in the text.
        LocalProtocolError: this system has no Unix sockets.
    """
    if FAMILY is None:
        raise LocalProtocolError("this system has no Unix sockets")
    raw = os.fsencode(url.path)
    if len(raw) > limits.UNIX_PATH_BYTES_MAX:
        raise OSError(
            errno.ENAMETOOLONG,
            f"a Unix socket's path has at most {limits.UNIX_PATH_BYTES_MAX} bytes, this one has {len(raw)}",
            url.path,
        )
    return b"\0" + raw[1:] if raw.startswith(b"@") else url.path


class UnixTransport:
    """The record of the scheme."""

    scheme = "unix"
    options: Mapping[str, Option] = OPTIONS

    def traits(self, request: Request) -> Traits:
        """As tcp."""
        return pipe.traits(request)

    async def connect(self, request: Request) -> Owner:
        """Connects and starts the session. Raises ConnectFailed."""
        if request.sock is not None:
            sock = pipe.inherited(request.sock, _families(), listening=False)
        else:
            try:
                sock = await _connect(address(request.url), request.options)
            except OSError as error:
                raise pipe.failure(request, error) from error
        return await pipe.start(request, self.traits(request), sock)  # type: ignore[no-any-return]

    async def listen(self, request: Request) -> Listener:
        """Binds the path; a socket file that nobody answers on is replaced.

        Raises:
            OSError: EADDRINUSE when somebody answers there, EEXIST when the file is no socket, and whatever else the
                system gives.
        """
        if request.sock is not None:
            sock, remove = pipe.inherited(request.sock, _families(), listening=True), None
        else:
            sock, remove = await bind(address(request.url), request.options)
        return PipeListener(request, self.traits(request), [sock], request.url, on_stop=remove)

    async def share(self, request: Request, count: int) -> Shared:
        """One listening socket for `count` processes; each connection goes to one of them. Raises OSError."""
        sock, remove = await bind(address(request.url), request.options)
        return Shared(request.url, [[sock]] * count, remove)


def _families() -> tuple[int, ...]:
    return () if FAMILY is None else (FAMILY,)


async def _connect(target: str | bytes, options: Mapping[str, Any]) -> socket.socket:
    """A connected socket. A Unix connect never is in progress: EAGAIN says that the server's queue is full."""
    assert FAMILY is not None
    loop = asyncio.get_running_loop()
    give_up = loop.time() + limits.CONNECT_TIMEOUT_S
    while True:
        sock = socket.socket(FAMILY, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            apply_options(sock, options)
            sock.connect(target)
            return sock
        except BlockingIOError:
            sock.close()
            if loop.time() > give_up:
                raise ConnectFailed("the server's queue of connections stays full") from None
        except BaseException:
            sock.close()
            raise
        await asyncio.sleep(limits.UNIX_RETRY_S)


async def bind(target: str | bytes, options: Mapping[str, Any]) -> tuple[socket.socket, Callable[[], None] | None]:
    """A listening socket, and what removes its file again (None in the abstract space, which has no files)."""
    if isinstance(target, bytes):
        return _listen(target, options), None
    async with _folder_lock(os.path.dirname(target)):
        try:
            sock = _listen(target, options)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            _remove_stale(target)
            sock = _listen(target, options)
        status = os.lstat(target)
    identity = (status.st_dev, status.st_ino)

    def remove() -> None:
        try:
            status = os.lstat(target)
            if (status.st_dev, status.st_ino) == identity:
                os.unlink(target)
        except OSError as error:  # somebody has tidied up already, or no longer lets us
            log.debug("socket file %s: %s", target, error)

    return sock, remove


def _listen(target: str | bytes, options: Mapping[str, Any]) -> socket.socket:
    assert FAMILY is not None
    sock = socket.socket(FAMILY, socket.SOCK_STREAM)
    bound = False
    try:
        sock.setblocking(False)
        apply_options(sock, options)
        sock.bind(target)
        bound = isinstance(target, str)
        if bound:
            os.chmod(target, options.get("mode", MODE))  # before listen: until then every connect is refused
        sock.listen(options.get("backlog", limits.ACCEPT_BACKLOG))
    except BaseException as error:
        sock.close()
        if bound:
            os.unlink(target)
        if isinstance(error, OSError) and error.filename is None:
            raise OSError(error.errno, error.strerror, target) from None
        raise
    return sock


def _remove_stale(path: str) -> None:
    """Removes a socket file that nobody answers on; raises OSError for anything else."""
    assert FAMILY is not None
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise OSError(errno.EEXIST, "there is a file which is no socket; it is left alone", path)
    with socket.socket(FAMILY, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except FileNotFoundError:
            return
        except PermissionError:
            raise OSError(errno.EACCES, "not allowed to ask whether somebody answers there", path) from None
        except OSError:  # its queue is full (EAGAIN), or it is of another kind (EPROTOTYPE): alive in any case
            pass
    raise OSError(errno.EADDRINUSE, "somebody answers there already", path)


@asynccontextmanager
async def _folder_lock(folder: str) -> AsyncIterator[None]:
    """Keeps two servers that start at once from removing each other's fresh socket file.

    Advisory, and given up after two seconds: a folder that can't be locked must not stop a server.
    """
    import fcntl  # not on Windows, which has no Unix sockets either

    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        yield
        return
    try:
        for _ in range(limits.UNIX_LOCK_TRIES):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EINTR):
                    break
            await asyncio.sleep(limits.UNIX_RETRY_S)
        yield
    finally:
        os.close(descriptor)


TRANSPORT = UnixTransport()
