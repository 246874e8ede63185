"""Who owns a server's new connection until it becomes a WebSocket: it runs the routes of plain HTTP.

A `Gate` owns one pipe; `Gates` are those of one listener, and bounded. It must never run two routes of one connection
at once, nor let clients that hold connections open keep others out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from transport import limits
from transport.drive.base import Owner
from transport.errors import LocalProtocolError
from transport.machine import Closed
from transport.websocket.http import Asked, HttpResponse, SocketRoute, UpgradeAsked, plain
from transport.websocket.kinds import KindsCodec

log = logging.getLogger("transport")
_KINDS = KindsCodec()


def response_of(answer: Any) -> HttpResponse:
    """What a route gave, as an answer. Raises LocalProtocolError for what is none."""
    if isinstance(answer, HttpResponse):
        return answer
    if isinstance(answer, bytes | str):
        return HttpResponse(answer)
    raise LocalProtocolError(f"a route gives an HttpResponse, text or bytes, not {type(answer).__name__}")


class Gate(Owner):
    """One connection that speaks HTTP."""

    def __init__(self, gates: Gates, session: Any, driver: Any, info: Any) -> None:
        self._gates = gates
        self._session = session
        self._driver = driver
        self._info = info
        self._task: asyncio.Task[None] | None = None
        self._paused = False
        self._unsent = 0
        self._drained: asyncio.Future[None] | None = None
        self._is_gone = False
        self._watch: asyncio.TimerHandle | None = None  # over the last answer
        self.is_busy = False  # a route is at work

    def deliver(self) -> None:
        """From the driver, and after every answer."""
        for event in self._session.events():
            if isinstance(event, Asked):
                event.request.remote_address = self._info.remote
                self._task = self._driver.loop.create_task(self._answer(event.request, event.route))
            elif isinstance(event, UpgradeAsked):
                event.request.remote_address = self._info.remote
                self._upgrade(event.route)
                return
            elif isinstance(event, Closed):
                self._see_off()
        http = self._session.http
        crowded = http is not None and http.held_bytes > limits.HTTP_PIPELINED_BYTES
        if crowded and not self._paused:
            self._paused = True
            self._driver.pause_reading(self)
        elif self._paused and not crowded:
            self._paused = False
            self._driver.resume_reading(self)

    def _upgrade(self, route: SocketRoute | None) -> None:
        """Gives the connection to the server, if that wants it."""
        info = self._info if route is None else replace(self._info, protocol=route.protocol, codec=_KINDS)
        try:
            owner = self._gates.owner(self._session, self._driver, info)
        except ConnectionRefusedError as error:
            self._refuse(503, str(error))
            return
        except Exception:  # a mistake in this program, which is no reason to leave a client without an answer
            log.exception("no protocol for a WebSocket of %s", self._info.remote)
            self._refuse(500, "internal error")
            return
        self._gates.leave(self)
        if self._paused:
            self._driver.resume_reading(self)
        self._driver.hand_over(owner)
        self._session.accept(self._driver.now(), route is not None)
        owner.deliver()

    def _refuse(self, status: int, text: str) -> None:
        self._session.refuse(status, text, self._driver.now())
        self.deliver()

    async def _answer(self, request: Any, route: Any) -> None:
        """Runs one route. What it raises is the server's own fault, and its client is told no more than that."""
        if not await self._has_room():
            return
        try:
            if isinstance(route, HttpResponse):
                response = route
            else:
                response = await self._run(request, route)
        except TimeoutError:
            log.warning("the route %s did not answer within %g s", request.path, limits.HTTP_HANDLER_S)
            response = plain(503)
        except (Exception, asyncio.CancelledError):
            if self._is_gone:
                raise
            log.exception("the route %s failed", request.path)
            response = plain(500)
        self._task = None
        self._session.respond(response, self._driver.now())
        self.deliver()
        self._driver.wake()

    async def _run(self, request: Any, route: Any) -> HttpResponse:
        gates = self._gates
        if gates.is_busy():
            gates.count("http_busy")
            return plain(503, "too many requests are being answered", [("Retry-After", "1")])
        self.is_busy = True
        gates.busy += 1
        try:
            async with asyncio.timeout(limits.HTTP_HANDLER_S):
                return response_of(await route(request))
        finally:
            self.is_busy = False
            gates.busy -= 1

    def _unwritten(self) -> int:
        return self._driver.unsent_bytes + self._session.unwritten  # type: ignore[no-any-return]

    async def _has_room(self) -> bool:
        """Waits until earlier answers have left; False if the client takes nothing of them, and is cut off."""
        while (before := self._unwritten()) > limits.HTTP_PIPELINED_BYTES:
            self._drained = self._driver.loop.create_future()
            try:
                async with asyncio.timeout(limits.HTTP_IDLE_S):
                    await self._drained
            except TimeoutError:
                if self._unwritten() >= before:
                    self._stalled()
                    return False
        return True

    def _see_off(self) -> None:
        """The last answer is written: the pipe ends when it has left, and before that if it does not move on."""
        if self._watch is None:
            self._watch = self._driver.loop.call_later(limits.HTTP_IDLE_S, self._look, self._unwritten())

    def _look(self, before: int) -> None:
        unsent = self._unwritten()
        if 0 < unsent < before or not before:
            self._watch = self._driver.loop.call_later(limits.HTTP_IDLE_S, self._look, unsent)
        elif unsent:
            self._stalled()

    def _stalled(self) -> None:
        """The client takes nothing of its answer."""
        self._gates.count("http_stalled")
        self.cut()

    def flushed(self) -> None:
        """From the driver: some of an answer may have left."""
        unsent = self._unwritten()
        if unsent != self._unsent:
            self._unsent = unsent
            self._session.moved(self._driver.now())
            if self._drained is not None and not self._drained.done() and unsent <= limits.HTTP_PIPELINED_BYTES:
                self._drained.set_result(None)
        if self._watch is not None and not unsent:
            self._driver.finish(self)

    def lost(self, error: BaseException | None) -> None:
        """From the driver: the pipe is gone."""
        self._is_gone = True
        self._gates.leave(self)
        if self._watch is not None:
            self._watch.cancel()
        if self._task is not None:
            self._task.cancel()

    def drain(self) -> None:
        """The server is closing: the answer under way is the last."""
        self._session.drain()
        self.deliver()
        self._driver.wake()

    def cut(self) -> None:
        """Ends it now."""
        self._driver.cut(self, None)


