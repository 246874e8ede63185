"""From a list of cases and peers to a result: what every command that runs rounds has in common."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from bench import schema
from bench.cases import BadCase, Case
from bench.child import ROOT
from bench.environment import environment, git_state
from bench.peers import all_peers
from bench.peers.base import Peer
from bench.progress import Progress, seconds_text
from bench.runner import FAIL, INVALID, OVERHEAD_S, Entry, Plan, key_of, run_plan
from bench.scratch import Scratch
from bench.tables import missing_text
from bench.trace.file import Trace

RESULTS = ROOT / "bench" / "results"
ROUNDS_MIN = 3
ORIGIN_TOOL = ("commit", "changes")  # what must be the same for a run to be gone on with; see `environment`
ORIGIN_MACHINE = ("system", "kernel", "machine", "cpu", "memory_bytes", "python", "implementation", "python_flags",
                  "loopback_mtu")  # fmt: skip
SYSCTLS_FREE = {"net.ipv4.tcp_available_congestion_control"}  # a module that was loaded meanwhile changes no figure


@dataclass(slots=True)
class Request:
    """What a command asks for.

    Args:
        command: "quick", "latency", ...; part of the file name.
        work: each case with the names of those who run it, "name@again" for an A/A pair.
        fit: take fewer rounds, never less than `rounds_min`, where the estimate is over the budget.
        resume: a result file of the same request that was broken off, to be gone on with; it is also where the rounds
            are kept while the run goes on, a block at a time.
        lanes: rounds over emulated links at a time, see `Plan`.
        traces: by their sha256, those of the cases that play recorded traffic.
    """

    command: str
    work: list[tuple[Case, list[str]]]
    rounds: int
    seconds: float
    warmup: float
    seed: int
    budget_s: float | None = None
    preview: bool = False
    fit: bool = False
    rounds_min: int = ROUNDS_MIN
    resume: Path | None = None
    lanes: int = 1
    traces: Mapping[str, Trace] = field(default_factory=dict)


@dataclass(slots=True)
class Campaign:
    """A run under way: collects, so that a break loses nothing that was measured."""

    request: Request
    rounds: list[dict[str, Any]] = field(default_factory=list)
    bars: list[dict[str, Any]] = field(default_factory=list)
    probes: dict[str, Any] = field(default_factory=dict)
    missing: list[tuple[Peer, str]] = field(default_factory=list)
    idle: list[str] = field(default_factory=list)
    why_incomplete: str | None = None
    started: datetime.datetime = field(default_factory=lambda: datetime.datetime.now(datetime.UTC))
    _began: float = field(default_factory=monotonic)
    _git: dict[str, Any] = field(default_factory=git_state)
    _environment: dict[str, Any] = field(default_factory=environment)
    _again: dict[tuple[int, str, str], int] = field(default_factory=dict)
    _peers: dict[str, Peer] = field(default_factory=lambda: all_peers())  # noqa: PLW0108  (looked up when made)

    def available(self) -> list[tuple[Case, list[Entry]]]:
        """The work that can be done here; peers that are not installed go to `missing`."""
        known = self._peers
        gone: dict[str, str] = {}
        work = []
        self.idle = []
        for case, names in self.request.work:
            entries = []
            for name in names:
                peer = known[name.partition("@")[0]]
                install = peer.missing()
                if install:
                    gone[peer.name] = install
                elif peer.supports(case):
                    entries.append(Entry(name, peer))
            if entries:
                work.append((case, entries))
            elif any(known[name.partition("@")[0]].missing() is None for name in names):
                self.idle.append(f"left out: nobody that is here can run {case.title}")
        self.missing = [(known[name], install) for name, install in gone.items()]
        return work

    def plan(self) -> Plan:
        """What will be run, fitted to the budget where the request allows it."""
        request = self.request
        plan = Plan(self.available(), request.rounds, request.seconds, request.warmup, request.seed, request.budget_s)
        plan.lanes = request.lanes
        plan.traces = request.traces
        while request.fit and plan.budget_s and plan.rounds > request.rounds_min and plan.estimate_s > plan.budget_s:
            plan.rounds -= 1
        if plan.rounds < request.rounds:
            self.why_incomplete = f"{plan.rounds} of {request.rounds} rounds, to fit in {plan.budget_s:.0f} s"
        return plan

    def run(self) -> None:
        """Runs every round under a progress bar. A break (Ctrl-C) is noted, then raised.

        Raises:
            BadCase: nobody is left to run anything, or a case can't be planned; nothing has been run then.
        """
        plan = self.plan()
        if not plan.work:
            raise BadCase("; ".join(["nothing can be run", *missing_text(self.missing_entries()), *self.idle]))
        plan.check()
        path = self.request.resume
        keep = None if path is None else lambda: schema.save(self.result(), path)
        with Scratch() as plan.scratch, Progress(self.request.command, plan.round_count) as progress:
            for line in [*missing_text(self.missing_entries()), *self.idle]:
                progress.say(line)
            progress.say(f"{plan.round_count} rounds, about {seconds_text(plan.estimate_s)}")

            def report(item: dict[str, Any], done: int, _total: int) -> None:
                if again := self._again.get(key_of(item)):
                    item["again"] = again
                if item["status"] == FAIL:
                    progress.say(f"FAIL {item['peer']} at {item['case']}: {item['why']}")
                progress.update(done, f"{item['peer']} {item['case']}")

            try:
                self.why_incomplete = run_plan(plan, self.rounds, report, keep) or self.why_incomplete
            except KeyboardInterrupt:
                self.why_incomplete = f"interrupted after {len(self.rounds)} of {plan.round_count} rounds"
                raise

    def go_on(self, path: Path) -> None:
        """Takes over the rounds of a run that was broken off; those that were INVALID are run again, and say so.

        Raises:
            SchemaError: it is no result file, or one of another request, machine, commit or version of a peer.
        """
        if not path.exists():
            return
        old = schema.load(path)
        self._check_origin(old, path.name)
        config, request = old["config"], self.request
        same = (config["seconds"], config["warmup"], config["seed"], config.get("lanes", 1)) == (
            request.seconds, request.warmup, request.seed, request.lanes
        )  # fmt: skip
        wanted = {case.id: case.as_dict() for case, _ in request.work}
        for case in old["cases"]:
            found = {name: value for name, value in case.items() if name != "peers"}
            same = same and found == wanted.get(case["id"])
        if not same:
            raise schema.SchemaError(f"{path.name} is of another request: other cases, seconds, seed or lanes")
        self.rounds = [item for item in old["rounds"] if item["status"] != INVALID]
        self._again = {key_of(item): item.get("again", 0) + 1 for item in old["rounds"] if item["status"] == INVALID}

    def _check_origin(self, old: dict[str, Any], name: str) -> None:
        """Only rounds of one machine, one tree and the same peers may stand in one table. Raises SchemaError."""
        here = json.loads(json.dumps({"tool": self._git, "environment": self._environment}))
        pairs = [(what, old["tool"].get(what), here["tool"].get(what)) for what in ORIGIN_TOOL]
        pairs += [(what, old["environment"].get(what), here["environment"].get(what)) for what in ORIGIN_MACHINE]
        sysctls = {*old["environment"]["sysctl"], *here["environment"]["sysctl"]} - SYSCTLS_FREE
        pairs += [(what, old["environment"]["sysctl"].get(what), here["environment"]["sysctl"].get(what))
                  for what in sorted(sysctls)]  # fmt: skip
        for peer in old["peers"]:
            now = self._peers[peer["id"]].describe() if peer["id"] in self._peers else {}
            pairs += [(f"{what} of {peer['id']}", peer[what], now.get(what)) for what in ("versions", "settings")]
        for what, then, now in pairs:
            if then != now:
                raise schema.SchemaError(f"{name} can't be gone on with: {what} was {then}, is {now}")

    def result(self) -> dict[str, Any]:
        """The result file's content."""
        request = self.request
        seen = {(item["case"], item["peer"]) for item in self.rounds}
        ran: dict[str, set[str]] = {}  # a run that is gone on with may have been for more peers
        for case_id, name in seen:
            ran.setdefault(case_id, set()).add(name)
        names = dict.fromkeys(item["peer"].partition("@")[0] for item in self.rounds)
        known = self._peers
        return {
            "schema": schema.VERSION,
            "tool": {"command": command_line(sys.argv[1:]), "version": package_version()} | self._git,
            "started": self.started.isoformat(timespec="seconds"),
            "seconds": round(monotonic() - self._began, 1),
            "preview": request.preview,
            "complete": self.why_incomplete is None,
            "why_incomplete": self.why_incomplete,
            "environment": self._environment,
            "config": {
                "rounds": request.rounds,
                "seconds": request.seconds,
                "warmup": request.warmup,
                "seed": request.seed,
                "lanes": request.lanes,
            },
            "peers": [peer.describe() for name, peer in known.items() if name in names],
            "missing": self.missing_entries(),
            "cases": [
                case.as_dict()
                | {
                    "peers": list(
                        dict.fromkeys([*(name for name in peers if (case.id, name) in seen), *sorted(ran[case.id])])
                    )
                }
                for case, peers in request.work
                if case.id in ran
            ],
            "rounds": self.rounds,
            "bars": self.bars,
            "probes": self.probes,
        }

    def missing_entries(self) -> list[dict[str, Any]]:
        """Peers that are not installed, as in the result file."""
        return [{"id": peer.name, "install": install} for peer, install in self.missing]

    def default_path(self) -> Path:
        """bench/results/<UTC time>-<command>.json."""
        return RESULTS / f"{self.started:%Y%m%d-%H%M%S}-{self.request.command}.json"


def command_line(arguments: list[str]) -> str:
    """What was typed, without where the result went, and of a trace only its name: a path says nothing about a figure
    and much about a machine.
    """
    kept: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--json":
            next(words, None)
        elif not word.startswith("--json="):
            kept.append(Path(word).name if "/" in word and Path(word).is_file() else word)
    return shlex.join(["python", "-m", "bench", *kept])


def package_version() -> str | None:
    """Of the package measured, where it is installed."""
    try:
        return importlib.metadata.version("transport")
    except importlib.metadata.PackageNotFoundError:
        return None


def rounds_within(seconds: float, cells: int, round_s: float) -> int:
    """How many rounds of `cells` measurements fit in `seconds`."""
    return max(1, int(seconds / (cells * (round_s + OVERHEAD_S))))
