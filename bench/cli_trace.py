"""The commands of recorded traffic: `record` makes a trace, `replay` plays one as an open loop; see `bench.cli`.

It must never decide what a figure means, only what is played to whom, and what is said about a recording.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench import cases
from bench.cases import EACH, FREE, HEADER_BYTES, OPEN, SAME, Case
from bench.link import emulator
from bench.link.model import Link
from bench.peers import all_peers, select
from bench.peers.base import Peer
from bench.schedule import replay_schedule
from bench.sweeps import OVER_LINK, OVER_LOOPBACK
from bench.trace import proxy
from bench.trace.file import SPAN_S_MAX, BadTrace, Message, Trace, read_trace, write_trace
from bench.trace.flows import BOTH, CLIENT, PROTOCOLS, SERVER, Flows, Wanted
from transport.sight.capture import BadCapture, Seen, read_capture

NAMES = ("record", "replay")
WARMUP_S, WARMUP_SHARE = 1.0, 0.1  # of what is played, whichever is less
PLAYED_S_MAX = 3600.0
SPEED_MIN, SPEED_MAX = 0.001, 1000.0
MERGE_S_MAX = 10.0
FRAMINGS = ("length32", "msgpack", "lines", "netstring")


@dataclass(frozen=True, slots=True)
class Work:
    """What `replay` runs: one case, who runs it, its trace, and lines that a person should read before."""

    case: Case
    peers: list[str]
    trace: Trace
    lines: list[str]


def above_zero(text: str) -> float:
    """A finite number above zero."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def speed(text: str) -> float:
    """How many times as fast."""
    value = float(text)
    if not SPEED_MIN <= value <= SPEED_MAX:
        raise argparse.ArgumentTypeError(f"must be from {SPEED_MIN:g} to {SPEED_MAX:g}")
    return value


def duration(text: str) -> float:
    """Seconds of "1ms", "500us" or "0.1s"."""
    for unit, factor in (("us", 1e-6), ("ms", 1e-3), ("s", 1.0)):
        if text.endswith(unit):
            value = float(text[: -len(unit)]) * factor
            if not 0 <= value <= MERGE_S_MAX:
                raise argparse.ArgumentTypeError(f"must be from 0 to {MERGE_S_MAX:g} s")
            return value
    raise argparse.ArgumentTypeError("needs a unit: 500us, 1ms, 0.1s")


def ports(text: str) -> frozenset[int]:
    """Port numbers separated by commas."""
    found = frozenset(int(part) for part in text.split(","))
    if not all(0 < port < 1 << 16 for port in found):
        raise argparse.ArgumentTypeError("ports are from 1 to 65535")
    return found