class Gates:
    """The connections of one listener that are no WebSockets (yet).

    Args:
        owner: makes the owner of a WebSocket, or raises ConnectionRefusedError.
        counts: of the listener; "http_dropped" counts those that made room.
        most: so many at once.
    """

    def __init__(self, owner: Callable[[Any, Any, Any], Owner], counts: dict[str, int], most: int) -> None:
        self.owner = owner
        self.busy = 0  # routes at work
        self._most = most
        self._busy_most = max(1, most - max(1, most // limits.HTTP_SPARE_SHARE))
        self._counts = counts
        self._gates: dict[Gate, None] = {}  # the oldest first
        self._empty: asyncio.Future[None] | None = None
        self._is_closing = False

    def is_busy(self) -> bool:
        """Whether as many routes are at work as may be: the rest of the connections stay free for handshakes."""
        return self.busy >= self._busy_most

    def count(self, name: str) -> None:
        """Adds one to the counter `name`."""
        self._counts[name] = self._counts.get(name, 0) + 1

    def __len__(self) -> int:
        return len(self._gates)

    def own(self, session: Any, driver: Any, info: Any) -> Gate:
        """The gate for a new pipe. Raises ConnectionRefusedError when the server is closing."""
        if self._is_closing:
            raise ConnectionRefusedError("the server is closing")
        if len(self._gates) >= self._most:
            self._make_room()
        gate = Gate(self, session, driver, info)
        self._gates[gate] = None
        return gate

    def _make_room(self) -> None:
        """Cuts the oldest connection that no route is at work for. Raises ConnectionRefusedError if there is none."""
        self.count("http_dropped")
        for gate in self._gates:
            if not gate.is_busy:
                self.leave(gate)
                gate.cut()
                return
        raise ConnectionRefusedError("every connection waits for its answer")

    def leave(self, gate: Gate) -> None:
        """A connection is a WebSocket now, or gone."""
        self._gates.pop(gate, None)
        if not self._gates and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    def stop(self) -> None:
        """No new ones; answers that are under way are the last."""
        self._is_closing = True
        for gate in list(self._gates):
            gate.drain()

    async def close(self) -> None:
        """Returns when all are gone, after a little patience for answers under way."""
        self.stop()
        if self._gates:
            self._empty = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._empty], timeout=limits.HTTP_DRAIN_S)
        for gate in list(self._gates):
            gate.cut()
        tasks = [gate._task for gate in self._gates if gate._task is not None]
        if self._gates:
            self._empty = asyncio.get_running_loop().create_future()
            await self._empty
        if tasks:
            await asyncio.wait(tasks, timeout=limits.CANCELLED_HANDLER_S)
