"""The commands of `python -m bench`: what each measures by default, and what it prints and writes.

Exit status: 0 all is well, 1 a bar or a round of ours failed, 2 wrong usage, 130 interrupted (what was measured is
kept).
"""

from __future__ import annotations

import argparse
import errno
import functools
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench import bars, cli_events, cli_open, cli_trace, comparison, report, schema, tables, which
from bench.campaign import Campaign, Request
from bench.cases import BadCase, Case, latency, throughput
from bench.cli_values import payload_list, positive, positive_int
from bench.comparing import against, trees
from bench.comparing import command as comparing
from bench.link.model import BadLink, Link
from bench.peers import all_peers, select
from bench.peers.base import OURS
from bench.probes import connections, eventlog, imports, slow_reader
from bench.progress import Progress
from bench.scenarios import SCENARIOS, SEEDS
from bench.trace.file import BadTrace
from bench.virtual import command as virtual

SEED = 1
QUICK_LATENCY = (
    "c-tcp",
    "blocking-tcp",
    "blocking-unix",
    "blocking-udp",
    "uvloop-streams",
    "asyncio-protocol",
    "uvloop-protocol",
    "uvloop-udp",
    "pyzmq",
    "pyenet",
    "websockets",
    "picows",
    "tcp",
    "tcp-coro",
    "unix",
    "udp",
    "rudp",
    "tls",
    "ws",
    "memory",
)
QUICK_THROUGHPUT = (
    "blocking-tcp",
    "blocking-unix",
    "blocking-udp",
    "uvloop-streams",
    "uvloop-protocol",
    "uvloop-udp",
    "pyzmq",
    "pyenet",
    "websockets",
    "picows",
    "tcp",
    "unix",
    "udp",
    "rudp",
    "memory",
)
QUICK_BUDGET_S = 175.0  # a test sees to it that all rounds fit, with time to spare


def new_command(
    commands: Any, name: str, text: str, rounds: int, seconds: float | None, warmup: float
) -> argparse.ArgumentParser:
    """A command with what all that measure have in common; `seconds` is None where each of its cases has its own."""
    own = "as each series has it" if seconds is None else f"{seconds:g}"
    sub: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    sub.add_argument("--rounds", type=positive_int, default=rounds, help=f"blocks of each case (default {rounds})")
    sub.add_argument("--seconds", type=positive, default=seconds, help=f"measured in a round (default {own})")
    sub.add_argument("--warmup", type=positive, default=warmup, help=f"seconds before that (default {warmup:g})")
    sub.add_argument("--seed", type=int, default=SEED, help="of the order and of the messages")
    unit, word = ("MINUTES", "minutes") if name == "all" else ("S", "seconds")
    sub.add_argument("--budget", type=positive, metavar=unit, help=f"{word} after which no new block is begun")
    sub.add_argument(
        "--json", type=Path, metavar="FILE", help="result file (default bench/results/<time>-<command>.json)"
    )
    sub.add_argument("--no-html", action="store_true", help="write no HTML report beside it")
    return sub


def side_by_side(sub: argparse.ArgumentParser, payload: str, placement: str) -> None:
    """The options of commands that put peers side by side."""
    sub.add_argument("--peers", default=None, help="names, separated by commas; a trailing * matches")
    sub.add_argument(
        "--payload",
        type=payload_list,
        default=payload_list(payload),
        metavar="BYTES",
        help=f"sizes, separated by commas (default {payload})",
    )
    sub.add_argument(
        "--placement",
        choices=("same", "each", "free"),
        default=placement,
        help=f"both ends on one core, one core each, or free (default {placement})",
    )


