"""`transport events`: the newest events and those that come, a stream again, and how far behind clients are."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.log.files import edit
from tests.tools.running import Running, finished, process, ran
from transport import cli, limits
from transport.events import Events, History, connect_events, envelope
from transport.log import Append, LogCorrupt, Page, Position, Session, SQLiteLog, Stream
from transport.log.schema import translated
from transport.tools import events
from transport.tools.life import Stop
from transport.tools.live import Output

ROOM = Stream("/chat", "room:7")
OTHER = Stream("/chat", "room:8")
MINE = Stream("/chat", "s1", True)


def said(*values: Any, stream: Stream = ROOM, skip: tuple[str, ...] = ()) -> list[Append]:
    return [Append(stream, envelope.payload("said", value), skip) for value in values]


async def filled(path: Path, appends: Iterable[Append] = (), **options: Any) -> None:
    async with SQLiteLog(path, **options) as log:
        await log.commit(list(appends) or said(*range(1, 6)))


async def text_of(*arguments: str) -> tuple[int, list[str]]:
    """What a person sees, and the exit status."""
    given = cli.parser().parse_args(["events", *arguments])
    stream = io.StringIO()
    status = await events.run(given, Output(stream=stream), Stop())
    return status, stream.getvalue().splitlines()


def offsets(seen: list[dict[str, Any]]) -> list[int]:
    return [one["offset"] for one in seen if one["event"] == "event"]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_FOLLOW_S", 0.001)
    monkeypatch.setattr(limits, "EVENTS_TAIL_LOOK_S", 0.001)
    monkeypatch.setattr(limits, "LOG_PAGE_EVENTS_MAX", 3)  # several pages of everything


# tail


@pytest.mark.asyncio
async def test_tail_of_every_room(tmp_path: Path) -> None:
    file = tmp_path / "events.db"
    await filled(file, [*said(*range(1, 6)), *said("x", stream=OTHER), *said("y", stream=MINE)])
    status, summary, seen = await ran("events", "tail", str(file), "-n", "4")
    assert (status, summary["events"], summary["gaps"]) == (0, 5, 0)
    assert [(one["room"], one["offset"], one["name"], one["data"]) for one in seen[:-1]] == [
        ("room:7", 2, "said", 2), ("room:7", 3, "said", 3), ("room:7", 4, "said", 4), ("room:7", 5, "said", 5),
        ("room:8", 1, "said", "x"),
    ]  # fmt: skip
    _, _, seen = await ran("events", "tail", str(file), "-n", "1", "--all")
    assert [(one["room"], one["private"]) for one in seen[:-1]] == [("room:7", False), ("room:8", False), ("s1", True)]
    assert offsets((await ran("events", "tail", str(file), "/chat", "room:7", "-n", "0"))[2]) == []
    assert offsets((await ran("events", "tail", str(file), "/chat", "-c", "2"))[2]) == [1, 2]
    assert offsets((await ran("events", "tail", str(file), "/chat", "--session", "s1"))[2]) == [1]
    assert offsets((await ran("events", "tail", str(file), "/elsewhere"))[2]) == []
    assert offsets((await ran("events", "tail", str(file), "--event", "left"))[2]) == []


@pytest.mark.asyncio
async def test_tail_follows_beside_a_writer(tmp_path: Path) -> None:
    """What is appended, a room that begins, events that are gone, and a stream that begins anew."""
    file = tmp_path / "events.db"
    async with SQLiteLog(file) as log:
        await log.commit(said(*range(1, 6)))
        command = Running("events", "tail", str(file), "-f", "-n", "2")
        await command.event("event", offset=4)
        await command.event("event", offset=5)
        await log.commit(said(6, 7, 8, 9))
        for number in (6, 7, 8, 9):
            assert (await command.event("event"))["data"] == number
        await log.append(OTHER, b"\x00 of another kind")
        found = await command.event("event", room="room:8")
        assert (found["offset"], found["name"], bytes.fromhex(found["payload"])) == (1, None, b"\x00 of another kind")
        await log.drop(ROOM)
        await log.commit(said("again"))
        gap = await command.event("gap")
        assert (gap["reason"], gap["room"], gap["first"]) == ("epoch", "room:7", 1)
        assert (await command.event("event"))["data"] == "again"
        status, summary = await command.end()
    assert (status, summary["events"], summary["gaps"]) == (0, 8, 1)


@pytest.mark.asyncio
async def test_tail_says_what_was_trimmed(tmp_path: Path) -> None:
    """Events that went between two looks."""
    file = tmp_path / "events.db"
    await filled(file)
    given = cli.parser().parse_args(["events", "tail", str(file), "-f"])
    stream = io.StringIO()
    async with SQLiteLog(file, read_only=True) as log:
        head = await log.head(ROOM)
        shown = events.Shown(given, Output(stream=stream))
        reader = events.Tail(log, given, shown, Output(stream=stream))
        reader.places[ROOM] = (head.epoch, 1)
        page = await log.read(ROOM, 3)
        reader._page(ROOM, Page(head._replace(first=4), page.events, trimmed=True, more=False))
        reader._page(ROOM, Page(head._replace(first=6), [], trimmed=True, more=False))
    lines = stream.getvalue().splitlines()
    assert lines[0] == "/chat #room:7  events before these are no longer kept; it goes on with 4"
    assert [line.split("  ")[2] for line in lines[1:3]] == ["4", "5"]
    assert lines[3] == "/chat #room:7  events before these are no longer kept; none is left"
    assert shown.gaps == 2


@pytest.mark.asyncio
async def test_tail_waits_for_a_stream(tmp_path: Path) -> None:
    file = tmp_path / "events.db"
    async with SQLiteLog(file) as log:
        command = Running("events", "tail", str(file), "/chat", "room:7", "-f", "-c", "3")
        await asyncio.sleep(0)
        await log.commit(said(1, 2, 3, 4))
        status, summary = await command.done()
    assert (status, summary["events"]) == (0, 3)
    assert offsets(command.seen) == [1, 2, 3]


@pytest.mark.asyncio
async def test_tail_of_so_many_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EVENTS_TAIL_STREAMS_MAX", 2)
    file = tmp_path / "events.db"
    async with SQLiteLog(file) as log:
        for number in range(4):
            await log.append(Stream("/chat", f"r{number}"), b"x")
        command = Running("events", "tail", str(file), "-f")
        assert (await command.event("note"))["streams_max"] == 2
        await command.event("event", room="r0")
        await command.event("event", room="r1")
        await log.append(Stream("/chat", "r3"), b"not shown")
        await log.append(Stream("/chat", "r1"), b"shown")
        assert (await command.event("event"))["room"] == "r1"
        status, _ = await command.end()
    assert status == 0
    assert [one["event"] for one in command.seen].count("note") == 1, "once, however often it looks"


@pytest.mark.asyncio
async def test_a_log_that_is_damaged_ends_it(tmp_path: Path) -> None:
    file = tmp_path / "events.db"
    await filled(file)
    command = Running("events", "tail", str(file), "-f", "-n", "1")
    await command.event("event", offset=5)
    edit(file, "UPDATE streams SET top = 6")  # an event that is not there
    with pytest.raises(LogCorrupt, match="event 6 is missing"):
        await command.task
    for action in (["tail"], ["replay", "/chat", "room:7"]):
        ended = await asyncio.to_thread(finished, "events", action[0], str(file), *action[1:])
        assert ended.returncode == 2 and "event 6 is missing" in ended.stderr


# replay


@pytest.mark.asyncio
async def test_replay(tmp_path: Path) -> None:
    file = str(tmp_path / "events.db")
    await filled(Path(file), [*said(*range(1, 6)), Append(ROOM, envelope.payload("left", "ann")), *said(7, 8, 9)])

    async def replayed(*more: str) -> list[int]:
        status, summary, seen = await ran("events", "replay", file, "/chat", "room:7", *more)
        assert (status, summary["gaps"]) == (0, 0)
        assert summary["events"] == len(offsets(seen))
        return offsets(seen)

    assert await replayed() == [*range(1, 10)]
    assert await replayed("--from", "7") == [7, 8, 9]
    assert await replayed("--from", "3", "--to", "5") == [3, 4, 5]
    assert await replayed("--to", "100") == [*range(1, 10)]
    assert await replayed("--event", "left") == [6]
    assert await replayed("--event", "left", "--event", "said", "-c", "8") == [*range(1, 9)]
    assert await replayed("--since", "1h") == [*range(1, 10)]
    assert await replayed("--since", "0") == []


@pytest.mark.asyncio
async def test_replay_says_what_is_gone(tmp_path: Path) -> None:
    file = tmp_path / "events.db"
    async with SQLiteLog(file) as log:
        await log.commit(said(*range(1, 10)))
        await log.trim(ROOM, 6)
    status, summary, seen = await ran("events", "replay", str(file), "/chat", "room:7", "--from", "3")
    assert (status, summary["gaps"], offsets(seen)) == (1, 1, [6, 7, 8, 9])
    assert (seen[0]["event"], seen[0]["reason"], seen[0]["first"], seen[0]["top"]) == ("gap", "trimmed", 6, 9)
    status, summary, seen = await ran("events", "replay", str(file), "/chat", "room:7")
    assert (status, summary["gaps"], offsets(seen)) == (0, 0, [6, 7, 8, 9]), "the oldest there is was asked for"
    status, summary, seen = await ran("events", "replay", str(file), "/chat", "room:7", "--from", "12")
    assert (status, seen[0]["reason"]) == (1, "epoch"), "no such offset was ever given in this epoch"
    status, lines = await text_of("replay", str(file), "/chat", "room:7", "--from", "2", "-c", "1")
    assert status == 1
    assert lines[0] == "/chat #room:7  events before these are no longer kept; it goes on with 6"
    assert lines[1].endswith("Z  /chat #room:7  6  said  6")
    assert lines[2] == "1 event, 1 gap"


@pytest.mark.asyncio
async def test_a_replay_ends_where_the_stream_ended_when_it_began(tmp_path: Path) -> None:
    async with SQLiteLog(tmp_path / "events.db") as log:
        await log.commit(said(*range(1, 5)))
        seen = []
        async for page, _ in events.pages(log, ROOM, 0, None):
            seen += [event.offset for event in page.events]
            await log.commit(said("more", "and more", "and more"))
        assert seen == [1, 2, 3, 4, 5, 6]
        head = await log.head(ROOM)
        await log.drop(ROOM)
        await log.commit(said("again"))
        found = [(page.events[0].offset, reason) async for page, reason in events.pages(log, ROOM, 4, head.epoch)]
        assert found == [(1, "epoch")]


@pytest.mark.asyncio
async def test_what_an_event_looks_like(tmp_path: Path) -> None:
    file = str(tmp_path / "events.db")
    odd = [Append(ROOM, envelope.payload("blob", b"\x00\x01")), Append(ROOM, b"hello"), *said(float("nan")),
           *said("a\nb", "x" * 300), *said({"a": [1, None]}, skip=("s1", "s2")),
           Append(ROOM, b"\x93\x01\x02\x03")]  # fmt: skip
    await filled(Path(file), odd)
    _, lines = await text_of("replay", file, "/chat", "room:7")
    shown = [line.split("  ", 3)[3] for line in lines[:-1]]
    assert shown[:4] == [r"blob  b'\x00\x01'", "b'hello'", "said  nan", r"said  'a\nb'"]
    assert shown[4] == "said  '" + "x" * (limits.EVENTS_SHOWN_CHARS - 1) + "..."
    assert shown[5] == "said  {'a': [1, None]}  (not for 2 sessions)"
    assert shown[6] == r"b'\x93\x01\x02\x03'"
    _, lines = await text_of("replay", file, "/chat", "room:7", "--bodies", "0", "-c", "2")
    assert [line.split("  ", 3)[3] for line in lines[:2]] == ["blob  10 bytes", "5 bytes"]
    _, lines = await text_of("replay", file, "/chat", "room:7", "--from", "2", "--bodies", "2", "-c", "1")
    assert lines[0].endswith("b'...")
    _, _, seen = await ran("events", "replay", file, "/chat", "room:7")
    assert [one["data"] for one in seen[:-1] if "data" in one] == ["a\nb", "x" * 300, {"a": [1, None]}]
    assert [bytes.fromhex(one["payload"]) for one in seen[:-1] if "payload" in one] == [
        odd[0].payload, b"hello", odd[2].payload, b"\x93\x01\x02\x03",
    ]  # fmt: skip
    assert seen[5]["skip"] == ["s1", "s2"]
    _, _, seen = await ran("events", "replay", file, "/chat", "room:7", "--bodies", "4")
    assert (seen[4]["payload"], seen[4]["cut"], seen[4]["bytes"]) == (odd[4].payload[:4].hex(), True, 309)


def test_times_for_people() -> None:
    assert events.moment(1_700_000_000_007) == "2023-11-14T22:13:20.007Z"


# lag


@pytest.mark.asyncio
async def test_lag_of_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_LIST_MAX", 2)  # several pages of streams and sessions
    file = str(tmp_path / "events.db")
    async with SQLiteLog(file) as log:
        await log.commit([*said(*range(1, 8)), *said(1, stream=OTHER), *said(1, stream=MINE)])
        epoch = (await log.head(ROOM)).epoch
        for number, offset in enumerate((7, 2, 5, 0)):
            one = Session(f"s{number}", b"x", 1, b"", 2**52, {ROOM: Position(epoch if offset else epoch ^ 1, offset)})
            await log.put_session(one, None)
        await log.drop(OTHER)
        await log.head(OTHER)
    status, summary, seen = await ran("events", "lag", file, "--rows", "3")
    assert (status, summary["streams"], summary["more"]) == (0, 2, False)
    (room, empty) = [one for one in seen if one["event"] == "stream"]
    assert (room["room"], room["first"], room["top"], room["sessions"]) == ("room:7", 1, 7, 4)
    assert room["epoch"] == f"{epoch:016x}" and room["last_ms"] > 0
    assert (empty["room"], empty["top"], empty["sessions"]) == ("room:8", 0, 0)
    found = [(one["session"], one["let_in"], one["behind_max"]) for one in seen if one["event"] == "session"]
    assert found == [("s3", 0, 7), ("s1", 2, 5), ("s2", 5, 2)], "the furthest first"
    assert [one["sessions"] for one in seen if one["event"] == "more"] == [1]
    status, lines = await text_of("lag", file, "/chat", "room:7", "--rows", "2")
    assert lines == [
        "/chat #room:7  top 7, 1 to 7 kept, 4 sessions",
        "  session s3  was let in before the stream began anew, at most 7 behind",
        "  session s1  was let in at 2, at most 5 behind",
        "  and 2 more sessions, no further behind",
        "1 stream",
    ]
    status, lines = await text_of("lag", file, "-c", "1", "--rows", "0")
    assert lines[-1] == "1 stream, and there are more (-c)"
    assert (await ran("events", "lag", file, "--all"))[1]["streams"] == 3
    assert (await ran("events", "lag", file, "/chat", "--session", "s1"))[1]["streams"] == 1


async def _client_with_a_cursor(folder: Path, missed: int) -> tuple[str, str]:
    """A server's file, and the cursor of a client that had one event and missed some."""
    file, cursor = str(folder / "events.db"), str(folder / "me.cur")
    app = Events(log=SQLiteLog(file))
    chat = app.namespace("/chat", history=History(None, None, None))
    async with app.serve("memory://lag"):
        async with connect_events("memory://lag", namespace="/chat", cursor=cursor) as client:
            room = client.subscribe("room:7")
            await room.begin()
            await chat.to("room:7").emit("said", 0)
            (await anext(room)).done()
        for number in range(missed):
            await chat.to("room:7").emit("said", number + 1)
    return file, cursor