def count(text: str) -> int:
    """A whole number above zero."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def add(commands: Any, seed: int) -> None:
    """Adds both commands to the parser's `commands`."""
    text = "makes a trace of a packet capture, or of a running program that connects through us"
    record = commands.add_parser("record", help=text, description=text)
    record.add_argument("capture", type=Path, nargs="?", help="a pcap or pcapng file")
    record.add_argument("--port", type=ports, default=frozenset(), help="where servers listen, separated by commas")
    record.add_argument("--proto", choices=tuple(PROTOCOLS), help="default both")
    way = record.add_mutually_exclusive_group()
    for sender in (CLIENT, SERVER):
        way.add_argument(
            f"--from-{sender}", dest="sender", action="store_const", const=sender, default=BOTH,
            help=f"only what the {sender} sends; default both, each direction as a connection",
        )  # fmt: skip
    record.add_argument(
        "--merge", type=duration, default=0.0, metavar="TIME",
        help="TCP segments of one direction that are no further apart are one message, such as 1ms (default: none)",
    )  # fmt: skip
    record.add_argument("--listen", metavar="URL", help="record live: tcp://127.0.0.1:0 or udp://127.0.0.1:0")
    record.add_argument("--to", metavar="URL", help="where the program's server is: tcp://host:port")
    record.add_argument("--framing", choices=FRAMINGS, help="how the program cuts messages (live, tcp; default: reads)")
    record.add_argument("--seconds", type=above_zero, help="end a live recording after so long (default: at Ctrl-C)")
    record.add_argument("--out", type=Path, required=True, metavar="FILE", help="the trace, JSON lines")

    text = "open loop with the times, sizes and connections of a trace"
    again = commands.add_parser("replay", help=text, description=text)
    again.add_argument("trace", type=Path, help="JSON lines; see bench/README.md")
    again.add_argument("--peers", default=None, help="names, separated by commas; a trailing * matches")
    again.add_argument("--link", default=None, metavar="TEXT", help="an emulated link: delay=25ms,loss=2%%,...")
    again.add_argument("--speed", type=speed, default=1.0, help="so many times as fast (default 1)")
    again.add_argument("--loop", type=above_zero, metavar="S", help="repeat, or cut, it to so many seconds")
    again.add_argument("--warmup", type=above_zero, help="its first seconds, which do not count (default 1 or a tenth)")
    again.add_argument("--placement", choices=(SAME, EACH, FREE), default=EACH)
    again.add_argument("--rounds", type=count, default=5, help="of each peer (default 5)")
    again.add_argument("--seed", type=int, default=seed, help="of the order and of the messages' filling")
    again.add_argument("--budget", type=above_zero, metavar="S", help="seconds after which no new block is begun")
    again.add_argument("--resume", action="store_true", help="go on with the file given by --json")
    again.add_argument("--json", type=Path, metavar="FILE", help="result file")
    again.add_argument("--no-html", action="store_true", help="write no HTML report beside it")


def prepare(options: argparse.Namespace) -> Work:
    """What `replay` runs; sets `options.seconds` and `options.warmup` to what the trace gives.

    Raises:
        BadTrace: it can't be played. KeyError: no such peer, nobody who can, or no link here. BadLink: a wrong link.
    """
    try:
        trace = read_trace(options.trace)
    except OSError as error:
        raise BadTrace(f"{options.trace}: {error.strerror}") from None
    link = None if options.link is None else Link.parse(options.link)
    if link is not None and (why := emulator.why_not()):
        raise KeyError(why)
    length = options.loop or trace.facts.span_s / options.speed
    if length > PLAYED_S_MAX:
        raise BadTrace(f"a round would take {length:,.0f} s, {PLAYED_S_MAX:,.0f} at most: see --loop and --speed")
    facts = replace(trace.facts, speed=options.speed, length_s=round(length, 6), loop=options.loop is not None)
    if options.warmup is None:
        options.warmup = round(min(WARMUP_S, WARMUP_SHARE * length), 3)
    options.seconds = round(max(0.0, length - options.warmup), 3)
    case = cases.replay(facts, link, options.placement)
    schedule = replay_schedule(case, trace, options.warmup)
    lines = [f"{case.title}: {len(schedule):,} messages a round, {schedule.last - schedule.first:,} of them count"]
    if facts.raised:
        lines.append(
            f"{facts.raised:,} of {facts.messages:,} messages were smaller than the {HEADER_BYTES} B of a header, "
            "and were raised to it"
        )
    known = all_peers()
    default = [name for name in (OVER_LOOPBACK if link is None else OVER_LINK) if name in known]
    names = [peer.name for peer in select(options.peers.split(","))] if options.peers else default
    peers = [name for name in names if known[name].supports(case)]
    lines += [f"left out: {name}: {why_not(known[name], case)}" for name in names if name not in peers]
    if not peers:
        raise KeyError("; ".join(["nobody is left to play it to", *lines[1:]]))
    return Work(case, peers, trace, lines)


def why_not(peer: Peer, case: Case) -> str:
    """Why a peer can't play a trace."""
    if OPEN not in peer.modes:
        return "has no open loop"
    if case.payload > peer.payload_max:
        return f"takes messages of up to {peer.payload_max:,} B, the largest here has {case.payload:,}"
    return "knows no messages, so that all must be of one size" if case.mixed else "can't run this"


