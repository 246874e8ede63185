"""Servers of several processes: real processes, killed, crashed, drained and orphaned."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.meta.tree import ROOT
from transport import limits
from transport.api import connect, serve
from transport.codec.msgpack import MsgpackCodec
from transport.errors import (
    CloseCode,
    ConnectFailed,
    ConnectionClosed,
    ConnectionLost,
    InvalidURL,
    LocalProtocolError,
    MessageTooLarge,
    TransportError,
    UnsupportedOperation,
)
from transport.reconnect import Backoff
from transport.workers import WorkerServer, parent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="workers inherit their sockets, which only Unix systems allow"),
]

HANDLERS = """
import asyncio, os, sys, time

async def who(conn):
    async for message in conn:
        await conn.send([os.getpid(), message])

async def obey(conn):
    async for message in conn:
        if message == "crash":
            os._exit(7)
        elif message == "block":
            await conn.send("blocking")
            await conn.flush()
            time.sleep(600)
        elif message == "leave":
            sys.exit(5)
        elif message == "argv":
            await conn.send(sys.argv)
        elif message == "finish":
            await conn.send("begun")
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                raise
        else:
            await conn.send(os.getpid())

class Handlers:
    @staticmethod
    async def nested(conn):
        await conn.send("nested")

not_callable = 5
"""


@pytest.fixture(autouse=True)
def handlers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that workers can import, as `work_handlers`."""
    (tmp_path / "work_handlers.py").write_text(HANDLERS)
    (tmp_path / "broken_handlers.py").write_text("import no_such_module_at_all\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parent, "RESTART", Backoff(initial=0.01, maximum=0.01, jitter=0.0))


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def alive(pid: int) -> bool:
    """Whether a process exists and is more than its own exit status."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


async def ask(url: Any, message: Any, **options: Any) -> Any:
    async with connect(url, **options) as conn:
        await conn.send(message)
        return await conn.recv()


@pytest.mark.asyncio
@pytest.mark.parametrize("scheme", ["tcp", "unix", "tls"])
async def test_every_worker_takes_its_share(scheme: str, tmp_path: Path) -> None:
    server_options: dict[str, Any] = {}
    client_options: dict[str, Any] = {}
    if scheme == "tls":
        authority = trustme.CA()
        certfile = tmp_path / "cert.pem"
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certfile))
        server_options["certfile"] = str(certfile)
        client_options["ssl_context"] = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    url = f"unix://{tmp_path}/s" if scheme == "unix" else f"{scheme}://127.0.0.1:0"
    async with serve(url, "work_handlers:who", workers=2, **server_options) as server:
        assert scheme == "unix" or server.url.port
        pids = set(server.pids)
        assert len(pids) == 2
        served = 0
        seen = set()
        while seen != pids:
            pid, echoed = await ask(server.url, served, **client_options)
            assert echoed == served
            served += 1
            seen.add(pid)
        statistics = await server.refresh()
        assert statistics.accepted == served
        assert server.statistics() == statistics
        assert "serving workers=2" in repr(server)
    assert not any(alive(pid) for pid in pids)
    assert server.pids == ()
    assert server.statistics().accepted == served
    if scheme == "unix":
        assert not (tmp_path / "s").exists()
    with pytest.raises(ConnectFailed):
        await connect(server.url, **client_options)


@pytest.mark.asyncio
async def test_a_crashed_worker_is_replaced_and_the_others_go_on() -> None:
    async with serve("tcp://127.0.0.1:0", "work_handlers:obey", workers=2) as server:
        async with await connect(server.url) as steady:
            await steady.send("pid")
            own = await steady.recv()
            before = set(server.pids)
            other = (before - {own}).pop()
            while True:  # one of the next connections reaches the other worker
                async with connect(server.url) as conn:
                    await conn.send("pid")
                    if await conn.recv() == other:
                        await conn.send("crash")
                        with pytest.raises(ConnectionLost):
                            await conn.recv()
                        break
            await until(lambda: server.restarts == 1 and len(server.pids) == 2)
            assert own in server.pids
            assert other not in server.pids
            await steady.send("pid")
            assert await steady.recv() == own
        # Connections that reach the socket of the worker that is still starting wait there for it.
        answers = {await ask(server.url, "pid") for _ in range(20)}
        assert answers <= set(server.pids)
        assert (await server.refresh()).accepted >= 20


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM", "leave"])
async def test_a_worker_that_ends_in_any_way_is_replaced(how: str, caplog: pytest.LogCaptureFixture) -> None:
    async with serve("tcp://127.0.0.1:0", "work_handlers:obey", workers=1) as server:
        (pid,) = server.pids
        if how == "leave":
            conn = await connect(server.url)
            await conn.send("leave")
            with pytest.raises(ConnectionClosed):
                await conn.recv()
        else:
            os.kill(pid, signal.Signals[how])
        await until(lambda: server.restarts)
        assert await ask(server.url, "pid") != pid
        assert server.statistics().failed_handlers == 0
    expected = {"SIGKILL": "signal SIGKILL", "SIGTERM": "exit status 0", "leave": "exit status 5"}[how]
    assert f"worker 0 ended ({expected})" in caplog.text


@pytest.mark.asyncio
async def test_a_worker_that_crashes_again_and_again_is_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(limits, "WORKER_CRASHES_MAX", 1)
    async with serve("tcp://127.0.0.1:0", "work_handlers:obey", workers=1) as server:
        forever = asyncio.ensure_future(server.serve_forever())
        for _ in range(2):
            await until(lambda: server.pids)
            with contextlib.suppress(ConnectionClosed, ConnectFailed):
                await ask(server.url, "crash")
        with pytest.raises(TransportError, match="every worker crashed again and again, the last with exit status 7"):
            await forever
        with pytest.raises(ConnectFailed):
            await connect(server.url)
    assert "given up after 2 crashes" in caplog.text


@pytest.mark.asyncio
async def test_the_socket_of_a_worker_that_is_given_up_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the kernel sends nobody there."""
    monkeypatch.setattr(limits, "WORKER_CRASHES_MAX", 0)
    async with serve("tcp://127.0.0.1:0", "work_handlers:who", workers=2) as server:
        doomed, other = server.pids
        os.kill(doomed, signal.SIGKILL)
        await until(lambda: server.pids == (other,) and server._workers[0].over)
        assert {(await ask(server.url, 0))[0] for _ in range(20)} == {other}


@pytest.mark.asyncio
async def test_closing_drains(tmp_path: Path) -> None:
    server: WorkerServer = await serve("tcp://127.0.0.1:0", "work_handlers:obey", workers=2)
    conns = [await connect(server.url) for _ in range(8)]
    for conn in conns:
        await conn.send("pid")
    answers = [await conn.recv() for conn in conns]
    assert set(answers) <= set(server.pids)
    closing = asyncio.ensure_future(server.close())
    again = asyncio.ensure_future(server.close())
    for conn in conns:
        with pytest.raises(ConnectionClosed):
            await conn.recv()
        assert conn.close_code == CloseCode.GOING_AWAY
    await closing
    await again
    assert server.statistics().accepted == 8
    assert server.statistics().connections == 0


@pytest.mark.asyncio
async def test_a_blocked_worker_is_killed_after_its_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WORKER_EXIT_S", 0.05)
    server = await serve("tcp://127.0.0.1:0", "work_handlers:obey", workers=1)
    (pid,) = server.pids
    conn = await connect(server.url)
    await conn.send("block")
    assert await conn.recv() == "blocking"
    await server.close(grace=0.05)
    assert not alive(pid)
    with pytest.raises(ConnectionLost):
        await conn.recv()


@pytest.mark.asyncio
async def test_closing_while_a_worker_is_down_or_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parent, "RESTART", Backoff(initial=3600, maximum=3600, jitter=0.0))
    server = await serve("tcp://127.0.0.1:0", "work_handlers:who", workers=2)
    os.kill(server.pids[0], signal.SIGKILL)
    await until(lambda: server._workers[0]._pause is not None)
    await server.close()
    assert server.pids == ()
    starting = asyncio.ensure_future(serve("tcp://127.0.0.1:0", "work_handlers:who", workers=2))
    await asyncio.sleep(0.02)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("handler", "text"),
    [
        ("no_such_module_at_all:handler", "can't import the handler .*No module named 'no_such_module_at_all'"),
        ("broken_handlers:handler", "ModuleNotFoundError"),
        ("work_handlers:missing", "is not there, or not a function"),
        ("work_handlers:who.missing", "is not there"),
        ("work_handlers:not_callable", "not a function"),
    ],
)
async def test_a_handler_that_workers_do_not_find(handler: str, text: str) -> None:
    with pytest.raises(LocalProtocolError, match=text):
        await serve("tcp://127.0.0.1:0", handler, workers=2)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.asyncio
