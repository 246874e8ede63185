"""nats-py on uvloop with a nats-server of its own between the two: core NATS, publish and subscribe over tcp.

Each message crosses two connections and a broker, a third process that runs where the server does and whose CPU is
counted. Core NATS has no back-pressure from a subscriber to a publisher: what a slow subscriber leaves is dropped. So
the sender lets the receiver answer the last message of every run, and holds back while too many are unanswered.
"""

# mypy: disable-error-code="import-not-found,import-untyped,unused-ignore,no-any-return"

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from time import monotonic
from typing import Any

from bench.cases import LATENCY, OPEN, THROUGHPUT
from bench.job import Job
from bench.load import ClosedLoop, Sender
from bench.openloop import Mailbox
from bench.peers.base import LIBRARY, CallbackPeer, finish

SUBJECT = "bench"
BROKER = "nats-server"
INSTALL_BROKER = "apt-get install nats-server"
RUNS_UNANSWERED_MAX = 16  # a run has 64 KiB at most
START_S = 10.0
POLL_S = 0.005
LOG_LINES = 5
# The broker must not outlive us, however we end; it becomes what this starts.
LAUNCH = (
    "import os, sys; from bench.worker import die_with_parent; die_with_parent(); "
    "os.getppid() == int(sys.argv[1]) or sys.exit(1); os.execv(sys.argv[2], sys.argv[2:])"
)


def broker_path() -> str | None:
    """nats-server on the search path, beside this interpreter, or where Debian has it."""
    folders = [os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent), "/usr/sbin"]
    return shutil.which(BROKER, path=os.pathsep.join(folders))


def broker_version() -> str:
    """What nats-server says about itself: "2.9.10"."""
    path = broker_path()
    if path is None:
        return "not installed"
    said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False)
    return said.stdout.strip().rpartition(" ")[2].removeprefix("v") or "unknown"


def start_broker(host: str, scratch: str) -> tuple[int, str]:
    """Starts nats-server on a free port of `host`; its process id and URL.

    Raises:
        RuntimeError: it is not installed, ended, or did not listen within ten seconds.
    """
    path = broker_path()
    if path is None:
        raise RuntimeError(f"no {BROKER}: {INSTALL_BROKER}")
    log = Path(scratch) / "nats.log"
    arguments = ["--addr", host, "--port", "-1", "--ports_file_dir", scratch, "--log", str(log)]
    process = subprocess.Popen([sys.executable, "-c", LAUNCH, str(os.getpid()), path, *arguments])
    ports = Path(scratch) / f"{Path(path).name}_{process.pid}.ports"
    deadline = monotonic() + START_S
    while monotonic() < deadline and process.poll() is None:
        try:
            return process.pid, json.loads(ports.read_text(encoding="utf-8"))["nats"][0]
        except (FileNotFoundError, json.JSONDecodeError):  # not yet, or half written
            wait_a_little(process)
    process.kill()
    said = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:] if log.exists() else []
    raise RuntimeError(f"{BROKER} does not listen (status {process.wait()}): {' | '.join(said)}")


def wait_a_little(process: subprocess.Popen[bytes]) -> None:
    """Waits a little, or until the process ends."""
    try:
        process.wait(POLL_S)
    except subprocess.TimeoutExpired:
        pass


class Nats(CallbackPeer):
    """nats.aio.client.Client."""

    name = "nats-py"
    title = "NATS by nats-py on uvloop, tcp"
    kind = LIBRARY
    scheme = "tcp"
    loop = "uvloop"
    modes = frozenset({LATENCY, THROUGHPUT, OPEN})
    modules = ("nats",)
    distributions = ("nats-py",)
    payload_max = 1024 * 1024  # the broker's default
    note = "through a broker: two hops, at most once, in order for each publisher; throughput is held back by answers"

    def missing(self) -> str | None:
        """See `Peer`."""
        return super().missing() or (None if broker_path() else INSTALL_BROKER)

    def versions(self) -> dict[str, str]:
        """See `Peer`."""
        return super().versions() | {BROKER: broker_version()}

    def settings(self) -> dict[str, str]:
        """See `Peer`."""
        return {
            "messages": "core NATS, one subject, a callback for each subscription",
            "back-pressure": f"ours: the last message of a run wants an answer, {RUNS_UNANSWERED_MAX} runs may be "
            "unanswered (docs.nats.io, page 'Slow Consumers': request-reply to throttle the sender)",
            "broker": "defaults; on the server's core, its CPU is counted; JetStream off",
            "pending_size, pending_msgs_limit, pending_bytes_limit": "defaults",
        }

    async def open(self, job: Job, address: dict[str, Any]) -> Any:
        """One connection; `await publish(subject, message)` waits only for its own full buffer."""
        import nats

        async def failed(error: Exception) -> None:
            job.fail(f"nats: {error!r}")  # a message that was dropped, a connection that was cut

        return await nats.connect(address["url"], error_cb=failed, allow_reconnect=False)

    async def serve(self, job: Job) -> None:
        """See `LoopPeer`."""
        pid, url = start_broker(job.host, job.scratch)
        address = {"url": url, "broker": pid}
        self.client = client = await self.open(job, address)
        publish = client.publish
        if job.is_one_way:
            take = job.counter(reliable=True).take

            async def count(message: Any) -> None:
                take(message.data)
                if message.reply:
                    await publish(message.reply)

            await client.subscribe(SUBJECT, cb=count)
        else:

            async def echo(message: Any) -> None:
                await publish(message.reply, message.data)

            await client.subscribe(SUBJECT, cb=echo)
        await client.flush()  # the broker knows the subscription
        job.ready(address)

    async def _connect(self, job: Job) -> Any:
        job.watch_process(BROKER, job.address["broker"])
        return await self.open(job, job.address)

    async def senders(self, job: Job) -> list[Any]:
        """See `LoopPeer`."""
        loop = asyncio.get_running_loop()
        self.clients = [await self._connect(job) for _ in range(job.case.connections)]

        def mailbox(client: Any) -> Mailbox:
            async def publish(messages: list[bytes]) -> None:
                await client.publish(SUBJECT, messages[0])

            return Mailbox(loop, publish, job.fail)

        self.mailboxes = [mailbox(client) for client in self.clients]
        return [one.put for one in self.mailboxes]

    async def ping(self, job: Job, load: ClosedLoop, done: asyncio.Future[None]) -> None:
        """See `CallbackPeer`."""
        self.client = client = await self._connect(job)
        publish, inbox = client.publish, client.new_inbox()

        async def answered(message: Any) -> None:
            following = load.reply(message.data)
            if following is None:
                finish(done)
            else:
                await publish(SUBJECT, following, inbox)

        await client.subscribe(inbox, cb=answered)
        await client.flush()
        await publish(SUBJECT, load.first(), inbox)

    async def send(self, job: Job, sender: Sender, done: asyncio.Future[None]) -> None:
        """See `CallbackPeer`."""
        self.client = client = await self._connect(job)
        publish, inbox = client.publish, client.new_inbox()
        room = asyncio.Semaphore(RUNS_UNANSWERED_MAX)

        async def answered(_message: Any) -> None:
            room.release()

        await client.subscribe(inbox, cb=answered)
        await client.flush()
        while (batch := sender.next()) is not None:
            await room.acquire()
            for message in batch[:-1]:
                await publish(SUBJECT, message)
            await publish(SUBJECT, batch[-1], inbox)
        finish(done)


PEERS = [Nats()]
