"""`transport ping URL`: round trips to a server, by the protocol's own pings or by messages that it sends back.

Pings leave at times planned in advance, whatever has become of those before (open loop); a time begins when its ping is
handed over, so that waiting for room counts. It stands on the public API only. It must never call a ping lost before
its time is over.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from typing import Any

import transport
from transport import limits
from transport.tools.figures import Figures
from transport.tools.life import Stop, Stopped
from transport.tools.live import Output, OutputClosed, amount, milliseconds, share
from transport.tools.trips import EchoTrips, PingTrips, Tally, codec_of, scheme_of
from transport.transports.registry import Registry

ANSWERED, LOST, FAILED = 0, 1, 2
RETRY_S_MIN, RETRY_S_MAX = 0.05, 1.0
CLOSE_GRACE_S = 1.0


async def run(given: Any, out: Output, stop: Stop) -> int:
    """Pings until the count, the deadline or a signal. Returns the exit status: 0 all answered, 1 not all.

    Raises:
        TransportError, OSError: no connection, or a mistake in the options. Stopped: a signal before there was one.
    """
    if scheme_of(given.url) == "memory":
        raise transport.InvalidURL("memory:// stays within one process: nobody outside can be reached")
    # What these import is imported now, and not while the clock runs.
    Registry.default().find(scheme_of(given.url))
    opener, codec = transport.connect, codec_of(given.codec)
    began = time.monotonic()
    conn = await stop.unless(connect(given, functools.partial(opener, given.url, codec=codec), out))
    took = time.monotonic() - began
    try:
        trips = trips_of(given, conn)
        where = given.url.partition("?")[0]
        out.always(
            "connected", f"PING {where}: {trips.text}, connected in {milliseconds(took)} ms",
            url=where, kind=trips.kind, connect_ms=round(took * 1e3, 3),
        )  # fmt: skip
        pinger = Pinger(given, conn, trips, out, stop)
        await pinger.run()
    finally:
        await conn.close(grace=CLOSE_GRACE_S)
    pinger.summary(where)
    return pinger.status()


def trips_of(given: Any, conn: Any) -> Any:
    """How round trips are made on this connection. Raises LocalProtocolError for options that go with another way."""
    echoed = given.echo or given.size is not None or given.delivery is not None or given.channel is not None
    if not given.echo and echoed:
        raise transport.LocalProtocolError("--size, --delivery and --channel are about messages: give --echo with them")
    if conn.traits.ping and not given.echo:
        return PingTrips(conn)
    delivery = None if given.delivery is None else transport.Delivery[given.delivery.upper().replace("-", "_")]
    if delivery is not None:
        conn.traits.check(delivery, scheme_of(given.url))
    reason = "" if given.echo else f"; {scheme_of(given.url)}:// has no ping of its own here"
    return EchoTrips(conn, given.size or 56, delivery, given.channel or 0, text=given.codec == "json", reason=reason)


async def connect(given: Any, opener: Callable[..., Awaitable[Any]], out: Output) -> Any:
    """The connection by `opener`, tried again for `--wait` seconds. Raises what the last try did."""
    options: dict[str, Any] = {}
    if given.reconnect:
        options["reconnect"] = transport.Backoff(initial=0.1, maximum=2.0, wait=given.patience)
    until = time.monotonic() + (given.wait or 0.0)
    pause = RETRY_S_MIN
    told = False
    while True:
        try:
            return await opener(framing=given.framing, connect_timeout=given.timeout, **options)
        except transport.ConnectFailed as error:
            left = until - time.monotonic()
            if left <= 0:
                raise
            if not told:
                out.line("waiting", f"waiting up to {given.wait:g} s: {error}", reason=str(error))
                told = True
            await asyncio.sleep(min(pause, left))
            pause = min(2 * pause, RETRY_S_MAX)


class Pinger:
    """One run. `trips` makes the round trips, here is when, and what is said of them."""

    def __init__(self, given: Any, conn: Any, trips: Any, out: Output, stop: Stop) -> None:
        self._given = given
        self._conn = conn
        self._trips = trips
        self._out = out
        self._stop = stop
        self._tasks: set[asyncio.Task[None]] = set()
        self._tally = Tally()
        self._figures = Figures()
        self._latest = 0.0  # lateness of the ping that left latest after its plan, seconds
        self._ended = ""
        self._mistake: transport.TransportError | None = None
        self._began = time.monotonic()
        self._span = 0.0
        self._count = given.count
        self._deadline = given.deadline
        if given.flood and given.count is None and given.deadline is None:
            self._deadline = limits.PING_FLOOD_S
        self._shows_each = not given.flood
        self._room = asyncio.Semaphore(limits.PING_FLOOD_WINDOW)

    async def run(self) -> None:
        """Sends all, and waits for those under way; a signal ends that, too.

        Raises:
            TransportError: a ping could not be sent as it was asked for.
        """
        helpers = [asyncio.ensure_future(each) for each in (self._watch(), self._show(), self._trips.run(self._heard))]
        self._began = time.monotonic()
        try:
            async with asyncio.timeout(self._deadline):
                await self._stop.unless(self._flood() if self._given.flood else self._paced())
                if self._tasks:
                    await self._stop.unless(asyncio.wait(list(self._tasks)))
        except (Stopped, TimeoutError):
            pass
        self._span = time.monotonic() - self._began
        for task in (*self._tasks, *helpers):
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, *helpers, return_exceptions=True):
            if isinstance(outcome, Exception):  # a mistake of ours; being cancelled is none
                raise outcome
        if self._mistake is not None:
            raise self._mistake

    async def _paced(self) -> None:
        sequence = 0
        while (self._count is None or sequence < self._count) and not self._ended:
            late = time.monotonic() - self._began - sequence * self._given.interval
            if late < 0:
                await asyncio.sleep(-late)
                continue
            self._latest = max(self._latest, late)
            self._start(sequence)
            sequence += 1
            if sequence % 64 == 0:
                await asyncio.sleep(0)  # catching up must not keep answers from being read

    async def _flood(self) -> None:
        sequence = 0
        while (self._count is None or sequence < self._count) and not self._ended:
            await self._room.acquire()
            self._start(sequence)
            sequence += 1

    def _start(self, sequence: int) -> None:
        if len(self._tasks) >= limits.PING_WAITING_MAX:
            self._tally.unsent += 1
            return
        task = asyncio.ensure_future(self._one(sequence))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _one(self, sequence: int) -> None:
        tally = self._tally
        tally.sent += 1
        try:
            try:
                async with asyncio.timeout(self._given.patience):
                    seconds = await self._trips.trip(sequence)
            except TimeoutError:
                self._lost(sequence, f"no answer within {self._given.patience:g} s")
            except transport.WouldBlock as error:
                tally.sent -= 1
                tally.unsent += 1
                self._say("unsent", f"not sent: seq={sequence} ({error})", seq=sequence, reason=str(error))
            except transport.ConnectionClosed as error:
                self._lost(sequence, str(error))
            except transport.TransportError as error:  # such as a message that is too large: no ping could ever leave
                tally.sent -= 1
                self._mistake = error
                self._end(str(error))
            else:
                tally.answered += 1
                self._figures.add(seconds)
                self._say("pong", f"{self._trips.size}seq={sequence} time={milliseconds(seconds)} ms", seq=sequence,
                          ms=round(seconds * 1e3, 4))  # fmt: skip
        except OutputClosed:
            self._stop.wish()  # the summary meets it again
        finally:
            self._room.release()

    def _lost(self, sequence: int, reason: str) -> None:
        self._tally.lost += 1
        self._say("lost", f"lost: seq={sequence}, {reason}", seq=sequence, reason=reason)

    def _say(self, kind: str, text: str, **fields: Any) -> None:
        if self._shows_each:
            self._out.line(kind, text, **fields)

    def _heard(self, kind: str, sequence: int, seconds: float) -> None:
        """From the trips: an answer that nobody waits for."""
        setattr(self._tally, kind, getattr(self._tally, kind) + 1)
        text = {
            "late": f"late: seq={sequence} time={milliseconds(seconds)} ms, counted as lost",
            "duplicates": f"duplicate: seq={sequence}",
            "damaged": "damaged: an answer that was not sent so",
        }
        try:
            self._say(kind, text[kind], seq=sequence)
        except OutputClosed:
            self._stop.wish()

    def _end(self, reason: str) -> None:
        self._ended = self._ended or reason

    async def _watch(self) -> None:
        """Follows the connection to its end, or through its returns."""
        try:
            if not self._given.reconnect:
                await self._conn.wait_closed()
                self._end(str(self._conn.exception or "the connection has ended"))
                self._out.line("closed", self._ended, reason=self._ended)
                return
            async for change in self._conn.states():
                state, error = change.state.value, "" if change.error is None else str(change.error)
                if state == "connected":
                    self._out.line("reconnected", "connected again", times=self._conn.reconnects)
                elif state in ("lost", "closed") and error:
                    self._out.line(state, f"{error}" + ("; coming back" if state == "lost" else ""), reason=error)
            self._end(str(self._conn.exception or "the connection has ended"))
        except OutputClosed:
            self._stop.wish()

    async def _show(self) -> None:
        """The status: on a terminal, and where pings have no line of their own."""
        before = 0
        try:
            while self._out.live or self._given.flood:
                await asyncio.sleep(self._given.every)
                tally = self._tally
                middle, slow = self._figures.percentiles(0.5, 0.99)
                rate, before = (tally.answered - before) / self._given.every, tally.answered
                self._out.status(
                    f"{tally.sent} sent  {tally.lost} lost ({share(tally.lost, tally.sent)})  p50 "
                    f"{milliseconds(middle)} ms  p99 {milliseconds(slow)} ms  {amount(rate)} answers/s",
                    seconds=round(time.monotonic() - self._began, 3), **tally.fields(),
                    p50_ms=round(middle * 1e3, 4), p99_ms=round(slow * 1e3, 4),
                )  # fmt: skip
        except OutputClosed:
            self._stop.wish()

    # The end

    def summary(self, where: str) -> None:
        """Says what there is to say at the end. Raises OutputClosed."""
        self._out.end_status()
        tally, figures = self._tally, self._figures
        middle, slow = figures.percentiles(0.5, 0.99)
        open_ones = tally.sent - tally.answered - tally.lost
        lines = [
            f"--- {where} ---",
            f"{tally.sent} sent, {tally.answered} answered, {tally.lost} lost ({share(tally.lost, tally.sent)})"
            + tally.extras(open_ones) + f", in {self._span:.2f} s",
        ]  # fmt: skip
        times = (figures.least, figures.mean, middle, slow, figures.most, figures.deviation)
        if figures.count:
            lines.append(
                "round trip min/avg/p50/p99/max/stddev = " + "/".join([milliseconds(each) for each in times]) + " ms"
            )
        if figures.kept < figures.count:
            lines.append(f"(percentiles of an even sample of {figures.kept})")
        if not self._given.flood and self._latest > max(0.1 * self._given.interval, 0.005):
            lines.append(f"this side was busy: a ping left {milliseconds(self._latest)} ms after its time")
        names = ("min", "avg", "p50", "p99", "max", "stddev")
        measured = {f"{name}_ms": round(value * 1e3, 4) for name, value in zip(names, times, strict=True)}
        self._out.always(
            "summary", "\n".join(lines), url=where, seconds=round(self._span, 3), **tally.fields(),
            unanswered=open_ones, late_to_leave_ms=round(self._latest * 1e3, 3),
            **(measured if figures.count else dict.fromkeys(measured)),
        )  # fmt: skip

    def status(self) -> int:
        """The exit status: 0 when every ping whose time was over, and at least one, was answered.

        A connection that ended before this side wished so is a loss, too.
        """
        tally = self._tally
        return LOST if self._ended or tally.lost or tally.unsent or not tally.answered else ANSWERED
