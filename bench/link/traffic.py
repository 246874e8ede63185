"""One side of the traffic that checks an emulated link, in a process and a namespace of its own.

Told by lines of JSON, answers by one. How long this process takes to wake up and to answer is no part of the link: a
round trip is taken between the kernel's stamps, as in NTP. Started by `bench.link.validation` only.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import struct
import sys
import zlib
from pathlib import Path
from time import monotonic_ns, time_ns
from typing import Any

from bench.link.emulator import enter
from bench.worker import die_with_parent

PORT = 5077
BUFFER_BYTES = 16 << 20
PUNCTUAL_NS = 1_000_000
STAMP = struct.Struct("<qq")
"""Number and time of sending, at the head of a datagram."""
ECHO = struct.Struct("<qqqq")
"""Number, time of sending, arrival at the far kernel, time of sending back; the kernel's clock for stamps."""
KERNEL_STAMP = struct.Struct("@qq")
SO_TIMESTAMPNS = 35
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
IP_MTU_DISCOVER, IP_PMTUDISC_DO = 10, 2
SMALLEST = ECHO.size
TCP_CHUNK = 1 << 16


def say(message: dict[str, Any]) -> None:
    """One line to the parent."""
    print(json.dumps(message), flush=True)


def udp_socket(host: str) -> socket.socket:
    """Bound to the port of all flows, with room for all that may come while the other process runs."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
    sock.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, BUFFER_BYTES)
    # what is over the device's MTU is refused here, instead of being cut in two
    sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
    sock.bind((host, PORT))
    sock.setblocking(False)
    return sock


class Flow:
    """What is sent by plan and what is received, until the plan's end.

    Args:
        plan: `count` datagrams of `size` bytes, one every `every_ns` from `start_ns`; `until_ns` ends it; so many as
            `expect` says are to come.
    """

    def __init__(self, sock: socket.socket, peer: tuple[str, int], plan: dict[str, Any]) -> None:
        self.sock = sock
        self.peer = peer
        self.plan = plan
        self.seen = bytearray(plan["expect"])
        self.sent = self.received = self.twice = self.late = self.latest = self.unpunctual = 0
        self.first_ns = self.last_ns = self.longest_gap_ns = 0

    def run(self) -> None:
        """Until the end. Never sleeps, so that what is planned is sent when it is due."""
        plan, filler = self.plan, bytes(self.plan["size"] - STAMP.size)
        due, until = plan["start_ns"], plan["until_ns"]
        while (now := monotonic_ns()) < until:
            if self.sent < plan["count"] and now >= due:
                self.sock.sendto(STAMP.pack(self.sent, now) + filler, self.peer)
                self.sent += 1
                self.unpunctual += now - due > PUNCTUAL_NS
                due += plan["every_ns"]
            self._take()
        while self._take():  # what came while this process was held up
            pass

    def _take(self) -> bool:
        try:
            data = self.sock.recv(1 << 16)
        except BlockingIOError:
            return False
        now = monotonic_ns()
        number, _ = STAMP.unpack_from(data)
        self.received += 1
        if self.last_ns:
            self.longest_gap_ns = max(self.longest_gap_ns, now - self.last_ns)
        self.first_ns = self.first_ns or now
        self.last_ns = now
        if self.seen[number]:
            self.twice += 1
            return True
        self.seen[number] = 1
        self.late += number < self.latest
        self.latest = max(self.latest, number)
        return True

    def result(self) -> dict[str, Any]:
        """Counts and times."""
        runs = [len(run) for run in bytes(self.seen).split(b"\x01") if run]
        return {
            "sent": self.sent, "unpunctual": self.unpunctual,
            "received": self.received, "twice": self.twice, "late": self.late,
            "missing": len(self.seen) - sum(self.seen), "missing_runs": len(runs),
            "missing_numbers": zlib.crc32(self.seen), "first_ns": self.first_ns, "last_ns": self.last_ns,
            "longest_gap_ns": self.longest_gap_ns, "bad_checksums": bad_checksums(),
        }  # fmt: skip


class Echo:
    """Round trips by the kernel's stamps: (t4 - t1) - (t3 - t2), as in RFC 5905; or the answers to them.

    Args:
        plan: as for `Flow`; with a `count` it asks, without one it answers.
    """

    def __init__(self, sock: socket.socket, peer: tuple[str, int], plan: dict[str, Any]) -> None:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.sock = sock
        self.peer = peer
        self.plan = plan
        self.trips: list[int] = []

    def run(self) -> None:
        """Until the end."""
        plan, number, due = self.plan, 0, self.plan["start_ns"]
        filler = bytes(plan["size"] - ECHO.size)
        while (now := monotonic_ns()) < plan["until_ns"]:
            if number < plan["count"] and now >= due:
                self.sock.sendto(ECHO.pack(number, time_ns(), 0, 0) + filler, self.peer)
                number += 1
                due += plan["every_ns"]
            next_ns = due if number < plan["count"] else plan["until_ns"]
            if select.select([self.sock], [], [], max(0, next_ns - now) / 1e9)[0]:
                self._take()

    def _take(self) -> None:
        data, control, _, _ = self.sock.recvmsg(1 << 11, 64)
        level, kind, stamp = control[0]
        assert (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS)
        seconds, nanoseconds = KERNEL_STAMP.unpack(stamp)
        arrived = seconds * 1_000_000_000 + nanoseconds
        number, t1, t2, t3 = ECHO.unpack_from(data)
        if self.plan["count"]:
            self.trips.append(arrived - t1 - (t3 - t2))
        else:
            self.sock.sendto(ECHO.pack(number, t1, arrived, time_ns()) + data[ECHO.size :], self.peer)

    def result(self) -> dict[str, Any]:
        """How many answers came, and the mean and the ends of their round trips in ns."""
        trips = self.trips or [0]
        return {"received": len(self.trips), "mean_ns": sum(trips) / len(trips), "min_ns": min(trips),
                "max_ns": max(trips)}  # fmt: skip


def bad_checksums() -> int:
    """UDP datagrams that this namespace's kernel refused for their checksum."""
    lines = [line.split() for line in Path("/proc/thread-self/net/snmp").read_text().splitlines() if line[:4] == "Udp:"]
    return int(dict(zip(*lines, strict=True))["InCsumErrors"])


