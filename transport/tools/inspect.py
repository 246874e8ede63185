"""`transport inspect FILE`: what is in a capture or a trace, layer by layer; `--live` from an interface; a timeline.

It must never fail for what is in a packet, and never send one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

from transport import limits
from transport.rudp import dissect
from transport.sight import show, sqlog
from transport.sight.capture import BadCapture, Packet, Seen, read_capture
from transport.sight.follow import TO_CLIENT, TO_SERVER, Follower, Found
from transport.sight.headers import FRAGMENT, OTHER, UDP, Headers, read_headers
from transport.sight.raw import RawSocket
from transport.sight.timeline import Captured, Timeline, of_capture, of_trace
from transport.tools.life import Stop, Stopped, fail
from transport.tools.live import Output, counted

TURN = limits.INSPECT_PACKETS_PER_TURN
LISTED = limits.INSPECT_CONNECTIONS_LISTED
CAPTURES_ONLY = ("port", "cid", "connection", "packet", "all", "codec")


class Inspection:
    """Packets as they come, those that are asked for shown.

    Args:
        given: the parsed arguments.
        out: where to.

    Attributes:
        seen: what was read and left out.
        shown: packets of ours, and others with `--all`, that were shown.
        is_full: as many were shown as were asked for.
    """

    def __init__(self, given: Any, out: Output) -> None:
        self._given = given
        self._out = out
        self._wanted = show.Wanted(given.bodies, given.codec or "", frozenset(given.frame or ()))
        self._kinds = frozenset(given.packet or ())
        self._follower = Follower(trusts=bool(given.port))
        self._is_choosy = bool(self._wanted.frames or self._kinds or given.cid or given.connection)
        self._drawn: tuple[Captured, Captured] | None = None
        self._drawn_of = 0
        self._began: int | None = None
        self._first = self._last = 0
        self.seen = Seen()
        self.kinds: Counter[str] = Counter()
        self.frames: Counter[str] = Counter()
        self.listed: set[int] = set()
        self.shown = 0
        self.is_full = False

    def take(self, captured: Packet) -> None:
        """The next packet. Raises OutputClosed."""
        if self._began is None:
            self._began = self._first = captured.at
        self._last = captured.at
        number = self.seen.packets
        headers = read_headers(captured)
        segment = headers.segment
        if segment is None or segment.protocol != UDP:
            self._other(number, captured, headers, headers.problem or OTHER)
            return
        if self._given.port and not self._given.port & {segment.source[1], segment.target[1]}:
            self.seen.skipped["of other ports"] += 1
            return
        payload = captured.data[segment.start : segment.start + segment.size]
        found = self._follower.take(segment, payload)
        if not found[0].is_ours:
            self._other(number, captured, headers, found[0].dissection.problem)
            return
        for one in found:
            self.kinds[one.dissection.kind] += 1
            self.frames.update([frame.name for frame in one.dissection.frames])
        chosen = [one for one in found if self._is_wanted(one)]
        if self._given.timeline:
            self._draw(chosen, captured.at)
        elif chosen:
            self._show(number, captured, headers, chosen)

    def _draw(self, found: list[Found], at: int) -> None:
        """Packets for the picture: of the first connection that is wanted."""
        for one in found:
            connection = one.connection
            if connection is None:
                continue
            if self._drawn is None:
                self._drawn, self._drawn_of = (Captured(TO_SERVER), Captured(TO_CLIENT)), connection.number
            if connection.number == self._drawn_of:
                self.shown += 1
                self.listed.add(connection.number)
                for way in self._drawn:
                    way.take(one, (at - connection.first) / 1e9)

    def picture(self) -> Timeline | None:
        """The timeline of that connection; None where there is none, or it has gone from memory."""
        connection = self._follower.connections.get(self._drawn_of)
        return None if self._drawn is None or connection is None else of_capture(connection, self._drawn)

    def _other(self, number: int, captured: Packet, headers: Headers, reason: str) -> None:
        """What is none of ours is counted, and shown where that was asked for; so are fragments, which may be ours."""
        self.seen.skipped[reason] += 1
        ip = headers.ip
        is_piece = reason == FRAGMENT and ip is not None and ip.protocol == UDP and not self._given.port
        if (self._given.all or is_piece) and not self._is_choosy and not self._given.timeline:
            self._show(number, captured, headers, [], reason)

    def _is_wanted(self, found: Found) -> bool:
        given, connection = self._given, found.connection
        if given.connection and (connection is None or connection.number != given.connection):
            return False
        if given.cid:
            cids = [str(found.dissection.fields.get(name, "")) for name in ("cid", "scid", "dcid")]
            if connection is not None:
                cids += [f"{way.cid:016x}" for way in (connection.to_server, connection.to_client)]
            if not any(cid.startswith(given.cid) for cid in cids):
                return False
        if self._kinds and found.dissection.kind not in self._kinds:
            return False
        return not self._wanted.frames or bool(show.chosen(found, self._wanted))

    def _show(
        self, number: int, captured: Packet, headers: Headers, found: list[Found], reason: str | None = None
    ) -> None:
        self.shown += max(1, len(found))
        self.listed.update([one.connection.number for one in found if one.connection is not None])
        self.is_full = self._given.count is not None and self.shown >= self._given.count
        assert self._began is not None
        at_s = (captured.at - self._began) / 1e9
        if self._given.json:
            fields = show.headers_fields(headers)
            if reason is not None:
                fields["problem"] = reason
            packets = [show.packet_fields(one, self._wanted) for one in found]
            self._out.line("packet", "", number=number, at_ns=captured.at, **fields, packets=packets)
            return
        if self._given.brief:
            for one in found:
                self._out.line("packet", show.brief(number, at_s, headers, one, self._wanted))
            if not found:
                self._out.line("packet", f"{show.heading(number, at_s, captured, headers)}  {reason}")
            return
        lines = [show.heading(number, at_s, captured, headers), *show.layers(headers)]
        if reason is not None and reason != headers.problem:
            lines.append(show.note_line(reason))
        for one in found:
            lines += show.packet_lines(one, self._wanted)
        self._out.line("packet", "\n".join(lines))

    # The end

    def summary(self, dropped: int | None = None) -> None:
        """Says what there was. `dropped`: packets that the kernel had no room for, of a live inspection."""
        self._out.end_status()
        connections = list(self._follower.connections.values())
        if self._is_choosy:
            connections = [one for one in connections if one.number in self.listed]
        seconds = (self._last - self._first) / 1e9
        fields = {
            "packets": self.seen.packets, "seconds": seconds, "ours": sum(self.kinds.values()), "shown": self.shown,
            "kinds": dict(self.kinds), "frames": dict(self.frames), "skipped": dict(self.seen.skipped),
            "connections": [show.connection_fields(one) for one in connections],
            "forgotten": self._follower.forgotten, "broken": self.seen.broken,
        }  # fmt: skip
        if dropped is not None:
            fields["dropped"] = dropped
        self._out.always("summary", "\n".join(self._summary_lines(connections, seconds, dropped)), **fields)

    def _summary_lines(self, connections: list[Any], seconds: float, dropped: int | None) -> list[str]:
        ours = sum(self.kinds.values())
        lines = [
            f"{counted(self.seen.packets, 'packet')} in {seconds:.6f} s, {ours} of reliable UDP, {self.shown} shown"
        ]
        if self.kinds:
            lines.append("  packets  " + _counts(self.kinds, dissect.KINDS))
        if self.frames:
            lines.append("  frames   " + _counts(self.frames, dissect.FRAMES))
        lines += [f"  {count} left out: {why}" for why, count in self.seen.skipped.most_common()]
        if dropped:
            lines.append(f"  {dropped} dropped by the kernel, which had no room: filter less, or print less (--brief)")
        if self.seen.broken is not None:
            lines.append(f"  the rest can't be read: {self.seen.broken}")
        for connection in connections[:LISTED]:
            lines += show.connection_lines(connection)
        if len(connections) > LISTED:
            lines.append(f"... and {len(connections) - LISTED} more connections")
        if self._follower.forgotten:
            lines.append(f"{self._follower.forgotten} connections before those were too many to be kept")
        return lines


def _counts(counts: Counter[str], order: tuple[str, ...]) -> str:
    names = [*[name for name in order if counts[name]], *sorted(set(counts) - set(order))]
    return ", ".join([f"{name} {counts[name]}" for name in names])


async def run(given: Any, out: Output, stop: Stop) -> int:
    """Shows a file, or an interface. Returns the exit status: 1 for a file that is damaged.

    Raises:
        OSError: no such file, or no right to read it.
    """
    if (given.file is None) == (given.live is None):
        return fail("inspect", "needs either a file, or --live INTERFACE")
    if given.seconds and given.live is None:
        return fail("inspect", "--seconds is for --live: a file ends by itself")
    if given.live is not None:
        return await _live(given, out, stop)
    return await (_trace if sqlog.is_trace(Path(given.file)) else _file)(given, out, stop)


async def _file(given: Any, out: Output, stop: Stop) -> int:
    inspection = Inspection(given, out)
    try:
        for index, captured in enumerate(read_capture(Path(given.file), inspection.seen), 1):
            inspection.take(captured)
            if index % TURN == 0:
                await asyncio.sleep(0)  # a signal is heard
            if inspection.is_full or stop.wished:
                break
    except BadCapture as error:
        return fail("inspect", str(error))
    inspection.summary()
    if given.timeline and not _save(given, out, inspection.picture()):
        return fail("inspect", "there is no connection to draw")
    return 1 if inspection.seen.broken is not None else 0


def _save(given: Any, out: Output, timeline: Timeline | None) -> bool:
    """Writes the picture; whether there is one. Raises OSError."""
    if timeline is None or not timeline.sent:
        return False
    from transport.sight import svg

    Path(given.timeline).write_text(svg.draw(timeline), encoding="utf-8")
    out.always("timeline", f"{given.timeline}: {timeline.title}", file=given.timeline, title=timeline.title)
    return True


async def _trace(given: Any, out: Output, stop: Stop) -> int:
    """A trace's events, or its picture."""
    for name in CAPTURES_ONLY:
        if getattr(given, name):
            return fail("inspect", f"--{name} is for captures: a trace is of one connection")
    try:
        file = sqlog.TraceFile(Path(given.file))
        if given.timeline:
            if not _save(given, out, of_trace(file)):
                return fail("inspect", "there is no connection to draw")
            return 0
        return await _events(file, given, out, stop)
    except sqlog.BadTrace as error:
        return fail("inspect", str(error))


