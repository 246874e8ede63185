"""`transport top`: how servers are doing, live: their connections, rates, round trips, losses and queues.

It asks what `transport.status` answers. Rates are differences of two answers. It must never write control characters
that came from a peer, nor take more of an answer than its limit.
"""

from __future__ import annotations

import asyncio
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from transport import limits
from transport.rudp.config import CONGESTION
from transport.rudp.states import Probe
from transport.status import SUFFIX, VARIABLE
from transport.tools.life import Stop, fail
from transport.tools.live import Output, Screen, amount, counted, share

SERVERS_MAX = limits.TOP_SERVERS_MAX
ANSWER_MAX = limits.TOP_ANSWER_BYTES_MAX
REMOTE_WIDTH = 26
SORTS = ("out", "in", "rtt", "lost", "queued", "age")


class Row(NamedTuple):
    """One connection: what is shown of it. None is for what it does not have."""

    remote: str
    sent: float | None
    received: float | None
    rtt_ms: float | None
    lost: float | None
    queued: int | None
    bytes_sent: float | None
    bytes_received: float | None
    in_flight: int | None
    window: int | None
    blocked: int | None
    unread: int | None
    mtu: int | None
    marked: float | None
    moves: int | None
    state: str


class Column(NamedTuple):
    """A column of the table, in the order in which they are kept where a terminal is narrow."""

    title: str
    width: int
    show: Callable[[Row], str]


def _size(value: float | None) -> str:
    return "-" if value is None else amount(value)


def _share(value: float | None) -> str:
    """A percentage of three digits at most."""
    if value is None:
        return "-"
    percent = 100 * value
    if percent >= 99.5 or not percent:
        return f"{percent:.0f}%"
    if percent < 0.01:
        return "<0.01%"
    return f"{percent:.3g}%" if percent >= 1 else f"{percent:.2g}%"


def _trip(ms: float) -> str:
    """A time in ms, three digits of it."""
    return f"{ms:.0f}" if ms >= 99.95 else f"{ms:.3g}"


COLUMNS = (
    Column("sent/s", 7, lambda row: _size(row.sent)),
    Column("recv/s", 7, lambda row: _size(row.received)),
    Column("rtt ms", 7, lambda row: "-" if row.rtt_ms is None else _trip(row.rtt_ms)),
    Column("lost", 7, lambda row: _share(row.lost)),
    Column("queued", 7, lambda row: _size(row.queued)),
    Column("B/s out", 8, lambda row: _size(row.bytes_sent)),
    Column("B/s in", 8, lambda row: _size(row.bytes_received)),
    Column("flight", 7, lambda row: _size(row.in_flight)),
    Column("window", 7, lambda row: _size(row.window)),
    Column("blocked", 8, lambda row: _size(row.blocked)),
    Column("unread", 7, lambda row: _size(row.unread)),
    Column("mtu", 7, lambda row: "-" if row.mtu is None else str(row.mtu)),
    Column("marked", 7, lambda row: _share(row.marked)),
    Column("moves", 6, lambda row: "-" if row.moves is None else str(row.moves)),
    Column("state", 12, lambda row: row.state or "-"),
)

LOSS_BASED = ("slow start", "avoidance")
PHASES = {
    Probe.STARTUP: "startup", Probe.DRAIN: "drain", Probe.DOWN: "down", Probe.CRUISE: "cruise",
    Probe.REFILL: "refill", Probe.UP: "up", Probe.PROBE_RTT: "probe rtt",
}  # fmt: skip
"""What BBR is about, in few letters."""


@dataclass(slots=True)
class View:
    """What one server said, and the rows that follow from what it had said before."""

    told: dict[str, Any]
    rows: list[Row] = field(default_factory=list)


class Source:
    """One server that is asked again and again.

    Args:
        path: of its socket.

    Attributes:
        view: by its last answer; None before the first.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.view: View | None = None
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._before: dict[tuple[int, str], tuple[float, dict[str, Any]]] = {}

    async def ask(self) -> bool:
        """Whether it answers. Its view is renewed."""
        try:
            async with asyncio.timeout(limits.TOP_ANSWER_S):
                if self._streams is None:
                    self._streams = await asyncio.open_unix_connection(self.path, limit=ANSWER_MAX)
                reader, writer = self._streams
                writer.write(b"\n")
                await writer.drain()
                told = json.loads(await reader.readline())
        except (OSError, ValueError, RecursionError):  # gone, or what it says is no answer
            self.close()
            return False
        if not isinstance(told, dict):
            self.close()
            return False
        self.view = self._seen(told, time.monotonic())
        return True

    def close(self) -> None:
        """Idempotent."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    def _seen(self, told: dict[str, Any], now: float) -> View:
        view, before = View(told), self._before
        self._before = {}
        for one in told.get("connections", []):
            key = (one.get("id", 0), one.get("remote", ""))
            self._before[key] = (now, one)
            last = before.get(key)
            view.rows.append(_row(one, None if last is None else last[1], 0.0 if last is None else now - last[0]))
        return view


