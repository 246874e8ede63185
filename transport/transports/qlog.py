"""Where traces of connections go: a folder, a file for each, named by the client's connection id and the side.

The one place that opens them. It must never let a full disk or a missing right end a connection: the trace ends, and
one line of the log says why.
"""

from __future__ import annotations

import logging
import os
import time
from typing import Any

from transport import limits
from transport.rudp.trace import Trace

log = logging.getLogger("transport")

SUFFIX = ".sqlog"
FILES_MAX = limits.QLOG_FILES_MAX
NAMES_MAX = 100  # tries for a name that nobody has
_APPEND = os.O_WRONLY | os.O_APPEND | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)

_begun = 0  # files of this process


class _File:
    """One trace, opened anew for each batch of records, so that no connection holds a descriptor for it."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._path = ""

    def write(self, name: str, data: bytes) -> bool:
        """Appends records; whether more would be taken."""
        try:
            file = os.open(self._path, _APPEND) if self._path else self._create(name)
            try:
                while data:
                    data = data[os.write(file, data) :]
            finally:
                os.close(file)
        except OSError as error:
            log.warning("the trace of %s ends: %s", name, error)
            return False
        return True

    def _create(self, name: str) -> int:
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        for number in range(1, NAMES_MAX + 1):
            again = "" if number == 1 else f"_{number}"
            path = os.path.join(self._folder, f"{name}{again}{SUFFIX}")
            try:
                file = os.open(path, _APPEND | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                continue
            self._path = path
            return file
        raise FileExistsError(f"{NAMES_MAX} files of this name")


class Folder:
    """Makes the traces of sessions; `RudpConfig.trace`.

    Args:
        path: of the folder, made when the first trace is written.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def __call__(self, session: Any, now: int) -> Trace | None:
        """The trace of a new session; None when this process has begun very many."""
        global _begun  # noqa: PLW0603 - of the process
        _begun += 1
        if _begun > FILES_MAX:
            if _begun == FILES_MAX + 1:
                log.warning("this process has begun %d traces, the next connections have none", FILES_MAX)
            return None
        return Trace(session, _File(self.path).write, now, time.time_ns())


def folder(asked: str | None) -> Folder | None:
    """Where traces go by the option `qlog`, or by the environment; None for nowhere."""
    path = os.environ.get("QLOGDIR", "") if asked is None else asked
    return Folder(path) if path and path != "none" else None
