"""A running server: its handlers, its queue, its end."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from typing import Any

import pytest

from tests.conftest import LOOPS
from tests.meta.tree import ROOT
from tests.strangers import HELLO, Echo, echo, until
from transport import limits
from transport.api import connect, serve
from transport.drive.protocol import Protocol
from transport.errors import CloseCode, ConnectFailed, ConnectionClosed, ConnectionLost, LocalProtocolError

URL = "tcp://127.0.0.1:0"

pytestmark = pytest.mark.asyncio


async def quiet(conn: Any) -> None:
    await conn.wait_closed()


async def end_of(conn: Any) -> tuple[int | None, str]:
    """Code and reason that reach a client whose server ends the connection."""
    with pytest.raises(ConnectionClosed):
        await conn.recv()
    await conn.wait_closed()
    return conn.close_code, conn.close_reason


async def test_a_connection_is_closed_when_its_handler_returns() -> None:
    async def once(conn: Any) -> None:
        await conn.send("bye")

    async with serve(URL, once) as server, connect(server.url) as conn:
        assert await conn.recv() == "bye"
        assert await end_of(conn) == (CloseCode.NORMAL, "")
        await until(lambda: not server.connections)
        assert server.statistics().failed_handlers == 0


async def test_a_handler_may_close_with_a_code_of_its_own() -> None:
    async def refuse(conn: Any) -> None:
        await conn.close(42, "not you")

    async with serve(URL, refuse) as server, connect(server.url) as conn:
        assert await end_of(conn) == (42, "not you")


async def test_a_handler_that_fails_ends_its_own_connection_only(caplog: pytest.LogCaptureFixture) -> None:
    """The peer learns nothing of what went wrong."""

    async def handle(conn: Any) -> None:
        async for message in conn:
            if message == "fail":
                raise ValueError("secret detail")
            await conn.send(message)

    async with serve(URL, handle) as server, connect(server.url) as one, connect(server.url) as two:
        await one.send("fail")
        assert await end_of(one) == (CloseCode.INTERNAL_ERROR, "internal error")
        await two.send("on")
        assert await two.recv() == "on"
        assert server.statistics().failed_handlers == 1
    (record,) = caplog.records
    assert "failed, its connection is closed" in record.getMessage()
    assert record.exc_info is not None
    assert "secret detail" in str(record.exc_info[1])


@pytest.mark.parametrize("mistake", ["plain function", "unencodable answer"])
async def test_mistakes_in_a_handler_are_failures(mistake: str, caplog: pytest.LogCaptureFixture) -> None:
    def plain(conn: Any) -> None:
        pass

    async def unencodable(conn: Any) -> None:
        await conn.send(object())

    handler: Any = plain if mistake == "plain function" else unencodable
    async with serve(URL, handler) as server, connect(server.url) as conn:
        assert await end_of(conn) == (CloseCode.INTERNAL_ERROR, "internal error")
        assert server.statistics().failed_handlers == 1
    assert len(caplog.records) == 1


async def test_a_peer_that_leaves_is_no_failure_of_a_handler(caplog: pytest.LogCaptureFixture) -> None:
    async def handle(conn: Any) -> None:
        await conn.recv()
        await conn.recv()

    async with serve(URL, handle) as server:
        async with connect(server.url) as conn:
            await conn.send(1)
        other = await connect(server.url)
        other.abort()
        await until(lambda: server.statistics().accepted == 2 and not server.connections)
        assert server.statistics().failed_handlers == 0
    assert not caplog.records


async def test_a_protocol_that_cannot_be_made_costs_one_connection() -> None:
    made: list[Any] = []

    def factory() -> Any:
        made.append(None)
        if len(made) == 1:
            raise ValueError("mistake")
        return Echo()

    reported: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))
    async with serve(URL, protocol=factory) as server:
        with pytest.raises(ConnectFailed):
            await connect(server.url)
        assert [str(error) for error in reported] == ["mistake"]
        async with connect(server.url) as conn:
            await conn.send(1)
            assert await conn.recv() == 1


async def test_connections_are_taken_one_by_one_in_the_order_of_their_arrival() -> None:
    async with serve(URL) as server:
        conns = [await connect(server.url) for _ in range(5)]
        taken = [await server.accept() for _ in range(5)]
        assert [conn.remote_address for conn in taken] == [conn.local_address for conn in conns]
        waiting = asyncio.ensure_future(server.accept())
        async with connect(server.url) as conn:
            assert (await waiting).remote_address == conn.local_address
        for conn in conns:
            await conn.close()


async def test_iterating_over_a_server_ends_with_it() -> None:
    seen = []
    async with serve(URL) as server:

        async def take() -> None:
            async for conn in server:
                seen.append(conn.remote_address)

        taking = asyncio.ensure_future(take())
        conns = [await connect(server.url) for _ in range(3)]
        await until(lambda: len(seen) == 3)
        await server.close()
        await taking
    assert seen == [conn.local_address for conn in conns]
    with pytest.raises(ConnectionClosed, match="the server is closed"):
        await server.accept()


async def test_a_cancelled_accept_passes_its_connection_on() -> None:
    """It was woken and then cancelled: the next in line gets what it was woken for."""
    async with serve(URL) as server:
        first, second = (asyncio.ensure_future(server.accept()) for _ in range(2))
        await asyncio.sleep(0)
        async with connect(server.url) as conn:
            first.cancel()
            taken = await second if not first.done() or first.cancelled() else first.result()
            assert taken.remote_address == conn.local_address
            await asyncio.gather(first, return_exceptions=True)
            second.cancel()
            await asyncio.gather(second, return_exceptions=True)


@pytest.mark.parametrize("style", [{"handler": echo}, {"protocol": Protocol}])
async def test_accept_belongs_to_a_server_without_handler_and_protocol(style: Any) -> None:
    async with serve(URL, **style) as server:
        with pytest.raises(LocalProtocolError, match="go to its handler or protocol"):
            await server.accept()


async def test_more_than_the_accept_queue_holds_are_told_to_go_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ACCEPT_QUEUE_MAX", 3)
    async with serve(URL) as server:
        conns = [await connect(server.url) for _ in range(3)]
        late = await connect(server.url)
        assert await end_of(late) == (CloseCode.OVERLOADED, "too many connections wait to be accepted")
        assert server.statistics().refused == 1
        await server.accept()
        async with connect(server.url) as conn:
            await conn.ping()
        for conn in conns:
            await conn.close()


async def test_those_that_have_left_keep_nobody_out_of_the_accept_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ACCEPT_QUEUE_MAX", 2)
    async with serve(URL) as server:
        for _ in range(2):
            async with connect(server.url):
                pass
        await until(lambda: not server.connections)
        async with connect(server.url) as conn:
            await conn.ping()
            accepted = await server.accept()
            await accepted.send("welcome")
            assert await conn.recv() == "welcome"


async def test_a_full_server_refuses_and_says_so_in_its_statistics() -> None:
    async with serve(URL, echo, max_connections=2) as server:
        async with connect(server.url), connect(server.url):
            for _ in range(3):
                with pytest.raises(ConnectFailed, match="tcp://127.0.0.1"):
                    await connect(server.url)
            statistics = server.statistics()
            assert (statistics.connections, statistics.accepted, statistics.refused) == (2, 2, 3)
        await until(lambda: not server.connections)
        async with connect(server.url) as conn:
            await conn.send("room again")
            assert await conn.recv() == "room again"
        statistics = server.statistics()
        assert (statistics.accepted, statistics.refused, statistics.accept_backoffs) == (3, 3, 0)


async def test_those_that_are_still_opening_count_too() -> None:
    async with serve(URL, echo, max_connections=1) as server:
        with socket.create_connection(("127.0.0.1", server.url.port)):
            await until(lambda: server.connections)
            assert (server.statistics().connections, server.statistics().accepted) == (1, 0)
            with pytest.raises(ConnectFailed):
                await connect(server.url)


async def test_closing_lets_handlers_finish_what_they_do() -> None:
    finished = []

    async def handle(conn: Any) -> None:
        async for message in conn:
            await conn.send(message)
        finished.append(conn.is_closed)

    async with serve(URL, handle) as server, connect(server.url) as one, connect(server.url) as two:
        for conn in (one, two):
            await conn.send("before")
            assert await conn.recv() == "before"
        await asyncio.gather(server.close(), server.close())
        assert [await end_of(conn) for conn in (one, two)] == [(CloseCode.GOING_AWAY, "the server is closing")] * 2
        assert finished == [True, True]
    assert "closed connections=0" in repr(server)


async def test_what_was_queued_before_the_end_still_arrives() -> None:
    async with serve(URL, quiet, codec="raw") as server, connect(server.url, codec="raw") as conn:
        (peer,) = server.connections
        for _ in range(50):
            await peer.send(bytes(10_000))
        closing = asyncio.ensure_future(server.close())
        for _ in range(50):
            assert await conn.recv() == bytes(10_000)
        await closing
        assert conn.close_code == CloseCode.GOING_AWAY


async def test_peers_that_do_not_answer_the_goodbye_are_cut_after_the_grace() -> None:
    async with serve(URL, quiet) as server:
        with socket.create_connection(("127.0.0.1", server.url.port)) as deaf:
            deaf.sendall(HELLO)
            await until(lambda: server.statistics().accepted)
            await server.close(grace=0.05)
            assert not server.connections
            deaf.settimeout(5)
            while deaf.recv(4096):
                pass


async def test_those_that_have_said_nothing_do_not_hold_up_the_end() -> None:
    async with serve(URL, quiet) as server:
        strangers = [socket.create_connection(("127.0.0.1", server.url.port)) for _ in range(3)]
        await until(lambda: len(server.connections) == 3)
        await server.close(grace=1000)
        for sock in strangers:
            sock.close()


async def test_handlers_that_go_on_are_cancelled_after_the_grace() -> None:
    ended = []

    async def busy(conn: Any) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            ended.append(conn)
            raise

    async with serve(URL, busy) as server, connect(server.url) as conn:
        await until(lambda: server.statistics().accepted)
        await server.close(grace=0.05)
        assert len(ended) == 1
        assert not server.connections
        assert await end_of(conn) == (CloseCode.GOING_AWAY, "the server is closing")


async def test_a_handler_that_ignores_its_cancellation_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(limits, "CANCELLED_HANDLER_S", 0.05)
    release = asyncio.Event()
    ended: list[bool] = []

    async def stubborn(conn: Any) -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                pass
        ended.append(True)

    server = await serve(URL, stubborn)
    async with connect(server.url) as conn:
        await conn.ping()
        await server.close(grace=0.05)
        assert not ended
        assert "1 handlers go on though they were cancelled" in caplog.text
    release.set()
    await until(lambda: ended)


async def test_a_cancelled_close_still_ends_everything() -> None:
    async def busy(conn: Any) -> None:
        await asyncio.get_running_loop().create_future()

    server = await serve(URL, busy)
    conn = await connect(server.url)
    closing = asyncio.ensure_future(server.close(grace=1000))
    for _ in range(5):
        await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await server.close()
    assert not server.connections
    await conn.wait_closed()


async def test_a_handler_may_close_its_server_and_goes_on() -> None:
    done = asyncio.get_running_loop().create_future()

    async def last(conn: Any) -> None:
        await conn.recv()
        await server.close()
        await asyncio.sleep(0)
        done.set_result("went on")

    async with serve(URL, last) as server, connect(server.url) as conn, connect(server.url) as other:
        await conn.send("stop")
        assert await done == "went on"
        assert [await end_of(each) for each in (conn, other)] == [(CloseCode.GOING_AWAY, "the server is closing")] * 2


async def test_serving_forever_ends_with_the_server_or_ends_it() -> None:
    server = await serve(URL, echo)
    serving = asyncio.ensure_future(server.serve_forever())
    await server.close()
    await serving
    server = await serve(URL, echo)
    serving = asyncio.ensure_future(server.serve_forever())
    conn = await connect(server.url)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert await end_of(conn) == (CloseCode.GOING_AWAY, "the server is closing")
    with pytest.raises(ConnectFailed):
        await connect(server.url)


async def test_leaving_with_an_exception_closes_too() -> None:
    with pytest.raises(ZeroDivisionError):
        async with serve(URL, echo) as server, connect(server.url) as conn:
            raise ZeroDivisionError
    assert not server.connections
    assert conn.close_code == CloseCode.INTERNAL_ERROR
    with pytest.raises(ConnectionLost):
        conn.send_nowait(1)


PROGRAM = """
import asyncio, sys
sys.path.insert(0, {root!r})
from tests.conftest import LOOPS
from transport import Protocol, connect, serve

