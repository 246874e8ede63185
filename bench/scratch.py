"""The folder in which a run keeps what its rounds need for the moment; it goes away however the run ends.

A janitor of its own process removes it, for nobody can clean up after SIGKILL. It sleeps on a pipe while rounds run.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

JANITOR = Path(__file__).with_name("comparing") / "janitor.py"


def hire_janitor(folder: Path) -> subprocess.Popen[bytes]:
    """A process that removes `folder` when its standard input ends, which the end of ours does, too."""
    return subprocess.Popen(
        [sys.executable, "-I", str(JANITOR), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    )


class Scratch:
    """Use as a context manager; gives the folder."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="bench-run-"))
        self._janitor = hire_janitor(self.folder)

    def __enter__(self) -> Path:
        return self.folder

    def __exit__(self, *_error: object) -> None:
        assert self._janitor.stdin is not None
        self._janitor.stdin.close()
        self._janitor.wait()
