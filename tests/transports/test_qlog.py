"""Traces in files: by option and by environment, who may read them, and that nothing of it can end a connection."""

from __future__ import annotations

import logging
import stat
from pathlib import Path
from typing import Any

import pytest

import transport
from transport.sight.sqlog import TraceFile
from transport.transports import qlog
from transport.transports.qlog import Folder


async def echo(conn: transport.Connection) -> None:
    async for message in conn:
        await conn.send(message)


async def talk(url: str = "rudp://127.0.0.1:0", **options: Any) -> None:
    """A server without a trace of its own, and a client with `options`."""
    async with transport.serve(url, echo, qlog=None) as server, transport.connect(server.url, **options) as conn:
        for number in range(5):
            await conn.send(number)
            assert await conn.recv() == number


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.exists() else []


@pytest.mark.asyncio
@pytest.mark.parametrize("url", ["rudp://127.0.0.1:0", "memory://lab?rudp=true&loss=0.1&seed=3"])
async def test_the_option(url: str, tmp_path: Path) -> None:
    await talk(url, qlog=tmp_path / "traces")
    (path,) = files(tmp_path / "traces")
    assert path.name.endswith("_client.sqlog") and len(path.name) == len("0123456789abcdef_client.sqlog")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    file = TraceFile(path)
    names = [event.kind for event in file.events()]
    assert names.count("message_sent") == names.count("message_received") == 5
    assert "connection_closed" in names and file.vantage == "client"


@pytest.mark.asyncio
async def test_both_sides_are_named_alike(tmp_path: Path) -> None:
    async with transport.serve("rudp://127.0.0.1:0", echo, qlog=tmp_path) as server:
        async with transport.connect(server.url, qlog=str(tmp_path)) as conn:
            await conn.send(1)
            assert await conn.recv() == 1
    first, second = [path.name for path in files(tmp_path)]
    assert first.replace("_client", "") == second.replace("_server", "")


@pytest.mark.asyncio
async def test_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QLOGDIR", str(tmp_path))
    await talk(qlog="none")
    assert files(tmp_path) == []
    await talk()
    assert [path.name[16:] for path in files(tmp_path)] == ["_client.sqlog"]
    monkeypatch.setenv("QLOGDIR", "")
    await talk()
    assert len(files(tmp_path)) == 1


@pytest.mark.asyncio
async def test_a_url_can_ask_for_none(tmp_path: Path) -> None:
    with pytest.raises(transport.InvalidURL, match="qlog"):
        await talk(f"rudp://127.0.0.1:0?qlog={tmp_path}")


@pytest.mark.asyncio
async def test_a_folder_that_takes_nothing_ends_the_trace_only(tmp_path: Path, caplog: Any) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    with caplog.at_level(logging.WARNING, logger="transport"):
        await talk(qlog=blocked)
    assert [record.getMessage().split(" ends")[0][:13] for record in caplog.records] == ["the trace of "]


class Session:
    """As much of one as a trace needs that nobody fills."""

    trace = None


def test_names_are_never_taken_from_somebody(tmp_path: Path) -> None:
    (tmp_path / "a.sqlog").write_text("mine")
    first, second = qlog._File(str(tmp_path)), qlog._File(str(tmp_path))
    for file in (first, second):
        assert file.write("a", b"one") and file.write("a", b"two")
    assert (tmp_path / "a.sqlog").read_text() == "mine"
    assert (tmp_path / "a_2.sqlog").read_text() == (tmp_path / "a_3.sqlog").read_text() == "onetwo"
    (tmp_path / "a_2.sqlog").unlink()
    (tmp_path / "a_2.sqlog").symlink_to(tmp_path / "a.sqlog")
    assert not first.write("a", b"x")
    assert (tmp_path / "a.sqlog").read_text() == "mine"


def test_so_many_files_of_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.setattr(qlog, "NAMES_MAX", 2)
    for _ in range(2):
        assert qlog._File(str(tmp_path)).write("a", b"x")
    assert not qlog._File(str(tmp_path)).write("a", b"x")
    assert "2 files of this name" in caplog.text


def test_so_many_files_of_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.setattr(qlog, "FILES_MAX", 1)
    monkeypatch.setattr(qlog, "_begun", 0)
    monkeypatch.setattr(qlog, "Trace", lambda *_: "a trace")
    folder = Folder(str(tmp_path))
    assert [folder(Session(), 1) for _ in range(3)] == ["a trace", None, None]
    assert caplog.text.count("has begun 1 traces") == 1
