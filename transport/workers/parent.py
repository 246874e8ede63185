"""The parent of a server of several processes: opens the sockets, keeps its workers alive, adds up what they report.

Workers are spawned, never forked: each imports the handler by its name. A worker that crashes is started again after a
while that grows; the connections that wait in its socket's queue meanwhile are served by its successor. It must never
leave a process behind, whatever ends it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import os
import re
import signal
import socket
import sys
import threading
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Mapping
from typing import Any

from transport import limits
from transport.codec.base import resolve
from transport.errors import (
    ConnectFailed,
    ConnectionClosed,
    LocalProtocolError,
    TransportError,
    UnsupportedOperation,
)
from transport.options import COMMON
from transport.reconnect.backoff import Backoff
from transport.server import ServerStatistics
from transport.transports.base import Request
from transport.transports.registry import Registry
from transport.url import Url, parse, parse_options
from transport.workers import line

log = logging.getLogger("transport")
RESTART = Backoff(initial=0.1, maximum=5.0, jitter=0.0)  # shorter than a connect's time-out: nobody waits in vain
BOOT = (
    "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); import json, sys; "
    "sys.path[:] = json.loads(sys.argv[1]); from transport.workers.child import main; main(sys.argv[2:])"
)
_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


async def serve_workers(
    url: str | Url, handler: Any, workers: Any, options: dict[str, Any], *, unsupported: Mapping[str, Any]
) -> WorkerServer:
    """Starts a server of `workers` processes; returns when all of them serve.

    Args:
        url: where to listen; any transport with a `share` operation.
        handler: "package.module:name" of a coroutine function. A name in `__main__` works too, if the program's start
            stands under `if __name__ == "__main__":`.
        workers: how many processes.
        options: `codec`, `framing` and the scheme's options; they must be picklable.
        unsupported: arguments of `serve` that mean nothing here, refused unless None.

    Raises:
        LocalProtocolError: a mistake in the call, or a worker that can't import the handler; the text says why.
        UnsupportedOperation: this scheme or system has no workers. OSError: the address can't be bound.
    """
    request, transport = _prepare(url, handler, workers, options, unsupported)
    main = _main_module()
    packed = line.pack_options(options)
    if handler.startswith("__main__:") and main is None:
        raise LocalProtocolError(f"{handler!r}: this program's main module is no file that a worker could import")
    needs_main = handler.startswith("__main__:") or b"__main__" in packed
    shared = await transport.share(request, workers)
    job = line.Job(handler, str(shared.url), list(sys.argv), main if needs_main else None, packed, secret=shared.secret)
    in_query = getattr(transport, "options_in_query", True)
    server = WorkerServer(shared, job, shared.url.without_query() if in_query else shared.url)
    try:
        await server.start()
    except BaseException:
        await server.close(grace=0)
        raise
    return server


def _prepare(
    url: str | Url, handler: Any, workers: Any, options: dict[str, Any], unsupported: Mapping[str, Any]
) -> tuple[Request, Any]:
    """Finds every mistake that can be found before a process is started."""
    if "transport.workers.child.started" in sys.modules:
        raise LocalProtocolError(
            "a worker can't have workers: the start of a program with workers stands under `if __name__ == '__main__':`"
        )
    for name, value in unsupported.items():
        if value is not None:
            raise LocalProtocolError(f"{name} does not go with workers, which are processes of their own")
    if not isinstance(handler, str):
        raise LocalProtocolError(f"workers are other processes and import their handler: {_suggestion(handler)}")
    if not _NAME.fullmatch(handler):
        raise LocalProtocolError(f"{handler[:100]!r} is no name of a handler such as 'package.module:name'")
    if isinstance(workers, bool) or not isinstance(workers, int) or not 1 <= workers <= limits.WORKERS_MAX:
        raise LocalProtocolError(f"workers is a number from 1 to {limits.WORKERS_MAX}, not {workers!r}")
    parsed = parse(url)
    transport = Registry.default().find(parsed.scheme)
    can_share = hasattr(transport, "share")
    if not can_share or os.name != "posix":
        where = "this system" if can_share else f"{parsed.scheme}://"
        raise UnsupportedOperation(f"{where} can't be served by several processes")
    given = {name: value for name, value in options.items() if name not in ("codec", "framing")}
    in_query = getattr(transport, "options_in_query", True)
    typed = parse_options(parsed, given, {**COMMON, **transport.options}, use_query=in_query)
    resolve(options.get("codec", "msgpack"))
    asked = Request(url=parsed, owner=_nobody, options=typed, framing=options.get("framing", "message"))
    return asked, transport


def _nobody(*_: Any) -> Any:
    raise AssertionError("the parent of workers serves nothing itself")


def _suggestion(handler: Any) -> str:
    module, name = getattr(handler, "__module__", None), getattr(handler, "__qualname__", "<>")
    if module is None or "<" in name:
        return f"give the name of a function of a module, 'package.module:name', not {handler!r}"
    return f"give its name, {f'{module}:{name}'!r}"


def _main_module() -> line.Main | None:
    """How another process can import what is `__main__` here."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name != "__main__":
        return line.Main(spec.name, "")
    path = getattr(main, "__file__", None)
    return None if path is None else line.Main("", os.path.abspath(path))