async def _events(file: sqlog.TraceFile, given: Any, out: Output, stop: Stop) -> int:
    frames = {kind for name in given.frame or () for kind in sqlog.FRAME_TYPES.get(name, ())}
    names: Counter[str] = Counter()
    last_ms, shown = 0.0, 0
    for number, event in enumerate(file.events(), 1):
        names[event.name] += 1
        last_ms = event.at_ms
        if given.event and event.kind not in given.event and event.name not in given.event:
            continue
        if frames and not any(frame.get("frame_type") in frames for frame in event.frames):
            continue
        shown += 1
        text = f"#{number}  {event.at_ms:.3f} ms  {event.kind}  {sqlog.summary(event)}".rstrip()
        out.line("trace", text, number=number, time_ms=event.at_ms, name=event.name, data=event.data)
        if number % TURN == 0:
            await asyncio.sleep(0)
        if stop.wished or (given.count is not None and shown >= given.count):
            break
    total = sum(names.values())
    lines = [
        f"{counted(total, 'event')} in {last_ms:.3f} ms, {shown} shown; {file.header.get('title', '')}".rstrip("; ")
    ]
    lines += [f"  {count}  {name}" for name, count in names.most_common()]
    if file.passed_over:
        lines.append(f"  {counted(file.passed_over, 'record')} that could not be read")
    fields = {"events": total, "shown": shown, "ms": last_ms, "names": dict(names), "passed_over": file.passed_over}
    out.always("summary", "\n".join(lines), vantage=file.vantage, **fields)
    return 1 if file.passed_over else 0


async def _live(given: Any, out: Output, stop: Stop) -> int:
    inspection = Inspection(given, out)
    loop = asyncio.get_running_loop()
    raw = RawSocket(given.live)
    ended: asyncio.Future[None] = loop.create_future()

    def ready() -> None:
        try:
            for _ in range(TURN):
                captured = raw.read()
                if captured is None:
                    return
                inspection.seen.packets += 1
                inspection.take(captured)
                if inspection.is_full:
                    break
            else:
                return
            result: BaseException | None = None
        except Exception as error:  # the interface is gone, or whoever read the output
            result = error
        loop.remove_reader(raw.fileno())
        if not ended.done():
            ended.set_result(None) if result is None else ended.set_exception(result)

    out.always("listening", f"reading {given.live}, Ctrl-C ends it", interface=given.live)
    loop.add_reader(raw.fileno(), ready)
    try:
        async with asyncio.timeout(given.seconds):
            await stop.unless(ended)
    except (TimeoutError, Stopped):
        pass
    finally:
        loop.remove_reader(raw.fileno())
        dropped = raw.dropped()
        raw.close()
    inspection.summary(dropped)
    if given.timeline and not _save(given, out, inspection.picture()):
        return fail("inspect", "there is no connection to draw")
    return 0
