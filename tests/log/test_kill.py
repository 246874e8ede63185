"""kill -9 in the middle of commits: what was acknowledged is there, without a hole, under the same epoch.

TRANSPORT_KILL_ROUNDS says how often a process is killed in a test.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.log.writing import STREAMS
from tests.meta import tree
from transport.log import SQLiteLog, Stream

PROGRAM = Path(__file__).with_name("writing.py")
ROUNDS = int(os.environ.get("TRANSPORT_KILL_ROUNDS", "15"))


class Acknowledged:
    """What the processes so far were told: the top of each stream with its epoch, and the last message."""

    def __init__(self) -> None:
        self.tops: dict[str, tuple[int, int]] = {}
        self.message = 0
        self.commits = 0

    def take(self, output: str) -> None:
        """One process's lines; the last may be cut."""
        for line in output.split("\n")[:-1]:
            word, *parts = line.split(" ")
            if word == "events":
                epoch, offset = int(parts[1]), int(parts[2])
                had = self.tops.get(parts[0])
                assert had is None or had[0] == epoch
                self.tops[parts[0]] = (epoch, offset)
                self.commits += 1
            elif word == "message":
                self.message = int(parts[0])
                assert parts[0] == parts[1]
                self.commits += 1


def run_and_kill(path: Path, durability: str, rng: random.Random) -> str:
    """One process, killed once it has said so many lines, while others of its commits go on; returns what it wrote."""
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), str(path), durability, str(rng.getrandbits(32))], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, cwd=tree.ROOT, env={**os.environ, "PYTHONPATH": str(tree.ROOT)},
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        try:
            said = b"".join(process.stdout.readline() for _ in range(1 + rng.randrange(100)))
        finally:
            process.send_signal(signal.SIGKILL)
        said += process.stdout.read()
        errors = process.stderr.read().decode()
    assert process.returncode == -signal.SIGKILL, errors
    return said.decode()


async def compare(path: Path, known: Acknowledged) -> None:
    """Opens the log as the next process would, and looks for everything."""
    async with SQLiteLog(path, durability="os", check=True) as log:
        for stream in STREAMS:
            if stream.room not in known.tops:
                continue
            epoch, acknowledged = known.tops[stream.room]
            head = await log.head(stream, create=False)
            assert head.epoch == epoch
            assert head.top >= acknowledged
            after = head.first - 1
            while (page := await log.read(stream, after)).events:
                for event in page.events:
                    after += 1
                    assert event.offset == after
                    assert event.payload.startswith(b"%s %d " % (stream.room.encode(), after))
            assert after == head.top
        received = await log.received("client")
        assert received.contiguous >= known.message
        if known.message:
            own = await log.head(Stream("/", "client", True))
            assert own.top == received.contiguous  # event and receipt are one
            assert await log.reply("client", known.message) == b"reply %d" % known.message


@pytest.mark.slow
@pytest.mark.timeout(60 + 10 * ROUNDS)
@pytest.mark.parametrize("durability", ["os", "disk"])
def test_nothing_acknowledged_is_lost(durability: str, tmp_path: Path, rng: random.Random) -> None:
    known = Acknowledged()
    for _ in range(ROUNDS):
        known.take(run_and_kill(tmp_path / "events.db", durability, rng))
        asyncio.run(compare(tmp_path / "events.db", known))
    assert known.commits
    print(f"{known.commits} acknowledged commits, {known.message} messages, {ROUNDS} kills")