@pytest.mark.asyncio
async def test_lag_of_a_cursor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, cursor = await _client_with_a_cursor(tmp_path, 4)
    status, summary, seen = await ran("events", "lag", file, "--cursor", cursor)
    room = next(one for one in seen if one["event"] == "cursor" and one["room"] == "room:7")
    assert (room["offset"], room["top"], room["behind"], room["gap"], room["file"]) == (1, 5, 4, None, cursor)
    assert (status, summary["behind"], summary["gaps"]) == (0, 4, 0)
    status, summary, seen = await ran("events", "replay", file, "/chat", "room:7", "--cursor", cursor)
    assert (status, offsets(seen)) == (0, [2, 3, 4, 5])
    monkeypatch.setattr(limits, "EVENTS_REPLAY_EVENTS", 3)
    status, summary, seen = await ran("events", "lag", file, "--cursor", cursor)
    assert (status, [one["gap"] for one in seen if one["event"] == "cursor" and not one["private"]]) == (1, ["limit"])
    async with SQLiteLog(file) as log:
        await log.trim(ROOM, 4)
    status, lines = await text_of("lag", file, "--cursor", cursor)
    assert status == 1
    assert f"{cursor}  /chat #room:7  at 1: events before these are no longer kept (4 to 5 kept)" in lines
    async with SQLiteLog(file) as log:
        await log.renew()
    status, summary, seen = await ran("events", "lag", file, "--cursor", cursor)
    assert (status, [one["gap"] for one in seen if one["event"] == "cursor" and not one["private"]]) == (1, ["epoch"])
    status, summary, seen = await ran("events", "replay", file, "/chat", "room:7", "--cursor", cursor)
    assert (status, seen[0]["reason"], offsets(seen)) == (1, "epoch", [4, 5])
    async with SQLiteLog(file) as log:
        await log.drop(ROOM)
    status, lines = await text_of("lag", file, "--cursor", cursor)
    assert f"{cursor}  /chat #room:7  the log has no such stream" in lines


