"""Removes a folder when whoever started it is gone, however that ended: `python janitor.py FOLDER`.

A process of its own, because nobody can clean up after SIGKILL. It waits for the end of its standard input; lines there
name process groups that write into the folder ("+123") or no longer do ("-123"): those left are killed first.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from time import monotonic, sleep

PATIENCE_S = 10.0


def remove(folder: str, groups: set[int]) -> bool:
    """Ends `groups`, then removes `folder`, again while somebody dying still writes. Returns whether it is gone."""
    for group in groups:
        try:
            os.killpg(group, signal.SIGKILL)
        except OSError:
            pass
    until = monotonic() + PATIENCE_S
    while os.path.lexists(folder) and monotonic() < until:
        shutil.rmtree(folder, ignore_errors=True)
        if os.path.lexists(folder):
            sleep(0.1)
    return not os.path.lexists(folder)


def main() -> int:
    """Waits and removes."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        (groups.add if line[0] == "+" else groups.discard)(group)
    return int(not remove(sys.argv[1], groups))


if __name__ == "__main__":
    sys.exit(main())
