"""Peers that misbehave in every way the harness must survive; run by worker processes, never by themselves."""

from __future__ import annotations

import os
import struct
import time
import zlib
from pathlib import Path
from typing import Any

from bench.cases import HEADER_BYTES
from bench.job import SCHEDULE_FILE, Job
from bench.peers.base import BlockingPeer
from bench.peers.blocking import StreamFloor
from bench.peers.protocols import ProtocolPeer

SIZES_FOLDER = "BENCH_TEST_SIZES_FOLDER"  # the name of an environment variable


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


class Inventing(StreamFloor):
    """Sends a message more than was asked for, well formed, with a number that is in no plan."""

    def senders(self, job: Job) -> list[Any]:
        (send,) = super().senders(job)
        body = struct.pack("<IQ", 1 << 30, 1) + bytes(job.case.payload - HEADER_BYTES)
        send(struct.pack("<I", zlib.crc32(body)) + body)
        return [send]


class Deaf(StreamFloor):
    """Listens and takes no connection."""

    def serve(self, job: Job) -> None:
        self.listener, address = self.listen(job)
        job.ready(address)


class Measuring(ProtocolPeer):
    """Well behaved: leaves the sizes that it took, and the plan that it kept to, in the folder of `SIZES_FOLDER`."""

    def __init__(self) -> None:
        super().__init__("asyncio", framed=True)
        self.name = "measuring"

    async def serve(self, job: Job) -> None:
        counter = job.counter(reliable=True)
        take = counter.take
        sizes = open(Path(os.environ[SIZES_FOLDER]) / "sizes", "ab", buffering=0)  # noqa: SIM115

        def noting(message: Any, channel: int = 0) -> None:
            sizes.write(struct.pack("<I", len(message)))
            take(message, channel)

        counter.take = noting
        await super().serve(job)

    async def senders(self, job: Job) -> list[Any]:
        job.open_loop().schedule.save(Path(os.environ[SIZES_FOLDER]) / SCHEDULE_FILE)
        return await super().senders(job)


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
    Measuring(),
    Inventing("inventing", "inventing", "tcp"),
    Deaf("deaf", "deaf", "tcp"),
]
