"""A proxy for byte streams (TCP, Unix): each connection is two pipes through the air.

Nothing of a stream can be lost here: both kernels repeat what they lose themselves, out of sight. So it delays, slows
down, stalls, breaks off and falls silent, and whatever it can't hold any more it does not read. It must never change
the order of bytes, nor hold more of a pipe than its bound.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from transport import limits
from transport.tools.air import DOWN, UP, Air

RESET = struct.pack("ii", 1, 0)  # struct linger: close sends RST


@dataclass(frozen=True, slots=True)
class Mischief:
    """What befalls connections beside the link.

    Args:
        stalls: (start, end) in nanoseconds since the first connection, in which nothing is read.
        reset_after_s: seconds after which a connection is reset, or None.
        reset_after_bytes: bytes, both ways together, after which it is reset, or None.
        silent_after_s: seconds after which it stays open and all that is sent vanishes, or None.
    """

    stalls: tuple[tuple[int, int], ...] = ()
    reset_after_s: float | None = None
    reset_after_bytes: int | None = None
    silent_after_s: float | None = None


class Pipe:
    """One direction of one connection."""

    def __init__(self, pair: Pair, way: int, source: socket.socket, sink: socket.socket) -> None:
        self.pair = pair
        self.way = way
        self.source = source
        self.sink = sink
        self.held = 0  # bytes read and not yet given to the other kernel
        self.is_done = False
        self._out = bytearray()
        self._has_ended = False  # the end of the stream has come out of the air
        self._is_reading = False
        self._is_writing = False

    def watch(self) -> None:
        """Reads on, if it may."""
        if not self._is_reading and self.pair.is_open and not self.is_done:
            self._is_reading = True
            self.pair.loop.add_reader(self.source.fileno(), self._readable)

    def rest(self) -> None:
        """Reads no more for now."""
        if self._is_reading:
            self._is_reading = False
            self.pair.loop.remove_reader(self.source.fileno())

    def _readable(self) -> None:
        proxy = self.pair.proxy
        if not self.pair.is_silent and not proxy.may_read(self):
            self.rest()
            proxy.waiting[self] = None
            return
        try:
            data = self.source.recv(limits.PROXY_PIECE_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._end()
            if not self.pair.is_silent:
                proxy.air.act(self.way, self.pair.reset)
                proxy.air.pump()
            return
        if not data:
            self._end()
        if self.pair.is_silent:
            proxy.counts["swallowed_bytes"] += len(data)
        else:
            self._send(data)
            proxy.air.pump()

    def _end(self) -> None:
        """Nothing more comes from the source."""
        self.rest()
        self.is_done = True
        if self.pair.is_silent:
            self.pair.half_done()

    def _send(self, data: bytes) -> None:
        air = self.pair.proxy.air
        self.held += len(data)
        step = limits.PROXY_RATE_PIECE_BYTES if air.configs[self.way].rate_bits_per_s else limits.PROXY_PIECE_BYTES
        for start in range(0, max(len(data), 1), step):
            if not air.send(self.way, data[start : start + step], self):
                self.pair.reset()  # `may_read` sees to it that this can't be; a gap in a stream must never be
                return
        self.pair.count(len(data))

    def deliver(self, data: bytes) -> None:
        """From the air; no bytes are the end of the stream."""
        if not self.pair.is_open or self.pair.is_silent:
            self.pair.proxy.counts["swallowed_bytes"] += len(data)
            return
        if data:
            self._out += data
        else:
            self._has_ended = True
        if not self._is_writing:
            self._writable()

    def _writable(self) -> None:
        try:
            taken = self.sink.send(self._out) if self._out else 0
        except (BlockingIOError, InterruptedError):
            taken = 0
        except OSError:
            self.pair.reset()
            return
        del self._out[:taken]
        self.held -= taken
        if self._out:
            if not self._is_writing:
                self._is_writing = True
                self.pair.loop.add_writer(self.sink.fileno(), self._writable)
            return
        self.stop_writing()
        if self._has_ended:
            self._has_ended = False
            try:
                self.sink.shutdown(socket.SHUT_WR)
            except OSError:
                self.pair.reset()
                return
            self.pair.half_done()
        self.pair.proxy.resume()

    def stop_writing(self) -> None:
        """Watches the sink no more."""
        if self._is_writing:
            self._is_writing = False
            self.pair.loop.remove_writer(self.sink.fileno())


class Pair:
    """One connection: a client's socket, one to the target, a pipe each way."""

    def __init__(self, proxy: Streams, client: socket.socket, target: socket.socket) -> None:
        self.proxy = proxy
        self.loop = proxy.loop
        self.is_open = True
        self.is_silent = False
        self.pipes = (Pipe(self, UP, client, target), Pipe(self, DOWN, target, client))
        self._socks = (client, target)
        self._bytes = 0
        self._ends = 0
        self._timers: list[asyncio.TimerHandle] = []

    def start(self) -> None:
        """Begins to forward."""
        mischief = self.proxy.mischief
        if mischief.reset_after_s is not None:
            self._timers.append(self.loop.call_later(mischief.reset_after_s, self.reset))
        if mischief.silent_after_s is not None:
            self._timers.append(self.loop.call_later(mischief.silent_after_s, self.fall_silent))
        for pipe in self.pipes:
            pipe.watch()

    def count(self, size: int) -> None:
        """So many bytes more have been read."""
        self._bytes += size
        bound = self.proxy.mischief.reset_after_bytes
        if bound is not None and self._bytes >= bound:
            self.reset()

    def fall_silent(self) -> None:
        """From now on all that is sent vanishes, and nobody is told."""
        self.is_silent = True
        self.proxy.counts["silent"] += 1
        for pipe in self.pipes:
            pipe.stop_writing()
            pipe.watch()

    def half_done(self) -> None:
        """One direction has come to its end."""
        self._ends += 1
        if self._ends == len(self.pipes):
            self._close()

    def reset(self) -> None:
        """Breaks off, so that both ends meet a reset."""
        if self.is_open:
            self.proxy.counts["resets"] += 1
            for sock in self._socks:
                linger(sock)
            self._close()

    def _close(self) -> None:
        self.is_open = False
        for timer in self._timers:
            timer.cancel()
        for pipe in self.pipes:
            pipe.rest()
            pipe.stop_writing()
        for sock in self._socks:
            sock.close()
        self.proxy.pairs.pop(self, None)
        self.proxy.resume()

    def close(self) -> None:
        """Ends it because the proxy ends: what is under way is lost, so both ends meet a reset."""
        if self.is_open:
            for sock in self._socks:
                linger(sock)
            self._close()


