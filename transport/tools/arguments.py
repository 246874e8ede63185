"""The options of the commands that run for a while.

It must never import a command: `transport version` and mistakes in the arguments stay quick.
"""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from transport import limits, options
from transport.tools import units

DELIVERIES = ("reliable-ordered", "reliable-unordered", "unreliable-sequenced", "unreliable")


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Ends the program with status 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def output(parser: argparse.ArgumentParser, *, every: bool = True) -> None:
    """What all of them have."""
    group = parser.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="one JSON object a line, for machines")
    group.add_argument("-q", "--quiet", action="store_true", help="only the start and the summary")
    if every:
        group.add_argument(
            "--every", type=units.seconds, default=1.0, metavar="TIME", help="between two statistics (default 1s)"
        )


def echo(parser: argparse.ArgumentParser) -> None:
    """`transport echo`."""
    parser.add_argument("url", metavar="URL", help="where to listen, as tcp://127.0.0.1:0; options in its query")
    parser.add_argument(
        "--codec", choices=("any", "raw", "msgpack", "json"), default="any",
        help="announced to peers and required of them; any (the default) goes with all",
    )  # fmt: skip
    parser.add_argument("--framing", default="message", help="on byte pipes: message (default), length32, lines, ...")
    parser.add_argument(
        "--max-connections", type=units.typed(options.integer(1, limits.CONNECTIONS_MAX)), metavar="N",
        help="at once; more are refused",
    )  # fmt: skip
    parser.add_argument(
        "--workers", type=units.typed(options.integer(1, limits.WORKERS_MAX)), metavar="N",
        help="processes that share the port (tcp, tls, unix); messages are not counted then",
    )  # fmt: skip
    output(parser)


def ping(parser: argparse.ArgumentParser) -> None:
    """`transport ping`."""
    count = units.typed(options.integer(1, 10**12))
    parser.add_argument("url", metavar="URL", help="whom to ping, as tcp://host:7000")
    parser.add_argument("-c", "--count", type=count, metavar="N", help="pings to send (default: until Ctrl-C)")
    parser.add_argument(
        "-i", "--interval", type=units.typed(options.duration(limits.PING_INTERVAL_S_MIN, limits.TIME_S_MAX)),
        default=1.0, metavar="TIME", help="between two pings, answered or not (default 1s)",
    )  # fmt: skip
    parser.add_argument(
        "-W", "--patience", type=units.seconds, default=5.0, metavar="TIME",
        help="after which a ping without an answer counts as lost (default 5s)",
    )  # fmt: skip
    parser.add_argument("-w", "--deadline", type=units.seconds, metavar="TIME", help="ends the run")
    parser.add_argument(
        "-f", "--flood", action="store_true",
        help=f"the next ping leaves when one is answered, {limits.PING_FLOOD_WINDOW} at once; "
        f"{limits.PING_FLOOD_S:g} s unless -c or -w is given",
    )  # fmt: skip
    echoed = parser.add_argument_group("messages in place of the protocol's own pings; they need an echo server")
    echoed.add_argument("--echo", action="store_true", help="send messages, such as `transport echo` sends back")
    echoed.add_argument(
        "-s", "--size", type=units.typed(options.size(limits.PING_BYTES_MIN, limits.MESSAGE_BYTES_MAX)),
        metavar="BYTES", help="of a message (default 56)",
    )  # fmt: skip
    echoed.add_argument("--delivery", choices=DELIVERIES, help="its promise (default: the strongest there is)")
    echoed.add_argument("--channel", type=units.typed(options.integer(0, limits.CHANNELS_MAX - 1)), metavar="N")
    echoed.add_argument("--codec", choices=("raw", "msgpack", "json"), help="default msgpack, not announced")
    parser.add_argument("--framing", default="message", help="on byte pipes: message (default), length32, lines, ...")
    parser.add_argument(
        "--timeout", type=units.seconds, default=limits.CONNECT_TIMEOUT_S, metavar="TIME",
        help=f"for connecting (default {limits.CONNECT_TIMEOUT_S:g}s)",
    )  # fmt: skip
    parser.add_argument(
        "--wait", type=units.seconds, metavar="TIME", help="tries again for so long until the server is there"
    )
    parser.add_argument("--reconnect", action="store_true", help="comes back when the connection is lost")
    output(parser)


