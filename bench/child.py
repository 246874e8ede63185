"""A worker process as its parent sees it: a deadline, a way to talk, and certainty that it is gone afterwards.

It must never wait without a deadline, and never leave a process behind, nor one that it started, whatever is raised.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import IO, Any, ClassVar

ROOT = Path(__file__).resolve().parent.parent
READ_BYTES = 1 << 16
STDERR_LINES = 12
STDERR_BYTES = 1 << 16  # looked through for them, however much was printed


class ChildFailed(Exception):
    """A worker reported an error, died or missed its deadline; the text says which."""


class Child:
    """One worker process.

    Args:
        label: "client", "server" or "both", for error texts.
        module: what to run with `python -m`.
        tree: the folder to import from, this checkout's by default.

    Attributes:
        alive: every one of this process that has not ended; whoever is interrupted ends those of other threads by it.
    """

    alive: ClassVar[set[Child]] = set()

    def __init__(self, label: str, module: str = "bench.worker", tree: Path = ROOT) -> None:
        self.label = label
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the process)
        environment = dict(
            os.environ, PYTHONPATH=os.pathsep.join(filter(None, [str(tree), os.environ.get("PYTHONPATH")]))
        )
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=tree,
            env=environment,
            start_new_session=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._input = self._process.stdin
        self._output = self._process.stdout.fileno()
        os.set_blocking(self._output, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._output, selectors.EVENT_READ)
        self._rest = b""
        self.pid = self._process.pid
        self._ended = False
        Child.alive.add(self)

    def tell(self, message: dict[str, Any]) -> None:
        """Sends one line; a child that is gone is found out by the next `hear`."""
        try:
            self._input.write(json.dumps(message).encode() + b"\n")
            self._input.flush()
        except BrokenPipeError:
            pass

    def hear(self, key: str, deadline: float) -> Any:
        """The value of the next line's `key`.

        Raises:
            ChildFailed: it reported an error, ended, or `deadline` (of `time.monotonic`) passed.
        """
        while b"\n" not in self._rest:
            left = deadline - monotonic()
            if left <= 0 or not self._selector.select(left):
                raise ChildFailed(f"{self.label}: no {key} in time{self._said()}")
            data = os.read(self._output, READ_BYTES)
            if not data:
                code = self._process.wait(timeout=5)
                raise ChildFailed(f"{self.label}: ended with status {code} before its {key}{self._said()}")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        message = json.loads(line)
        if "error" in message:
            raise ChildFailed(f"{self.label}: {message['error']}")
        if key not in message:
            raise ChildFailed(f"{self.label}: said {sorted(message)} where {key} was due")
        return message[key]

    def _said(self) -> str:
        """The end of what it printed to standard error."""
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - STDERR_BYTES))
        lines = self._errors.read(STDERR_BYTES).decode(errors="replace").strip().splitlines()[-STDERR_LINES:]
        return "".join(f"\n  | {line}" for line in lines)

    def kill(self) -> None:
        """Kills it and what it started; who waits to hear something fails. Safe from another thread."""
        Child.alive.discard(self)
        if self._process.returncode is not None:
            return  # reaped: its number may be somebody else's by now
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # it leads a session of its own

    def end(self) -> None:
        """Kills and reaps it and what it started; idempotent."""
        if self._ended:
            return
        self._ended = True
        self.kill()
        self._process.wait()
        self._selector.close()
        self._errors.close()
        try:
            self._input.close()
        except BrokenPipeError:
            pass
        assert self._process.stdout is not None
        self._process.stdout.close()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
