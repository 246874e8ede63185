"""An asyncio event loop on virtual time: ordinary coroutines, run in no time and always in the same order.

Exists so that a program with sleeps, time-outs and reconnects is tested in milliseconds of real time, and a failure is
a seed. Time jumps to the next timer when nothing is ready; it stands still while a job in an executor is under way.
When nothing is left that could wake anybody, that is an error at once, not a hang. It must never look at a real clock
to decide on an order (but for jobs that wait for each other), and never open a real socket.
"""

from __future__ import annotations

import asyncio
import functools
import heapq
import selectors
import time
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, ThreadPoolExecutor
from concurrent.futures import Future as Job
from contextvars import Context
from itertools import count
from pathlib import PurePath
from typing import Any, TypeVar

from transport import limits
from transport.errors import UnsupportedOperation
from transport.sim.clock import SimClock
from transport.sim.errors import Deadlock, SimulationLimit
from transport.sim.seeds import entropy
from transport.sim.trace import Trace

T = TypeVar("T")

NEVER_NS = 1 << 62
POLL_TURNS = 64  # turns of a busy loop between looks at the wake-up pipe, which signals write to
STALE_MAX = 64  # cancelled timers tolerated beyond the live ones
TASKS_SHOWN = 20
_NO_SOCKETS = "a simulated loop has no sockets, pipes or processes; use memory://"


class SimFuture(asyncio.Future[T]):
    """A future whose place in a set follows from when it was made, not from where it lies in memory."""

    def __init__(self, number: int, loop: asyncio.AbstractEventLoop) -> None:
        self.number = number
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.number