def send_stream(host: str, peer: str, size: int, congestion: str) -> dict[str, Any]:
    """Sends `size` bytes over TCP and waits for the receiver's word; says what it was sent with."""
    with socket.create_connection((peer, PORT), source_address=(host, 0)) as sock:
        used = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode()
        if used != congestion:
            raise RuntimeError(f"TCP uses {used} instead of {congestion}")
        data = os.urandom(size)
        began = monotonic_ns()
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        answer = sock.recv(4)
        return {"seconds": (monotonic_ns() - began) / 1e9, "whole": answer == zlib.crc32(data).to_bytes(4, "big")}


def take_stream(listener: socket.socket) -> dict[str, Any]:
    """Receives until the end of the stream and answers with its CRC-32."""
    sock, _ = listener.accept()
    with sock:
        total = crc = 0
        while data := sock.recv(TCP_CHUNK):
            total += len(data)
            crc = zlib.crc32(data, crc)
        sock.sendall(crc.to_bytes(4, "big"))
        with contextlib.suppress(OSError):
            sock.recv(1)
    return {"bytes": total}


def main() -> None:
    """Enters the namespace, says so, does what the plan says."""
    die_with_parent()
    order = json.loads(sys.stdin.readline())
    enter(order["namespace"])
    host, peer = order["host"], order["peer"]
    if order["kind"] == "udp":
        sock = udp_socket(host)
        say({"ready": True})
        plan = json.loads(sys.stdin.readline())
        flow = (Echo if plan["echo"] else Flow)(sock, (peer, PORT), plan)
        flow.run()
        say({"result": flow.result()})
    elif order["kind"] == "tcp-send":
        say({"ready": True})
        plan = json.loads(sys.stdin.readline())
        say({"result": send_stream(host, peer, plan["bytes"], plan["congestion"])})
    else:
        with socket.create_server((host, PORT)) as listener:
            say({"ready": True})
            say({"result": take_stream(listener)})


if __name__ == "__main__":
    main()