class WorkerServer:
    """What `serve(..., workers=N)` gives.

    On SIGTERM `serve_forever` closes it, unless the program has a handler of its own; the workers of a parent that dies
    drain and end by themselves.

    Attributes:
        url: what to connect to: with the real port, and without the options that were meant for this side.
        restarts: how often a worker had to be started again.
    """

    def __init__(self, shared: Any, job: line.Job, url: Url) -> None:
        self.url = url
        self.restarts = 0
        self.job = job
        self.closing = False
        self._shared = shared
        self._loop = asyncio.get_running_loop()
        self._workers = [_Supervised(self, number, group) for number, group in enumerate(shared.groups)]
        outboxes = [outbox for _, outbox in shared.links]
        for worker, (inbox, _) in zip(self._workers, shared.links, strict=False):
            worker.links = [inbox, *outboxes]
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._failure: str | None = None

    async def start(self) -> None:
        """Starts every worker; raises what kept one from serving."""
        for worker in self._workers:
            worker.task = self._loop.create_task(worker.run())
        await asyncio.gather(*(worker.ready for worker in self._workers))

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that are there now."""
        return tuple(worker.process.pid for worker in self._workers if worker.process is not None)

    def given_up(self, worker: _Supervised) -> None:
        """From a worker that crashes again and again: its socket goes, so that the kernel asks the others."""
        others = [other for other in self._workers if other is not worker and not other.over]
        kept = {id(sock) for other in others for sock in other.socks}
        for sock in worker.socks:
            if id(sock) not in kept:
                sock.close()
        if not others:
            self._failure = "every worker crashed again and again, the last with " + worker.last_words
            self._loop.create_task(self.close(grace=0)).add_done_callback(_retrieved)

    def statistics(self) -> ServerStatistics:
        """The sum over all workers, those that are gone included, as last reported: up to a second old.

        What a worker counted after its last report is gone with it when it crashes.
        """
        return line.snapshot(line.merge([part for worker in self._workers for part in worker.reports()]))

    async def refresh(self) -> ServerStatistics:
        """`statistics()` as they are now: asks every worker."""
        await asyncio.gather(*(worker.ask() for worker in self._workers))
        return self.statistics()

    async def serve_forever(self) -> None:
        """Returns when the server is closed, also by SIGTERM; cancelled, it closes it.

        Raises:
            TransportError: every worker has been given up.
        """
        watching = self._watch_sigterm()
        try:
            await asyncio.shield(self._closed)
        except asyncio.CancelledError:
            await self.close()
            raise
        finally:
            if watching:
                self._loop.remove_signal_handler(signal.SIGTERM)
        if self._failure is not None:
            raise TransportError(self._failure)

    def _watch_sigterm(self) -> bool:
        if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM):
            return False  # SIG_DFL is 0
        try:
            self._loop.add_signal_handler(signal.SIGTERM, self._terminated)
        except (NotImplementedError, RuntimeError):
            return False
        return True

    def _terminated(self) -> None:
        self._loop.create_task(self.close()).add_done_callback(_retrieved)

    async def close(self, grace: float = limits.CLOSE_GRACE_S) -> None:
        """Stops accepting, has every worker drain, and kills what is left after `grace` seconds and a little more.

        Idempotent; a second call waits for the first.
        """
        if self.closing:
            await asyncio.shield(self._closed)
            return
        self.closing = True
        self._shared.close()  # first: while a copy is open, the kernel takes connections that nobody will accept
        try:
            await asyncio.gather(*(worker.stop(grace) for worker in self._workers))
        finally:
            for worker in self._workers:
                worker.kill()
            if not self._closed.done():
                self._closed.set_result(None)

    async def __aenter__(self) -> WorkerServer:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed.done() else "closing" if self.closing else "serving"
        return f"<WorkerServer {self.url} {state} workers={len(self.pids)}>"


def _retrieved(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("closing a server failed", exc_info=error)


class _Supervised:
    """One worker and its successors."""

    def __init__(self, server: WorkerServer, number: int, socks: list[socket.socket]) -> None:
        self.socks = socks
        self.links: list[socket.socket] = []
        self.process: Process | None = None
        self.over = False
        self.last_words = ""
        self.task: asyncio.Task[None] | None = None
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._server = server
        self._number = number
        self._conn: Any = None
        self._lifeline = -1
        self._past: line.Report = {}
        self._now: line.Report = {}
        self._asked: dict[int, asyncio.Future[None]] = {}
        self._token = 0
        self._pause: asyncio.Future[None] | None = None

    async def run(self) -> None:
        """Keeps a worker running until the server closes or it has crashed too often."""
        loop = asyncio.get_running_loop()
        crashes = 0
        try:
            while not self._server.closing:
                began = loop.time()
                failure = await self._live()
                if self._server.closing:
                    return
                if not self.ready.done():
                    self.ready.set_exception(failure or LocalProtocolError(f"a worker ended: {self.last_words}"))
                    return
                crashes = 1 if loop.time() - began >= limits.WORKER_LASTED_S else crashes + 1
                if crashes > limits.WORKER_CRASHES_MAX:
                    log.error("worker %d is given up after %d crashes", self._number, crashes)
                    self.over = True
                    self._server.given_up(self)
                    return
                await self._wait(RESTART.delay(crashes))
                self._server.restarts += 1
        finally:
            self.kill()
            if not self.ready.done():
                self.ready.set_exception(LocalProtocolError("the server was closed before its workers were ready"))
                self.ready.exception()

    async def _wait(self, delay: float) -> None:
        log.warning("worker %d ended (%s), the next follows in %.1f s", self._number, self.last_words, delay)
        self._pause = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(delay):
                await self._pause
        except TimeoutError:
            pass
        finally:
            self._pause = None

    async def _live(self) -> Exception | None:
        """One process from its birth to its end; what kept it from serving, if it never came to it."""
        failure: Exception | None = None
        self.last_words = ""
        ours, theirs = socket.socketpair()
        life, self._lifeline = os.pipe()
        try:
            descriptors = [theirs.fileno(), life, *(sock.fileno() for sock in (*self.socks, *self.links))]
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, *_flags(), "-c", BOOT, json.dumps(sys.path), *map(str, descriptors),
                stdin=DEVNULL, pass_fds=descriptors,
            )  # fmt: skip
            theirs.close()
            failure = await self._converse(ours)
        except (OSError, TransportError) as error:
            failure = error
        finally:
            ours.close()
            theirs.close()
            os.close(life)
            try:
                await self._bury()
            finally:
                self._let_go()
        if failure is not None:
            self.last_words = str(failure)
        return failure

    async def _converse(self, sock: socket.socket) -> Exception | None:
        """Talks to the worker until one of the two has enough."""
        try:
            self._conn = conn = await line.open_line(sock)
            job = dataclasses.replace(self._server.job, number=self._number, listening=len(self.socks))
            await conn.send(line.pack(job))
            if self._server.closing:
                return None
            try:
                async with asyncio.timeout(limits.WORKER_START_S):
                    first = await conn.recv()
            except TimeoutError:
                self.kill()
                return TransportError(f"a worker was not ready within {limits.WORKER_START_S:g} s")
            if "failed" in first:
                kind = LocalProtocolError if first["mistake"] else TransportError
                return kind(first["failed"])
            if not self.ready.done():
                self.ready.set_result(None)
            if self._server.closing:  # told to close while it was starting
                await conn.send({"close": 0})
            async for message in conn:
                self._heard(message)
        except (ConnectFailed, ConnectionClosed) as error:
            log.debug("worker %d: %s", self._number, error)
        finally:
            if self._conn is not None:
                self._conn.abort()
                self._conn = None
        return None

    def _heard(self, message: Mapping[str, Any]) -> None:
        self._now = message["report"]
        asked = self._asked.pop(message.get("answer", 0), None)
        if asked is not None and not asked.done():
            asked.set_result(None)

    async def _bury(self) -> None:
        """Waits for the end of the process, which no longer talks to us, and notes how it came."""
        if self.process is None:
            return
        try:
            async with asyncio.timeout(limits.WORKER_EXIT_S):
                await self.process.wait()
        except TimeoutError:
            self.kill()
        finally:
            self.kill()
            status = await self.process.wait()
        named = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        self.last_words = named

    def _let_go(self) -> None:
        self.process = None
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        self._past = line.merge([self._past, line.ended(self._now)])
        self._now = {}
        for future in self._asked.values():
            if not future.done():
                future.set_result(None)
        self._asked.clear()

    def reports(self) -> list[line.Report]:
        """Of the process that is there, and of those that were."""
        return [self._past, self._now]

    async def ask(self) -> None:
        """Returns when the worker has reported, or has ended."""
        conn = self._conn
        if conn is None or conn.is_closed or not self.ready.done():
            return
        self._token = token = self._token + 1
        answered = self._asked[token] = asyncio.get_running_loop().create_future()
        try:
            await conn.send({"ask": token})
            await answered
        except ConnectionClosed:
            pass
        finally:
            self._asked.pop(token, None)

    async def stop(self, grace: float) -> None:
        """Has the worker drain, and ends it if it does not."""
        if self._pause is not None and not self._pause.done():
            self._pause.set_result(None)
        conn = self._conn
        if conn is not None and self.ready.done() and not conn.is_closed:
            try:
                await conn.send({"close": grace})
            except ConnectionClosed:
                pass
        else:
            self.kill()
        if self.task is not None:
            _, pending = await asyncio.wait([self.task], timeout=grace + limits.WORKER_EXIT_S)
            if pending:
                self.kill()
                await asyncio.wait(pending)

    def kill(self) -> None:
        """Ends the process at once, if there is one."""
        if self.process is not None and self.process.returncode is None:
            try:
                self.process.kill()
            except ProcessLookupError:
                pass


def _flags() -> list[str]:
    """The interpreter's own options that matter to a program."""
    flags = ["-" + "O" * sys.flags.optimize] if sys.flags.optimize else []
    if sys.flags.dev_mode:
        flags += ["-X", "dev"]
    return flags + [f"-W{option}" for option in sys.warnoptions]