async def test_a_worker_that_does_not_get_ready(handlers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (handlers / "endless_handlers.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setattr(limits, "WORKER_START_S", 1.0)
    with pytest.raises(TransportError, match="not ready within 1 s"):
        await serve("tcp://127.0.0.1:0", "endless_handlers:handler", workers=1)


@pytest.mark.asyncio
async def test_options_that_are_too_large_for_the_line(handlers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WORKER_MESSAGE_BYTES", 64)
    with pytest.raises(MessageTooLarge, match="limit of 64 "):
        await serve("tcp://127.0.0.1:0", "work_handlers:who", workers=1)


async def local_handler(conn: Any) -> None:
    """Given by itself instead of by its name."""


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("arguments", "options", "text"),
    [
        ((local_handler,), {}, "give its name, .*test_parent:local_handler"),
        ((lambda conn: None,), {}, "function of a module, 'package.module:name'"),
        ((None,), {}, "function of a module"),
        (("work_handlers.who",), {}, "no name of a handler"),
        (("work handlers:who",), {}, "no name of a handler"),
        ((":",), {}, "no name of a handler"),
        (("work_handlers:who",), {"workers": 0}, "from 1 to 256"),
        (("work_handlers:who",), {"workers": 257}, "from 1 to 256"),
        (("work_handlers:who",), {"workers": True}, "from 1 to 256"),
        (("work_handlers:who",), {"workers": 1.5}, "from 1 to 256"),
        (("work_handlers:who",), {"registry": object()}, "registry does not go with workers"),
        (("work_handlers:who",), {"machine": object}, "machine does not go with workers"),
        (("work_handlers:who",), {"sock": 5}, "sock does not go with workers"),
        (("work_handlers:who",), {"codec": "no such codec"}, "codec"),
        (("work_handlers:who",), {"codec": type("Local", (MsgpackCodec,), {})()}, "option 'codec' can't be given"),
    ],
)
async def test_mistakes_are_found_before_a_process_is_started(
    arguments: tuple[Any, ...], options: dict[str, Any], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: Any, **__: Any) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", none)
    with pytest.raises(LocalProtocolError, match=text):
        await serve("tcp://127.0.0.1:0", *arguments, **{"workers": 1, **options})


@pytest.mark.asyncio
async def test_other_mistakes() -> None:
    with pytest.raises(UnsupportedOperation, match="memory:// can't be served by several processes"):
        await serve("memory://here", "work_handlers:who", workers=1)
    with pytest.raises(InvalidURL, match="unknown option"):
        await serve("tcp://127.0.0.1:0", "work_handlers:who", workers=1, nonsense=1)
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken:
        url = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(OSError, match="in use"):  # also where both would share the port
            await serve(url, "work_handlers:who", workers=1)
    with pytest.raises(LocalProtocolError, match="goes with workers=N"):
        serve("tcp://127.0.0.1:0", "work_handlers:who")


@pytest.mark.asyncio
async def test_options_and_arguments_reach_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["program", "--flag"])
    async with serve(
        "tcp://127.0.0.1:0?max_message=64k", "work_handlers:obey", workers=1, codec="json", framing="length32"
    ) as server:
        assert await ask(server.url, "argv", codec="json", framing="length32") == ["program", "--flag"]
    async with serve("tcp://localhost:0", "work_handlers:Handlers.nested", workers=1) as server:
        async with connect(server.url) as conn:
            assert await conn.recv() == "nested"


@contextlib.asynccontextmanager
async def program(folder: Path, text: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Runs a program of its own; whatever is left of it at the end is killed."""
    (folder / "program.py").write_text(text)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, cwd=folder, env=environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()  # to the end of its pipes, or their transports outlive the loop


PROGRAM = """
import asyncio, functools, os, sys
import transport

async def who(conn):
    async for message in conn:
        await conn.send(os.getpid())

async def main():
    async with transport.serve("tcp://127.0.0.1:0", "__main__:who", workers=2) as server:
        ready = functools.partial(print, server.url, *server.pids, flush=True)
        asyncio.get_running_loop().call_soon(ready)  # once serve_forever waits: SIGTERM kills a program before that
        await server.serve_forever()
    print("over", flush=True)

if __name__ == "__main__":
    runner = {"uvloop": transport.run, "asyncio": asyncio.run}[sys.argv[1]]
    try:
        runner(main())
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


async def started(process: asyncio.subprocess.Process) -> tuple[str, list[int]]:
    assert process.stdout is not None
    assert process.stderr is not None
    line = (await process.stdout.readline()).decode().split()
    if not line:
        raise AssertionError((await process.stderr.read()).decode())
    return line[0], [int(pid) for pid in line[1:]]


@pytest.mark.asyncio(loop_factories=["asyncio"])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("arguments", [["program.py"], ["-m", "program"]], ids=["file", "module"])
async def test_programs_end_in_order_on_a_signal(handlers: Path, loop: str, arguments: list[str]) -> None:
    for number, last in ((signal.SIGTERM, "over\n"), (signal.SIGINT, "interrupted\n")):
        async with program(handlers, PROGRAM, *arguments, loop) as process:
            url, pids = await started(process)
            async with connect(url) as conn:
                await conn.send(1)
                assert await conn.recv() in pids
                if number == signal.SIGINT:
                    os.killpg(process.pid, number)  # as a terminal does: everybody gets it
                else:
                    process.send_signal(number)
                with pytest.raises(ConnectionClosed):
                    await conn.recv()
                assert conn.close_code == CloseCode.GOING_AWAY
            out, err = await process.communicate()
            assert (out.decode(), err.decode()) == (last, "")
            assert process.returncode == 0
            assert not any(alive(pid) for pid in pids)


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_workers_of_a_parent_that_is_killed_drain_and_end(handlers: Path) -> None:
    async with program(handlers, PROGRAM, "program.py", "uvloop") as process:
        url, pids = await started(process)
        conn = await connect(url)
        await conn.send(1)
        await conn.recv()
        process.kill()
        with pytest.raises(ConnectionClosed):
            await conn.recv()
        assert conn.close_code == CloseCode.GOING_AWAY
        await conn.close()
        await until(lambda: not any(alive(pid) for pid in pids))
        with pytest.raises(ConnectFailed):
            await connect(url)


BLOCKED = PROGRAM.replace(
    "async for message in conn:\n", "async for message in conn:\n        import time; time.sleep(600)\n"
)


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_a_blocked_orphan_ends_too(handlers: Path) -> None:
    quick = BLOCKED.replace("import transport\n", "import transport\ntransport.limits.CLOSE_GRACE_S = 0.1\n")
    quick = quick.replace("import transport\n", "import transport, transport.limits\n", 1)
    quick = quick.replace("CLOSE_GRACE_S = 0.1\n", "CLOSE_GRACE_S = 0.1\ntransport.limits.WORKER_EXIT_S = 0.1\n")
    async with program(handlers, quick, "program.py", "uvloop") as process:
        url, pids = await started(process)
        conn = await connect(url)
        await conn.send(1)
        await conn.flush()
        process.kill()
        await until(lambda: not any(alive(pid) for pid in pids))
        conn.abort()
        await conn.wait_closed()


UNGUARDED = """
import transport

async def who(conn):
    await conn.send(1)

async def main():
    await transport.serve("tcp://127.0.0.1:0", "__main__:who", workers=1)

transport.run(main())
"""


@pytest.mark.asyncio(loop_factories=["asyncio"])
@pytest.mark.parametrize("arguments", [["program.py"], ["-m", "program"]], ids=["file", "module"])
async def test_a_program_without_its_guard_is_told_so(handlers: Path, arguments: list[str]) -> None:
    async with program(handlers, UNGUARDED, *arguments) as process:
        _, err = await process.communicate()
        assert process.returncode == 1
        assert "if __name__ == '__main__':" in err.decode()


CODEC = """
import transport

class Codec:
    name = "mine"
    def encode(self, message):
        return repr(message).encode()
    def decode(self, payload):
        return payload.decode() + "!"

async def main():
    codec = Codec()
    async with transport.serve("tcp://127.0.0.1:0", "work_handlers:obey", workers=1, codec=codec) as server:
        async with transport.connect(server.url, codec=codec) as conn:
            await conn.send("x")
            print((await conn.recv()) == f"{server.pids[0]}!")

if __name__ == "__main__":
    transport.run(main())
"""


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_objects_of_the_main_module_reach_the_workers(handlers: Path) -> None:
    async with program(handlers, CODEC, "program.py") as process:
        out, err = await process.communicate()
        assert (out.decode(), err.decode()) == ("True\n", "")


@pytest.mark.asyncio
async def test_a_worker_has_no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    from transport.workers import child

    monkeypatch.setitem(sys.modules, child.IS_WORKER, child)
    with pytest.raises(LocalProtocolError, match="a worker can't have workers"):
        await serve("tcp://127.0.0.1:0", "work_handlers:who", workers=1)
