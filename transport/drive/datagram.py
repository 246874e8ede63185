"""Runs a datagram machine on a socket: one batch in, one batch out, one timer, however many owners stand on it.

The machine is an `Endpoint`, which says what sessions are new, which have something to tell and which were sent from;
each session's owner has a seat here. Any other machine is made one by `SoleMachine`.
A send error is told to the machine and never ends the socket. It must never call an owner after `lost`.
"""

from __future__ import annotations

import asyncio
import os
import time
import weakref
from collections.abc import Callable
from typing import Any

from transport import limits
from transport.datagram.base import Endpoint, PeerSession
from transport.drive.base import Driver, Owner
from transport.drive.timers import timers_of
from transport.net import clock
from transport.net.datagram_base import DatagramSocket, Outgoing

ROOM_BYTES = limits.DATAGRAM_BYTES_MAX + 1  # that a machine's `transmit` may fill
STRIDE = 2112  # rooms overlap; the next one used begins behind the bytes of the one before
ROOMS = limits.DATAGRAM_BATCH_BYTES // STRIDE
BATCH = limits.DATAGRAMS_PER_CALL
DATAGRAMS_PER_TICK = limits.DATAGRAMS_PER_TICK
TICK_NS = limits.TICK_NS
READ_BYTES = limits.RECEIVE_BEFORE_TRANSMIT_BYTES
CALLS_PER_FLUSH = limits.SENDS_PER_FLUSH

give_way: Callable[[], None] = getattr(os, "sched_yield", lambda: time.sleep(0))


class Rooms:
    """Memory that machines fill with what is to be sent; one for all drivers of a loop."""

    def __init__(self) -> None:
        self.batch = Outgoing(ROOMS * STRIDE + ROOM_BYTES, BATCH)
        whole = memoryview(self.batch.room)
        self.views = [whole[start : start + ROOM_BYTES] for start in range(0, ROOMS * STRIDE, STRIDE)]


_rooms: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Rooms] = weakref.WeakKeyDictionary()


def rooms_of(loop: asyncio.AbstractEventLoop) -> Rooms:
    """The rooms of `loop`, made at first use."""
    rooms = _rooms.get(loop)
    if rooms is None:
        rooms = _rooms[loop] = Rooms()
    return rooms


