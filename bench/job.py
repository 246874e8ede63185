"""What a peer gets in its own process: the case, its loads, and the way back to whoever started it.

The line protocol: the parent writes JSON lines to our standard input (the job, for a client the address, later
`finish`), we write JSON lines to a private copy of standard output. The end of standard input means that the parent is
gone. It must never print anything else there: libraries' own prints go to standard error.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import traceback
from pathlib import Path
from time import monotonic, sleep
from typing import IO, Any, NoReturn

from bench.cases import EACH, LATENCY, OPEN, Case
from bench.comparing.turns import TurnLoop, Turns, TurnSender
from bench.load import ClosedLoop, Counter, Sender
from bench.message import Pool
from bench.openloop import AWAKE_ALONE_NS, AWAKE_NS, Arrivals, OpenLoop
from bench.procstat import Window, memory_bytes
from bench.schedule import Schedule, make_schedule
from bench.statistics import summarize_samples

LOOPBACK = "127.0.0.1"
SETTLE_S = 0.1  # a datagram receiver that hears nothing for so long has heard all
STALL_S = 1.0  # a reliable receiver that gets nothing for so long and is not done has lost something
LATE_FILE, ARRIVALS_FILE = "late", "arrivals"  # in the scratch folder of an open loop
SCHEDULE_FILE = "schedule"  # there, too, of recorded traffic
FINISH_S = 5.0  # a reliable receiver gets so long to drain what was sent
OPEN_STALL_S = 8.0  # the same of an open loop: over a link that loses, silence lasts as long as a time-out backs off
OPEN_FINISH_S = 20.0
OPEN_SETTLE_S = 1.0  # of an unreliable peer in an open loop, beside what the link holds


class Job:
    """One side of one round.

    Attributes:
        case: what to do.
        role: "server", "client" or "both" (peers that live in one process).
        scratch: a folder of this round, for Unix sockets and for what both sides noted down.
        host: the address of this machine that a server binds to, as text.
        address: where the server listens (clients only); whatever the server passed to `ready`.
        seed: of the message pool.
        seconds, warmup: length of the measured stretch and of what comes before it.
    """

    def __init__(self, config: dict[str, Any], commands: IO[str], replies: IO[str]) -> None:
        self.case = Case.from_dict(config["case"])
        self.role: str = config["role"]
        self.peer_name: str = config["peer"]
        self.scratch: str = config["scratch"]
        self.host: str = config.get("host", LOOPBACK)
        self.seed: int = config["seed"]
        self.settings: dict[str, Any] = config.get("settings", {})
        self.address: Any = config.get("address")
        self.seconds: float = config["seconds"]
        self.warmup: float = config["warmup"]
        self._pids: dict[str, int] = config["pids"] or {"both": os.getpid()}
        self._cores = set(config["cores"]) or set(os.sched_getaffinity(0))
        self._turns = Turns(**config["turns"]) if config.get("turns") else None
        self._go: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()  # from the control thread, where there is one
        self._commands = commands
        self._replies = replies
        self._lock = threading.Lock()
        self._pool: Pool | None = None
        self._counter: Counter | Arrivals | None = None

    @property
    def pool(self) -> Pool:
        """The messages of this run."""
        if self._pool is None:
            self._pool = Pool(self.case, self.seed)
        return self._pool

    def window(self) -> Window:
        """The measured stretch, watching both processes."""
        return Window(self._pids, self._cores)

    def watch_process(self, name: str, pid: int) -> None:
        """Counts another process, a broker, into what a message costs; to be called before the first message."""
        self._pids[name] = pid

    # Loads -----------------------------------------------------------------------------------------------------
    def closed_loop(self) -> ClosedLoop:
        """The load of a latency client; give it back to `report_latency`."""
        if self._turns:
            return TurnLoop(self.pool, self._turns, self.window(), self.fail, self.wait_turn)
        return ClosedLoop(self.pool, self.seconds, self.warmup, self.window(), self.fail)

    def sender(self) -> Sender:
        """The load of a sending side; give it back to `report_sent`."""
        if self._turns:
            return TurnSender(self.pool, self._turns, self.window(), self.wait_turn)
        return Sender(self.pool, self.seconds, self.warmup, self.window())

    def wait_turn(self, said: dict[str, Any]) -> bool:
        """Says how the last turn went, then blocks this process until the parent wants the next (False: no more)."""
        self._say({"turn": said})
        if self._has_control:
            return bool(self._go.get()["do"] == "go")
        line = self._commands.readline()
        if not line:
            os._exit(0)
        return bool(json.loads(line)["do"] == "go")

    def counter(self, reliable: bool) -> Any:
        """The receiving side: what `take`s every message of every connection, the same one whenever asked.

        Its result is collected by the control thread when the parent asks for it.
        """
        if self.is_open:
            if not isinstance(self._counter, Arrivals):
                self._counter = Arrivals(self.fail)
        else:
            self._counter = Counter(self.pool, reliable, self.fail)
        return self._counter

    def open_loop(self) -> OpenLoop:
        """The load of an open loop's client; give it back to `report_open`."""
        if self.case.trace is not None:
            schedule = Schedule.load(Path(self.scratch) / SCHEDULE_FILE)
        else:
            schedule = make_schedule(self.case, self.seconds, self.warmup, self.seed)
        return OpenLoop(schedule, self.seed, self.window(), AWAKE_ALONE_NS if self.is_alone else AWAKE_NS)

    # Answers ---------------------------------------------------------------------------------------------------
    def ready(self, address: Any) -> None:
        """The server listens."""
        self._say({"ready": address})

    def report_latency(self, load: ClosedLoop) -> None:
        """The closed loop is over."""
        self._say(
            {
                "result": {
                    "latency": summarize_samples(load.samples),
                    "window": load.window.result(),
                    "memory": memory_bytes(),
                }
            }
        )

    def report_sent(self, load: Sender) -> None:
        """The sender has handed over everything; the process must go on running so that buffers drain."""
        self._say(
            {
                "result": {
                    "sent": load.sent,
                    "bytes_sent": load.bytes_sent,
                    "window_messages": load.window_messages,
                    "window": load.window.result(),
                    "memory": memory_bytes(),
                }
            }
        )

    def report_open(self, load: OpenLoop) -> None:
        """Everything planned has been handed over; the process must go on running so that it arrives."""
        load.save(Path(self.scratch) / LATE_FILE)
        self._say(
            {
                "result": {
                    "sent": len(load.late),
                    "start_ns": load.start,
                    "window": load.window.result(),
                    "memory": memory_bytes(),
                }
            }
        )

    def report(self, result: dict[str, Any]) -> None:
        """Any other result."""
        self._say({"result": result})

    def fail(self, why: str) -> NoReturn:
        """Ends this process; the round is kept as FAIL with this text."""
        self._say({"error": why})
        os._exit(1)

    def idle(self) -> NoReturn:
        """Keeps a blocking peer's process until the parent ends it."""
        while True:
            threading.Event().wait(3600)

    def loop_failed(self, loop: Any, context: dict[str, Any]) -> None:
        """An event loop's exception handler: nothing is swallowed."""
        error = context.get("exception")
        text = "".join(traceback.format_exception(error)) if error else ""
        print(text or context, file=sys.stderr, flush=True)
        self.fail(f"{context.get('message')}: {error!r}")

    # Control ---------------------------------------------------------------------------------------------------
    def watch(self) -> None:
        """Starts the thread that serves `finish` and ends the process with its parent. It sleeps during the run.

        A latency round on Linux needs neither, and goes without: as soon as a process has a second thread, be it
        asleep, each of its system calls costs more (its descriptors are shared from then on), and a peer that has no
        thread of its own would seem slower than it is.
        """
        if not self._has_control:
            return
        threading.Thread(target=self._control, name="bench-control", daemon=True).start()

    def _control(self) -> None:
        for line in self._commands:
            command = json.loads(line)
            if command["do"] == "finish":
                self._finish(command.get("expected"))
            else:
                self._go.put(command)
        os._exit(0)

    def _finish(self, expected: int | None) -> None:
        counter = self._counter
        if counter is None:  # no connection was ever taken, so nothing has come
            counter = self.counter(reliable=False)
        slow = self.is_open or self.case.link is not None
        stall = OPEN_STALL_S if slow else STALL_S
        settle = (OPEN_SETTLE_S if slow else SETTLE_S) + self.link_s
        seen, deadline, since = -1, monotonic() + (OPEN_FINISH_S if slow else FINISH_S), monotonic()
        while monotonic() < deadline:
            if expected is not None and counter.count >= expected:
                sleep(0.01)  # whatever comes now would be one too many
                if counter.count >= expected:  # again, for the other thread may have been in the middle of counting
                    break
            if counter.count != seen:
                seen, since = counter.count, monotonic()
            elif monotonic() - since > (settle if expected is None else stall):
                break
            sleep(0.005)
        if isinstance(counter, Arrivals):
            counter.save(Path(self.scratch) / ARRIVALS_FILE)
        self._say(
            {
                "finished": {
                    "received": counter.count,
                    "bytes_received": counter.bytes,
                    "checked": counter.checked,
                    "marks": counter.marks,
                    "memory": memory_bytes(),
                }
            }
        )

    def _say(self, message: dict[str, Any]) -> None:
        with self._lock:
            self._replies.write(json.dumps(message) + "\n")
            self._replies.flush()

    @property
    def _has_control(self) -> bool:
        """Whether this process has the thread that serves `finish`."""
        return sys.platform != "linux" or self.is_one_way

    @property
    def is_one_way(self) -> bool:
        """Whether messages go one way and the server hands each to `counter().take`, instead of echoing it."""
        return self.case.mode != LATENCY

    @property
    def is_alone(self) -> bool:
        """Whether nobody else of this round needs the sender's core: no receiver, and no router of a link."""
        return self.case.placement == EACH and self.case.link is None and len(self._cores) > 1

    @property
    def is_open(self) -> bool:
        """Whether the client sends at planned times, on `case.connections` connections."""
        return self.case.mode == OPEN

    @property
    def link_s(self) -> float:
        """How long the link may hold a packet, in seconds."""
        link = self.case.link
        return 0.0 if link is None else (link.delay_ms + link.jitter_ms + link.reorder_ms) / 1e3 + link.hole_s