KIND = {{"KeyboardInterrupt": KeyboardInterrupt, "SystemExit": SystemExit}}[sys.argv[2]]

async def handle(conn):
    await conn.recv()
    raise KIND(3)

class Handle(Protocol):
    def message_received(self, message, channel):
        raise KIND(3)

async def main():
    style = {{"handler": handle}} if sys.argv[3] == "coroutines" else {{"protocol": Handle}}
    async with serve("tcp://127.0.0.1:0", **style) as server:
        async with connect(server.url) as conn:
            await conn.send("now")
            await conn.recv()

try:
    with asyncio.Runner(loop_factory=LOOPS[sys.argv[1]]) as runner:
        runner.run(main())
except KIND as error:
    print("ended by", type(error).__name__)
"""


@pytest.mark.parametrize("style", ["coroutines", "callbacks"])
@pytest.mark.parametrize("kind", ["KeyboardInterrupt", "SystemExit"])
@pytest.mark.parametrize("loop", list(LOOPS))
@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_an_end_of_the_program_is_none_of_a_handlers_failures(loop: str, kind: str, style: str) -> None:
    """It goes through to whoever runs the loop, in both styles."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(root=str(ROOT)), loop, kind, style],
        capture_output=True, text=True, timeout=15,
    )  # fmt: skip
    assert ended.stdout == f"ended by {kind}\n", ended.stderr
    assert ended.returncode == 0
    assert "is closed" not in ended.stderr