class SimTask(asyncio.Task[T]):
    """A task whose name, and place in a set, follow from when it was made: task groups cancel in the same order."""

    def __init__(self, number: int, coroutine: Any, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        self.number = number
        if options.get("name") is None:
            options["name"] = f"Task-{number}"
        super().__init__(coroutine, loop=loop, **options)

    def __hash__(self) -> int:
        return self.number

    def set_name(self, value: object) -> None:
        """As asyncio's, but None, which Python 3.13 passes on for "no name given", leaves the name."""
        if value is not None:
            super().set_name(value)


class _Selector(selectors.DefaultSelector):
    """Asked by the loop for input at the end of each turn: that is when virtual time may move."""

    poll: Callable[[float | None], list[Any]] | None = None

    def register(self, fileobj: Any, events: int, data: Any = None) -> Any:
        if self.poll is not None:
            raise UnsupportedOperation(_NO_SOCKETS)
        return super().register(fileobj, events, data)

    def select(self, timeout: float | None = None) -> list[Any]:
        return super().select(timeout) if self.poll is None else self.poll(timeout)

    def wait(self, timeout: float | None) -> list[Any]:
        """Waits in real time, for threads and signals."""
        return super().select(timeout)


class SimLoop(asyncio.SelectorEventLoop):
    """The loop. Use it as any other (`asyncio.Runner(loop_factory=SimLoop)`), or by `run`.

    Args:
        seed: of everything random on this loop (links of `memory://`, `entropy`).
        clock: virtual time; a new clock when None.
        trace: takes the order of callbacks, timers and simulated datagrams, at a price of about a microsecond each.
        turns_max: most turns at one instant: a program that waits for time by spinning waits for ever.

    Jobs in executors give their results one by one, in the order in which they were started, when nothing else is
    ready; so threads don't change the order of a run, as long as they don't wait for each other.
    """

    def __init__(self, seed: int = 0, *, clock: SimClock | None = None, trace: Trace | None = None,
                 turns_max: int = limits.SIM_LOOP_TICKS_MAX) -> None:  # fmt: skip
        self.seed = seed
        self.clock = SimClock() if clock is None else clock
        self.trace = trace
        self.turns = 0
        self._turns_max = turns_max
        self._turns_now = 0
        self._numbers = count(1)
        self._task_numbers = count(1)
        self._timers: list[tuple[int, int, asyncio.TimerHandle]] = []
        self._timers_cancelled = 0
        self._jobs: deque[tuple[Job[Any], asyncio.Future[Any]]] = deque()
        self._jobs_busy_turns = 0
        self._jobs_turn_ends = 0.0
        self._pool: Executor | None = None
        self._pool_down = False
        self._poked = False
        self._virtual = _Selector()
        super().__init__(self._virtual)
        self._virtual.poll = self._poll
        self.set_task_factory(self._make_task)
        if trace is not None:
            self.call_soon = self._traced_call_soon  # type: ignore[method-assign, assignment]

    # Time

    def time_ns(self) -> int:
        """Virtual nanoseconds; drivers of this package take their time from here."""
        return self.clock.now_ns

    def time(self) -> float:
        """Virtual seconds."""
        return self.clock.now_ns / limits.SECOND_NS

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As asyncio's, in virtual time."""
        return self.call_at_ns(self.clock.now_ns + _nanoseconds(delay), callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As asyncio's, in virtual time."""
        return self.call_at_ns(_nanoseconds(when), callback, *args, context=context)

    def call_at_ns(self, when_ns: int, callback: Callable[..., object], *args: Any,
                   context: Context | None = None) -> asyncio.TimerHandle:  # fmt: skip
        """`call_at` without floats. Timers of one instant run in the order in which they were set."""
        self._check_closed()  # type: ignore[attr-defined]
        if len(self._timers) >= limits.SIM_EVENTS_MAX:
            raise SimulationLimit("SIM_EVENTS_MAX", limits.SIM_EVENTS_MAX, "timers of a simulated loop")
        when_ns = min(when_ns, NEVER_NS)
        handle = asyncio.TimerHandle(when_ns / limits.SECOND_NS, callback, args, self, context)
        heapq.heappush(self._timers, (when_ns, next(self._numbers), handle))
        if self.trace is not None:
            self.trace.note(self.clock.now_ns, f"set {_label(callback)} for {when_ns}")
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        self._timers_cancelled += 1
        if self._timers_cancelled > len(self._timers) // 2 + STALE_MAX:
            self._timers = [entry for entry in self._timers if entry[2] is not handle and not entry[2].cancelled()]
            heapq.heapify(self._timers)
            self._timers_cancelled = 0

    def _next_timer(self) -> int:
        """When the next timer fires, or -1."""
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
            self._timers_cancelled -= 1
        return timers[0][0] if timers and timers[0][0] < NEVER_NS else -1

    def _fire_due(self) -> None:
        now = self.clock.now_ns
        while 0 <= self._next_timer() <= now:
            _, _, handle = heapq.heappop(self._timers)
            self._ready.append(handle)  # type: ignore[attr-defined]  # asyncio's queue of what runs next
            if self.trace is not None:
                self.trace.note(now, "timer")

    # One turn

    def _poll(self, timeout: float | None) -> list[Any]:
        """What asyncio takes for a wait for input: where time moves. `timeout` is 0 when something is ready."""
        self.turns += 1
        self._turns_now += 1
        if self._turns_now > self._turns_max:
            self._turns_now = 0  # what cleans up afterwards has turns of its own
            raise SimulationLimit("SIM_LOOP_TICKS_MAX", self._turns_max, self._spinning())
        self._fire_due()
        if timeout != 0 and not self._ready:  # type: ignore[attr-defined]
            return self._idle()
        if self._jobs:
            self._jobs_busy_turns += 1
            if self._jobs_busy_turns >= limits.SIM_EXECUTOR_TICKS:
                return self._finish_a_job()
        if self._poked or self.turns % POLL_TURNS == 0:
            self._poked = False
            return self._virtual.wait(0)
        return []

    def _idle(self) -> list[Any]:
        if self._jobs:
            return self._finish_a_job()
        when = self._next_timer()
        if when < 0:
            if self._poked:
                self._poked = False
                return self._virtual.wait(0)
            raise Deadlock(self._waiting())
        self.clock.advance_to(when)
        self._turns_now = 0
        self._fire_due()
        return []

    def _spinning(self) -> str:
        handles = list(self._ready)[:TASKS_SHOWN]  # type: ignore[attr-defined]
        names = ", ".join(dict.fromkeys(_label(handle._callback) for handle in handles if not handle.cancelled()))
        return f"turns of the loop while time stands still at {self.time():.9f} s (seed {self.seed}), busy with {names}"

    def _waiting(self) -> str:
        tasks = sorted(asyncio.all_tasks(self), key=hash)
        shown = "".join(f"\n  {line}" for line in map(_where, tasks[:TASKS_SHOWN]))
        rest = f"\n  and {len(tasks) - TASKS_SHOWN:,} more" if len(tasks) > TASKS_SHOWN else ""
        return (f"nothing can ever happen again at {self.time():.9f} s (seed {self.seed}): nothing is ready, no timer "
                f"is set, no job is under way, and {len(tasks):,} tasks wait{shown}{rest}")  # fmt: skip

    def _write_to_self(self) -> None:
        self._poked = True
        super()._write_to_self()  # type: ignore[misc]

    # Jobs in executors

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """As asyncio's. Virtual time stands still until the job is done, even when nobody waits for it any more."""
        self._check_closed()  # type: ignore[attr-defined]
        if executor is None:
            executor = self._default_pool()
        job: Job[Any] = executor.submit(func, *args)
        future: asyncio.Future[Any] = self.create_future()
        future.add_done_callback(lambda _: job.cancel())
        if not self._jobs:
            self._new_head()
        self._jobs.append((job, future))
        job.add_done_callback(lambda _: self._write_to_self())
        return future

    def _default_pool(self) -> Executor:
        if self._pool_down:
            raise RuntimeError("Executor shutdown has been called")
        if self._pool is None:
            self.set_default_executor(ThreadPoolExecutor(thread_name_prefix="simulated-loop"))
        assert self._pool is not None
        return self._pool

    def set_default_executor(self, executor: ThreadPoolExecutor) -> None:  # type: ignore[override]
        """As asyncio's."""
        super().set_default_executor(executor)
        self._pool = executor

    def _new_head(self) -> None:
        self._jobs_busy_turns = 0
        self._jobs_turn_ends = time.monotonic() + limits.SIM_EXECUTOR_TURN_S

    def _finish_a_job(self) -> list[Any]:
        """Gives the result of the job whose turn it is, or waits for it in real time, or for a call from a thread."""
        left = self._jobs_turn_ends - time.monotonic()
        for index, (job, future) in enumerate(self._jobs):
            if job.done():
                del self._jobs[index]
                self._new_head()
                _hand_over(job, future)
                return []
            if left > 0:  # a job may need the result of a later one: its turn is not for ever
                break
        self._poked = False
        return self._virtual.wait(left if left > 0 else None)

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Waits for the threads of the default executor to end; `timeout` is not used: virtual time stands still."""
        self._pool_down = True
        pool = self._pool
        if pool is None:
            return
        with ThreadPoolExecutor(1) as ender:
            await self.run_in_executor(ender, pool.shutdown)

    # What would depend on memory addresses

    def create_future(self) -> asyncio.Future[Any]:
        """As asyncio's."""
        return SimFuture(next(self._numbers), self)

    def _make_task(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Future[Any]:
        return SimTask(next(self._task_numbers), coroutine, loop, **options)

    def _traced_call_soon(self, callback: Callable[..., object], *args: Any,
                          context: Context | None = None) -> asyncio.Handle:  # fmt: skip
        assert self.trace is not None
        self.trace.note(self.clock.now_ns, f"call {_label(callback)}")
        return super().call_soon(callback, *args, context=context)

    async def _refuse(self, *_: Any, **__: Any) -> Any:
        """Stands for whatever would open a socket: asyncio's own would only fail after it has."""
        raise UnsupportedOperation(_NO_SOCKETS)

    create_connection = create_server = create_datagram_endpoint = _refuse
    create_unix_connection = create_unix_server = connect_accepted_socket = _refuse
    connect_read_pipe = connect_write_pipe = subprocess_exec = subprocess_shell = _refuse

    def entropy(self, name: str) -> Callable[[int], bytes]:
        """Seeded bytes for whoever is called `name`, in the place of the system's."""
        return entropy(self.seed, name)


def _nanoseconds(seconds: float) -> int:
    if seconds >= NEVER_NS / limits.SECOND_NS:  # infinity too
        return NEVER_NS
    return round(seconds * limits.SECOND_NS)


def _hand_over(job: Job[Any], future: asyncio.Future[Any]) -> None:
    if future.done():
        return
    if job.cancelled():
        future.cancel()
        return
    error = job.exception()
    if error is None:
        future.set_result(job.result())
    elif isinstance(error, StopIteration):  # a future refuses it, and the waiter would wait for ever
        failed = RuntimeError("a job raised StopIteration")
        failed.__cause__ = error
        future.set_exception(failed)
    else:
        future.set_exception(error)


def _label(callback: Any) -> str:
    """What is called, without anything that changes from run to run."""
    while isinstance(callback, functools.partial):
        callback = callback.func
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        coroutine = owner.get_coro()
        return f"{owner.get_name()} {getattr(coroutine, '__qualname__', type(coroutine).__qualname__)}"
    name = getattr(callback, "__qualname__", None)
    return name if isinstance(name, str) else type(callback).__qualname__


def _where(task: asyncio.Task[Any]) -> str:
    stack = task.get_stack(limit=1)
    place = f" at {PurePath(stack[0].f_code.co_filename).name}:{stack[0].f_lineno}" if stack else ""
    coroutine = task.get_coro()
    return f"{task.get_name()} in {getattr(coroutine, '__qualname__', coroutine)}{place}"


def run(main: Coroutine[Any, Any, T], *, seed: int = 0, debug: bool | None = None, trace: Trace | None = None) -> T:
    """Runs a coroutine to its end in virtual time, as `asyncio.run` does in real time.

    Args:
        main: what to run.
        seed: the same seed gives the same run.
        debug: asyncio's debug mode; None leaves it to the environment.
        trace: takes everything that happens, for the comparison of two runs.

    Raises:
        Deadlock: when everything waits and nothing can ever happen again; the text says who waits where.
    """
    with asyncio.Runner(debug=debug, loop_factory=lambda: SimLoop(seed, trace=trace)) as runner:
        return runner.run(main)
