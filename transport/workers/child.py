"""A worker process: imports the handler, serves on the sockets it was born with, and drains when it is told to.

It must never outlive its parent: when the line to it breaks it drains, and a thread that even a blocked event loop
can't hold up ends the process soon after.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import logging
import os
import signal
import socket
import sys
import threading
import time
from types import ModuleType
from typing import Any

from transport import limits
from transport.api import run, serve
from transport.errors import ConnectionClosed, LocalProtocolError
from transport.server import Server
from transport.transports.registry import Registry
from transport.url import parse
from transport.workers import line

log = logging.getLogger("transport")
IS_WORKER = "transport.workers.child.started"  # in sys.modules of a worker
GUARD = "the start of a program with workers stands under `if __name__ == '__main__':`"


def main(arguments: list[str]) -> None:
    """Runs one worker.

    Args:
        arguments: descriptors as text: the line to the parent, the pipe that ends with it, and the sockets of `Job`.
    """
    sys.modules[IS_WORKER] = ModuleType(IS_WORKER)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for the parent, which tells us to drain
    descriptors = [int(argument) for argument in arguments]
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)  # they were, to get here
    control, lifeline, *socks = descriptors
    threading.Thread(target=_outlive, args=(lifeline,), daemon=True).start()
    run(_work(socket.socket(fileno=control), [socket.socket(fileno=descriptor) for descriptor in socks]))


def _outlive(lifeline: int) -> None:
    """Ends this process when the parent has gone and the loop has had its time to drain."""
    os.read(lifeline, 1)  # nobody writes: it returns when the parent's end is closed
    time.sleep(limits.CLOSE_GRACE_S + limits.WORKER_EXIT_S)
    os._exit(1)


async def _work(control: socket.socket, socks: list[socket.socket]) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    parent = await line.open_line(control)
    try:
        servers = await _start(line.unpack(await parent.recv()), socks)
    except ConnectionClosed:  # the parent has changed its mind
        return
    except Exception as error:
        own = isinstance(error, LocalProtocolError)
        await parent.send({"failed": str(error) if own else f"{type(error).__name__}: {error}", "mistake": own})
        await parent.close()
        return
    worker = _Worker(servers, parent, stop)
    await parent.send({"ready": os.getpid()})
    tasks = [asyncio.create_task(worker.listen()), asyncio.create_task(worker.report_changes())]
    try:
        await stop.wait()
        await asyncio.gather(*(server.close(worker.grace) for server in servers))
    finally:
        for task in tasks:
            task.cancel()
    if not parent.is_closed:
        await parent.send(worker.report())
        await parent.close()


async def _start(job: line.Job, socks: list[socket.socket]) -> list[Server]:
    sys.argv[:] = job.arguments
    if job.main is not None:
        load_main(job.main)
    handler = load(job.handler)
    options = line.unpack(job.options)
    listening, links = socks[: job.listening], socks[job.listening :]
    registry = None
    if links:
        from transport.transports.seats import Seat

        transport = Registry.default().find(parse(job.url).scheme)
        seat = Seat(job.number, links[0], links[1:], job.secret)
        registry = Registry.default().register(transport.seated(seat))
    return [await serve(job.url, handler, sock=sock, registry=registry, **options) for sock in listening]


def load_main(wanted: line.Main) -> None:
    """Imports the parent's main module, so that names of `__main__` mean here what they mean there.

    Raises:
        LocalProtocolError: it can't be imported.
    """
    try:
        if wanted.name:
            module = importlib.import_module(wanted.name)
        else:
            spec = importlib.util.spec_from_file_location("__worker_main__", wanted.path)
            if spec is None or spec.loader is None:
                raise ImportError(f"no module can be made from {wanted.path}")
            module = importlib.util.module_from_spec(spec)
            sys.modules["__worker_main__"] = module
            spec.loader.exec_module(module)
    except Exception as error:
        name = wanted.name or wanted.path
        raise LocalProtocolError(f"a worker can't import {name}: {type(error).__name__}: {error} ({GUARD})") from error
    sys.modules["__main__"] = module


def load(name: str) -> Any:
    """The object called `package.module:name`. Raises LocalProtocolError when there is none that can be called."""
    module_name, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:
        raise LocalProtocolError(
            f"a worker can't import the handler {name!r}: {type(error).__name__}: {error}"
        ) from error
    for part in path.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise LocalProtocolError(f"the handler {name!r} is not there, or not a function")
    return found


class _Worker:
    """What runs beside the servers."""

    def __init__(self, servers: list[Server], parent: Any, stop: asyncio.Event) -> None:
        self.grace = limits.CLOSE_GRACE_S
        self._servers = servers
        self._parent = parent
        self._stop = stop

    def report(self) -> dict[str, Any]:
        return {"report": line.report([server.statistics() for server in self._servers])}

    async def listen(self) -> None:
        """Does what the parent says; without a parent there is nothing left to do."""
        try:
            async for message in self._parent:
                if "close" in message:
                    self.grace = message["close"]
                    self._stop.set()
                elif "ask" in message:
                    await self._parent.send({**self.report(), "answer": message["ask"]})
        except ConnectionClosed as error:
            log.warning("worker %d: lost its parent (%s)", os.getpid(), error)
        finally:
            self._stop.set()

    async def report_changes(self) -> None:
        """Tells the parent how things stand, when that has changed."""
        last: dict[str, Any] | None = None
        while not self._parent.is_closed:
            now = self.report()
            if now != last:
                await self._parent.send(now)
                last = now
            await asyncio.sleep(limits.WORKER_REPORT_S)