def proxy(parser: argparse.ArgumentParser) -> None:
    """`transport proxy`."""
    from transport.transports.memory_link import LINK_OPTIONS

    parser.add_argument(
        "url", metavar="URL", help="the target: udp:// and rudp:// by datagrams; tcp://, tls://, unix:// by streams"
    )
    parser.add_argument(
        "--listen", default="127.0.0.1:0", metavar="HOST:PORT",
        help="where clients connect to (default 127.0.0.1:0, any free port); for streams also unix:///path",
    )  # fmt: skip
    group = parser.add_argument_group(
        "the link", "One way; both directions alike. With up- or down- in front (--up-loss 5%) only from the client "
        "to the target, or back. Times of blackouts count from the first datagram or connection.",
    )  # fmt: skip
    for option in LINK_OPTIONS.values():
        name = option.name.replace("_", "-")
        if name == "seed":
            group.add_argument("--seed", type=units.typed(option.parse), help="of everything random; printed")
            continue
        for way in ("", "up-", "down-"):
            text = argparse.SUPPRESS if way else option.doc.replace("%", "%%") + _QUEUE.get(name, "")
            if option.parse is options.boolean:
                group.add_argument(f"--{way}{name}", dest=f"{way}{name}", action="store_const", help=text,
                                   const=units.Spelled("yes", True))  # fmt: skip
            else:
                group.add_argument(f"--{way}{name}", dest=f"{way}{name}", type=units.spelled(option.parse), help=text,
                                   metavar=_METAVARS.get(name, "SHARE"))  # fmt: skip
    streams = parser.add_argument_group("streams")
    streams.add_argument(
        "--reset-after", type=units.typed(units.time_or_size), metavar="TIME|BYTES",
        help="breaks each connection off after so long (5s) or so many bytes (64k)",
    )  # fmt: skip
    streams.add_argument(
        "--silent-after", type=units.seconds, metavar="TIME",
        help="after so long a connection stays open, and all that is sent on it vanishes",
    )  # fmt: skip
    datagrams = parser.add_argument_group("datagrams")
    datagrams.add_argument(
        "--idle", type=units.seconds, default=limits.PROXY_IDLE_S, metavar="TIME",
        help=f"silence after which a client is forgotten (default {limits.PROXY_IDLE_S:g}s)",
    )  # fmt: skip
    output(parser)