class Seat:
    """One owner and its session on a driver."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.session: PeerSession | None = None
        self.is_paused = False
        self.has_missed = False  # something came while it was paused
        self.is_gone = False


class DatagramDriver(Driver):
    """A datagram machine on one socket, which it owns from now on.

    Args:
        loop: the loop.
        sock: the socket.
        machine: what to run: an `Endpoint`, or any `DatagramMachine` for one owner.
        accept: makes the owner of a new peer's session, or returns None or raises ConnectionRefusedError to refuse it.
        is_shared: the socket outlives its owners (a server's); else it is closed with the last one.

    Attributes:
        sock, machine, accept: as given.
        endpoint: the machine, or what makes an endpoint of it.
        refused: sessions that `accept` refused.
        granted: what the socket was granted, for `info`: `rcvbuf` and `sndbuf` in bytes, `offload`.
        may_linger: the socket is nobody else's, and may stay open for a moment after its last owner has gone.
        on_trouble: called with this driver when a send has failed, or a client has heard nothing for long.
        busy_poll_ns: how long to look for more after each wake-up before the loop sleeps again; 0 for not at all.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: DatagramSocket,
        machine: Any,
        accept: Callable[[Any], Owner | None] | None = None,
        is_shared: bool = False,
    ) -> None:
        from transport.drive.datagram_machine import SoleMachine

        Driver.__init__(self, loop)
        self.sock = sock
        self.machine = machine
        self.endpoint: Endpoint = machine if isinstance(machine, Endpoint) else SoleMachine(machine, self._broken)
        self.accept = accept
        self.refused = 0
        self.granted: Any = None
        self.busy_poll_ns = 0
        self.may_linger = False
        self.on_trouble: Callable[[DatagramDriver], None] | None = None
        self.armed_at = 0
        self._is_shared = is_shared
        self._timers = timers_of(loop)
        self._clock: Any = getattr(loop, "time_ns", None)  # virtual time; None for the system's clock
        rooms = rooms_of(loop)
        self._batch = rooms.batch
        self._views = rooms.views
        self._seats: dict[Owner, Seat] = {}
        self._resumed: list[Seat] = []
        self._fd = -1
        self._held: Outgoing | None = None  # what the kernel did not take
        self._is_blocked = False
        self._has_cleared = False
        self._is_scheduled = False
        self._is_inside = False  # a flush follows by itself
        self._is_pumping = False
        self._is_reading = False
        self._has_ended = False
        self._is_started = False

    # Life

    def start(self) -> None:
        """Begins to read; attached owners hear of what their machines have to say in the next turn of the loop."""
        self._is_started = True
        self._timers.acquire()
        self._is_reading = True
        if self.sock.selectable:
            self._fd = self.sock.fileno()
            self.loop.add_reader(self._fd, self._on_readable)
        else:
            self.sock.start(self._on_readable, self._on_writable)
        self._schedule()

    def attach(self, owner: Owner, session: PeerSession | None = None) -> None:
        """Gives `owner` a seat; `session` is its part of an endpoint, None for a machine with one owner."""
        seat = self._seat(owner)
        seat.session = self.endpoint.session if session is None else session  # type: ignore[attr-defined]
        seat.session.seat = seat

    def _seat(self, owner: Owner) -> Seat:
        """The seat of an owner, which may ask for something before it is attached."""
        seat = self._seats.get(owner)
        if seat is None:
            seat = self._seats[owner] = Seat(owner)
        return seat

    @property
    def owners(self) -> int:
        """How many owners it has."""
        return len(self._seats)

    def end(self, error: BaseException | None = None) -> None:
        """Closes the socket and tells every owner that it is lost. Idempotent."""
        if self._has_ended:
            return
        self._release()
        for seat in list(self._seats.values()):
            self._lose(seat, error)

    def _release(self) -> None:
        self._has_ended = True
        self._held = None
        self.unsent_bytes = 0
        if self._is_started:
            self._timers.disarm(self)
            self._timers.release()
            if self._fd >= 0 and not self.loop.is_closed():
                self.loop.remove_reader(self._fd)
                if self._is_blocked:
                    self.loop.remove_writer(self._fd)
        self._fd = -1
        if not self._lingers():
            self.sock.close()

    def _lingers(self) -> bool:
        """Whether somebody else closes the socket, because the goodbye may have to be said again."""
        if not self.may_linger:
            return False
        from transport.drive.lingering import linger

        return linger(self.loop, self.sock, self.endpoint, rooms_of(self.loop), self.endpoint.lingers_for(self.now()))

    def _is_over(self) -> bool:
        return self._has_ended

    def _lose(self, seat: Seat, error: BaseException | None) -> None:
        """The end of an owner, called once for each; of the socket too, if it was the last."""
        self._seats.pop(seat.owner, None)
        if seat.is_gone:
            return
        seat.is_gone = True
        if seat.session is not None:
            seat.session.seat = None
            self.endpoint.forget(seat.session)
        if not self._seats and not self._is_shared and not self._has_ended:
            self._release()
        seat.owner.lost(error)

    # What an owner may ask

    def now(self) -> int:
        """The clock the machine runs by."""
        if self._clock is None:
            return clock.monotonic_ns()
        return self._clock()  # type: ignore[no-any-return]

    def wake(self) -> None:
        """Has the machine asked for output by the end of this tick, or now when much is queued."""
        if self._has_ended:
            return
        if self.endpoint.pressing and not self._is_blocked:
            self._pump(self.now())
        if not self._is_inside:
            self._schedule()

    def _schedule(self) -> None:
        """Has `_tick` run in the loop's next turn."""
        if not self._is_scheduled:
            self._is_scheduled = True
            self.loop.call_soon(self._tick)

    def pause_reading(self, owner: Owner) -> None:
        """Delivers nothing to `owner`. Its session goes on and drops the oldest above its bound; a machine with one
        owner is left alone, and the kernel drops the newest.
        """
        seat = self._seat(owner)
        seat.is_paused = True
        if self.endpoint.is_exclusive and self._is_reading:
            self._is_reading = False
            if self._fd >= 0:
                self.loop.remove_reader(self._fd)

    def resume_reading(self, owner: Owner) -> None:
        """Delivers again, and what came meanwhile."""
        seat = self._seat(owner)
        seat.is_paused = False
        if self._has_ended:
            return
        if self.endpoint.is_exclusive and self._is_started and not self._is_reading:
            self._is_reading = True
            if self._fd >= 0:
                self.loop.add_reader(self._fd, self._on_readable)
        if seat.has_missed:
            self._resumed.append(seat)
            self._schedule()

    def finish(self, owner: Owner) -> None:
        """`owner`'s machine is done: what is left is sent, then `lost(None)`."""
        self.loop.call_soon(self._finish, self._seat(owner))

    def _finish(self, seat: Seat) -> None:
        if not seat.is_gone:
            self._flush(self.now())
            self._lose(seat, None)

    def cut(self, owner: Owner, error: BaseException | None) -> None:
        """Ends `owner`'s part now; `lost` follows in a later callback."""
        seat = self._seat(owner)
        seat.is_paused = True
        self.loop.call_soon(self._cut, seat, error)

    def _cut(self, seat: Seat, error: BaseException | None) -> None:
        """The end of an owner; the last word of its session leaves before the socket goes."""
        if not seat.is_gone and not self.endpoint.is_exclusive:
            self._flush(self.now())
        self._lose(seat, error)

    def info(self, owner: Owner, name: str) -> Any:
        """socket, sockname, peername; rcvbuf and sndbuf granted (bytes); timestamp_ns of the last datagram."""
        seat = self._seats.get(owner)
        session = None if seat is None else seat.session
        path = self.sock.path if session is None or self.endpoint.is_exclusive else session.path
        if name == "socket":
            return self.sock.sock
        if name == "peername":
            return None if path is None else path.remote
        if name == "sockname":
            if path is not None and path.local is not None:
                return path.local
            return None if self._has_ended else self.sock.sock.getsockname()
        if name == "timestamp_ns":
            return None if session is None else session.stamp or None
        return getattr(self.granted, name, None)

    # In

    def _on_readable(self) -> None:
        if self._has_ended or not self._is_reading:
            return
        now = self.now()
        self._take_in(now)
        self._flush(now)
        if self.busy_poll_ns:
            self._busy_poll(now)

    def _busy_poll(self, now: int) -> None:
        """Waits for more without going to sleep, letting others have the processor in between.

        Saves the trip through the loop and the kernel's wake-up, at the price of a busy processor; everything else on
        this loop waits meanwhile, so the time is bounded.
        """
        limit = now + TICK_NS
        until = now + self.busy_poll_ns
        while self._is_reading and not self._has_ended and not self._is_scheduled and now < min(until, limit):
            give_way()
            now = self.now()
            if self._take_in(now):
                self._flush(now)
                until = now + self.busy_poll_ns

    def _take_in(self, now: int) -> bool:
        """Reads what the kernel has, within the bounds of one turn, and gives it to the machine and its owners.

        Returns:
            Whether there was anything.
        """
        sock = self.sock
        began = now
        count = 0
        size = 0
        self._is_inside = True
        try:
            while True:
                count += sock.receive(self.endpoint, now)
                if sock.disturbed:
                    self._attend(now)
                if not sock.more or count >= DATAGRAMS_PER_TICK:
                    break
                now = self.now()
                if now >= began + TICK_NS:
                    break
                size += sock.received_bytes
                if size >= READ_BYTES:
                    size = 0
                    self._deliver()
                    self._pump(now)
                    if self._is_over():
                        break
            self._deliver()
        except Exception as error:
            self._broken("receive", error)
        finally:
            self._is_inside = False
        return count > 0

    def _attend(self, now: int) -> None:
        """Something went wrong on the socket: the machine is told by path, and the loop watches on."""
        errors = self.sock.errors[:]
        self.sock.errors.clear()
        for path, code in errors:
            self.endpoint.error(path, code, now)
        self._watch_again()
        if self.on_trouble is not None and errors:
            self.on_trouble(self)

    def _watch_again(self) -> None:
        """An error makes uvloop stop watching a descriptor."""
        self.sock.disturbed = False
        if self._fd < 0:
            return
        if self._is_reading:
            self.loop.remove_reader(self._fd)
            self.loop.add_reader(self._fd, self._on_readable)
        if self._is_blocked:
            self.loop.remove_writer(self._fd)
            self.loop.add_writer(self._fd, self._on_writable)

    def _deliver(self) -> None:
        """Tells the owners whose sessions have something for them."""
        endpoint = self.endpoint
        if endpoint.fresh_sessions:
            for fresh in endpoint.take_fresh():
                self._welcome(fresh)
        session = endpoint.sole_ready()
        if session is not None:
            if session.seat is not None:
                self._deliver_to(session.seat)
            return
        session = endpoint.take_ready()
        while session is not None:
            following = endpoint.after_ready(session)
            if session.seat is not None:
                self._deliver_to(session.seat)
            session = following

    def _welcome(self, session: PeerSession) -> None:
        """Finds an owner for a new peer's session."""
        owner = None
        try:
            if self.accept is not None:
                owner = self.accept(session)
        except ConnectionRefusedError:
            pass
        except Exception as error:
            self._broken("accept", error)
        if owner is None:
            self.refused += 1
            self.endpoint.forget(session)
        elif session.seat is None:
            self.attach(owner, session)

    def _deliver_to(self, seat: Seat) -> None:
        if seat.is_paused or seat.is_gone:
            seat.has_missed = True
            return
        seat.has_missed = False
        try:
            seat.owner.deliver()
        except Exception as error:
            self._broken("an owner", error)
            self._lose(seat, error)

    # Out

    def _tick(self) -> None:
        self._is_scheduled = False
        if self._has_ended:
            return
        self._is_inside = True
        try:
            self._deliver()
            resumed, self._resumed = self._resumed, []
            for seat in resumed:
                if seat.has_missed:
                    self._deliver_to(seat)
        finally:
            self._is_inside = False
        self._flush(self.now())

    def _flush(self, now: int) -> None:
        """Sends until the machine has nothing more, the kernel takes no more or it is the loop's turn."""
        if self._has_ended:
            return
        more = self._pump(now)
        endpoint = self.endpoint
        if endpoint.first_flushed is not None or self._has_cleared:
            self._tell_flushed()
        if endpoint.first_ready is not None or endpoint.fresh_sessions:
            self._deliver()
        if more or (endpoint.pressing and not self._is_blocked):
            self._schedule()
        if self._is_over():
            return
        due = endpoint.due()
        if due and (self.armed_at == 0 or due < self.armed_at):
            self._timers.arm(self, due)

    def _tell_flushed(self) -> None:
        if self._has_cleared:
            self._has_cleared = False
            for seat in list(self._seats.values()):  # bytes held for one count as unsent for all
                self._flushed(seat)
        session = self.endpoint.take_flushed()
        while session is not None:
            following = self.endpoint.after_flushed(session)
            if session.seat is not None:
                self._flushed(session.seat)
            session = following

    def _flushed(self, seat: Seat) -> None:
        if seat.is_gone:
            return
        try:
            seat.owner.flushed()
        except Exception as error:
            self._broken("an owner", error)
            self._lose(seat, error)

    def _pump(self, now: int) -> bool:
        """Batches from the machine to the kernel. True when there may be more and it is the loop's turn."""
        if self._is_blocked or self._has_ended or self._is_pumping:
            return False
        payload = self.endpoint.single()
        if payload is not None and self.sock.send_single(payload, self.endpoint.single_path):
            self.endpoint.single_sent(now)
            return False
        batch = self._batch
        self._is_pumping = True
        try:
            for _ in range(CALLS_PER_FLUSH):
                done = self._collect(batch, now)
                if batch.count and not self._hand_over(batch, now):
                    return False
                if done:
                    return False
        finally:
            self._is_pumping = False
        return True

    def _collect(self, batch: Outgoing, now: int) -> bool:
        """Fills a batch from the machine; True when that has nothing more."""
        slot = 0
        batch.first = batch.count = 0
        while slot < ROOMS and batch.count < BATCH:
            item = batch.entries[batch.count]
            if not self.endpoint.fill(item, self._views[slot], now):
                return True
            item.offset = slot * STRIDE
            batch.count += 1
            slot += item.size // STRIDE + 1
        return False

    def _hand_over(self, batch: Outgoing, now: int) -> bool:
        """Sends a batch. False when the kernel does not take all of it; the rest is kept."""
        done = True
        try:
            done = self.sock.send(batch)
        except OSError as error:
            self._broken("send", error)
        if self.sock.disturbed:
            self._attend(now)
        if done:
            self.unsent_bytes = 0
            return True
        self._hold(batch.rest())
        return False

    def _hold(self, batch: Outgoing) -> None:
        """Keeps what the kernel did not take until it does."""
        self._held = batch
        self.unsent_bytes = len(batch.room)
        if not self._is_blocked:
            self._is_blocked = True
            if self._fd >= 0:
                self.loop.add_writer(self._fd, self._on_writable)

    def _on_writable(self) -> None:
        if self._has_ended or not self._is_blocked:
            return
        now = self.now()
        held, self._held = self._held, None
        if held is not None and not self._hand_over(held, now):
            return
        self._is_blocked = False
        self._has_cleared = True
        if self._fd >= 0:
            self.loop.remove_writer(self._fd)
        self._flush(now)

    # Time

    def timer_fired(self, now: int) -> None:
        """The machine's deadline: first what has arrived before it, for that may move it."""
        if self._has_ended:
            return
        if self._is_reading:
            self._take_in(now)
        self._is_inside = True
        try:
            if not self._is_over() and 0 < self.endpoint.due() <= now:
                self.endpoint.expire(now)
                self._deliver()
                if self.endpoint.is_troubled:
                    self.endpoint.is_troubled = False
                    if self.on_trouble is not None:
                        self.on_trouble(self)
        finally:
            self._is_inside = False
        self._flush(now)

    def _broken(self, what: str, error: Exception) -> None:
        """The machine or an owner raised: a mistake in this program. The socket and everybody else go on."""
        name = type(self.machine).__name__
        self.loop.call_exception_handler({"message": f"{name}: {what} failed", "exception": error})
