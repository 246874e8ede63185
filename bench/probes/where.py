"""Where the time of a message goes: instructions by part, system calls, the kernel's share of the CPU.

Both ends run on one event loop in one process, so that one count holds all that a message costs. Every figure is the
difference of two runs of different length, so that start and warm-up drop out. Instructions do not depend on what else
the machine does; CPU times do, and are for shares and ratios. docs/where-the-time-goes.md tells what came of it.

`python -m bench.probes.where instructions|calls|samples|share|busy`, and `--help` for the rest.

`instructions` needs valgrind, `calls` strace, `samples` perf. `bare` as a scheme is UDP by the event loop alone.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from time import perf_counter
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LOADS = ("roundtrip", "bulk")
BULK_BYTES = 64 * 1024 * 1024  # of the longer bulk run under valgrind, at most
BULK_MESSAGES = 60_000
TRIPS = 3_000
CPU_FACTOR = 10  # so much longer runs where the machine itself is what is measured
SHORTEST = 3  # the shorter run has a third of the messages
CHILD_S = 600.0
SLOW_CLOCK = Path(__file__).with_name("slow_clock.c")
SLOWER = 50  # about the factor by which valgrind slows a program down, and so the clock it sees
TOP = 25
SAMPLE_FACTOR = 60  # and so much longer under the sampling profiler
SAMPLES_HZ = 5000
START_MS = 600  # of the start are not sampled
BUSY_TRIPS = 500
BUSY_US = (0, 50, 500)  # of `busy_poll_us`
PARTS = (  # the first that matches an object's path, or else a function's name
    ("reliable UDP, compiled", re.compile(r"/transport/rudp/")),
    ("sockets, compiled", re.compile(r"/transport/net/")),
    ("drivers and connection, compiled", re.compile(r"/transport/")),
    ("event loop", re.compile(r"/uvloop/|/_asyncio")),
    ("C library", re.compile(r"/libc[.-]|/ld-linux|vgpreload|linux-gate|/libpthread")),
    ("Python", re.compile(r"")),
)


# What is measured


class Done:
    """Says when all has been counted, and what the process had used when the count began."""

    def __init__(self, loop: asyncio.AbstractEventLoop, count: int) -> None:
        self.future: asyncio.Future[None] = loop.create_future()
        self.left = count

    def one(self) -> bool:
        """One message more; whether it was the last."""
        self.left -= 1
        if self.left == 0:
            self.future.set_result(None)
        return self.left <= 0


def callbacks(**methods: Any) -> Any:
    """A `transport.Protocol` class with these callbacks."""
    import transport

    return type("Callbacks", (transport.Protocol,), {name: staticmethod(method) for name, method in methods.items()})


async def roundtrip(url: str, options: dict[str, Any], message: bytes, count: int) -> dict[str, int]:
    """`count` messages there and back, one at a time."""
    import transport

    done = Done(asyncio.get_running_loop(), count)

    class Echo(transport.Protocol):
        def connection_made(self, conn: Any) -> None:
            self.send = conn.send_nowait

        def message_received(self, message: Any, channel: int) -> None:
            self.send(message)

    class Ping(Echo):
        def message_received(self, message: Any, channel: int) -> None:
            if not done.one():
                self.send(message)

    server = await transport.serve(url, protocol=Echo, codec="raw", **options)
    conn = await transport.connect(str(server.url), protocol=Ping, codec="raw", **options)
    conn.send_nowait(message)
    await done.future
    return await finish(conn, server)


async def bulk(url: str, options: dict[str, Any], message: bytes, count: int) -> dict[str, int]:
    """`count` messages one way, as fast as back-pressure lets."""
    import transport

    done = Done(asyncio.get_running_loop(), count)
    left = count

    def take(message: Any, channel: int) -> None:
        done.one()

    def pump() -> None:
        nonlocal left
        send = conn.send_nowait
        try:
            while left:
                send(message)
                left -= 1
        except transport.WouldBlock:
            pass

    server = await transport.serve(url, protocol=callbacks(message_received=take), codec="raw", **options)
    conn = await transport.connect(str(server.url), protocol=callbacks(resume_writing=pump), codec="raw", **options)
    pump()
    await done.future
    return await finish(conn, server)


async def finish(conn: Any, server: Any) -> dict[str, int]:
    """Closes both ends; what the client's statistics say."""
    found = dict(conn.statistics().counters)
    await conn.close()
    await server.close()
    return found


