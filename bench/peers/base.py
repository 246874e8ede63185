"""What a peer is: one way to carry messages, behind one small interface.

A peer is one class in one file. It inherits from the dialect that suits it and writes `serve`, `connect`, `roundtrip`,
`send_many` and `close`; the dialect holds the measuring loops, so that they are the same for all. Libraries are
imported inside methods only: the command line must be able to list a peer that is not installed.
"""

from __future__ import annotations

import asyncio
import copy
import importlib.metadata
import importlib.util
import platform
from collections.abc import Awaitable, Sequence
from typing import Any, NoReturn

from bench.cases import LATENCY, OPEN, THROUGHPUT, Case
from bench.job import Job
from bench.load import ClosedLoop, Sender
from bench.openloop import LoopPacer, Mailbox, Send, nap, pace_blocking, sleep_exactly

FLOOR = "floor"  # what the kernel and the language cost; no messages, no framing
BASELINE = "baseline"  # the standard library's and uvloop's own parts
LIBRARY = "library"
OURS = "ours"
KINDS = (FLOOR, BASELINE, LIBRARY, OURS)

LOCAL = ("unix", "memory")  # schemes that would pass any link by
POLL_S = 0.05  # of a blocking peer that has sent everything
SOCKET_BUFFER_BYTES = 2 * 1024 * 1024  # asked for on every datagram socket of every peer


class Peer:
    """One way to carry messages.

    Attributes:
        name: on the command line and in result files.
        title: in tables.
        kind: FLOOR, BASELINE, LIBRARY or OURS.
        scheme: what it runs over: "tcp", "unix", "udp", "tls" or "memory"; decides the floor it is compared with.
        loop: "none" (blocking), "asyncio" or "uvloop".
        modules: importable names it needs; `distributions` the packages that hold them, in the same order.
        modes: those of LATENCY, THROUGHPUT and OPEN that it can.
        reliable: every message must arrive; losses are a failure.
        ordered: messages of one connection must arrive in order; False only in the open loop.
        one_process: both ends live in one process and on one loop.
        note: what a reader must know to read its figures.
    """

    name = ""
    title = ""
    kind = LIBRARY
    scheme = "tcp"
    loop = "none"
    modules: tuple[str, ...] = ()
    distributions: tuple[str, ...] = ()
    modes: frozenset[str] = frozenset({LATENCY, THROUGHPUT})
    codecs: frozenset[str] = frozenset({"raw"})
    reliable = True
    ordered = True
    one_process = False
    fans_out = False
    payload_max = 1 << 62
    note = ""

    # What the harness asks ---------------------------------------------------------------------------------------
    def supports(self, case: Case) -> bool:
        """Whether this peer can run a configuration."""
        return (
            case.mode in self.modes
            and case.codec in self.codecs
            and case.payload <= self.payload_max
            and (case.fanout == 1 or self.fans_out)
            and (case.link is None or self.scheme not in LOCAL)
        )

    def missing(self) -> str | None:
        """The one command that makes this peer available, or None when it is."""
        needed = dict(zip(self.modules, self.distributions, strict=True))
        if self.loop == "uvloop":
            needed["uvloop"] = "uvloop"
        absent = [package for module, package in needed.items() if not importlib.util.find_spec(module)]
        return f"pip install {' '.join(absent)}" if absent else None

    def versions(self) -> dict[str, str]:
        """Of the packages this peer stands on."""
        found = {"python": platform.python_version()} if not self.distributions else {}
        for package in self.distributions + (("uvloop",) if self.loop == "uvloop" else ()):
            try:
                found[package] = importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                found[package] = "source tree"
        return found

    def settings(self) -> dict[str, str]:
        """What was set away from the library's defaults, and why."""
        return {}

    def describe(self) -> dict[str, Any]:
        """For the result file."""
        return {
            "id": self.name,
            "title": self.title,
            "kind": self.kind,
            "scheme": self.scheme,
            "loop": self.loop,
            "reliable": self.reliable,
            "ordered": self.ordered,
            "one_process": self.one_process,
            "versions": self.versions(),
            "settings": self.settings(),
            "note": self.note,
        }

    # What the worker calls ---------------------------------------------------------------------------------------
    def run_server(self, job: Job) -> None:
        """Listens, calls `job.ready(address)`, then echoes (latency) or counts (throughput) for ever."""
        raise NotImplementedError

    def run_client(self, job: Job) -> None:
        """Connects to `job.address`, runs the load, reports, and stays so that buffers drain."""
        raise NotImplementedError

    def run_both(self, job: Job) -> None:
        """Both ends in this process, for peers with `one_process`."""
        raise NotImplementedError