class Streams:
    """The proxy on one listening socket, which it owns.

    Args:
        listening: bound, listening, not blocking.
        dial: opens a socket to the target, or raises OSError.
        queue_bytes: by direction, what may wait before the rate.

    Attributes:
        pairs: connections that are open.
        waiting: pipes that may not read on yet.
        counts: what happened beside the link.
    """

    def __init__(self, listening: socket.socket, dial: Callable[[], Awaitable[socket.socket]], air: Air,
                 mischief: Mischief, queue_bytes: tuple[int, int],
                 connections_max: int = limits.PROXY_CONNECTIONS_MAX) -> None:  # fmt: skip
        self.loop = asyncio.get_running_loop()
        self.air = air
        self.mischief = mischief
        self.pairs: dict[Pair, None] = {}
        self.waiting: dict[Pipe, None] = {}
        self._listening = listening
        self._dial = dial
        self._queue_bytes = queue_bytes
        self._connections_max = connections_max
        self._dialling: set[asyncio.Task[None]] = set()
        self._stalled: asyncio.TimerHandle | None = None
        self._full: asyncio.TimerHandle | None = None
        self._accepting: asyncio.TimerHandle | None = None
        self._began = 0
        self.counts = dict.fromkeys(("connections", "refused", "failed", "resets", "silent", "swallowed_bytes"), 0)

    def start(self) -> None:
        """Begins to accept."""
        self._accepting = None
        self.loop.add_reader(self._listening.fileno(), self._accept)

    def close(self) -> None:
        """Closes every socket."""
        for timer in (self._stalled, self._full, self._accepting):
            if timer is not None:
                timer.cancel()
        self.loop.remove_reader(self._listening.fileno())
        self._listening.close()
        for task in self._dialling:
            task.cancel()
        for pair in list(self.pairs):
            pair.close()

    def connections(self) -> int:
        """Connections that are open."""
        return len(self.pairs)

    def kernel_drops(self, _: int) -> int:
        """None: a kernel drops nothing of a stream."""
        return 0

    def _accept(self) -> None:
        for _ in range(limits.ACCEPTS_PER_TICK):
            try:
                client, _ = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # no descriptor left: they wait in the kernel meanwhile
                self.loop.remove_reader(self._listening.fileno())
                self._accepting = self.loop.call_later(limits.ACCEPT_BACKOFF_S, self.start)
                return
            client.setblocking(False)
            if len(self.pairs) + len(self._dialling) >= self._connections_max:
                self.counts["refused"] += 1
                linger(client)
                client.close()
                continue
            task = self.loop.create_task(self._join(client))
            self._dialling.add(task)
            task.add_done_callback(self._dialling.discard)

    async def _join(self, client: socket.socket) -> None:
        """Dials for a client; what can't be reached is a reset to it."""
        try:
            async with asyncio.timeout(limits.PROXY_CONNECT_S):
                target = await self._dial()
        except OSError:  # TimeoutError is one
            self.counts["failed"] += 1
            linger(client)
            client.close()
            return
        except BaseException:
            client.close()
            raise
        for sock in (client, target):
            if sock.family != getattr(socket, "AF_UNIX", None):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.counts["connections"] += 1
        self._began = self._began or self.air.now()
        pair = Pair(self, client, target)
        self.pairs[pair] = None
        pair.start()

    def may_read(self, pipe: Pipe) -> bool:
        """Whether there is room for what a pipe may read next, and no stall."""
        now = self.air.now()
        for start, end in self.mischief.stalls:
            if self._began + start <= now < self._began + end:
                if self._stalled is None:
                    self._stalled = self.loop.call_later((self._began + end - now) / limits.SECOND_NS, self._go_on)
                return False
        excess = self.air.links[pipe.way].queued_bytes(now) - self._queue_bytes[pipe.way]
        if excess >= 0:
            # What leaves the queue may arrive much later, so that no arrival tells of the room.
            if self._full is None:
                seconds = 8 * (excess + 1) / self.air.configs[pipe.way].rate_bits_per_s
                self._full = self.loop.call_later(seconds, self._has_drained)
            return False
        return pipe.held < limits.PROXY_PIPE_BYTES and self.air.has_room(
            limits.PROXY_PIECE_BYTES, limits.PROXY_PIECE_BYTES // limits.PROXY_RATE_PIECE_BYTES
        )

    def _go_on(self) -> None:
        self._stalled = None
        self.resume()

    def _has_drained(self) -> None:
        self._full = None
        self.resume()

    def resume(self) -> None:
        """There may be room: whoever was told to wait looks again."""
        if self.waiting:
            waiting, self.waiting = self.waiting, {}
            for pipe in waiting:
                pipe.watch()

    def deliver(self, _: int, data: bytes, pipe: Pipe) -> None:
        """From the air."""
        pipe.deliver(data)
        self.resume()


def linger(sock: socket.socket) -> None:
    """Has `close` send a reset."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    except OSError:
        pass
