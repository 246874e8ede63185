"""`transport ping`: round trips, what counts as lost, and how it ends."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

import transport
from tests.tools.running import Running, ran, running
from transport import limits
from transport.tools.trips import EchoTrips

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("scheme", ["tcp", "rudp", "unix"])
async def test_pings_of_the_protocol_need_no_echo_server(scheme: str, tmp_path: Path) -> None:
    url = f"unix://{tmp_path}/x" if scheme == "unix" else f"{scheme}://127.0.0.1:0"
    async with transport.serve(url, protocol=transport.Protocol, codec="json") as server:
        status, summary, events = await ran("ping", str(server.url), "-c", "3", "-i", "5ms")
    assert status == 0
    assert [event["seq"] for event in events if event["event"] == "pong"] == [0, 1, 2]
    assert (summary["sent"], summary["answered"], summary["lost"]) == (3, 3, 0)
    assert 0 < summary["min_ms"] <= summary["p50_ms"] <= summary["p99_ms"] <= summary["max_ms"] < 5000
    assert events[0]["kind"] == "ping"


@pytest.mark.parametrize("codec", [[], ["--codec", "raw"], ["--codec", "json"]])
@pytest.mark.parametrize("scheme", ["tcp", "udp", "rudp"])
async def test_messages_to_be_echoed(scheme: str, codec: list[str]) -> None:
    async with running("echo", f"{scheme}://127.0.0.1:0") as (_, url):
        status, summary, events = await ran("ping", url, "--echo", "-c", "3", "-i", "5ms", "-s", "1k", *codec)
    assert (status, summary["answered"], events[0]["kind"]) == (0, 3, "echo")


async def test_the_default_codec_goes_with_a_server_of_msgpack() -> None:
    async def handler(conn: Any) -> None:
        async for message in conn:
            await conn.send(message)

    async with transport.serve("tcp://127.0.0.1:0", handler) as server:
        status, summary, _ = await ran("ping", str(server.url), "--echo", "-c", "2", "-i", "5ms")
    assert (status, summary["answered"]) == (0, 2)


@pytest.mark.parametrize("arguments", [["udp://127.0.0.1:0"], ["tcp://127.0.0.1:0", "--framing", "length32"]])
async def test_where_there_is_no_ping_messages_are_sent(arguments: list[str]) -> None:
    async with running("echo", *arguments) as (_, url):
        status, _, events = await ran("ping", url, *arguments[1:], "-c", "2", "-i", "5ms")
    assert (status, events[0]["kind"]) == (0, "echo")


@pytest.mark.parametrize("delivery", ["reliable-unordered", "unreliable-sequenced", "unreliable"])
async def test_delivery_and_channel(delivery: str) -> None:
    async with running("echo", "rudp://127.0.0.1:0") as (_, url):
        status, summary, _ = await ran(
            "ping", url, "--echo", "--delivery", delivery, "--channel", "7", "-c", "2", "-i", "5ms"
        )
    assert (status, summary["answered"]) == (0, 2)


async def test_pings_leave_on_time_whatever_became_of_those_before() -> None:
    """Answers take far longer than the interval, and none is lost."""
    async with running("echo", "udp://127.0.0.1:0") as (_, target):
        async with running("proxy", target, "--delay", "100ms") as (_, url):
            status, summary, events = await ran("ping", url, "-c", "20", "-i", "5ms")
    assert (status, summary["answered"]) == (0, 20)
    assert summary["min_ms"] >= 200
    assert summary["seconds"] < 20 * 0.2
    assert [event["seq"] for event in events if event["event"] == "pong"] == list(range(20))


async def test_a_late_answer_is_lost_and_known() -> None:
    async with running("echo", "udp://127.0.0.1:0") as (_, target):
        async with running("proxy", target, "--delay", "60ms") as (_, url):
            command = Running("ping", url, "-W", "50ms", "-i", "10s")
            lost = await command.event("lost")
            assert (lost["seq"], lost["reason"]) == (0, "no answer within 0.05 s")
            assert (await command.event("late"))["seq"] == 0
            status, summary = await command.end()
    assert (status, summary["lost"], summary["late"], summary["answered"]) == (1, 1, 1, 0)
    assert summary["min_ms"] is None


async def test_duplicates_and_damage_are_no_answers() -> None:
    async with running("echo", "udp://127.0.0.1:0") as (_, target):
        async with running("proxy", target, "--down-duplicate", "100%") as (_, url):
            command = Running("ping", url, "-i", "10s")
            assert (await command.event("duplicates"))["seq"] == 0
            status, summary = await command.end()
            assert (status, summary["answered"], summary["duplicates"]) == (0, 1, 1)
        async with running("proxy", target, "--down-corrupt", "100%") as (_, url):
            status, summary, _ = await ran("ping", url, "-c", "3", "-i", "5ms", "-W", "200ms")
            assert (status, summary["answered"], summary["damaged"], summary["lost"]) == (1, 0, 3, 3)


async def test_somebody_elses_message_is_no_answer() -> None:
    async def handler(conn: Any) -> None:
        async for message in conn:
            await conn.send(b"00000000" + message[8:])
            await conn.send(["no", "bytes"])

    async with transport.serve("tcp://127.0.0.1:0", handler) as server:
        status, summary, _ = await ran("ping", str(server.url), "--echo", "-c", "1", "-W", "200ms")
    assert (status, summary["answered"], summary["damaged"]) == (1, 0, 2)


async def test_a_damaged_number_is_no_answer_to_another_ping() -> None:
    """One bit makes a 1 of a 0: what is left must not fit."""

    async def handler(conn: Any) -> None:
        first, second = [await conn.recv() for _ in range(2)]
        await conn.send(first[:8] + second[8:])
        await conn.send(second[:8] + first[8:])

    async with transport.serve("tcp://127.0.0.1:0", handler) as server:
        status, summary, _ = await ran("ping", str(server.url), "--echo", "-c", "2", "-i", "1ms", "-W", "200ms")
    assert (status, summary["answered"], summary["damaged"]) == (1, 0, 2)


async def test_a_server_that_answers_nothing() -> None:
    async with transport.serve("udp://127.0.0.1:0", protocol=transport.Protocol) as server:
        status, summary, _ = await ran("ping", str(server.url), "-c", "2", "-i", "5ms", "-W", "50ms")
    assert (status, summary["lost"]) == (1, 2)


@pytest.mark.parametrize("bound", [["-c", "500"], ["-w", "300ms"]])
@pytest.mark.parametrize("kind", [[], ["--echo"]])
async def test_a_flood_is_bounded(kind: list[str], bound: list[str]) -> None:
    async with running("echo", "tcp://127.0.0.1:0") as (_, url):
        _, summary, events = await ran("ping", url, "-f", *kind, *bound)
    assert summary["answered"] > 50
    assert summary["lost"] == 0
    assert summary["unanswered"] <= limits.PING_FLOOD_WINDOW
    assert not [event for event in events if event["event"] == "pong"]
    if bound[0] == "-c":
        assert summary["answered"] == 500


async def test_a_flood_without_bound_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PING_FLOOD_S", 0.1)
    async with running("echo", "tcp://127.0.0.1:0") as (_, url):
        _, summary, _ = await ran("ping", url, "-f", "--every", "20ms")
    assert 0.09 <= summary["seconds"] < 5  # uvloop's timers are rounded to milliseconds, down too


@pytest.mark.slow
async def test_pings_that_could_not_leave_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than the protocol keeps track of, and then more than this command does."""
    async with (
        running("echo", "rudp://127.0.0.1:0") as (_, target),
        running("proxy", target, "--delay", "200ms") as (_, url),
    ):
        count = limits.PINGS_OUTSTANDING_MAX + 10
        status, summary, _ = await ran("ping", url, "-c", str(count), "-i", "1ms")
        assert status == 1
        assert summary["unsent"] > 0
        assert summary["sent"] + summary["unsent"] == count
        monkeypatch.setattr(limits, "PING_WAITING_MAX", 5)
        status, summary, _ = await ran("ping", url, "--echo", "-c", "20", "-i", "1ms")
        assert (status, summary["answered"] + summary["unsent"]) == (1, 20)
        assert summary["unsent"] > 0