async def bare(message: bytes, count: int) -> dict[str, int]:
    """Round trips over the event loop's own datagram endpoints: no reliability, nothing of ours."""
    loop = asyncio.get_running_loop()
    done = Done(loop, count)

    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.sendto = transport.sendto

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.sendto(data, addr)

    class Ping(Echo):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            if not done.one():
                self.sendto(data)

    server, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    client, _ = await loop.create_datagram_endpoint(Ping, remote_addr=server.get_extra_info("sockname"))
    client.sendto(message)
    await done.future
    client.close()
    server.close()
    return {}


def child(scheme: str, load: str, size: int, count: int, options: dict[str, Any]) -> dict[str, Any]:
    """One run in this process: seconds of wall, user and kernel, and the client's counters."""
    message = b"m" * size
    if scheme == "bare":
        work = bare(message, count)
    else:
        work = (roundtrip if load == "roundtrip" else bulk)(f"{scheme}://127.0.0.1:0", options, message, count)
    before, began = resource.getrusage(resource.RUSAGE_SELF), perf_counter()
    statistics = loop_of()(work)
    after, ended = resource.getrusage(resource.RUSAGE_SELF), perf_counter()
    return {
        "wall": ended - began,
        "user": after.ru_utime - before.ru_utime,
        "kernel": after.ru_stime - before.ru_stime,
        "packets": statistics.get("packets_sent", 0),
        "mtu": statistics.get("mtu", 0),
    }


# How it is measured


