"""A client's handlers at work: events in order, or several at once if asked; calls of the server; gaps.

It must never hold more than its bounds: streams are bounded by their trackers, volatile events and calls here.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from transport import limits
from transport.errors import CodecError
from transport.events import handlers
from transport.events.client import Asked
from transport.events.errors import CallFailed
from transport.events.messages import Message

if TYPE_CHECKING:
    from transport.events.connect import EventsClient

log = logging.getLogger("transport.events")


class Work:
    """What waits for handlers, and the tasks that run them.

    Attributes:
        handlers: by name.
        on_gap: who hears of gaps.
        counters: since the start.
    """

    def __init__(self, client: EventsClient, concurrency: int) -> None:
        handlers.check_concurrency(concurrency)
        self.handlers = handlers.Handlers(("message",), ("message",))
        self.on_gap: Callable[[Message], Any] | None = None
        self.counters: Counter[str] = Counter()
        self._client = client
        self._concurrency = concurrency
        self._queue: deque[Message | Asked] = deque()
        self._loose = 0
        self._calls = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy = 0
        self._over = False

    def put(self, message: Message) -> None:
        """An event of a stream, or a gap."""
        self._queue.append(message)
        self._start()

    def put_loose(self, message: Message) -> None:
        """A volatile event; above the bound the oldest of them goes."""
        if self._loose >= limits.EVENTS_VOLATILE_MAX:
            oldest = next(one for one in self._queue if isinstance(one, Message) and one.volatile)
            self._queue.remove(oldest)
            self._loose -= 1
            self.counters["volatile_dropped"] += 1
        self._loose += 1
        self.put(message)

    def asked(self, what: Asked) -> None:
        """The server wants an answer."""
        if self._calls >= limits.EVENTS_CLIENT_CALLS_MAX:
            self.counters["calls_refused"] += 1
            self._answer(what, False, {"code": "busy", "text": "too many calls wait"})
            return
        self._calls += 1
        self._queue.append(what)
        self._start()

    def caught_up(self, room: str, count: int) -> None:
        """All that was missed has come."""
        self.counters["caught_up"] += 1
        self.counters["replayed"] += count

    def _start(self) -> None:
        while self._queue and self._busy < self._concurrency and not self._over:
            self._busy += 1
            task = self._client.loop.create_task(self._run())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def end(self) -> None:
        """Nothing more is begun; what is at work is cut off."""
        self._over = True
        self._queue.clear()
        own = asyncio.current_task()
        for task in self._tasks:
            if task is not own:
                task.cancel()

    async def ended(self) -> None:
        """Returns when what was at work has ended."""
        own = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not own]
        if tasks:
            await asyncio.wait(tasks, timeout=limits.CANCELLED_HANDLER_S)

    async def _run(self) -> None:
        try:
            await self._work()
        finally:
            self._busy -= 1  # here, not when the task is seen to be done: what is put in between would wait for ever

    async def _work(self) -> None:
        while self._queue and not self._over:
            what = self._queue.popleft()
            if isinstance(what, Asked):
                self._calls -= 1
                await self._serve(what)
                continue
            self._loose -= what.volatile
            try:
                await self._handle(what)
            except (Exception, asyncio.CancelledError) as error:
                self._check_cancelled(error)
                log.exception("the handler of %r failed", what.name or "a gap")
                self.counters["failed"] += 1
                if self._client.keeps_cursor:  # it comes again after a restart; without, nothing could bring it back
                    what.failed = True
            what.settle()

    def _check_cancelled(self, error: BaseException) -> None:
        """Raises again what ends this task; a handler that raises CancelledError of its own has only failed."""
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and (self._over or (task is not None and task.cancelling())):
            raise error

    async def _handle(self, message: Message) -> None:
        if message.gap is not None:
            if self.on_gap is None:
                log.warning(
                    "events of %r are missing: %s. A function given to client.on_gap is told in place of this line",
                    message.room or "this client", message.gap,
                )  # fmt: skip
            else:
                result = self.on_gap(message)
                if hasattr(result, "__await__"):
                    await result
            return
        found = self.handlers.find(message.name)
        self.counters["unhandled"] += not found
        for handler in found:
            await self._call(handler, message)

    async def _call(self, handler: handlers.Handler, message: Message) -> Any:
        if handler.kind is not None:
            message.event = handlers.convert(message.event, handler.kind)
        result = handler.function(message)
        if hasattr(result, "__await__"):
            result = await result
        return result

    async def _serve(self, what: Asked) -> None:
        """One call of the server."""
        call = what.call
        message = Message(self._client, None, what.room, 0, 0, call.name, call.data, volatile=True)
        try:
            found = self.handlers.find(call.name)
            if not found:
                raise CallFailed("unknown_event", f"nobody handles {call.name!r:.80}")
            answer: Any = handlers.plain(await self._call(found[0], message))
            self._answer(what, True, answer)
        except handlers.Invalid as error:
            self._answer(what, False, {"code": "invalid", "text": str(error)})
        except CallFailed as error:
            self._answer(what, False, {"code": error.code, "text": error.text})
        except (Exception, asyncio.CancelledError) as error:
            self._check_cancelled(error)
            log.exception("the handler of the server's call %r failed", call.name)
            self._answer(what, False, {"code": "failed", "text": "internal error"})

    def _answer(self, what: Asked, ok: bool, data: Any) -> None:
        try:
            self._client.machine.answer(what.call.call, ok, data)
        except CodecError:
            self._client.machine.answer(what.call.call, False, {"code": "failed", "text": "the answer can't be sent"})
            log.exception("the answer to %r can't be sent", what.call.name)
        self._client.write()