async def test_a_connection_that_ends_ends_the_run() -> None:
    async with running("echo", "tcp://127.0.0.1:0") as (echo, url):
        command = Running("ping", url, "-i", "20ms")
        await command.event("pong")
        await echo.end()
        closed = await command.event("closed")
        assert "going away" in closed["reason"]
        status, summary = await command.done()
    assert status == 1
    assert summary["answered"] >= 1


async def test_a_connection_comes_back() -> None:
    async with running("echo", "tcp://127.0.0.1:0") as (_, target):
        async with running("proxy", target, "--reset-after", "200ms") as (_, url):
            command = Running("ping", url, "-i", "20ms", "--reconnect")
            await command.event("reconnected")
            await command.event("pong")
            _, summary = await command.end()
    assert summary["answered"] > 1


async def test_it_waits_for_a_server() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = Running("ping", f"tcp://127.0.0.1:{port}", "-c", "1", "--wait", "15s")
    assert "refused" in (await command.event("waiting"))["reason"]
    async with running("echo", f"tcp://127.0.0.1:{port}"):
        status, _ = await command.done()
    assert status == 0


async def test_a_wish_to_end_counts_nothing_as_lost() -> None:
    async with running("echo", "udp://127.0.0.1:0", "--every", "5ms") as (echo, target):
        async with running("proxy", target, "--down-delay", "60s") as (_, url):
            command = Running("ping", url, "-i", "5ms")
            while (await echo.event("interval"))["messages"] < 3:
                pass
            status, summary = await command.end()
    assert (status, summary["lost"], summary["answered"]) == (1, 0, 0)
    assert summary["unanswered"] == summary["sent"] >= 3