def _row(one: dict[str, Any], before: dict[str, Any] | None, seconds: float) -> Row:
    counters = one.get("counters", {})
    earlier = {} if before is None else {**before, **before.get("counters", {})}
    present = {**one, **counters}

    def rate(name: str) -> float | None:
        if name not in present or name not in earlier or seconds <= 0:
            return None
        change: float = present[name] - earlier[name]
        return max(0.0, change / seconds)

    sent = rate("packets_sent")

    def share(name: str) -> float | None:
        change = rate(name)
        return None if sent is None or change is None else change / sent if sent else 0.0

    rtt = counters["rtt_ns"] / 1e6 if "rtt_ns" in counters else one["rtt"] * 1e3 if one.get("rtt") else None
    return Row(
        remote=str(one.get("remote", "-")), sent=rate("messages_sent"), received=rate("messages_received"), rtt_ms=rtt,
        lost=share("packets_lost"), queued=one.get("queued_bytes"),
        bytes_sent=rate("bytes_sent"), bytes_received=rate("bytes_received"), in_flight=counters.get("in_flight"),
        window=counters.get("congestion_window"), blocked=one.get("blocked_bytes"), unread=one.get("inbox_bytes"),
        mtu=counters.get("mtu"), marked=share("ecn_congested"), moves=counters.get("path_changes"),
        state=_state(counters),
    )  # fmt: skip


def _state(counters: dict[str, Any]) -> str:
    """What congestion control is about."""
    if "congestion_state" in counters:
        state = counters["congestion_state"]
        return PHASES[Probe(state)] if state in list(Probe) else str(state)
    threshold = counters.get("congestion_slow_start_threshold")
    if threshold is None:
        return "-"
    is_slow = not threshold or counters.get("congestion_window", 0) < threshold
    return LOSS_BASED[0] if is_slow else LOSS_BASED[1]


def sort(rows: list[Row], by: str) -> list[Row]:
    """Rows by a column, the largest first; by age as they came."""
    keys: dict[str, Callable[[Row], float]] = {
        "out": lambda row: row.sent or 0, "in": lambda row: row.received or 0, "rtt": lambda row: row.rtt_ms or 0,
        "lost": lambda row: row.lost or 0, "queued": lambda row: (row.queued or 0) + (row.blocked or 0),
    }  # fmt: skip
    return sorted(rows, key=keys[by], reverse=True) if by in keys else rows