def add_closed(command: cli_open.MakeCommand) -> None:
    """The commands of closed loops, of throughput and of bars."""
    quick = command("quick", "a first look, under three minutes (what `make bench` runs)", 5, 0.3, 0.1)
    quick.add_argument("--peers", default=None, help="names, separated by commas; a trailing * matches")
    quick.add_argument(
        "--payload", type=payload_list, default=None, metavar="BYTES", help="throughput sizes (default 64,65536)"
    )
    for name, text, payload, placement in (
        ("latency", "closed loop, one message in flight", "64,1024,16384", "same"),
        ("throughput", "one way, as fast as back-pressure lets", "64,1024,65536", "each"),
    ):
        sub = command(name, text, 10, 1.0, 0.3)
        side_by_side(sub, payload, placement)
        sub.add_argument("--against", metavar="PEER", help="whom the words compare with (default the best of ours)")
    accept = command("accept", "every acceptance figure, paired in one run, PASS or FAIL", 9, 1.0, 0.3)
    accept.add_argument(
        "--only", default=None, metavar="IDS", help="bars by id, separated by commas; a trailing * matches"
    )
    accept.add_argument(
        "--slow-seconds", type=positive, default=slow_reader.SECONDS, help="length of the slow-reader probe"
    )
    accept.add_argument("--connections", type=positive_int, default=connections.CONNECTIONS)
    command("codec", "msgpack of a small dict against raw + packb + unpackb", 9, 1.0, 0.3)
    memory = command("memory", "5,000 connections, and a reader slower than its sender", 1, 60.0, 0.0001)
    memory.add_argument("--connections", type=positive_int, default=connections.CONNECTIONS)
    command("import-time", "`import transport` on top of `import asyncio`", imports.RUNS, 1.0, 0.1)
    log = command("log", "the log of events: durable appends, replay", eventlog.ROUNDS, eventlog.SECONDS, 0.1)
    log.add_argument("--folder", type=Path, default=None, help="on the disk to be measured (default: temporary files)")
    scenarios = command("scenarios", "reliable UDP on simulated links, in virtual time, PASS or FAIL", 1, 1.0, 1.0)
    scenarios.add_argument("--only", default=None, metavar="NAMES", help=f"separated by commas: {', '.join(SCENARIOS)}")
    scenarios.add_argument(
        "--seeds", type=positive_int, default=SEEDS, help=f"runs of each figure (default {SEEDS}, as the bars ask)"
    )


