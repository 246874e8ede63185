"""`transport events tail | replay | lag | renew FILE`: what is in the log of an events server, looked at from outside.

The file is opened to be read, but for `renew`, which takes one that nobody has open: nothing else here can write to it,
and a server that has it open goes on. What is shown comes page by page, so that memory does not grow with the file. It
must never pass over events that are gone without a word, and never call the place where a session was let in its
cursor: that is the client's own.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

from transport import MsgpackCodec, limits
from transport.errors import CodecError, LocalProtocolError
from transport.log import Event, Head, LogError, Page, SQLiteLog, Stream, StreamInfo, UnknownStream, follow, schema
from transport.tools.life import Stop, Stopped, fail
from transport.tools.live import Output, amount, counted

EPOCH, TRIMMED, LIMIT = "epoch", "trimmed", "limit"
GONE = {
    EPOCH: "the stream began anew: offsets of before say nothing",
    TRIMMED: "events before these are no longer kept",
    LIMIT: f"more than one resume may bring ({limits.EVENTS_REPLAY_EVENTS} events)",
}
_CODEC = MsgpackCodec()


def moment(at_ms: int) -> str:
    """A wall-clock time for people, in UTC: 2026-01-31T12:00:00.250Z."""
    seconds, ms = divmod(at_ms, 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{ms:03}Z"


def read_event(payload: bytes) -> tuple[str, Any] | None:
    """Name and data, if `payload` is what the events layer keeps; None for anything else."""
    try:
        body = _CODEC.decode(payload)
    except CodecError:
        return None
    if isinstance(body, list) and len(body) == 2 and isinstance(body[0], str):
        return body[0], body[1]
    return None


def stream_fields(stream: Stream) -> dict[str, Any]:
    """A stream's name for machines."""
    return {"namespace": stream.namespace, "room": stream.room, "private": stream.private}


def spelled(epoch: int) -> str:
    """An epoch as text: a number of 64 bits does not survive every reader of JSON."""
    return f"{epoch:016x}"


class Shown:
    """Events as lines, until there are as many as were asked for.

    Args:
        given: the parsed arguments.
        out: where to.

    Attributes:
        events: shown so far.
        gaps: how often events were missing that were asked for.
        is_full: no more is wanted.
    """

    def __init__(self, given: Any, out: Output) -> None:
        self._out = out
        self._bodies: int | None = given.bodies
        self._names = frozenset(given.event or ())
        self._count: int | None = given.count
        self.events = self.gaps = 0
        self.is_full = False

    def gap(self, stream: Stream, head: Head, reason: str) -> None:
        """Says that events are missing before what comes next. Raises OutputClosed."""
        self.gaps += 1
        where = f"it goes on with {head.first}" if head.first <= head.top else "none is left"
        self._out.line(
            "gap", f"{stream}  {GONE[reason]}; {where}", **stream_fields(stream), reason=reason,
            epoch=spelled(head.epoch), first=head.first, top=head.top,
        )  # fmt: skip

    def event(self, stream: Stream, epoch: int, event: Event) -> None:
        """The next one. Raises OutputClosed."""
        found = read_event(event.payload)
        if self._names and (found is None or found[0] not in self._names):
            return
        self.events += 1
        self.is_full = self._count is not None and self.events >= self._count
        fields = {
            **stream_fields(stream), "epoch": spelled(epoch), "offset": event.offset, "previous": event.previous,
            "at_ms": event.at_ms, "bytes": len(event.payload), "skip": list(event.skip),
            "name": None if found is None else found[0],
        }  # fmt: skip
        skipped = f"  (not for {counted(len(event.skip), 'session')})" if event.skip else ""
        text = f"{moment(event.at_ms)}  {stream}  {event.offset}  {self._text(event.payload, found)}{skipped}"
        self._out.line("event", text, **fields, **self._body(event.payload, found))

    def _text(self, payload: bytes, found: tuple[str, Any] | None) -> str:
        most = limits.EVENTS_SHOWN_CHARS if self._bodies is None else self._bodies
        if not most:
            return f"{'' if found is None else found[0] + '  '}{len(payload)} bytes"
        text = repr(payload[:most]) if found is None else repr(found[1])
        cut = "..." if len(text) > most or (found is None and len(payload) > most) else ""
        return f"{'' if found is None else found[0] + '  '}{text[:most]}{cut}"

    def _body(self, payload: bytes, found: tuple[str, Any] | None) -> dict[str, Any]:
        """For machines: the data as JSON where that can say it, the bytes otherwise."""
        if self._bodies is not None and len(payload) > self._bodies:
            return {"payload": payload[: self._bodies].hex(), "cut": True}
        if found is not None:
            try:
                json.dumps(found[1], allow_nan=False)
            except (TypeError, ValueError):
                pass
            else:
                return {"data": found[1]}
        return {"payload": payload.hex()}

    def summary(self) -> None:
        """Says how much there was."""
        gaps = f", {counted(self.gaps, 'gap')}" if self.gaps else ""
        self._out.always("summary", f"{counted(self.events, 'event')}{gaps}", events=self.events, gaps=self.gaps)


