"""Runs a byte machine over a pipe: one read in, one batch of writes out, one timer.

`StreamDriver` is the machine's side of it and knows no pipe; `SocketDriver` moves bytes of a socket by `add_reader`.
It must never call an owner after `lost`, and never lose bytes that a machine has handed out while the pipe lives.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from transport import limits
from transport.drive.base import Driver, Owner
from transport.drive.timers import timers_of
from transport.net import clock
from transport.net import stream as net
from transport.net.stream_base import StreamSocket
from transport.session import ByteSession

READ_BYTES = limits.RECEIVE_BEFORE_TRANSMIT_BYTES
BEGINNING, INPUT, DEADLINE = 0, 1, 2  # what a turn is about
CHECK_NS = limits.STOPPED_POLL_CHECK_NS
LINGER_NS = 2 * limits.SECOND_NS  # how long a finished pipe waits for the peer's end before it is cut


class StreamDriver(Driver):
    """A byte machine on some pipe. Subclasses move the bytes.

    Subclasses call `feed` with what came, `writable` when a blocked write may go on and `fail` when the pipe broke.
    They implement `_write` (True when `_pending` has left altogether), `_half_close`, `_read_on`, `_read_off` and
    `_close`.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, machine: Any) -> None:
        Driver.__init__(self, loop)
        self.machine = machine
        self._session = machine if isinstance(machine, ByteSession) else None
        self.owner: Any = None
        self.armed_at = 0
        self._timers = timers_of(loop)
        self._clock = getattr(loop, "time_ns", None)  # virtual time; None for the system's clock
        self._pending: list[Any] = []
        self._offset = 0
        self._blocked = False
        self._scheduled = False
        self._reading = False  # the owner wants input
        self._is_full = False  # the session wants none before it has looked at what it has
        self._eof_wanted = False  # the machine has handed out EOF
        self._eof_out = False
        self._eof_in = False
        self._finish_by = 0
        self._ended = False

    def start(self, owner: Owner) -> None:
        """Begins to read and write for `owner`."""
        self.owner = owner
        self._timers.acquire()
        self._reading = True
        self._read_on()
        self.loop.call_soon(self._begin)

    def _begin(self) -> None:
        """What the machine has to say before anything comes in."""
        self._turn(BEGINNING, None, 0)

    def _turn(self, what: int, data: bytes | None, now: int) -> None:
        """Something for the machine, its events for the owner, then everything that follows from both."""
        if self._ended:
            return
        self.busy = True
        try:
            if what == INPUT:
                self._receive(data)
            elif what == DEADLINE:
                due = self.machine.deadline()
                if due is not None and due <= now:
                    self.machine.expire(now)
            self.owner.deliver()
        except Exception as error:
            self.busy = False
            self._broken(error)
            return
        finally:
            self.busy = False
        self.flush()

    def _receive(self, data: Any) -> None:
        if not data:
            self._eof_in = True
            self._stop_reading()
        if self._session is None:
            self.machine.receive(data, self.now())
        else:
            self._session.receive(data, self.now())

    def wake(self) -> None:
        """Has the machine asked for output by the end of this tick."""
        if not self.busy and not self._scheduled and not self._ended:
            self._scheduled = True
            self.loop.call_soon(self._tick)

    def now(self) -> int:
        """The clock the machine runs by."""
        if self._clock is None:
            return clock.monotonic_ns()
        return self._clock()  # type: ignore[no-any-return]

    def feed(self, data: bytes) -> None:
        """Input for the machine, b"" at its end; then everything that follows from it."""
        self._turn(INPUT, data, 0)

    def _tick(self) -> None:
        self._scheduled = False
        self.flush()

    def flush(self) -> None:
        """Writes until the machine has nothing more or the pipe takes nothing more."""
        if self._ended or self.busy:
            return
        self.busy = True
        try:
            self._pump()
            self.busy = False  # what is sent from here on has to wake the driver again
            if not self._ended:
                self.owner.flushed()
        except Exception as error:
            self.busy = False
            self._broken(error)
            return
        finally:
            self.busy = False
        if self._ended:
            return
        if self._eof_out and self._eof_in:
            self.end(None)
            return
        if self._session is None:
            try:
                deadline = self.machine.deadline()
            except Exception as error:
                self._broken(error)
                return
            due = -1 if deadline is None else deadline
        else:
            if self._session.is_full != self._is_full:
                self._change_full()
            due = self._session.due()
        if due >= 0 and (self.armed_at == 0 or due < self.armed_at):
            self._timers.arm(self, due)

    def _change_full(self) -> None:
        """The session has enough for now, or wants more again."""
        self._is_full = not self._is_full
        if self._reading and self._is_full:
            self._read_off()
        elif self._reading:
            self._read_on()

    def _pump(self) -> None:
        while not self._blocked:
            if self._pending and not self._write():
                return
            if self._ended:
                return
            if self._eof_wanted:
                if not self._eof_out:
                    self._eof_out = True
                    self._half_close()
                return
            session = self._session
            if session is None:
                buffers = self.machine.transmit(self.now())
            else:
                run = session.transmit_run()
                if run is not None:
                    if self._write_run(run):
                        session.recycle(run)
                    continue
                buffers = session.transmit(self.now()) if session.pending() else None
            if not buffers:
                if not self._finish_by:
                    return
                self._eof_wanted = True
                continue
            if session is None:
                buffers = list(buffers)
            if not len(buffers[-1]):
                self._eof_wanted = True
                buffers.pop()
            total = 0
            for buffer in buffers:
                total += len(buffer)
            self._pending = buffers
            self._offset = 0
            self.unsent_bytes = total

    def _write_run(self, run: bytearray) -> bool:
        """Writes a run from a session at once; False if it now waits in `_pending`, or the pipe broke."""
        self._pending = [run]
        self._offset = 0
        self.unsent_bytes = len(run)
        return False

    def _sent(self, count: int) -> bool:
        """Books `count` bytes of `_pending` as written; True when nothing is left."""
        self.unsent_bytes -= count
        pending = self._pending
        if not self.unsent_bytes:
            self._pending = []
            self._offset = 0
            return True
        count += self._offset
        index = 0
        while count >= len(pending[index]):
            count -= len(pending[index])
            index += 1
        del pending[:index]
        self._offset = count
        return False

    def writable(self) -> None:
        """The pipe takes bytes again."""
        self._blocked = False
        self.flush()

    def timer_fired(self, now: int) -> None:
        """The machine's deadline, or the end of lingering."""
        if self._ended:
            return
        if self._finish_by and now >= self._finish_by:
            self.end(None)
            return
        self._turn(DEADLINE, None, now)
        if self._finish_by and not self._ended:
            self._timers.arm(self, self._finish_by)

    def finish(self, owner: Owner) -> None:
        """The machine is done: write what is left, wait a little for the peer's end, and close."""
        if self._ended or self._finish_by:
            return
        self._finish_by = self.now() + LINGER_NS
        self._timers.arm(self, self._finish_by)
        if not self._reading and not self._eof_in:
            self._reading = True
            if not self._is_full:
                self._read_on()
        self.wake()

    def pause_reading(self, owner: Owner) -> None:
        """Stops taking input."""
        if not self._finish_by:
            self._stop_reading()

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            if self._session is not None:
                self._session.listening(False, self.now())
            if not self._is_full:
                self._read_off()

    def resume_reading(self, owner: Owner) -> None:
        """Takes input again."""
        if not self._reading and not self._eof_in and not self._ended:
            self._reading = True
            if self._session is not None:
                self._session.listening(True, self.now())
                self.wake()  # its next deadline is another one
            if not self._is_full:
                self._read_on()

    def hand_over(self, owner: Owner) -> None:
        """Another owner takes the machine over; the old one hears nothing more."""
        self.owner = owner

    def discard(self) -> None:
        """Closes a pipe that was never started: its owner did not want it."""
        self._ended = True
        self._close()

    def cut(self, owner: Owner, error: BaseException | None) -> None:
        """Ends the pipe now; `lost` follows in a later callback."""
        if not self._ended:
            self._release()
            self.loop.call_soon(self._tell_lost, error)

    def _tell_lost(self, error: BaseException | None) -> None:
        self.owner.lost(error)

    def end(self, error: BaseException | None) -> None:
        """Ends the pipe now and tells the owner."""
        if not self._ended:
            self._release()
            self.owner.lost(error)

    def fail(self, error: OSError) -> None:
        """The pipe broke."""
        self.end(error)

    def _broken(self, error: Exception) -> None:
        """The machine or its owner raised: a mistake in this program, never the peer's doing."""
        self.loop.call_exception_handler(
            {"message": f"{type(self.machine).__name__} failed, its connection is cut", "exception": error}
        )
        self.end(error)

    def _release(self) -> None:
        self._ended = True
        self._stop_reading()
        self._timers.disarm(self)
        self._timers.release()
        self._pending = []
        self.unsent_bytes = 0
        self._close()

    # The pipe, by subclasses

    def _write(self) -> bool:
        raise NotImplementedError

    def _half_close(self) -> None:
        raise NotImplementedError

    def _read_on(self) -> None:
        raise NotImplementedError

    def _read_off(self) -> None:
        raise NotImplementedError

    def _close(self) -> None:
        raise NotImplementedError