class BlockingPeer(Peer):
    """A peer that blocks: plain calls, one thread.

    Attributes:
        opened: of an open loop, one object for each connection.
    """

    opened: Sequence[Any] = ()

    def serve(self, job: Job) -> None:
        """Listens, calls `job.ready(address)`, then echoes or counts for ever."""
        raise NotImplementedError

    def connect(self, job: Job) -> None:
        """Connects to `job.address`."""
        raise NotImplementedError

    def roundtrip(self, message: bytes) -> Any:
        """Sends one message and returns its answer."""
        raise NotImplementedError

    def send_many(self, messages: list[bytes]) -> None:
        """Sends each of the messages, in order."""
        raise NotImplementedError

    def senders(self, job: Job) -> list[Send]:
        """Opens the connections of an open loop; one function each, which sends a message and does not wait for long.

        Here a copy of this object for each of them, so that `connect` and `send_many` are all a peer has to write.
        """
        made: list[Send] = []
        self.opened = [copy.copy(self) for _ in range(job.case.connections)]
        for one in self.opened:
            one.connect(job)
            made.append(one.send_one)
        return made

    def send_one(self, message: bytes) -> None:
        """Sends one message of an open loop."""
        self.send_many([message])

    def poll(self, seconds: float) -> None:
        """Works for at most so long between two messages of an open loop; 0 for what is there now."""
        nap(seconds)

    def close(self) -> None:
        """Everything handed over must still arrive."""

    def run_server(self, job: Job) -> None:
        """See `Peer`."""
        self.serve(job)
        job.idle()

    def run_client(self, job: Job) -> None:
        """See `Peer`."""
        if job.is_open:
            self._run_open(job)
        self.connect(job)
        if job.is_one_way:
            sender = job.sender()
            while (batch := sender.next()) is not None:
                self.send_many(batch)
            job.report_sent(sender)
            self._linger()
        load = job.closed_loop()
        message = load.first()
        roundtrip = self.roundtrip
        while message is not None:
            message = load.reply(roundtrip(message))
        self.close()
        job.report_latency(load)

    def _run_open(self, job: Job) -> NoReturn:
        sleep_exactly()
        load = job.open_loop()
        load.begin(self.senders(job))
        pace_blocking(load, self.poll)
        job.report_open(load)
        self._linger()

    def _linger(self) -> NoReturn:
        """Works until the parent ends this process, so that what is still to be sent again is."""
        while True:
            self.poll(POLL_S)


class LoopPeer(Peer):
    """A peer on an event loop: the loop, its exception handler, and staying alive."""

    loop = "uvloop"

    async def serve(self, job: Job) -> None:
        """Listens, calls `job.ready(address)` and returns; the loop goes on."""
        raise NotImplementedError

    async def drive(self, job: Job) -> None:
        """Connects and runs the load."""
        raise NotImplementedError

    async def senders(self, job: Job) -> list[Send]:
        """Opens the connections of an open loop; one function each, which sends a message and never waits."""
        raise NotImplementedError

    async def drive_open(self, job: Job) -> None:
        """Connects and keeps to the plan."""
        sleep_exactly()
        loop = asyncio.get_running_loop()
        sends = await self.senders(job)
        load = job.open_loop()
        load.begin(sends)
        done = loop.create_future()
        LoopPacer(loop, load, lambda: finish(done)).start()
        await done
        job.report_open(load)

    def run_server(self, job: Job) -> None:
        """See `Peer`."""
        self._run(job, self.serve(job))

    def run_client(self, job: Job) -> None:
        """See `Peer`."""
        self._run(job, self.drive(job))

    def run_both(self, job: Job) -> None:
        """See `Peer`."""
        self._run(job, self._both(job))

    async def _both(self, job: Job) -> None:
        await self.serve(job)
        await self.drive(job)

    def _run(self, job: Job, first: Awaitable[None]) -> None:
        loop = new_loop(self.loop)
        asyncio.set_event_loop(loop)
        loop.set_exception_handler(job.loop_failed)

        async def main() -> None:
            await first
            await loop.create_future()  # no timer, no task: the loop belongs to the peer

        loop.run_until_complete(main())