async def pages(log: SQLiteLog, stream: Stream, after: int, epoch: int | None) -> AsyncIterator[tuple[Page, str]]:
    """Pages from behind `after` up to what was the top when this began, each with the reason of a gap before it, or "".

    Args:
        log: open.
        stream: its name.
        after: the last offset that is known.
        epoch: to which `after` belongs; None for whichever there is.

    Raises:
        LogError: as `Log.read`.
    """
    until = None
    while True:
        page = await log.read(stream, after)
        reason = TRIMMED if page.trimmed else ""
        if after > page.head.top or (epoch is not None and page.head.epoch != epoch):
            reason, until = EPOCH, None
            page = await log.read(stream, 0)
        epoch = page.head.epoch
        until = page.head.top if until is None else until
        yield page, reason
        if not page.more or page.events[-1].offset >= until:
            return
        after = page.events[-1].offset


# tail


class Tail:
    """The newest events of some streams, and those that are appended.

    Attributes:
        places: of each stream the epoch (None where it is not there yet) and the offset of the last event shown.
    """

    def __init__(self, log: SQLiteLog, given: Any, shown: Shown, out: Output) -> None:
        self._log = log
        self._given = given
        self._shown = shown
        self._out = out
        self._left_out = 0
        self._queue: asyncio.Queue[tuple[Stream, Page] | LogError] = asyncio.Queue(1)  # a page; the rest waits
        self._tasks: dict[Stream, asyncio.Task[None]] = {}
        self.places: dict[Stream, tuple[int | None, int]] = {}

    async def names(self) -> list[Stream]:
        """The streams that are looked at; says once if there are more than that."""
        named = named_stream(self._given)
        if named is not None:
            return [named]
        most = limits.EVENTS_TAIL_STREAMS_MAX
        private = None if self._given.all else False
        infos = await self._log.streams(count=most + 1, namespace=self._given.namespace, private=private)
        if len(infos) > most and not self._left_out:
            self._left_out = 1
            self._out.line(
                "note", f"there are more than {most} streams: only the first are shown; name a namespace or a room",
                streams_max=most,
            )  # fmt: skip
        return [info.stream for info in infos[:most]]

    async def newest(self, stop: Stop) -> None:
        """Shows the last events that there are. Raises OutputClosed, LogError."""
        for stream in await self.names():
            try:
                head = await self._log.head(stream, create=False)
            except UnknownStream:
                if not self._given.follow:
                    raise
                self.places[stream] = (None, 0)
                continue
            epoch, last = head.epoch, max(head.first - 1, head.top - self._given.last)
            if last == head.top:
                self.places[stream] = (epoch, last)
                continue
            async for page, reason in pages(self._log, stream, last, epoch):
                if reason:
                    self._shown.gap(stream, page.head, reason)
                epoch = page.head.epoch
                for event in page.events:
                    if self._shown.is_full or stop.wished:
                        return
                    self._shown.event(stream, epoch, event)
                    last = event.offset
            self.places[stream] = (epoch, last)

    async def follow(self, stop: Stop) -> None:
        """Shows what is appended, until there is enough or the end is asked for. Raises OutputClosed, LogError."""
        for stream in self.places:
            self._begin(stream)
        watching = asyncio.ensure_future(self._newcomers())
        try:
            while not self._shown.is_full:
                found = await stop.unless(self._queue.get())
                if isinstance(found, LogError):
                    raise found
                self._page(*found)
        except Stopped:
            pass
        finally:
            tasks = [watching, *self._tasks.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _page(self, stream: Stream, page: Page) -> None:
        epoch = self.places[stream][0]
        if page.trimmed:
            self._shown.gap(stream, page.head, TRIMMED if epoch in (None, page.head.epoch) else EPOCH)
        self.places[stream] = (page.head.epoch, page.events[-1].offset if page.events else page.head.top)
        for event in page.events:
            if self._shown.is_full:
                break
            self._shown.event(stream, page.head.epoch, event)

    def _begin(self, stream: Stream) -> None:
        epoch, after = self.places[stream]

        async def read() -> None:
            try:
                async for page in follow(self._log, stream, after, epoch=epoch):
                    await self._queue.put((stream, page))
            except LogError as error:
                await self._queue.put(error)

        self._tasks[stream] = asyncio.ensure_future(read())

    async def _newcomers(self) -> None:
        """Streams that begin meanwhile are shown from their first event."""
        try:
            while named_stream(self._given) is None:
                await asyncio.sleep(limits.EVENTS_TAIL_LOOK_S)
                for stream in await self.names():
                    if stream not in self.places and len(self.places) < limits.EVENTS_TAIL_STREAMS_MAX:
                        self.places[stream] = (None, 0)
                        self._begin(stream)
        except LogError as error:
            await self._queue.put(error)


async def tail(log: SQLiteLog, given: Any, out: Output, stop: Stop) -> int:
    """`transport events tail`. Returns 0."""
    shown = Shown(given, out)
    reader = Tail(log, given, shown, out)
    await reader.newest(stop)
    if given.follow and not shown.is_full and not stop.wished:
        await reader.follow(stop)
    shown.summary()
    return 0


# replay


async def replay(log: SQLiteLog, given: Any, out: Output, stop: Stop) -> int:
    """`transport events replay`. Returns 1 when events are gone that were asked for."""
    stream = named_stream(given)
    if stream is None:
        return fail("events replay", "of which stream? NAMESPACE ROOM, or NAMESPACE --session ID")
    after, epoch = max(given.first - 1, 0) if given.first is not None else 0, None
    if given.cursor is not None:
        if given.first is not None:
            return fail("events replay", "--from and --cursor both say where to begin")
        found = {reader.stream: reader for reader in read_cursor(given.cursor)}
        if stream not in found:
            return fail("events replay", f"{given.cursor}: this client was not in {stream}")
        after, epoch = found[stream].offset, found[stream].epoch
    has_begun = given.first is not None or given.cursor is not None
    oldest_ms = time.time_ns() // 1_000_000 - int(given.since * 1000) if given.since is not None else None
    shown = Shown(given, out)
    async for page, reason in pages(log, stream, after, epoch):
        if reason and (has_begun or reason == EPOCH):
            shown.gap(stream, page.head, reason)
        has_begun = True
        for event in page.events:
            is_over = given.last is not None and event.offset > given.last
            if is_over or shown.is_full or stop.wished:
                shown.summary()
                return 1 if shown.gaps else 0
            if oldest_ms is None or event.at_ms >= oldest_ms:
                shown.event(stream, page.head.epoch, event)
    shown.summary()
    return 1 if shown.gaps else 0


# lag

Listed = tuple[Stream, Head, StreamInfo | None]


class Reader(NamedTuple):
    """A place in a stream: of a client's cursor, or where a session was let in."""

    who: str
    stream: Stream
    epoch: int
    offset: int

    def behind(self, head: Head) -> int:
        """Events after its place; all there were, if that is in another epoch."""
        return head.top if self.epoch != head.epoch or self.offset > head.top else head.top - self.offset

    def gap(self, head: Head) -> str | None:
        """What a resume from here would be told, None where it would get everything."""
        if self.epoch != head.epoch or self.offset > head.top:
            return EPOCH
        if self.offset + 1 < head.first:
            return TRIMMED
        return LIMIT if head.top - self.offset > limits.EVENTS_REPLAY_EVENTS else None


def read_cursor(path: str) -> list[Reader]:
    """The places that a client keeps in a cursor file. Raises LocalProtocolError, OSError."""
    from transport.events import cursors

    state = cursors.FileCursor(path).load()
    if state is None:
        raise LocalProtocolError(f"{path}: no such file, or an empty one")
    try:
        body = cursors.unpack(state)
    except LocalProtocolError as error:
        raise LocalProtocolError(f"{path}: {error}") from None
    return [
        Reader(path, Stream(body["namespace"], room or body["session"], not room), epoch, offset)
        for room, epoch, offset, *_ in body["streams"]
    ]


async def lag(log: SQLiteLog, given: Any, out: Output, stop: Stop) -> int:
    """`transport events lag`. Returns 1 when a cursor that was given can't get everything."""
    if given.cursor:
        return await _lag_of_cursors(log, given, out)
    named = named_stream(given)
    most = limits.EVENTS_LAG_STREAMS if given.count is None else given.count
    listed: list[Listed]
    if named is not None:
        listed = [(named, await log.head(named, create=False), None)]
    else:
        listed = await _listed(log, given.namespace, None if given.all else False, most)
    has_more = len(listed) > most
    listed = listed[:most]
    counts, furthest = await _sessions(log, {stream: head for stream, head, _ in listed}, given.rows, stop)
    for stream, head, info in listed:
        _show_stream(out, stream, head, info, counts[stream])
        for reader in furthest[stream]:
            _show_session(out, reader, head)
        more = counts[stream] - len(furthest[stream])
        if more:
            text = f"  and {counted(more, 'more session')}, no further behind"
            out.line("more", text, **stream_fields(stream), sessions=more)
    text = counted(len(listed), "stream") + (", and there are more (-c)" if has_more else "")
    out.always("summary", text, streams=len(listed), more=has_more)
    return 0


async def _listed(log: SQLiteLog, namespace: str | None, private: bool | None, most: int) -> list[Listed]:
    """The first streams, at most one more than `most`."""
    found: list[Listed] = []
    after: Stream | None = None
    while len(found) <= most:
        page = await log.streams(after=after, count=limits.LOG_LIST_MAX, namespace=namespace, private=private)
        found += [(info.stream, info.head, info) for info in page]
        if len(page) < limits.LOG_LIST_MAX:
            break
        after = page[-1].stream
    return found[: most + 1]


async def _sessions(
    log: SQLiteLog, heads: dict[Stream, Head], rows: int, stop: Stop
) -> tuple[dict[Stream, int], dict[Stream, list[Reader]]]:
    """How many sessions are in each stream, and the places of those that may be furthest behind."""
    counts = dict.fromkeys(heads, 0)
    furthest: dict[Stream, list[Reader]] = {stream: [] for stream in heads}
    after = None
    while not stop.wished:
        page = await log.sessions(after=after, count=limits.LOG_LIST_MAX)
        for session in page:
            for stream, (epoch, offset) in session.streams.items():
                if stream in heads:
                    counts[stream] += 1
                    furthest[stream].append(Reader(session.id, stream, epoch, offset))
        for stream, head in heads.items():
            furthest[stream] = _furthest(furthest[stream], head, rows)
        if len(page) < limits.LOG_LIST_MAX:
            break
        after = page[-1].id
    return counts, furthest


def _furthest(readers: list[Reader], head: Head, rows: int) -> list[Reader]:
    return heapq.nlargest(rows, readers, key=lambda reader: reader.behind(head))


def _show_stream(out: Output, stream: Stream, head: Head, info: StreamInfo | None, sessions: int) -> None:
    kept = f"{head.first} to {head.top} kept" if head.first <= head.top else "none kept"
    if info is not None and info.last_ms:
        kept += f", {amount(info.bytes, 'B')}, last at {moment(info.last_ms)}"
    out.line(
        "stream", f"{stream}  top {head.top}, {kept}, {counted(sessions, 'session')}", **stream_fields(stream),
        epoch=spelled(head.epoch), first=head.first, top=head.top, bytes=None if info is None else info.bytes,
        last_ms=None if info is None else info.last_ms, sessions=sessions,
    )  # fmt: skip


def _show_session(out: Output, reader: Reader, head: Head) -> None:
    is_other = reader.epoch != head.epoch
    most = reader.behind(head)
    text = "was let in before the stream began anew" if is_other else f"was let in at {reader.offset}"
    out.line(
        "session", f"  session {reader.who}  {text}, at most {most} behind", **stream_fields(reader.stream),
        session=reader.who, epoch=spelled(reader.epoch), let_in=reader.offset, behind_max=most,
    )  # fmt: skip


async def _lag_of_cursors(log: SQLiteLog, given: Any, out: Output) -> int:
    gaps = behind = 0
    gap: str | None
    ends: tuple[int | None, int | None]
    for path in given.cursor:
        for reader in read_cursor(path):
            try:
                head = await log.head(reader.stream, create=False)
            except UnknownStream:
                gap, missing, ends, text = EPOCH, 0, (None, None), "the log has no such stream"
            else:
                gap, missing, ends = reader.gap(head), reader.behind(head), (head.first, head.top)
                text = f"at {reader.offset} of {head.top}, {missing} behind"
                if gap is not None:
                    text = f"at {reader.offset}: {GONE[gap]} ({head.first} to {head.top} kept)"
            gaps += gap is not None
            behind += missing
            out.line(
                "cursor", f"{path}  {reader.stream}  {text}", **stream_fields(reader.stream), file=path,
                epoch=spelled(reader.epoch), offset=reader.offset, first=ends[0], top=ends[1], behind=missing, gap=gap,
            )  # fmt: skip
    text = f"{behind} behind in all" + (f", {counted(gaps, 'gap')}" if gaps else "")
    out.always("summary", text, behind=behind, gaps=gaps)
    return 1 if gaps else 0


def renew(given: Any, out: Output) -> int:
    """`transport events renew`, the only one that writes: nobody else has the file open. Returns 0. Raises LogError."""
    streams = schema.renew_file(Path(given.file))
    text = f"{counted(streams, 'stream')} with a new epoch: whoever comes back to one is told of a gap"
    out.always("summary", text, streams=streams)
    return 0


# The command


def named_stream(given: Any) -> Stream | None:
    """The one stream that the arguments name, if they do."""
    if given.session is not None:
        return Stream(given.namespace, given.session, True)
    return None if given.room is None else Stream(given.namespace, given.room)


_ACTIONS = {"tail": tail, "replay": replay, "lag": lag}


async def run(given: Any, out: Output, stop: Stop) -> int:
    """Opens the file, to be read as a rule, and does what was asked. Returns the exit status.

    Raises:
        LogError: no such file, no log, or a damaged one.
        OSError, LocalProtocolError: a cursor file that can't be read, or is none.
    """
    if given.action == "renew":
        return renew(given, out)
    name = f"events {given.action}"
    if given.session is not None and (given.namespace is None or given.room is not None):
        return fail(name, "--session ID goes with a NAMESPACE and without a ROOM")
    try:
        async with SQLiteLog(given.file, read_only=True) as log:
            return await _ACTIONS[given.action](log, given, out, stop)
    except UnknownStream as error:
        return fail(name, f"{given.file}: there is no stream {error} (`transport events lag` lists them)")