# Mistakes


@pytest.mark.parametrize("action", [["tail"], ["replay", "/chat", "room:7"], ["lag"]])
def test_what_is_no_log(action: list[str], tmp_path: Path) -> None:
    text, empty, other = tmp_path / "text", tmp_path / "empty", tmp_path / "other.db"
    text.write_text("no log at all\n" * 100, encoding="utf-8")
    empty.touch()
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE shop (name TEXT)")
    connection.close()
    for file, why in (
        (tmp_path / "nowhere.db", "no such file"), (text, "file is not a database"),
        (empty, "there is no log in it yet"), (other, "no log of this package"), (tmp_path, "a folder"),
    ):  # fmt: skip
        ended = finished("events", action[0], str(file), *action[1:])
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr.startswith("transport events: ") and ended.stderr.count("\n") == 1
        assert why in ended.stderr and str(file) in ended.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"text", "empty", "other.db"}, "nothing is made"


@pytest.mark.asyncio
async def test_mistakes(tmp_path: Path) -> None:
    file, cursor = await _client_with_a_cursor(tmp_path, 0)
    (tmp_path / "no.cur").write_bytes(b"\x01")
    for arguments, why in (
        (["tail", file, "/chat", "room:9"], "there is no stream /chat #room:9"),
        (["lag", file, "/chat", "room:9"], "there is no stream /chat #room:9"),
        (["replay", file], "of which stream?"),
        (["replay", file, "/chat"], "of which stream?"),
        (["tail", file, "--session", "s1"], "--session ID goes with a NAMESPACE"),
        (["tail", file, "/chat", "room:7", "--session", "s1"], "--session ID goes with a NAMESPACE"),
        (["replay", file, "/chat", "room:7", "--from", "1", "--cursor", cursor], "both say where to begin"),
        (["replay", file, "/chat", "room:9", "--cursor", cursor], "this client was not in /chat #room:9"),
        (["lag", file, "--cursor", str(tmp_path / "gone.cur")], "no such file"),
        (["lag", file, "--cursor", str(tmp_path / "no.cur")], "no cursor of a client"),
        (["lag", file, *["--cursor", "x"] * (limits.EVENTS_LAG_CURSORS_MAX + 1)], "64 at most"),
        (["lag"], "the following arguments are required: FILE"),
        (["sing", file], "invalid choice: 'sing'"),
        ([], "the following arguments are required: ACTION"),
        (["replay", file, "/chat", "room:7", "--from", "0"], "is not a whole number from 1"),
    ):
        ended = await asyncio.to_thread(finished, "events", *arguments)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr.count("\n") == 1 and why in ended.stderr, ended.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_process_beside_a_writer(number: int, tmp_path: Path) -> None:
    """A server's file is read by another process while it is written, and a signal ends that with the summary."""
    file = tmp_path / "events.db"

    async def main() -> None:
        async with SQLiteLog(file) as log:
            await log.commit(said(1))
            with process("events", "tail", str(file), "-f", "--json") as started:
                assert started.stdout is not None
                assert json.loads(await asyncio.to_thread(started.stdout.readline))["data"] == 1
                await log.commit(said(2))
                assert json.loads(await asyncio.to_thread(started.stdout.readline))["data"] == 2
                started.send_signal(number)
                out, err = await asyncio.to_thread(started.communicate)
                assert (started.returncode, err) == (0, "")
                assert json.loads(out) == {"event": "summary", "events": 2, "gaps": 0}
            assert (await log.commit(said(3))).appended[0].offset == 3

    asyncio.run(main())


def test_a_folder_that_may_not_be_written() -> None:
    """Where nobody has the log open, SQLite makes an index beside it even to read; its own words speak of writing."""
    error = sqlite3.OperationalError("attempt to write a readonly database")
    error.sqlite_errorcode, error.sqlite_errorname = 1544, "SQLITE_READONLY_DIRECTORY"
    found = str(translated(error, "events.db"))
    assert found.startswith("events.db: this user may not write in its folder")
    assert found.endswith("(SQLITE_READONLY_DIRECTORY)")
