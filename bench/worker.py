"""One side of one round, in a process of its own: `python -m bench.worker`, started by `bench.child` only.

Pins itself before it imports the peer, so that threads a library starts are pinned alike.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import signal
import sys
import traceback
from typing import Any

from bench.descriptors import raise_descriptors
from bench.job import Job
from bench.link.emulator import enter
from bench.peers import load_peer

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Asks Linux for SIGKILL when the parent ends; elsewhere the end of standard input does it."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def check_tree(tree: str) -> None:
    """Raises ImportError if `import transport` would not find the one in `tree`: nothing else must be measured."""
    found = importlib.util.find_spec("transport")
    origin = os.path.realpath(found.origin) if found and found.origin else "nowhere"
    if not origin.startswith(os.path.realpath(os.path.join(tree, "transport")) + os.sep):
        raise ImportError(f"transport would be imported from {origin}")


def import_early(config: dict[str, Any]) -> None:
    """Of many processes that start at once and will share a core: imports on any core. Ours start no threads by it."""
    peer = load_peer(config["peer"], config["module"])
    for name in (*peer.modules, *(["uvloop"] if peer.loop == "uvloop" else [])):
        importlib.import_module(name)


def main() -> None:
    """Reads the job, runs the peer's side of it, reports."""
    die_with_parent()
    raise_descriptors()
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints goes to standard error
    config = json.loads(sys.stdin.readline())
    if config.get("namespace"):
        enter(config["namespace"])
    job = Job(config, sys.stdin, replies)
    try:
        if config.get("tree"):
            check_tree(config["tree"])
        if config.get("turns"):
            import_early(config)
        if config["cores"] and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, config["pin"])
        peer = load_peer(config["peer"], config["module"])
        if job.role == "client":
            if not job.is_open:
                job.pool  # noqa: B018  (made before the clock starts)
            line = sys.stdin.readline()
            if not line:
                return
            job.address = json.loads(line)["address"]
        job.watch()
        {"server": peer.run_server, "client": peer.run_client, "both": peer.run_both}[job.role](job)
    except BaseException as error:
        traceback.print_exc()
        job.fail(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
