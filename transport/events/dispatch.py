"""Messages of clients to the handlers of a namespace: in order for each client, and settled in the log when done.

A message is settled when its receipt is stored; only then it is acknowledged, or its reply sent. Events that a handler
emits carry the message as their cause, so that a handler that runs again after a crash causes nothing twice. It must
never let one client's handlers hold up another's.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from transport import CloseCode, limits
from transport.errors import CodecError
from transport.events import envelope, handlers
from transport.events.errors import CallFailed, Refused
from transport.events.session import Session
from transport.log.base import Log
from transport.log.errors import Fenced, LogError, LogFailed, LogLimit
from transport.log.records import Appended, Cause, Committed, Receipt, Stream

if TYPE_CHECKING:
    from transport.events.app import Events
    from transport.events.link import Link

log = logging.getLogger("transport.events")


class Turn:
    """A message that is being handled: what its handler appends has it as its cause."""

    __slots__ = ("number", "open", "session", "step")

    def __init__(self, session: Session, number: int) -> None:
        self.session = session
        self.number = number
        self.step = 0
        self.open = True

    def cause(self) -> Cause:
        """Of the next append."""
        self.step += 1
        return Cause(self.session.id, self.session.generation, self.number, self.step - 1)


turn_now: ContextVar[Turn | None] = ContextVar("turn_now", default=None)


async def append(log: Log, stream: Stream, body: bytes, skip: Sequence[str], key: str | None) -> Appended:
    """Appends an event, which has the message that is being handled now as its cause.

    The client may come back meanwhile, and the log knows of that before this process does: then once more, as its newer
    generation. Raises LogError.
    """
    turn = turn_now.get()
    if turn is None or not turn.open:
        return await log.append(stream, body, skip=skip, key=key)
    cause = turn.cause()
    while True:
        try:
            return await log.append(stream, body, skip=skip, key=key, cause=cause)
        except Fenced:
            if turn.session.generation == cause.generation:  # it lives on in another process, or is forgotten
                raise
            cause = cause._replace(generation=turn.session.generation)


class Inbox:
    """Messages of one session on their way to their handlers.

    Attributes:
        tasks: that run handlers.
    """

    def __init__(self, app: Events, session: Session, concurrency: int) -> None:
        self._app = app
        self._session = session
        self._concurrency = concurrency
        self._queue: deque[tuple[envelope.Message, int]] = deque()  # bounded by the window
        self._queued_bytes = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self._busy = 0
        self._settling = 0  # handled, and not stored yet
        self._settling_bytes = 0  # of their replies
        self._over = False
        self._waiters: list[asyncio.Future[None]] = []

    def put(self, message: envelope.Message, size: int) -> None:
        """One more; above the bound its client is not read, as a rule."""
        self._queue.append((message, size))
        self._queued_bytes += size
        member = self._session.member
        if self._queued_bytes > limits.EVENTS_INBOX_BYTES and member is not None:
            member.hold_reading(self._queued_bytes - size)
        self.start()

    def start(self) -> None:
        """Has as many handlers at work as may be; not before the client is let in."""
        member = self._session.member
        while self._queue and self._busy < self._concurrency:
            if member is not None and not member.is_open:
                return
            self._busy += 1
            task = self._app.loop.create_task(self._run())
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    @property
    def busy(self) -> int:
        """Handlers at work."""
        return self._busy

    def cancel(self) -> None:
        """Ends them all."""
        self._over = True
        for task in self.tasks:
            task.cancel()

    async def _run(self) -> None:
        try:
            await self._work()
        finally:
            self._busy -= 1  # here, not when the task is seen to be done: what is put in between would wait for ever

    async def _work(self) -> None:
        while self._queue:
            message, size = self._queue.popleft()
            self._queued_bytes -= size
            member = self._session.member
            if member is not None and self._queued_bytes <= limits.EVENTS_INBOX_BYTES // 2:
                member.go_on_reading()
            if member is not None and member.paused:
                await member.room_to_write()  # a client that does not read gets no more replies made
            reply = await self._handle(message)
            await self._settle(message.number, reply if message.wants_reply else None)

    async def _settle(self, number: int, reply: bytes | None) -> None:
        """Has it stored while the next message is handled, unless too much is on its way there."""
        size = 0 if reply is None else len(reply)
        self._settling += 1
        self._settling_bytes += size
        task = self._app.task(store(self._app, self._session, number, reply))
        task.add_done_callback(lambda _: self._settled(size))
        while self._settling >= limits.EVENTS_SETTLING or self._settling_bytes >= limits.EVENTS_SETTLING_BYTES:
            waiter: asyncio.Future[None] = self._app.loop.create_future()
            self._waiters.append(waiter)
            await waiter

    def _settled(self, size: int) -> None:
        self._settling -= 1
        self._settling_bytes -= size
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _handle(self, message: envelope.Message) -> bytes:
        app, session = self._app, self._session
        app.hub.counters["messages"] += 1
        turn = Turn(session, message.number)
        token = turn_now.set(turn)
        limit = asyncio.timeout(app.handler_timeout)
        try:
            async with limit:
                value = await session.namespace.handle(session.context, message.name, message.data)
            return self._result(message, value)
        except TimeoutError:
            if limit.expired():
                log.warning("the handler of %r took over %g s and was ended", message.name, app.handler_timeout)
                return self._failed(message, "timeout", f"the handler took over {app.handler_timeout:g} s")
            log.exception("the handler of %r failed", message.name)
            return self._failed(message, "failed", "internal error")
        except handlers.Invalid as error:
            self._note(message, f"its data does not fit: {error}")
            return self._failed(message, "invalid", str(error))
        except CallFailed as error:
            if error.code == "unknown_event":
                self._note(message, error.text)
            return self._failed(message, error.code, error.text)
        except Refused as error:
            return self._failed(message, error.reason, error.text)
        except LogFailed as error:
            log.warning("a handler of %r could not write to the log: %s", message.name, error)
            return self._failed(message, "log_full", "the log can't be written")
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._over or (task is not None and task.cancelling()):
                session.running.discard(message.number)  # it is handled when it is sent again
                raise
            log.exception("the handler of %r ended as if it had been cancelled", message.name)
            return self._failed(message, "failed", "internal error")
        except Exception:
            log.exception("the handler of %r failed", message.name)
            return self._failed(message, "failed", "internal error")
        finally:
            turn.open = False
            turn_now.reset(token)

    def _result(self, message: envelope.Message, value: Any) -> bytes:
        try:
            return envelope.result(True, handlers.plain(value))
        except CodecError as error:
            log.error("what the handler of %r returned can't be sent: %s", message.name, error)  # noqa: TRY400
            return self._failed(message, "failed", "internal error")

    def _note(self, message: envelope.Message, why: str) -> None:
        """An emitted event comes to nothing, and its client is not told: so a name that is misspelt is found."""
        noted = self._session.namespace.noted
        if not message.wants_reply and message.name not in noted and len(noted) < limits.EVENTS_UNHANDLED_MAX:
            noted.add(message.name)
            log.warning("an event %r of a client of %r was not handled: %s", message.name,
                        self._session.namespace.name, why)  # fmt: skip

    def _failed(self, message: envelope.Message, code: str, text: str) -> bytes:
        self._app.hub.counters[f"failed_{code}" if code in KNOWN else "failed_by_program"] += 1
        return envelope.failure(code, text)


KNOWN = frozenset({"unknown_event", "invalid", "failed", "timeout", "denied", "busy", "log_full"})


async def store(app: Events, session: Session, number: int, reply: bytes | None) -> None:
    """Stores that a message was handled, then tells the client. What can't be stored now is kept for another try."""
    done: Committed | None = None
    while done is None:
        held = session.generation
        receipt = Receipt(session.id, held, number, reply, confirmed=session.floor - 1)
        try:
            done = await app.hub.log.commit((), receipt)
        except Fenced as error:
            if session.generation == held:  # it lives on in another process, or is forgotten
                session.running.discard(number)
                if session.member is not None:
                    session.member.fenced(error)
                return
        except LogLimit as error:
            if reply is None or error.what != "reply":
                session.running.discard(number)
                app.hub.counters["malformed"] += 1
                log.warning("a receipt of session %s is refused: %s", session.id, error)
                if session.member is not None:  # its client calls settled what the log could not take
                    session.member.cut(CloseCode.POLICY, "messages are called settled that are not")
                return
            reply = envelope.failure("failed", f"the reply is too large: {error.size} bytes")
        except Exception as error:
            if not isinstance(error, LogError):
                log.exception("a log fails in a way of its own")
            session.unstored[number] = reply if reply is not None else b""
            if session.member is not None:
                session.member.log_failed(error)
            return
    if done.repeated and done.reply is not None:
        reply = done.reply
    further = session.handled(number)
    member = session.member
    if member is not None and not member.over:
        if reply is not None:
            answer(member, number, reply)
        if further:
            member.acknowledge()


def answer(member: Any, number: int, reply: bytes) -> None:
    """Sends a reply, or says that it is too large for this client."""
    if not member.write(envelope.reply(number, reply)):
        member.write(envelope.reply(number, envelope.failure("failed", f"the reply is too large: {len(reply)} bytes")))


async def repeat(session: Session, link: Link, message: envelope.Message) -> None:
    """Answers a message that was handled before with the reply that is stored."""
    try:
        stored = await link.hub.log.reply(session.id, message.number)
    except LogError as error:
        link.log_failed(error)
        return
    if not link.over:
        if message.wants_reply:
            answer(link, message.number, stored or envelope.failure("lost", "the reply is forgotten"))
        link.acknowledge()