def counts(load: str, size: int, factor: int = 1) -> tuple[int, int]:
    """Messages of the shorter and of the longer run."""
    most = TRIPS if load == "roundtrip" else min(BULK_MESSAGES, BULK_BYTES // size)
    return most * factor // SHORTEST, most * factor


def spawn(
    arguments: argparse.Namespace, count: int, before: list[str], extra: dict[str, str] | None = None
) -> dict[str, Any]:
    """A run in a process of its own, behind the words `before` and with `extra` in its environment, with `transport`
    of the tree that was asked for.
    """
    command = [*before, sys.executable, __file__, "child", "--scheme", arguments.scheme, "--load", arguments.load,
               "--size", str(arguments.size), "--count", str(count), "--options", arguments.options]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(arguments.tree), "PYTHONHASHSEED": "0"} | (extra or {})
    done = subprocess.run(
        command, cwd=arguments.tree, env=environment, capture_output=True, text=True, check=False, timeout=CHILD_S
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def demand(tool: str) -> str:
    """The path of a tool; ends the program where there is none."""
    found = shutil.which(tool)
    if found is None:
        raise SystemExit(f"this needs {tool}, which is not installed")
    return found


def profile(path: Path) -> Counter[tuple[str, str]]:
    """Instructions by (object file, function) of a callgrind file, each function's own."""
    names: dict[tuple[str, str], str] = {}
    found: Counter[tuple[str, str]] = Counter()
    inside = {"ob": "", "fn": ""}
    is_call = False
    pattern = re.compile(r"(c?ob|c?fn|c?fl|fi|fe|c?fi)=(?:\((\d+)\))?(?: ?(.*))?$")
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if not line or line[0] == "#":
            continue
        if line[0].isdigit() or line[0] in "+-*":
            if not is_call:  # the line behind `calls=` is what the callee took
                found[inside["ob"], inside["fn"]] += int(line.split()[1])
            is_call = False
            continue
        if line.startswith("calls="):
            is_call = True
            continue
        match = pattern.match(line)
        if match is None:
            continue
        kind, number, text = match.groups()
        space = "ob" if kind in ("ob", "cob") else "fn" if kind in ("fn", "cfn") else "fl"
        if number is not None and text:
            names[space, number] = text
        if kind in inside:
            inside[kind] = text or names[space, number or ""]
    return found


def part_of(place: str) -> str:
    """The part that an object file belongs to."""
    return next(name for name, pattern in PARTS if pattern.search(place))


def instructions(arguments: argparse.Namespace) -> dict[str, Any]:
    """Instructions per message, by part and by function."""
    from bench.native_build import SHARED, build  # not above: a child sees the tree under measure, and no bench

    valgrind = demand("valgrind")
    few, many = counts(arguments.load, arguments.size)
    slow = {"LD_PRELOAD": str(build(SLOW_CLOCK, SHARED)), "SLOW_CLOCK": str(SLOWER)}
    runs: list[Counter[tuple[str, str]]] = []
    packets: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        for count in (few, many):
            file = Path(folder, f"{count}.out")
            words = [valgrind, "--tool=callgrind", f"--callgrind-out-file={file}"]
            packets.append(spawn(arguments, count, words, slow)["packets"])
            runs.append(profile(file))
    runs[1].subtract(runs[0])
    each = {key: value / (many - few) for key, value in runs[1].items() if value}
    parts: Counter[str] = Counter()
    for (place, _), value in each.items():
        parts[part_of(place)] += value  # type: ignore[assignment]
    top = sorted(each.items(), key=lambda item: -item[1])[: arguments.top]
    return {
        "total": round(sum(each.values())),
        "parts": {name: round(parts[name]) for name, _ in PARTS},
        "messages_per_packet": round((many - few) / max(packets[1] - packets[0], 1), 2),
        "functions": [[round(value, 1), Path(place).name.partition(".")[0], name] for (place, name), value in top],
    }


def calls(arguments: argparse.Namespace) -> dict[str, float]:
    """System calls per message, by name."""
    strace = demand("strace")
    few, many = counts(arguments.load, arguments.size, CPU_FACTOR if arguments.load == "bulk" else 1)
    runs: list[Counter[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        for count in (few, many):
            file = Path(folder, f"{count}.txt")
            spawn(arguments, count, [strace, "-f", "-c", "-U", "name,calls", "-o", str(file)])
            rows = [line.split() for line in file.read_text(encoding="utf-8").splitlines()]
            runs.append(Counter({row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}))
    total = {name: (runs[1][name] - runs[0][name]) / (many - few) for name in runs[1] if name != "total"}
    return {name: round(value, 4) for name, value in sorted(total.items(), key=lambda item: -item[1]) if value > 0.0005}


def samples(arguments: argparse.Namespace) -> dict[str, Any]:
    """Where a sampling profiler finds the program: percent by part, and the functions that it is in most often."""
    perf = demand("perf")
    _, many = counts(arguments.load, arguments.size, SAMPLE_FACTOR)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "perf.data")
        spawn(
            arguments,
            many,
            [perf, "record", "-q", "-o", str(file), "-e", "cpu-clock", "-F", str(SAMPLES_HZ), "-D", str(START_MS)],
        )
        words = [perf, "script", "-i", str(file), "-F", "ip,sym,dso"]
        text = subprocess.run(words, capture_output=True, text=True, check=True, timeout=CHILD_S).stdout
    found = Counter(match.groups() for match in re.finditer(r"^\s*[0-9a-f]+ (.*) \((.*)\)$", text, re.MULTILINE))
    total = sum(found.values()) or 1
    parts: Counter[str] = Counter()
    for (_, place), count in found.items():
        parts["kernel" if place.startswith("[") and place != "[vdso]" else part_of(place)] += count
    return {
        "samples": total,
        "percent": {name: round(100 * count / total, 1) for name, count in parts.most_common()},
        "functions": [
            [round(100 * count / total, 1), Path(place).name.partition(".")[0], name]
            for (name, place), count in found.most_common(arguments.top)
        ],
    }


def share(arguments: argparse.Namespace) -> dict[str, float]:
    """CPU time per message, the program's and the kernel's; the median of several pairs of runs."""
    few, many = counts(arguments.load, arguments.size, CPU_FACTOR)
    found: list[dict[str, float]] = []
    for _ in range(arguments.rounds):
        short, long = spawn(arguments, few, []), spawn(arguments, many, [])
        each = {name: (long[name] - short[name]) * 1e6 / (many - few) for name in ("user", "kernel", "wall")}
        found.append(each | {"mtu": float(long["mtu"])})
    found.sort(key=lambda each: each["user"] + each["kernel"])
    middle = found[len(found) // 2]
    cpu = middle["user"] + middle["kernel"]
    return {
        "user_us": round(middle["user"], 3),
        "kernel_us": round(middle["kernel"], 3),
        "kernel_percent": round(100 * middle["kernel"] / cpu, 1) if cpu else 0.0,
        "wall_us": round(middle["wall"], 3),
        "mtu": middle["mtu"],
    }


def echo_on(core: int, url: str) -> None:
    """Serves echoes on a core of its own until its input ends; says where."""
    import transport

    os.sched_setaffinity(0, {core})

    class Echo(transport.Protocol):
        def connection_made(self, conn: Any) -> None:
            self.send = conn.send_nowait

        def message_received(self, message: Any, channel: int) -> None:
            self.send(message)

    async def serve() -> None:
        server = await transport.serve(url, protocol=Echo, codec="raw")
        print(server.url, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await server.close()

    loop_of()(serve())


def loop_of() -> Any:
    """What runs a coroutine on the fastest loop there is."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    return uvloop.run


async def trips(url: str, size: int, count: int) -> list[float]:
    """Round trips in microseconds, one at a time, the first tenth left out."""
    import transport

    future = asyncio.get_running_loop().create_future()
    times = [perf_counter()]

    class Ping(transport.Protocol):
        def message_received(self, message: Any, channel: int) -> None:
            times.append(perf_counter())
            if len(times) <= count:
                conn.send_nowait(message)
            else:
                future.set_result(None)

    conn = await transport.connect(url, protocol=Ping, codec="raw")
    conn.send_nowait(b"m" * size)
    await future
    await conn.close()
    return [(after - before) * 1e6 for before, after in itertools.pairwise(times)][count // 10 :]


def busy(arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Round trips with both ends on cores of their own, by `busy_poll_us` of both, in turns: of each run the least but
    for a tenth, which a machine with other work leaves alone; sorted.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("this needs two cores")
    found: dict[str, list[float]] = {str(wait): [] for wait in BUSY_US}
    for wait in BUSY_US * arguments.rounds:
        url = f"{arguments.scheme}://127.0.0.1:0?busy_poll_us={wait}"
        command = [sys.executable, __file__, "echo", "--count", str(cores[1]), "--options", url]
        environment = os.environ | {"PYTHONPATH": str(arguments.tree)}
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=arguments.tree, env=environment
        ) as server:
            assert server.stdout is not None
            where = server.stdout.readline().strip().partition("?")[0]
            os.sched_setaffinity(0, {cores[0]})
            took = sorted(loop_of()(trips(f"{where}?busy_poll_us={wait}", arguments.size, BUSY_TRIPS)))
            assert server.stdin is not None
            server.stdin.close()
        found[str(wait)].append(round(took[len(took) // 10], 1))
    return {wait: sorted(medians) for wait, medians in found.items()}


def parse(words: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.probes.where", description=__doc__)
    parser.add_argument("figure", choices=("instructions", "calls", "samples", "share", "busy", "child", "echo"))
    parser.add_argument("--scheme", default="rudp", help="rudp, udp, tcp, or bare")
    parser.add_argument("--load", choices=LOADS, default="roundtrip")
    parser.add_argument("--size", type=int, default=64, help="bytes of a message")
    parser.add_argument("--count", type=int, default=1000, help="messages of a child")
    parser.add_argument("--options", default="{}", help="further options of serve and connect, as JSON")
    parser.add_argument("--tree", type=Path, default=ROOT, help="whose transport is measured")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of runs of `share`")
    parser.add_argument("--top", type=int, default=TOP, help="functions that are listed")
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> int:
    """The command."""
    arguments = parse(words)
    if arguments.figure == "child":
        found: Any = child(
            arguments.scheme, arguments.load, arguments.size, arguments.count, json.loads(arguments.options)
        )
        print(json.dumps(found))
        return 0
    if arguments.figure == "echo":
        echo_on(arguments.count, arguments.options)
        return 0
    found = {"instructions": instructions, "calls": calls, "samples": samples, "share": share, "busy": busy}[
        arguments.figure
    ](arguments)
    functions = found.pop("functions", [])
    print(json.dumps(found))
    for value, place, name in functions:
        print(f"{value:10.1f}  {place:18} {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