class SocketDriver(StreamDriver):
    """A byte machine on a connected, non-blocking stream socket, which it owns from now on."""

    def __init__(self, loop: asyncio.AbstractEventLoop, machine: Any, sock: socket.socket) -> None:
        StreamDriver.__init__(self, loop, machine)
        self.sock = sock
        self._fd = sock.fileno()
        self._pipe: StreamSocket = net.stream_socket(sock)
        # libuv stops to watch a descriptor at its first error and calls back once: data read then hides a reset
        # behind it for good. So on uvloop one more read follows a little after the last one.
        self._suspicious = type(loop).__module__.startswith("uvloop")
        self._check_at = 0

    def info(self, owner: Owner, name: str) -> Any:
        """socket, sockname, peername."""
        if name == "socket":
            return self.sock
        try:
            if name == "sockname":
                return self.sock.getsockname()
            if name == "peername":
                return self.sock.getpeername()
        except OSError:
            pass
        return None

    def _on_readable(self) -> None:
        try:
            data = self._pipe.recv(READ_BYTES)
        except OSError as error:
            self.fail(error)
            return
        if data is not None:
            if self._suspicious and not self._check_at:
                self._check_at = self.now() + CHECK_NS
                self._timers.arm(self, self._check_at)
            self.feed(data)

    def timer_fired(self, now: int) -> None:
        """The machine's deadline, or the time to see whether the loop still watches the socket."""
        if self._check_at and now >= self._check_at:
            self._check_at = 0
            if self._reading and self._is_full:
                self._check_at = now + CHECK_NS
            elif self._reading and not self._ended:
                self._on_readable()
        StreamDriver.timer_fired(self, now)
        if self._check_at and not self._ended:
            self._timers.arm(self, self._check_at)

    def _on_writable(self) -> None:
        self.loop.remove_writer(self._fd)
        self.writable()

    def _write(self) -> bool:
        while True:
            try:
                sent = self._pipe.send(self._pending, self._offset)
            except OSError as error:
                self._write_failed(error)
                return False
            if sent < 0:
                self._blocked = True
                self.loop.add_writer(self._fd, self._on_writable)
                return False
            if self._sent(sent):
                return True

    def _write_run(self, run: bytearray) -> bool:
        try:
            sent = self._pipe.send_run(run)
        except OSError as error:
            StreamDriver._write_run(self, run)
            self._write_failed(error)
            return False
        if sent == len(run):
            return True
        StreamDriver._write_run(self, run)
        if sent > 0:
            self._sent(sent)
        return False

    def _write_failed(self, error: OSError) -> None:
        """The peer is gone; what it said before may still be there to read."""
        for _ in range(limits.READS_AFTER_FAILURE):
            try:
                data = self._pipe.recv(limits.READ_BYTES_MAX)
            except OSError:
                break
            if not data:
                break
            self.machine.receive(data, self.now())
        self.owner.deliver()
        self.fail(error)

    def _half_close(self) -> None:
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.fail(error)

    def _read_on(self) -> None:
        self.loop.add_reader(self._fd, self._on_readable)

    def _read_off(self) -> None:
        self.loop.remove_reader(self._fd)

    def _close(self) -> None:
        if self._blocked:
            self.loop.remove_writer(self._fd)
        self.sock.close()