def run_record(options: argparse.Namespace) -> int:
    """`record`. Returns the exit status.

    Raises:
        BadTrace: wrong usage, no capture, or nothing in it.
    """
    live = options.listen is not None or options.to is not None
    if live == (options.capture is not None) or (live and None in (options.listen, options.to)):
        raise BadTrace("record needs either a capture file, or --listen URL and --to URL")
    wrong = ("port", "proto", "merge") if live else ("framing", "seconds")
    for name in wrong:
        if getattr(options, name):
            raise BadTrace(f"--{name} is for {'captures' if live else 'live recordings'}")
    try:
        messages, lines = record_live(options) if live else record_capture(options)
        if messages:
            span_s = (max(at for at, _, _ in messages) - min(at for at, _, _ in messages)) / 1e9
            if span_s > SPAN_S_MAX:
                raise BadTrace(f"messages span {span_s:,.0f} s, {SPAN_S_MAX:,.0f} at most: are the times right?")
            write_trace(messages, options.out)
            total, lanes = sum(size for _, size, _ in messages), len({number for _, _, number in messages})
            many = f"{lanes:,} connection{'s' * (lanes > 1)}"
            print(f"{options.out}: {len(messages):,} messages, {total:,} B, {many}, {span_s:.6g} s")
    except OSError as error:
        raise BadTrace(f"{error.filename or 'record'}: {error.strerror or error}") from None
    for line in lines:
        print(line)
    if not messages:
        raise BadTrace("no message found, nothing written")
    return 0


def record_capture(options: argparse.Namespace) -> tuple[list[Message], list[str]]:
    """Messages of a capture, and what is to be said about it. Raises BadTrace, OSError."""
    seen = Seen()
    wanted = Wanted(options.port, options.proto, options.sender, round(options.merge * 1e9))
    flows = Flows(wanted, seen)
    try:
        flows.add_all(read_capture(options.capture, seen))
    except BadCapture as error:
        raise BadTrace(str(error)) from None
    lines = [f"{seen.packets:,} packets read"]
    lines += [f"  skipped {many:,}: {why}" for why, many in seen.skipped.most_common()]
    lines += [f"  noted {many:,}: {why}" for why, many in seen.notes.most_common()]
    if seen.broken is not None:
        lines.append(f"  the rest of {options.capture.name} can't be read: {seen.broken}")
    return flows.messages, lines


def record_live(options: argparse.Namespace) -> tuple[list[Message], list[str]]:
    """Messages of a program that runs meanwhile. Raises BadTrace, OSError: can't listen."""
    (scheme, *where), (other, *target) = proxy.endpoint(options.listen), proxy.endpoint(options.to)
    if scheme != other:
        raise BadTrace(f"--listen is {scheme}:// and --to {other}://: both must be the same")
    if options.framing and scheme != "tcp":
        raise BadTrace("--framing is for tcp: a datagram is a message")
    if not target[1]:
        raise BadTrace(f"{options.to}: port 0 is any free port to a server; a target needs its real one")
    notes = proxy.Notes(options.sender, options.framing)
    kind: Callable[..., Any] = proxy.Streams if scheme == "tcp" else proxy.Datagrams
    asyncio.run(_forward(kind, notes, where, target, options.seconds))
    lines = [f"  noted {many:,}: {why}" for why, many in notes.counts.most_common()]
    if notes.full:
        lines.append("  ended because a trace can hold no more messages or connections")
    return notes.messages, lines


async def _forward(
    kind: Callable[..., Any], notes: proxy.Notes, where: Sequence[Any], target: Sequence[Any], seconds: float | None
) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, notes.stop.set)
    forwarding = kind(notes, tuple(target))
    host, port = await forwarding.start(*where)
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    scheme = "tcp" if kind is proxy.Streams else "udp"
    print(f"recording on {scheme}://{shown}, Ctrl-C ends it", flush=True)
    try:
        await asyncio.wait_for(notes.stop.wait(), seconds)
    except TimeoutError:
        pass
    finally:
        await forwarding.close()