def parser() -> argparse.ArgumentParser:
    """All commands and options."""
    top = argparse.ArgumentParser(prog="python -m bench", description="Compares message transports on real sockets.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    command = functools.partial(new_command, commands)
    add_closed(command)
    cli_open.add(command)
    cli_events.add(command)
    cli_trace.add(commands, SEED)
    virtual.add_options(command("virtual", "open loop over simulated links in virtual time, by seed", 1, 30.0, 1.0))
    link_options(commands)
    which.add(commands.add_parser("which", help="which transport suits a situation, by the figures of result files"))
    commands.add_parser("peers", help="what can be compared, and what is installed")
    in_turns(
        command(
            "compare",
            "what changed between two commits, folders or result files; exit status 1 if ours got slower",
            comparing.BLOCKS,
            0.04,
            0.08,
        ),
        side_by_side,
        pair=True,
    )
    in_turns(command("aa", "this checkout against itself: how often a difference is seen that is none",
                     comparing.BLOCKS, 0.04, 0.08), side_by_side, pair=False)  # fmt: skip
    again = commands.add_parser("report", help="tables, HTML and README block of a result file")
    again.add_argument("file", type=Path)
    again.add_argument("--html", type=Path, help="where to write the HTML report (default: beside the file)")
    again.add_argument("--readme", type=Path, help="rewrite the block of the file's command in this README")
    return top


def in_turns(sub: argparse.ArgumentParser, side_by_side: Callable[..., None], pair: bool) -> None:
    """The options of commands that measure trees in turns; `--seconds` is the measured part of a turn."""
    if pair:
        sub.add_argument("old", help="a commit, a folder with the package in it, or a result file")
        sub.add_argument("new")
        sub.add_argument("--sharp", type=comparing.percent_from, default=comparing.SHARP, metavar="PERCENT",
                         help=f"a change that is to be told from nothing; 0: as many blocks as asked for, and no more "
                         f"(default {comparing.SHARP:g})")  # fmt: skip
        sub.add_argument("--rounds-max", type=positive_int, default=comparing.BLOCKS_MAX,
                         help=f"blocks of a case until it can be (default {comparing.BLOCKS_MAX})")  # fmt: skip
    else:
        sub.add_argument("--repetitions", type=positive_int, default=20, help="of the whole comparison (default 20)")
    side_by_side(sub, "64", comparing.PLACEMENT)
    sub.set_defaults(peers=comparing.PEERS)
    sub.add_argument("--modes", choices=("latency", "throughput", "both"), default="both", help="(default both)")
    sub.add_argument("--turns", type=positive_int, default=comparing.TURNS,
                     help=f"of each pair of processes in a block (default {comparing.TURNS})")  # fmt: skip


def link_options(commands: Any) -> None:
    """`link` has no rounds and no result file."""
    link = commands.add_parser("link", help="is the emulated link what was asked for? Linux with root, PASS or FAIL")
    link.add_argument("--validate", action="store_true", required=True, help="run the suite (a minute)")
    link.add_argument("--link", default=None, metavar="TEXT", help="only what suits this one: rtt=50ms,loss=2%%")


def chosen(names: str | None, default: Sequence[str]) -> list[str]:
    """The peers of `--peers`, or the command's own. Raises KeyError."""
    return [peer.name for peer in select(names.split(","))] if names else list(default)


def request_of(options: argparse.Namespace, work: list[tuple[Case, list[str]]], **more: Any) -> Request:
    """The part that all commands with rounds share."""
    return Request(
        options.command,
        work,
        options.rounds,
        options.seconds,
        options.warmup,
        options.seed,
        options.budget if "budget_s" not in more else more.pop("budget_s"),
        **more,
    )


def run_quick(options: argparse.Namespace) -> int:
    """`quick`."""
    work = [(latency(64), chosen(options.peers, QUICK_LATENCY))]
    work += [(throughput(size), chosen(options.peers, QUICK_THROUGHPUT)) for size in options.payload or (64, 65536)]
    return measure(
        options, request_of(options, work, preview=True, fit=True, budget_s=options.budget or QUICK_BUDGET_S)
    )


def run_side_by_side(options: argparse.Namespace) -> int:
    """`latency` and `throughput`."""
    make = latency if options.command == "latency" else throughput
    names = chosen(options.peers, [name for name in all_peers() if name != bars.CODEC_FLOOR])
    if options.against is not None and options.against not in names:
        raise KeyError(f"--against {options.against!r} is not among the peers")
    if options.rounds >= against.BLOCKS_MIN:  # one pair of the same, for the noise of the run
        ours = [name for name in names if all_peers()[name].kind == OURS]
        names += [f"{name}{against.AGAIN}" for name in ([options.against] if options.against else ours[:1])]

    def judge(campaign: Campaign) -> None:
        found = against.probe_of(campaign.result(), options.against)
        if found is not None:
            campaign.probes["against"] = found

    work = [(make(size, options.placement), names) for size in options.payload]
    return measure(options, request_of(options, work), after=judge)


def run_open(options: argparse.Namespace) -> int:
    """`rate`, `loss`, `sweep`, `all` and `bulk`."""
    if options.resume and options.json is None:
        raise KeyError("--resume needs the file: --json FILE")
    many = options.command == "all"
    budget_s = options.budget and options.budget * (60 if many else 1)
    work = cli_open.work_of(options)
    request = request_of(
        options, work, budget_s=budget_s, fit=many, rounds_min=1,
        resume=options.json if options.resume else None, lanes=options.lanes,
    )  # fmt: skip
    return measure(options, request, probes=cli_open.sharing_of(options))


def run_replay(options: argparse.Namespace) -> int:
    """`replay`."""
    if options.resume and options.json is None:
        raise KeyError("--resume needs the file: --json FILE")
    work = cli_trace.prepare(options)
    for line in work.lines:
        print(line, file=sys.stderr)
    request = request_of(
        options, [(work.case, work.peers)], rounds_min=1, resume=options.json if options.resume else None,
        traces={work.trace.facts.sha256: work.trace},
    )  # fmt: skip
    return measure(options, request)


def run_codec(options: argparse.Namespace) -> int:
    """`codec`."""
    wanted = bars.codec_bars()
    return measure(options, request_of(options, bars.work_for(wanted)), wanted)


PROBES = ("memory", "slow-reader", "import-time")


def run_accept(options: argparse.Namespace) -> int:
    """`accept`."""
    ratios = bars.acceptance_bars()
    names = [bar.id for bar in ratios] + list(PROBES)
    wanted = set(names)
    if options.only:
        wanted = {
            name
            for part in options.only.split(",")
            for name in names
            if name == part or (part.endswith("*") and name.startswith(part[:-1]))
        }
        if not wanted:
            raise KeyError(f"no bar {options.only!r}; there are: {', '.join(names)}")
    kept = [bar for bar in ratios if bar.id in wanted]
    runs: list[tuple[str, int, Probe]] = []
    if "memory" in wanted:
        runs.append(("connections", 3, lambda tick: connections.run(tick, options.connections)))
    if "slow-reader" in wanted:
        runs.append(
            ("slow reader", ticks_of(options.slow_seconds), lambda tick: slow_reader.run(tick, options.slow_seconds))
        )
    if "import-time" in wanted:
        runs.append(("import", imports.RUNS, imports.run))
    return measure(options, request_of(options, bars.work_for(kept)), kept, runs)


def run_memory(options: argparse.Namespace) -> int:
    """`memory`."""
    runs: list[tuple[str, int, Probe]] = [
        ("connections", 3, lambda tick: connections.run(tick, options.connections)),
        ("slow reader", ticks_of(options.seconds), lambda tick: slow_reader.run(tick, options.seconds)),
    ]
    return measure(options, request_of(options, []), [], runs)


def run_import_time(options: argparse.Namespace) -> int:
    """`import-time`."""
    run: Probe = lambda tick: imports.run(tick, options.rounds)  # noqa: E731
    return measure(options, request_of(options, []), [], [("import", options.rounds, run)])


def run_log(options: argparse.Namespace) -> int:
    """`log`."""
    run: Probe = lambda tick: eventlog.run(tick, options.rounds, options.seconds, options.folder)  # noqa: E731
    return measure(options, request_of(options, []), [], [("log", options.rounds * len(eventlog.KINDS), run)])


def run_events(options: argparse.Namespace) -> int:
    """`events`."""
    return measure(options, request_of(options, []), [], cli_events.parts_of(options), cli_events.tell_missing)


def run_scenarios(options: argparse.Namespace) -> int:
    """`scenarios`."""
    names = options.only.split(",") if options.only else list(SCENARIOS)
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown:
        raise KeyError(f"no scenario {unknown[0]!r}; there are: {', '.join(SCENARIOS)}")
    runs = [(name, SCENARIOS[name].ticks(options.seeds), probe_of(name, options.seeds)) for name in names]
    return measure(options, request_of(options, []), [], runs)


def run_virtual(options: argparse.Namespace) -> int:
    """`virtual`."""
    options.rounds = options.seeds
    campaign = Campaign(request_of(options, []))
    interrupted = virtual.run(options, campaign)
    data = virtual.complete(campaign.result())
    publish(options, data, options.json or campaign.default_path())
    return 130 if interrupted else virtual.status_of(data)


def probe_of(name: str, seeds: int) -> Probe:
    """A scenario as `measure` takes it."""
    run = SCENARIOS[name].run
    return lambda tick: run(tick, seeds)


def ticks_of(seconds: float) -> int:
    """How often the slow-reader probe looks."""
    return max(1, round(seconds / slow_reader.SAMPLE_S))


Probe = Callable[[Callable[[str], None]], tuple[list[dict[str, Any]], dict[str, Any]]]


def run_probe(campaign: Campaign, name: str, total: int, probe: Probe) -> None:
    """One probe under its own progress bar."""
    done = 0
    with Progress(name, total) as progress:

        def tick(what: str) -> None:
            nonlocal done
            done = min(done + 1, total)
            progress.update(done, what)

        found, seen = probe(tick)
    campaign.bars += found
    campaign.probes[name] = seen


def measure(
    options: argparse.Namespace,
    request: Request,
    wanted: Sequence[bars.Bar] = (),
    probes: Sequence[tuple[str, int, Probe]] = (),
    after: Callable[[Campaign], None] | None = None,
) -> int:
    """Runs, judges, prints, writes; keeps what there is when interrupted."""
    if options.json is not None:
        check_path(options.json)
    campaign = Campaign(request)
    if request.resume is not None:
        campaign.go_on(request.resume)
    interrupted = False
    try:
        if request.work:
            campaign.run()
        campaign.bars += [bars.judge(bar, campaign.rounds) for bar in wanted]
        for name, total, probe in probes:
            run_probe(campaign, name, total, probe)
    except KeyboardInterrupt:
        interrupted = True
        campaign.why_incomplete = campaign.why_incomplete or "interrupted"
        if not campaign.bars:
            campaign.bars = [bars.judge(bar, campaign.rounds) for bar in wanted]
    if interrupted and not campaign.rounds and not campaign.probes:
        print("interrupted before anything was measured", file=sys.stderr)
        return 130
    if after is not None:
        after(campaign)
    data = campaign.result()
    publish(options, data, options.json or campaign.default_path())
    return 130 if interrupted else status_of(data)


class BadPath(KeyError):
    """A result could not be written where it is wanted; the text says why."""


def check_path(path: Path) -> None:
    """Whether a result can be written there, before hours are spent on it. Raises BadPath."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a folder")
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise BadPath(f"--json {path}: {error.strerror}") from None


def publish(options: argparse.Namespace, data: dict[str, Any], path: Path) -> None:
    """Writes and prints a result, and says where it is."""
    schema.save(data, path)
    print(tables.report_text(data))
    print(f"\nresult  {shown(path)}")
    if not options.no_html:
        html = path.with_suffix(".html")
        html.write_text(report.html(data), encoding="utf-8")
        print(f"report  {shown(html)}")


def status_of(data: dict[str, Any]) -> int:
    """1 when a bar, or a round of ours, failed."""
    ours = {peer["id"] for peer in data["peers"] if peer["kind"] == "ours"}
    failed = any(item["status"] == "FAIL" and item["peer"] in ours for item in data["rounds"])
    return int(failed or any(bar["verdict"] in (bars.FAIL, bars.NOT_MEASURED) for bar in data["bars"]))


def shown(path: Path) -> str:
    """A path as a person would type it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def run_report(options: argparse.Namespace) -> int:
    """`report`."""
    data = schema.load(options.file)
    print(tables.report_text(data))
    html = options.html or options.file.with_suffix(".html")
    html.write_text(report.html(data), encoding="utf-8")
    print(f"\nreport  {shown(html)}")
    if options.readme:
        report.rewrite_readme(options.readme, data)
        print(f"readme  {shown(options.readme)}")
    return 0


def run_compare(options: argparse.Namespace) -> int:
    """`compare`: two result files, or two trees."""
    files = [Path(name).is_file() for name in (options.old, options.new)]
    if not any(files):
        return comparing.run_trees(options)
    if not all(files):
        raise trees.TreeError("a result file can only be compared with another result file")
    old, new = schema.load(Path(options.old)), schema.load(Path(options.new))
    changes = comparison.compare(old, new)
    if not changes:
        print("bench: the files have no peer at the same case in common", file=sys.stderr)
        return 2
    print(comparison.text(old, new, changes))
    return comparison.status_of(changes)


def run_link(options: argparse.Namespace) -> int:
    """`link`."""
    from bench.link import emulator, validation

    link = Link.parse(options.link) if options.link else None
    if reason := emulator.why_not():
        print(f"bench: {reason}", file=sys.stderr)
        return 2
    try:
        return validation.validate(link)
    except validation.FAILURES as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1


def run_peers(_options: argparse.Namespace) -> int:
    """`peers`."""
    rows = [
        [
            peer.name,
            peer.title,
            peer.missing() or ", ".join(f"{name} {version}" for name, version in peer.versions().items()),
        ]
        for peer in all_peers().values()
    ]
    print(tables.table(["name", "what", "version, or how to have it"], rows, left=3))
    return 0


COMMANDS = {
    "quick": run_quick,
    "latency": run_side_by_side,
    "throughput": run_side_by_side,
    "accept": run_accept,
    **dict.fromkeys(cli_open.NAMES, run_open),
    "record": cli_trace.run_record,
    "replay": run_replay,
    "codec": run_codec,
    "memory": run_memory,
    "import-time": run_import_time,
    "log": run_log,
    "events": run_events,
    "scenarios": run_scenarios,
    "virtual": run_virtual,
    "compare": run_compare,
    "aa": comparing.run_aa,
    "report": run_report,
    "link": run_link,
    "which": which.run,
    "peers": run_peers,
}


def interrupt(_number: int, _frame: object) -> None:
    """A request to end is treated like Ctrl-C, even where that one is ignored (background jobs)."""
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses and runs one command."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or (given[0].startswith("-") and given[0] not in ("-h", "--help")):
        given.insert(0, "quick")  # what `make bench` runs
    options = parser().parse_args(given)
    if sys.platform != "linux":
        print("bench: pins processes and reads /proc, so it needs Linux", file=sys.stderr)
        return 2
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        return COMMANDS[options.command](options)
    except KeyboardInterrupt:
        return 130
    except (
        KeyError, BadCase, BadLink, BadTrace, schema.SchemaError, trees.TreeError, FileNotFoundError, report.ReadmeError
    ) as error:  # fmt: skip
        print(f"bench: {error.args[0] if isinstance(error, KeyError) else error}", file=sys.stderr)
        return 2
    finally:
        signal.signal(signal.SIGTERM, before)
