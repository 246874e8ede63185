"""WebSocket and plain HTTP from several processes on one port, and what events say to that."""

from __future__ import annotations

import asyncio
import importlib
import os
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import trustme

from transport import HttpResponse
from transport.api import connect, serve
from transport.errors import ConnectFailed, ConnectionLost, LocalProtocolError, UnsupportedOperation
from transport.events import Events
from transport.reconnect import Backoff
from transport.url import Url
from transport.workers import WorkerServer, parent

pytestmark = pytest.mark.skipif(os.name != "posix", reason="workers inherit their sockets, as on Unix systems only")
NAME = "websocket_work_handlers"
HANDLERS = """
import os
from transport import HttpResponse

async def who(conn):
    async for message in conn:
        if message == "crash":
            os._exit(7)
        await conn.send([os.getpid(), conn.get_extra_info("subprotocol"), conn.get_extra_info("query"), message])

async def health(request):
    return HttpResponse(str(os.getpid()))
"""


@pytest.fixture
def handlers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module that workers can import."""
    (tmp_path / f"{NAME}.py").write_text(HANDLERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(parent, "RESTART", Backoff(initial=0.01, maximum=0.01, jitter=0.0))
    yield importlib.import_module(NAME)
    sys.modules.pop(NAME, None)


async def get(url: Url, path: str) -> bytes:
    """The body of what a path answers."""
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {url.host}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer.partition(b"\r\n\r\n")[2]


async def until_counted(server: WorkerServer, name: str, value: int) -> None:
    """Until the workers say so."""
    while (await server.refresh()).counters.get(name) != value:
        await asyncio.sleep(0.005)


@pytest.mark.slow
@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_every_worker_has_path_routes_and_handshake(handlers: ModuleType) -> None:
    routes = {"/health": handlers.health, "/": HttpResponse("page")}
    async with serve(
        "ws://127.0.0.1:0/chat?room=7", f"{NAME}:who", workers=2, routes=routes, subprotocols=["b", "a"]
    ) as server:
        url = server.url
        assert (url.path, url.query_text) == ("/chat", "room=7")
        pids = set(server.pids)
        seen: set[int] = set()
        served = 0
        while seen != pids:
            async with connect(url, subprotocols=["a"]) as conn:
                await conn.send(served)
                pid, *rest = await conn.recv()
            assert rest == ["a", "room=7", served]
            seen.add(pid)
            served += 1
        seen.clear()
        asked = 0
        while seen != pids:
            seen.add(int(await get(url, "/health")))
            asked += 1
        assert await get(url, "/") == b"page"
        with pytest.raises(ConnectFailed, match="404 Not Found"):
            await connect(url.replace(path="/other"))
        await until_counted(server, "http_connections", 0)
        statistics = server.statistics()
        assert statistics.accepted == served
        assert statistics.counters["http_requests"] == served + asked + 2
        assert statistics.counters["http_200"] == asked + 1
        assert statistics.counters["http_404"] == 1
    with pytest.raises(ConnectFailed):
        await connect(url)


@pytest.mark.slow
@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_a_worker_that_is_gone_has_no_open_requests(handlers: ModuleType) -> None:
    async with serve("ws://127.0.0.1:0", f"{NAME}:who", workers=1) as server:
        _, writer = await asyncio.open_connection(server.url.host, server.url.port)  # says nothing yet
        await until_counted(server, "http_connections", 1)
        async with connect(server.url) as conn:
            await conn.send("crash")
            with pytest.raises(ConnectionLost):
                await conn.recv()
        writer.close()
        while not server.restarts:
            await asyncio.sleep(0.005)
        await until_counted(server, "http_connections", 0)
        async with connect(server.url) as conn:
            await conn.send(1)
            assert (await conn.recv())[0] in server.pids


@pytest.mark.slow
@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_workers_behind_tls(handlers: ModuleType, tmp_path: Path) -> None:
    authority = trustme.CA()
    certfile = tmp_path / "cert.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certfile))
    context = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    async with serve(
        "wss://127.0.0.1:0/chat", f"{NAME}:who", workers=1, codec="json", compression=True, certfile=str(certfile)
    ) as server:
        async with connect(server.url, codec="json", compression=True, ssl_context=context) as conn:
            await conn.send("x" * 10_000)
            assert (await conn.recv())[0] in server.pids
            assert conn.get_extra_info("compression") == "deflate"


@pytest.mark.asyncio(loop_factories=["asyncio"])
@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"headers": {"X-A": "1"}}, LocalProtocolError, "headers is for clients"),
        ({"routes": {"/": lambda request: "x"}}, LocalProtocolError, "option 'routes' can't be given to workers"),
        ({"framing": "lines"}, UnsupportedOperation, "takes no framing"),
    ],
)
async def test_mistakes_are_found_before_a_process_is_started(
    options: Any, kind: type[Exception], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: Any, **__: Any) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", none)
    with pytest.raises(kind, match=text):
        await serve("ws://127.0.0.1:0", f"{NAME}:who", **{"workers": 1, **options})


@pytest.mark.parametrize("scheme", ["ws", "tcp", "rudp"])
def test_events_have_one_process(scheme: str) -> None:
    app = Events()
    app.namespace("/")
    with pytest.raises(LocalProtocolError, match="several processes .workers.: .* one process writes the log"):
        app.serve(f"{scheme}://127.0.0.1:0", workers=2)
    with pytest.raises(LocalProtocolError, match="events choose codec, framing themselves"):
        app.serve(f"{scheme}://127.0.0.1:0", codec="json", framing="lines")
