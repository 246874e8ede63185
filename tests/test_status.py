"""A server that tells how it is doing: to whom, how much, and that nobody is told unasked."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import stat
from pathlib import Path
from typing import Any

import pytest

import transport
from transport import status


async def echo(conn: transport.Connection) -> None:
    async for message in conn:
        await conn.send(message)


def socket_in(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


async def asked(path: Path, times: int = 1) -> list[dict[str, Any]]:
    reader, writer = await asyncio.open_unix_connection(path, limit=1 << 22)
    found = []
    for _ in range(times):
        writer.write(b"\n")
        found.append(json.loads(await reader.readline()))
    writer.close()
    await writer.wait_closed()
    return found


@pytest.mark.asyncio
@pytest.mark.parametrize("url", ["rudp://127.0.0.1:0", "tcp://127.0.0.1:0"])
async def test_it_tells(url: str, tmp_path: Path) -> None:
    async with transport.serve(url, echo, status=tmp_path / "status") as server:
        path = socket_in(tmp_path / "status")
        assert path.name.startswith(f"{os.getpid()}-") and path.suffix == ".sock"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        async with transport.connect(server.url) as conn:
            await conn.send("hello")
            assert await conn.recv() == "hello"
            first, second = await asked(path, 2)
            assert first["pid"] == os.getpid() and first["url"] == str(server.url) and first["left_out"] == 0
            assert first["server"]["connections"] == first["server"]["accepted"] == 1
            (one,) = first["connections"]
            assert one["remote"] == "{}:{}".format(*conn.local_address)
            assert (one["messages_sent"], one["messages_received"]) == (1, 1)
            assert one["counters"]["messages_sent"] == 1
            assert not [name for name in one["counters"] if name.startswith("channel_")]
            assert second["connections"][0]["id"] == one["id"]
    assert not list((tmp_path / "status").iterdir()), "the socket goes with its server"


@pytest.mark.asyncio
async def test_it_is_off_by_default_and_on_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with transport.serve("tcp://127.0.0.1:0", echo) as server:
        assert server._status is None
    monkeypatch.setenv("TRANSPORT_STATUS", str(tmp_path))
    async with transport.serve("tcp://127.0.0.1:0", echo, status="none") as server:
        assert server._status is None
    async with transport.serve("tcp://127.0.0.1:0", echo), transport.serve("tcp://127.0.0.1:0", echo):
        assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.asyncio
async def test_a_folder_that_can_not_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    """Asked for, it is a mistake; from the environment it must not stop a server."""
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    with pytest.raises(OSError):
        await transport.serve("tcp://127.0.0.1:0", echo, status=blocked)
    with pytest.raises(OSError, match="at most 107 bytes"):
        await transport.serve("tcp://127.0.0.1:0", echo, status=tmp_path / ("x" * 120))
    monkeypatch.setenv("TRANSPORT_STATUS", str(blocked))
    with caplog.at_level(logging.WARNING, logger="transport"):
        async with transport.serve("tcp://127.0.0.1:0", echo) as server:
            async with transport.connect(server.url) as conn:
                await conn.send(1)
                assert await conn.recv() == 1
    assert "tells nobody how it is doing" in caplog.text


@pytest.mark.asyncio
async def test_url_options_can_not_turn_it_on(tmp_path: Path) -> None:
    with pytest.raises(transport.InvalidURL, match="status"):
        await transport.serve(f"tcp://127.0.0.1:0?status={tmp_path}", echo)


@pytest.mark.asyncio
async def test_so_many_connections_in_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "CONNECTIONS_MAX", 2)
    monkeypatch.setattr(status, "PER_TURN", 1)
    async with transport.serve("tcp://127.0.0.1:0", echo, status=tmp_path) as server:
        conns = [await transport.connect(server.url) for _ in range(3)]
        (told,) = await asked(socket_in(tmp_path))
        assert len(told["connections"]) == 2 and told["left_out"] == 1
        assert told["server"]["connections"] == 3
        for conn in conns:
            await conn.close()


@pytest.mark.asyncio
async def test_so_many_who_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "CLIENTS_MAX", 1)
    async with transport.serve("tcp://127.0.0.1:0", echo, status=tmp_path):
        path = socket_in(tmp_path)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"\n")
        assert json.loads(await reader.readline())["left_out"] == 0
        second_reader, second_writer = await asyncio.open_unix_connection(path)
        assert await second_reader.read() == b""
        second_writer.close()
        writer.close()
    assert await reader.read() == b"", "the server's end is theirs"


@pytest.mark.asyncio
async def test_so_long_a_question(tmp_path: Path) -> None:
    async with transport.serve("tcp://127.0.0.1:0", echo, status=tmp_path):
        reader, writer = await asyncio.open_unix_connection(socket_in(tmp_path))
        writer.write(b"x" * 5000 + b"\n")
        try:
            assert await reader.read() == b""
        except ConnectionResetError:
            pass
        writer.close()
        assert len(await asked(socket_in(tmp_path))) == 1


@pytest.mark.asyncio
async def test_a_machine_of_ones_own(tmp_path: Path) -> None:
    class Machine:
        def receive(self, data: bytes, now: int) -> None: ...

        def transmit(self, now: int) -> list[bytes]:
            return []

        def events(self) -> list[Any]:
            return []

        def deadline(self) -> None:
            return None

        def expire(self, now: int) -> None: ...

    async with transport.serve("tcp://127.0.0.1:0", machine=Machine, status=tmp_path) as server:
        url = transport.connect(server.url, machine=Machine)
        async with url, server:
            conn = await server.accept()
            (told,) = await asked(socket_in(tmp_path))
            (one,) = told["connections"]
            assert one["remote"].startswith("127.0.0.1:")
            conn.abort()
