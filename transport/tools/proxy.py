"""`transport proxy URL`: passes on to a server what comes, as a bad network would, without needing to be root.

What happens to a datagram is decided by the simulator's link, from a seed. What a proxy can't do honestly is refused: a
stream can't lose packets here, since the kernels on both sides repeat what they lose.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import stat
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from transport import limits
from transport.errors import InvalidURL
from transport.net import connect as net
from transport.sim.config import LinkConfig
from transport.tools.air import DOWN, UP, WAYS, Air
from transport.tools.datagrams import Datagrams
from transport.tools.life import Stop
from transport.tools.live import Output, amount, counted, milliseconds, share
from transport.tools.streams import Mischief, Streams
from transport.transports.memory_link import LINK_OPTIONS, link_config
from transport.url import Url, parse

DATAGRAM_SCHEMES = ("udp", "rudp")
STREAM_SCHEMES = ("tcp", "tls", "unix")
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where a server listens, not where it is reached
QUEUE_S = 0.1
QUEUE_BYTES_MIN = 64 * limits.KIB
STREAMS_CANNOT = {
    "loss": "lose packets", "burst_good": "lose packets", "burst_bad": "lose packets", "burst_loss": "lose packets",
    "duplicate": "double packets", "reorder": "reorder packets", "reorder_delay": "reorder packets",
    "jitter_reorders": "reorder packets", "corrupt": "damage packets", "mtu": "drop packets by their size",
}  # fmt: skip


async def run(given: Any, out: Output, stop: Stop) -> int:
    """Forwards until a signal. Returns the exit status.

    Raises:
        InvalidURL: a mistake in the arguments. ConnectFailed: a name can't be resolved. OSError: can't listen.
    """
    target = parse(given.url)
    asked = {way: link_options(given, way) for way in WAYS}
    seed = secrets.randbits(32) if given.seed is None else given.seed
    proxy, air, url = await make(given, target, asked, seed)
    air.open()
    try:
        proxy.start()
        texts = {way: {name: spelled.text for name, spelled in asked[way].items()} for way in WAYS}
        out.always("listening", header(url, target, seed, texts), url=url, target=given.url, seed=seed, **texts)
        report = Report(proxy, air)
        while not await stop.within(given.every):
            text, fields = report.now()
            out.status(text, **fields)
        out.end_status()
        text, fields = report.total()
    finally:
        proxy.close()
        air.close()
        remove(url)
    out.always("summary", text, **fields)
    return 0


def link_options(given: Any, way: str) -> dict[str, Any]:
    """What was asked of the link in one direction, as it was spelled; its own word counts before that for both."""
    found = {}
    for name in LINK_OPTIONS:
        written = name.replace("_", "-")
        own = getattr(given, f"{way}-{written}", None)
        chosen = getattr(given, written, None) if own is None else own
        if name != "seed" and chosen is not None:
            found[name] = chosen
    return found


def config_of(asked: dict[str, Any]) -> LinkConfig:
    """The link that was asked for. Raises InvalidURL."""
    options = {name: spelled.value for name, spelled in asked.items()}
    if "rate" in options and "queue" not in options:
        options["queue"] = min(max(QUEUE_BYTES_MIN, int(options["rate"] / 8 * QUEUE_S)), limits.SIM_QUEUE_BYTES)
    try:
        return link_config(options)
    except InvalidURL as error:
        raise InvalidURL(str(error).replace("option '", "'").replace("options '", "'")) from None


def header(url: str, target: Url, seed: int, texts: dict[str, dict[str, str]]) -> str:
    """The first lines of the output."""
    said = {way: ", ".join([f"{name.replace('_', ' ')} {text}" for name, text in texts[way].items()]) or "as it is"
            for way in WAYS}  # fmt: skip
    link = f"both ways: {said['up']}" if said["up"] == said["down"] else f"up: {said['up']}\ndown: {said['down']}"
    return f"proxy on {url} to {target}, seed {seed}, Ctrl-C ends it\n{link}"


async def make(given: Any, target: Url, asked: dict[str, Any], seed: int) -> tuple[Any, Air, str]:
    """The proxy, not started, the air it sends through, and the URL that clients connect to. Raises as `run`."""
    if target.query_text:
        raise InvalidURL("options in the URL are for whoever connects: give the target without them")
    if target.scheme in DATAGRAM_SCHEMES:
        return await make_datagrams(given, target, asked, seed)
    if target.scheme in STREAM_SCHEMES:
        return await make_streams(given, target, asked, seed)
    known = ", ".join([f"{scheme}://" for scheme in DATAGRAM_SCHEMES + STREAM_SCHEMES])
    raise InvalidURL(f"{target.scheme}:// can't be proxied; a target is one of {known}")


async def make_datagrams(given: Any, target: Url, asked: dict[str, Any], seed: int) -> tuple[Datagrams, Air, str]:
    """The proxy for a target of datagrams."""
    for name, option in (("reset_after", "--reset-after"), ("silent_after", "--silent-after")):
        if getattr(given, name) is not None:
            raise InvalidURL(f"{option} is for streams; datagrams have no connection: see --blackouts")
    configs = (config_of(asked["up"]), config_of(asked["down"]))
    found = await addresses(target, socket.SOCK_DGRAM)
    where = listening_url(given.listen, target.scheme)
    if where.scheme == "unix":
        raise InvalidURL("datagrams are listened for on HOST:PORT")
    family, _, _, _, address = (await net.resolve(*where.endpoint(), socket.SOCK_DGRAM, passive=True))[0]
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.bind(address)
    except OSError:
        sock.close()
        raise

    def deliver(way: int, data: bytes, whose: Any) -> None:
        proxy.deliver(way, data, whose)

    air = Air(configs, seed, deliver)
    proxy = Datagrams(sock, (found[0][0], found[0][4]), air, given.idle)
    return proxy, air, str(where.with_port(sock.getsockname()[1]))


async def make_streams(given: Any, target: Url, asked: dict[str, Any], seed: int) -> tuple[Streams, Air, str]:
    """The proxy for a target of streams."""
    for name in (name for way in WAYS for name in asked[way] if name in STREAMS_CANNOT):
        raise InvalidURL(
            f"--{name.replace('_', '-')}: a proxy for {target.scheme}:// can't {STREAMS_CANNOT[name]}, because each "
            "kernel repairs its own side and the other end would never see it; use udp:// or rudp://, or for streams "
            "--delay, --jitter, --rate, --blackouts, --reset-after, --silent-after"
        )
    wanted = [config_of(asked[way]) for way in WAYS]
    if wanted[UP].blackouts != wanted[DOWN].blackouts:
        raise InvalidURL("--blackouts of a stream hold up both directions")
    size = given.reset_after if isinstance(given.reset_after, int) else None
    seconds = given.reset_after if isinstance(given.reset_after, float) else None
    mischief = Mischief(wanted[UP].blackouts, seconds, size, given.silent_after)
    # The link's own queue would drop what a stream must not lose: here reading pauses instead, a read below its end.
    room = limits.SIM_QUEUE_BYTES - 2 * limits.PROXY_PIECE_BYTES
    queues = (min(wanted[UP].queue_bytes, room), min(wanted[DOWN].queue_bytes, room))
    up, down = [replace(config, blackouts=(), queue_bytes=limits.SIM_QUEUE_BYTES) for config in wanted]
    dial = await dialler(target)
    where = listening_url(given.listen, "tcp" if target.scheme == "unix" else target.scheme)
    sock = await listen(where)

    def deliver(way: int, data: bytes, whose: Any) -> None:
        proxy.deliver(way, data, whose)

    air = Air((up, down), seed, deliver)
    proxy = Streams(sock, dial, air, mischief, queues)
    url = where if where.scheme == "unix" else where.with_port(sock.getsockname()[1])
    return proxy, air, str(url)


async def addresses(target: Url, kind: int) -> list[Any]:
    """Where the target is; one that listens everywhere is reached on this machine. Raises ConnectFailed."""
    host, port = target.endpoint()
    if not port:
        raise InvalidURL(f"{target}: port 0 is any free port to a server; a target needs its real one")
    return await net.resolve(ANYWHERE.get(host, host), port, kind)


async def dialler(target: Url) -> Callable[[], Awaitable[socket.socket]]:
    """What opens a stream to the target. Raises ConnectFailed."""
    if target.scheme != "unix":
        found = await addresses(target, socket.SOCK_STREAM)
        return lambda: net.race(found, {})

    async def dial() -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, unix_address(target))
        except BaseException:
            sock.close()
            raise
        return sock

    return dial


def unix_address(url: Url) -> str:
    """The address of a Unix socket; `@` begins a name in the abstract space."""
    return "\0" + url.path[1:] if url.path.startswith("@") else url.path


def listening_url(text: str, scheme: str) -> Url:
    """Where to listen, from `--listen`. Raises InvalidURL."""
    try:
        return parse(text if text.startswith("unix://") else f"{scheme}://{text}")
    except InvalidURL as error:
        raise InvalidURL(f"--listen: {error}") from None


async def listen(where: Url) -> socket.socket:
    """A listening stream socket. Raises OSError, ConnectFailed."""
    if where.scheme != "unix":
        family, _, _, _, address = (await net.resolve(*where.endpoint(), socket.SOCK_STREAM, passive=True))[0]
        return net.bind(family, address, {})
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.setblocking(False)
        sock.bind(unix_address(where))
        sock.listen(limits.ACCEPT_BACKLOG)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"{where.path}: {error.strerror}") from None
    return sock


def remove(url: str) -> None:
    """Takes the file of a Unix socket away."""
    where = parse(url)
    if where.scheme != "unix" or where.path.startswith("@"):
        return
    try:
        if stat.S_ISSOCK(os.stat(where.path).st_mode):
            os.unlink(where.path)
    except OSError:
        pass


class Report:
    """Reads the counters of both directions, as rates since the last time and as totals."""

    def __init__(self, proxy: Any, air: Air) -> None:
        self._proxy = proxy
        self._air = air
        self._began = self._last = time.monotonic()
        self._before = [(0, 0), (0, 0)]

    def now(self) -> tuple[str, dict[str, Any]]:
        """Since the last call; what is lost counts from the start."""
        now = time.monotonic()
        span, self._last = max(now - self._last, 1e-9), now
        texts = []
        fields: dict[str, Any] = {"seconds": round(now - self._began, 3)}
        for way, name in enumerate(WAYS):
            counters = self._counters(way)
            sent, size = counters["sent"], counters["sent_bytes"]
            before, self._before[way] = self._before[way], (sent, size)
            packets = (sent - before[0]) / span
            data = (size - before[1]) / span
            texts.append(f"{name} {amount(packets)}/s {amount(data, 'B/s')}" + losses(counters))
            fields[name] = counters
        fields |= self._rest()
        clients = self._proxy.connections()
        return f"{'  '.join(texts)}  {counted(clients, 'client')}, {self._air.under_way} under way", fields

    def total(self) -> tuple[str, dict[str, Any]]:
        """Since the start."""
        fields: dict[str, Any] = {"seconds": round(time.monotonic() - self._began, 3)}
        lines = [f"{fields['seconds']:.1f} s"]
        for way, name in enumerate(WAYS):
            counters = fields[name] = self._counters(way)
            kinds = {key: counters[key] for key in counters if counters[key] and key not in PLAIN}
            said = ", ".join([f"{count} {key.replace('_', ' ')}" for key, count in kinds.items()])
            lines.append(
                f"{name}: {counters['sent']} in ({counted(counters['sent_bytes'], 'byte')}), {counters['arrived']} out"
                f"{losses(counters)}" + (f": {said}" if said else "")
            )
        fields |= self._rest()
        said = ", ".join([f"{name.replace('_', ' ')} {count}" for name, count in self._proxy.counts.items() if count])
        if said:
            lines.append(said)
        late = self._air.lateness
        if late.count:
            middle, slow = late.percentiles(0.5, 0.99)
            lines.append(
                f"let go late by p50/p99/max = {milliseconds(middle)}/{milliseconds(slow)}/{milliseconds(late.most)} ms"
            )
        return "\n".join(lines), fields

    def _counters(self, way: int) -> dict[str, int]:
        return {**self._air.counters(way), "dropped_kernel": self._proxy.kernel_drops(way)}

    def _rest(self) -> dict[str, Any]:
        late = self._air.lateness
        middle, slow = late.percentiles(0.5, 0.99)
        return {
            "open": self._proxy.connections(), "under_way": self._air.under_way, **self._proxy.counts,
            "late_p50_ms": round(middle * 1e3, 4), "late_p99_ms": round(slow * 1e3, 4),
            "late_max_ms": round(late.most * 1e3, 4),
        }  # fmt: skip


PLAIN = frozenset({"sent", "sent_bytes", "arrived", "arrived_bytes", "peak_queue_bytes", "unreachable"})
GONE = ("dropped_down", "dropped_mtu", "dropped_queue", "lost", "lost_burst", "dropped_full")


def losses(counters: dict[str, int]) -> str:
    """How much has not come through, as text; empty when all has."""
    gone = sum([counters[name] for name in GONE])
    return f" lost {share(gone, counters['sent'])}" if gone else ""
