"""Peers that misbehave in every way the harness must survive; run by worker processes, never by themselves."""

from __future__ import annotations

import time
from typing import Any

from bench.job import Job
from bench.peers.base import BlockingPeer
from bench.peers.blocking import StreamFloor


class Crashing(BlockingPeer):
    name = title = "crashing"

    def serve(self, job: Job) -> None:
        raise RuntimeError("the server fell over")


class Silent(BlockingPeer):
    name = title = "silent"

    def serve(self, job: Job) -> None:
        time.sleep(60)


class Dying(StreamFloor):
    """The client process ends without a word."""

    def roundtrip(self, message: bytes) -> bytes:
        raise SystemExit(3)


class Lying(StreamFloor):
    """Answers with something else than was sent."""

    def roundtrip(self, message: bytes) -> bytes:
        return super().roundtrip(message)[::-1]


class Losing(StreamFloor):
    """Sends less than it says."""

    def supports(self, case: Any) -> bool:
        return True

    def send_many(self, messages: list[bytes]) -> None:
        super().send_many(messages[1:])


class Absent(BlockingPeer):
    name = title = "absent"
    modules = ("no_such_module_anywhere",)
    distributions = ("no-such-package",)


PEERS = [
    Crashing(),
    Silent(),
    Dying("dying", "dying", "tcp"),
    Lying("lying", "lying", "tcp"),
    Losing("losing", "losing", "tcp"),
    Absent(),
]