class CoroutinePeer(LoopPeer):
    """A peer whose application is a coroutine that sends and waits."""

    modes = frozenset({LATENCY, THROUGHPUT, OPEN})

    async def connect(self, job: Job) -> None:
        """Connects to `job.address`."""
        raise NotImplementedError

    async def roundtrip(self, message: Any) -> Any:
        """Sends one message and returns its answer."""
        raise NotImplementedError

    async def send_many(self, messages: list[Any]) -> None:
        """Sends each of the messages, in order, waiting when the peer asks for it."""
        raise NotImplementedError

    async def close(self) -> None:
        """Everything handed over must still arrive."""

    async def senders(self, job: Job) -> list[Send]:
        """See `LoopPeer`; here a copy of this object and a task for each connection."""
        loop = asyncio.get_running_loop()
        self.opened = [copy.copy(self) for _ in range(job.case.connections)]
        for one in self.opened:
            await one.connect(job)
        self.mailboxes = [Mailbox(loop, one.send_many, job.fail) for one in self.opened]
        return [mailbox.put for mailbox in self.mailboxes]

    async def drive(self, job: Job) -> None:
        """See `LoopPeer`."""
        if job.is_open:
            await self.drive_open(job)
            return
        await self.connect(job)
        if job.is_one_way:
            sender = job.sender()
            while (batch := sender.next()) is not None:
                await self.send_many(batch)
            job.report_sent(sender)
            return
        load = job.closed_loop()
        message = load.first()
        roundtrip = self.roundtrip
        while message is not None:
            message = load.reply(await roundtrip(message))
        job.report_latency(load)
        await self.close()


class CallbackPeer(LoopPeer):
    """A peer whose application is callbacks: the answer's callback sends the next message."""

    async def ping(self, job: Job, load: ClosedLoop, done: asyncio.Future[None]) -> None:
        """Connects, sends `load.first()`; each answer's callback sends `load.reply(answer)`, or sets `done` at None."""
        raise NotImplementedError

    async def send(self, job: Job, sender: Sender, done: asyncio.Future[None]) -> None:
        """Connects and pumps the sender dry (`bench.load.Pump`), then sets `done`."""
        raise NotImplementedError

    async def drive(self, job: Job) -> None:
        """See `LoopPeer`."""
        if job.is_open:
            await self.drive_open(job)
            return
        done = asyncio.get_running_loop().create_future()
        if job.is_one_way:
            sender = job.sender()
            await self.send(job, sender, done)
            await done
            job.report_sent(sender)
            return
        load = job.closed_loop()
        await self.ping(job, load, done)
        await done
        job.report_latency(load)


def finish(done: asyncio.Future[None]) -> None:
    """Sets a future that may already be set."""
    if not done.done():
        done.set_result(None)


def fastest_loop() -> asyncio.AbstractEventLoop:
    """The loop of uvloop where it is installed, for what is not about a loop."""
    return new_loop("uvloop" if importlib.util.find_spec("uvloop") else "asyncio")


def new_loop(name: str) -> asyncio.AbstractEventLoop:
    """A fresh "uvloop" or "asyncio" event loop."""
    if name == "uvloop":
        import uvloop

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        return loop
    return asyncio.new_event_loop()