def lines(views: list[View], by: str, width: int, height: int) -> list[str]:
    """The whole screen: each server with as many of its connections as there is room for."""
    if not views:
        return ["no server answers (a server does where it has status=FOLDER, or TRANSPORT_STATUS in its environment)"]
    found: list[str] = []
    heads = [list(_heading(view, width)) for view in views]
    room = max(1, (height - sum([len(head) + 3 for head in heads])) // len(views))
    for view, head in zip(views, heads, strict=True):
        found += [*head, *_table(sort(view.rows, by), width, room, view.told.get("left_out", 0)), ""]
    return found[:-1]


def _heading(view: View, width: int) -> Iterator[str]:
    """What stands above a server's table, in lines of at most `width` where its parts allow."""
    told, server = view.told, view.told.get("server", {})
    uptime = duration(float(told.get("uptime", 0)))
    counts = {**server.get("counters", {}), **server}
    names = ("refused", "failed_handlers", "half_open", "malformed", "strays")
    problems = [f"{counts[name]} {name.replace('_', ' ')}" for name in names if counts.get(name)]
    control = _control(view)
    parts = [str(told.get("url", "?")), f"pid {told.get('pid', '?')}", f"up {uptime}"]
    parts += [counted(server.get("connections", 0), "connection"), f"{server.get('accepted', 0)} accepted"]
    yield from _wrapped([*parts, *([control] if control else []), *problems], width, first="")
    yield from _wrapped(list(_sums(view.rows)), width, first="  ")


def _wrapped(parts: list[str], width: int, first: str) -> Iterator[str]:
    """Parts in as many lines as they take, the first begins with `first`, the others with four spaces."""
    line = first + parts[0]
    for part in parts[1:]:
        if len(line) + 2 + len(part) > width:
            yield line
            line = f"    {part}"
        else:
            line += f"  {part}"
    yield line


def _control(view: View) -> str:
    """The server's congestion control, as far as its connections tell; "" where they have none."""
    told = view.told.get("congestion")
    if told or not view.rows:
        return str(told or "")
    return CONGESTION[0] if view.rows[0].state in LOSS_BASED else ""


def _sums(rows: list[Row]) -> Iterator[str]:
    def total(name: str) -> float:
        return sum([getattr(row, name) or 0 for row in rows])

    for name, count, size in (("sent", "sent", "bytes_sent"), ("received", "received", "bytes_received")):
        is_known = any(getattr(row, size) is not None for row in rows)
        yield f"{name} {amount(total(count))}/s" + (f" {amount(total(size), 'B/s')}" if is_known else "")
    trips = sorted([row.rtt_ms for row in rows if row.rtt_ms is not None])
    if trips:
        yield f"rtt {_trip(trips[0])}/{_trip(trips[len(trips) // 2])}/{_trip(trips[-1])} ms"
    losing = [row.lost for row in rows if row.lost]
    if losing:
        most = share(round(max(losing) * 1e6), 10**6)
        yield f"{counted(len(losing), 'connection')} with losses, {most} at most"
    for name in ("queued", "blocked", "unread"):
        yield f"{name} {amount(total(name), 'B')}"


def _table(rows: list[Row], width: int, room: int, left_out: int) -> Iterator[str]:
    columns, used = [], REMOTE_WIDTH
    for column in COLUMNS:
        if used + column.width > width:
            break
        columns.append(column)
        used += column.width
    if rows:
        yield f"{'  peer':<{REMOTE_WIDTH}}" + "".join([f"{column.title:>{column.width}}" for column in columns])
    for row in rows[:room]:
        remote = row.remote if len(row.remote) <= REMOTE_WIDTH - 3 else f"{row.remote[: REMOTE_WIDTH - 6]}..."
        yield f"  {remote:<{REMOTE_WIDTH - 2}}" + "".join([f"{column.show(row):>{column.width}}" for column in columns])
    more = len(rows) - room + left_out if len(rows) > room else left_out
    if more:
        yield f"  and {more} more"


def duration(seconds: float) -> str:
    """A time for people, in two units."""
    whole = int(seconds)
    days, hours, minutes = whole // 86_400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{seconds:.0f} s"


def sockets(place: str) -> list[str]:
    """The sockets that a path stands for: itself, or those in the folder. Raises OSError."""
    path = Path(place)
    if stat.S_ISSOCK(path.stat().st_mode):
        return [place]
    found = [one for one in sorted(path.iterdir()) if one.suffix == SUFFIX and stat.S_ISSOCK(one.lstat().st_mode)]
    return [str(one) for one in found[:SERVERS_MAX]]


async def run(given: Any, out: Output, stop: Stop) -> int:
    """Shows them until a signal, or as often as was asked for. Returns the exit status: 1 if nobody ever answered.

    Raises:
        OSError: no such folder or socket.
    """
    place = given.place or os.environ.get(VARIABLE, "")
    if not place:
        return fail("top", f"needs the folder that servers have as status=, or {VARIABLE} in the environment")
    known: dict[str, Source] = {}
    has_seen = False
    screen = Screen(out)
    try:
        turn = 0
        while True:
            views = await _views(place, known)
            has_seen = has_seen or bool(views)
            _show(given, out, screen, views)
            turn += 1
            if (given.count is not None and turn >= given.count) or await stop.within(given.every):
                break
    finally:
        screen.leave()
        for source in known.values():
            source.close()
    return 0 if has_seen else 1


async def _views(place: str, known: dict[str, Source]) -> list[View]:
    """Asks everybody at once; who does not answer is forgotten."""
    paths = sockets(place)
    for path in paths:
        known.setdefault(path, Source(path))
    asked = [known[path] for path in paths]
    answers = await asyncio.gather(*[source.ask() for source in asked])
    for path in set(known) - {source.path for source, answered in zip(asked, answers, strict=True) if answered}:
        known.pop(path).close()
    return [source.view for source in asked if source.path in known and source.view is not None]


def _show(given: Any, out: Output, screen: Screen, views: list[View]) -> None:
    if given.json:
        servers = [{**view.told, "rows": [row._asdict() for row in view.rows]} for view in views]
        out.always("interval", "", servers=servers)
        return
    width, height = screen.size()
    if not screen.live:
        width, height = max(width, 200), (given.rows or limits.TOP_ROWS) + 5 * max(1, len(views))
    title = f"transport top  {counted(len(views), 'server')}  every {given.every:g} s  {time.strftime('%H:%M:%S')}"
    shown = lines(views, given.sort, width, height - 2)
    screen.show([title, "", *shown] if screen.live else [*shown, ""])
