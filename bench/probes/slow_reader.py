"""A sender faster than its reader, for a minute: does either process grow?

The sender sends 1 KiB messages as fast as back-pressure lets it; the reader takes one a millisecond. Two pairs run side
by side, by coroutines and by callbacks. Run as a child: `python -m bench.probes.slow_reader`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any

from bench.bars import simple_bar
from bench.child import Child, ChildFailed
from bench.peers.base import fastest_loop
from bench.procstat import memory_bytes

SECONDS = 60.0
SETTLED_S = 5.0
SAMPLE_S = 0.25
LIMIT_MIB = 8.0
READ_EVERY_S = 0.001
STARTUP_S = 20.0
STYLES = ("coroutines", "callbacks")
MESSAGE = b"m" * 1024
counts = {"messages": 0}


def say(message: dict[str, Any]) -> None:
    """One line to the parent."""
    print(json.dumps(message), flush=True)


async def slow_handler(conn: Any) -> None:
    """Takes a message, dawdles."""
    async for _message in conn:
        counts["messages"] += 1
        await asyncio.sleep(READ_EVERY_S)


def slow_protocol() -> Any:
    """Takes a message, stops reading, dawdles."""
    import transport

    class Slow(transport.Protocol):
        def connection_made(self, conn: Any) -> None:
            self.conn = conn

        def message_received(self, message: Any, channel: int) -> None:
            counts["messages"] += 1
            self.conn.pause_reading()
            asyncio.get_running_loop().call_later(READ_EVERY_S, self.conn.resume_reading)

    return Slow


async def reader(style: str) -> Any:
    """Listens; returns the server, which must stay alive."""
    import transport

    if style == "coroutines":
        return await transport.serve("tcp://127.0.0.1:0", slow_handler, codec="raw")
    return await transport.serve("tcp://127.0.0.1:0", protocol=slow_protocol(), codec="raw")


async def send_by_coroutine(url: str) -> None:
    """`await send` for ever."""
    import transport

    conn = await transport.connect(url, codec="raw")
    say({"ready": True})
    while True:
        await conn.send(MESSAGE)
        counts["messages"] += 1


async def send_by_callbacks(url: str) -> None:
    """`send_nowait` until told to pause, on when told to resume."""
    import transport

    loop = asyncio.get_running_loop()

    class Fast(transport.Protocol):
        paused = False

        def connection_made(self, conn: Any) -> None:
            self.conn = conn
            loop.call_soon(self.pump)

        def pump(self) -> None:
            while not self.paused:
                try:
                    self.conn.send_nowait(MESSAGE)
                except transport.WouldBlock:
                    return
                counts["messages"] += 1

        def pause_writing(self) -> None:
            self.paused = True

        def resume_writing(self) -> None:
            self.paused = False
            loop.call_soon(self.pump)

    conn = await transport.connect(url, protocol=Fast, codec="raw")
    say({"ready": True})
    await conn.wait_closed()


async def main() -> None:
    """A child: reader or sender; a line on standard input asks for the count."""
    command = json.loads(sys.stdin.readline())
    loop = asyncio.get_running_loop()

    def asked() -> None:
        if not sys.stdin.readline():
            raise SystemExit
        say({"messages": counts["messages"]})

    loop.add_reader(sys.stdin.fileno(), asked)
    if command["role"] == "reader":
        server = await reader(command["style"])
        say({"ready": str(server.url)})
        await server.serve_forever()
    elif command["style"] == "coroutines":
        await send_by_coroutine(command["url"])
    else:
        await send_by_callbacks(command["url"])


def watch(pairs: dict[str, tuple[Child, Child]], seconds: float, tick: Callable[[str], None]) -> dict[str, Any]:
    """Samples the memory of all processes; returns the growth past the settled value, per style and side."""
    began = monotonic()
    settled_s = min(SETTLED_S, seconds / 2)
    sides = {
        f"{style}/{side}": child.pid
        for style, pair in pairs.items()
        for side, child in zip(("reader", "sender"), pair, strict=True)
    }
    settled: dict[str, int] = {}
    highest = dict.fromkeys(sides, 0)
    series: dict[str, list[int]] = {name: [] for name in sides}
    while (spent := monotonic() - began) < seconds:
        for name, pid in sides.items():
            rss = memory_bytes(pid)["rss"]
            series[name].append(rss)
            if spent >= settled_s:
                settled.setdefault(name, rss)
                highest[name] = max(highest[name], rss)
        tick(f"{spent:.0f} s")
        sleep(SAMPLE_S)
    return {
        name: {"settled": settled[name], "highest": highest[name], "every_s": SAMPLE_S, "rss": series[name]}
        for name in sides
    }


def run(tick: Callable[[str], None], seconds: float = SECONDS) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """(bars, what was seen)."""
    title = "MiB grown in {:.0f} s, slow reader, {}"
    bars: list[dict[str, Any]] = []
    seen: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        pairs: dict[str, tuple[Child, Child]] = {}
        for style in STYLES:
            try:
                pairs[style] = start_pair(stack, style)
            except ChildFailed as failure:
                bars.append(
                    simple_bar(
                        f"slow-reader-{style}", title.format(seconds, style), "MiB", None, LIMIT_MIB, why=str(failure)
                    )
                )
        if not pairs:
            return bars, {}
        try:
            seen = watch(pairs, seconds, tick)
        except (OSError, KeyError) as error:
            for style in pairs:
                bars.append(
                    simple_bar(
                        f"slow-reader-{style}",
                        title.format(seconds, style),
                        "MiB",
                        None,
                        LIMIT_MIB,
                        why=f"a process ended early: {error}",
                    )
                )
            return bars, {}
        for style, pair in pairs.items():
            bars.append(finish_pair(style, pair, seen, title.format(seconds, style)))
    return bars, seen


def start_pair(stack: contextlib.ExitStack, style: str) -> tuple[Child, Child]:
    """A reader and its sender. Raises ChildFailed."""
    deadline = monotonic() + STARTUP_S
    reading = stack.enter_context(Child(f"{style} reader", __name__))
    sending = stack.enter_context(Child(f"{style} sender", __name__))
    reading.tell({"role": "reader", "style": style})
    sending.tell({"role": "sender", "style": style, "url": reading.hear("ready", deadline)})
    sending.hear("ready", deadline)
    return reading, sending


def finish_pair(style: str, pair: tuple[Child, Child], seen: dict[str, Any], title: str) -> dict[str, Any]:
    """The bar of one style; a pair that moved nothing, or that died, is a failure."""
    identity = f"slow-reader-{style}"
    try:
        for child, side in zip(pair, ("reader", "sender"), strict=True):
            child.tell({"do": "count"})
            seen[f"{style}/{side}"]["messages"] = child.hear("messages", monotonic() + STARTUP_S)
    except ChildFailed as failure:
        return simple_bar(identity, title, "MiB", None, LIMIT_MIB, why=str(failure))
    both = [seen[f"{style}/{side}"] for side in ("reader", "sender")]
    if not both[0]["messages"] or both[1]["messages"] <= both[0]["messages"]:
        return simple_bar(
            identity,
            title,
            "MiB",
            None,
            LIMIT_MIB,
            why=f"no back-pressure was seen: {both[1]['messages']} sent, {both[0]['messages']} read",
        )
    growth = max((one["highest"] - one["settled"]) / 2**20 for one in both)
    return simple_bar(identity, title, "MiB", growth, LIMIT_MIB)


if __name__ == "__main__":
    fastest_loop().run_until_complete(main())