def inspect(parser: argparse.ArgumentParser) -> None:
    """`transport inspect`."""
    from transport.rudp.kinds import FRAME_NAMES, PACKET_NAMES

    parser.add_argument("file", metavar="FILE", nargs="?", help="a pcap, a pcapng, or a trace (.sqlog)")
    parser.add_argument("--live", metavar="INTERFACE", help="from a network interface, or from any; needs root")
    parser.add_argument(
        "-c", "--count", type=units.typed(options.integer(1, 10**12)), metavar="N", help="ends after N packets shown"
    )
    parser.add_argument("--seconds", type=units.seconds, metavar="TIME", help="ends --live (default: at Ctrl-C)")
    group = parser.add_argument_group("which packets; with several of these, those that all of them take")
    group.add_argument("--port", type=_ports, metavar="N,...", help="of either end; all of their UDP is taken as ours")
    group.add_argument("--cid", type=_cid, metavar="HEX", help="the connection with this id, or one that begins so")
    group.add_argument(
        "--connection", type=units.typed(options.integer(1, 10**12)), metavar="N",
        help="the connection with this number of ours",
    )  # fmt: skip
    group.add_argument(
        "--packet", action="append", type=str.upper, choices=PACKET_NAMES, metavar="KIND",
        help=f"only packets of a kind, may be repeated: {', '.join(PACKET_NAMES)}",
    )  # fmt: skip
    group.add_argument(
        "--frame", action="append", type=str.upper, choices=FRAME_NAMES, metavar="KIND",
        help=f"only frames of a kind, and packets that have one, may be repeated: {', '.join(FRAME_NAMES)}",
    )  # fmt: skip
    group.add_argument("--all", action="store_true", help="what is not reliable UDP, too")
    group.add_argument(
        "--event",
        action="append",
        metavar="NAME",
        help="of a trace: only events of a name (packet_lost), may be repeated",
    )
    how = parser.add_argument_group("how")
    how.add_argument("-b", "--brief", action="store_true", help="a line for each packet")
    how.add_argument(
        "--bodies", type=units.typed(options.size(0, limits.SIGHT_BODY_BYTES_MAX)), default=limits.SIGHT_BODY_BYTES,
        metavar="BYTES", help=f"of each message shown at most (default {limits.SIGHT_BODY_BYTES}, 0 for none)",
    )  # fmt: skip
    how.add_argument("--codec", choices=("raw", "msgpack", "json"), help="of messages (default: what was announced)")
    how.add_argument(
        "--timeline", metavar="OUT.svg",
        help="draws one connection instead: sent, acknowledged, lost, copies, window and round trip over time",
    )  # fmt: skip
    output(parser, every=False)


def top(parser: argparse.ArgumentParser) -> None:
    """`transport top`."""
    parser.add_argument(
        "place", metavar="FOLDER", nargs="?",
        help="what servers have as status=, or one socket in it (default: the environment's TRANSPORT_STATUS)",
    )  # fmt: skip
    parser.add_argument(
        "-c", "--count", type=units.typed(options.integer(1, 10**12)), metavar="N", help="ends after so many turns"
    )
    parser.add_argument(
        "--sort", choices=("out", "in", "rtt", "lost", "queued", "age"), default="out",
        help="connections by messages sent or received, round trip, losses, what waits, or as they came (default out)",
    )  # fmt: skip
    parser.add_argument(
        "--rows", type=units.typed(options.integer(1, limits.STATUS_CONNECTIONS_MAX)), metavar="N",
        help="connections of a server, where there is no terminal",
    )  # fmt: skip
    output(parser)