async def test_those_known_to_be_lost_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PING_LATE_MAX", 4)

    class Deaf:
        class traits:
            default_delivery = transport.Delivery.UNRELIABLE

        async def send(self, _: Any, **__: Any) -> None:
            raise transport.WouldBlock("full")

    trips = EchoTrips(Deaf(), 16, None, 0, text=False)
    for number in range(10):
        with pytest.raises(transport.WouldBlock):
            await trips.trip(number)
    assert list(trips._lost) == [6, 7, 8, 9]
    assert not trips._waiting


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["memory://lab"], "memory:// stays within one process"),
        (["nonsense"], "is no URL"),
        (["tcp://127.0.0.1:1", "--timeout", "5s"], "refused"),
        (["rudp://127.0.0.1:1", "--timeout", "5s"], "refused"),
        (["unix:///nowhere/at/all"], "nowhere"),
    ],
)
async def test_mistakes_and_failures(arguments: list[str], said: str) -> None:
    with pytest.raises(transport.TransportError, match=said):
        await Running("ping", *arguments).task


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-s", "100"], "give --echo"),
        (["--delivery", "unreliable"], "give --echo"),
        (["--channel", "0"], "give --echo"),
        (["--echo", "--codec", "json"], "codec"),
        (["--echo", "-s", "1m"], "over the limit of 1048576 bytes"),
        (["--echo", "-s", "1m", "-f"], "over the limit of 1048576 bytes"),
        (["--echo", "--framing", "length32", "--delivery", "unreliable-sequenced"], None),
    ],
)
async def test_mistakes_that_show_once_connected(arguments: list[str], said: str | None) -> None:
    framing = "length32" if "length32" in arguments else "message"
    async with transport.serve("tcp://127.0.0.1:0", protocol=transport.Protocol, framing=framing) as server:
        command = Running("ping", str(server.url), "-c", "1", "-W", "50ms", *arguments)
        if said is None:  # a byte pipe keeps more than that promise
            assert await command.task == 1
        else:
            with pytest.raises(transport.TransportError, match=said):
                await command.task


async def test_a_promise_that_is_not_kept_is_refused() -> None:
    async with running("echo", "udp://127.0.0.1:0") as (_, url):
        with pytest.raises(transport.UnsupportedDelivery, match="RELIABLE_ORDERED"):
            await Running("ping", url, "--echo", "--delivery", "reliable-ordered").task
