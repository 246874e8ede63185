"""Unix sockets: what lies at the path before, while and after a server is there."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from transport import limits
from transport.api import connect, serve
from transport.errors import ConnectFailed, InvalidURL
from transport.transports import unix
from transport.url import parse

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has it")


async def echo(conn: Any) -> None:
    async for message in conn:
        await conn.send(message)


async def works(url: Any) -> None:
    async with connect(url) as conn:
        await conn.send("hello")
        assert await conn.recv() == "hello"


def stale(path: Path, kind: int = socket.SOCK_STREAM) -> None:
    """Leaves a socket file behind, as a killed server does."""
    with socket.socket(socket.AF_UNIX, kind) as sock:
        sock.bind(str(path))


@pytest.mark.asyncio
@pytest.mark.parametrize(("query", "mode"), [("", 0o600), ("?mode=0660", 0o660), ("?mode=666", 0o666)])
async def test_only_those_may_connect_who_are_meant_to(tmp_path: Path, query: str, mode: int) -> None:
    before = os.umask(0o022)
    try:
        async with serve(f"unix://{tmp_path}/s{query}", echo) as server:
            assert stat.S_IMODE(os.stat(tmp_path / "s").st_mode) == mode
            await works(server.url)
    finally:
        os.umask(before)
    assert not (tmp_path / "s").exists()


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", ["rw", "0800", "01777", -1, True, 2.0])
async def test_a_malformed_mode_is_refused(tmp_path: Path, mode: Any) -> None:
    with pytest.raises(InvalidURL, match="no permission such as"):
        await serve(f"unix://{tmp_path}/s", mode=mode)


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
async def test_a_stale_socket_is_replaced(tmp_path: Path, kind: int) -> None:
    stale(tmp_path / "s", kind)
    async with serve(f"unix://{tmp_path}/s", echo) as server:
        await works(server.url)


@pytest.mark.asyncio
async def test_a_server_that_answers_is_left_alone(tmp_path: Path) -> None:
    async with serve(f"unix://{tmp_path}/s", echo) as server:
        with pytest.raises(OSError, match="somebody answers there already") as caught:
            await serve(server.url, echo)
        assert caught.value.errno == errno.EADDRINUSE
        assert caught.value.filename == f"{tmp_path}/s"
        await works(server.url)


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
async def test_a_server_of_another_kind_or_with_a_full_queue_is_left_alone(tmp_path: Path, kind: int) -> None:
    with socket.socket(socket.AF_UNIX, kind) as busy:
        busy.bind(f"{tmp_path}/s")
        waiting = []
        if kind == socket.SOCK_STREAM:
            busy.listen(0)
            waiting = [socket.socket(socket.AF_UNIX) for _ in range(2)]
            for sock in waiting:
                sock.setblocking(False)
            waiting[0].connect(f"{tmp_path}/s")
            with pytest.raises(BlockingIOError):
                waiting[1].connect(f"{tmp_path}/s")
        with pytest.raises(OSError, match="somebody answers"):
            await serve(f"unix://{tmp_path}/s", echo)
        for sock in waiting:
            sock.close()
    assert (tmp_path / "s").exists()


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["file", "folder", "link"])
async def test_what_is_no_socket_is_never_removed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "s"
    if kind == "file":
        path.write_text("precious")
    elif kind == "folder":
        path.mkdir()
    else:
        (tmp_path / "target").write_text("precious")
        path.symlink_to("target")
    with pytest.raises(FileExistsError, match="no socket; it is left alone"):
        await serve(f"unix://{path}", echo)
    assert path.is_dir() if kind == "folder" else path.read_text() == "precious"


@pytest.mark.asyncio
async def test_many_servers_that_start_at_once_on_a_stale_socket(tmp_path: Path) -> None:
    """One of them wins, and nobody removes its file."""
    stale(tmp_path / "s")
    starts = [asyncio.ensure_future(serve(f"unix://{tmp_path}/s", echo)) for _ in range(10)]
    await asyncio.wait(starts)
    servers = [task.result() for task in starts if task.exception() is None]
    errors = [task.exception() for task in starts if task.exception() is not None]
    assert len(servers) == 1
    assert all(isinstance(error, OSError) and error.errno == errno.EADDRINUSE for error in errors)
    await works(servers[0].url)
    await servers[0].close()


@pytest.mark.asyncio
async def test_a_folder_that_stays_locked_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    monkeypatch.setattr(limits, "UNIX_RETRY_S", 0.001)
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        async with serve(f"unix://{tmp_path}/s", echo) as server:
            await works(server.url)
    finally:
        os.close(folder)


@pytest.mark.asyncio
async def test_the_end_leaves_another_servers_file_alone(tmp_path: Path) -> None:
    first = await serve(f"unix://{tmp_path}/s", echo)
    os.unlink(tmp_path / "s")
    async with serve(f"unix://{tmp_path}/s", echo) as second:
        await first.close()
        await works(second.url)


@pytest.mark.asyncio
async def test_the_end_does_not_mind_a_file_that_is_gone(tmp_path: Path) -> None:
    async with serve(f"unix://{tmp_path}/s", echo):
        os.unlink(tmp_path / "s")


@pytest.mark.asyncio
async def test_a_path_that_is_too_long_is_named_so() -> None:
    most = "/" + "x" * (limits.UNIX_PATH_BYTES_MAX - 1)
    assert unix.address(parse(f"unix://{most}")) == most
    long = f"unix://{most}y"
    with pytest.raises(OSError, match="at most 107 bytes, this one has 108") as caught:
        await serve(long, echo)
    assert caught.value.errno == errno.ENAMETOOLONG
    with pytest.raises(ConnectFailed, match="at most 107 bytes") as failed:
        await connect(long)
    assert failed.value.errno == errno.ENAMETOOLONG
    with pytest.raises(OSError, match="at most 107 bytes, this one has 108"):
        unix.address(parse("unix:///" + "%C3%A9" * 53 + "x"))  # bytes count, not characters


@pytest.mark.asyncio
async def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none/s"):
        await serve(f"unix://{tmp_path}/none/s", echo)


@linux
@pytest.mark.asyncio
async def test_abstract_names_leave_no_file(tmp_path: Path, seed: int) -> None:
    url = f"unix://@transport-test-{os.getpid()}-{seed}"
    async with serve(url, echo) as server:
        await works(server.url)
        assert "@transport-test" in str(server.url)
        with pytest.raises(OSError, match="in use"):
            await serve(url, echo)
    with pytest.raises(ConnectFailed):
        await connect(url)


@linux
def test_each_side_knows_who_the_other_is(tmp_path: Path) -> None:
    from tests.drive.portable import PORTABLE_LOOPS

    async def main() -> None:
        async with serve(f"unix://{tmp_path}/s", echo) as server, connect(server.url) as conn:
            await conn.send(1)
            await conn.recv()
            (peer,) = server.connections
            for end in (conn, peer):
                assert end.get_extra_info("peercred") == (os.getpid(), os.getuid(), os.getgid())
                assert end.get_extra_info("peercred").uid == os.getuid()
            assert conn.get_extra_info("socket").family == socket.AF_UNIX
            assert conn.get_extra_info("peername") == f"{tmp_path}/s"

    for factory in (None, *PORTABLE_LOOPS.values()):
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main())


@pytest.mark.asyncio
async def test_connects_wait_for_room_in_the_servers_queue(tmp_path: Path) -> None:
    """A full queue is EAGAIN at once on a Unix socket, which loops take for a connect in progress."""
    path = f"{tmp_path}/s"
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as first:
        listening.bind(path)
        listening.listen(0)
        first.connect(path)
        task = asyncio.ensure_future(unix._connect(path, {}))
        done, _ = await asyncio.wait([task], timeout=2 * limits.UNIX_RETRY_S)
        assert not done
        listening.accept()[0].close()
        (await task).close()


@pytest.mark.asyncio
async def test_a_queue_that_stays_full_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CONNECT_TIMEOUT_S", 0.01)
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as first:
        listening.bind(f"{tmp_path}/s")
        listening.listen(0)
        first.connect(f"{tmp_path}/s")
        with pytest.raises(ConnectFailed, match="stays full"):
            await connect(f"unix://{tmp_path}/s")