def events(parser: argparse.ArgumentParser) -> None:
    """`transport events`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, text, fill in (
        ("tail", "the newest events of streams, and those that are appended", _events_tail),
        ("replay", "the events of one stream from a place on", _events_replay),
        ("lag", "where streams are, and how far behind clients are", _events_lag),
    ):
        made = actions.add_parser(name, help=text, description=f"`transport events {name}`: {text}.")
        made.add_argument("file", metavar="FILE", help="that an SQLiteLog writes, or wrote; it is only read")
        made.add_argument("namespace", metavar="NAMESPACE", nargs="?", help="such as /chat")
        made.add_argument("room", metavar="ROOM", nargs="?", help="such as room:7")
        made.add_argument("--session", metavar="ID", help="in place of a room: what is sent to this session alone")
        fill(made)
        output(made, every=False)
    text = "a new epoch for every stream of a log that was put back from a backup"
    made = actions.add_parser("renew", help=text, description=f"`transport events renew`: {text}.")
    made.add_argument("file", metavar="FILE", help="of an SQLiteLog that nobody has open")
    output(made, every=False)


def _events_tail(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-n", "--last", type=units.typed(options.integer(0, limits.EVENTS_TAIL_MAX)), default=limits.EVENTS_TAIL,
        metavar="N", help=f"newest events of each stream (default {limits.EVENTS_TAIL})",
    )  # fmt: skip
    parser.add_argument("-f", "--follow", action="store_true", help="goes on with what is appended, until Ctrl-C")
    parser.add_argument("--all", action="store_true", help="what is sent to one session alone, too")
    _events_shown(parser)


def _events_replay(parser: argparse.ArgumentParser) -> None:
    offset = units.typed(options.integer(1, 2**63 - 1))
    parser.add_argument("--from", dest="first", type=offset, metavar="OFFSET", help="the first (default: the oldest)")
    parser.add_argument("--to", dest="last", type=offset, metavar="OFFSET", help="the last (default: the newest)")
    parser.add_argument("--cursor", metavar="CURSOR", help="what a client with this cursor file has not had")
    parser.add_argument(
        "--since", type=units.typed(options.duration(0, limits.TIME_S_MAX)), metavar="TIME",
        help="only what was appended within so long before now (10min)",
    )  # fmt: skip
    _events_shown(parser)


def _events_shown(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c", "--count", type=units.typed(options.integer(1, 10**12)), metavar="N", help="ends after N events"
    )
    parser.add_argument("--event", action="append", metavar="NAME", help="only events of a name, may be repeated")
    parser.add_argument(
        "--bodies", type=units.typed(options.size(0, limits.LOG_PAYLOAD_BYTES_MAX)), metavar="BYTES",
        help=f"of each event's data (default {limits.EVENTS_SHOWN_CHARS} characters, with --json all of it)",
    )  # fmt: skip


def _events_lag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cursor", action=_Cursors, metavar="CURSOR",
        help="a client's cursor file: how far behind it is, and whether it could get everything; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "-c", "--count", type=units.typed(options.integer(1, limits.EVENTS_LAG_STREAMS_MAX)), metavar="N",
        help=f"streams that are listed (default {limits.EVENTS_LAG_STREAMS})",
    )  # fmt: skip
    parser.add_argument(
        "--rows", type=units.typed(options.integer(0, limits.EVENTS_LAG_SESSIONS_MAX)), metavar="N",
        default=limits.EVENTS_LAG_SESSIONS,
        help=f"sessions of each, those first that may be furthest behind (default {limits.EVENTS_LAG_SESSIONS})",
    )  # fmt: skip
    parser.add_argument("--all", action="store_true", help="streams of one session alone, too")


class _Cursors(argparse.Action):
    """Files, up to a number of them."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        found = [*(getattr(namespace, self.dest) or ()), values]
        if len(found) > limits.EVENTS_LAG_CURSORS_MAX:
            raise argparse.ArgumentError(self, f"{limits.EVENTS_LAG_CURSORS_MAX} at most")
        setattr(namespace, self.dest, found)


def _ports(text: str) -> frozenset[int]:
    parse = units.typed(options.integer(1, limits.PORT_MAX))
    return frozenset([parse(part) for part in text.split(",")])


def _cid(text: str) -> str:
    found = text.lower().removeprefix("0x")
    if not 0 < len(found) <= 16 or not all(char in "0123456789abcdef" for char in found):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a connection id of up to 16 hexadecimal digits")
    return found


_QUEUE = {"queue": " (default: 100 ms at the rate, at least 64k)"}
_METAVARS = dict.fromkeys(("delay", "jitter", "burst-good", "burst-bad", "reorder-delay"), "TIME") | {
    "rate": "RATE", "queue": "BYTES", "mtu": "BYTES", "blackouts": "FROM-TO,...",
}  # fmt: skip


def add_commands(commands: Any) -> None:
    """Those that have a module of their own."""
    for name, text, fill in (
        ("ping", "measures round trips to a server", ping),
        ("echo", "a server that sends every message back", echo),
        ("proxy", "passes on to a server, with loss, delay and whatever else a network does", proxy),
        ("top", "shows live how servers are doing that were asked to tell it", top),
        ("inspect", "shows the packets of a capture, or of an interface, layer by layer", inspect),
        ("events", "shows what is in the log of an events server, also while that runs", events),
    ):
        fill(commands.add_parser(name, help=text, description=f"`transport {name}`: {text}."))


def run(given: Any) -> int:
    """Runs the command that was given. Returns the exit status."""
    from importlib import import_module

    from transport.tools import life

    return life.run(given.command, import_module(f"transport.tools.{given.command}").run, given)
